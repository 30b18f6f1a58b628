"""Ways to decide on a clip, compared on labelled clips: who tells forged from authentic best.

    python benchmarks/decisions.py --dataset ROOT [--dataset ROOT ...] --store DIR [--weights FOLDER] [--split dev]

The decision on segments is fitted anew, and each clip is judged by what other people's clips taught. All else takes the
model as it is. Features that the store lacks are extracted first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.labels import EVIDENCE, MODALITIES, REAL
from data.manifest import Manifest
from data.manifest.sidecar import clips_by_file
from data.store.store import FeatureStore
from pipeline.detector import Pipeline
from pipeline.evaluation.metrics import auc
from pipeline.evaluation.predict import score_split
from pipeline.evaluation.result import grid
from pipeline.localization.routed import TOP
from pipeline.localization.scores import ClipScores
from pipeline.training.decision import LabelledClip, fit_decision, labelled


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", type=Path, action="append", required=True, help="data set; repeatable")
    parser.add_argument("--store", type=Path, required=True, help="folder of features")
    parser.add_argument("--weights", default="compact", help="weights folder or preset (default: compact)")
    parser.add_argument("--split", default="dev")
    options = parser.parse_args()
    detector = Pipeline.from_pretrained(options.weights)
    clips = []
    for root in options.dataset:
        sidecar = clips_by_file(root)
        for sample, scores in score_split(
            detector, Manifest.lavdf(root), options.split, FeatureStore(options.store)
        ):
            if scores is not None and scores.windows and sample.label is not None:
                recipe = sidecar.get(sample.file.as_posix())
                clips.append(labelled(sample, sample.label, scores, recipe, root.name))
    rows = [[name, *(f"{value:.3f}" for value in values)] for name, *values in compare(clips)]
    print("\n".join(grid([["AUC of", "all clips", "picture and sound", "one track"], *rows])))


def compare(clips: Sequence[LabelledClip]) -> Iterator[tuple[str, float, float, float]]:
    """By decision: AUC over all clips, those of which both tracks were judged, and those of which one was."""
    forged = np.array([clip.label != REAL for clip in clips])
    both = np.array([all(clip.scores.valid[name].any() for name in MODALITIES) for clip in clips])
    parts = (np.ones(len(clips), np.bool_), both, ~both)

    def told(name: str, scores: NDArray[np.float64]) -> tuple[str, float, float, float]:
        every, of_both, of_one = (auc(scores[part], forged[part]) for part in parts)
        return name, every, of_both, of_one

    for name, decide in DECISIONS.items():
        scores = np.array([decide(clip.scores) for clip in clips])
        yield told(name, scores)
    fitted = fit_decision(clips, "all clips")
    if fitted is not None:
        # A clip without evidence is as likely forged as not.
        likely = np.full(len(clips), 0.5)
        likely[[bool(clip.scores.evidence) for clip in clips]] = np.nan_to_num(fitted.likely, nan=0.5)
        yield told("decision on segments", likely)


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


DECISIONS: dict[str, Callable[[ClipScores], float]] = {
    "class probabilities": _classes,
    "joint curve, highest sixteenth": _joint,
    "better track's curve, highest sixteenth": _curves,
    "better track's evidence, highest sixteenth": _evidence,
}
"""What a clip's score may be, without a fit."""


if __name__ == "__main__":
    main()
