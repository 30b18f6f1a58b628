"""Signal code that the extractors and the forger share: spectra, mel bands, speech activity."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data.labels import FPS, RATE

FRAME_SAMPLES = RATE // FPS
"""Samples of one 25 fps frame at 16 kHz; spans lie on frames, so that picture and sound share exact borders."""


Samples = NDArray[np.float32]

Array = NDArray[np.float64]


FFT, HOP = 512, 128
"""Window and step of spectra, in samples: 32 and 8 ms."""

WINDOW = np.hanning(FFT + 1)[:-1]
"""Periodic Hann window (FFT,)."""


def stft(samples: NDArray[np.floating]) -> NDArray[np.complex128]:
    """Hann-windowed spectra (FFT // 2 + 1, steps) of `samples` (L,), padded so that `istft` gets all of them back."""
    padded = np.pad(np.asarray(samples, np.float64), (FFT // 2, FFT))
    return np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP] * WINDOW, axis=1).T


def istft(spectrum: NDArray[np.complex128], length: int) -> Array:
    """The `length` samples whose spectra are nearest to `spectrum` in the least-squares sense."""
    frames = np.fft.irfft(spectrum.T, FFT, axis=1) * WINDOW
    total = np.zeros((len(frames) + FFT // HOP - 1, HOP))
    weight = np.zeros_like(total)
    for k in range(FFT // HOP):
        part = slice(k * HOP, (k + 1) * HOP)
        total[k : k + len(frames)] += frames[:, part]
        weight[k : k + len(frames)] += WINDOW[part] ** 2
    return (total / np.maximum(weight, 1e-8)).ravel()[FFT // 2 : FFT // 2 + length]


def apply_gain(samples: NDArray[np.floating], gain: Array) -> Array:
    """`samples` (L,) with each frequency scaled by `gain`, (FFT // 2 + 1,) or one column for each step of `stft`."""
    return istft(stft(samples) * (gain[:, None] if gain.ndim == 1 else gain), len(samples))


@cache
def mel_filters(bands: int) -> Array:
    """Triangular filters (bands, FFT // 2 + 1) on the mel scale of O'Shaughnessy, 2595 log10(1 + f / 700)."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    centres = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(FFT, 1 / RATE)
    rising = (bins - centres[:-2, None]) / (centres[1:-1] - centres[:-2])[:, None]
    falling = (centres[2:, None] - bins) / (centres[2:] - centres[1:-1])[:, None]
    return np.clip(np.minimum(rising, falling), 0, None) + 1e-8


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
    bins = np.fft.rfftfreq(FRAME_SAMPLES, 1 / RATE)
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


def _without_runs(mask: NDArray[np.bool_], value: bool, longest: int) -> NDArray[np.bool_]:
    """`mask` with inner runs of `value` of at most `longest` entries turned over; those at the ends stay."""
    edges = np.flatnonzero(np.diff(mask)) + 1
    out = mask.copy()
    for start, stop in pairwise(edges):
        if mask[start] == value and stop - start <= longest:
            out[start:stop] = not value
    return out
