"""Ways to decide on a clip and to find what is forged in it, compared on labelled clips.

    python benchmarks/decisions.py --dataset ROOT [--dataset ROOT ...] --store DIR [--weights FOLDER ...] [--split dev]

What is fitted is fitted anew, and each clip is judged by what other people's clips taught; all else takes the model as
it is. With several weights folders, of several seeds, the table has means and standard deviations. Features that the
store lacks are extracted first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from refinements import diffused, projected, scans, with_evidence, without_edges

from configs.schema import DecisionConfig, LocalizeConfig
from data.labels import EVIDENCE, MODALITIES, REAL
from data.manifest import Manifest
from data.manifest.sidecar import clips_by_file
from data.store.store import FeatureStore
from data.timeline import merge
from pipeline.detector import Pipeline
from pipeline.evaluation.metrics import auc, localization
from pipeline.evaluation.predict import as_rows, proposal_rows, score_split
from pipeline.evaluation.result import grid
from pipeline.localization.decide import decided_proposals, decision_of
from pipeline.localization.routed import TOP
from pipeline.localization.scores import ClipScores
from pipeline.localization.segments import Segment, Track, prepare
from pipeline.training.decision import LabelledClip, fit_decision, labelled

MEASURES = ("AUC, all clips", "picture and sound", "one track", "mAP(0.1:0.7)", "AP@0.7")

Floats = NDArray[np.float64]
Judges = Sequence[DecisionConfig | None]
Change = Callable[[ClipScores], ClipScores]


@dataclass(frozen=True)
class Judged:
    """What a way says of each clip: a score (N,), and ranked proposals (P, 3) or None where it makes none."""

    scores: Floats
    rows: Sequence[Floats] | None = None


Way = Callable[[Sequence[LabelledClip], LocalizeConfig, Judges], Judged]
"""What it says of clips, under settings, with the decision that each clip may be judged by."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", type=Path, action="append", required=True, help="data set; repeatable")
    parser.add_argument("--store", type=Path, required=True, help="folder of features")
    parser.add_argument("--weights", action="append", help="weights folder or preset; repeatable")
    parser.add_argument("--split", default="dev")
    options = parser.parse_args()
    tables = []
    for weights in options.weights or ["compact"]:
        detector = Pipeline.from_pretrained(weights)
        clips = scored(detector, options.dataset, options.split, FeatureStore(options.store))
        tables.append(dict(compare(clips, detector.config.localize)))
    print(table(tables))


def scored(detector: Pipeline, roots: Sequence[Path], split: str, store: FeatureStore) -> list[LabelledClip]:
    """The clips of `split` of data sets at `roots` that can be judged, each as one person."""
    clips = []
    for root in roots:
        sidecar = clips_by_file(root)
        for sample, scores in score_split(detector, Manifest.lavdf(root), split, store):
            if scores is not None and scores.windows and scores.evidence and sample.label is not None:
                recipe = sidecar.get(sample.file.as_posix())
                alone = with_evidence(scores, scores.evidence)
                clips.append(labelled(sample, sample.label, alone, recipe, root.name))
    return clips


def table(tables: Sequence[dict[str, tuple[float, ...]]]) -> str:
    """MEASURES of each way: means over `tables`, with standard deviations where they are several; – for none."""
    lines = [["way", *MEASURES]]
    for name in tables[0]:
        values = np.array([one[name] for one in tables])
        cells = []
        for mean, spread in zip(values.mean(axis=0), values.std(axis=0, ddof=len(tables) > 1), strict=True):
            wide = f" ± {spread:.3f}" if len(tables) > 1 else ""
            cells.append("–" if np.isnan(mean) else f"{mean:.3f}{wide}")
        lines.append([name, *cells])
    return "\n".join(grid(lines))


def compare(
    clips: Sequence[LabelledClip], settings: LocalizeConfig
) -> Iterator[tuple[str, tuple[float, ...]]]:
    """MEASURES of each way: AUC over all clips, those of which both tracks were judged, those of which one was; and
    how well its proposals find the forged spans."""
    forged = np.array([clip.label != REAL for clip in clips])
    both = np.array([all(clip.scores.valid[name].any() for name in MODALITIES) for clip in clips])
    labels = np.array([clip.label for clip in clips])
    truth = [
        np.array([[s.start_s, s.end_s] for s in merge(part for of in clip.forged.values() for part in of)])
        for clip in clips
    ]
    judges = _judges(clips)
    for name, way in WAYS.items():
        judged = way(clips, settings, judges)
        told = [auc(judged.scores[part], forged[part]) for part in (np.ones_like(both), both, ~both)]
        found = {"mAP": np.nan, "AP@0.7": np.nan}
        if judged.rows is not None:
            found = localization(judged.rows, [one.reshape(-1, 2) for one in truth], labels=labels)
        yield name, (*told, found["mAP"], found["AP@0.7"])


def _pooled(score: Callable[[ClipScores], float]) -> Way:
    def way(clips: Sequence[LabelledClip], settings: LocalizeConfig, judges: Judges) -> Judged:
        return Judged(np.array([score(clip.scores) for clip in clips]))

    return way


def _routed(clips: Sequence[LabelledClip], settings: LocalizeConfig, judges: Judges) -> Judged:
    """The paper's: class probabilities, intervals of the branches between the thresholds of `settings`."""
    plain = settings.model_copy(update={"decision": None})
    rows = [proposal_rows(clip.scores, plain) for clip in clips]
    return Judged(np.array([_classes(clip.scores) for clip in clips]), rows)


