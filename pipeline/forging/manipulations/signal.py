"""Signal processing of audio forgeries: spectra, levels, room tone, resampling, time and pitch, joins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.audio import FFT, WINDOW, Array, Samples, apply_gain, istft, stft
from data.labels import RATE

FADE = (RATE // 100, RATE // 25)
"""Shortest and longest cross-fade in samples: 10 to 40 ms."""


def griffin_lim(magnitude: Array, length: int, iterations: int, rng: np.random.Generator) -> Array:
    """Samples (length,) whose spectra have about this `magnitude` (FFT // 2 + 1, steps), from random phases.

    Source: Griffin and Lim, "Signal estimation from modified short-time Fourier transform" (1984).
    """
    phase = np.exp(2j * np.pi * rng.random(magnitude.shape))
    for _ in range(iterations):
        phase = np.exp(1j * np.angle(stft(istft(magnitude * phase, length))))
    return istft(magnitude * phase, length)


def speech_level(samples: NDArray[np.floating]) -> float:
    """Root mean square of `samples` (L,) over the 20 ms frames within 20 dB of the loud ones; 0 for silence."""
    size = min(RATE // 50, len(samples))
    if size == 0:
        return 0.0
    power = _power(samples, size, size)
    return float(np.sqrt(power[power >= 0.01 * np.percentile(power, 95)].mean()))


def long_term(samples: NDArray[np.floating]) -> Array:
    """Mean power spectrum (FFT // 2 + 1,) of the loud steps of `samples` (L,): voice and channel together."""
    power = np.square(np.abs(stft(samples)))
    total = power.sum(axis=0)
    return power[:, total >= 0.01 * np.percentile(total, 95)].mean(axis=1)


def background(samples: NDArray[np.floating]) -> Array:
    """`quiet_spectrum` of `samples` (L,) without the digital silence at its ends, which is padding and no room."""
    heard = np.flatnonzero(np.abs(samples) > 1e-5)
    return quiet_spectrum(samples[heard[0] : heard[-1] + 1] if len(heard) else samples[:0])


def quiet_spectrum(samples: NDArray[np.floating]) -> Array:
    """Power spectrum (FFT // 2 + 1,) of the room in `samples` (L,), heard when nobody speaks.

    For each frequency the lower of two estimates: the mean of the quietest frames, and, for speech that hardly pauses,
    the gaps that it leaves at that frequency.
    """
    if len(samples) < FFT:
        return np.zeros(FFT // 2 + 1)
    # Whole windows only: padding would look like silence.
    windows = np.lib.stride_tricks.sliding_window_view(samples, FFT)[:: FFT // 2]
    power = np.square(np.abs(np.fft.rfft(windows * WINDOW, axis=1)))
    order = np.argsort(power.sum(axis=1), kind="stable")
    quiet = power[order[: max(4, len(order) // 12)]].mean(axis=0)
    # Noise power is exponentially distributed: a fifth of it lies below ln(1.25) of its mean.
    gaps = np.quantile(power, 0.2, axis=0) / np.log(1.25)
    # A few frames leave ragged estimates; rooms are smooth over 150 Hz.
    smooth = [np.convolve(np.pad(x, 2, "edge"), np.full(5, 0.2), "valid") for x in (quiet, gaps)]
    return np.minimum(*smooth)


def noise_like(spectrum: Array, length: int, rng: np.random.Generator) -> Array:
    """Gaussian noise (length,) with the power `spectrum` (FFT // 2 + 1,), in the units of `background`."""
    return apply_gain(rng.standard_normal(length), np.sqrt(spectrum / np.square(WINDOW).sum()))


def quieten(samples: NDArray[np.floating], noise: Array, target: Array) -> Array:
    """`samples` (L,) whose own noise of power spectrum `noise` is lowered to `target`, where that is lower.

    Spectral subtraction with a floor; source: Boll (1979), Berouti et al. (1979).
    """
    floor = np.sqrt(np.minimum(target / np.maximum(noise, 1e-20), 1.0))[:, None]
    spectrum = stft(samples)
    gain = np.sqrt(np.clip(1 - 2 * noise[:, None] / np.maximum(np.square(np.abs(spectrum)), 1e-20), 0, 1))
    # Averaging over neighbours keeps single bins from ringing, the known fault of spectral subtraction.
    padded = np.pad(gain, 1, "edge")
    smooth = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).mean(axis=(2, 3))
    return istft(spectrum * np.maximum(smooth, floor), len(samples))


def tilt_gain(words: NDArray[np.floating], recording: NDArray[np.floating]) -> Array:
    """Gain per frequency (FFT // 2 + 1,) that brings the long-term spectrum of `words` halfway to that of `recording`.

    At most 6 dB either way and smooth over 1 kHz, as a careful hand at an equalizer would.
    """
    smooth = np.convolve(np.pad(_difference_db(words, recording), 2, "edge"), np.full(5, 0.2), "valid")
    return _per_bin(0.5 * np.clip(smooth, -12, 12))


def channel_gain(words: NDArray[np.floating], recording: NDArray[np.floating]) -> Array:
    """Gain per frequency (FFT // 2 + 1,) that cuts what `words` have and the channel of `recording` does not carry.

    That is where the recording's long-term spectrum lies more than 9 dB lower.
    """
    difference = _difference_db(words, recording)
    return _per_bin(np.where(difference < -9, difference, 0.0))


def read_at(samples: NDArray[np.floating], positions: NDArray[np.floating], cutoff: float = 1.0) -> Array:
    """Band-limited values of `samples` (L,) at fractional `positions` (M,), zero outside.

    Frequencies above `cutoff` of half the sample rate are removed, by a Hann-windowed sinc of 16 zero crossings a side.
    """
    half = int(np.ceil(16 / cutoff))
    padded = np.pad(np.asarray(samples, np.float64), half + 1)
    places = np.clip(positions, -1, len(samples)) + half + 1
    left = np.floor(places).astype(np.int64)
    offsets = np.arange(1 - half, half + 1)
    distance = (places - left)[:, None] - offsets
    kernel = np.sinc(cutoff * distance) * np.cos(0.5 * np.pi * distance / (half + 1)) ** 2
    values = padded[np.clip(left[:, None] + offsets, 0, len(padded) - 1)]
    # Dividing by the sum keeps a constant constant to the last digit.
    return (values * kernel).sum(axis=1) / kernel.sum(axis=1)


def to_our_rate(samples: NDArray[np.floating], rate: int) -> Array:
    """`samples` (L,) of `rate` Hz at 16 kHz, without what 16 kHz cannot carry."""
    ratio = rate / RATE
    return read_at(samples, np.arange(int(len(samples) / ratio)) * ratio, min(1.0, 0.97 / ratio))


def stretch(samples: NDArray[np.floating], positions: Array) -> Array:
    """Speech played along `positions` (M,), the sample of `samples` (L,) heard at each moment, at its own pitch.

    Waveform similarity overlap-add. Source: Verhelst and Roelands (1993).
    """
    reach, step = FFT // 3, FFT // 2
    margin = FFT + reach
    padded = np.pad(np.asarray(samples, np.float64), (margin, margin + FFT))
    out = np.zeros(len(positions) + 2 * FFT)
    starts = np.arange(0, len(positions) + step, step)
    heard = np.interp(starts, np.arange(len(positions)), positions) - step
    expected = padded[margin - step : margin - step + FFT]
    for start, place in zip(starts, np.clip(np.rint(heard).astype(int), -FFT, len(samples)), strict=True):
        near = padded[place + margin - reach : place + margin + reach + FFT]
        windows = np.lib.stride_tricks.sliding_window_view(near, FFT)
        likeness = windows @ expected / np.sqrt(np.square(windows).sum(axis=1) + 1e-9)
        best = int(likeness.argmax()) if expected.any() else reach
        out[start : start + FFT] += windows[best] * WINDOW
        follow = place + margin - reach + best + step
        expected = padded[follow : follow + FFT]
    return out[step : step + len(positions)]


def revoice(samples: NDArray[np.floating], positions: Array, pitch: float, formant: float) -> Array:
    """Speech played along `positions` (M,) with its pitch times `pitch` and its resonances times `formant`.

    The time scale is stretched by `pitch` and read `pitch` times as fast, which moves both; the spectral envelope, a
    smoothed cepstrum, is then moved to where `formant` wants it.
    """
    n = len(positions)
    finer = np.interp(np.arange(round(n * pitch)) / pitch, np.arange(n), positions)
    moved = read_at(stretch(samples, finer), np.arange(n) * pitch, min(1.0, 0.97 / pitch))
    spectrum = stft(moved)
    cepstrum = np.fft.irfft(np.log(np.abs(spectrum) + 1e-5), axis=0)
    cepstrum[30 : FFT - 29] = 0
    envelope = np.fft.rfft(cepstrum, axis=0).real
    bins = np.arange(FFT // 2 + 1)
    source = np.minimum(bins * pitch / formant, FFT // 2)
    low = np.minimum(source.astype(int), FFT // 2 - 1)
    part = (source - low)[:, None]
    wanted = envelope[low] * (1 - part) + envelope[low + 1] * part
    return istft(spectrum * np.exp(np.clip(wanted - envelope, -2.3, 2.3)), n)


def join(
    samples: Samples, words: NDArray[np.floating], span: tuple[int, int], rng: np.random.Generator
) -> Samples:
    """`samples` (L,) with `words` in `span`, cross-faded at both borders; all fades lie inside the span.

    The fades keep the power constant, whether the two sounds run alike or not. A fade is drawn for each border. Words
    that peak above the recording go through a limiter: cut peaks would tell where they are. Where the recording begins
    or ends there is nothing to fade from.
    """
    first, stop = span
    words = _limit(np.asarray(words, np.float64), min(float(np.abs(samples).max()), 0.99))
    original = samples[first:stop].astype(np.float64)
    weight = np.ones(len(original))
    for side, inside in ((slice(None), first > 0), (slice(None, None, -1), stop < len(samples))):
        n = min(int(rng.integers(FADE[0], FADE[1] + 1)), len(weight) // 2) * inside
        rising = 0.5 - 0.5 * np.cos(np.pi * np.arange(n) / max(n, 1))
        weight[side][:n] = rising
    fade = weight < 1
    both = float((original * words)[fade].sum())
    power = float(np.sqrt(np.square(original[fade]).sum() * np.square(words[fade]).sum()))
    alike = min(max(both / power, 0.0), 1.0) if power > 0 else 1.0
    keep = np.sqrt((1 - weight) ** 2 + weight**2 + 2 * alike * weight * (1 - weight))
    out = samples.copy()
    out[first:stop] = np.clip((original * (1 - weight) + words * weight) / keep, -1, 1)
    return out


def _difference_db(words: NDArray[np.floating], recording: NDArray[np.floating]) -> Array:
    """By how much the recording's long-term spectrum exceeds the words', per 250 Hz, if equally loud below 4 kHz."""
    levels = [
        10 * np.log10(long_term(x)[1:].reshape(FFT // 16, -1).mean(axis=1) + 1e-10)
        for x in (recording, words)
    ]
    difference = levels[0] - levels[1]
    return difference - difference[: FFT // 32].mean()


def _limit(words: Array, ceiling: float) -> Array:
    if np.abs(words).max() <= ceiling:
        return words
    knee = 0.6 * ceiling
    over = np.maximum(np.abs(words) - knee, 0)
    room = max(ceiling - knee, 1e-9)
    return np.sign(words) * (np.minimum(np.abs(words), knee) + room * np.tanh(over / room))


def _per_bin(gain_db: Array) -> Array:
    centres = (np.arange(len(gain_db)) + 0.5) * (FFT // 2 / len(gain_db))
    return 10 ** (np.interp(np.arange(FFT // 2 + 1), centres, gain_db) / 20)


def _power(samples: NDArray[np.floating], size: int, step: int) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(samples, size)[::step]
    return np.square(windows, dtype=np.float64).mean(axis=1)
