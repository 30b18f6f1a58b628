"""Reading the tracks of a container; runs in the decoding process."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.media import AudioStream, MediaInfo, VideoStream
from pipeline.media.base import CODECS, CONTAINERS

FIRST_PACKETS = 64

MAX_FPS = 1000
"""Above it, what a container calls its frame rate is its time base, and the rate is unknown (0)."""

REENCODE = "convert it with: ffmpeg -i INPUT -c:v libx264 -c:a aac OUTPUT.mp4"


def inspect(path: Path, max_pixels: int, max_duration_s: float) -> MediaInfo:
    """What the container announces, without SHA-256 and size (empty and 0); for the decoding process.

    Raises InputError as `probe` does.
    """
    import av

    from pipeline.media.pyav import open_container

    try:
        container = open_container(path)
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise _not_opened(path, str(error.strerror)) from error
    with container:
        name = container.format.name
        if not CONTAINERS & set(name.split(",")):
            raise InputError(f"the container '{name}' is not accepted", path, REENCODE)
        _check_size(container, max_pixels, path)
        discontinuous = bool(container.format.flags & av.format.Flags.ts_discont.value)
        start = container.start_time
        origin_s = start / av.time_base if discontinuous and start is not None else 0.0
        video, audio = _video(container, origin_s, path), _audio(container, origin_s, path)
        duration_s = container.duration / av.time_base if container.duration is not None else None
    if video is None and audio is None:
        raise InputError(
            "has neither a video nor an audio track", path, "choose a file with pictures or sound"
        )
    longest_s = max((t.duration_s or 0.0 for t in (video, audio) if t is not None), default=0.0)
    if max(longest_s, duration_s or 0.0) > max_duration_s:
        what = (
            f"lasts {max(longest_s, duration_s or 0.0):.0f} s, more than the {max_duration_s:.0f} s allowed"
        )
        raise InputError(what, path, "cut it or raise decode.max_duration_s")
    return MediaInfo(path, "", 0, name, origin_s, duration_s, video, audio)


def _video(container: Any, origin_s: float, path: Path) -> VideoStream | None:
    from pipeline.media.pyav import is_picture_track

    stream = next((s for s in container.streams if s.type == "video" and is_picture_track(s)), None)
    if stream is None:
        return None
    codec = _checked_codec(stream, "video", path)
    context = stream.codec_context
    start_s, duration_s = _times(stream, origin_s)
    rate = stream.average_rate or stream.guessed_rate
    return VideoStream(
        codec=codec,
        width=context.width,
        height=context.height,
        rotation=_rotation(container, stream),
        pixel_format=context.pix_fmt or "unknown",
        average_fps=float(rate) if rate and rate <= MAX_FPS else 0.0,
        start_s=start_s,
        duration_s=duration_s,
    )


def _check_size(container: Any, max_pixels: int, path: Path) -> None:
    for stream in container.streams:
        context = stream.codec_context if stream.type == "video" else None
        if context is not None and context.width * context.height > max_pixels:
            what = f"has pictures of {context.width} x {context.height} pixels; {max_pixels} are allowed"
            raise InputError(what, path, "scale it down or raise decode.max_pixels")


def _rotation(container: Any, stream: Any) -> int:
    """Degrees clockwise that bring the first picture upright; 0 when none of the first packets gives a picture."""
    import av

    stream.codec_context.thread_count = 1  # by default, one for each core is started for a single picture
    try:
        for packet in itertools.islice(container.demux(stream), FIRST_PACKETS):
            for frame in packet.decode():
                return int(-round(frame.rotation)) % 360
    except MemoryError:
        raise
    except av.error.FFmpegError:
        pass  # damage at the start is the decoder's business: it goes on behind it
    return 0


def _audio(container: Any, origin_s: float, path: Path) -> AudioStream | None:
    stream = next((s for s in container.streams if s.type == "audio"), None)
    if stream is None:
        return None
    codec = _checked_codec(stream, "audio", path)
    start_s, duration_s = _times(stream, origin_s)
    return AudioStream(
        codec, stream.codec_context.sample_rate, stream.codec_context.channels, start_s, duration_s
    )


def _checked_codec(stream: Any, kind: str, path: Path) -> str:
    context = stream.codec_context
    name = context.codec.canonical_name if context is not None else "unknown"
    if name not in CODECS:
        raise InputError(f"the {kind} codec '{name}' is not accepted", path, REENCODE)
    return str(name)


def _times(stream: Any, origin_s: float) -> tuple[float, float | None]:
    base = float(stream.time_base)
    start_s = stream.start_time * base - origin_s if stream.start_time is not None else 0.0
    if stream.duration is not None:
        return start_s, stream.duration * base
    return start_s, _tagged_duration_s(stream.metadata, start_s + origin_s)


def _tagged_duration_s(tags: dict[str, str], start_s: float) -> float | None:
    """Matroska keeps a track's duration in a tag, written as 00:00:05.120000000.

    FFmpeg writes the time at which the track ends (libavformat/matroskaenc.c), so `start_s` is taken off; mkvmerge,
    whose tags come with `_STATISTICS_` ones, writes the length.
    """
    parts = next((value for key, value in tags.items() if key.upper().startswith("DURATION")), "").split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    tagged_s = 3600 * hours + 60 * minutes + seconds
    return tagged_s if any(key.startswith("_STATISTICS_") for key in tags) else max(0.0, tagged_s - start_s)


def _not_opened(path: Path, reason: str) -> InputError:
    with open(path, "rb") as file:
        head = file.read(12)
    if head[4:8] in (b"ftyp", b"mdat", b"wide", b"free") and not _has_box(path, b"moov"):
        what = "is a truncated MP4: its index (moov) is missing, because the recording or copy was cut off"
        return InputError(what, path, "copy it again, or rebuild the index with: untrunc GOOD.mp4 BROKEN.mp4")
    return InputError(f"is not a media file that can be analysed ({reason})", path, REENCODE)


def _has_box(path: Path, name: bytes) -> bool:
    """Whether the MP4 file at `path` has a top-level box of that name, whole or cut."""
    end = os.path.getsize(path)
    with open(path, "rb") as file:
        position = 0
        while position + 8 <= end:
            file.seek(position)
            head = file.read(16)
            if head[4:8] == name:
                return True
            size = int.from_bytes(head[:4], "big")
            if size == 1:
                size = int.from_bytes(head[8:16], "big")
            if size < 8:
                return False
            position += size
    return False
