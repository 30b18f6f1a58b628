"""A tiny data set with its features, and a training run on it, for tests of training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from configs.loader import validate
from configs.schema import PipelineConfig
from data.files import file_sha256
from data.manifest import Manifest, Sample, write_lavdf
from data.store.store import FeatureStore, StoreKey
from data.timeline import Interval
from pipeline.training.train import train

VISUAL, AUDIO = 6, 5
SETTINGS: dict[str, Any] = {
    "preset": "test",
    "model": {
        "visual_dim": VISUAL,
        "audio_dim": AUDIO,
        "fusion": {"dim": 8, "heads": 2, "dropout": 0.1},
        "fdn": {"encoder_dim": 8, "decoder_dim": 8, "heads": 2, "encoder_layers": 1, "decoder_layers": 1},
        "heads": {"hidden": 8, "dropout": 0.3},
        "detector": {"length": None, "dim": 16, "head_dim": 16, "heads": 2, "levels": 3},
        "tridet": {
            "length": None,
            "dim": 16,
            "head_dim": 16,
            "hidden": 32,
            "levels": 3,
            "window": 3,
            "bins": 4,
        },
        "ummaformer": {"bottleneck": [8, 8]},
    },
    "train": {
        "batch_size": 8,
        "learning_rate": 1e-3,
        "steps": 8,
        "warmup_steps": 4,
        "max_length": 16,
        "clip_norm": 1.0,
        "balance_classes": True,
        "checkpoint_every": 3,
        "log_every": 2,
    },
}


def keys(sha256: str) -> dict[str, StoreKey]:
    return {"visual": StoreKey(sha256, "v"), "audio": StoreKey(sha256, "a")}


def config(method: str = "rt_deeploc", **train_settings: Any) -> PipelineConfig:
    model = SETTINGS["model"] | {"method": method}
    return validate(SETTINGS | {"model": model, "train": SETTINGS["train"] | train_settings})


class Set:
    """A LAV-DF folder of 24 training and 12 dev clips with their features; forged steps are shifted by 3."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root / "set", FeatureStore(root / "store")
        rng, self.samples = np.random.default_rng(0), []
        for k in range(36):
            file = Path("train" if k < 24 else "dev", f"{k:06d}.mp4")
            (self.root / file).parent.mkdir(parents=True, exist_ok=True)
            (self.root / file).write_text(f"clip {k}")
            label, n = k % 4, int(rng.integers(12, 24))
            key = keys(file_sha256(self.root / file))
            for name, dim, bit in (("visual", VISUAL, 1), ("audio", AUDIO, 2)):
                values = rng.normal(size=(n, dim))
                values[4:8] += 3 * bool(label & bit)
                with self.store.writer(key[name], dim, 25, {}) as writer:
                    writer.append(values, np.arange(n) != 9)
            periods = (Interval(0.16, 0.32),) if label else ()
            self.samples.append(Sample(file, label, file.parent.name, periods, n / 25))
        write_lavdf(self.root, self.samples)

    @property
    def manifest(self) -> Manifest:
        return Manifest.lavdf(self.root)

    def relabel(self, change: Callable[[list[dict[str, Any]]], None]) -> None:
        """Write changed metadata."""
        write_lavdf(self.root, self.samples)
        for name in ("metadata.json", "metadata.min.json"):
            rows = json.loads((self.root / name).read_text())
            change(rows)
            (self.root / name).write_text(json.dumps(rows))


def run(
    clips: Set, out: Path, settings: PipelineConfig | None = None, **options: Any
) -> dict[str, torch.Tensor]:
    """Train on the processor; the final weights."""
    chosen = settings if settings is not None else config()
    folder = train(chosen, clips.manifest, clips.store, out, keys, device="cpu", **options)
    assert folder == out / "weights"
    return load_file(folder / f"{chosen.model.method}.safetensors")


def rows(out: Path, group: str) -> list[dict[str, float]]:
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["group"] == group]


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights agree in every bit."""
    assert one.keys() == two.keys()
    return all(torch.equal(one[name], two[name]) for name in one)


Reference = tuple[Path, dict[str, torch.Tensor]]
