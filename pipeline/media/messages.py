"""Messages between a decoding process and its parent: a header, JSON and raw arrays, never pickles.

The process handles untrusted files, so the form of every message is checked.
"""

from __future__ import annotations

import json
import struct
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data.declared import Tag
from data.errors import ForensicError, InputError, MemoryLimitError, UsageError
from data.media import AudioStream, MediaInfo, OtherTrack, Splice, StreamCoverage, VideoStream
from data.timeline import Interval
from pipeline.media.base import AudioBatch, VideoBatch

HEADER = struct.Struct("<cIQ")
"""One message: kind, bytes of JSON, bytes of array data."""
BATCHES = frozenset((b"V", b"A"))
"""Kinds that carry pictures or sound, which is what memory must be kept for."""
PULSE_S = 1.0
"""A sign of life is sent when nothing else was for this long."""
_ERRORS: dict[str, type[ForensicError]] = {
    "input": InputError,
    "memory": MemoryLimitError,
    "usage": UsageError,
}


@dataclass(frozen=True)
class Covered:
    """The end of one track ("visual" or "audio") and what was decoded of it."""

    track: str
    coverage: StreamCoverage


@dataclass(frozen=True)
class Done:
    """The end of a task, and the process's memory in megabytes, as `data.processes.resident_mb` has it."""

    resident_mb: int


Message = MediaInfo | VideoBatch | AudioBatch | Covered | Done | ForensicError


def info_to_json(info: MediaInfo) -> dict[str, Any]:
    """`info` as plain values."""
    return {**asdict(info), "path": str(info.path)}


def info_from_json(values: dict[str, Any]) -> MediaInfo:
    """The inverse of `info_to_json`."""
    video, audio = values["video"], values["audio"]
    return MediaInfo(
        **{
            **values,
            "path": Path(values["path"]),
            "video": VideoStream(**_track(video)) if video is not None else None,
            "audio": AudioStream(**_track(audio)) if audio is not None else None,
            "others": tuple(OtherTrack(**other) for other in values["others"]),
            "notes": tuple(values["notes"]),
            "tags": tuple(Tag(**tag) for tag in values["tags"]),
        }
    )


def _track(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "splices": tuple(Splice(**splice) for splice in values["splices"])}


class Writer:
    """Messages to the parent; blocks while the parent is busy, which bounds what lies in between."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._last_s = time.monotonic()

    def info(self, info: MediaInfo) -> None:
        self._send(b"I", info_to_json(info))

    def video(self, first: int, images: Any, valid: Any, shape: tuple[int, ...]) -> None:
        self._send(b"V", {"first": first, "shape": shape}, images, valid)

    def audio(self, batch: AudioBatch) -> None:
        self._send(b"A", {"first": batch.first, "n": len(batch.samples)}, batch.samples, batch.valid)

    def covered(self, track: str, coverage: StreamCoverage) -> None:
        gaps = [[gap.start_s, gap.end_s] for gap in coverage.gaps]
        self._send(b"C", {"track": track, "coverage": {**vars(coverage), "gaps": gaps}})

    def done(self, resident_mb: int) -> None:
        self._send(b"Z", {"resident_mb": resident_mb})

    def fail(self, error: ForensicError) -> None:
        kind = next((name for name, of in _ERRORS.items() if type(error) is of), "input")
        self._send(b"E", {"kind": kind, "what": error.what, "fix": error.fix})

    def pulse(self) -> None:
        if time.monotonic() - self._last_s > PULSE_S:
            self._send(b"T", {})

    def _send(self, kind: bytes, values: dict[str, Any], *arrays: Any) -> None:
        text = json.dumps(values).encode()
        views = [memoryview(array).cast("B") for array in arrays]
        self._write(memoryview(HEADER.pack(kind, len(text), sum(view.nbytes for view in views)) + text))
        for view in views:
            self._write(view)
        self._last_s = time.monotonic()

    def _write(self, view: memoryview) -> None:
        while view.nbytes:
            view = view[self._pipe.write(view) :]


def parse(kind: bytes, text: bytes, data: memoryview, path: Path) -> Message | None:
    """The message of a task on `path`, or None for a mere sign of life.

    Whatever has not the form of a message raises: ValueError, KeyError, TypeError or what else JSON and NumPy raise.
    """
    values = json.loads(text)
    if kind == b"T":
        return None
    if kind == b"I":
        return info_from_json(values)
    if kind == b"V":
        return _video(values, data)
    if kind == b"A":
        return _audio(values, data)
    if kind == b"C":
        told = values["coverage"]
        gaps = tuple(Interval(start_s, end_s) for start_s, end_s in told["gaps"])
        notes = tuple(map(str, told["notes"]))
        return Covered(str(values["track"]), StreamCoverage(**{**told, "gaps": gaps, "notes": notes}))
    if kind == b"Z":
        return Done(int(values["resident_mb"]))
    if kind == b"E":
        return _ERRORS[values["kind"]](str(values["what"]), path, str(values["fix"]))
    raise ValueError("no kind of message")


def _video(values: dict[str, Any], data: memoryview) -> VideoBatch:
    n, height, width = (int(size) for size in values["shape"][:3])
    split = n * height * width * 3
    if min(n, height, width) < 0 or len(data) != split + n:
        raise ValueError("not the announced pictures")
    pixels = np.frombuffer(data, np.uint8)
    images = pixels[:split].reshape(n, height, width, 3)
    return VideoBatch(int(values["first"]), images, pixels[split:].astype(np.bool_))


def _audio(values: dict[str, Any], data: memoryview) -> AudioBatch:
    n = int(values["n"])
    if n < 0 or len(data) != 5 * n:
        raise ValueError("not the announced samples")
    samples = np.frombuffer(data[: 4 * n], np.float32)
    valid = np.frombuffer(data[4 * n :], np.uint8).astype(np.bool_)
    return AudioBatch(int(values["first"]), samples, valid)
