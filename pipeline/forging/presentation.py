"""Processing that a recording goes through before it is watched, drawn alike for every clip, whatever its class."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from configs.schema import SynthesizeConfig
from data.audio import FFT
from data.labels import FPS, RATE
from pipeline.forging.harmless import (
    EDITS,
    Tracks,
    captions,
    equalise,
    gain,
    grade,
    letterbox,
    logo,
    music,
)
from pipeline.forging.harmless import noise as add_noise
from pipeline.forging.manipulations.signal import noise_like, read_at, speech_level
from pipeline.forging.voices import CODECS, Codec, round_trip
from pipeline.media.encode import H264, Format, write_clip
from pipeline.media.whole import DECODE, read_frames

Frames = NDArray[np.uint8]
Samples = NDArray[np.float32]
Rng = np.random.Generator

_X265 = "log-level=none:pools=none:frame-threads=1"
FORMS: tuple[tuple[Format, int, float], ...] = (
    (H264, 0, 0.6),
    (Format("libx265", options=(("preset", "ultrafast"), ("x265-params", _X265))), 4, 0.2),
    (Format("libvpx-vp9", "aac", options=(("b", "0"), ("deadline", "realtime"), ("cpu-used", "8"))), 10, 0.2),
)
"""Encoders of the picture, what their quality number lies above that of H.264, and how often each is taken."""

SOUND_CODECS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("libopus", (12_000, 16_000, 24_000, 32_000)),
    ("libmp3lame", (24_000, 32_000, 48_000, 64_000)),
    ("aac", (24_000, 32_000, 48_000, 64_000)),
    ("libopencore_amrnb", (7_950, 12_200)),
)
"""Codecs of the first pass of the sound, by the names of `voices.CODECS`, and their bit rates in bit/s."""

_IN_PLACE = (grade, letterbox, logo, captions, equalise, add_noise, music, gain)
"""Harmless edits that move nothing in time, so that intervals stay true."""


@dataclass(frozen=True)
class Chain:
    """The encoder of the last pass and its quality number."""

    form: Format
    crf: int


def present(tracks: Tracks, config: SynthesizeConfig, rng: Rng) -> Tracks:
    """`tracks` after a drawn chain: harmless edits, room, noise, loudness, rates, sizes, and a first pass of encoding.

    Length and timing stay as they are.
    """
    if config.edited and rng.random() < config.edited:
        there = {"visual": tracks.frames is not None, "audio": tracks.samples is not None}
        possible = [edit for edit in _IN_PLACE if all(there[track] for track in EDITS[edit])]
        for k in sorted(
            rng.choice(len(possible), min(len(possible), int(rng.integers(1, 3))), replace=False)
        ):
            tracks = possible[k](tracks, rng, _nobody)
    if not config.presented or rng.random() >= config.presented:
        return tracks
    frames, samples = tracks.frames, tracks.samples
    if samples is not None:
        samples = present_sound(samples, rng)
    if frames is not None:
        frames = present_picture(frames, rng)
    return Tracks(frames, samples)


def _nobody(rng: Rng) -> Tracks:
    raise AssertionError("edits in place need nobody else's clip")


def present_sound(samples: Samples, rng: Rng) -> Samples:
    """`samples` (L,) in a room, with noise, at another rate and level, and after a codec: each drawn or not."""
    heard: NDArray[np.floating] = samples
    if rng.random() < 0.3:
        heard = _in_room(heard, rng)
    if rng.random() < 0.4:
        spectrum = np.maximum(np.arange(FFT // 2 + 1), 1.0) ** -rng.uniform(0.0, 2.0)
        level = max(speech_level(samples), 1e-3) * 10 ** (rng.uniform(-40, -15) / 20)
        noise = noise_like(spectrum, len(heard), rng)
        heard = heard + noise * (level / max(float(np.sqrt(np.square(noise).mean())), 1e-9))
    if rng.random() < 0.25:
        heard = _resampled(heard, float(rng.choice([8_000, 11_025, 12_000])))
    if rng.random() < 0.5:
        peak = max(float(np.abs(heard).max()), 1e-3)
        heard = heard * min(10 ** (rng.uniform(-9, 6) / 20), 0.99 / peak)
    clipped = np.clip(heard, -1, 1).astype(np.float32)
    return _recoded(clipped, rng) if rng.random() < 0.6 else clipped


def present_picture(frames: Frames, rng: Rng) -> Frames:
    """`frames` (N, H, W, 3) in other colours, smaller for a while, and after an encoder: each drawn or not."""
    if rng.random() < 0.3:
        table = np.clip(
            (np.linspace(0, 1, 256)[:, None] ** rng.uniform(0.8, 1.25)) * rng.uniform(0.9, 1.1, 3) * 255,
            0,
            255,
        )
        frames = np.stack([table.round().astype(np.uint8)[:, c][frames[..., c]] for c in range(3)], axis=-1)
    if rng.random() < 0.4:
        scale = rng.uniform(0.5, 1.0)
        height, width = frames.shape[1:3]
        size = max(16, round(width * scale)), max(16, round(height * scale))
        frames = np.stack(
            [cv2.resize(cv2.resize(f, size, interpolation=cv2.INTER_AREA), (width, height)) for f in frames]
        )
    return recode_frames(frames, rng) if rng.random() < 0.6 else frames


def recode_frames(frames: Frames, rng: Rng) -> Frames:
    """`frames` (N, H, W, 3) after a drawn encoder at a drawn quality, as many of the same size."""
    chain = draw_chain(rng, (20, 32))
    with tempfile.TemporaryDirectory(prefix="pass-") as folder:
        path = Path(folder) / f"pass.{chain.form.container}"
        write_clip(path, frames, None, FPS, chain.crf, form=chain.form)
        copy = read_frames(path, DECODE)
    assert copy is not None
    # Odd sizes lose a row or a column to the encoder, and a codec may hold back the last frame.
    short = [(0, max(0, n - m)) for n, m in zip(frames.shape, copy.shape, strict=True)]
    return np.pad(copy[: len(frames)], short, mode="edge")


def draw_chain(rng: Rng, crf: tuple[int, int]) -> Chain:
    """An encoder that this FFmpeg has, and a quality between those of `crf`, which are of H.264."""
    usable = [(form, above, weight) for form, above, weight in FORMS if not form.missing]
    weights = np.array([weight for *_, weight in usable])
    form, above, _ = usable[int(rng.choice(len(usable), p=weights / weights.sum()))]
    return Chain(form, int(rng.integers(crf[0], crf[1] + 1)) + above)


def _in_room(samples: NDArray[np.floating], rng: Rng) -> NDArray[np.floating]:
    """The direct sound and a tail of decaying noise that follows it; starts in time."""
    lasts_s = rng.uniform(0.1, 0.6)
    time = np.arange(round(lasts_s * RATE)) / RATE
    tail = rng.standard_normal(len(time)) * np.exp(-6.9 * time / lasts_s)
    tail[: round(rng.uniform(0.002, 0.02) * RATE)] = 0
    tail *= 10 ** (rng.uniform(-15, -3) / 20) / max(float(np.sqrt(np.square(tail).sum())), 1e-9)
    size = 1 << (len(samples) + len(tail)).bit_length()
    late = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[: len(samples)]
    return samples + late


def _resampled(samples: NDArray[np.floating], rate: float) -> NDArray[np.floating]:
    ratio = RATE / rate
    low = read_at(samples, np.arange(int(len(samples) / ratio)) * ratio, min(1.0, 0.97 / ratio))
    return read_at(low, np.arange(len(samples)) / ratio)


def _recoded(samples: Samples, rng: Rng) -> Samples:
    codecs: dict[str, Codec] = {codec.name: codec for codec in CODECS}
    name, rates = SOUND_CODECS[int(rng.integers(len(SOUND_CODECS)))]
    try:
        return round_trip(samples, codecs[name], int(rng.choice(rates)))
    except ValueError:  # PyAV's for an encoder that this FFmpeg lacks
        return samples
