"""decord as a decoder: fast, but built on FFmpeg 4.1 and unmaintained since 2022; for trusted files only.

It is taken as it is. What it gets wrong (start offsets, edit lists, holes, damage) stands in the conformance tests as
expected failures. Its audio reader holds a whole track in memory.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from data.errors import InputError, UsageError
from data.media import AudioBlock, Frame, MediaInfo
from pipeline.media.base import upright_size

BLOCK_S = 1.0


class DecordBackend:
    """Decoder over decord's readers. Raises UsageError on construction when decord is not installed."""

    def __init__(self, threads: int = 2) -> None:
        self.errors = 0
        self.notes: tuple[str, ...] = ()
        self._threads = threads
        if importlib.util.find_spec("decord") is None:
            fix = "pip install decord==0.6.0 (Linux and Windows on x86-64 only), or set decode.backend=pyav"
            raise UsageError("the decoder 'decord' is not installed", fix=fix)

    def frames(self, info: MediaInfo, short_side: int | None) -> Iterator[Frame]:
        """See `Backend.frames`; decord turns and scales."""
        if info.video is None:
            raise InputError("has no video track", info.path)
        _refuse_choice(info, "video")
        width, height = upright_size(info.video, short_side)
        reader = _opened("VideoReader", info, num_threads=self._threads, width=width, height=height)
        times_s = reader.get_frame_timestamp(range(len(reader)))
        for start_s, end_s in times_s:
            try:
                image = reader.next().asnumpy()
            except StopIteration:
                return
            except Exception as error:  # its binding raises classes of its own making
                raise _refused(info, error) from error
            yield Frame(float(start_s), image, float(end_s - start_s))

    def audio(self, info: MediaInfo, sample_rate: int) -> Iterator[AudioBlock]:
        """See `Backend.audio`; decord knows no timestamps of sound, so the track is taken to be whole."""
        if info.audio is None:
            raise InputError("has no audio track", info.path)
        _refuse_choice(info, "audio")
        reader = _opened("AudioReader", info, sample_rate=sample_rate, mono=True)
        total, step = reader.shape[1], round(BLOCK_S * sample_rate)
        for first in range(0, total, step):
            samples = reader[first : min(first + step, total)].asnumpy()
            yield AudioBlock(first / sample_rate, np.ascontiguousarray(samples.reshape(-1), np.float32))


def _refuse_choice(info: MediaInfo, kind: str) -> None:
    if any(other.kind == kind and other.evidence for other in info.others):
        raise InputError(
            f"has several {kind} tracks, among which decord cannot choose",
            info.path,
            "set decode.backend=pyav",
        )


def _opened(reader: str, info: MediaInfo, **options: Any) -> Any:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        return getattr(decord, reader)(os.path.abspath(info.path), ctx=decord.cpu(0), **options)
    except Exception as error:  # its binding raises classes of its own making
        raise _refused(info, error) from error


def _refused(info: MediaInfo, error: Exception) -> InputError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return InputError(f"decord cannot decode it ({reason})", info.path, "set decode.backend=pyav")
