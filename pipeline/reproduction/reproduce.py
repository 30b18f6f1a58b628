"""The paper's tables and figures from raw media: extract, train, evaluate, then ours beside what is printed.

Runs are kept one by one below the output folder and shared by all tables and figures that need them. An interrupted
command goes on where it was.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from configs.loader import apply_overrides, validate
from configs.schema import PipelineConfig
from data.errors import ForensicError, UsageError
from data.files import replacing, write_text
from data.hook import Hook, silent
from data.manifest import SIDECAR, Manifest
from pipeline.evaluation.predict import score_split
from pipeline.extraction.extract import extract_missing
from pipeline.reproduction import published
from pipeline.reproduction.experiment import Bench, Run
from pipeline.reproduction.figures import check_drawing, discrepancies, draw_discrepancies, draw_sensitivity
from pipeline.reproduction.published import AVERAGES, COLUMNS, Published, Supervision
from pipeline.reproduction.tables import HONEST_RULES, PAPER_RULES, Line, Table, lines
from pipeline.training.train import TrainingError

_LOG = logging.getLogger(__name__)

Subject = Literal["table1", "table2", "table3", "figure3", "figure4"]
Layout = Literal["lavdf", "avdeepfake1m"]

SEEDS = (3407, 1, 2)
"""The first is that of the settings, and of the lab's code."""

KS = (5, 10, 15, 20)
RATIOS = (0.5, 0.6, 0.7, 0.75, 0.8)
"""Values of K and ρ for Figure 3: those that section 4.5.2 names, and steps between 0.50 and 0.80."""


@dataclass(frozen=True)
class Variant:
    """One row of a table: its name there, its folder's name, how its settings differ, and what it is trained with."""

    label: str
    folder: str
    changes: tuple[str, ...]
    supervision: Supervision = "weakly"


_FULL = ("model.method=rt_deeploc", "model.fdn.enabled=true", "model.heads.mtlr=true")
_OURS = Variant("RT-DeepLoc", "rt_deeploc", _FULL)

METHODS = (
    Variant("ActionFormer", "actionformer", ("model.method=actionformer",), "fully"),
    Variant("TriDet", "tridet", ("model.method=tridet",), "fully"),
    Variant("UMMAFormer", "ummaformer", ("model.method=ummaformer",), "fully"),
    Variant("MFMS-style", "mfms", ("model.method=mfms",), "fully"),
    Variant("CoLA", "cola", ("model.method=cola",)),
    Variant("FuSTAL, generator only", "fustal_generator", ("model.method=fustal_generator",)),
    Variant("FuSTAL", "fustal", ("model.method=fustal",)),
    Variant("SAL", "sal", ("model.method=sal",)),
    Variant("LOCO", "loco", ("model.method=loco",)),
    Variant("MDP", "mdp", ("model.method=mdp",)),
    _OURS,
)
"""Tables 1 and 2; another compared method is one line here and one file in models."""

_PARTS = (
    ("no_fdn", ("model.fdn.enabled=false",)),
    ("no_mtlr", ("model.heads.mtlr=false",)),
    ("no_aicl", ("model.loss.aicl=0",)),
    ("rt_deeploc", ()),
)
ABLATION = tuple(
    Variant(row.method, folder, _FULL + changes)
    for row, (folder, changes) in zip(published.TABLE_3, _PARTS, strict=True)
)
"""Table 3."""

SENSITIVITY: Mapping[str, Mapping[float, Variant]] = {
    "K": {k: Variant(f"K = {k}", f"k_{k}", (*_FULL, f"model.loss.aicl_topk={k}")) for k in KS},
    "ρ": {
        ratio: Variant(f"ρ = {ratio:g}", f"rho_{ratio:g}", (*_FULL, f"model.fdn.mask_ratio={ratio}"))
        for ratio in RATIOS
    },
}
"""Figure 3, by setting and value."""


@dataclass(frozen=True)
class Reproduction:
    """Files that were written, the first for people to read; `failures`: runs that diverged and are missing there."""

    files: tuple[Path, ...]
    text: str
    failures: tuple[ForensicError, ...] = ()


def variants(subject: Subject) -> tuple[Variant, ...]:
    """The rows of a table, or the points of a figure."""
    match subject:
        case "table3":
            return ABLATION
        case "figure3":
            return tuple(variant for by_value in SENSITIVITY.values() for variant in by_value.values())
        case "figure4":
            return (_OURS,)
        case _:
            return METHODS


