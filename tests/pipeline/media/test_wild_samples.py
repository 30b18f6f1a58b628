"""Floating-point sound that holds what no sound is: it costs the samples concerned, and nothing beside them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.media.whole import DECODE, read_sound

WILD = 8000  # of a second at 16 kHz


def float_wav(path: Path, channels: NDArray[np.float32]) -> Path:
    """Write `channels` (C, L) as a WAV file of 16 kHz floats."""
    count, data = len(channels), channels.T.astype("<f4").tobytes()
    kind = struct.pack("<HHIIHH", 3, count, 16_000, 64_000 * count, 4 * count, 32)
    chunks = b"WAVEfmt " + struct.pack("<I", len(kind)) + kind + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e6, 3e20])
@pytest.mark.parametrize("count", [1, 2])
def test_one_wild_sample_changes_nothing_but_itself(tmp_path: Path, value: float, count: int) -> None:
    voice = (0.3 * np.sin(0.2 * np.arange(16_000))).astype(np.float32)
    channels = np.stack([voice] * count)
    channels[0, WILD] = value
    found = read_sound(float_wav(tmp_path / "wild.wav", channels), DECODE)
    assert found is not None
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1
    beside = np.abs(np.arange(len(found)) - WILD) > 1
    np.testing.assert_allclose(found[beside], voice[beside], atol=1e-4)


def test_what_lies_within_full_scale_is_kept(tmp_path: Path) -> None:
    voice = np.linspace(-1, 1, 16_000, dtype=np.float32)
    found = read_sound(float_wav(tmp_path / "whole.wav", voice[None]), DECODE)
    np.testing.assert_array_equal(found, voice)
