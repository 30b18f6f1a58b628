"""Untrusted media is decoded in a process that can be killed, with limits on memory and on silence."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Generic, Self, TypeVar

import numpy as np

from configs.schema import DecodeConfig
from data.errors import InputError, MemoryLimitError, UsageError
from data.media import MediaInfo, StreamCoverage
from data.timeline import Interval
from pipeline.decode.base import AudioBatch, VideoBatch
from pipeline.decode.child import HEADER, info_from_json, info_to_json

log = logging.getLogger(__name__)
ROOT = str(Path(__file__).resolve().parents[2])
AHEAD = 2
"""Batches that wait in this process while the model is busy."""
MAX_JSON, MAX_DATA = 2**26, 2**32
"""Bytes of one message; a child that a hostile file has taken over could announce anything."""
B = TypeVar("B")
Message = tuple[bytes, dict[str, Any], memoryview]


class Decoder:
    """Starts one decoding process per clip and track."""

    @staticmethod
    def video(
        info: MediaInfo, config: DecodeConfig, short_side: int | None, crop: int | None, batch: int = 32
    ) -> DecodeStream[VideoBatch]:
        """The picture track of `info` on the visual grid of `config.fps`, `batch` steps at a time.

        `short_side` and `crop` are in pixels (see `Backend.frames` and `sample_frames`); both are applied in the
        decoding process. Raises InputError or MemoryLimitError, here or while iterating.
        """
        task = {"short_side": short_side, "crop": crop, "batch": batch, "fps": config.fps}
        return DecodeStream(
            _start("video", info, config, task), info.path, config.stall_timeout_s, _video_batch
        )

    @staticmethod
    def stills(
        info: MediaInfo, config: DecodeConfig, times_s: Sequence[float], box: tuple[int, int]
    ) -> DecodeStream[VideoBatch]:
        """What is on screen at each of `times_s` (ascending, in seconds), scaled into `box` (width, height) pixels.

        One batch per time, `first` counting the times from 0; it is invalid where nothing is on screen. The clip is
        entered at the key frames before the times, by PyAV whatever the backend. The coverage at the end says
        nothing but the number of damaged pieces met. Raises InputError or MemoryLimitError, here or while iterating.
        """
        task = {"times_s": list(times_s), "box": list(box)}
        return DecodeStream(
            _start("stills", info, config, task), info.path, config.stall_timeout_s, _video_batch
        )

    @staticmethod
    def audio(info: MediaInfo, config: DecodeConfig, batch_s: float = 10.0) -> DecodeStream[AudioBatch]:
        """The sound track of `info` on the timeline of `config.sample_rate`, `batch_s` seconds at a time.

        Raises InputError or MemoryLimitError, here or while iterating.
        """
        task = {"batch_s": batch_s, "sample_rate": config.sample_rate}
        return DecodeStream(
            _start("audio", info, config, task), info.path, config.stall_timeout_s, _audio_batch
        )


class DecodeStream(Generic[B]):
    """Batches from a decoding process, read ahead in a thread. Use it with `with`; leaving early kills the process.

    `coverage` is there once the batches are exhausted. Raises InputError naming the file when the process reports
    bad input, dies or stays silent too long, MemoryLimitError when it hits its memory limit.
    """

    def __init__(
        self,
        channel: _Channel,
        path: Path,
        stall_timeout_s: float,
        convert: Callable[[dict[str, Any], memoryview], B],
    ) -> None:
        self._channel, self._path, self._stall_s, self._convert = channel, path, stall_timeout_s, convert
        self._coverage: StreamCoverage | None = None

    def __iter__(self) -> Iterator[B]:
        while self._coverage is None:
            kind, values, data = self._channel.receive(self._path, self._stall_s)
            if kind == b"C":
                gaps = tuple(Interval(start_s, end_s) for start_s, end_s in values.pop("gaps"))
                self._coverage = StreamCoverage(**values, gaps=gaps)
                self.close()
            else:
                yield self._convert(values, data)

    @property
    def coverage(self) -> StreamCoverage:
        """What was decoded of what the file announces. Raises RuntimeError before the batches are exhausted."""
        if self._coverage is None:
            raise RuntimeError("coverage is known only after the last batch")
        return self._coverage

    def close(self) -> None:
        """Kill the decoding process if it still runs. May be called again."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def inspect_in_worker(path: Path, config: DecodeConfig) -> MediaInfo:
    """`pipeline.probe.inspect` in a decoding process. Raises InputError or MemoryLimitError."""
    limits = {"max_pixels": config.max_pixels, "max_duration_s": config.max_duration_s}
    channel = _Channel({"do": "inspect", "path": str(path), "memory_mb": config.memory_limit_mb, **limits})
    try:
        _, values, _ = channel.receive(path, config.stall_timeout_s)
    finally:
        channel.close()
    return info_from_json(values)


