"""TriDet (Shi et al., CVPR 2023): convolutions in place of attention, and boundaries as expectations over bins."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.detectors import TriDetConfig
from configs.schema import ModelConfig
from models.baselines import points as rules
from models.baselines.detector import Level, Outputs, PointDetector, Sequences, Tower, best_logit
from models.baselines.pyramid import Branch, Conv, Embedding, Levels, Linear, Norms, Pyramid, halved
from models.embedding import blank

_GROUPS = 16


class SGP(nn.Module):
    """Scalable-granularity perception (section 3.2): all convolutions are by channel.

    fc(y) · ReLU(φ(mean y)) + ψ(y) · (conv_w(y) + conv_kw(y)) + y. The mean is over valid steps; in the original it is
    over the padding too.
    """

    def __init__(self, dim: int, width: int, config: TriDetConfig) -> None:
        super().__init__()
        wider = round((width + 1) * config.widening)
        wider += wider % 2 == 0

        def by_channel(kernel: int) -> Conv:
            conv = Conv(dim, dim, kernel, groups=dim)
            nn.init.normal_(conv.weight, 0, config.spread)
            return conv

        self.instant, self.overall = by_channel(1), by_channel(1)
        self.gate, self.narrow, self.wide = by_channel(width), by_channel(width), by_channel(wider)

    def forward(self, y: Tensor, mask: Tensor) -> Tensor:
        """(B, T, dim), (B, T) -> (B, T, dim)."""
        count = mask.sum(dim=1).clamp(min=1).view(-1, 1, 1)
        mean = blank(y, mask).sum(dim=1, keepdim=True) / count
        overall = F.relu(self.overall(mean, torch.ones_like(mask[:, :1])))
        window = self.gate(y, mask) * (self.narrow(y, mask) + self.wide(y, mask))
        return blank(self.instant(y, mask) * overall + window + y, mask)


class GroupNorm(nn.GroupNorm):
    """Group normalisation over the channels of a group and the valid steps of a clip."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """(B, T, dim), (B, T) -> (B, T, dim)."""
        grouped = x.unflatten(-1, (self.num_groups, -1))  # (B, T, groups, dim / groups)
        seen = mask[..., None, None]
        count = (mask.sum(dim=1).clamp(min=1) * grouped.shape[-1]).view(-1, 1, 1, 1)
        mean = (grouped * seen).sum(dim=(1, 3), keepdim=True) / count
        centred = (grouped - mean) * seen
        variance = centred.square().sum(dim=(1, 3), keepdim=True) / count
        return (centred / (variance + self.eps).sqrt()).flatten(2) * self.weight + self.bias


class SGPBlock(nn.Module):
    """SGP and a perceptron in place of a transformer block; stem blocks have no branch scale and drop nothing."""

    def __init__(self, config: TriDetConfig, width: int, stride: int) -> None:
        super().__init__()
        dim, self.stride = config.dim, stride
        self.norm, self.sgp = nn.LayerNorm(dim), SGP(dim, width, config)
        self.group_norm = GroupNorm(_GROUPS, dim)
        self.mlp = nn.Sequential(Linear(dim, config.hidden), nn.GELU(), Linear(config.hidden, dim))
        scaled = stride > 1 and config.drop_path > 0
        self.mixed, self.added = (
            Branch(dim, config.drop_path) if scaled else nn.Identity() for _ in range(2)
        )

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, dim), (B, T) -> (B, ⌈T / stride⌉, dim), its mask."""
        x, mask = (halved(x, mask), mask[:, ::2]) if self.stride == 2 else (blank(x, mask), mask)
        x = x + self.mixed(self.sgp(self.norm(x), mask))
        return x + self.added(blank(self.mlp(self.group_norm(x, mask)), mask)), mask


class TridentHeads(nn.Module):
    """Classes as elsewhere; a boundary is the expectation over `bins` + 1 neighbours of a point (section 3.3).

    Start and end have a response at every step, from features that they do not train; a point adds its own view of
    each neighbour. Steps beyond either end respond with 0, as in the original.
    """

    def __init__(self, config: TriDetConfig) -> None:
        super().__init__()
        self.bins = config.bins
        self.classes = Tower(config.dim, config.head_dim, 1, prior=True)
        self.start = Tower(config.dim, config.head_dim, 1, prior=True)
        self.end = Tower(config.dim, config.head_dim, 1, prior=True)
        self.centre = Tower(config.dim, config.head_dim, 2 * (config.bins + 1))
        self.scales = nn.Parameter(torch.ones(config.levels))

    def forward(self, levels: Levels) -> tuple[Level, ...]:
        """Features -> logits and offsets."""
        outputs = []
        for (x, mask), scale in zip(levels, self.scales, strict=True):
            still = x.detach()
            start, end = self.start(still, mask).squeeze(-1), self.end(still, mask).squeeze(-1)
            centre = F.relu(scale * self.centre(x, mask)).unflatten(-1, (2, -1))
            offsets = trident(start, end, centre)
            outputs.append(Level(self.classes(x, mask).squeeze(-1), offsets, mask))
        return tuple(outputs)


def trident(start: Tensor, end: Tensor, centre: Tensor) -> Tensor:
    """Offsets (B, T, 2) from responses (B, T) twice and a point's own (B, T, 2, bins + 1).

    To the left, bin b stands for the neighbour bins - b steps away; to the right, for the one b steps away.
    """
    bins = centre.shape[-1] - 1
    before = F.pad(start, (bins, 0)).unfold(1, bins + 1, 1)  # (B, T, bins + 1)
    after = F.pad(end, (0, bins)).unfold(1, bins + 1, 1)
    away = torch.arange(bins + 1, device=centre.device, dtype=centre.dtype)
    left = (before + centre[..., 0, :]).softmax(dim=-1) @ away.flip(0)
    right = (after + centre[..., 1, :]).softmax(dim=-1) @ away
    return torch.stack([left, right], dim=-1)


class TriDet(PointDetector):
    """Embedding, SGP pyramid, a norm for each level, Trident heads."""

    def __init__(self, config: ModelConfig) -> None:
        settings = config.tridet
        super().__init__(config, settings)
        self._tridet = settings
        self.embed = Embedding(config.visual_dim + config.audio_dim, settings.dim)
        self.pyramid = Pyramid(
            [SGPBlock(settings, 1, 1) for _ in range(settings.stem)],
            [SGPBlock(settings, settings.window, 2) for _ in range(settings.levels - 1)],
        )
        self.neck = Norms(settings.dim, settings.levels)
        self.heads = TridentHeads(settings)

    def detect(self, grid: Sequences, generator: torch.Generator | None) -> Outputs:
        """See `Outputs`; in training, features get noise that is drawn from `generator`."""
        x = grid.x
        if self.training and self._tridet.noise > 0:
            device = generator.device if generator is not None else x.device
            noise = torch.randn(x.shape, generator=generator, device=device).to(x.device)
            x = x + self._tridet.noise * noise
        levels = self.heads(self.neck(self.pyramid(self.embed(x, grid.mask), grid.mask)))
        return Outputs(levels, best_logit(levels), grid)

    def weight(self, offsets: Tensor, goals: Tensor, positive: Tensor) -> Tensor:
        """IoU of a positive point's segment with the true one, to a power; its gradient counts (section 3.4)."""
        shared = rules.overlap(offsets, goals).clamp(min=1e-6) ** self._tridet.iou_power
        return torch.where(positive, shared, torch.ones_like(shared))
