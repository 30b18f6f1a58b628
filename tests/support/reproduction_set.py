"""A tiny data set with train, dev and test splits whose features are stored already, and a bench to train on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from forged_set import texture, voice
from training_set import AUDIO, SETTINGS, VISUAL

from configs.loader import validate
from data.files import file_sha256
from data.manifest import Manifest, Sample, write_lavdf
from data.store.store import FeatureStore, StoreKey
from data.timeline import Interval
from pipeline.bundle import Extraction
from pipeline.media.encode import write_clip
from pipeline.reproduction.experiment import Bench, evaluation_split

STEPS = 3
QUICK = {"steps": STEPS, "batch_size": 4, "checkpoint_every": 1, "log_every": 1, "balance_classes": False}
SPLITS = {"train": 8, "dev": 4, "test": 4}


def samples(splits: dict[str, int]) -> list[Sample]:
    """Clips of 1.2 s, of each class in turn in every split."""
    return [
        Sample(
            Path(split, f"{k:06d}.mp4"),
            k % 4,
            split,
            (Interval(0.2, 0.6),) if k % 4 else (),
            1.2,
            None,
            30,
            19_200,
        )
        for split, count in splits.items()
        for k in range(count)
    ]


def write_media(root: Path, splits: dict[str, int], first: int = 0) -> None:
    """A folder of real files, which take a while to decode; `first` numbers their content."""
    found = samples(splits)
    for number, sample in enumerate(found, start=first):
        frames, sound = texture(30, number), voice(1.2, 110 + 20 * number)
        if sample.label and sample.label & 1:
            frames[5:15] = texture(10, 900 + number)
        if sample.label and sample.label & 2:
            sound[3200:9600] = voice(0.4, 300 + number)
        write_clip(root / sample.file, frames, sound)
    write_lavdf(root, found)


@dataclass
class World:
    """A store, and extractors that are only asked for their names: whatever they lack fails."""

    root: Path

    @property
    def store(self) -> FeatureStore:
        return FeatureStore(self.root / "store")

    def setup(self, **train: Any) -> Extraction:
        settings = SETTINGS | {"train": SETTINGS["train"] | QUICK | train}
        silent = {"visual": lambda values: None, "audio": lambda values: None}
        extractors = SimpleNamespace(
            visual=SimpleNamespace(digest="v"), audio=SimpleNamespace(digest="a"), evidence=silent
        )
        return Extraction(validate(settings), extractors, None)  # type: ignore[arg-type]

    def data(self, name: str, splits: dict[str, int] | None = None) -> Manifest:
        """A LAV-DF folder with features; forged steps are shifted by 3. Anew, when it is there already."""
        found = samples(splits if splits is not None else SPLITS)
        rng = np.random.default_rng(0)
        for sample in found:
            path = self.root / name / sample.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{name} {sample.file}")
            for modality, key in self.setup().keys(file_sha256(path)).items():
                dim, bit = (VISUAL, 1) if modality == "visual" else (AUDIO, 2)
                values = rng.normal(size=(30, dim))
                values[5:15] += 3 * bool(sample.label and sample.label & bit)
                self._keep(key, values)
        write_lavdf(self.root / name, found)
        return Manifest.lavdf(self.root / name)

    def _keep(self, key: StoreKey, values: np.ndarray) -> None:
        with self.store.writer(key, values.shape[1], 25, {}) as writer:
            writer.append(values, np.ones(len(values), np.bool_))

    def bench(
        self, manifest: Manifest, target: Manifest | None = None, tuned: bool = False, **train: Any
    ) -> Bench:
        tested = target if target is not None else manifest
        split = evaluation_split(tested)
        return Bench(self.setup(**train), manifest, tested, split, self.store, "cpu", 0, tuned)
