"""Tiny models and batches for tests: the whole of RT-DeepLoc at a size that runs in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from configs.detectors import DetectorConfig, PointLossConfig, TriDetConfig, UMMAFormerConfig
from configs.schema import FDNConfig, FusionConfig, HeadsConfig, LossConfig, ModelConfig
from configs.weak import FustalConfig, LocoConfig, SalConfig
from models.batch import Batch
from models.rt_deeploc import RTDeepLoc

VISUAL_DIM, AUDIO_DIM, DIM = 6, 5, 16


@contextmanager
def one_thread() -> Iterator[None]:
    """Several threads only slow down models of this size, on a busy machine by far."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def tiny_config(**overrides: Any) -> ModelConfig:
    """A complete configuration with 16 channels, one layer a stack and no dropout; `overrides` replace parts."""
    parts: dict[str, Any] = {
        "visual_dim": VISUAL_DIM,
        "audio_dim": AUDIO_DIM,
        "fusion": FusionConfig(dim=DIM, heads=2, dropout=0.0),
        "fdn": FDNConfig(encoder_dim=12, decoder_dim=8, heads=2, encoder_layers=1, decoder_layers=1),
        "heads": HeadsConfig(hidden=16, dropout=0.0),
        "loss": LossConfig(aicl_topk=3),
        "detector": DetectorConfig(length=None, dim=16, head_dim=16, heads=2, levels=4, drop_path=0.0),
        "tridet": TriDetConfig(
            length=None,
            dim=16,
            head_dim=16,
            hidden=32,
            levels=4,
            drop_path=0.0,
            window=3,
            bins=6,
            noise=0.0,
            loss=PointLossConfig(regression=1.0),
        ),
        "fustal": FustalConfig(dropout=0.0),
        "sal": SalConfig(dropout=0.0),
        "loco": LocoConfig(width=8, maps=(4, 4, 8), attention=4),
        "ummaformer": UMMAFormerConfig(bottleneck=(8, 16, 8), dropout=0.0),
    }
    return ModelConfig(**{**parts, **overrides})


def tiny_model(seed: int = 0, **overrides: Any) -> RTDeepLoc:
    """A model of `tiny_config` with reproducible random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RTDeepLoc(tiny_config(**overrides))


def random_batch(labels: list[int], steps: int, seed: int = 0) -> Batch:
    """Standard normal features, every step of both tracks valid."""
    generator = torch.Generator().manual_seed(seed)
    n = len(labels)
    return Batch(
        visual=torch.randn(n, steps, VISUAL_DIM, generator=generator),
        audio=torch.randn(n, steps, AUDIO_DIM, generator=generator),
        visual_mask=torch.ones(n, steps, dtype=torch.bool),
        audio_mask=torch.ones(n, steps, dtype=torch.bool),
        label=torch.tensor(labels),
    )


def one_of(batch: Batch, index: int, steps: int | None = None) -> Batch:
    """Video `index` alone, cut to its first `steps`."""
    rows = {name: tensor[index : index + 1] for name, tensor in vars(batch).items()}
    return Batch(**{name: row if name == "label" else row[:, :steps] for name, row in rows.items()})
