"""Where a forger would strike: short spans on speech, away from each other and from the clip's borders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

FRAME_SAMPLES = 640
"""Samples of one 25 fps frame at 16 kHz; spans lie on frames, so that picture and sound share exact borders."""

NEAR = 8
"""Frames within which a span moves to the onset of a word: 0.32 s."""

_RATE = 16_000


def speech_activity(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each 25 fps frame (L // 640,) of 16 kHz `samples` (L,) holds speech.

    A frame speaks when its level between 100 and 4000 Hz lies clearly above the floor of the recording. Single frames
    (clicks) are dropped, holes of up to 0.12 s (stops within words) filled. Where the level hardly moves, as in
    silence or constant noise, nobody speaks.
    """
    n = len(samples) // FRAME_SAMPLES
    if n == 0:
        return np.zeros(0, bool)
    frames = samples[: n * FRAME_SAMPLES].reshape(n, FRAME_SAMPLES).astype(np.float64)
    bins = np.fft.rfftfreq(FRAME_SAMPLES, 1 / _RATE)
    spectrum = np.fft.rfft(frames * np.hanning(FRAME_SAMPLES), axis=1)[:, (bins >= 100) & (bins <= 4000)]
    level_db = 10 * np.log10(np.square(np.abs(spectrum)).sum(axis=1) * 5.33 / FRAME_SAMPLES**2 + 1e-12)
    heard = np.flatnonzero(level_db > -90)
    if len(heard) == 0:
        return np.zeros(n, bool)
    # Digital silence at the ends is padding and no part of the recording; between words it is how the recording pauses.
    inner = level_db[heard[0] : heard[-1] + 1]
    top = np.percentile(inner, 95)
    floor = max(np.percentile(inner, 10), top - 50)
    if top - floor < 8:
        return np.zeros(n, bool)
    active = (level_db > floor + max(4.0, 0.4 * (top - floor))) & (level_db > -65)
    return _without_runs(_without_runs(active, True, 1), False, 3)


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


def _without_runs(mask: NDArray[np.bool_], value: bool, longest: int) -> NDArray[np.bool_]:
    """`mask` with inner runs of `value` of at most `longest` entries turned over; those at the ends stay."""
    edges = np.flatnonzero(np.diff(mask)) + 1
    out = mask.copy()
    for start, stop in pairwise(edges):
        if mask[start] == value and stop - start <= longest:
            out[start:stop] = not value
    return out
