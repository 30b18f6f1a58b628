"""Decoding for data sets against `ffmpeg -f null`, in processor time: that is what decoding takes from the networks.

Wall time would compare how many threads each starts: ffmpeg decodes sound beside the picture, whatever it is told.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
from rows import Row

from configs.schema import DecodeConfig
from pipeline.media.base import VideoBatch
from pipeline.media.decoder import DecodePool, Decoder
from pipeline.media.ffmpeg import program

ROUNDS = 5
SHORT_SIDE = 256
"""Pixels of the shorter side of the pictures that are decoded to, those of the preset `compact`."""
FILL = "scale=1280:720:force_original_aspect_ratio=increase,crop=1280:720"
SECONDS = 8
"""Length of the clip whose pieces of one second show what a clip costs beyond its frames."""


def decoding(clips: Sequence[Path], folder: Path) -> list[Row]:
    """Measure on `clips` (H.264, at least `SECONDS` long) and on what is made of them in the empty `folder`.

    Both sides decode on one thread; they take turns, and each number is the median of `ROUNDS` rounds.
    """
    large = [_encoded(clip, folder / f"{k}_720p.mp4", scale=FILL) for k, clip in enumerate(clips)]
    whole = _encoded(clips[0], folder / "whole.mp4", seconds=SECONDS)
    pieces = [_encoded(whole, folder / f"piece_{k}.mp4", start=k, seconds=1) for k in range(SECONDS)]
    with DecodePool(DecodeConfig(), SHORT_SIDE, None, threads=1) as pool:
        frames = {name: _read(pool, paths) for name, paths in {"large": large, "own": clips}.items()}
        seconds = _medians(
            {
                "ffmpeg, large": lambda: _null(large),
                "pool, large": lambda: _read(pool, large),
                "ffmpeg, own": lambda: _null(clips),
                "pool, own": lambda: _read(pool, clips),
                "whole": lambda: _read(pool, [whole]),
                "pieces": lambda: _read(pool, pieces),
                "alone": lambda: _alone(pieces),
            },
            _processor_s,
        )
    overhead_s = (seconds["pieces"] - seconds["whole"]) / len(pieces)
    null = "ffmpeg -f null of the same clips, processor time, one thread"
    return [
        Row(
            "decode 720p, both tracks, resized", seconds["pool, large"] / seconds["ffmpeg, large"], "x", null
        ),
        Row(
            "decode as they are, both tracks, resized",
            seconds["pool, own"] / seconds["ffmpeg, own"],
            "x",
            null,
        ),
        Row("a frame of 720p", 1000 * seconds["pool, large"] / frames["large"], "ms", "sound included"),
        Row(
            "a clip beyond its frames",
            1000 * overhead_s,
            "ms",
            f"{SECONDS} clips of 1 s against one of {SECONDS} s",
        ),
        Row(
            "clips of 1 s in processes of their own",
            seconds["alone"] / seconds["pieces"],
            "x",
            "the same in a pool",
        ),
    ]


def _read(pool: DecodePool, paths: Sequence[Path]) -> int:
    """The number of pictures."""
    streams = [pool.submit(path, ("visual", "audio")) for path in paths]
    return sum(len(batch.valid) for stream in streams for batch in stream if isinstance(batch, VideoBatch))


def _alone(paths: Sequence[Path]) -> None:
    """Facts, pictures and sound of each clip, each in a process of its own."""
    config = DecodeConfig()
    for path in paths:
        with DecodePool(config, None, None) as pool:
            info = pool.submit(path, ()).info()
        with Decoder.video(info, config, SHORT_SIDE, None) as video, Decoder.audio(info, config) as audio:
            for stream in (video, audio):
                for _ in stream:
                    pass


def _null(paths: Sequence[Path]) -> None:
    for path in paths:
        _ffmpeg("-threads", "1", "-i", path, "-f", "null", "-")


def _encoded(
    source: Path, target: Path, scale: str | None = None, start: int = 0, seconds: int | None = None
) -> Path:
    scaled = ("-vf", scale) if scale is not None else ()
    length = ("-t", seconds) if seconds is not None else ()
    _ffmpeg(
        "-ss", start, *length, "-i", source, *scaled, "-c:v", "libx264", "-crf", "20", "-c:a", "aac", target
    )
    return target


def _ffmpeg(*arguments: object) -> None:
    subprocess.run([program(), "-nostdin", "-v", "error", *map(str, arguments)], check=True)


def _processor_s() -> float:
    """Processor time of this process, of its children, ended and running, in seconds so far."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = [sum(child.cpu_times()[:2]) for child in psutil.Process().children()]
    return time.process_time() + ended.ru_utime + ended.ru_stime + sum(running)


def _medians(parts: dict[str, Callable[[], object]], clock_s: Callable[[], float]) -> dict[str, float]:
    spent_s: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(ROUNDS):
        for name, part in parts.items():
            started_s = clock_s()
            part()
            spent_s[name].append(clock_s() - started_s)
    return {name: statistics.median(times) for name, times in spent_s.items()}
