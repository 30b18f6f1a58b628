"""A tiny forged data set of blobs with a voice, for the tests of synthesis and pre-training."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.schema import SynthesizeConfig
from data.manifest import write_lavdf
from pipeline import synthesize
from pipeline.encode import write_clip

RATE = 16_000
CONFIG = SynthesizeConfig(
    variants=4, segments=(1, 1), segment_frames=(8, 12), crf=(14, 16), audio_kbps=(90, 96)
)
FACE = (12.0, 4.0, 72.0, 80.0)


def texture(n: int, seed: int) -> NDArray[np.uint8]:
    """A talking blob (n, 96, 96, 3): fixed texture whose lower half changes contrast from frame to frame."""
    rng = np.random.default_rng(seed)
    base = rng.integers(60, 180, (16, 16, 3)).repeat(6, axis=0).repeat(6, axis=1)
    frames = np.stack([base] * n).astype(float)
    frames[:, 48:] *= (1 + 0.3 * np.sin(np.arange(n)))[:, None, None, None]
    return np.clip(frames, 0, 255).astype(np.uint8)


def voice(seconds: float, pitch: float) -> NDArray[np.float32]:
    """A buzz of five harmonics in syllables of a quarter of a second."""
    t = np.arange(int(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * pitch * h * t) / h for h in range(1, 6))
    return (0.1 * wave * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def write_authentic(root: Path) -> Path:
    """Four clips of three people, named by a CSV."""
    people = ["anna", "anna", "ben", "cleo"]
    for k in range(len(people)):
        write_clip(root / "clips" / f"{k}.mp4", texture(60, k), voice(2.4, 110 + 30 * k))
    with (root / "clips.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["clip", "identity"])
        writer.writerows([f"clips/{k}.mp4", person] for k, person in enumerate(people))
    return root


def stand_in_face(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the detector in this process: the blob has no eyes that a cascade would know."""
    monkeypatch.setattr(synthesize, "track_face", lambda frames: np.tile(FACE, (len(frames), 1)))


def forge(
    authentic: Path, out: Path, k: int = 0, seed: int = 5, config: SynthesizeConfig = CONFIG
) -> list[synthesize.SynthesizedClip]:
    """Forge source `k` in this process; the rows of all clips in `out`."""
    sources = synthesize.find_sources(authentic, config, seed)
    synthesize._forge_source(sources, k, out, out / "clips", config, seed)
    return [synthesize._read_row(path) for path in sorted((out / "clips").glob("*.json"))]


def write_forged_set(authentic: Path, out: Path) -> Path:
    """All four clips in all four classes, every person in the train split; returns `out`."""
    config = CONFIG.model_copy(update={"train_share": 1.0, "dev_share": 0.0})
    for k in range(4):
        clips = forge(authentic, out, k, config=config)
    (out / "forgeries.json").write_text(json.dumps([asdict(clip) for clip in clips]))
    write_lavdf(out, [synthesize._sample(clip) for clip in clips])
    return out