class _Channel:
    """One child process, the thread that reads its messages, and the bounded queue between them."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _bootstrap()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # so that whatever the child starts dies with it, and Ctrl-C is ours alone
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # its exit status says more
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()
        self._queue: queue.Queue[Message | None] = queue.Queue(AHEAD)
        self._seen = [time.monotonic()]
        args = (self._process.stdout, self._queue, self._seen)
        self._thread = threading.Thread(target=_read_messages, args=args, daemon=True)
        self._thread.start()
        self._kill = weakref.finalize(self, _kill_group, self._process)

    def receive(self, path: Path, stall_s: float) -> Message:
        """The next message that carries something; errors that the child reports are raised."""
        message = self._next(path, stall_s)
        if message is None:
            self._kill()
            what = self._obituary()
            self.close()
            raise InputError(what, path, "the file may be damaged or hostile; re-encode it and try again")
        if message[0] == b"E":
            self.close()
            kind, what, fix = (str(message[1][key]) for key in ("kind", "what", "fix"))
            error = {"memory": MemoryLimitError, "usage": UsageError}.get(kind, InputError)
            raise error(what, path, fix)
        return message

    def _next(self, path: Path, stall_s: float) -> Message | None:
        self._seen[0] = time.monotonic()
        while True:
            if not self._thread.is_alive() and self._queue.empty():
                return None
            left_s = self._seen[0] + stall_s - time.monotonic()
            try:
                return self._queue.get(timeout=max(left_s, 0.01))
            except queue.Empty:
                if time.monotonic() - self._seen[0] >= stall_s:
                    self.close()
                    fix = "re-encode the file or raise decode.stall_timeout_s"
                    raise InputError(
                        f"the decoder gave nothing for {stall_s:g} s and was stopped", path, fix
                    ) from None

    def close(self) -> None:
        self._kill()
        while self._thread.is_alive():  # it may wait for room in the queue
            with contextlib.suppress(queue.Empty):
                self._queue.get(timeout=0.05)
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _obituary(self) -> str:
        code = self._process.returncode
        if self._stderr.closed:
            return "was read on after its decoder had been stopped"
        self._stderr.seek(0)
        said = self._stderr.read()[-4000:].decode(errors="replace").strip()
        log.debug("decoding process: %s", said)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
        return f"the decoder died on it ({how}{': ' + said.splitlines()[-1] if said else ''})"


def _start(do: str, info: MediaInfo, config: DecodeConfig, task: dict[str, Any]) -> _Channel:
    limits = {"memory_mb": config.memory_limit_mb, "max_duration_s": config.max_duration_s}
    return _Channel({"do": do, "info": info_to_json(info), "backend": config.backend, **limits, **task})


def _bootstrap() -> str:
    """Code of the child. A module of ours, never the user's main script: that would run a second time.

    `-P` keeps the working directory off the path (it may hold folders called `data` or `models`).
    """
    return (
        "import sys; own = list(sys.path); "
        f"sys.path += [p for p in {[p for p in sys.path if p]!r} if p not in own]; "
        f"{ROOT!r} in own or sys.path.insert(0, {ROOT!r}); "
        "from pipeline.decode.child import main; main()"
    )


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read_messages(pipe: IO[bytes], box: queue.Queue[Message | None], seen: list[float]) -> None:
    """Messages of `pipe` into `box` until the pipe ends; anything that is not a message counts as its end."""
    with contextlib.suppress(EOFError, ValueError, OSError):
        while True:
            kind, json_size, data_size = HEADER.unpack(_read(pipe, HEADER.size))
            if json_size > MAX_JSON or data_size > MAX_DATA:
                raise ValueError("not a message")
            values = json.loads(bytes(_read(pipe, json_size)))
            data = _read(pipe, data_size)
            seen[0] = time.monotonic()
            if kind != b"T":
                box.put((kind, values, data))
    box.put(None)


def _read(pipe: IO[bytes], size: int) -> memoryview:
    view = np.empty(size, np.uint8).data
    filled = 0
    while filled < size:
        got = pipe.readinto(view[filled:])  # type: ignore[attr-defined]
        if not got:
            raise EOFError
        filled += got
    return view


def _video_batch(values: dict[str, Any], data: memoryview) -> VideoBatch:
    n, height, width, channels = values["shape"]
    pixels = np.frombuffer(data, np.uint8)
    split = n * height * width * channels
    images = pixels[:split].reshape(n, height, width, channels)
    return VideoBatch(values["first"], images, pixels[split:].astype(np.bool_))


def _audio_batch(values: dict[str, Any], data: memoryview) -> AudioBatch:
    split = 4 * values["n"]
    samples = np.frombuffer(data[:split], np.float32)
    return AudioBatch(values["first"], samples, np.frombuffer(data[split:], np.uint8).astype(np.bool_))
