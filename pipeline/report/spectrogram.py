"""A picture of the sound: log-mel energy over time as a small PNG, in memory that does not grow with the clip."""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.media.base import AudioBatch

BANDS, MOST_COLUMNS = 96, 2400
HOP_S, WINDOW_S = 0.010, 0.032
RANGE_DB = 70.0
"""What lies this far below the loudest point is black."""
LEVELS = 24
"""Steps of brightness; noise in more of them would only make the file larger."""
LOWEST_HZ = 50.0
_BLOCK = 512

_RAMP = (
    (0.0, (6, 8, 20)),
    (0.3, (62, 22, 104)),
    (0.55, (170, 48, 96)),
    (0.8, (245, 133, 51)),
    (1.0, (253, 244, 170)),
)
"""Brightness rises all along, so that the picture reads in grey as well: position and RGB colour."""


class Spectrogram:
    """Takes the sound of a clip of `span_s` seconds batch by batch; `png` is the picture of what came.

    One column shows the loudest of the windows that begin in it, so that a short event in a long clip stays visible.
    """

    def __init__(self, span_s: float, sample_rate: int) -> None:
        self._rate, self._hop = sample_rate, round(HOP_S * sample_rate)
        self._window = np.hanning(round(WINDOW_S * sample_rate)).astype(np.float32)
        self._points = 2 ** (len(self._window) - 1).bit_length() * 2
        self._mel = _filters(sample_rate, self._points)
        windows = max(1, int(span_s * sample_rate) // self._hop)
        self._span = max(1, int(span_s * sample_rate))
        self._power = np.full((min(MOST_COLUMNS, windows), BANDS), np.nan, np.float32)
        self._samples = np.zeros(0, np.float32)
        self._valid = np.zeros(0, np.bool_)
        self._first = 0

    def add(self, batch: AudioBatch) -> None:
        """The next samples; batches follow each other without a hole."""
        self._samples = np.concatenate([self._samples, batch.samples])
        self._valid = np.concatenate([self._valid, batch.valid])
        self._take(len(self._samples) - len(self._window) + 1)

    def png(self) -> bytes | None:
        """The picture, low frequencies at the bottom, transparent where there was no sound; None without any."""
        pad = len(self._window)
        last = len(self._samples)
        self._samples = np.pad(self._samples, (0, pad))
        self._valid = np.pad(self._valid, (0, pad))
        self._take(last)
        if np.isnan(self._power).all():
            return None
        level = 10 * np.log10(np.maximum(self._power, 1e-10))
        bright = np.clip(1 + (level - np.nanmax(level)) / RANGE_DB, 0, 1)
        codes = np.where(np.isnan(bright), 0, 1 + np.rint(np.nan_to_num(bright) * (LEVELS - 1)))
        return _png(codes.astype(np.uint8).T[::-1])

    def _take(self, stop: int) -> None:
        """Windows that begin before sample `stop` of those held; what no later window needs goes."""
        starts = np.arange(0, max(0, stop), self._hop)
        for part in np.split(starts, range(_BLOCK, len(starts), _BLOCK)):
            heard = part[self._valid[part]]
            if len(heard):
                cut = self._samples[heard[:, None] + np.arange(len(self._window))] * self._window
                power = np.abs(np.fft.rfft(cut, self._points)).astype(np.float32) ** 2 @ self._mel
                columns = (self._first + heard) * len(self._power) // self._span
                inside = columns < len(self._power)
                np.fmax.at(self._power, columns[inside], power[inside])
        done = len(starts) * self._hop
        self._samples, self._valid = self._samples[done:], self._valid[done:]
        self._first += done


@lru_cache(maxsize=2)
def _filters(sample_rate: int, points: int) -> NDArray[np.float32]:
    """Triangles on the mel scale, (points // 2 + 1, BANDS); each sums to 1, so that noise is even."""
    edges = np.linspace(_mel(LOWEST_HZ), _mel(sample_rate / 2), BANDS + 2)
    hertz = 700 * (np.exp(edges / 1127) - 1)
    bins = np.arange(points // 2 + 1)[:, None] * sample_rate / points
    rise = (bins - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
    fall = (hertz[2:] - bins) / (hertz[2:] - hertz[1:-1])
    weights = np.maximum(0, np.minimum(rise, fall))
    # Low bands are narrower than a bin of the transform: such a band is what lies between two bins.
    low = np.floor(hertz[1:-1] * points / sample_rate).astype(int)
    share = hertz[1:-1] * points / sample_rate - low
    for band in np.flatnonzero(weights.sum(axis=0) == 0):
        weights[low[band], band], weights[low[band] + 1, band] = 1 - share[band], share[band]
    return (weights / weights.sum(axis=0)).astype(np.float32)


def _mel(hertz: float) -> float:
    return float(1127 * np.log(1 + hertz / 700))


def _png(codes: NDArray[np.uint8]) -> bytes:
    """`codes` (H, W), 0 for transparent and 1 to LEVELS for dark to bright, as a PNG with a palette.

    Format: https://www.w3.org/TR/png-3/
    """
    places = np.linspace(0, 1, LEVELS)
    ramp = np.stack(
        [np.interp(places, [at for at, _ in _RAMP], [rgb[k] for _, rgb in _RAMP]) for k in range(3)], axis=1
    )
    palette = np.concatenate([np.zeros((1, 3)), ramp]).round().astype(np.uint8)
    height, width = codes.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), codes], axis=1)  # filter "none" before each row
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette.tobytes()),
        (b"tRNS", b"\0"),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
