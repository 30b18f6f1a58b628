"""Blocks of the detectors: masked convolutions, attention within a window, and the pyramid of time (ActionFormer).

Masks as in `models.batch`. Originals let padding bleed: normalisation makes it non-zero again, and the next convolution
reads it. Here it is zero before every convolution, so a clip's result does not depend on what it is batched with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.detectors import DetectorConfig
from models.embedding import blank

Levels = list[tuple[Tensor, Tensor]]
"""Features (B, T, dim) and mask (B, T) of every level, the finest first."""


class Conv(nn.Conv1d):
    """1-D convolution over time on (B, T, C), zero-padded at the ends and at invalid steps; biases start at zero."""

    def __init__(
        self, inward: int, outward: int, kernel: int = 3, stride: int = 1, groups: int = 1, bias: bool = True
    ) -> None:
        super().__init__(inward, outward, kernel, stride, kernel // 2, groups=groups, bias=bias)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """(B, T, inward), (B, T) -> (B, ⌈T / stride⌉, outward); zero where invalid."""
        y = super().forward(blank(x, mask).transpose(1, 2)).transpose(1, 2)
        return blank(y, mask[:, :: self.stride[0]])


class Linear(nn.Linear):
    """A linear layer whose bias starts at zero."""

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__(inward, outward)
        nn.init.zeros_(self.bias)


def halved(x: Tensor, mask: Tensor) -> Tensor:
    """(B, T, C), (B, T) -> (B, ⌈T / 2⌉, C): the largest valid of three steps around every second one."""
    lowest = x.masked_fill(~mask.unsqueeze(-1), -torch.inf).transpose(1, 2)
    return blank(F.max_pool1d(lowest, 3, stride=2, padding=1).transpose(1, 2), mask[:, ::2])


def widened(x: Tensor, factor: int, steps: int) -> Tensor:
    """(B, T, C) -> (B, steps, C): every step `factor` times, the nearest neighbour."""
    return x.repeat_interleave(factor, dim=1)[:, :steps]


def positions(steps: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Sines and cosines of every step (steps, dim), divided by √dim (https://arxiv.org/abs/1706.03762, 3.5)."""
    rate = 10_000.0 ** (-2 * torch.div(torch.arange(dim, device=device), 2, rounding_mode="floor") / dim)
    angle = torch.arange(steps, device=device).unsqueeze(1) * rate
    return torch.where(torch.arange(dim, device=device) % 2 == 0, angle.sin(), angle.cos()) / math.sqrt(dim)


