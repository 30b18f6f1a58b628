"""Findings by the branches of RT-DeepLoc, where no decision on segments is at hand, or one branch was asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from configs.schema import LocalizeConfig
from data.labels import CLASSES, MODALITIES, REAL, Modality, Route
from pipeline.localization.localize import localize, proposals
from pipeline.localization.scores import (
    MODALITY,
    ClipScores,
    Curve,
    Finding,
    Thresholds,
    Verdict,
    class_of,
)

TOP = 16
"""The highest sixteenth of a curve stands for its track, as in the model's pooling (paper 3.4)."""

EVEN = 0.5
"""The line of a clip that no decision on segments was made of: as likely forged as not."""

_SURE = 0.9
"""The line on the curve of a track that is alone, without such a decision: the head of one track is no calibrated
probability of a clip."""


def routed(scores: ClipScores, config: LocalizeConfig) -> Finding:
    """The finding where no decision on segments is at hand: the class probabilities decide, as the paper's routing.

    They are of clips with both tracks. Of a clip with one, its own branch decides: a sound track that is taken away
    would else take the classes that need it along.
    """
    judged = [name for name in MODALITIES if scores.valid[name].any()]
    if len(judged) == 1 and (curve := getattr(scores, judged[0])) is not None:
        return _of_branch(scores, config, judged[0], curve)
    window = scores.deciding
    assert window is not None
    # Against the likeliest forged class, so that 1/2 is where the most probable class changes.
    forged = window.probabilities[likeliest(window.probabilities)]
    probability = forged / (forged + window.probabilities[REAL])
    ranked = proposals(scores, config)
    strongest = ranked[0] if ranked else None
    forged_class = window.predicted != CLASSES[REAL]
    verdict: Verdict = "forged" if forged_class else "not_found"
    intervals = localize(scores, config) if forged_class else ()
    predicted = {each.predicted for each in scores.windows}
    return Finding(
        verdict=verdict,
        # Windows of several classes may have intervals: the clip's class is the one that these show.
        label=class_of(each.modality for each in intervals) if intervals else window.predicted,
        probability=probability,
        line=EVEN,
        floor=EVEN,
        intervals=intervals,
        strongest=strongest,
        probabilities=by_class(window.probabilities),
        branches=tuple(branch for branch, label in MODALITY.items() if label in predicted),
        thresholds=thresholds_of(config),
    )


def _of_branch(scores: ClipScores, config: LocalizeConfig, name: Modality, curve: Curve) -> Finding:
    """The finding on the one track that was judged, by the mean of the highest sixteenth of its branch's curve."""
    probability = top(curve[scores.valid[name]].astype(np.float64))
    intervals = localize(scores, config, name)
    if not intervals:
        # A mean that reaches the line has a step that does.
        lenient = config.model_copy(update={"onset": EVEN, "offset": EVEN, "min_duration_s": 0.0})
        intervals = localize(scores, lenient, name)
    forged = probability >= _SURE
    return Finding(
        verdict="forged" if forged else "undecided" if probability >= EVEN else "not_found",
        label=name if forged else CLASSES[REAL],
        probability=probability,
        line=_SURE,
        floor=EVEN,
        intervals=intervals if forged else (),
        strongest=max(intervals, key=lambda one: one.score, default=None),
        probabilities=dict.fromkeys(CLASSES, 0.0) | {CLASSES[REAL]: 1 - probability, name: probability},
        branches=(name,),
        thresholds=thresholds_of(config),
    )


def as_asked(finding: Finding, scores: ClipScores, config: LocalizeConfig, route: Route) -> Finding:
    """`finding` with the intervals of the branch that was asked for, or of "all"; the verdict stays."""
    branches = tuple(MODALITY) if route == "all" else (route,)
    return replace(
        finding,
        intervals=localize(scores, config, route),
        branches=branches if scores.windows else (),
        thresholds=thresholds_of(config),
    )


def thresholds_of(config: LocalizeConfig) -> Thresholds:
    """The thresholds by which `localize` makes intervals."""
    return Thresholds(config.onset, config.offset)


def top(values: NDArray[np.float64]) -> float:
    """Mean of the highest sixteenth of values (N,), N > 0."""
    most = max(1, len(values) // TOP)
    return float(np.partition(values, len(values) - most)[-most:].mean())


def by_class(probabilities: tuple[float, ...]) -> dict[str, float]:
    """`probabilities` of CLASSES by name."""
    return dict(zip(CLASSES, probabilities, strict=True))


def likeliest(probabilities: tuple[float, ...]) -> int:
    """The likeliest forged class."""
    return max(range(1, len(CLASSES)), key=lambda k: probabilities[k])
