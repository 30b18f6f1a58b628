"""Bootstrap over videos, or over the people in them: the uncertainty of a number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def resample(
    videos: int, replicates: int, seed: int, groups: Sequence[str] | None = None
) -> Iterator[NDArray[np.float64]]:
    """How often each video counts, (V,), in each of `replicates` samples drawn with replacement.

    With `groups` (V,), for example identities, whole groups are drawn: videos of one person are not independent.
    """
    rng = np.random.default_rng(seed)
    names = np.asarray(groups) if groups is not None else np.arange(videos)
    known, group = np.unique(names, return_inverse=True)
    for _ in range(replicates):
        drawn = np.bincount(rng.integers(len(known), size=len(known)), minlength=len(known))
        yield drawn[group].astype(np.float64)


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of `values`; NaN among them (a sample without forgeries) are left out.

    NaN twice when nothing is left.
    """
    finite = np.asarray(values)[~np.isnan(values)]
    if not len(finite):
        return np.nan, np.nan
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
