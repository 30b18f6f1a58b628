"""Alignment of a generator's output with its authentic counterpart: whether it fits, and by how much it is late."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.audio import Samples
from data.errors import InputError
from data.labels import FPS, RATE

STEP = RATE // 200
"""Samples of a step of the envelope: 5 ms."""

REACH_S = 0.5
"""Farthest that a fake is moved."""

MIN_SOUND, MIN_PICTURE = 0.8, 0.85
"""Least correlations of the envelopes and of the frames for the two to count as aligned."""

SAME_SOUND, SAME_PICTURE = 1e-4, 0.3
"""Mean absolute differences under which nothing was forged: of samples, and of small frames in grey levels."""

SHORTEST_S = 0.5
"""Least time that both must share."""

SIDE = 24
"""Pixels of the small grey frames that are compared."""


@dataclass(frozen=True)
class Fit:
    """By how many samples or frames the fake comes late, and the correlation when it is moved by that."""

    lag: int
    likeness: float


def fit_sound(fake: Samples, real: Samples) -> Fit:
    """The offset of the fake from the real recording, both mono 16 kHz, by the correlation of their log envelopes.

    Raises InputError when they share too little time, do not fit, or are the same.
    """
    reach, least = (round(seconds * RATE / STEP) for seconds in (REACH_S, SHORTEST_S))
    fit = _best_lag(_envelope(fake)[:, None], _envelope(real)[:, None], reach, least)
    if fit.likeness < MIN_SOUND:
        raise InputError(
            f"the sounds do not fit: correlation {fit.likeness:.2f}, at least {MIN_SOUND:g} is needed"
        )
    n = min(len(fake), len(real))
    if np.abs(fake[:n] - real[:n]).mean() < SAME_SOUND:
        raise InputError("the sounds are the same: nothing would be forged")
    return Fit(fit.lag * STEP, fit.likeness)


def fit_picture(fake: NDArray[np.uint8], real: NDArray[np.uint8]) -> Fit:
    """Offset of the fake's frames (N, H, W, 3) from the real ones (M, H', W', 3), by correlation of small frames.

    What moves decides by how much the fake is late; what is seen decides whether the two fit.

    Raises InputError as `fit_sound` does.
    """
    made, there = _small(fake), _small(real)
    reach, least = round(REACH_S * FPS), round(SHORTEST_S * FPS)
    lag = _best_lag(made - made.mean(axis=0), there - there.mean(axis=0), reach, least).lag
    a, b = _overlap(made, there, lag)
    likeness = _correlation(a - a.mean(), b - b.mean())
    if likeness < MIN_PICTURE:
        raise InputError(
            f"the pictures do not fit: correlation {likeness:.2f}, at least {MIN_PICTURE:g} is needed"
        )
    if np.abs(a - b).mean() < SAME_PICTURE:
        raise InputError("the pictures are the same: nothing would be forged")
    return Fit(lag, likeness)


def moved_sound(fake: Samples, lag: int, length: int) -> Samples:
    """`fake` (L,) `lag` samples earlier, with silence where it has none, (length,)."""
    early = fake[lag:] if lag > 0 else np.pad(fake, (-lag, 0))
    return np.pad(early[:length], (0, max(0, length - len(early)))).astype(np.float32)


def moved_frames(fake: NDArray[np.uint8], lag: int, like: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`fake` `lag` frames earlier, in the size and length of `like` (N, H, W, 3); its ends are held."""
    height, width = like.shape[1:3]
    places = np.clip(np.arange(len(like)) + lag, 0, len(fake) - 1)
    if fake.shape[1:3] == (height, width):
        return fake[places]
    shrinks = fake.shape[1] * fake.shape[2] > height * width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.stack([cv2.resize(fake[k], (width, height), interpolation=method) for k in places])


def _envelope(samples: Samples) -> NDArray[np.float64]:
    steps = samples[: len(samples) // STEP * STEP].reshape(-1, STEP).astype(np.float64)
    level_db = 10 * np.log10(np.square(steps).mean(axis=1) + 1e-10)
    top = np.percentile(level_db, 98) if len(level_db) else 0.0
    # Generators lose the room, so what lies far below the speech is no evidence.
    smooth = np.convolve(np.maximum(level_db, top - 40), np.full(5, 0.2), "same")
    return smooth - smooth.mean() if len(smooth) else smooth


def _small(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    grey = [
        cv2.cvtColor(cv2.resize(f, (SIDE, SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        for f in frames
    ]
    return np.stack(grey).reshape(len(frames), -1).astype(np.float64)


def _best_lag(fake: NDArray[np.float64], real: NDArray[np.float64], reach: int, least: int) -> Fit:
    """The lag of `fake` (N, C) against `real` (M, C) within `reach` steps at which they correlate best."""
    best = Fit(0, -1.0)
    # Small lags first: among equals the nearest is taken.
    for lag in sorted(range(-reach, reach + 1), key=abs):
        a, b = _overlap(fake, real, lag)
        if len(a) < least:
            continue
        likeness = _correlation(a, b)
        if likeness > best.likeness + 1e-6:
            best = Fit(lag, likeness)
    if best.likeness == -1.0:
        raise InputError(f"the two share less than {SHORTEST_S:g} s")
    return best


def _overlap(
    fake: NDArray[np.float64], real: NDArray[np.float64], lag: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = fake[max(lag, 0) :], real[max(-lag, 0) :]
    n = min(len(a), len(b))
    return a[:n], b[:n]


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    power = np.sqrt(np.square(a).sum() * np.square(b).sum())
    return float((a * b).sum() / power) if power > 0 else 0.0
