"""The interface of a decoder, and the batches that the clock gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data.media import AudioBlock, MediaInfo, VideoStream

_CONTAINERS = (
    "mov mp4 m4a 3gp 3g2 mj2 matroska webm avi mpegts mpeg flv asf ogg mxf wav w64 mp3 flac aac aiff amr"
)
CONTAINERS = frozenset(_CONTAINERS.split())
"""FFmpeg demuxers that may read an input; playlists and others that open further files are not among them."""

_CODECS = """
    h264 hevc vvc av1 vp8 vp9 mpeg1video mpeg2video mpeg4 msmpeg4v2 msmpeg4v3 h263 flv1 mjpeg wmv1 wmv2 wmv3 vc1
    prores dnxhd dvvideo theora ffv1 huffyuv ffvhuff utvideo rawvideo
    aac aac_latm mp1 mp2 mp3 ac3 eac3 dts truehd opus vorbis flac alac speex wmav1 wmav2 wmapro amr_nb amr_wb
    adpcm_ms adpcm_ima_wav pcm_u8 pcm_s8 pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_s32be pcm_f32le
    pcm_f32be pcm_f64le pcm_alaw pcm_mulaw pcm_dvd pcm_bluray"""
CODECS = frozenset(_CODECS.split())
"""FFmpeg codecs that may decode an input: widespread ones, whose decoders are tested by many."""


class Shown(Protocol):
    """What the clock asks of a picture; a `Frame`, or one whose pixels are made when they are first asked for."""

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

    `errors` counts damaged packets and pictures met so far; they are left out, not guessed.
    """

    errors: int

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
    """(width, height) in pixels of the track's pictures after rotation and scaling; see `scaled_size`."""
    turned = video.rotation % 180 != 0
    stored = (video.height, video.width) if turned else (video.width, video.height)
    return scaled_size(*stored, short_side)


def scaled_size(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """(width, height) in pixels after the shorter edge is brought to `short_side`, aspect kept, at least 1."""
    if short_side is None:
        return width, height
    scale = short_side / min(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
