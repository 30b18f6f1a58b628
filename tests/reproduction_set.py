"""A tiny forged data set with train, dev and test splits, and settings that train on it in a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from forged_set import texture, voice

from data.manifest import Sample, write_lavdf
from data.timeline import Interval
from pipeline.encode import write_clip

STEPS = 2
SETTINGS = ("train.steps=2", "train.warmup_steps=0", "train.batch_size=4", "train.checkpoint_every=1")
SPLITS = {"train": 4, "dev": 4, "test": 4}


def write_set(root: Path, splits: dict[str, int] | None = None, seed: int = 0) -> list[Sample]:
    """Clips of 1.2 s, of each class in turn in every split; the forged ones are another picture or voice inside."""
    samples = []
    for split, count in (splits if splits is not None else SPLITS).items():
        for k in range(count):
            label, file = k % 4, Path(split, f"{k:06d}.mp4")
            number = seed + len(samples)
            frames, sound = texture(30, number), voice(1.2, 110 + 20 * number)
            if label & 1:
                frames[5:15] = texture(10, 900 + number)
            if label & 2:
                sound[3200:9600] = voice(0.4, 300 + number)
            write_clip(root / file, frames, np.clip(sound, -1, 1))
            periods = (Interval(0.2, 0.6),) if label else ()
            samples.append(Sample(file, label, split, periods, 1.2, None, 30, 19_200))
    write_lavdf(root, samples)
    return samples
