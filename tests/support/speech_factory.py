"""A voice that the detector of speech takes for one, and what sounds go into it: no engine, no recording."""

from __future__ import annotations

import numpy as np

RATE = 16_000
Wave = np.ndarray


def at(seconds: float) -> Wave:
    return np.arange(round(seconds * RATE)) / RATE


def loud(wave: Wave, rms: float = 0.1) -> Wave:
    level = np.sqrt(np.mean(wave**2))
    return (wave * (rms / level if level else 0)).astype(np.float32)


def harmonics(phase: Wave, count: int = 20) -> Wave:
    """A buzz whose fundamental has that `phase` in radians."""
    return np.sum([np.sin(k * phase) / k for k in range(1, count)], axis=0)


def voice(seconds: float, seed: int = 0, base_hz: float = 120.0) -> Wave:
    """Four syllables a second on a pitch that glides by semitones and trembles by cents, and a breath of noise."""
    rng = np.random.default_rng(seed)
    t = at(seconds)
    knots = rng.uniform(-3, 3, round(seconds * 3) + 2)
    tremble = 0.3 * rng.standard_normal(round(seconds * 100) + 2)  # semitones, every 10 ms
    glide = np.interp(t * 3, np.arange(len(knots)), knots) + np.interp(
        t * 100, np.arange(len(tremble)), tremble
    )
    pitch = base_hz * 2 ** (glide / 12)
    syllables = np.clip(1.6 * np.sin(2 * np.pi * 2 * t) ** 2 - 0.4, 0, 1)
    return loud(
        harmonics(2 * np.pi * np.cumsum(pitch) / RATE) * syllables + 0.01 * rng.standard_normal(len(t))
    )