class Branch(nn.Module):
    """Scale of a residual branch: a weight by channel, from 1e-4, and stochastic depth by clip in training."""

    def __init__(self, dim: int, drop: float) -> None:
        super().__init__()
        self.scale, self.drop = nn.Parameter(torch.full((dim,), 1e-4)), drop

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, dim) -> (B, T, dim)."""
        if self.training and self.drop > 0:
            alive = torch.rand(len(x), 1, 1, device=x.device) >= self.drop
            x = x * alive / (1 - self.drop)
        return self.scale * x


class Projection(nn.Module):
    """Query, key or value: depthwise convolution of three steps, LayerNorm, linear."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.conv = Conv(dim, dim, 3, stride, groups=dim, bias=False)
        self.norm, self.linear = nn.LayerNorm(dim), Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, dim) -> (B, ⌈T / stride⌉, dim)."""
        return self.linear(self.norm(self.conv(x, mask)))


class Attention(nn.Module):
    """Multi-head attention of which a step sees the valid steps within `window // 2`, and always itself.

    `window` None: the whole sequence. One mask serves queries, keys and values.
    """

    def __init__(self, dim: int, heads: int, window: int | None, stride: int = 1) -> None:
        super().__init__()
        self.heads, self.window, self.stride = heads, window, stride
        self.query, self.key, self.value = (Projection(dim, stride) for _ in range(3))
        self.out = Linear(dim, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """Three of (B, T, dim), (B, T) -> (B, ⌈T / stride⌉, dim)."""
        low = mask[:, :: self.stride]
        parts = (self.query(query, mask), self.key(key, mask), self.value(value, mask))
        # (B, heads, T, dim / heads)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in parts)
        step = torch.arange(low.shape[1], device=low.device)
        apart = (step.unsqueeze(0) - step.unsqueeze(1)).abs()
        near = apart <= self.window // 2 if self.window is not None else apart >= 0
        seen = (near & low.unsqueeze(1)) | (apart == 0)  # (B, T, T); a row without a key would be NaN
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen.unsqueeze(1))
        return blank(self.out(mixed.transpose(1, 2).flatten(2)), low)


class Block(nn.Module):
    """Transformer block before which everything is normalised; with `cross`, keys and values come from elsewhere.

    With a stride of 2 the skipped path is the maximum of three steps.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int | None,
        stride: int = 1,
        drop: float = 0.0,
        cross: bool = False,
    ) -> None:
        super().__init__()
        self.attention, self.stride = Attention(dim, heads, window, stride), stride
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3 if cross else 1))
        self.attended = Branch(dim, drop)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), Linear(dim, 4 * dim), nn.GELU(), Linear(4 * dim, dim))
        self.added = Branch(dim, drop)

    def forward(
        self, x: Tensor, mask: Tensor, key: Tensor | None = None, value: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, T, dim), (B, T), and in a cross block keys and values as long -> (B, ⌈T / stride⌉, dim), its mask."""
        if key is None or value is None:
            query = key = value = self.norms[0](x)
        else:
            query, key, value = (norm(one) for norm, one in zip(self.norms, (x, key, value), strict=True))
        skipped = halved(x, mask) if self.stride == 2 else blank(x, mask)
        x = skipped + self.attended(self.attention(query, key, value, mask))
        mask = mask[:, :: self.stride]
        return x + self.added(blank(self.mlp(x), mask)), mask


class Embedding(nn.Module):
    """Two convolutions of three steps, each with LayerNorm and ReLU, then the code of positions."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Conv(inward, dim, bias=False) for inward in (channels, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, channels), (B, T) -> (B, T, dim); zero where invalid."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x, mask)))
        return blank(x + positions(x.shape[1], x.shape[2], x.device), mask)


class Pyramid(nn.Module):
    """Blocks at the full rate, then one block for each coarser level."""

    def __init__(self, stem: Sequence[nn.Module], branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stem, self.branches = nn.ModuleList(stem), nn.ModuleList(branches)

    def forward(self, x: Tensor, mask: Tensor) -> Levels:
        """(B, T, dim), (B, T) -> levels of T, ⌈T / 2⌉, ⌈T / 4⌉ … steps."""
        for block in self.stem:
            x, mask = block(x, mask)
        levels = [(x, mask)]
        for block in self.branches:
            levels.append(block(*levels[-1]))
        return levels


def transformers(config: DetectorConfig) -> Pyramid:
    """ActionFormer's pyramid: attention within a window, but over everything at the coarsest level."""

    def block(window: int | None, stride: int) -> Block:
        return Block(config.dim, config.heads, window, stride, config.drop_path)

    windows = [config.window] * (config.levels - 2) + [None] * (config.levels > 1)
    return Pyramid(
        [block(config.window, 1) for _ in range(config.stem)], [block(window, 2) for window in windows]
    )


class Norms(nn.Module):
    """ActionFormer's neck: a LayerNorm of its own for every level."""

    def __init__(self, dim: int, levels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(levels))

    def forward(self, levels: Levels) -> Levels:
        """Levels -> levels."""
        return [(blank(norm(x), mask), mask) for norm, (x, mask) in zip(self.norms, levels, strict=True)]


class TopDown(nn.Module):
    """Feature pyramid network (https://arxiv.org/abs/1612.03144): coarse levels are added to finer ones."""

    def __init__(self, dim: int, levels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(Conv(dim, dim, 1, bias=False) for _ in range(levels))
        self.smooth = nn.ModuleList(Conv(dim, dim, 3, groups=dim, bias=False) for _ in range(levels))
        self.norms = Norms(dim, levels)

    def forward(self, levels: Levels) -> Levels:
        """Levels -> levels."""
        maps = [conv(x, mask) for conv, (x, mask) in zip(self.lateral, levels, strict=True)]
        for finer in range(len(maps) - 2, -1, -1):
            maps[finer] = maps[finer] + widened(maps[finer + 1], 2, maps[finer].shape[1])
        masks = [mask for _, mask in levels]
        smoothed = [conv(x, mask) for conv, x, mask in zip(self.smooth, maps, masks, strict=True)]
        return self.norms(list(zip(smoothed, masks, strict=True)))
