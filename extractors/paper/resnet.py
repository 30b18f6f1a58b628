"""ResNet trunks: images in, one globally average-pooled vector per image out.

The networks are torchvision's. OpenMMLab's TSN checkpoints hold the same tensors under other names, so loading them
is a renaming (checked against mmaction2's own recognizer in tests/parity).
"""

from __future__ import annotations

import copy
import itertools
import pickle
import re
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from data.errors import WeightsError

Arch = Literal["resnet18", "resnet50"]

_LAYERS: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
}

# OpenMMLab wraps convolution and normalisation in one module (mmcv ConvModule); torchvision names them apart.
_OPENMMLAB_NAMES = (
    (re.compile(r"\bconv(\d)\.conv\."), r"conv\1."),
    (re.compile(r"\bconv(\d)\.bn\."), r"bn\1."),
    (re.compile(r"\bdownsample\.conv\."), "downsample.0."),
    (re.compile(r"\bdownsample\.bn\."), "downsample.1."),
)


def build_trunk(arch: Arch) -> nn.Module:
    """A randomly initialised trunk without classifier: (N, 3, H, W) float to (N, C) float.

    C is 512 for `resnet18` and 2048 for `resnet50` (He et al. 2016).
    """
    block, layers = _LAYERS[arch]
    trunk = ResNet(block, layers)
    trunk.fc = nn.Identity()
    return trunk


def trunk_dim(arch: Arch) -> int:
    """Length C of the vectors of `arch`."""
    return 512 * _LAYERS[arch][0].expansion


def load_trunk(arch: Arch, path: Path) -> nn.Module:
    """The trunk with the weights of `path`, in evaluation mode.

    Accepts our own safetensors, torchvision state dicts and OpenMMLab TSN checkpoints (.pth); classifier layers are
    dropped. Pickled code is never run (`weights_only`).

    Raises WeightsError when the file is missing, damaged, of another type, made for another network, or holds values
    that are not finite.
    """
    trunk = build_trunk(arch)
    state = _trunk_names(_read_tensors(path), path)
    expected = trunk.state_dict()
    problems = [
        *(
            f"lacks {name}"
            for name in expected
            if name not in state and not name.endswith("num_batches_tracked")
        ),
        *(f"has an unexpected {name}" for name in state if name not in expected),
        *(
            f"has {name} of shape {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in state and state[name].shape != tensor.shape
        ),
    ]
    if problems:
        raise WeightsError(
            f"not weights of a {arch}: {problems[0]} (and {len(problems) - 1} more differences)",
            path,
            "name weights that fit visual.arch, or change visual.arch",
        )
    # Here, because fused operations may turn what is not a number into zero.
    if bad := [name for name in expected if name in state and not torch.isfinite(state[name]).all()]:
        raise WeightsError(f"values of {bad[0]} are not finite", path, "fetch or train them again")
    trunk.load_state_dict(state, strict=False)
    return trunk.eval()


def fuse_batch_norm(trunk: nn.Module) -> nn.Module:
    """A copy of `trunk` whose batch normalisations are folded into the convolutions before them.

    The same function up to rounding (about 1e-6 relative in float32) and a quarter to a third faster on a processor.
    """
    fused = copy.deepcopy(trunk).eval()
    for parent in list(fused.modules()):
        names = [name for name, _ in parent.named_children()]
        for conv_name, norm_name in itertools.pairwise(names):
            conv, norm = getattr(parent, conv_name), getattr(parent, norm_name)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    return fused


def _read_tensors(path: Path) -> dict[str, Any]:
    """The name-to-tensor mapping of a checkpoint file."""
    if not path.is_file():
        raise WeightsError("no such weights file", path)
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            "refused: not a plain tensor checkpoint, or one that would run code when it is read",
            path,
            "use .safetensors or a .pth file that holds tensors only",
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError) as error:
        raise WeightsError(
            f"not a readable checkpoint ({type(error).__name__})", path, "fetch it again"
        ) from error
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not state:
        raise WeightsError(
            "a checkpoint without a state dict", path, "use .safetensors or an OpenMMLab .pth file"
        )
    return state


def _trunk_names(state: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """`state` under torchvision's names, without classifiers."""
    if any(name.startswith("backbone.") for name in state):
        state = {
            name.removeprefix("backbone."): v for name, v in state.items() if name.startswith("backbone.")
        }
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise WeightsError(f"entry {name!r} is not a tensor", path, "use a checkpoint of a TSN or ResNet")
        for pattern, replacement in _OPENMMLAB_NAMES:
            name = pattern.sub(replacement, name)
        if not name.startswith("fc."):
            renamed[name] = tensor
    return renamed
