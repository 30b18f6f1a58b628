"""What is known of a media file before and after decoding, and the pieces that decoders hand on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.declared import Tag
from data.timeline import Interval


@dataclass(frozen=True)
class Splice:
    """A place where a track's time stamps start again or jump, because recordings were joined.

    From packet `first` of the track on (counted from 0, as the container yields them) `shift_s` seconds are added.
    """

    first: int
    shift_s: float


@dataclass(frozen=True)
class VideoStream:
    """Facts of the video track: stored size in pixels, rotation in degrees clockwise, times in seconds.

    `track` is its number in the container; `pixel_aspect` how many times wider than high a pixel is shown.
    """

    codec: str
    width: int
    height: int
    rotation: int
    pixel_format: str
    average_fps: float
    start_s: float
    duration_s: float | None
    track: int = 0
    pixel_aspect: float = 1.0
    splices: tuple[Splice, ...] = ()


@dataclass(frozen=True)
class AudioStream:
    """Facts of the audio track: sample rate in Hz, times in seconds; `track` is its number in the container."""

    codec: str
    sample_rate: int
    channels: int
    start_s: float
    duration_s: float | None
    track: int = 0
    splices: tuple[Splice, ...] = ()


@dataclass(frozen=True)
class OtherTrack:
    """A picture or sound track ("video" or "audio") that is not analysed, and a clause that says why.

    `track` is its number in the container, `program` that of its program where the container has several.
    `evidence` says that something may be hidden in it: it is neither silent nor a single picture.
    """

    track: int
    kind: str
    codec: str
    reason: str
    program: int | None = None
    evidence: bool = True


@dataclass(frozen=True)
class TrackChoice:
    """Numbers of the tracks to analyse, as the container counts them; None leaves the choice to the rule."""

    video: int | None = None
    audio: int | None = None


ANY = TrackChoice()
"""The tracks that the rule chooses."""


@dataclass(frozen=True)
class MediaInfo:
    """A probed file: what it holds and where its clock begins.

    `origin_s` is the container time that the project calls 0; all other times are counted from it. `others` are the
    tracks that are not analysed, `notes` what is to be said of the file as a whole; `whole` is False where some of
    its content is in no track that can be read. `tags` are what it notes about how it was made.
    """

    path: Path
    sha256: str
    size_bytes: int
    container: str
    origin_s: float
    duration_s: float | None
    video: VideoStream | None
    audio: AudioStream | None
    others: tuple[OtherTrack, ...] = ()
    notes: tuple[str, ...] = ()
    whole: bool = True
    tags: tuple[Tag, ...] = ()


@dataclass(frozen=True)
class Frame:
    """One decoded picture: presentation time in seconds and RGB pixels (H, W, 3) uint8, upright.

    `duration_s` is how long the container says that it is shown; 0 where it does not say.
    """

    pts_s: float
    image: NDArray[np.uint8]
    duration_s: float = 0.0


@dataclass(frozen=True)
class AudioBlock:
    """Consecutive mono samples (N,) float32 in [-1, 1]; the first one sounds at `start_s`."""

    start_s: float
    samples: NDArray[np.float32]


@dataclass(frozen=True)
class StreamCoverage:
    """How much of one track was decoded: seconds expected and decoded, the gaps, and what went wrong.

    `units` (pictures, or samples at the project's rate) came out of the decoder; of these `dropped` found no place on
    the clock, because other media stood there, and `placed` did: units = placed + dropped. `dropped_s` is their
    length. `notes` are clauses about how the track was read.
    """

    expected_s: float
    decoded_s: float
    gaps: tuple[Interval, ...] = ()
    errors: int = 0
    units: int = 0
    placed: int = 0
    dropped: int = 0
    dropped_s: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def fraction(self) -> float:
        """Decoded share of the expected time in [0, 1]."""
        return min(1.0, self.decoded_s / self.expected_s) if self.expected_s > 0 else 0.0


@dataclass(frozen=True)
class Assessment:
    """How much of one track could be judged: seconds, and the spans that were decoded but could not be.

    `reason` is a clause that says why the track as a whole is not assessable, and None where it is. Of a track that
    is not, nothing counts: `assessed_s` is what there would have been, and `gaps` are all that was decoded.
    """

    assessed_s: float
    gaps: tuple[Interval, ...] = ()
    reason: str | None = None
