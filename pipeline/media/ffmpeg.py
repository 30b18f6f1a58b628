"""The ffmpeg program as a decoder: pixels over one pipe, their timestamps over the other.

Arguments are built with ffmpeg-python. Raw pipes carry no timestamps, so the filters `showinfo` and `ashowinfo` name
each frame's on standard error (https://ffmpeg.org/ffmpeg-filters.html#showinfo).
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from data.errors import InputError, UsageError
from data.media import AudioBlock, Frame, MediaInfo
from pipeline.media.base import CONTAINERS, upright_size
from pipeline.media.pyav import SCALE_FLAGS, Run

OLDEST = (5, 1)
"""First version that knows `-fps_mode`."""
TICKS = 1_000_000
"""Video timestamps are asked for in microseconds; printed seconds have six digits only."""
_LINE = re.compile(r"showinfo.*\bpts: *(?P<pts>-?\d+|NOPTS)\b")
_DURATION = re.compile(r"\bduration: *(\d+)\b")
_SAMPLES = re.compile(r"\bnb_samples: *(\d+)\b")


@functools.lru_cache(maxsize=1)
def program() -> str:
    """Path of ffmpeg: the system's when it is new enough, else the one that imageio-ffmpeg carries.

    Raises UsageError when there is neither, or no ffmpeg-python.
    """
    if importlib.util.find_spec("ffmpeg") is None:
        raise UsageError(
            "the decoder 'ffmpeg' needs the package ffmpeg-python", fix="pip install ffmpeg-python"
        )
    system = shutil.which("ffmpeg")
    if system is not None and _version(system) >= OLDEST:
        return system
    with contextlib.suppress(ImportError, RuntimeError):
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    raise UsageError("the decoder 'ffmpeg' needs ffmpeg 5.1 or newer", fix="pip install imageio-ffmpeg")


class FFmpegBackend:
    """Decoder over an ffmpeg process. Raises UsageError on construction when there is none."""

    def __init__(self, threads: int = 2) -> None:
        self.errors = 0
        self.notes: tuple[str, ...] = ()
        self._threads = threads
        self._program = program()

    def frames(self, info: MediaInfo, short_side: int | None) -> Iterator[Frame]:
        """See `Backend.frames`; ffmpeg turns and scales."""
        if info.video is None:
            raise InputError("has no video track", info.path)
        width, height = upright_size(info.video, short_side)
        stream = (
            _source(info.path, self._threads)[str(info.video.track)]
            .filter("scale", width, height, flags=SCALE_FLAGS)
            .filter("format", "rgb24")
            .filter("settb", "AVTB")
            .filter("showinfo", checksum=0)
        )
        arguments = stream.output("pipe:1", format="rawvideo", fps_mode="passthrough")
        nominal_s = 1 / info.video.average_fps if info.video.average_fps > 0 else 0.0
        next_s = info.video.start_s
        with _Process(self._program, arguments, info.path) as process:
            for line in process.lines():
                image = np.frombuffer(process.read(3 * width * height), np.uint8).reshape(height, width, 3)
                pts, length = _LINE.search(line), _DURATION.search(line)
                timed = pts is not None and pts["pts"] != "NOPTS"
                pts_s = int(pts["pts"]) / TICKS - info.origin_s if pts is not None and timed else next_s
                duration_s = int(length[1]) / TICKS if length is not None and int(length[1]) else nominal_s
                next_s = pts_s + duration_s
                self.errors = process.errors
                yield Frame(pts_s, image, duration_s)
            self.errors = process.finish()

    def audio(self, info: MediaInfo, sample_rate: int) -> Iterator[AudioBlock]:
        """See `Backend.audio`; ffmpeg mixes to mono, and the stretches between holes are resampled here."""
        import av

        if info.audio is None:
            raise InputError("has no audio track", info.path)
        rate = info.audio.sample_rate
        # Channels that cancel out are told apart before they are mixed, by `Run`.
        layout, channels = ("stereo", 2) if info.audio.channels == 2 else ("mono", 1)
        stream = (
            _source(info.path, self._threads)[str(info.audio.track)]
            .filter("aresample", rate, ochl=layout, osf="flt", rematrix_maxval=1.0)
            .filter("asettb", f"1/{rate}")
            .filter("ashowinfo")
        )
        arguments = stream.output("pipe:1", format="f32le", acodec="pcm_f32le")
        run: Run | None = None
        next_s = info.audio.start_s
        with _Process(self._program, arguments, info.path) as process:
            for line in process.lines():
                count, pts = _SAMPLES.search(line), _LINE.search(line)
                samples = np.frombuffer(
                    process.read(4 * channels * int(count[1] if count is not None else 0)), np.float32
                )
                timed = pts is not None and pts["pts"] != "NOPTS"
                start_s = int(pts["pts"]) / rate - info.origin_s if pts is not None and timed else next_s
                next_s = start_s + len(samples) / channels / rate
                self.errors = process.errors
                frame = av.AudioFrame.from_ndarray(samples[None].copy(), "flt", layout)
                frame.sample_rate = rate
                if run is None or not run.continues(start_s, frame):
                    if run is not None:
                        yield from run.push(None)
                    run = Run(start_s, frame, sample_rate)
                yield from run.push(frame)
            if run is not None:
                yield from run.push(None)
            self.errors = process.finish()


class _Process:
    """A running ffmpeg whose frame lines are queued by a thread while its data is read."""

    def __init__(self, binary: str, arguments: Any, path: Path) -> None:
        flags = ("-nostdin", "-nostats", "-hide_banner", "-loglevel", "repeat+level+info", "-copyts")
        command = arguments.global_args(*flags).compile(cmd=binary)
        self.errors = 0
        self._path, self._last = path, ""
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._data: IO[bytes] = self._process.stdout
        self._thread = threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True)
        self._thread.start()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        self._data.close()

    def lines(self) -> Iterator[str]:
        """The line of each frame, in order, until ffmpeg closes its standard error."""
        while (line := self._lines.get()) is not None:
            yield line

    def read(self, size: int) -> bytes:
        """The next `size` bytes of data. Raises InputError when ffmpeg ends before."""
        data = self._data.read(size)
        if len(data) < size:
            raise InputError(
                f"ffmpeg stopped in the middle of a frame: {self._last}", self._path, "re-encode the file"
            )
        return data

    def finish(self) -> int:
        """Wait for the end; the count of errors. Raises InputError when ffmpeg gave up."""
        code = self._process.wait()
        self._thread.join()
        if code != 0:
            raise InputError(
                f"ffmpeg ended with status {code}: {self._last}", self._path, "re-encode the file"
            )
        return self.errors

    def _listen(self, stderr: IO[bytes]) -> None:
        with stderr:
            for raw in stderr:
                line = raw.decode(errors="replace").rstrip()
                if _LINE.search(line):
                    self._lines.put(line)
                elif "[error]" in line or "[fatal]" in line:
                    self.errors += 1
                    self._last = line
        self._lines.put(None)


def _source(path: Path, threads: int) -> Any:
    import ffmpeg

    # `file:` keeps a name with a colon from being read as a protocol.
    lists = {"protocol_whitelist": "file", "format_whitelist": ",".join(sorted(CONTAINERS))}
    return ffmpeg.input(
        f"file:{os.path.abspath(path)}", threads=threads, **lists, **{"flags:v": "-output_corrupt"}
    )


def _version(binary: str) -> tuple[int, int]:
    """(major, minor) of an ffmpeg program; builds from its repository, which carry no number, count as new."""
    shown = subprocess.run([binary, "-version"], capture_output=True, text=True, check=False).stdout
    number = re.search(r"ffmpeg version n?(\d+)\.(\d+)", shown)
    if number is None:
        return (99, 0) if shown.startswith("ffmpeg version") else (0, 0)
    return int(number[1]), int(number[2])
