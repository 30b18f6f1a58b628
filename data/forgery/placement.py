"""Where a forger would strike: short spans on speech, away from each other and from the clip's borders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FRAME_SAMPLES = 640
"""Samples of one 25 fps frame at 16 kHz; spans lie on frames, so that picture and sound share exact borders."""


def speech_activity(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each 25 fps frame (L // 640,) of 16 kHz `samples` (L,) holds speech, by its level above the floor.

    The threshold lies 40 % of the way (in dB) from the 10th to the 95th percentile of the frames' levels.
    """
    n = len(samples) // FRAME_SAMPLES
    if n == 0:
        return np.zeros(0, bool)
    level_db = 10 * np.log10(
        np.square(samples[: n * FRAME_SAMPLES].reshape(n, -1)).mean(axis=1, dtype=np.float64) + 1e-10
    )
    floor, top = np.percentile(level_db, [10, 95])
    return (level_db > floor + 0.4 * (top - floor)) & (level_db > -60)


def place_spans(
    activity: NDArray[np.bool_],
    count: int,
    length_range: tuple[int, int],
    rng: np.random.Generator,
    margin: int = 5,
) -> tuple[tuple[int, int], ...]:
    """Up to `count` disjoint frame spans ``(first, stop)`` of which at least 60 % is active.

    Lengths are drawn from `length_range` (both ends included), in frames; `margin` frames stay free around each span
    and at both borders. Fewer spans come back when no more fit, none when not even one does.
    """
    free = np.ones(len(activity), bool)
    free[:margin] = False
    free[max(0, len(activity) - margin) :] = False
    spans: list[tuple[int, int]] = []
    for _ in range(count):
        length = int(rng.integers(length_range[0], length_range[1] + 1))
        spoken = np.convolve(activity, np.ones(length), "valid") if len(activity) >= length else np.zeros(0)
        open_steps = np.convolve(free, np.ones(length), "valid") if len(activity) >= length else np.zeros(0)
        starts = np.flatnonzero((spoken >= 0.6 * length) & (open_steps == length))
        if len(starts) == 0:
            continue
        first = int(rng.choice(starts))
        spans.append((first, first + length))
        free[max(0, first - margin) : first + length + margin] = False
    return tuple(sorted(spans))
