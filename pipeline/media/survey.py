"""All packets of a file, read once without decoding: how many each track has, when they are, where clocks start again.

Joined recordings (`cat a.ts b.ts`) keep the time stamps that each had alone. Players show the second behind the first;
so do we: each track gets the shifts that bring its later parts there, the same for picture and sound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from data.media import Splice

STEP_BACK_S = 0.1
"""A packet that can be decoded on its own (a key frame, sound) and lies this far before an earlier one starts anew."""
REORDER_S = 1.0
"""Other packets may lie this far before an earlier one: pictures are stored in the order of decoding."""
STEP_ON_S = 10.0
"""A jump ahead by more is one of the clock, in containers whose clock may jump; FFmpeg's limit is the same."""
MOST_SPLICES = 1000
READ_FAILURES = 64
"""Failed reads in a row after which the rest of a file counts as lost."""


@dataclass
class Part:
    """An unbroken stretch of one track: its first packet, its time in seconds, and its place in the file.

    `order` are the numbers of its first and last packet among those of all tracks; `back` says that its time stamps
    start again rather than jump ahead.
    """

    first: int
    start_s: float
    end_s: float
    order: tuple[int, int]
    back: bool = False


@dataclass
class TrackSurvey:
    """Packets of one track and their parts, in order; `length` is how long a packet lasts that does not say."""

    packets: int = 0
    parts: list[Part] = field(default_factory=list)
    length_s: float = 0.0
    _reached_s: float = -math.inf

    @property
    def start_s(self) -> float | None:
        """Earliest presentation time of the first part in seconds, None where no packet has a time."""
        return self.parts[0].start_s if self.parts else None

    def add(self, packet: Any, order: int, jumps: bool, fragments: bool) -> None:
        """Count `packet`, number `order` of the file; `jumps` says that the container's clock may jump.

        Of `fragments` of MP4 FFmpeg discards those whose time steps back; elsewhere what it discards is hidden by an
        edit of the file, and shown by nobody.
        """
        number, self.packets = self.packets, self.packets + 1
        ticks = packet.pts if packet.pts is not None else packet.dts
        if ticks is None or (packet.is_discard and not (fragments and self.parts)):
            return
        base = float(packet.time_base)
        start_s = ticks * base
        end_s = start_s + (packet.duration * base if packet.duration else self.length_s)
        back_s = STEP_BACK_S if packet.is_keyframe else REORDER_S
        back = start_s < self._reached_s - back_s
        # Sound may be missing for long; only where the clock jumps this is the clock's doing.
        ahead = (
            jumps and bool(self.parts) and start_s > max(self.parts[-1].end_s, self._reached_s) + STEP_ON_S
        )
        if not self.parts or ((back or ahead) and len(self.parts) <= MOST_SPLICES):
            self.parts.append(Part(number, start_s, end_s, (order, order), back))
            self._reached_s = start_s
        else:
            part = self.parts[-1]
            part.start_s, part.end_s = min(part.start_s, start_s), max(part.end_s, end_s)
            part.order = (part.order[0], order)
            self._reached_s = max(self._reached_s, start_s)


@dataclass(frozen=True)
class Timeline:
    """Where the parts of the chosen tracks lie: the shifts of each track and the joints, in seconds of the container.

    `joints` are (where the later part was put, whether its time stamps start again); `end_s` is the end of it all.
    """

    splices: tuple[tuple[Splice, ...], ...]
    joints: tuple[tuple[float, bool], ...]
    end_s: float


