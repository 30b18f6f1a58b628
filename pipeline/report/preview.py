"""A small copy of a clip that fits into a page: H.264 and AAC in an MP4 of bounded size."""

from __future__ import annotations

import contextlib
import heapq
import io
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from configs.schema import DecodeConfig
from data.hook import Hook
from data.media import MediaInfo
from pipeline.media.base import upright_size
from pipeline.media.decoder import Decoder
from pipeline.media.encode import x264_assembly

LONGEST_S = 600.0
"""Longer clips get no preview: at the size allowed nothing could be seen in it."""
MOST_BYTES = 8 * 2**20
MOST_BITS, AUDIO_BITS = 1_500_000, 32_000
CRF = 27
SIZES = ((60.0, 25, 360), (180.0, 12, 360), (LONGEST_S, 8, 240))
"""Up to so many seconds: frames per second, and pixels of the shorter edge."""

Piece = tuple[float, Callable[[Any], None], Any]
"""When it begins, what encodes it, and the pixels or samples."""


def preview(info: MediaInfo, config: DecodeConfig, span_s: float, hook: Hook) -> bytes:
    """An MP4 of `info`, decoded in the killable process, on the project's clock: its time 0 is the report's.

    Where nothing was decoded the picture is black and the sound silent. Raises ValueError when the clip is longer
    than `LONGEST_S`, the result larger than `MOST_BYTES` or the encoder unwilling, and what decoding raises.
    """
    if span_s > LONGEST_S:
        raise ValueError(f"the clip is longer than {LONGEST_S / 60:g} minutes")
    try:
        content = _encoded(info, config, span_s, hook)
    except av.error.FFmpegError as error:
        raise ValueError(f"it could not be encoded ({error.strerror})") from error
    if len(content) > MOST_BYTES:
        raise ValueError(f"it would be larger than {MOST_BYTES / 2**20:g} MB")
    return content


def _encoded(info: MediaInfo, config: DecodeConfig, span_s: float, hook: Hook) -> bytes:
    fps, short_side = next((fps, side) for limit_s, fps, side in SIZES if span_s <= limit_s)
    bits = min(MOST_BITS, int(0.9 * 8 * MOST_BYTES / max(span_s, 1.0)) - AUDIO_BITS)
    buffer = io.BytesIO()
    with (
        av.open(buffer, "w", format="mp4") as container,
        contextlib.ExitStack() as stack,
    ):
        tracks: list[Iterator[Piece]] = []
        encoders: list[_Picture | _Sound] = []
        if info.video is not None:
            stored = min(upright_size(info.video, None))
            picture = _Picture(container, upright_size(info.video, min(stored, short_side)), fps, bits)
            own = config.model_copy(update={"fps": fps})
            frames = stack.enter_context(Decoder.video(info, own, min(stored, short_side), None, batch=8))
            tracks.append((batch.first / fps, picture.add, batch.images) for batch in frames)
            encoders.append(picture)
        if info.audio is not None:
            sound, rate = _Sound(container, config.sample_rate), config.sample_rate
            blocks = stack.enter_context(Decoder.audio(info, config, batch_s=0.5))
            tracks.append((block.first / rate, sound.add, block.samples) for block in blocks)
            encoders.append(sound)
        # In step, so that what the container holds back for the other track stays small.
        for start_s, add, content in heapq.merge(*tracks, key=lambda piece: piece[0]):
            add(content)
            hook("preview", int(start_s), int(span_s))
        for encoder in encoders:
            encoder.close()
    return buffer.getvalue()


class _Picture:
    """Encodes images of one size; a key frame every second makes seeking exact and quick."""

    def __init__(self, container: Any, size: tuple[int, int], fps: int, bits: int) -> None:
        self._container, self._n, self._fps = container, 0, fps
        self._stream = container.add_stream("libx264", rate=fps)
        self._stream.width, self._stream.height = (max(2, side // 2 * 2) for side in size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {
            "crf": str(CRF),
            "maxrate": str(bits),
            "bufsize": str(bits),
            "g": str(fps),
            "preset": "veryfast",
            "threads": "1",
            **x264_assembly(),
        }

    def add(self, images: NDArray[np.uint8]) -> None:
        """The next images (N, H, W, 3)."""
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = frame.reformat(self._stream.width, self._stream.height, "yuv420p")
            frame.pts, frame.time_base = self._n, Fraction(1, self._fps)
            self._n += 1
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """What the encoder still holds."""
        self._container.mux(self._stream.encode(None))


class _Sound:
    """Encodes mono samples."""

    def __init__(self, container: Any, rate: int) -> None:
        self._container, self._rate, self._n = container, rate, 0
        self._stream = container.add_stream("aac", rate=rate, layout="mono")
        self._stream.bit_rate = AUDIO_BITS
        self._fifo = av.AudioFifo()

    def add(self, samples: NDArray[np.float32]) -> None:
        """The next samples (N,)."""
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._n, Fraction(1, self._rate)
        self._n += len(samples)
        self._fifo.write(frame)
        for block in self._fifo.read_many(1024):
            self._container.mux(self._stream.encode(block))

    def close(self) -> None:
        """What the encoder still holds."""
        for block in self._fifo.read_many(1024, partial=True):
            self._container.mux(self._stream.encode(block))
        self._container.mux(self._stream.encode(None))
