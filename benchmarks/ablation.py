"""What each ingredient of the compact extractors brings: each left out, on people and generators that none was shown.

    python benchmarks/ablation.py --track audio --sets weights/sets --test genuine-dev --out ablation/

Trains the network of a track on the sets of `make weights` as its recipe does, but for the ingredient, and judges the
dev split of another set; runs that are in --out already are not made again. Prints means and standard deviations over
seeds of three AUCs, each a mean over families of generators: `spans`, forged steps against the others of their clip;
`clips`, the strongest half second of clips that are forged in part against that of authentic ones; and `end to end`,
what is said of the whole of a clip, forged from end to end or authentic.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from configs.loader import load_config
from configs.schema import PipelineConfig
from data.files import write_text
from data.labels import EVIDENCE
from extractors.compact.sound_traces import ABSOLUTE, RELATIVE
from pipeline.evaluation.metrics import auc
from pipeline.evaluation.result import grid
from pipeline.localization.scores import Evidence
from pipeline.training.crops import Prepared
from pipeline.training.evidence import STEP_S, evidence_by, face_evidence, train_faces, train_voices
from pipeline.training.pretrain import prepared_faces, prepared_voices, with_sources

MEASURES = ("spans", "clips", "end to end")
HALF_SECOND = int(0.5 / STEP_S)
"""In steps."""

_INSIDE, _WHOLE = EVIDENCE.index("inside"), EVIDENCE.index("whole")


@dataclass(frozen=True)
class Without:
    """A row: sets that nothing is trained on, settings that differ, and what is hidden of each clip's measures."""

    name: str
    sets: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    hide: Callable[[Prepared], Prepared] = field(default=lambda clip: clip)


def blank(relative: slice | None = None, absolute: slice | None = None) -> Callable[[Prepared], Prepared]:
    """What sets these columns of a clip's relative and absolute measures to zero."""

    def hide(clip: Prepared) -> Prepared:
        hidden = [clip.relative.copy(), clip.absolute.copy()]
        for values, columns in zip(hidden, (relative, absolute), strict=True):
            if columns is not None:
                values[:, columns] = 0
        return clip._replace(relative=hidden[0], absolute=hidden[1])

    return hide


def unseen(clip: Prepared) -> Prepared:
    """The clip as if the eye had seen the same in each of its faces."""
    measured = clip.steps.measured
    measured = measured._replace(seen=np.zeros_like(measured.seen))
    return clip._replace(steps=replace(clip.steps, measured=measured))


ALL = Without("nothing")
ROWS: Mapping[str, tuple[Without, ...]] = {
    "audio": (
        ALL,
        Without("the ear", hide=blank(slice(RELATIVE, None), slice(ABSOLUTE, None))),
        Without("our measures", hide=blank(slice(RELATIVE), slice(ABSOLUTE))),
        Without("sound by generators", sets=("sound-pairs",)),
        Without("our own manipulations", sets=("sound-own", "sound-whole")),
        Without("our own from end to end", sets=("sound-whole",)),
        Without("several speakers", settings=("pretrain.turns=0",)),
    ),
    "visual": (
        ALL,
        Without("the eye", hide=unseen),
        Without("traces", hide=blank(slice(None), slice(None))),
        Without("looking again", settings=("visual.look_again=0",)),
        Without("pictures by generators", sets=("generators",)),
        Without("our own manipulations of clips", sets=("own",)),
        Without("stills and long takes", sets=("pictures",)),
    ),
}
"""Rows by track."""

SETS = {"audio": ("sound-pairs", "sound-own", "sound-whole"), "visual": ("generators", "own", "pictures")}
"""Sets that a track is trained on, as tools/make_weights.sh makes them."""

SETTINGS = {"audio": ("pretrain.turns=150",), "visual": ()}


