"""What lies in a file behind the last packet that a demuxer yields, and whether the file says how long it is."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.media.mp4 import top_boxes

_HEADS = re.compile(
    rb"(?P<FLV>FLV\x01[\x01\x04\x05]\x00\x00\x00\x09)|(?P<RIFF>RIFF....(?:AVI |WAVE))|"
    rb"(?P<Matroska>\x1a\x45\xdf\xa3.{4,64}?(?:matroska|webm))|(?P<Ogg>OggS\x00\x02)|"
    rb"(?P<MP4>ftyp(?:isom|iso[2-9]|mp4[12]|M4[AV] |qt  |avc1|dash))",
    re.DOTALL,
)
"""How media files begin."""
_CHUNK, _OVERLAP = 2**24, 256
_MP4 = frozenset(("mov", "mp4"))
_GUESSED = frozenset(("mpegts", "mpeg", "aac", "amr", "h264", "hevc", "dv", "gif"))
"""Containers that do not say how long they are: FFmpeg's number is an estimate."""


@dataclass(frozen=True)
class Tail:
    """Bytes that begin like media (`like` says of which kind) and are read by nobody; bytes of the last part that are
    missing, where that is known."""

    unread_bytes: int = 0
    like: str = ""
    cut_bytes: int = 0


def tail_of(path: Path, container: str, last_byte: int) -> Tail:
    """What is behind `last_byte`, the end of the last packet; nothing can be said where that is 0."""
    size = os.path.getsize(path)
    if _MP4 & set(container.split(",")):
        return _mp4_tail(path, size, last_byte)
    if last_byte <= 0 or last_byte >= size:
        return Tail()
    with open(path, "rb") as file:
        at = last_byte
        while at < size:
            file.seek(at)
            head = _HEADS.search(file.read(_CHUNK + _OVERLAP))
            if head is not None:
                return Tail(size - at - head.start(), str(head.lastgroup))
            at += _CHUNK
    return Tail()


def announces_length(path: Path, container: str) -> bool:
    """Whether the length that FFmpeg gives for the file is written in it, and not an estimate."""
    names = set(container.split(","))
    if _MP4 & names:
        return not is_fragmented(path, container)
    return not (_GUESSED & names or ("mp3" in names and not _has_frame_count(path)))


def is_fragmented(path: Path, container: str) -> bool:
    """Whether the file is an MP4 of fragments, as recorders and streaming services write them."""
    if not _MP4 & set(container.split(",")):
        return False
    with open(path, "rb") as file:
        return any(name == b"moof" for name, _, _ in top_boxes(file, os.path.getsize(path)))


def _mp4_tail(path: Path, size: int, last_byte: int) -> Tail:
    with open(path, "rb") as file:
        boxes = list(top_boxes(file, size))
    fragments = any(name == b"moof" for name, _, _ in boxes)
    cut = max(0, boxes[-1][2] - size) if boxes and fragments else 0
    indexes = [stop for name, _, stop in boxes if name == b"moov"]
    if len(indexes) > 1 and indexes[-1] > last_byte:
        # A second index: of a file that was joined to this one, and that no player reads.
        second = next(start for name, start, _ in boxes if name == b"ftyp" and start > indexes[0]) if any(
            name == b"ftyp" and start > indexes[0] for name, start, _ in boxes
        ) else indexes[0]  # fmt: skip
        return Tail(size - second, "MP4", cut)
    return Tail(cut_bytes=cut)


def _has_frame_count(path: Path) -> bool:
    """Whether an MP3 file says in its first frame how many there are (Xing, Info or VBRI)."""
    with open(path, "rb") as file:
        head = file.read(10)
        at = 0
        if head[:3] == b"ID3" and len(head) == 10:
            at = 10 + sum((byte & 0x7F) << 7 * (3 - k) for k, byte in enumerate(head[6:10]))
        file.seek(at)
        first = file.read(4096)
    return any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))
