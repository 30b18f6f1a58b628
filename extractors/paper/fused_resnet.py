"""A ResNet trunk for inference: pixels in, vectors out, in one number format and in few, large operations."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from extractors.paper.onednn import Convolution, convolution
from extractors.paper.resnet import fuse_batch_norm

Colour = tuple[float, float, float]


class FusedTrunk:
    """`trunk` from frames (N, H, W, 3) uint8 to vectors (N, C) float32, computed on `device` in `dtype`.

    The same function as normalising by `mean` and `std` (in 0..255), then `trunk`, up to rounding:

    * Batch normalisation is folded into the convolutions, and so are `mean` and `std`: the first convolution sees the
      pixels themselves, which every format holds exactly. Its padding is the mean colour.
    * Each convolution takes its bias, its addition and its ReLU along.
    * The average over the picture is taken in float32.
    """

    def __init__(
        self, trunk: nn.Module, mean: Colour, std: Colour, device: torch.device, dtype: torch.dtype
    ) -> None:
        net: Any = fuse_batch_norm(trunk).to(device)

        def fused(conv: nn.Conv2d) -> Convolution:
            padding = cast(tuple[int, ...], conv.padding)
            return convolution(conv.weight.to(dtype), conv.bias, conv.stride, padding)

        self._mean = torch.tensor(mean, device=device, dtype=dtype)
        self._stem = convolution(*_paired(net.conv1, mean, std, dtype), stride=(2, 1))
        self._blocks: list[tuple[list[Convolution], Convolution | None]] = []
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            for block in stage:
                main = [fused(conv) for name, conv in block.named_children() if name.startswith("conv")]
                side = fused(block.downsample[0]) if block.downsample is not None else None
                self._blocks.append((main, side))

    def __call__(self, frames: Tensor) -> Tensor:
        """Vectors (N, C) float32 of frames (N, H, W, 3) uint8."""
        maps = _max_pool(self._stem(self._pairs(frames), "relu"))
        for main, side in self._blocks:
            rest = maps if side is None else side(maps)
            for conv in main[:-1]:
                maps = conv(maps, "relu")
            maps = main[-1].onto(rest, maps)
        return maps.float().mean((2, 3))

    def _pairs(self, frames: Tensor) -> Tensor:
        """Frames within a border of the mean colour, two pixels a column: (N, 6, H + 6, W / 2 + 3).

        A view of the pixels as they lie in memory: the first convolution needs no stride along the rows, and its inner
        sums are twice as long.
        """
        count, height, width, _ = frames.shape
        columns = (width + 1) // 2 + 3
        row = self._mean.repeat(2 * columns)
        rows = row.expand(count, height + 6, len(row)).contiguous()
        rows[:, 3 : 3 + height, 12 : 12 + 3 * width] = frames.reshape(count, height, 3 * width)
        return rows.view(count, height + 6, columns, 6).permute(0, 3, 1, 2)


def _paired(conv: nn.Conv2d, mean: Colour, std: Colour, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weight (O, 6, 7, 4) and bias (O,) of the 7 x 7 convolution `conv` for pairs of unnormalised pixels.

    The first pixel of the first pair lies outside of the kernel.
    """
    weight = conv.weight.detach().double()
    scale, offset = (weight.new_tensor(values).view(1, 3, 1, 1) for values in (std, mean))
    kernel = functional.pad(weight / scale, (1, 0)).to(dtype)
    # With the rounded weights: a picture of the mean colour still gives nothing but the bias.
    bias = cast(Tensor, conv.bias).detach() - (kernel.double() * offset).sum((1, 2, 3))
    outputs, colours, height, width = kernel.shape
    pairs = kernel.view(outputs, colours, height, width // 2, 2).permute(0, 4, 1, 2, 3)
    return pairs.reshape(outputs, 2 * colours, height, width // 2), bias.float()


def _max_pool(maps: Tensor) -> Tensor:
    """Greatest of 3 x 3, with stride 2 and padding 1, of maps (N, C, H, W) without negative values.

    Such floating-point numbers are ordered as the integers with their bits are, and integers compare twice as fast.
    """
    if maps.device.type != "cpu":
        return functional.max_pool2d(maps, 3, 2, 1)
    whole = maps.view(torch.int16 if maps.dtype.itemsize == 2 else torch.int32)
    tall = whole[:, :, ::2].clone()
    _take_greater(tall[:, :, : whole.shape[2] // 2], whole[:, :, 1::2])
    _take_greater(tall[:, :, 1:], whole[:, :, 1:-1:2])
    small = tall[..., ::2].clone()
    _take_greater(small[..., : whole.shape[3] // 2], tall[..., 1::2])
    _take_greater(small[..., 1:], tall[..., 1:-1:2])
    return small.view(maps.dtype)


def _take_greater(values: Tensor, others: Tensor) -> None:
    torch.maximum(values, others, out=values)
