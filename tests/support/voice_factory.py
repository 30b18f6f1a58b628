"""Speech-like sound whose pitch, pauses, level and noise floor are known, without any engine or recording."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
FRAME = 640
Sound = NDArray[np.float32]


def voice(
    duration_s: float, pitch_hz: float = 120.0, seed: int = 0, noise: float = 0.0, level: float = 0.1
) -> Sound:
    """Words of 0.6 s and pauses of 0.2 s: harmonics under moving resonances, with white `noise` of that deviation."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(duration_s * RATE)) / RATE
    drift = 1 + 0.02 * np.sin(2 * np.pi * 0.9 * t + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch_hz * drift) / RATE
    first, second = (
        centre + width * np.sin(2 * np.pi * rate * t + rng.uniform(0, 6))
        for centre, width, rate in ((550, 200, 2.1), (1500, 500, 1.3))
    )
    sound = np.zeros(len(t))
    for k in range(1, int(3800 / pitch_hz)):
        f = k * pitch_hz
        gain = 1 / (1 + ((f - first) / 120) ** 2) + 0.4 / (1 + ((f - second) / 180) ** 2) + 0.02
        sound += gain * np.cos(k * phase + rng.uniform(0, 6))
    sound *= words_envelope(len(t))
    loud = np.sqrt(np.square(sound)[words_envelope(len(t)) > 0.5].mean())
    return (sound * level / loud + noise * rng.standard_normal(len(t))).astype(np.float32)


def words_envelope(length: int) -> NDArray[np.float64]:
    """1 during words, 0 during pauses, with edges of 10 ms and dips of syllables; words start at 0.2, 1.0, 1.8 s."""
    t = np.arange(length) / RATE
    into = t % 0.8
    edge = np.clip(np.minimum(into - 0.2, 0.8 - into) / 0.01, 0, 1)
    return edge * (0.7 + 0.3 * np.cos(2 * np.pi * 5 * (into - 0.25)))


def pitch_of(sound: NDArray[np.floating], low_hz: float = 60.0, high_hz: float = 400.0) -> float:
    """Pitch in Hz: lag of the highest autocorrelation, refined by a parabola through its neighbours."""
    x = np.asarray(sound, np.float64) * np.hanning(len(sound))
    window = np.hanning(len(sound))
    # Divided by the window's own autocorrelation, which falls with the lag and would pull the peak down.
    own, plain = (
        np.fft.irfft(np.square(np.abs(np.fft.rfft(y, 4 * len(x)))))[: len(x) // 2] for y in (x, window)
    )
    power = own / plain
    lags = np.arange(int(RATE / high_hz), int(RATE / low_hz))
    best = int(lags[power[lags].argmax()])
    a, b, c = power[best - 1 : best + 2]
    return RATE / (best + 0.5 * (a - c) / (a - 2 * b + c))


def rms(sound: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.square(sound, dtype=np.float64).mean()))


def decibels(ratio: float) -> float:
    return 20 * float(np.log10(ratio))
