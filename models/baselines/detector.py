"""What ActionFormer, TriDet, UMMAFormer and MFMS-style share: input, heads, objective and decoding."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.detectors import OptimiserConfig, PyramidConfig
from configs.schema import ModelConfig
from models.baselines import points as rules
from models.baselines.cas import either, on_tracks
from models.baselines.pyramid import Conv, Levels
from models.batch import Batch
from models.embedding import blank
from models.method import Scores, SupervisedMethod, evaluating

_PRIOR = 0.01  # of a point to be positive, at the start
_MOMENTUM = 0.9  # of the running number of positive points
_SHORTEST = 1e-3  # in steps of the grid


@dataclass(frozen=True)
class Sequences:
    """Picture and sound side by side on the detector's own grid.

    Shapes: `x` (B, T, Cv + Ca), `mask` (B, T), `scale` (B,): steps of the features in one step of the grid.
    """

    x: Tensor
    mask: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Level:
    """One level of the pyramid: `logits` (B, T), `offsets` (B, T, 2) in strides, `mask` (B, T)."""

    logits: Tensor
    offsets: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Outputs:
    """`levels`, the finest first; `video` (B, 2) logits of authentic and forged; the grid that all lie on.

    `terms`: what a method's own losses need.
    """

    levels: tuple[Level, ...]
    video: Tensor
    grid: Sequences
    terms: tuple[Tensor, ...] = ()


class Tower(nn.Module):
    """Two convolutions with LayerNorm and ReLU, and a third to `outward` numbers a point."""

    def __init__(self, dim: int, hidden: int, outward: int, prior: bool = False) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Conv(inward, hidden, bias=False) for inward in (dim, hidden))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(2))
        self.out = Conv(hidden, outward)
        if prior and self.out.bias is not None:
            nn.init.constant_(self.out.bias, -math.log((1 - _PRIOR) / _PRIOR))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, dim), (B, T) -> (B, T, outward)."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x, mask)))
        return self.out(x, mask)


class Heads(nn.Module):
    """Class and boundaries of every point, by towers that all levels share (ActionFormer, 3.3)."""

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__()
        self.classes = Tower(config.dim, config.head_dim, 1, prior=True)
        self.offsets = Tower(config.dim, config.head_dim, 2)
        self.scales = nn.Parameter(torch.ones(config.levels))

    def forward(self, levels: Levels) -> tuple[Level, ...]:
        """Features -> logits and offsets."""
        return tuple(
            Level(self.classes(x, mask).squeeze(-1), F.relu(scale * self.offsets(x, mask)), mask)
            for (x, mask), scale in zip(levels, self.scales, strict=True)
        )


class PointDetector(SupervisedMethod[Outputs]):
    """Base of the family; a method says what its levels are, and adds its own losses.

    One class, forged: every point has the probability that it stands for a forged segment, and the segment's bounds.
    """

    normaliser: Tensor

    def __init__(self, config: ModelConfig, settings: PyramidConfig) -> None:
        super().__init__()
        self.config, self.settings = config, settings
        self.register_buffer("normaliser", torch.tensor(settings.loss.normaliser))

    @property
    def optimiser(self) -> OptimiserConfig:
        """How it is trained."""
        return self.settings.optimiser

    @abstractmethod
    def detect(self, grid: Sequences, generator: torch.Generator | None) -> Outputs:
        """Logits and offsets of every level."""

    def extra(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Terms that the method adds to the objective, weighted."""
        return {}

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Outputs:
        """See `Outputs`."""
        return self.detect(sequences(batch, self.settings.length), generator)

    def losses(self, outputs: Outputs, batch: Batch, segments: Sequence[Tensor]) -> dict[str, Tensor]:
        """`cls`, focal, over all points; `reg`, DIoU, over the positive ones; both by the running number of those.

        Points of clips without a segment count if `loss.authentic` says so.
        """
        settings, levels = self.settings.loss, outputs.levels
        logits = torch.cat([level.logits for level in levels], dim=1).float()  # (B, P)
        offsets = torch.cat([level.offsets for level in levels], dim=1).float()
        valid = torch.cat([level.mask for level in levels], dim=1)
        positive, goals = self._targets(outputs, segments)
        positive = positive & valid
        if not settings.authentic:
            forged = torch.tensor([len(one) > 0 for one in segments], device=valid.device)
            valid = valid & forged.unsqueeze(1)
        if self.training:
            with torch.no_grad():
                count = positive.sum().clamp(min=1)
                self.normaliser.mul_(_MOMENTUM).add_((1 - _MOMENTUM) * count)
        targets = positive.float() * (1 - settings.smoothing) + settings.smoothing / 2
        weight = self.weight(offsets, goals, positive)
        # A clone: the buffer changes in place with the next step, which the backward pass must not see.
        by = self.normaliser.clone()
        cls = (rules.focal(logits, targets) * weight).masked_fill(~valid, 0.0).sum() / by
        reg = rules.diou(offsets[positive], goals[positive]).sum() / by
        extra = self.extra(outputs, batch)
        total = cls + settings.regression * reg + sum(extra.values())
        return {"cls": cls, "reg": reg, **extra, "total": total}

    def weight(self, offsets: Tensor, goals: Tensor, positive: Tensor) -> Tensor:
        """Weight (B, P) of every point's classification loss, one unless a method says otherwise."""
        return torch.ones_like(offsets[..., 0])

    def score(self, batch: Batch, seed: int = 0) -> Scores:
        """`spans` are the decoded segments; a step is forged with the highest score of those that cover its middle.

        As a class of tracks cannot be told, the probability of forged goes whole to the widest class that the tracks
        allow, as in `models.baselines.cas.scores`; it is that of the video, see `probability`.
        """
        with evaluating(self):
            outputs = self(batch)
            spans = tuple(self._decode(outputs, index) for index in range(len(batch.label)))
            forged = self.probability(outputs, spans).unsqueeze(1)  # (B, 1)
        mask = either(batch)
        middles = torch.arange(mask.shape[1], device=mask.device) + 0.5
        step = torch.stack(
            [
                (((one[:, 1:2] <= middles) & (middles < one[:, 2:])) * one[:, :1]).amax(dim=0)
                if len(one)
                else torch.zeros_like(middles)
                for one in spans
            ]
        )
        return on_tracks(forged, step, batch, spans)

    def probability(self, outputs: Outputs, spans: Sequence[Tensor]) -> Tensor:
        """(B,): how likely each clip is forged; the score of its best segment unless there is a classifier of clips."""
        return torch.stack([one[:, 0].amax() if len(one) else outputs.video.new_zeros(()) for one in spans])

    def _targets(self, outputs: Outputs, segments: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Positive points (B, P) and their offsets (B, P, 2)."""
        points, strides, limits = _points(outputs.levels)
        grid = outputs.grid
        pairs = [
            rules.assign(
                points,
                strides,
                limits,
                one.to(points.device) / scale - 0.5,  # step k of the grid has its middle at k + 0.5
                self.settings.loss.radius,
            )
            for one, scale in zip(segments, grid.scale, strict=True)
        ]
        return torch.stack([positive for positive, _ in pairs]), torch.stack([goal for _, goal in pairs])

    def _decode(self, outputs: Outputs, index: int) -> Tensor:
        """Segments (P, 3) of one clip: score, start and end in steps of the features, best first."""
        settings = self.settings.decoding
        kept, scores = [], []
        for number, level in enumerate(outputs.levels):
            probability = level.logits[index].float().sigmoid().masked_fill(~level.mask[index], 0.0)
            best = probability.topk(min(settings.candidates, len(probability)))
            chosen = best.indices[best.values > settings.floor]
            point = chosen.unsqueeze(1) + level.offsets[index, chosen].float() * level.offsets.new_tensor(
                [-1.0, 1.0]
            )
            kept.append(point * 2**number)
            scores.append(probability[chosen])
        candidates, values = torch.cat(kept), torch.cat(scores)
        long = candidates[:, 1] - candidates[:, 0] > _SHORTEST
        candidates, values = candidates[long], values[long]
        spans, ranked = rules.soft_nms(candidates, values, settings.sigma, settings.floor, settings.most)
        spans = rules.vote(spans, candidates, values, settings.voting)
        grid = outputs.grid
        last = (grid.mask[index] * torch.arange(1, grid.mask.shape[1] + 1, device=spans.device)).amax()
        spans = (spans + 0.5).clamp(min=0).minimum(last.to(spans)) * grid.scale[index]
        inside = spans[:, 1] > spans[:, 0]
        return torch.cat([ranked.unsqueeze(1), spans], dim=1)[inside]


def sequences(batch: Batch, length: int | None) -> Sequences:
    """Both tracks side by side, each clip resized to `length` steps by linear interpolation, or as they are.

    A clip ends with its last valid step; a resized step is valid where the nearest one is.
    """
    x = torch.cat([blank(batch.visual, batch.visual_mask), blank(batch.audio, batch.audio_mask)], dim=-1)
    mask = either(batch)
    if length is None:
        return Sequences(x, mask, x.new_ones(len(x)))
    numbers = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    ends = (mask * numbers).amax(dim=1).clamp(min=1)
    resized, valid = [], []
    for one, known, end in zip(x, mask, ends.tolist(), strict=True):
        track = one[:end].T.unsqueeze(0)  # (1, C, n)
        resized.append(F.interpolate(track, length, mode="linear", align_corners=False)[0].T)
        nearest = ((torch.arange(length, device=mask.device) + 0.5) * end / length).long()
        valid.append(known[nearest.clamp(max=end - 1)])
    mask = torch.stack(valid)
    return Sequences(blank(torch.stack(resized), mask), mask, ends.to(x) / length)


def best_logit(levels: Sequence[Level]) -> Tensor:
    """(B, 2) logits of authentic and forged, from the surest point of each clip."""
    every = [level.logits.masked_fill(~level.mask, -math.inf).amax(dim=1) for level in levels]
    top = torch.stack(every).amax(dim=0)
    top = top.masked_fill(top.isinf(), math.log(_PRIOR))
    return torch.stack([torch.zeros_like(top), top], dim=-1)


def _points(levels: Sequence[Level]) -> tuple[Tensor, Tensor, Tensor]:
    """Position and stride (P,) and limits (P, 2) of the points of all levels."""
    places, strides, limits = [], [], []
    for number, (level, limit) in enumerate(zip(levels, rules.ranges(len(levels)), strict=True)):
        steps = level.logits.shape[1]
        places.append(torch.arange(steps, device=level.logits.device) * 2.0**number)
        strides.append(torch.full_like(places[-1], 2.0**number))
        limits.append(places[-1].new_tensor(limit).expand(steps, 2))
    return torch.cat(places), torch.cat(strides), torch.cat(limits)
