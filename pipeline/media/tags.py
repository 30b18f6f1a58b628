"""What a container notes about how it was made, and what in it does not fit together; no judgement."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.declared import Tag
from data.media import MediaInfo

_NAMES = re.compile(
    r"(encoder|encoded_by|encoding_tool|encoder_options|software|writing_app|muxing_app|creation_time|date"
    r"|make|model|handler_name|vendor_id|major_brand|minor_version|compatible_brands"
    r"|com\.(apple\.quicktime\.(make|model|software|creationdate)|android\.(version|manufacturer|model)))",
    re.IGNORECASE,
)
"""Names of programs, devices and times. Others (title, artist, place) tell of people, and nothing of the making."""

_WRITTEN = re.compile(rb"(?:x26[45] (?:- core|\(build) ?\d+|Lavc\d+|LAME ?\d)[ -~]{0,40}")
"""How encoders sign in their first packet: https://code.videolan.org/videolan/x264, libavcodec, LAME."""

_PACKETS, _BYTES = 64, 2**16
_MOST, _LENGTH = 60, 200
_LENGTHS_S, _STARTS_S = 0.5, 0.1
"""Tracks whose lengths or starts differ by more than this, in seconds, are mentioned."""


def tags_of(path: Path, info: MediaInfo) -> tuple[Tag, ...]:
    """Programs, devices and times that the file at `path` names, of the file and of its tracks; runs in the
    decoding process. At most 60, of at most 200 characters each."""
    import av

    from pipeline.media.pyav import open_container

    try:
        with open_container(path) as container:
            tags = itertools.chain(_noted(container), _signed(container, info))
            return tuple(dict.fromkeys(itertools.islice(tags, _MOST)))
    except av.error.FFmpegError:
        return ()  # it was opened once before: this file cannot be read twice


def _noted(container: Any) -> Iterator[Tag]:
    places = [("file", container.metadata)]
    places += [(f"track {stream.index}", stream.metadata) for stream in container.streams]
    for where, metadata in places:
        for name, value in sorted(metadata.items()):
            if _NAMES.fullmatch(name) and value.strip():
                yield Tag(where, name[:_LENGTH].lower(), value.strip()[:_LENGTH])


def _signed(container: Any, info: MediaInfo) -> Iterator[Tag]:
    """What encoders wrote into the first packet of the analysed tracks."""
    left = {track.track for track in (info.video, info.audio) if track is not None}
    streams = [container.streams[track] for track in sorted(left)]
    if not streams:
        return
    for packet in itertools.islice(container.demux(streams), _PACKETS):
        if packet.stream.index in left and packet.size:
            left.discard(packet.stream.index)
            signed = _WRITTEN.search(bytes(packet)[:_BYTES])
            if signed:
                written = signed.group().decode("ascii").partition(" - H.26")[0].strip()
                yield Tag(f"track {packet.stream.index}", "written by", written)
        if not left:
            return


def mismatches(info: MediaInfo) -> tuple[str, ...]:
    """What does not fit together in the file, in sentences: lengths and starts of the tracks, times of creation."""
    notes = []
    video, audio = info.video, info.audio
    if video is not None and audio is not None:
        lengths = (video.duration_s, audio.duration_s)
        if None not in lengths and abs(lengths[0] - lengths[1]) > _LENGTHS_S:  # type: ignore[operator]
            notes.append(f"The picture lasts {lengths[0]:.2f} s, the sound {lengths[1]:.2f} s.")
        if abs(video.start_s - audio.start_s) > _STARTS_S:
            notes.append(f"The picture starts at {video.start_s:.2f} s, the sound at {audio.start_s:.2f} s.")
    times = {tag.value: tag.where for tag in reversed(info.tags) if tag.name == "creation_time"}
    if len(times) > 1:
        said = ", ".join(f"{where} {value}" for value, where in reversed(times.items()))
        notes.append(f"The times of creation differ: {said}.")
    return tuple(notes)
