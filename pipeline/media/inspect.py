"""Reading the tracks of a container and their packets; runs in the decoding process."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.media import ANY, AudioStream, MediaInfo, OtherTrack, TrackChoice, VideoStream
from data.text import timecode
from pipeline.media.base import CONTAINERS
from pipeline.media.choose import REENCODE, Chosen, candidates, choose, is_silent, pixel_aspect
from pipeline.media.survey import Timeline, TrackSurvey, survey, timeline
from pipeline.media.tags import tags_of
from pipeline.media.tail import Tail, announces_length, is_fragmented, tail_of
from pipeline.media.transport import Announced, programs

FIRST_PACKETS = 64

MAX_FPS = 1000
"""Above it, what a container calls its frame rate is its time base, and the rate is unknown (0)."""

PRIMING_S = 0.1
"""Sound may begin this long before time 0: codecs need to warm up, and what they give by then is cut."""

LONGER_S = 0.5
"""Packets that go on for more than this behind the announced end are believed rather than the container."""

_PICTURES = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"WEBP": "a WebP picture or animation, which FFmpeg cannot decode here",
    b"#EXTM3U": "a playlist",
    b"ffconcat": "a playlist",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "an archive",
}
"""What files are that people take for media, by their first bytes."""


def inspect(
    path: Path,
    max_pixels: int,
    max_duration_s: float,
    wanted: TrackChoice = ANY,
    alive: Callable[[], None] = lambda: None,
) -> MediaInfo:
    """What the file announces and what its packets say, without SHA-256 and size (empty and 0).

    `wanted` are the tracks to analyse, if not those of the rule (see `choose`); `alive` is called now and then.
    Raises InputError when it is no media file, of a refused container or codec, without video and audio, too large
    or too long; UsageError for a wanted track that is not there.
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
        fragments = is_fragmented(path, name)
        surveys, last_byte = survey(container, alive, av.error.FFmpegError, fragments)
        announced = programs(path) if name == "mpegts" else {}
        chosen = choose(
            candidates(container, surveys, announced, max_pixels),
            wanted,
            path,
            lambda stream: is_silent(path, stream, alive),
        )
        facts = _facts(container, chosen, surveys, tail_of(path, name, last_byte), path)
        if announced:
            facts = replace(facts, others=(*facts.others, *_unseen(container, announced)))
    facts = replace(facts, tags=tags_of(path, facts))
    longest_s = max(t.duration_s or 0.0 for t in (facts.video, facts.audio) if t is not None)
    longest_s = max(longest_s, facts.duration_s or 0.0)
    if longest_s > max_duration_s:
        problem = f"lasts {longest_s:.0f} s, more than the {max_duration_s:.0f} s allowed"
        raise InputError(problem, path, "cut it or raise decode.max_duration_s")
    return facts


def _facts(
    container: Any, chosen: Chosen, surveys: Mapping[int, TrackSurvey], tail: Tail, path: Path
) -> MediaInfo:
    import av

    name = container.format.name
    streams = [stream for stream in (chosen.video, chosen.audio) if stream is not None]
    surveyed = [surveys[stream.index] for stream in streams]
    line = timeline(surveyed)
    splices = {stream.index: found for stream, found in zip(streams, line.splices, strict=True)}
    starts = [_start_s(stream, surveys[stream.index]) for stream in streams]
    origin_s = min((start for start in starts if start is not None), default=0.0)
    if -PRIMING_S <= origin_s < 0:
        origin_s = 0.0
    told = announces_length(path, name)
    measured_s = max(0.0, line.end_s - origin_s) if any(s.parts for s in surveyed) else None
    duration_s = container.duration / av.time_base if container.duration is not None and told else None
    if duration_s is not None and "matroska" in name and duration_s > origin_s > 0:
        duration_s -= origin_s  # Matroska's is the time at which it ends
    if measured_s is not None and (duration_s is None or measured_s > duration_s + LONGER_S):
        duration_s = measured_s  # of joined recordings the container knows the first alone
    notes, whole = _notes(line, origin_s, tail)

    def times(stream: Any) -> tuple[float, float | None]:
        start_s = _start_s(stream, surveys[stream.index])
        start_s = start_s - origin_s if start_s is not None else 0.0
        if told or not surveys[stream.index].parts:
            return start_s, _announced_s(stream, start_s + origin_s)
        # The container says no length, and FFmpeg's is a guess: it lasts as long as its packets.
        ends = [part.end_s for part in surveys[stream.index].parts]
        shifts = {splice.first: splice.shift_s for splice in splices[stream.index]}
        parts = surveys[stream.index].parts
        end_s = max(end + shifts.get(part.first, 0.0) for end, part in zip(ends, parts, strict=True))
        return start_s, max(0.0, end_s - origin_s - start_s)

    video = audio = None
    if chosen.video is not None:
        stream, context = chosen.video, chosen.video.codec_context
        rate = stream.average_rate or stream.guessed_rate
        start_s, length_s = times(stream)
        video = VideoStream(
            codec=str(context.codec.canonical_name),
            width=context.width,
            height=context.height,
            rotation=_rotation(path, stream.index),
            pixel_format=context.pix_fmt or "unknown",
            average_fps=float(rate) if rate and rate <= MAX_FPS else 0.0,
            start_s=start_s,
            duration_s=length_s,
            track=stream.index,
            pixel_aspect=pixel_aspect(stream),
            splices=splices[stream.index],
        )
    if chosen.audio is not None:
        stream, context = chosen.audio, chosen.audio.codec_context
        start_s, length_s = times(stream)
        audio = AudioStream(
            codec=str(context.codec.canonical_name),
            sample_rate=context.sample_rate,
            channels=context.channels,
            start_s=start_s,
            duration_s=length_s,
            track=stream.index,
            splices=splices[stream.index],
        )
    return MediaInfo(path, "", 0, name, origin_s, duration_s, video, audio, chosen.others, notes, whole)