def main() -> None:
    """Make what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--track", choices=("audio", "visual"), required=True)
    parser.add_argument("--sets", type=Path, required=True, help="folder of the sets that are trained on")
    parser.add_argument("--test", type=Path, required=True, help="set whose dev split is judged")
    parser.add_argument("--measured", type=Path, help="folder of what was measured (default: in --out)")
    parser.add_argument("--out", type=Path, required=True, help="folder of results; what is there is kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3407, 1, 2])
    parser.add_argument("--only", nargs="*", metavar="ROW", help="make these rows only")
    parser.add_argument("--set", dest="overrides", nargs="*", default=[], metavar="A.B=C")
    parser.add_argument("--workers", type=int, default=2, help="processes that measure clips")
    asked = parser.parse_args()
    study = Study(
        asked.track, asked.sets, asked.test, asked.measured or asked.out, asked.overrides, asked.workers
    )
    found: dict[str, list[dict[str, float]]] = {}
    for seed in asked.seeds:
        for row in ROWS[asked.track]:
            path = asked.out / f"{asked.track}-{row.name.replace(' ', '_')}-{seed}.json"
            if not path.is_file() and (not asked.only or row.name in asked.only):
                write_text(path, json.dumps(study.run(row, seed)) + "\n")
                print("wrote", path, file=sys.stderr)
            if path.is_file():
                found.setdefault(row.name, []).append(json.loads(path.read_text(encoding="utf-8")))
    print("\n".join(table(found)))


class Study:
    """The clips of one track, measured once, and what networks say that were trained on a part of them."""

    def __init__(
        self, track: str, sets: Path, test: Path, measured: Path, overrides: Sequence[str], workers: int
    ) -> None:
        self.track, self.measured, self.workers = track, measured, workers
        self.sets = [sets / name for name in SETS[track]]
        self.test, self.overrides = test, [*SETTINGS[track], *overrides]

    def run(self, row: Without, seed: int) -> dict[str, float]:
        """`told` of one training."""
        config = self._config(*row.settings, f"pretrain.seed={seed}")
        clips = [row.hide(clip) for clip in self.training if self._wanted(clip, row, config)]
        judged = [row.hide(clip) for clip in self.judged]
        if self.track == "audio":
            net = train_voices(clips, config.pretrain)
            return told(judged, [evidence_by(net, clip) for clip in judged])
        nets = train_faces(clips, config)
        return told(judged, [face_evidence(nets, clip, config) for clip in judged])

    @cached_property
    def training(self) -> list[Prepared]:
        """The clips that all rows choose from."""
        return self._prepared(self.sets, self._config())

    @cached_property
    def judged(self) -> list[Prepared]:
        """The clips that are judged."""
        return self._prepared([self.test], self._config('pretrain.splits=["dev"]', "pretrain.turns=0"))

    def _config(self, *more: str) -> PipelineConfig:
        return with_sources(load_config("compact", [*self.overrides, *more]))

    def _prepared(self, sets: list[Path], config: PipelineConfig) -> list[Prepared]:
        prepare = prepared_voices if self.track == "audio" else prepared_faces
        return prepare(sets, self.measured, config, self.workers)

    def _wanted(self, clip: Prepared, row: Without, config: PipelineConfig) -> bool:
        known = clip.steps.known
        assert known is not None
        in_turns = bool(known.clip.appearances)
        return known.set_name not in row.sets and (config.pretrain.turns > 0 or not in_turns)


def told(clips: Sequence[Prepared], evidence: Sequence[Evidence]) -> dict[str, float]:
    """The three AUCs of MEASURES, each a mean over families; one without clips is left out."""
    authentic: list[tuple[float, float]] = []
    by_family: dict[str, dict[str, list[Any]]] = {}
    for clip, said in zip(clips, evidence, strict=True):
        steps, valid = clip.steps, clip.steps.measured.valid
        strongest, whole = half_second(said[valid, _INSIDE]), float(said[valid, _WHOLE].mean())
        if not steps.forged.any():
            authentic.append((strongest, whole))
            continue
        for family in steps.known.families if steps.known is not None else ():
            of = by_family.setdefault(family, {name: [] for name in MEASURES})
            if steps.whole:
                of["end to end"].append(whole)
            elif steps.forged[valid].any() and not steps.forged[valid].all():
                of["spans"].append(auc(said[valid, _INSIDE].astype(np.float64), steps.forged[valid]))
                of["clips"].append(strongest)
    usual = np.array(authentic)
    each: dict[str, list[float]] = {name: [] for name in MEASURES}
    for of in by_family.values():
        if of["spans"]:
            each["spans"].append(fmean(of["spans"]))
        for name, ordinary in (("clips", usual[:, 0]), ("end to end", usual[:, 1])):
            if of[name]:
                each[name].append(against(of[name], ordinary))
    return {name: fmean(values) for name, values in each.items() if values}


def half_second(inside: NDArray[np.floating]) -> float:
    """The highest mean of `inside` (T,) over half a second; of a shorter clip the mean of all."""
    width = min(HALF_SECOND, len(inside))
    return float(np.convolve(inside.astype(np.float64), np.full(width, 1 / width), "valid").max())


def against(forged: Sequence[float], authentic: NDArray[np.floating]) -> float:
    """AUC of scores of forged clips against those of authentic ones."""
    scores = np.concatenate([np.array(forged), authentic]).astype(np.float64)
    return auc(scores, np.arange(len(scores)) < len(forged))


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> Iterable[str]:
    """Markdown: a row for each ingredient that was left out, and how many seeds it rests on."""

    def spread(runs: Sequence[Mapping[str, float]], name: str) -> str:
        values = [run[name] for run in runs if name in run]
        return f"{fmean(values):.3f} ± {pstdev(values):.3f}" if values else "–"

    rows = [
        [name, *(spread(runs, each) for each in MEASURES), str(len(runs))] for name, runs in found.items()
    ]
    return grid([["without", *MEASURES, "seeds"], *rows])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
