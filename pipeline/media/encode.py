"""Writes frames and sound to files; every clip of a data set, authentic or forged, passes through here alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from data.files import replacing
from data.labels import RATE

_AVX2 = 11  # OpenCV's number of it, which its Python binding does not name


def x264_assembly() -> dict[str, str]:
    """Options that keep x264 from its AVX-512 code; none on processors that have no AVX2, such as Arm's.

    The macroblock tree of that code is not repeatable: six encodes gave five results.
    """
    return {"x264-params": "asm=avx2"} if cv2.checkHardwareSupport(_AVX2) else {}


@dataclass(frozen=True)
class Format:
    """FFmpeg's names of the encoders and the container, and the options of the video encoder besides its quality.

    `container` is also how the file's name ends; `quality` names the option that `crf` of `write_clip` goes to.
    """

    video: str = "libx264"
    audio: str = "aac"
    container: str = "mp4"
    options: tuple[tuple[str, str], ...] = (("preset", "veryfast"), *x264_assembly().items())
    quality: str = "crf"

    @property
    def missing(self) -> tuple[str, ...]:
        """Those of its encoders that this FFmpeg lacks."""
        return tuple(name for name in (self.video, self.audio) if not _has(name))


H264 = Format()


def write_clip(
    path: Path,
    frames: Iterable[NDArray[np.uint8]] | None,
    samples: NDArray[np.float32] | None,
    fps: int = 25,
    crf: int = 23,
    keyframe_every: int = 250,
    audio_bit_rate: int = 64_000,
    form: Format = H264,
) -> None:
    """Encode `frames`, images (H, W, 3) uint8 of one size, and mono 16 kHz `samples` (L,), as H.264 and AAC by default.

    The images may come one at a time, so that an hour need not fit in memory. Odd sizes lose their last row or
    column, as yuv420p demands. The file has a temporary name first. Threads are off, so that the same input gives the
    same bytes. Raises ValueError when both tracks are missing and UsageError when `path` cannot be written.
    """
    images = iter(frames) if frames is not None else iter(())
    first = next(images, None)
    if first is None and samples is None:
        raise ValueError(f"{path}: neither frames nor samples to write")
    # WebM's muxer gives every file random numbers unless it is told not to.
    muxer = {"fflags": "+bitexact"} if form.container == "webm" else {}
    with (
        replacing(path, durable=False) as partial,
        av.open(str(partial), "w", format=form.container, options=muxer) as file,
    ):
        video = audio = None
        if first is not None:
            video = file.add_stream(form.video, rate=fps)
            assert isinstance(video, av.VideoStream)
            video.width, video.height = first.shape[1] // 2 * 2, first.shape[0] // 2 * 2
            video.pix_fmt = "yuv420p"
            video.options = {
                form.quality: str(crf),
                "g": str(keyframe_every),
                "threads": "1",
                **dict(form.options),
            }
        if samples is not None:
            audio = file.add_stream(form.audio, rate=RATE, layout="mono")
            assert isinstance(audio, av.AudioStream)
            audio.bit_rate = audio_bit_rate
        if video is not None and first is not None:
            for k, image in enumerate(chain([first], images)):
                picture = av.VideoFrame.from_ndarray(
                    np.ascontiguousarray(image[: video.height, : video.width]), format="rgb24"
                )
                picture.pts, picture.time_base = k, Fraction(1, fps)
                file.mux(video.encode(picture))
            file.mux(video.encode(None))
        if audio is not None and samples is not None:
            sound = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), "fltp", "mono")
            sound.sample_rate, sound.pts, sound.time_base = RATE, 0, Fraction(1, RATE)
            fifo = av.AudioFifo()
            fifo.write(sound)
            for block in fifo.read_many(1024, partial=True):
                file.mux(audio.encode(block))
            file.mux(audio.encode(None))


def _has(encoder: str) -> bool:
    try:
        av.Codec(encoder, "w")
    except ValueError:  # what PyAV raises for a name that it does not know
        return False
    return True
