"""Untrusted media is decoded in processes that can be killed, with limits on memory, time and silence.

`DecodePool` serves data sets: clip after clip in the same processes. `Decoder` serves single clips, each track in a
process of its own, or one after the other in that of a `Crew`.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from configs.schema import DecodeConfig
from data.labels import Modality
from data.media import MediaInfo, StreamCoverage, TrackChoice
from pipeline.media.base import AudioBatch, VideoBatch
from pipeline.media.crew import Crew, Job
from pipeline.media.messages import Covered, info_to_json

BATCH, BATCH_S = 32, 10.0
"""Steps of a batch of pictures, seconds of a batch of sound."""
B = TypeVar("B", VideoBatch, AudioBatch)


class DecodePool:
    """`children` decoding processes that serve clip after clip, each ahead of its reader by a bounded queue.

    Pictures are scaled to `short_side` and cropped to `crop` pixels, see `Decoder.video`; FFmpeg decodes each track on
    `threads` threads. A clip goes to the first process that is free, in order of submission, and the clips must be
    read, or closed, in that order. Use it with `with`; leaving kills the processes.
    """

    def __init__(
        self,
        config: DecodeConfig,
        short_side: int | None,
        crop: int | None,
        children: int = 1,
        threads: int = 2,
    ) -> None:
        shape = {"short_side": short_side, "crop": crop, "batch": BATCH, "batch_s": BATCH_S}
        self._task = {"do": "clip", **_common(config), **shape, "threads": threads}
        self._crew = Crew(children, config.stall_timeout_s)
        weakref.finalize(self, self._crew.abandon)

    def submit(
        self,
        path: Path,
        wanted: Collection[Modality],
        limit_s: float | None = None,
        choice: TrackChoice | None = None,
    ) -> ClipStream:
        """Queue the clip at `path`, of which `wanted` is decoded, of the tracks of `choice`; returns at once.

        A clip on which its process has worked for `limit_s` seconds without finishing is an InputError; time during
        which the process waits because its queue is full does not count.
        """
        tracks = astuple(choice) if choice is not None else (None, None)
        task = {**self._task, "path": str(path), "wanted": sorted(wanted), "tracks": tracks}
        job = Job(task, path, limit_s)
        self._crew.submit(job)
        return ClipStream(self, job)

    def close(self) -> None:
        """Kill the processes; clips not yet read are lost. May be called again."""
        self._crew.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ClipStream:
    """One clip of a `DecodePool`: iterating gives its picture batches, then its sound batches.

    Raises, from `info` and the iteration, InputError naming the file when it is refused, damaged beyond use, too slow,
    or kills its process, MemoryLimitError when it needs too much memory, and RuntimeError when clips submitted earlier
    are neither read to their end nor closed.
    """

    def __init__(self, pool: DecodePool, job: Job) -> None:
        self._pool, self._job = pool, job  # the pool lives as long as one of its clips is held
        self._info: MediaInfo | None = None
        self._coverage: dict[str, StreamCoverage | None] = {"visual": None, "audio": None}
        self._ended = False

    def info(self) -> MediaInfo:
        """What the container announces, without SHA-256 and size (empty and 0); blocks until it is known."""
        if self._info is None:
            info = self._pool._crew.receive(self._job)
            assert isinstance(info, MediaInfo)
            self._info = info
            tracks = {"visual": info.video, "audio": info.audio}
            if not any(tracks[track] is not None for track in self._job.task["wanted"]):
                self._finish()  # nothing follows: the process is free without anyone iterating
        return self._info

    def __iter__(self) -> Iterator[VideoBatch | AudioBatch]:
        self.info()
        while not self._ended:
            message = self._pool._crew.receive(self._job)
            if isinstance(message, VideoBatch | AudioBatch):
                yield message
            elif isinstance(message, Covered):
                self._coverage[message.track] = message.coverage
            else:
                self._ended = True

    def _finish(self) -> None:
        for _ in self:
            pass

    @property
    def coverage(self) -> dict[str, StreamCoverage | None]:
        """What was decoded of "visual" and "audio"; None for a track that is absent or not wanted.

        Raises RuntimeError before the batches are exhausted.
        """
        if not self._ended:
            raise RuntimeError("coverage is known only after the last batch")
        return dict(self._coverage)

    def close(self) -> None:
        """Give the clip up; if a process is at work on it, it is killed and replaced. May be called again."""
        self._pool._crew.drop(self._job)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Decoder:
    """Starts one decoding process per clip and track; streams that are given a `crew` share its processes."""

    @staticmethod
    def video(
        info: MediaInfo, config: DecodeConfig, short_side: int | None, crop: int | None, batch: int = BATCH
    ) -> DecodeStream[VideoBatch]:
        """The picture track of `info` on the visual grid of `config.fps`, `batch` steps at a time.

        `short_side` and `crop` are in pixels (see `Backend.frames` and `sample_frames`); both are applied in the
        decoding process. Raises InputError or MemoryLimitError, here or while iterating.
        """
        return DecodeStream("video", info, config, short_side=short_side, crop=crop, batch=batch)

    @staticmethod
    def stills(
        info: MediaInfo,
        config: DecodeConfig,
        times_s: Sequence[float],
        box: tuple[int, int],
        crew: Crew | None = None,
    ) -> DecodeStream[VideoBatch]:
        """What is on screen at each of `times_s` (ascending, in seconds), scaled into `box` (width, height) pixels.

        One batch per time, `first` counting the times from 0; it is invalid where nothing is on screen. The clip is
        entered at the key frames before the times, by PyAV whatever the backend. The coverage at the end says
        nothing but the number of damaged pieces met. Raises InputError or MemoryLimitError, here or while iterating.
        """
        return DecodeStream("stills", info, config, crew, times_s=list(times_s), box=list(box))

    @staticmethod
    def audio(
        info: MediaInfo, config: DecodeConfig, batch_s: float = BATCH_S, crew: Crew | None = None
    ) -> DecodeStream[AudioBatch]:
        """The sound track of `info` on the timeline of `config.sample_rate`, `batch_s` seconds at a time.

        Raises InputError or MemoryLimitError, here or while iterating.
        """
        return DecodeStream("audio", info, config, crew, batch_s=batch_s)


class DecodeStream(Generic[B]):
    """Batches of one track from a process, read ahead. Use it with `with`; leaving early kills the process.

    The process is its own, or one of `crew`, which whoever made it closes; of such streams one is read at a time.
    `coverage` is there once the batches are exhausted. Raises InputError naming the file when the process reports
    bad input, dies or stays silent too long, MemoryLimitError when it hits its memory limit.
    """

    def __init__(
        self, do: str, info: MediaInfo, config: DecodeConfig, crew: Crew | None = None, **task: Any
    ) -> None:
        self._shared, self._crew = crew is not None, crew or Crew(1, config.stall_timeout_s)
        if crew is None:
            weakref.finalize(self, self._crew.abandon)
        whole = {"do": do, "info": info_to_json(info), **_common(config), "threads": 2, **task}
        self._job = Job(whole, info.path)
        self._crew.submit(self._job)
        self._coverage: StreamCoverage | None = None

    def __iter__(self) -> Iterator[B]:
        while self._coverage is None:
            try:
                message = self._crew.receive(self._job)
            except BaseException:
                self.close()
                raise
            if isinstance(message, Covered):
                self._coverage = message.coverage
                if self._shared:
                    self._crew.receive(self._job)  # its end: the process is free for the next
                self.close()
            else:
                yield message  # type: ignore[misc]

    @property
    def coverage(self) -> StreamCoverage:
        """What was decoded of what the file announces. Raises RuntimeError before the batches are exhausted."""
        if self._coverage is None:
            raise RuntimeError("coverage is known only after the last batch")
        return self._coverage

    def close(self) -> None:
        """Kill the decoding process if it is still at work on this. May be called again."""
        if self._shared:
            self._crew.drop(self._job)
        else:
            self._crew.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _common(config: DecodeConfig) -> dict[str, Any]:
    """What every task carries of the settings: the decoder, the clocks and the limits."""
    names = ("backend", "fps", "sample_rate", "max_pixels", "max_duration_s")
    return {**{name: getattr(config, name) for name in names}, "memory_mb": config.memory_limit_mb}