def _start_s(stream: Any, survey: TrackSurvey) -> float | None:
    """When the first part of a track starts in seconds, before the origin is taken off; None where nothing says."""
    if stream.start_time is not None:
        return float(stream.start_time * stream.time_base)
    return survey.start_s


def _notes(line: Timeline, origin_s: float, tail: Tail) -> tuple[tuple[str, ...], bool]:
    notes = []
    whole = True
    again = [timecode(at_s - origin_s) for at_s, back in line.joints if back]
    ahead = [timecode(at_s - origin_s) for at_s, back in line.joints if not back]
    if again:
        more = f" and {len(again) - 3} times more" if len(again) > 3 else ""
        at = ", ".join(again[:3])
        notes.append(
            f"time stamps start again at {at}{more}: recordings were joined; shown one after the other"
        )
    if ahead:
        more = f" and {len(ahead) - 3} times more" if len(ahead) > 3 else ""
        at = ", ".join(ahead[:3])
        notes.append(
            f"the clock jumps ahead at {at}{more}: the hole was closed; something may be missing there"
        )
        whole = False
    if tail.unread_bytes:
        notes.append(
            f"behind what players show, the file goes on for {tail.unread_bytes:,} bytes that look like media "
            f"({tail.like}): not analysed"
        )
        whole = False
    if tail.cut_bytes:
        notes.append(f"the file is cut off: {tail.cut_bytes:,} bytes of its last part are missing")
        whole = False
    return tuple(notes), whole


def _unseen(container: Any, announced: Mapping[int, Announced]) -> list[OtherTrack]:
    """Tracks that a transport stream announces where FFmpeg no longer looks for new ones."""
    seen = {stream.id for stream in container.streams}
    several = len({of.program for of in announced.values()}) > 1
    return [
        OtherTrack(pid, of.kind, "unknown", "it begins late in the file", of.program if several else None)
        for pid, of in announced.items()
        if of.kind and pid not in seen
    ]


def _rotation(path: Path, track: int) -> int:
    """Degrees clockwise that bring the first picture upright; 0 when none of the first packets gives a picture."""
    import av

    from pipeline.media.pyav import open_container

    try:
        with open_container(path) as container:
            stream: Any = container.streams[track]
            stream.codec_context.thread_count = (
                1  # by default, one for each core is started for a single picture
            )
            for packet in itertools.islice(container.demux(stream), FIRST_PACKETS):
                for frame in packet.decode():
                    return int(-round(frame.rotation)) % 360
    except MemoryError:
        raise
    except av.error.FFmpegError:
        pass  # damage at the start is the decoder's business: it goes on behind it
    return 0


def _announced_s(stream: Any, start_s: float) -> float | None:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return _tagged_duration_s(stream.metadata, start_s)


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
        head = file.read(16)
    if head[4:8] in (b"ftyp", b"mdat", b"wide", b"free") and not _has_box(path, b"moov"):
        problem = "is a truncated MP4: its index (moov) is missing, because the recording or copy was cut off"
        return InputError(
            problem, path, "copy it again, or rebuild the index with: untrunc GOOD.mp4 BROKEN.mp4"
        )
    kind = next(
        (problem for mark, problem in _PICTURES.items() if head.startswith(mark) or head[8:12] == mark),
        reason,
    )
    return InputError(f"is not a media file that can be analysed ({kind})", path, REENCODE)


def _has_box(path: Path, name: bytes) -> bool:
    """Whether the MP4 file at `path` has a top-level box of that name, whole or cut."""
    from pipeline.media.mp4 import top_boxes

    with open(path, "rb") as file:
        return any(box == name for box, _, _ in top_boxes(file, os.path.getsize(path)))
