"""What a detector does on the benchmark and under the conditions that training has not seen: `make results`.

    python benchmarks/shipped.py --benchmark DIR [--weights FOLDER] [--store DIR] [--only NAME ...] [--out FILE]

DIR holds what `pipeline data benchmark` made, and conditions/ what `pipeline data conditions` made of it; sets that
are not there are left out. Features that the store lacks are extracted first.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import ForensicError, UsageError
from data.hook import Hook, silent
from data.manifest import Manifest, samples_of
from data.manifest.sidecar import read_sidecar
from data.store.store import FeatureStore
from pipeline.detector import Pipeline
from pipeline.evaluation.evaluate import REPLICATES, evaluate
from pipeline.evaluation.predict import prediction_of, score_split
from pipeline.evaluation.result import Evaluation, grid
from pipeline.localization.decide import decide
from pipeline.localization.lines import promising
from pipeline.localization.scores import Verdict
from pipeline.progress import ProgressBar

SPLIT = "test"
USUAL = "usual"
DETAILED = ("known", "heldout", "genuine")
"""Sets whose tables by class, length, manipulation and recording group are printed too."""


@dataclass(frozen=True)
class Measured:
    """One set: its evaluation, how many intervals a run reports in each authentic clip, and their hours.

    `verdicts` are counted by the share of false alarms that is promised (`USUAL`: that of the weights), of forged clips
    (True) and of authentic ones.
    """

    name: str
    root: Path
    evaluation: Evaluation
    reported: Mapping[str, int]
    authentic_h: float
    verdicts: Mapping[str, Counter[tuple[bool, Verdict]]]


def main() -> None:
    """Measure all sets and print one table, then the details."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--benchmark", type=Path, required=True, help="folder of known/, heldout/, ...")
    parser.add_argument("--weights", default="compact", help="weights folder or preset (default: compact)")
    parser.add_argument("--store", type=Path, help="folder of features (default: DIR/features)")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="these sets")
    parser.add_argument("--bootstrap", type=int, default=REPLICATES, help="samples for the intervals")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="Markdown file that gets the tables too")
    options = parser.parse_args()
    roots = find_sets(options.benchmark, options.only)
    store = FeatureStore(options.store if options.store is not None else options.benchmark / "features")
    detector = Pipeline.from_pretrained(options.weights, device=options.device)
    measured = []
    for name, root in roots.items():
        with ProgressBar() as bar:
            bar.begin(name)
            measured.append(measure(name, detector, root, store, options.bootstrap, bar))
    text = "\n".join(document(measured))
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


def find_sets(benchmark: Path, only: Sequence[str] | None = None) -> dict[str, Path]:
    """The sets below `benchmark` by name, those of `only` where it is given.

    Raises UsageError when there is none, or one of `only` is not there.
    """
    folders = [benchmark / name for name in ("known", "heldout", "cross", "genuine")]
    folders += sorted((benchmark / "conditions").glob("*"))
    sets = {folder.name: folder for folder in folders if (folder / "metadata.json").is_file()}
    if not sets:
        raise UsageError("holds no data set", benchmark, "make it with `pipeline data benchmark`")
    if unknown := set(only or ()) - set(sets):
        raise UsageError(f"has no set {', '.join(sorted(unknown))}", benchmark, f"it has {', '.join(sets)}")
    return {name: root for name, root in sets.items() if not only or name in only}


def measure(
    name: str,
    detector: Pipeline,
    root: Path,
    store: FeatureStore,
    replicates: int = REPLICATES,
    hook: Hook = silent,
) -> Measured:
    """What `detector` does on the test split of the set at `root`; raises as `score_split` and `evaluate` do."""
    manifest, settings = Manifest.lavdf(root), detector.config.localize
    lines = settings.decision.lines if settings.decision is not None else ()
    promises = {USUAL: settings} | {f"{one.rate:g}": promising(settings, one.rate) for one in lines}
    verdicts: dict[str, Counter[tuple[bool, Verdict]]] = {promise: Counter() for promise in promises}
    found, reported = [], {}
    for sample, scores in score_split(detector, manifest, SPLIT, store, hook):
        found.append(prediction_of(sample, scores, settings))
        # What `pipeline run` would report: proposals are ranked candidates, of which a clip always has some.
        said = {name: decide(scores, one) for name, one in promises.items()} if scores is not None else {}
        for promise, counts in verdicts.items():
            counts[bool(sample.label), said[promise].verdict if said else "not_assessable"] += 1
        if sample.label == 0:
            reported[sample.file.as_posix()] = len(said[USUAL].intervals) if said else 0
    hook("measure")
    authentic = [sample for sample in samples_of(manifest, SPLIT) if sample.label == 0]
    return Measured(
        name,
        root,
        evaluate(found, manifest, SPLIT, ("honest",), replicates),
        reported,
        sum(sample.duration_s for sample in authentic) / 3600,
        verdicts,
    )


