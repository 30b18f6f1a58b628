"""Which picture and which sound of a file are analysed, and why the others are not; one rule for all containers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError, UsageError
from data.media import OtherTrack, TrackChoice
from pipeline.media.base import CODECS, display_size
from pipeline.media.survey import TrackSurvey
from pipeline.media.transport import Announced

REENCODE = "convert it with: ffmpeg -i INPUT -c:v libx264 -c:a aac OUTPUT.mp4"
SILENCE = 0.001
"""Sound that never exceeds this share of full scale (-60 dB) is silence."""
LISTENED_S = 600.0
"""Tracks that are silent for this long from their start count as silent."""
KINDS = {"video": "picture", "audio": "sound"}


@dataclass(frozen=True)
class Candidate:
    """One picture or sound track. `refusal` says why it cannot be analysed, with what to do; None where it can.

    `large` says that it can be once a limit of the settings is raised.
    """

    stream: Any
    kind: str
    codec: str
    packets: int
    default: bool
    cover: bool
    program: int | None
    refusal: tuple[str, str] | None
    large: bool

    @property
    def moves(self) -> bool:
        """Whether it is more than one picture."""
        return not self.cover and self.packets > 1


@dataclass(frozen=True)
class Chosen:
    """The streams to analyse, None where there is none, and the tracks that are not."""

    video: Any | None
    audio: Any | None
    others: tuple[OtherTrack, ...]


def candidates(
    container: Any,
    surveys: Mapping[int, TrackSurvey],
    announced: Mapping[int, Announced],
    max_pixels: int,
) -> list[Candidate]:
    """All picture and sound tracks of `container`, in its order."""
    from pipeline.media.pyav import is_picture_track

    tracks = []
    numbers = {of.program for of in announced.values()}
    for stream in container.streams:
        if stream.type not in KINDS:
            continue
        at = announced.get(stream.id) if len(numbers) > 1 else None
        tracks.append(
            Candidate(
                stream,
                stream.type,
                _codec(stream),
                surveys[stream.index].packets,
                bool(stream.disposition & _default()),
                stream.type == "video" and not is_picture_track(stream),
                at.program if at is not None else None,
                *_refusal(stream, max_pixels),
            )
        )
    return tracks


def choose(tracks: list[Candidate], wanted: TrackChoice, path: Path, silent: Callable[[Any], bool]) -> Chosen:
    """The tracks to analyse: `wanted`, or those that the rule chooses.

    Of the pictures that can be decoded, those that move come before those that do not, those flagged as default
    before the others, the first before the second; of the sounds likewise, those that are not silent first, and only
    those of the picture's program. `silent` is asked only where there is a choice.

    Raises UsageError for a wanted track that is not there, InputError when nothing can be decoded.
    """
    video = _wanted(tracks, "video", wanted.video, path)
    if video is None:
        usable = [
            track for track in tracks if track.kind == "video" and track.refusal is None and not track.cover
        ]
        video = min(usable, key=lambda t: (not t.moves, not t.default), default=None)
        large = next((track for track in tracks if track.large and not track.cover), None)
        if video is None and large is not None:
            raise _refused(large, path)
    audio, mute = _wanted(tracks, "audio", wanted.audio, path), set[int]()
    if audio is None:
        usable = [track for track in tracks if track.kind == "audio" and track.refusal is None]
        if video is not None and video.program is not None:
            usable = [track for track in usable if track.program in (None, video.program)]
        if sum(track.kind == "audio" and track.refusal is None for track in tracks) > 1:
            mute = {
                track.stream.index
                for track in tracks
                if track.kind == "audio" and track.refusal is None and silent(track.stream)
            }
        audio = min(usable, key=lambda t: (t.stream.index in mute, not t.default), default=None)
    taken = [track for track in (video, audio) if track is not None]
    if not taken:
        raise _nothing(tracks, path)
    others = tuple(_other(track, taken, mute) for track in tracks if track not in taken)
    picture, sound = (track.stream if track is not None else None for track in (video, audio))
    return Chosen(picture, sound, others)


def is_silent(path: Path, track: Any, alive: Callable[[], None]) -> bool:
    """Whether the sound track that another container calls `track` holds no signal, see `SILENCE`."""
    import av

    from pipeline.media.pyav import open_container

    with open_container(path) as container:
        stream = container.streams[track.index]
        resampler = av.AudioResampler("fltp")
        heard_s = 0.0
        try:
            for frame in container.decode(stream):
                alive()
                heard_s += frame.samples / frame.sample_rate
                for piece in resampler.resample(frame):
                    if np.abs(piece.to_ndarray()).max(initial=0.0) > SILENCE:
                        return False
                if heard_s > LISTENED_S:
                    return True
        except MemoryError:
            raise
        except (av.error.FFmpegError, ValueError):
            return False  # what cannot be read to its end may hold anything
    return True


def _wanted(tracks: list[Candidate], kind: str, number: int | None, path: Path) -> Candidate | None:
    if number is None:
        return None
    chosen = next((track for track in tracks if track.kind == kind and track.stream.index == number), None)
    if chosen is None:
        there = ", ".join(f"{t.stream.index} ({KINDS[t.kind]}, {t.codec})" for t in tracks) or "none"
        raise UsageError(f"has no {KINDS[kind]} track {number}", path, f"its tracks are {there}")
    if chosen.refusal is not None:
        raise _refused(chosen, path)
    return chosen


def _other(track: Candidate, taken: list[Candidate], mute: set[int]) -> OtherTrack:
    evidence = True
    first = next((t for t in taken if t.kind == track.kind), None)
    if track.cover and not track.large:
        reason, evidence = "it is a cover picture", False
    elif track.refusal is not None:
        reason = f"{track.refusal[0]} ({track.refusal[1]})"
    elif track.kind == "video" and not track.moves:
        reason, evidence = "it is a single picture" if track.packets else "it is empty", False
    elif track.stream.index in mute:
        reason, evidence = "it is silent", False
    elif not track.packets:
        reason, evidence = "it is empty", False
    elif track.program is not None and any(t.program not in (None, track.program) for t in taken):
        reason = f"it belongs to program {track.program}, another than the one analysed"
    elif first is not None:
        reason = (
            f"track {first.stream.index} was taken; choose with --{track.kind}-track {track.stream.index}"
        )
    else:
        reason = f"choose it with --{track.kind}-track {track.stream.index}"
    return OtherTrack(track.stream.index, track.kind, track.codec, reason, track.program, evidence)


def _nothing(tracks: list[Candidate], path: Path) -> InputError:
    refused = next((track for track in tracks if track.refusal is not None and not track.cover), None)
    if refused is not None:
        return _refused(refused, path)
    return InputError("has neither a video nor an audio track", path, "choose a file with pictures or sound")


def _refused(track: Candidate, path: Path) -> InputError:
    assert track.refusal is not None
    return InputError(track.refusal[0], path, track.refusal[1])


def _codec(stream: Any) -> str:
    context = stream.codec_context
    return str(context.codec.canonical_name) if context is not None else "unknown"


def _refusal(stream: Any, max_pixels: int) -> tuple[tuple[str, str] | None, bool]:
    context, codec = stream.codec_context, _codec(stream)
    if codec not in CODECS:
        return (f"the {stream.type} codec '{codec}' is not accepted", REENCODE), False
    if stream.type == "video":
        stored = (context.width, context.height)
        shown = display_size(*stored, pixel_aspect(stream))
        width, height = max(stored, shown, key=lambda size: size[0] * size[1])
        if width * height > max_pixels:
            problem = f"has pictures of {width} x {height} pixels; {max_pixels} are allowed"
            return (problem, "scale it down or raise decode.max_pixels"), True
        if not width * height:
            return ("the size of its pictures is not known", "check that the file is whole"), False
    elif not context.sample_rate or not context.channels:
        return ("its sample rate is not known", "check that the file is whole"), False
    return None, False


def pixel_aspect(stream: Any) -> float:
    """How many times wider than high a pixel of the track is shown; 1 where nothing is said."""
    aspect = stream.sample_aspect_ratio
    return float(aspect) if aspect and aspect.denominator else 1.0


def _default() -> Any:
    import av

    return av.stream.Disposition.default