def _fitted(
    change: Change | None = None,
    segments: Callable[[Track, DecisionConfig, str], tuple[Segment, ...]] | None = None,
) -> Way:
    """The decision on segments, of scores after a `change`, with `segments` of a track other than its own if given."""

    def way(clips: Sequence[LabelledClip], settings: LocalizeConfig, judges: Judges) -> Judged:
        changed = (
            [replace(clip, scores=change(clip.scores)) for clip in clips] if change is not None else clips
        )
        likely, rows = np.full(len(clips), 0.5), [np.zeros((0, 3))] * len(clips)
        for k, judge in enumerate(judges if change is None else _judges(changed)):
            scores, config = changed[k].scores, settings.model_copy(update={"decision": judge})
            decision = decision_of(scores, config)
            if judge is None or decision is None:
                continue
            if segments is not None:
                tracks = {
                    name: replace(
                        one, stretches=(), segments=segments(_track(scores, judge, name), judge, name)
                    )
                    for name, one in decision.tracks.items()
                }
                decision = replace(decision, tracks=tracks)
            likely[k] = decision.forged
            rows[k] = as_rows(decided_proposals(scores, config, decision))
        return Judged(likely, rows)

    return way


def _judges(clips: Sequence[LabelledClip]) -> Judges:
    """For each clip the decision that other people's clips teach; none where nothing can be fitted."""
    fitted = fit_decision(clips, "all clips")
    return fitted.judges if fitted is not None else ()


def _track(scores: ClipScores, judge: DecisionConfig, name: str) -> Track:
    return prepare(scores.evidence[name], scores.valid[name], judge.tracks()[name])


def _spread(track: Track, judge: DecisionConfig, name: str) -> tuple[Segment, ...]:
    return diffused(track, judge.tracks()[name].segment)


def _scanned(clips: Sequence[LabelledClip], settings: LocalizeConfig, judges: Judges) -> Judged:
    """A scan of each track, the one that tells other people's clips best; in deviations of authentic ones."""
    likely, rows = np.full(len(clips), -np.inf), [np.zeros((0, 3))] * len(clips)
    for name in MODALITIES:
        tracks = {
            k: _track(clips[k].scores, judge, name)
            for k, judge in enumerate(judges)
            if judge is not None and name in judge.tracks() and clips[k].scores.valid[name].any()
        }
        forged = np.array([clips[k].is_forged(name) for k in tracks])
        every = list(scans(_lengths(clips, name)))
        strongest = np.array([[scan.strongest(track) for track in tracks.values()] for scan in every])
        for judge in {id(judges[k]): judges[k] for k in tracks}.values():
            others = np.array([judges[k] is not judge for k in tracks])
            best = int(np.argmax([auc(values[others], forged[others]) for values in strongest]))
            usual = strongest[best, others & ~forged]
            for k in (k for k in tracks if judges[k] is judge):
                found = [
                    [(one.log_odds - usual.mean()) / usual.std(), *_seconds(clips[k].scores, one)]
                    for one in every[best].segments(tracks[k])
                ]
                rows[k] = np.concatenate([rows[k], np.array(found).reshape(-1, 3)])
                likely[k] = max(likely[k], rows[k][:, 0].max(initial=-np.inf))
    likely[np.isinf(likely)] = 0.0
    return Judged(likely, [one[np.argsort(-one[:, 0], kind="stable")] for one in rows])


def _lengths(clips: Sequence[LabelledClip], name: str) -> NDArray[np.int64]:
    """Lengths of what is forged in a track, in steps."""
    spans = [(part, clip.scores.grid) for clip in clips for part in clip.forged[name]]
    return np.array([round(part.duration_s / float(at.step)) for part, at in spans], np.int64)


def _seconds(scores: ClipScores, segment: Segment) -> tuple[float, float]:
    span = scores.grid.interval(segment.first, segment.stop)
    return span.start_s, span.end_s


def _classes(scores: ClipScores) -> float:
    probabilities = scores.video_probabilities
    return 1 - probabilities[REAL] if probabilities is not None else 0.5


def _joint(scores: ClipScores) -> float:
    return _top(scores.joint[scores.valid["joint"]])


def _curves(scores: ClipScores) -> float:
    return max(
        _top(getattr(scores, name)[scores.valid[name]]) for name in MODALITIES if scores.valid[name].any()
    )


def _evidence(scores: ClipScores) -> float:
    inside = EVIDENCE.index("inside")
    highest = [_top(values[scores.valid[name], inside]) for name, values in scores.evidence.items()]
    return max(highest, default=-np.inf)


def _top(values: np.ndarray) -> float:
    return float(np.sort(values)[-max(1, len(values) // TOP) :].mean())


WAYS: dict[str, Way] = {
    "class probabilities, intervals by the paper's routing": _routed,
    "joint curve, highest sixteenth": _pooled(_joint),
    "better track's curve, highest sixteenth": _pooled(_curves),
    "better track's evidence, highest sixteenth": _pooled(_evidence),
    "a scan over all spans": _scanned,
    "decision on segments": _fitted(),
    "… without onsets and offsets": _fitted(without_edges),
    "… of projected evidence": _fitted(projected),
    "… with scores spread over a graph": _fitted(segments=_spread),
}
"""The ways, those that need no fit first."""


if __name__ == "__main__":
    main()
