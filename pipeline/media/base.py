"""The interface of a decoder, and the batches that the clock gives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data.media import AudioBlock, MediaInfo, VideoStream

_CONTAINERS = (
    "mov mp4 m4a 3gp 3g2 mj2 matroska webm avi mpegts mpeg flv asf ogg mxf wav w64 mp3 flac aac aiff amr "
    "gif dv h264 hevc"
)
CONTAINERS = frozenset(_CONTAINERS.split())
"""FFmpeg demuxers that may read an input; playlists and others that open further files are not among them."""

_CODECS = """
    h264 hevc vvc av1 vp8 vp9 mpeg1video mpeg2video mpeg4 msmpeg4v2 msmpeg4v3 h263 flv1 mjpeg wmv1 wmv2 wmv3 vc1
    prores dnxhd dvvideo theora gif ffv1 huffyuv ffvhuff utvideo rawvideo
    aac aac_latm mp1 mp2 mp3 ac3 eac3 dts truehd opus vorbis flac alac speex wmav1 wmav2 wmapro amr_nb amr_wb
    adpcm_ms adpcm_ima_wav pcm_u8 pcm_s8 pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_s32be pcm_f32le
    pcm_f32be pcm_f64le pcm_alaw pcm_mulaw pcm_dvd pcm_bluray"""
CODECS = frozenset(_CODECS.split())
"""FFmpeg codecs that may decode an input: widespread ones, whose decoders are tested by many."""


LOSSY = frozenset(("mpegts", "mpeg", "mxf", "dv", "h264", "hevc"))
"""Containers in which pictures follow each other at a rate, so that a hole is a loss. In all others a picture stays
until the next one: frames are stored only where the picture changes."""

HOLD_S = 0.5
"""A picture stays on screen over a loss up to this long, or two frame durations if that is more."""

SQUARE = 0.01
"""Pixels that are wider or narrower by less than this share count as square: containers round."""
_OBLONG = 10.0
"""Pixels cannot be longer than this many times their other side; a larger number is a mistake."""


class Shown(Protocol):
    """A picture for the clock: a `Frame`, or one whose pixels are converted only when they are first used."""

    @property
    def pts_s(self) -> float:
        """See `Frame`."""
        ...

    @property
    def duration_s(self) -> float:
        """See `Frame`."""
        ...

    @property
    def image(self) -> NDArray[np.uint8]:
        """See `Frame`."""
        ...


class Backend(Protocol):
    """A decoder of one clip. It reads local files only and holds a bounded number of frames at a time.

    `errors` counts damaged packets and pictures met so far; they are left out, not guessed. `notes` are clauses about
    how a track was read to its end.
    """

    errors: int
    notes: tuple[str, ...]

    def frames(self, info: MediaInfo, short_side: int | None) -> Iterator[Shown]:
        """Every frame of the video track in order of presentation, timed from `info.origin_s`, upright.

        `short_side` is the wanted length of the shorter edge in pixels (aspect kept); None keeps the native size.
        All frames have the size of the first one. Raises InputError when the track cannot be opened.
        """
        ...

    def audio(self, info: MediaInfo, sample_rate: int) -> Iterator[AudioBlock]:
        """Blocks of the audio track, mixed to mono and resampled to `sample_rate` Hz.

        Blocks are placed by their timestamps, so a hole in the track is a jump of `start_s`.
        Raises InputError when the track cannot be opened.
        """
        ...


@dataclass(frozen=True)
class VideoBatch:
    """Consecutive steps of the visual grid from step `first`: `images` (N, H, W, 3) uint8, `valid` (N,) bool.

    The image of an invalid step is black.
    """

    first: int
    images: NDArray[np.uint8]
    valid: NDArray[np.bool_]

    @property
    def media(self) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Images and validity, as extractors take them."""
        return self.images, self.valid


@dataclass(frozen=True)
class AudioBatch:
    """Consecutive samples from sample `first` on: `samples` (N,) float32, `valid` (N,) bool; invalid ones are 0."""

    first: int
    samples: NDArray[np.float32]
    valid: NDArray[np.bool_]

    @property
    def media(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Samples and validity, as extractors take them."""
        return self.samples, self.valid


def upright_size(video: VideoStream, short_side: int | None) -> tuple[int, int]:
    """(width, height) in pixels of the track's pictures, made square, turned and scaled; see `scaled_size`."""
    width, height = display_size(video.width, video.height, video.pixel_aspect)
    return scaled_size(*((height, width) if video.rotation % 180 != 0 else (width, height)), short_side)


def display_size(width: int, height: int, pixel_aspect: float) -> tuple[int, int]:
    """(width, height) in pixels of stored pictures once their pixels are made square: players change the width."""
    if abs(pixel_aspect - 1) < SQUARE or not 1 / _OBLONG <= pixel_aspect <= _OBLONG:
        return width, height
    return max(1, round(width * pixel_aspect)), height


def hold_s(container: str, errors: int) -> float:
    """How long a picture may stay on screen without another one; see `LOSSY`. In a damaged track, a hole is a loss."""
    return HOLD_S if errors or LOSSY & set(container.split(",")) else math.inf


def scaled_size(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """(width, height) in pixels after the shorter edge is brought to `short_side`, aspect kept, at least 1."""
    if short_side is None:
        return width, height
    scale = short_side / min(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
