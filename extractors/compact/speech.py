"""Where a waveform holds speech: steps far from any say nothing about a voice, whatever the network makes of them.

A classical detector without weights. A step speaks where the level rises clearly above the floor of the recording
(`data.audio.speech_activity`, by which the forger chooses where to strike too) and where, around it, there
is a voice: pitch that goes on from one moment to the next, and moves. Noise has no pitch that goes on. That of notes
and machines stands still: a voice moves by 8 to 35 cents in 10 ms (median of a clip), a note by less than 5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.audio import speech_activity
from data.labels import RATE
from extractors.windows import HOP, step_count

NEAR_S = 0.3
"""Steps within this distance of speech count as well: breaths, stops, and the room between words."""

_FRAME, _STRIDE, _FFT = 640, 160, 2048  # 40 ms every 10 ms
_SHORTEST, _LONGEST = 40, 230  # lags of a pitch of 400 and 70 Hz, in samples
_BAND_HZ = (80, 4000)
_VOICED = 0.5  # share of a frame's energy that comes again a period later
_JUMP_CENTS = 150.0  # in 10 ms; no voice does that
_STILL_CENTS = 4.0
_AROUND = 150  # frames to either side whose voice is looked at: 1.5 s
_LEAST_VOICED = 12  # of these frames
_LEAST_GOING_ON = 0.6  # of the voiced ones; real speech has 0.74 and more, noise up to 0.33
_MOST_STILL = 0.34  # of those that go on; real speech has 0.27 and less, music 0.4 and more
_FAINT = 3e-4  # a peak of ten steps of 16 bits: below it there is rounding and nothing else
_LOUD = 0.5  # the peak that any other recording is brought to
_BLOCK = 512  # frames at a time, so that memory does not grow with the waveform


def speech_steps(samples: NDArray[np.float32], near_s: float = NEAR_S) -> NDArray[np.bool_]:
    """Which steps of 20 ms lie in speech or within `near_s` of it: (L,) at 16 kHz -> (T,), T as in `step_count`.

    Made for windows of some seconds up to some 20: the floor of the recording is that of what is given. Singing that
    glides counts as speech, whispering does not.
    """
    steps = step_count(len(samples))
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > _FAINT:
        samples = samples * np.float32(_LOUD / peak)  # a quiet recording speaks too
    frames = max(0, (len(samples) - _FRAME) // _STRIDE + 1)
    active = np.repeat(speech_activity(samples), 4)[:frames]
    active = np.pad(active, (0, frames - len(active)))
    if not active.any():
        return np.zeros(steps, bool)
    strength, pitch = _pitch(samples, frames)
    voiced = active & (strength > _VOICED)
    cents = np.abs(1200 * np.diff(np.log2(pitch), prepend=np.log2(pitch[:1])))
    going_on = voiced & np.concatenate([[False], voiced[:-1]]) & (cents < _JUMP_CENTS)
    around_voiced, around_on, around_still = (
        _around(flags) for flags in (voiced, going_on, going_on & (cents < _STILL_CENTS))
    )
    voice = (
        voiced
        & (around_voiced >= _LEAST_VOICED)
        & (around_on >= _LEAST_GOING_ON * around_voiced)
        & (around_still <= _MOST_STILL * around_on)
    )
    # Frame j is centred on sample 160 j + 320, step k covers the samples from 320 k on.
    at = np.minimum((np.flatnonzero(voice) * _STRIDE + _FRAME // 2) // HOP, steps - 1)
    near = round(near_s * RATE / HOP)
    edges = np.zeros(steps + 1, np.int64)
    np.add.at(edges, np.maximum(at - near, 0), 1)
    np.add.at(edges, np.minimum(at + near + 1, steps), -1)
    return np.cumsum(edges)[:steps] > 0


def _pitch(samples: NDArray[np.float32], frames: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By frame the autocorrelation at the period (F,), and the pitch in Hz (F,)."""
    window = np.hanning(_FRAME)
    spread = np.fft.irfft(np.abs(np.fft.rfft(window, _FFT)) ** 2)[:_FRAME]
    bins = np.fft.rfftfreq(_FFT, 1 / RATE)
    band = (bins >= _BAND_HZ[0]) & (bins <= _BAND_HZ[1])
    cut = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_STRIDE]
    strength, pitch = np.zeros(frames), np.zeros(frames)
    for first in range(0, frames, _BLOCK):
        part = cut[first : min(first + _BLOCK, frames)].astype(np.float64)
        power = np.abs(np.fft.rfft((part - part.mean(axis=1, keepdims=True)) * window, _FFT)) ** 2
        again = np.fft.irfft(power * band)[:, :_FRAME] / spread
        again /= np.maximum(again[:, :1], 1e-20)
        lags = again[:, _SHORTEST:_LONGEST]
        peaks = (lags >= again[:, _SHORTEST - 1 : _LONGEST - 1]) & (
            lags >= again[:, _SHORTEST + 1 : _LONGEST + 1]
        )
        # The shortest of the periods that fit nearly as well: twice a period fits too.
        peaks &= lags >= 0.9 * lags.max(axis=1, keepdims=True)
        lag = np.where(peaks.any(axis=1), peaks.argmax(axis=1), lags.argmax(axis=1)) + _SHORTEST
        row = np.arange(len(part))
        before, best, after = again[row, lag - 1], again[row, lag], again[row, lag + 1]
        # The top of the parabola through three lags: cents need fractions of a sample.
        shift = (before - after) / (2 * np.minimum(before - 2 * best + after, -1e-9))
        stop = first + len(part)
        strength[first:stop] = best
        pitch[first:stop] = RATE / (lag + np.clip(shift, -0.5, 0.5))
    return strength, pitch


def _around(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many of `flags` (F,) are set within `_AROUND` frames of each."""
    sums = np.concatenate([[0], np.cumsum(flags)])
    at = np.arange(len(flags))
    return sums[np.minimum(at + _AROUND + 1, len(flags))] - sums[np.maximum(at - _AROUND, 0)]
