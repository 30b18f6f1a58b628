"""Placement of forged spans: short, on speech, away from each other and from the clip's borders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NEAR = 8
"""Frames within which a span moves to the onset of a word: 0.32 s."""


def place_spans(
    activity: NDArray[np.bool_], lengths: Sequence[int], rng: np.random.Generator, margin: int = 5
) -> tuple[tuple[int, int], ...]:
    """Disjoint frame spans ``(first, stop)`` of these `lengths` in frames, sorted, each at least 60 % active.

    `margin` frames stay free around each span and at both borders. A span starts at the onset of speech where one
    lies near its place. The longest are placed first; those that no longer fit are left out.
    """
    free = np.ones(len(activity), bool)
    free[:margin] = False
    free[max(0, len(activity) - margin) :] = False
    onsets = np.flatnonzero(activity & ~np.concatenate([[False], activity[:-1]]))
    spans: list[tuple[int, int]] = []
    for length in sorted(lengths, reverse=True):
        if length < 1 or length > len(activity):
            continue
        spoken = np.convolve(activity, np.ones(length), "valid")
        open_steps = np.convolve(free, np.ones(length), "valid")
        starts = np.flatnonzero((spoken >= 0.6 * length) & (open_steps == length))
        if len(starts) == 0:
            continue
        first = int(rng.choice(starts))
        near = np.intersect1d(starts, onsets)
        if len(near) and np.abs(near - first).min() <= NEAR:
            first = int(near[np.abs(near - first).argmin()])
        spans.append((first, first + length))
        free[max(0, first - margin) : first + length + margin] = False
    return tuple(sorted(spans))
