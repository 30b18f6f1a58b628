"""CLIP's image tower as a pre-trained eye: what its middle layers see in an aligned face.

Its middle layers tell how a picture is made, its output what it shows (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from extractors.compact.landmarks import EYES, MOUTH, Frame, Points
from extractors.compact.transformer import Block, quick_gelu
from extractors.compact.weights import SCALE, load_part, shape_of, unpacked

WIDTH, LAYERS = 768, 8
"""Width of CLIP ViT-B/16 (Radford et al. 2021, arXiv:2103.00020), and the layers that are kept of its twelve."""

PATCH, SIDE, HEAD = 16, 224, 64
"""Sides of a patch and of a picture in pixels, and width of an attention head."""

PLACES = {"face": (0, 14, 0, 14), "mouth": (7, 12, 4, 10), "eyes": (3, 8, 2, 12)}
"""Rows and columns (first, stop) of the 14 x 14 patches over which means are taken."""

_ALIGNED = np.array([[0.36, 0.38], [0.64, 0.38], [0.5, 0.657]])  # eyes and mouth, in sides of the crop
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Eye(nn.Module):
    """Aligned faces (B, 224, 224, 3) uint8 RGB to means over patches (B, `dim`), of two layers in `PLACES` each.

    The layers are the last one and the one at three quarters of the way.
    """

    def __init__(self, width: int = WIDTH, layers: int = LAYERS) -> None:
        super().__init__()
        self.dim = 2 * len(PLACES) * width
        self.patches = nn.Conv2d(3, width, PATCH, PATCH, bias=False)
        self.first = nn.Parameter(torch.zeros(width), requires_grad=False)
        self.position = nn.Parameter(torch.zeros((SIDE // PATCH) ** 2 + 1, width), requires_grad=False)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, max(1, width // HEAD), quick_gelu) for _ in range(layers))

    def forward(self, faces: Tensor) -> Tensor:
        """Means over patches, in float32."""
        mean, deviation = (torch.tensor(part, device=faces.device) * 255 for part in (_MEAN, _STD))
        pictures = ((faces - mean) / deviation).permute(0, 3, 1, 2).to(self.first.dtype)
        patches = self.patches(pictures).flatten(2).transpose(1, 2)
        state = torch.cat([self.first.expand(len(faces), 1, -1), patches], dim=1) + self.position
        state = self.norm(state)
        states = []
        for number in range(len(self.blocks)):
            state = self._block(number)(state)
            states.append(state)
        means = []
        for chosen in (states[max(1, 3 * len(states) // 4) - 1], states[-1]):
            grid = chosen[:, 1:].float().unflatten(1, (SIDE // PATCH, SIDE // PATCH))
            means += [grid[:, a:b, c:d].mean(dim=(1, 2)) for a, b, c, d in PLACES.values()]
        return torch.cat(means, dim=1)

    def _block(self, number: int) -> nn.Module:
        """The block of that number, ready to be called."""
        return self.blocks[number]


class PackedEye(Eye):
    """An eye whose blocks stay as they are stored until it looks: most files are short and are looked at once or twice.

    At its first look they are unpacked into the same memory, one after the other, at the second for good: 200 MB, and
    a tenth of a second to fill it.
    """

    def __init__(self, width: int, packed: Sequence[dict[str, Tensor]]) -> None:
        super().__init__(width, len(packed))
        self._packed, self._room = list(packed), dict[str, Tensor]()

    def forward(self, faces: Tensor) -> Tensor:
        """Means over patches, in float32."""
        if self._packed and self._room:
            for block, packed in zip(self.blocks, self._packed, strict=True):
                block.load_state_dict(unpacked(packed), assign=True)
            self._packed, self._room = [], {}
        return super().forward(faces)

    def _block(self, number: int) -> nn.Module:
        block = self.blocks[number]
        if self._packed:
            block.load_state_dict(unpacked(self._packed[number], self._room), assign=True)
        return block


def load_eye(tensors: dict[str, Tensor], weights: Path) -> Eye:
    """The eye of the tensors below ``eye.`` of `weights`. Raises WeightsError when there is none that fits."""
    position, layers = shape_of(tensors, "eye.", weights)
    # Fifty million random numbers, made to be replaced, would take longer than all else at start-up.
    with torch.device("meta"):
        eye = Eye(position[1], layers)
    return load_part(eye, tensors, "eye.", weights)


def packed_eye(stored: dict[str, Tensor], weights: Path) -> PackedEye:
    """The eye of tensors as they are `stored` below ``eye.``. Raises WeightsError when there is none that fits."""
    position, layers = shape_of(stored, "eye.", weights)
    blocks: list[dict[str, Tensor]] = [{} for _ in range(layers)]
    front, shapes = {}, {}
    for name, tensor in stored.items():
        _, _, *rest = name.split(".", 3)
        if name.startswith("eye.blocks.") and rest[0].isdecimal() and int(rest[0]) < layers:
            blocks[int(rest[0])][rest[1]] = tensor
            if not name.endswith(SCALE):
                shapes[name] = torch.empty(tensor.shape, device="meta")
        elif name.startswith("eye."):
            front[name] = tensor
    with torch.device("meta"):
        eye = PackedEye(position[1], blocks)
    # What is packed is known to fit as well from here on.
    return load_part(eye, {**unpacked(front), **shapes}, "eye.", weights)


def aligned(frame: Frame, mesh: Points) -> NDArray[np.uint8]:
    """The face with `mesh` (468, 2) in `frame` (H, W, 3), as (224, 224, 3): eyes and mouth lie in fixed places."""
    there = np.stack(
        [*(mesh[list(corners)].mean(axis=0) for corners in EYES), mesh[list(MOUTH)].mean(axis=0)]
    )
    turn = similarity(there, _ALIGNED * SIDE - 0.5)
    return cv2.warpAffine(frame, turn, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def similarity(there: Points, here: Points) -> Points:
    """The turn, scale and shift (2, 3) that brings points `there` (N, 2) closest to `here` (N, 2) (Umeyama, 1991)."""
    a, b = there - there.mean(axis=0), here - here.mean(axis=0)
    power = (a**2).sum()
    cos, sin = (a * b).sum() / power, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / power
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([turn, here.mean(axis=0) - turn @ there.mean(axis=0)])
