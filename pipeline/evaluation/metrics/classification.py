"""Classification metrics of videos or steps: AUC, EER, accuracy, confusion, calibration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]


def auc(scores: Scores, forged: NDArray[np.bool_], weights: Scores | None = None) -> float:
    """Probability that a forged item scores above an authentic one, ties counted half; NaN without both kinds.

    Shapes: all (N,); `weights` says how often each item counts. Raises ValueError when a score is not a number.
    """
    positive, negative = _counts(scores, forged, weights)
    below = np.cumsum(negative) - negative
    pairs = positive.sum() * negative.sum()
    return float((positive * (below + negative / 2)).sum() / pairs) if pairs else np.nan


def eer(scores: Scores, forged: NDArray[np.bool_]) -> float:
    """Equal error rate: where the miss rate equals the false alarm rate, interpolated between thresholds.

    Shapes: (N,), (N,); NaN without both kinds. Raises ValueError when a score is not a number.
    """
    positive, negative = _counts(scores, forged, None)
    if not positive.sum() or not negative.sum():
        return np.nan
    # Thresholds from below all scores to above them: misses rise from 0 to 1, false alarms fall from 1 to 0.
    missed = np.concatenate([[0.0], np.cumsum(positive)]) / positive.sum()
    alarms = 1 - np.concatenate([[0.0], np.cumsum(negative)]) / negative.sum()
    above = int(np.argmax(missed >= alarms))
    gap, previous = missed[above] - alarms[above], alarms[above - 1] - missed[above - 1]
    share = previous / (previous + gap)
    return float(missed[above - 1] + share * (missed[above] - missed[above - 1]))


def average_precision(scores: Scores, forged: NDArray[np.bool_]) -> float:
    """Mean of the precision over the recall that each distinct score adds, without interpolation; NaN without forged.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.metrics.average_precision_score.html. Shapes:
    (N,), (N,). Raises ValueError when a score is not a number.
    """
    positive, negative = (side[::-1] for side in _counts(scores, forged, None))
    if not positive.sum():
        return np.nan
    right = np.cumsum(positive)
    return float((positive * right / np.cumsum(positive + negative)).sum() / positive.sum())


def f1(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Harmonic mean of precision and recall, 0 where nothing is right; shapes (N,), (N,)."""
    right = int((predicted & true).sum())
    both = int(predicted.sum() + true.sum())
    return 2 * right / both if both else 0.0


def accuracy(
    predicted: NDArray[np.integer], labels: NDArray[np.integer], weights: Scores | None = None
) -> float:
    """Share of items with the right class, each counted `weights` times; shapes (N,); NaN without items."""
    right = (predicted == labels).astype(np.float64)
    counted = weights if weights is not None else np.ones(len(right))
    total = float(counted.sum())
    return float((right * counted).sum() / total) if total else np.nan


def confusion(predicted: NDArray[np.integer], labels: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Number of items of each true class (row) by predicted class (column), (classes, classes)."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


class Bin(NamedTuple):
    """Items with a probability in [`low`, `high`): how many, its mean, and the share of them that is forged."""

    low: float
    high: float
    items: float
    probability: float
    forged: float


def reliability(
    probabilities: Scores, forged: NDArray[np.bool_], weights: Scores | None = None, bins: int = 10
) -> tuple[Bin, ...]:
    """Items by their probability of being forged, in `bins` equal parts of [0, 1]; the empty ones are left out.

    Shapes: all (N,); `weights` says how often each item counts. Raises ValueError when a probability is not in [0, 1].
    """
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("a probability is not between 0 and 1")
    counted = weights.astype(np.float64) if weights is not None else np.ones(len(probabilities))
    part = np.minimum((probabilities * bins).astype(np.int64), bins - 1)  # 1 belongs to the last
    counts, sums, hits = (
        np.bincount(part, counted * value, bins) for value in (1.0, probabilities.astype(np.float64), forged)
    )
    return tuple(
        Bin(k / bins, (k + 1) / bins, float(n), float(sums[k] / n), float(hits[k] / n))
        for k, n in enumerate(counts)
        if n
    )


def even_weights(forged: NDArray[np.bool_], weights: Scores | None = None) -> NDArray[np.float64]:
    """`weights` (N,), or ones, such that forged and authentic items (N,) weigh the same; as they are without either."""
    counted = weights.astype(np.float64) if weights is not None else np.ones(len(forged))
    sides = [counted[forged].sum(), counted[~forged].sum()]
    if not all(sides):
        return counted
    return np.where(forged, counted / sides[0], counted / sides[1]) * (sum(sides) / 2)


def calibration_error(
    probabilities: Scores, forged: NDArray[np.bool_], weights: Scores | None = None, bins: int = 10
) -> float:
    """Expected calibration error: how far apart probability and share lie in the mean over items; NaN without any.

    Source: Naeini, Cooper and Hauskrecht (2015); the binary form, on the probability of being forged. Arguments and
    errors are those of `reliability`.
    """
    rows = reliability(probabilities, forged, weights, bins)
    total = sum(row.items for row in rows)
    gaps = sum(row.items * abs(row.probability - row.forged) for row in rows)
    return gaps / total if total else np.nan


def _counts(
    scores: Scores, forged: NDArray[np.bool_], weights: Scores | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Forged and authentic items at each distinct score, from the lowest."""
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    levels, level = np.unique(scores, return_inverse=True)
    counted = weights.astype(np.float64) if weights is not None else np.ones(len(scores))
    positive = np.bincount(level, counted * forged, len(levels)).astype(np.float64)
    return positive, np.bincount(level, counted, len(levels)).astype(np.float64) - positive
