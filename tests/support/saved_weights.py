"""Writes the weights of a model for tests; training writes its own from its run folder."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import nn


def save_weights(model: nn.Module, path: Path) -> None:
    """Writes all parameters as safetensors."""
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
