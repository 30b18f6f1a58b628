"""The stretches of a long file: what is judged as a clip of its own, and what the best of several is worth."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Stretch = tuple[int, int]
"""Half-open steps."""


def stretches(n: int, cuts: Sequence[int], longest: int) -> tuple[Stretch, ...]:
    """The shots between `cuts`, which begin with these steps of `n`, those of more than `longest` steps in equal parts.

    Certified lines hold for clips up to about 20 s, so a stretch is never longer than a window.
    """
    pieces: list[Stretch] = []
    borders = [0, *(cut for cut in cuts if 0 < cut < n), n]
    for first, stop in itertools.pairwise(borders):
        parts = -(-(stop - first) // longest)
        ends = [first + (stop - first) * k // parts for k in range(parts + 1)] if parts else []
        pieces += itertools.pairwise(ends)
    return tuple(pieces)


def handovers(cuts: Sequence[int], people: Sequence[NDArray[np.bool_]]) -> tuple[int, ...]:
    """Of the `cuts` those after which nobody is seen who was seen before, by the steps (T,) at which each is seen.

    A shot without a face is passed over: whoever spoke before it may speak on.
    """
    found: list[int] = []
    before: set[int] = set()
    n = max(map(len, people), default=0)
    for first, stop in stretches(n, cuts, max(1, n)):
        here = {number for number, flags in enumerate(people) if flags[first:stop].any()}
        if here and before and not here & before:
            found.append(first)
        before = here or before
    return tuple(found)


def corrected(log_odds: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """Log-odds (N,) of N stretches less what the best of so many gain by chance; unchanged where N = 1.

    The k-th strongest has `weight` ln(N / k) taken off, and counts no less than a weaker one: the procedure of
    Benjamini and Hochberg (1995, section 3), for log-odds whose chance to be reached falls by e per `weight`. So an
    authentic file reaches a line as seldom as a clip does, however long it is, and of the stretches that are called
    forged only a small share are not.
    """
    order = np.argsort(-log_odds, kind="stable")
    n = len(log_odds)
    shifted = log_odds[order] - weight * np.log(n / np.arange(1, n + 1))
    lowered = np.empty(n)
    lowered[order] = np.maximum.accumulate(shifted[::-1])[::-1]
    return lowered