class Study:
    """All that one command does: extraction, then every run, with a result after each of them.

    `layouts` are those of the sets that are trained and evaluated on, `out` takes the result and ``runs/``.
    """

    def __init__(
        self,
        subject: Subject,
        bench: Bench,
        layouts: tuple[Layout, Layout],
        out: Path,
        seeds: Sequence[int] = SEEDS,
        hook: Hook = silent,
    ) -> None:
        self.subject, self.bench, self.out, self.seeds, self.hook = subject, bench, out, tuple(seeds), hook
        self._layouts = layouts
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UsageError("seeds must be given, each once", fix="for example --seeds 3407,1,2")
        if bench.tuned and bench.target.root == bench.manifest.root and bench.split == "dev":
            problem = "thresholds would be tuned on the split that is evaluated"
            raise UsageError(problem, bench.target.root, "leave --tune out")

    def reproduce(self) -> Reproduction:
        """Go through all stages; finished ones are not repeated.

        Raises UsageError for settings, data or folders that do not fit, KeyboardInterrupt when interrupted: the same
        call goes on.
        """
        # Before any work: what is wrong would otherwise stop the command after hours.
        if self.subject.startswith("figure"):
            check_drawing()
        for run in chain.from_iterable(self.runs.values()):
            run.refuse_other_run()
        self._extract()
        if self.subject == "figure4":
            return self._figure_4()
        failures: list[ForensicError] = []
        # Seed by seed, so that a whole table stands early, with one seed.
        for run in chain.from_iterable(zip(*self.runs.values(), strict=True)):
            try:
                run.go(self._told(run))
            except TrainingError as error:
                _LOG.warning("%s", error)
                failures.append(error)
            table = self._write()
        files = [self._file(kind) for kind in ("md", "csv", "json")]
        if self.subject == "figure3":
            files += self._write_pictures(draw_sensitivity(_panels(table)))
        return Reproduction(tuple(files), table.markdown(), tuple(failures))

    @cached_property
    def runs(self) -> Mapping[str, Sequence[Run]]:
        """Every run that it takes, by row of the table, seed by seed."""
        return {v.label: [self.run(v, seed) for seed in self.seeds] for v in variants(self.subject)}

    def run(self, variant: Variant, seed: int) -> Run:
        """The run of one variant; where its settings are the method's own, that of the method itself."""
        config, own = (self._settings(one.changes, seed) for one in (variant, _OURS))
        folder = _OURS.folder if config == own else variant.folder
        return Run(self.bench, self.out / "runs" / f"{folder}-seed{seed}", config)

    def _told(self, run: Run) -> Hook:
        """The hook with the run's name before each step."""

        def hook(step: str, completed: int | None = None, total: int | None = None) -> None:
            self.hook(f"{run.folder.name}, {step}", completed, total)

        return hook

    def _settings(self, changes: Sequence[str], seed: int) -> PipelineConfig:
        values = self.bench.setup.config.model_dump(mode="json")
        return validate(apply_overrides(values, (*changes, f"train.seed={seed}")), origin=self.subject)

    def _extract(self) -> None:
        """Features of every clip that is needed; of a set that is only tested, nothing but its test split."""
        bench, path = self.bench, self.out / "extraction.json"
        wanted: dict[Path, tuple[Manifest, set[str]]] = {}
        for manifest, splits in ((bench.manifest, {"train", "dev"}), (bench.target, {bench.split})):
            wanted.setdefault(manifest.root, (manifest, set()))[1].update(splits)
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        for root, (manifest, splits) in wanted.items():
            files = [sample.file for sample in manifest.samples if sample.split in splits]
            entry = record.setdefault(root.resolve().name, {"seconds": 0.0})
            began_s, setup = time.perf_counter(), bench.setup
            try:
                for error in extract_missing(
                    root, files, setup.extractors, bench.store, setup.config, self.hook
                ):
                    _LOG.warning("%s", error)
            finally:
                spent_s = time.perf_counter() - began_s
                entry |= {"seconds": round(entry["seconds"] + spent_s, 1), "clips": len(files)}
                write_text(path, json.dumps(record, indent=1) + "\n")

    def _write(self) -> Table:
        """The table of all evaluations that there are."""
        table = self.table()
        write_text(self._file("md"), table.markdown())
        write_text(self._file("csv"), table.to_csv())
        write_text(self._file("json"), table.to_json())
        return table

    def table(self) -> Table:
        """What is known so far beside what is printed."""
        rows = [
            (label, [evaluation for run in group if (evaluation := run.evaluation) is not None])
            for label, group in self.runs.items()
        ]
        wide = self.subject in ("table1", "table2")
        columns = COLUMNS if wide else AVERAGES
        every = [document for _, documents in rows for document in documents]
        wanted = len(self.seeds) * len(rows)
        notes = self._notes() + tuple(dict.fromkeys(note for one in every for note in one["notes"]))
        if len(every) < wanted:
            notes += (f"{wanted - len(every)} of {wanted} runs are not there (yet)",)
        title, section = _TITLES[self.subject]
        return Table(
            self.subject,
            title,
            section,
            lines(
                rows,
                self._published(),
                columns,
                {v.label for v in variants(self.subject) if v.supervision == "fully"},
            ),
            columns,
            self.comparable,
            notes,
            self._facts(),
        )

    @property
    def comparable(self) -> bool:
        """Whether the clips are the paper's: a set made by `pipeline synthesize` has a file forgeries.json."""
        roots = (self.bench.manifest.root, self.bench.target.root)
        if any((root / SIDECAR).exists() for root in roots):
            return False
        crossed = self.bench.manifest.root != self.bench.target.root
        if self.subject == "table2":
            return crossed and self._layouts == ("avdeepfake1m", "lavdf")
        return self.subject == "table1" or self._layouts == ("lavdf", "lavdf")

    def _published(self) -> Sequence[Published]:
        match self.subject:
            case "table1":
                return published.TABLE_1[self._layouts[0]]
            case "table2":
                return published.TABLE_2
            case "table3":
                return published.TABLE_3
            case _:
                return published.FIGURE_3

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if not self.comparable:
            notes.append(
                "the clips are not those of the paper; its figures stand here for orientation, no difference to them "
                "means anything"
            )
        if self.bench.split != "test":
            notes.append(f"the test split has no labels, so the split {self.bench.split} is evaluated")
        if self._located:
            notes.append(
                "MFMS-style is no reproduction of MFMS, of which neither code nor text is public, but its title built "
                "of UMMAFormer's parts"
            )
        if self.subject == "table2":
            notes.append("the paper prints CoLA's AR@N of its Table 1 here; their mean does not fit them")
        return tuple(notes)

    @property
    def _located(self) -> bool:
        """Whether any of the methods is trained with forged intervals."""
        return any(variant.supervision == "fully" for variant in variants(self.subject))

    def _facts(self) -> dict[str, Any]:
        bench, config = self.bench, self.bench.setup.config
        train = sum(sample.split == "train" for sample in bench.manifest.samples)
        test = sum(sample.split == bench.split for sample in bench.target.samples)
        records = [
            (label, record)
            for label, group in self.runs.items()
            for run in group
            if (record := run.record) is not None
        ]
        spent_s: dict[str, dict[str, float]] = {}
        evaluated = f"evaluate {bench.target.root.resolve().name}-{bench.split}"
        machines: dict[str, None] = {}
        versions: dict[str, str] = {}
        for stage, name in (("train", "training"), ("tune", "tuning"), (evaluated, "evaluation")):
            for label, record in records:
                if stage in record["stages"]:
                    entry = record["stages"][stage]
                    by_label = spent_s.setdefault(name, {})
                    by_label[label] = round(by_label.get(label, 0.0) + entry["seconds"], 1)
                    machines[entry["machine"]] = None
                    versions |= entry["versions"]
        extraction = self.out / "extraction.json"
        if extraction.is_file():
            entries = json.loads(extraction.read_text(encoding="utf-8"))
            spent_s["extraction"] = {name: entry["seconds"] for name, entry in entries.items()}
        return {
            "trained on": f"{bench.manifest.root.resolve().name}, train: {train:,} clips, video-level labels only"
            + (", but the fully supervised methods with the forged intervals" if self._located else ""),
            "evaluated on": f"{bench.target.root.resolve().name}, {bench.split}: {test:,} clips",
            "rules": f"differences are of the protocol '{PAPER_RULES}'; '{HONEST_RULES}' rules stand beside",
            "thresholds": "tuned on the dev split, whose intervals were used; class probabilities calibrated there"
            if bench.tuned
            else f"as configured: onset {config.localize.onset:g}, offset {config.localize.offset:g}",
            "preset": config.preset,
            "settings": config.digest(),
            "steps": config.train.steps,
            "seeds": list(self.seeds),
            **{f"seconds of {name}, in all": spent for name, spent in spent_s.items()},
            "machine": list(machines),
            "versions": versions,
        }

    def _figure_4(self) -> Reproduction:
        """The first seed's errors: curves, pictures and what holds for the whole split."""
        run = self.run(_OURS, self.seeds[0])
        run.train(self._told(run))
        bench = self.bench
        scored = score_split(run.detector(), bench.target, bench.split, bench.store, self._told(run))
        errors = discrepancies(scored)
        text = errors.markdown(_TITLES[self.subject][0])
        write_text(self._file("md"), text)
        write_text(self._file("csv"), errors.to_csv())
        pictures = self._write_pictures(draw_discrepancies(errors))
        return Reproduction((self._file("md"), self._file("csv"), *pictures), text)

    def _write_pictures(self, pictures: Mapping[str, bytes]) -> list[Path]:
        for kind, content in pictures.items():
            with replacing(self._file(kind)) as temporary:
                temporary.write_bytes(content)
        return [self._file(kind) for kind in pictures]

    def _file(self, kind: str) -> Path:
        return self.out / f"{self.subject}.{kind}"


def _panels(table: Table) -> dict[str, list[tuple[float, Line]]]:
    lines = {line.method: line for line in table.lines}
    return {
        setting: [(value, lines[variant.label]) for value, variant in by_value.items()]
        for setting, by_value in SENSITIVITY.items()
    }


_TITLES: Mapping[Subject, tuple[str, str]] = {
    "table1": ("Table 1: temporal forgery localization", "4.3"),
    "table2": ("Table 2: trained on one set, tested on another", "4.4"),
    "table3": ("Table 3: ablation", "4.5.1"),
    "figure3": ("Figure 3: sensitivity to K and ρ", "4.5.2"),
    "figure4": ("Figure 4: reconstruction errors and true intervals", "4.5.3"),
}
