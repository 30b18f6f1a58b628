"""Writes frames and sound to MP4; every clip of a data set, authentic or forged, passes through here alike."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from data.files import replacing

SAMPLE_RATE = 16_000

X264_ASSEMBLY = "asm=avx2"
"""Keeps x264 from its AVX-512 code, whose macroblock tree is not repeatable: six encodes gave five results."""


def write_clip(
    path: Path,
    frames: NDArray[np.uint8] | None,
    samples: NDArray[np.float32] | None,
    fps: int = 25,
    crf: int = 23,
    keyframe_every: int = 250,
    audio_bit_rate: int = 64_000,
) -> None:
    """Encode `frames` (N, H, W, 3) uint8 as H.264 and mono 16 kHz `samples` (L,) as AAC, under a temporary name first.

    Odd sizes lose their last row or column, as yuv420p demands. Threads are off, so that the same input gives the
    same bytes. Raises ValueError when both tracks are missing and UsageError when `path` cannot be written.
    """
    if frames is None and samples is None:
        raise ValueError(f"{path}: neither frames nor samples to write")
    with replacing(path, durable=False) as partial, av.open(str(partial), "w", format="mp4") as container:
        video = audio = None
        if frames is not None:
            video = container.add_stream("libx264", rate=fps)
            video.width, video.height = frames.shape[2] // 2 * 2, frames.shape[1] // 2 * 2
            video.pix_fmt = "yuv420p"
            video.options = {
                "crf": str(crf),
                "g": str(keyframe_every),
                "preset": "veryfast",
                "threads": "1",
                "x264-params": X264_ASSEMBLY,
            }
        if samples is not None:
            audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
            audio.bit_rate = audio_bit_rate
        if video is not None and frames is not None:
            for k, image in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(
                    np.ascontiguousarray(image[: video.height, : video.width]), format="rgb24"
                )
                picture.pts, picture.time_base = k, Fraction(1, fps)
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
        if audio is not None and samples is not None:
            sound = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), "fltp", "mono")
            sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
            fifo = av.AudioFifo()
            fifo.write(sound)
            for block in fifo.read_many(1024, partial=True):
                container.mux(audio.encode(block))
            container.mux(audio.encode(None))
