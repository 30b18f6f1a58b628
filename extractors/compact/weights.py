"""Reading the weights of the compact extractors: one safetensors file each, parts by prefix, stored small."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from data.errors import WeightsError

Network = TypeVar("Network", bound=nn.Module)

SCALE = ".scale"
"""Ending of a tensor's name that holds the scales of an int8 tensor, one for each row."""


def stored(weights: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file as they are stored. Raises WeightsError when it cannot be read."""
    try:
        return load_file(weights)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot be read: {error}", weights, "train it again") from error


def load_tensors(weights: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file as float32; int8 ones times their scales.

    Raises WeightsError when it cannot be read.
    """
    return unpacked(stored(weights))


def unpacked(packed: Mapping[str, Tensor], room: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Tensors as they are stored, `packed`, as float32; int8 ones times their scales.

    With `room` these are written to its tensors of the same names, which are made where they are missing.
    """
    tensors, room = {}, {} if room is None else room
    for name, tensor in packed.items():
        if name.endswith(SCALE):
            continue
        scale = packed.get(name + SCALE)
        if scale is None:
            tensors[name] = tensor.float()
            continue
        # By numpy, which converts and multiplies block by block: a second pass over the eye takes longer than its
        # arithmetic, and so do threads that ask for fresh memory at the same time.
        rows = scale.float().view(-1, *[1] * (tensor.ndim - 1)).numpy()
        if name not in room:
            room[name] = torch.empty(tensor.shape)
        np.multiply(tensor.numpy(), rows, out=room[name].numpy(), dtype=np.float32)
        tensors[name] = room[name]
    return tensors


def shape_of(tensors: dict[str, Tensor], prefix: str, weights: Path) -> tuple[tuple[int, ...], int]:
    """Shape (N, C) of the positions, and blocks, of the transformer below `prefix`; WeightsError without one."""
    position = tensors.get(prefix + "position")
    blocks = {name.split(".")[2] for name in tensors if name.startswith(f"{prefix}blocks.")}
    if position is None or position.ndim != 2 or not blocks:
        raise WeightsError(
            f"holds no pre-trained part '{prefix}*'", weights, "make it with tools/pretrained_parts.py"
        )
    return tuple(position.shape), len(blocks)


def load_part(network: Network, tensors: dict[str, Tensor], prefix: str, weights: Path) -> Network:
    """`network` with the tensors below `prefix`, in evaluation mode.

    Raises WeightsError when some are missing or of another shape.
    """
    part = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    try:
        network.load_state_dict(part, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()[:200]  # the first line names the class alone
        problem = f"its part '{prefix}*' does not fit: {reason}"
        raise WeightsError(problem, weights, "train it again") from error
    return network.eval()


def compressed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices as int8 with a scale for each row, all else as float16: small errors for a quarter of the room."""
    small = {}
    for name, tensor in tensors.items():
        if tensor.ndim >= 2 and tensor[0].numel() >= 64:
            rows = tensor.flatten(1)
            scale = rows.abs().amax(dim=1).clamp(min=1e-8) / 127
            small[name] = (rows / scale[:, None]).round().clamp(-127, 127).to(torch.int8).view_as(tensor)
            small[name + SCALE] = scale
        else:
            small[name] = tensor.half()
    return {name: tensor.contiguous() for name, tensor in small.items()}
