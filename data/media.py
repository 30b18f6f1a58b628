"""What is known of a media file before and after decoding, and the pieces that decoders hand on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.timeline import Interval


@dataclass(frozen=True)
class VideoStream:
    """Facts of the video track: stored size in pixels, rotation in degrees clockwise, times in seconds."""

    codec: str
    width: int
    height: int
    rotation: int
    pixel_format: str
    average_fps: float
    start_s: float
    duration_s: float | None


@dataclass(frozen=True)
class AudioStream:
    """Facts of the audio track: sample rate in Hz, times in seconds."""

    codec: str
    sample_rate: int
    channels: int
    start_s: float
    duration_s: float | None


@dataclass(frozen=True)
class MediaInfo:
    """A probed file: what it holds and where its clock begins.

    `origin_s` is the container time that the project calls 0; all other times are counted from it.
    """

    path: Path
    sha256: str
    size_bytes: int
    container: str
    origin_s: float
    duration_s: float | None
    video: VideoStream | None
    audio: AudioStream | None


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
    """How much of one track was decoded: seconds expected and decoded, the gaps, and what went wrong."""

    expected_s: float
    decoded_s: float
    gaps: tuple[Interval, ...] = ()
    errors: int = 0

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
