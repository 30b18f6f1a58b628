"""The programs of an MPEG transport stream (ISO/IEC 13818-1, 2.4.4), which PyAV does not tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

PACKET = 188
_STRIDES = {188: 0, 192: 4, 204: 0}
"""Bytes from packet to packet, and where in them a packet begins: plain, with a time stamp (M2TS), with checksums."""
_CHUNK = 50_000
_VIDEO = frozenset({0x01, 0x02, 0x10, 0x1B, 0x20, 0x24, 0x33, 0x42, 0xD1, 0xEA})
_AUDIO = frozenset({0x03, 0x04, 0x0F, 0x11, 0x1C, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87})


@dataclass(frozen=True)
class Announced:
    """A track that a program announces: its program's number, and its kind ("video", "audio", "" for others)."""

    program: int
    kind: str


def programs(path: Path) -> dict[int, Announced]:
    """What the program tables in the whole file announce, by the packet identifier of the track; {} for none."""
    with open(path, "rb") as file:
        head = file.read(64 * 1024)
        places = _first(head)
        if places is None:
            return {}
        start, stride = places
        file.seek(start)
        maps: dict[int, int] = {}
        announced: dict[int, Announced] = {}
        seen: set[bytes] = set()
        while chunk := file.read(stride * _CHUNK):
            rows = np.frombuffer(chunk, np.uint8, len(chunk) // stride * stride).reshape(-1, stride)
            rows = rows[:, :PACKET]
            pids = (rows[:, 1] & 0x1F).astype(np.int64) << 8 | rows[:, 2]
            begins = (rows[:, 1] & 0x40) > 0
            # The table of programs comes first, so that one pass over a chunk finds those of its tracks.
            for tables in (False, True):
                wanted = list(maps) if tables else [0]
                for k in np.flatnonzero(np.isin(pids, wanted) & begins).tolist():
                    payload = rows[k, 4:].tobytes()
                    if payload not in seen:
                        seen.add(payload)
                        _read(rows, pids, k, maps, announced)
        return announced


def _first(head: bytes) -> tuple[int, int] | None:
    """Where the first packet begins, and the bytes from packet to packet."""
    for stride, lead in _STRIDES.items():
        for start in range(lead, min(len(head), lead + stride)):
            marks = head[start : start + 8 * stride : stride]
            if len(marks) >= 3 and set(marks) == {0x47}:
                return start, stride
    return None


def _read(
    rows: np.ndarray, pids: np.ndarray, k: int, maps: dict[int, int], announced: dict[int, Announced]
) -> None:
    section = _section(rows, pids, k)
    if len(section) < 12:
        return
    number = int.from_bytes(section[3:5], "big")
    if section[0] == 0x00 and pids[k] == 0:
        for at in range(8, len(section) - 4, 4):
            program = int.from_bytes(section[at : at + 2], "big")
            if program:
                maps[int.from_bytes(section[at + 2 : at + 4], "big") & 0x1FFF] = program
    elif section[0] == 0x02:
        at = 12 + (int.from_bytes(section[10:12], "big") & 0x0FFF)
        while at + 5 <= len(section) - 4:
            kind = section[at]
            pid = int.from_bytes(section[at + 1 : at + 3], "big") & 0x1FFF
            name = "video" if kind in _VIDEO else "audio" if kind in _AUDIO else ""
            announced.setdefault(pid, Announced(number, name))
            at += 5 + (int.from_bytes(section[at + 3 : at + 5], "big") & 0x0FFF)


def _section(rows: np.ndarray, pids: np.ndarray, k: int) -> bytes:
    """The table that begins in packet `k`, with what later packets of its identifier add; b"" where it is cut."""
    data, size = b"", 0
    for row in rows[k:][pids[k:] == pids[k]][:6]:
        payload = _payload(row)
        if not data:
            payload = payload[1 + payload[0] :] if payload else b""
            if len(payload) < 3:
                return b""
            size = 3 + (int.from_bytes(payload[1:3], "big") & 0x0FFF)
        data += payload
        if len(data) >= size:
            return data[:size]
    return b""


def _payload(row: np.ndarray) -> bytes:
    control = int(row[3]) >> 4 & 3
    if not control & 1:
        return b""
    at = 5 + int(row[4]) if control & 2 else 4
    return row[at:].tobytes()
