"""The finding where no decision on segments is at hand: by the class probabilities, as the paper routes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.schema import LocalizeConfig
from data.labels import CLASSES, MODALITIES, REAL, Modality
from pipeline.localization.localize import localize, proposals
from pipeline.localization.scores import ClipScores, Curve, Finding, Verdict

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
    found = localize(scores, config) if forged_class else ()
    shares = by_class(window.probabilities)
    return Finding(verdict, window.predicted, probability, EVEN, EVEN, found, strongest, None, shares)


def _of_branch(scores: ClipScores, config: LocalizeConfig, name: Modality, curve: Curve) -> Finding:
    """The finding on the one track that was judged, by the mean of the highest sixteenth of its branch's curve."""
    probability = top(curve[scores.valid[name]].astype(np.float64))
    found = localize(scores, config, name)
    if not found:
        # A mean that reaches the line has a step that does.
        lenient = config.model_copy(update={"onset": EVEN, "offset": EVEN, "min_duration_s": 0.0})
        found = localize(scores, lenient, name)
    strongest = max(found, key=lambda one: one.score, default=None)
    shares = dict.fromkeys(CLASSES, 0.0) | {CLASSES[REAL]: 1 - probability, name: probability}
    if probability >= _SURE:
        return Finding("forged", name, probability, _SURE, EVEN, found, strongest, None, shares)
    verdict: Verdict = "undecided" if probability >= EVEN else "not_found"
    return Finding(verdict, CLASSES[REAL], probability, _SURE, EVEN, (), strongest, None, shares)


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
