"""Models of choice: of each set of options one is true, or none; logistic regression is the case of one option."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RIDGE = 1.0
"""Weight of half the squared length of standardised weights: as sure as one or two clips are."""

_STEPS = 50

Floats = NDArray[np.float64]


def choice(
    rows: Floats,
    targets: Floats,
    weights: Floats,
    prior: Floats,
    penalty: Floats,
    sizes: Sequence[int] | None = None,
) -> Floats:
    """Weights (F,) of a model of choice: of each set of options, one is true or none (McFadden, 1974).

    `rows` (N, F) are the options, set after set, `sizes` how many each set has; `targets` (N,) says how likely each is
    the true one, 0 throughout a set where none is; `weights` has how often each set counts. An option has the odds
    exp(rows @ weights) against none. Sets of one option, the default, make it logistic regression. Half of `penalty`
    (F,) times the squared distance from `prior` (F,) is added. Newton's method, with steps that never go uphill.
    """
    counts = np.asarray(sizes if sizes is not None else np.ones(len(rows), np.int64))
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    per_row = np.repeat(weights, counts)

    def shares(at: Floats) -> tuple[Floats, Floats]:
        """Probability of each option (N,), and ln of what all of a set weigh against none (S,)."""
        z = rows @ at
        highest = np.maximum(np.maximum.reduceat(z, first), 0.0)
        parts = np.exp(z - np.repeat(highest, counts))
        total = np.add.reduceat(parts, first) + np.exp(-highest)
        return parts / np.repeat(total, counts), highest + np.log(total)

    def loss(at: Floats) -> float:
        return float(
            weights @ shares(at)[1] - (per_row * targets) @ (rows @ at) + 0.5 * penalty @ (at - prior) ** 2
        )

    point = prior.copy()
    here = loss(point)
    for _ in range(_STEPS):
        likely = shares(point)[0]
        slope = rows.T @ (per_row * (likely - targets)) + penalty * (point - prior)
        means = np.add.reduceat(rows * likely[:, None], first)
        curvature = (rows * (per_row * likely)[:, None]).T @ rows - (means * weights[:, None]).T @ means
        step = np.linalg.solve(curvature + np.diag(penalty + 1e-9), slope)
        size = 1.0
        while size > 1e-6 and loss(point - size * step) > here:
            size /= 2
        if size <= 1e-6:
            break
        point = point - size * step
        now = loss(point)
        if here - now <= 1e-10 * (1 + abs(here)):
            break
        here = now
    return point


def standardised(
    rows: Floats, targets: Floats, weights: Floats, sizes: Sequence[int] | None = None
) -> Floats:
    """Weights of a model of choice (F,) whose first feature is the constant 1, the others penalised in units of their
    spread. One that does not vary has the weight 0."""
    centre, spread = rows[:, 1:].mean(axis=0), rows[:, 1:].std(axis=0)
    varies = spread > 1e-9
    scale = np.where(varies, spread, 1.0)
    scaled = np.concatenate([rows[:, :1], np.where(varies, (rows[:, 1:] - centre) / scale, 0.0)], axis=1)
    penalty = np.full(rows.shape[1], RIDGE)
    penalty[0] = 0.0
    coefficients = choice(scaled, targets, weights, np.zeros(rows.shape[1]), penalty, sizes)
    slopes = np.where(varies, coefficients[1:] / scale, 0.0)
    return np.concatenate([[coefficients[0] - slopes @ centre], slopes])
