"""A whole trusted clip as arrays, decoded in this process: for making and training, not for untrusted files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.schema import DecodeConfig
from pipeline.media import backend
from pipeline.media.clock import place_audio, sample_frames
from pipeline.media.inspect import inspect

DECODE = DecodeConfig()
"""The usual settings: how clips are read for which nobody has others."""


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


def read_pieces(
    path: Path, config: DecodeConfig, piece_s: float, short_side: int
) -> Iterator[tuple[NDArray[np.uint8] | None, NDArray[np.float32] | None]]:
    """Frames and samples, as `read_frames` and `read_sound` give them, of consecutive pieces of `piece_s` seconds.

    Pictures larger than `short_side` are scaled down to it. The frames of one piece are in memory at a time; what
    remains at the end is the last piece. A missing track is None throughout.

    Raises InputError when the file cannot be opened.
    """
    info = inspect(path, config.max_pixels, config.max_duration_s)
    samples = read_sound(path, config)
    length = round(piece_s * config.sample_rate)
    if info.video is None:
        for first in range(0, len(samples) if samples is not None else 0, length):
            yield None, samples[first : first + length] if samples is not None else None
        return
    shrink = short_side if min(info.video.width, info.video.height) > short_side else None
    frames = backend("pyav").frames(info, shrink)
    for k, piece in enumerate(sample_frames(frames, config.fps, batch=round(piece_s * config.fps))):
        heard = samples[k * length : (k + 1) * length] if samples is not None else None
        # Sound that ends before this piece is no sound here.
        yield piece.images, heard if heard is not None and len(heard) else None
