"""Tiny forged data sets: blobs with a buzz for the tests of synthesis, speaking heads for those of pre-training."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from head_factory import long_head
from numpy.typing import NDArray
from speech_factory import voice as speech

from configs.schema import SynthesizeConfig
from pipeline.forging import files as dataset_files
from pipeline.forging import plan as dataset_plan
from pipeline.forging import synthesize
from pipeline.media.encode import write_clip

RATE = 16_000
CONFIG = SynthesizeConfig(
    variants=4,
    real_share=0.25,
    manipulations=(
        "replace_lower_face",
        "resynthesize_lower_face",
        "resynthesize_speech",
        "splice_speaker",
        "rearrange_speech",
    ),
    segment_mean_s=0.4,
    segment_shape=100.0,
    segment_s=(0.32, 0.48),
    second_segment=0.0,
    extra_sham=0.0,
    editor_scale=(1.0, 1.0),
    editor_gain_db=(0.0, 0.0),
    editor_noise_db=(-90.0, -90.0),
    crf=(14, 16),
    audio_kbps=(90, 96),
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
    authentic: Path, out: Path, k: int | None = 0, seed: int = 5, config: SynthesizeConfig = CONFIG
) -> list[dataset_files.SynthesizedClip]:
    """Forge source `k`, or all, in this process; the rows of all clips in `out`, by piece and variant."""
    plan = dataset_plan.plan(authentic, config, seed)
    for source in plan.sources if k is None else [k]:
        synthesize.forge_source(plan, source, out)
    rows = {Path(clip.file).stem: clip for clip in dataset_files.read_clips(out)}
    return [rows[name] for name in plan.names if name in rows]


class InLine:
    """Stands in for a pool of processes, which take longer to start than these clips to measure."""

    def __init__(self, *_: Any) -> None:
        self.map = lambda run, items, chunksize: map(run, items)

    def __enter__(self) -> InLine:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def write_speaking_heads(root: Path) -> Path:
    """Clips of 2.4 s of three people, named by a CSV, in which a face is seen and speech is heard all the time."""
    for k in range(3):
        write_clip(root / "clips" / f"{k}.mp4", long_head(60, 96, seed=k), speech(2.4, k, 110.0 + 30 * k))
    (root / "clips.csv").write_text("clip,identity\nclips/0.mp4,anna\nclips/1.mp4,ben\nclips/2.mp4,cleo\n")
    return root


def write_forged_set(authentic: Path, out: Path) -> Path:
    """All clips in all four classes, with a harmless edit in each and every person in the train split; `out`."""
    config = CONFIG.model_copy(update={"train_share": 1.0, "dev_share": 0.0, "extra_sham": 1.0})
    forge(authentic, out, None, config=config)
    synthesize.finish(dataset_plan.plan(authentic, config, 5), out, {})
    return out


def one_clip(
    forged: Path, rows: list[dict[str, Any]], out: Path, segments: list[Any], shams: list[Any], **more: Any
) -> Path:
    """A set of one clip whose sidecar says that this was done to it: (start, end, modality, manipulation)."""
    names = ("start_s", "end_s", "modality", "manipulation")
    edits = [[dict(zip(names, span, strict=True)) for span in spans] for spans in (segments, shams)]
    row = rows[0] | {"segments": edits[0], "shams": edits[1]} | more
    (out / row["file"]).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(forged / rows[0]["file"], out / row["file"])
    (out / "forgeries.json").write_text(json.dumps([row]))
    return out