def document(measured: Sequence[Measured]) -> Iterator[str]:
    """Lines of Markdown: one table with a row for each set, then the details of some."""
    header = [
        "test split of",
        "clips",
        "mAP(0.1:0.7)",
        "mAR",
        "AUC",
        "step AUC: picture",
        "sound",
        "forged clips: called forged",
        "undecided",
        "authentic clips: called forged",
        "undecided",
        "such intervals an hour",
        "calibration error",
    ]
    yield from grid([header, *(_row(one) for one in measured)])
    yield "\nIn percent but for counts; in brackets the 95 % interval.\n"
    promised = [[one.name, *row] for one in measured for row in by_promise(one)]
    if promised:
        yield "## Called forged, by the share of false alarms that is promised\n"
        yield from grid(
            [["test split of", "promised: at most", "forged clips", "authentic clips"], *promised]
        )
    for one in measured:
        if one.name in DETAILED:
            yield "\n" + one.evaluation.markdown()
        elif len(one.reported) == sum(one.evaluation.clips.values()):
            yield f"\n## {one.name}: false alarms by edit\n"
            yield from grid([["edit", "clips", "with an interval"], *by_edit(one)])


def _row(one: Measured) -> list[str]:
    evaluation = one.evaluation
    per_hour = f"{sum(one.reported.values()) / one.authentic_h:.1f}" if one.authentic_h else "–"
    usual = one.verdicts[USUAL]
    return [
        one.name,
        str(sum(evaluation.clips.values())),
        cell(evaluation, "localization, honest", "mAP"),
        cell(evaluation, "localization, honest", "mAR"),
        cell(evaluation, "video level", "AUC"),
        cell(evaluation, "step level", "AUC", "visual"),
        cell(evaluation, "step level", "AUC", "audio"),
        *(said(usual, forged, verdict) for forged in (True, False) for verdict in ("forged", "undecided")),
        per_hour,
        cell(evaluation, "video level", "calibration error"),
    ]


def said(counts: Counter[tuple[bool, Verdict]], forged: bool, verdict: Verdict) -> str:
    """In how many of the forged, or of the authentic clips this was the verdict."""
    return share(counts[forged, verdict], sum(n for (kind, _), n in counts.items() if kind == forged))


def by_promise(one: Measured) -> list[list[str]]:
    """For each promised share: the share, and the forged and the authentic clips that are called forged at its line."""
    return [
        [f"{100 * float(promise):g} %", said(counts, True, "forged"), said(counts, False, "forged")]
        for promise, counts in one.verdicts.items()
        if promise != USUAL
    ]


def cell(evaluation: Evaluation, table: str, metric: str, group: str = "all") -> str:
    """One share in percent with its interval, a dash where there is none."""
    for row in evaluation.rows:
        if (row.table, row.metric, row.group) != (table, metric, group) or math.isnan(row.value):
            continue
        text = f"{100 * row.value:.1f}"
        if row.low is None or row.high is None or math.isnan(row.low):
            return text
        return f"{text} ({100 * row.low:.0f}–{100 * row.high:.0f})"
    return "–"


def share(part: int, whole: int) -> str:
    """`part` of `whole` in percent and in numbers."""
    return f"{100 * part / whole:.0f} ({part} of {whole})" if whole else "–"


def by_edit(one: Measured) -> list[list[str]]:
    """For each harmless edit: clips that had it among others, and in how many of them a run reports an interval."""
    edits: dict[str, list[int]] = {}
    for row in read_sidecar(one.root):
        for name in {sham.manipulation for sham in row.shams} if row.file in one.reported else ():
            edits.setdefault(name, []).append(one.reported[row.file])
    return [
        [name, str(len(counts)), share(sum(count > 0 for count in counts), len(counts))]
        for name, counts in sorted(edits.items())
    ]


if __name__ == "__main__":
    try:
        main()
    except ForensicError as error:
        sys.exit(f"error: {error}")
