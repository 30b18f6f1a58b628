"""The decoding process: reads one task, writes batches to a pipe. Imports nothing heavier than NumPy and PyAV.

It handles untrusted files, so whatever it says is data of a fixed form: a header, JSON and raw arrays, never pickles.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from data.errors import ForensicError, InputError, MemoryLimitError, UsageError
from data.media import AudioBlock, AudioStream, Frame, MediaInfo, StreamCoverage, VideoStream

HEADER = struct.Struct("<cIQ")
"""One message: kind, bytes of JSON, bytes of array data."""
PULSE_S = 1.0
"""A sign of life is sent when nothing else was for this long."""
T = TypeVar("T", Frame, AudioBlock)


def info_to_json(info: MediaInfo) -> dict[str, Any]:
    """`info` as plain values."""
    tracks = {"video": info.video and vars(info.video), "audio": info.audio and vars(info.audio)}
    return {**vars(info), **tracks, "path": str(info.path)}


def info_from_json(values: dict[str, Any]) -> MediaInfo:
    """The inverse of `info_to_json`."""
    video, audio = values["video"], values["audio"]
    return MediaInfo(
        **{
            **values,
            "path": Path(values["path"]),
            "video": VideoStream(**video) if video is not None else None,
            "audio": AudioStream(**audio) if audio is not None else None,
        }
    )


def main() -> None:
    """Read a task from standard input, do it, and write its messages to what was standard output."""
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # nothing that a library prints may end up between the messages
    task = json.loads(sys.stdin.buffer.readline())
    import av  # noqa: F401 - loaded before memory is limited: what fails from there on is the file's doing

    threading.Thread(target=_die_with_parent, daemon=True).start()
    _limit_memory(task["memory_mb"])
    writer = _Writer(pipe)
    try:
        _TASKS[task["do"]](task, writer)
    except MemoryError:
        writer.fail(
            MemoryLimitError(
                "needs more memory to decode than is allowed", fix="raise decode.memory_limit_mb"
            )
        )
    except ForensicError as error:
        writer.fail(error)
    pipe.close()


class _Writer:
    """Messages to the parent; blocks while the parent is busy, which bounds what lies in between."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._last_s = time.monotonic()

    def send(self, kind: bytes, values: dict[str, Any], *arrays: Any) -> None:
        text = json.dumps(values).encode()
        views = [memoryview(array).cast("B") for array in arrays]
        self._write(memoryview(HEADER.pack(kind, len(text), sum(view.nbytes for view in views)) + text))
        for view in views:
            self._write(view)
        self._last_s = time.monotonic()

    def fail(self, error: ForensicError) -> None:
        kind = (
            "memory"
            if isinstance(error, MemoryLimitError)
            else "usage"
            if isinstance(error, UsageError)
            else "input"
        )
        self.send(b"E", {"kind": kind, "what": error.what, "fix": error.fix})

    def pulse(self) -> None:
        if time.monotonic() - self._last_s > PULSE_S:
            self.send(b"T", {})

    def _write(self, view: memoryview) -> None:
        while view.nbytes:
            view = view[self._pipe.write(view) :]


def _inspect(task: dict[str, Any], writer: _Writer) -> None:
    from pipeline.probe import inspect

    info = inspect(Path(task["path"]), task["max_pixels"], task["max_duration_s"])
    writer.send(b"I", info_to_json(info))


def _video(task: dict[str, Any], writer: _Writer) -> None:
    from pipeline.decode import backend
    from pipeline.decode.clock import VideoMeter, sample_frames

    info, decoder = info_from_json(task["info"]), backend(task["backend"])
    meter = VideoMeter(decoder)
    frames = _watched(decoder.frames(info, task["short_side"]), task["max_duration_s"], writer, meter.add)
    for batch in sample_frames(frames, task["fps"], task["batch"], task["crop"]):
        n, height, width, _ = batch.images.shape
        writer.send(b"V", {"first": batch.first, "shape": [n, height, width, 3]}, batch.images, batch.valid)
    _finish(meter.coverage(info), writer)


def _stills(task: dict[str, Any], writer: _Writer) -> None:
    from pipeline.decode.stills import Stills

    stills = Stills(info_from_json(task["info"]), tuple(task["box"]), writer.pulse)
    for k, time_s in enumerate(task["times_s"]):
        image = stills.at(time_s)
        shape = [1, *image.shape] if image is not None else [1, 1, 1, 3]
        pixels = image if image is not None else bytes(3)
        writer.send(b"V", {"first": k, "shape": shape}, pixels, bytes([image is not None]))
    _finish(StreamCoverage(0.0, 0.0, errors=stills.errors), writer)


def _audio(task: dict[str, Any], writer: _Writer) -> None:
    from pipeline.decode import backend
    from pipeline.decode.clock import AudioMeter, place_audio

    info, decoder = info_from_json(task["info"]), backend(task["backend"])
    rate = task["sample_rate"]
    meter = AudioMeter(decoder, rate)
    blocks = _watched(decoder.audio(info, rate), task["max_duration_s"], writer, meter.add)
    for batch in place_audio(blocks, rate, task["batch_s"]):
        writer.send(b"A", {"first": batch.first, "n": len(batch.samples)}, batch.samples, batch.valid)
    _finish(meter.coverage(info), writer)


def _finish(coverage: Any, writer: _Writer) -> None:
    gaps = [[gap.start_s, gap.end_s] for gap in coverage.gaps]
    writer.send(b"C", {**vars(coverage), "gaps": gaps})


_TASKS: dict[str, Callable[[dict[str, Any], _Writer], None]] = {
    "inspect": _inspect,
    "video": _video,
    "stills": _stills,
    "audio": _audio,
}


def _watched(items: Iterator[T], limit_s: float, writer: _Writer, meter: Callable[[T], None]) -> Iterator[T]:
    """`items`, metered, with signs of life, and an end at the longest duration allowed."""
    for item in items:
        start_s = item.pts_s if isinstance(item, Frame) else item.start_s
        if start_s > limit_s:
            raise InputError(
                f"runs longer than {limit_s:g} s", fix="raise decode.max_duration_s or cut the file"
            )
        meter(item)
        writer.pulse()
        yield item


def _limit_memory(megabytes: int) -> None:
    with contextlib.suppress(
        ImportError, ValueError, OSError
    ):  # not every system has, or lets us set, these limits
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20, megabytes * 2**20))


def _die_with_parent() -> None:
    """The parent holds the other end of standard input: when it ends, however it ends, so does this process."""
    while os.read(0, 4096):
        pass
    os._exit(1)
