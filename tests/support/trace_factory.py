"""Networks of `extractors.compact.trace_net` with random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from extractors.compact.trace_net import TraceNet


def random_net(measures: int, classes: int, seed: int = 0, spread: float = 1.0) -> TraceNet:
    """A network in evaluation mode whose code was laid along measures of deviation `spread`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = TraceNet(measures, classes)
        net.fit(spread * torch.randn(500, measures))
    return net.eval()


def write_random_net(path: Path, measures: int, classes: int = 8, seed: int = 0, spread: float = 1.0) -> Path:
    """The weights of a `random_net` as a file; returns `path`."""
    save_file(random_net(measures, classes, seed, spread).state_dict(), path)
    return path
