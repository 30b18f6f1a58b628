"""A whole trusted clip as arrays, decoded in this process: for making and training, not for strangers' files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.schema import DecodeConfig
from pipeline.decode import backend
from pipeline.decode.clock import place_audio, sample_frames
from pipeline.probe import inspect


def read_frames(
    path: Path, config: DecodeConfig, short_side: int | None = None, crop: int | None = None
) -> NDArray[np.uint8] | None:
    """Frames (N, H, W, 3) uint8 on the clock of `config.fps`, or None without a video track.

    Raises InputError when the file cannot be opened.
    """
    info = inspect(path, config.max_pixels, config.max_duration_s)
    if info.video is None:
        return None
    frames = backend("pyav").frames(info, short_side)
    batches = [batch.images for batch in sample_frames(frames, config.fps, crop=crop)]
    return np.concatenate(batches) if batches else None


def read_sound(path: Path, config: DecodeConfig) -> NDArray[np.float32] | None:
    """Mono samples (L,) float32 at `config.sample_rate` from time 0, or None without an audio track.

    Raises InputError when the file cannot be opened.
    """
    info = inspect(path, config.max_pixels, config.max_duration_s)
    if info.audio is None:
        return None
    blocks = backend("pyav").audio(info, config.sample_rate)
    batches = [batch.samples for batch in place_audio(blocks, config.sample_rate)]
    return np.concatenate(batches) if batches else None
