"""The decoding process: does task after task and writes the results to a pipe. Loads nothing heavier than PyAV."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from data.errors import ForensicError, InputError, MemoryLimitError
from data.media import AudioBlock, MediaInfo, StreamCoverage, TrackChoice
from data.processes import resident_mb
from pipeline.media.base import Shown
from pipeline.media.messages import Writer, info_from_json
from pipeline.media.process import answer_pipe, limit_memory, take_lines

T = TypeVar("T", Shown, AudioBlock)


def main() -> None:
    """Do the tasks that standard input names, one JSON object a line, in order; never returns.

    Messages go to what was standard output. The process ends with its standard input.
    """
    pipe = answer_pipe()
    import av  # noqa: F401 - loaded before memory is limited: what fails from there on is the file's doing

    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    take_lines(tasks.put)
    writer = Writer(pipe)
    while True:
        task = json.loads(tasks.get())
        limit_memory(task["memory_mb"])
        try:
            _TASKS[task["do"]](task, writer)
        except MemoryError:
            fix = "raise decode.memory_limit_mb"
            writer.fail(MemoryLimitError("needs more memory to decode than is allowed", fix=fix))
        except ForensicError as error:
            writer.fail(error)
        else:
            writer.done(resident_mb())


def _clip(task: dict[str, Any], writer: Writer) -> None:
    info = _inspected(task, writer.pulse)
    writer.info(info)
    if "visual" in task["wanted"] and info.video is not None:
        _pictures(info, task, writer)
    if "audio" in task["wanted"] and info.audio is not None:
        _sound(info, task, writer)


def _video(task: dict[str, Any], writer: Writer) -> None:
    _pictures(info_from_json(task["info"]), task, writer)


def _audio(task: dict[str, Any], writer: Writer) -> None:
    _sound(info_from_json(task["info"]), task, writer)


def _stills(task: dict[str, Any], writer: Writer) -> None:
    from pipeline.media.stills import Stills

    stills = Stills(info_from_json(task["info"]), tuple(task["box"]), writer.pulse)
    for k, time_s in enumerate(task["times_s"]):
        image = stills.at(time_s)
        if image is not None:
            writer.video(k, image, b"\1", (1, *image.shape))
        else:
            writer.video(k, bytes(3), b"\0", (1, 1, 1, 3))
    writer.covered("visual", StreamCoverage(0.0, 0.0, errors=stills.errors))


_TASKS: dict[str, Callable[[dict[str, Any], Writer], None]] = {
    "clip": _clip,
    "video": _video,
    "stills": _stills,
    "audio": _audio,
}


def _inspected(task: dict[str, Any], alive: Callable[[], None]) -> MediaInfo:
    from pipeline.media.inspect import inspect

    choice = TrackChoice(*task.get("tracks", (None, None)))
    return inspect(Path(task["path"]), task["max_pixels"], task["max_duration_s"], choice, alive)


def _pictures(info: MediaInfo, task: dict[str, Any], writer: Writer) -> None:
    from pipeline.media import backend
    from pipeline.media.base import hold_s
    from pipeline.media.clock import Placement, VideoMeter, sample_frames

    decoder = backend(task["backend"], task["threads"])
    meter, placement = VideoMeter(decoder), Placement()

    def held_s() -> float:
        return hold_s(info.container, decoder.errors)

    def count(frame: Shown) -> None:
        meter.add(frame, held_s())

    frames = _watched(decoder.frames(info, task["short_side"]), task["max_duration_s"], writer, count)
    for batch in sample_frames(frames, task["fps"], task["batch"], task["crop"], placement, held_s):
        writer.video(batch.first, batch.images, batch.valid, batch.images.shape)
    writer.covered("visual", meter.coverage(info, placement))


def _sound(info: MediaInfo, task: dict[str, Any], writer: Writer) -> None:
    from pipeline.media import backend
    from pipeline.media.clock import AudioMeter, Placement, place_audio

    decoder, rate = backend(task["backend"], task["threads"]), task["sample_rate"]
    meter, placement = AudioMeter(decoder, rate), Placement()
    joined = info.audio is not None and bool(info.audio.splices)

    def count(block: AudioBlock) -> None:
        meter.add(block, joined)

    blocks = _watched(decoder.audio(info, rate), task["max_duration_s"], writer, count)
    for batch in place_audio(blocks, rate, task["batch_s"], placement):
        writer.audio(batch)
    coverage = meter.coverage(info, placement)
    writer.covered("audio", replace(coverage, notes=decoder.notes))


def _watched(items: Iterator[T], limit_s: float, writer: Writer, meter: Callable[[T], None]) -> Iterator[T]:
    """`items`, metered, with signs of life, and an end at the longest duration allowed."""
    for item in items:
        start_s = item.start_s if isinstance(item, AudioBlock) else item.pts_s
        if start_s > limit_s:
            raise InputError(
                f"runs longer than {limit_s:g} s", fix="raise decode.max_duration_s or cut the file"
            )
        meter(item)
        writer.pulse()
        yield item
