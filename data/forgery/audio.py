"""Audio forgeries of speech, cross-faded into the recording and matched in loudness."""

from __future__ import annotations

from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

RATE = 16_000
"""Samples per second of everything here."""

FADE = RATE // 100
"""Samples of a cross-fade at each border, inside the span."""

FFT, HOP, MELS = 512, 128, 80


class AudioForgery(Protocol):
    """Forges mono 16 kHz `samples` (L,) float32 inside `span`; `donor` is speech of somebody else."""

    __name__: str

    def __call__(
        self, samples: Samples, span: tuple[int, int], rng: np.random.Generator, donor: Samples
    ) -> Samples: ...


def resynthesize_speech(
    samples: Samples, span: tuple[int, int], rng: np.random.Generator, donor: Samples
) -> Samples:
    """The same words out of a vocoder: mel spectrogram and Griffin-Lim phase, as neural speech synthesis does.

    Source: Griffin and Lim, "Signal estimation from modified short-time Fourier transform" (1984).
    """
    first, stop = span
    margin = min(first, len(samples) - stop, 4 * FFT)
    context = samples[first - margin : stop + margin]
    filters = _mel_filters()
    mel = filters @ np.abs(_stft(context)) ** 2
    magnitude = np.sqrt(np.clip(np.linalg.pinv(filters) @ mel, 0, None))
    spoken = _griffin_lim(magnitude, len(context), int(rng.integers(8, 33)), rng)
    return _insert(samples, spoken[margin : margin + stop - first], span)


def splice_speaker(
    samples: Samples, span: tuple[int, int], rng: np.random.Generator, donor: Samples
) -> Samples:
    """Words of another speaker in place of these, as a voice clone of imperfect likeness says them.

    Raises ValueError when the donor is shorter than the span.
    """
    first, stop = span
    length = stop - first
    if len(donor) < length:
        raise ValueError(f"the donor has {len(donor)} samples, the span {length}")
    starts = np.arange(0, len(donor) - length + 1, RATE // 50)
    energy = np.array([float(np.square(donor[s : s + length]).mean()) for s in starts])
    loud = starts[energy >= np.median(energy)]
    start = int(rng.choice(loud))
    return _insert(samples, donor[start : start + length], span)


def rearrange_speech(
    samples: Samples, span: tuple[int, int], rng: np.random.Generator, donor: Samples
) -> Samples:
    """Other words of the same speaker, cut from elsewhere in the recording and slightly retuned to fit.

    Raises ValueError when the recording holds no other speech of that length.
    """
    first, stop = span
    length = stop - first
    tempo = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.03, 0.08) + 1.0)
    needed = int(np.ceil(length * tempo)) + 1
    outside = [(0, first - needed), (stop, len(samples) - needed)]
    starts = [s for low, high in outside for s in range(low, high, RATE // 50)]
    if not starts:
        raise ValueError(f"no other speech of {length} samples in a recording of {len(samples)}")
    energy = np.array([float(np.square(samples[s : s + needed]).mean()) for s in starts])
    start = int(rng.choice(np.array(starts)[energy >= np.median(energy)]))
    words = np.interp(np.arange(length) * tempo, np.arange(needed), samples[start : start + needed])
    return _insert(samples, words.astype(np.float32), span)


def _insert(samples: Samples, forged: Samples, span: tuple[int, int]) -> Samples:
    first, stop = span
    original = samples[first:stop]
    loudness = np.sqrt(np.square(original).mean() / max(float(np.square(forged).mean()), 1e-12))
    fade = min(FADE, (stop - first) // 2)
    # Both halves of a cross-fade lie inside the span, so that no sample outside it changes.
    weight = np.ones(stop - first, np.float32)
    weight[:fade] = np.linspace(0, 1, fade, endpoint=False)
    weight[len(weight) - fade :] = np.linspace(1, 0, fade)
    out = samples.copy()
    out[first:stop] = np.clip(original * (1 - weight) + forged * min(loudness, 8.0) * weight, -1, 1)
    return out


@cache
def _mel_filters() -> NDArray[np.float64]:
    """Triangular filters (MELS, FFT // 2 + 1) on the mel scale of O'Shaughnessy, 2595 log10(1 + f / 700)."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    centres = 700 * (10 ** (np.linspace(0, top, MELS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(FFT, 1 / RATE)
    rising = (bins - centres[:-2, None]) / (centres[1:-1] - centres[:-2])[:, None]
    falling = (centres[2:, None] - bins) / (centres[2:] - centres[1:-1])[:, None]
    return np.clip(np.minimum(rising, falling), 0, None) + 1e-8


def _stft(samples: NDArray[np.floating]) -> NDArray[np.complex128]:
    padded = np.pad(np.asarray(samples, np.float64), (FFT // 2, FFT))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP]
    return np.fft.rfft(frames * np.hanning(FFT + 1)[:-1], axis=1).T


def _istft(spectrum: NDArray[np.complex128], length: int) -> NDArray[np.float64]:
    window = np.hanning(FFT + 1)[:-1]
    frames = np.fft.irfft(spectrum.T, FFT, axis=1) * window
    total = np.zeros((len(frames) - 1) * HOP + FFT)
    weight = np.zeros_like(total)
    for k, frame in enumerate(frames):
        total[k * HOP : k * HOP + FFT] += frame
        weight[k * HOP : k * HOP + FFT] += window**2
    return (total / np.maximum(weight, 1e-8))[FFT // 2 : FFT // 2 + length]


def _griffin_lim(
    magnitude: NDArray[np.float64], length: int, iterations: int, rng: np.random.Generator
) -> Samples:
    phase = np.exp(2j * np.pi * rng.random(magnitude.shape))
    for _ in range(iterations):
        phase = np.exp(1j * np.angle(_stft(_istft(magnitude * phase, length))))
    return _istft(magnitude * phase, length).astype(np.float32)