def survey(
    container: Any, alive: Callable[[], None], errors: type[Exception], fragments: bool = False
) -> tuple[dict[int, TrackSurvey], int]:
    """What each track of the opened `container` holds, by its number, and the byte behind the last packet found.

    `fragments` says that it is an MP4 of fragments. Damage is read over as in decoding. The container stands at
    its end then.
    """
    tracks = {stream.index: TrackSurvey(length_s=_length_s(stream)) for stream in container.streams}
    jumps = _clock_jumps(container)
    order = last_byte = failures = 0
    while failures <= READ_FAILURES:
        try:
            for packet in container.demux():
                failures = 0
                if packet.stream_index not in tracks or (
                    packet.size == 0 and packet.pts is packet.dts is None
                ):
                    continue
                alive()
                tracks[packet.stream_index].add(packet, order, jumps, fragments)
                order += 1
                if packet.pos is not None:
                    last_byte = max(last_byte, packet.pos + packet.size)
            break
        except MemoryError:
            raise
        except errors:
            failures += 1
    return tracks, last_byte


def timeline(tracks: Sequence[TrackSurvey]) -> Timeline:
    """The parts of `tracks` one after the other, those that were recorded together at the same time."""
    groups: list[list[tuple[int, Part]]] = []
    parts = [(k, n, part) for k, track in enumerate(tracks) for n, part in enumerate(track.parts)]
    for k, n, part in sorted(parts, key=lambda item: item[2].order):
        _group(groups, k, n, part).append((k, part))
    splices: list[list[Splice]] = [[] for _ in tracks]
    joints = []
    end_s = -math.inf
    for number, group in enumerate(groups):
        start_s = min(part.start_s for _, part in group)
        shift_s = end_s - start_s if number else 0.0
        if number:
            joints.append((start_s + shift_s, any(part.back for _, part in group)))
        for k, part in group:
            # The first packets, which may lie before the first part, keep the shift of none.
            if shift_s or splices[k]:
                splices[k].append(Splice(part.first, shift_s))
        end_s = max(end_s, *(part.end_s + shift_s for _, part in group))
    return Timeline(tuple(map(tuple, splices)), tuple(joints), end_s if groups else 0.0)


def _group(groups: list[list[tuple[int, Part]]], k: int, n: int, part: Part) -> list[tuple[int, Part]]:
    """The group of `groups` that part `n` of track `k` belongs to: the one it lies among in the file, or a new one."""
    for group in reversed(groups):
        others = [other for track, other in group if track != k]
        own = [other for track, other in group if track == k]
        if own and part.back:
            break
        first, last = part.order
        shared = sum(max(0, min(last, b) - max(first, a) + 1) for a, b in (other.order for other in others))
        if 2 * shared > last - first + 1:
            return group
    # Tracks that are not interleaved begin together; so do the parts of joined ones.
    if groups and n == 0:
        return groups[0]
    if groups and all(track != k for track, _ in groups[-1]):
        return groups[-1]
    groups.append([])
    return groups[-1]


def shifts(packets: Iterable[Any], splices: Sequence[Splice]) -> Iterable[Any]:
    """`packets` of one track with the shifts of its `splices` applied to their time stamps."""
    waiting = list(splices)
    shift_s = 0.0
    for number, packet in enumerate(packets):
        while waiting and number >= waiting[0].first:
            shift_s = waiting.pop(0).shift_s
        if splices and packet.is_discard and number >= splices[0].first:
            packet = _kept(packet)
        if shift_s:
            ticks = round(shift_s / float(packet.time_base))
            if packet.pts is not None:
                packet.pts += ticks
            if packet.dts is not None:
                packet.dts += ticks
        yield packet


def _kept(packet: Any) -> Any:
    """`packet` without the mark that has decoders discard it."""
    import av

    copy = av.Packet(bytes(packet))
    copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
    copy.is_keyframe, copy.stream = packet.is_keyframe, packet.stream
    if packet.duration:
        copy.duration = packet.duration
    return copy


def _clock_jumps(container: Any) -> bool:
    import av

    return bool(container.format.flags & av.format.Flags.ts_discont.value)


def _length_s(stream: Any) -> float:
    rate = stream.average_rate or stream.guessed_rate if stream.type == "video" else None
    return 1 / float(rate) if rate else 0.0
