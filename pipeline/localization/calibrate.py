"""Calibration of class probabilities: one temperature and a bias per class, fitted to video-level labels.

Guo et al. (2017), 4.2, vector scaling with one temperature in place of a scale per class: five numbers, because a
split may have seventy clips. A model's logits are the logarithms of its probabilities but for a constant, which the
softmax drops, so that any method can be calibrated by what it says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.schema import Calibration
from data.labels import CLASSES, REAL

IDENTITY = Calibration()

SHARPNESS_PRIOR = 1.0
"""Weight of a - 1 - ln a, a = 1 / T: a gamma density of the sharpness with its mode at 1. It keeps T positive and the
objective convex, and pulls about as hard as one or two clips do."""

BIAS_PRIOR = 25.0
"""Weight of b² / 2: a normal density of each bias, of standard deviation 0.2, because a dev split of some seventy clips
tells little of five numbers: out of sample free biases called fewer clips by their class (docs/decisions.md). It
settles what the likelihood leaves open: only differences of biases count."""

_STEPS = 100
_HALVINGS = 40
_TOLERANCE = 1e-12
_DIGITS = 4

Array = NDArray[np.float64]


def calibrated(probabilities: Sequence[float], calibration: Calibration) -> tuple[float, ...]:
    """softmax(ln p / T + b) of the probabilities of CLASSES; the very same numbers where T = 1 and b = 0.

    A class of probability 0 keeps it: it needs a track that is absent.
    """
    if calibration == IDENTITY:
        return tuple(probabilities)
    logits = [
        math.log(p) / calibration.temperature + bias if p > 0 else -math.inf
        for p, bias in zip(probabilities, calibration.bias, strict=True)
    ]
    highest = max(logits)
    parts = [math.exp(logit - highest) for logit in logits]
    return tuple(part / sum(parts) for part in parts)


def seen_class(label: int, probabilities: Sequence[float], sees: bool, hears: bool) -> int | None:
    """The class that calibration may ask for, of a clip with `label`; None where the clip can say nothing.

    What is forged in a track that the model did not see is no forgery to it (`Batch.seen_label`). A method of two
    classes has one forged class, whatever the label.
    """
    seen = (label % 2 == 1 and sees) + 2 * (label >= 2 and hears)
    if probabilities[seen] > 0:
        return seen
    forged = [k for k, p in enumerate(probabilities) if k != REAL and p > 0]
    return forged[0] if seen != REAL and len(forged) == 1 else None


def fit(probabilities: Array, labels: NDArray[np.int64]) -> Calibration:
    """The calibration of greatest posterior density, to four digits; the identity without clips.

    Shapes: (N, 4) in the order of CLASSES, 0 where a class is impossible; (N,) with classes whose probability is not
    0. The same numbers whatever the machine draws, since nothing is drawn: Newton's method on a convex function.
    Raises ValueError for a label whose class has probability 0.
    """
    rows = np.arange(len(labels))
    possible = probabilities > 0
    if not possible[rows, labels].all():
        raise ValueError("a label names a class of probability 0")
    logits = np.log(np.where(possible, probabilities, 1.0))
    point = np.array([1.0, *np.zeros(len(CLASSES))])  # 1 / T, then the biases
    here = _objective(point, logits, possible, labels)
    for _ in range(_STEPS):
        step = np.linalg.solve(here.curvature, here.slope)
        gain = float(here.slope @ step)
        size = 1.0
        for _ in range(_HALVINGS):
            there = point - size * step
            if there[0] > 0:
                new = _objective(there, logits, possible, labels)
                if new.value <= here.value - size * gain / 4:
                    point, here = there, new
                    break
            size /= 2
        else:
            break  # rounding hides what is left to gain
        if gain <= _TOLERANCE * (1 + abs(here.value)):
            break
    temperature, *bias = (float(f"{value:.{_DIGITS}g}") + 0.0 for value in (1 / point[0], *point[1:]))
    return Calibration(temperature=temperature, bias=(bias[0], bias[1], bias[2], bias[3]))


def evened(calibration: Calibration, labels: NDArray[np.int64]) -> Calibration:
    """`calibration`, fitted to clips of `labels` (N,), for a clip that is as likely authentic as forged.

    Data sets hold three forged clips to one authentic, the world does not (Saerens et al. 2002). The same where one of
    the two is missing.
    """
    forged, authentic = int((labels != REAL).sum()), int((labels == REAL).sum())
    if not forged or not authentic:
        return calibration
    real, *others = calibration.bias
    real = float(f"{real + math.log(forged / authentic):.{_DIGITS}g}")
    return Calibration(temperature=calibration.temperature, bias=(real, others[0], others[1], others[2]))


def log_loss(probabilities: Array, labels: NDArray[np.int64], weights: Array | None = None) -> float:
    """Mean of -ln p of the true classes, in nats. Shapes as in `fit`, `weights` (N,); NaN without clips."""
    if not len(labels):
        return math.nan
    return float(np.average(-np.log(probabilities[np.arange(len(labels)), labels]), weights=weights))


class _Objective(NamedTuple):
    value: float
    slope: Array
    curvature: Array


def _objective(
    point: Array, logits: Array, possible: NDArray[np.bool_], labels: NDArray[np.int64]
) -> _Objective:
    """Negative logarithm of likelihood and priors, its gradient (5,) and Hessian (5, 5), at (1 / T, b)."""
    sharpness, bias = point[0], point[1:]
    rows, classes = np.arange(len(labels)), logits.shape[1]
    scores = np.where(possible, sharpness * logits + bias, -np.inf)
    scores -= scores.max(axis=1, keepdims=True)
    parts = np.exp(scores)
    likely = parts / parts.sum(axis=1, keepdims=True)
    # What the parameters multiply in each class, (N, 4, 5): the logit, and 1 for the class's own bias.
    by = np.concatenate(
        [logits[..., None], np.broadcast_to(np.eye(classes), (len(rows), classes, classes))], 2
    )
    mean = np.einsum("nk,nkp->np", likely, by)
    lost = np.log(parts.sum(axis=1)) - scores[rows, labels]
    value = (
        lost.sum() + SHARPNESS_PRIOR * (sharpness - 1 - math.log(sharpness)) + BIAS_PRIOR * (bias @ bias) / 2
    )
    slope = (mean - by[rows, labels]).sum(axis=0)
    slope += np.array([SHARPNESS_PRIOR * (1 - 1 / sharpness), *(BIAS_PRIOR * bias)])
    curvature = np.einsum("nk,nkp,nkq->pq", likely, by, by) - mean.T @ mean
    curvature += np.diag([SHARPNESS_PRIOR / sharpness**2, *np.full(classes, BIAS_PRIOR)])
    return _Objective(float(value), slope, curvature)
