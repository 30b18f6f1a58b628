"""Detection by points on a grid of time: targets, losses, and from points to segments, as plain functions.

Segments are (N, 2): start and end in steps of the grid. Offsets (…, 2) are distances from a point to the left and to
the right, in strides of its level.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_ALPHA, _GAMMA = 0.25, 2.0


def ranges(levels: int) -> list[tuple[float, float]]:
    """Distances in steps that each level regresses: up to 4, 8, 16 …; the last one without an end."""
    lows = [0.0, *(2.0 ** (level + 2) for level in range(levels - 1))]
    return list(zip(lows, [*lows[1:], torch.inf], strict=True))


def assign(
    points: Tensor, strides: Tensor, limits: Tensor, segments: Tensor, radius: float
) -> tuple[Tensor, Tensor]:
    """Which points stand for a segment, and for which offsets (ActionFormer, 3.4; FCOS in time).

    Shapes: `points` and `strides` (P,), `limits` (P, 2), `segments` (N, 2) -> (P,) bool, (P, 2). A point is positive if
    it lies less than `radius` strides from the segment's centre and inside it, and the farther of the two boundaries
    lies within its limits; of several segments the shortest counts.
    """
    if not len(segments):
        return torch.zeros_like(points, dtype=torch.bool), points.new_zeros(len(points), 2)
    start, end = segments.unbind(dim=-1)
    left, right = points.unsqueeze(1) - start, end - points.unsqueeze(1)  # (P, N)
    reach = radius * strides.unsqueeze(1)
    central = (points.unsqueeze(1) - (start + end) / 2).abs() < reach
    farther = torch.maximum(left, right)
    fits = (
        central & (torch.minimum(left, right) > 0) & (farther >= limits[:, :1]) & (farther <= limits[:, 1:])
    )
    length = (end - start).expand_as(left).masked_fill(~fits, torch.inf)
    shortest, which = length.min(dim=1)
    offsets = torch.stack([left, right], dim=-1)[
        torch.arange(len(points), device=points.device), which
    ] / strides.unsqueeze(1)
    return shortest.isfinite(), offsets


def focal(logits: Tensor, targets: Tensor) -> Tensor:
    """Sigmoid focal loss by element, α = 0.25, γ = 2 (https://arxiv.org/abs/1708.02002, Eq. 5); targets in [0, 1]."""
    p = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    missed = p * (1 - targets) + (1 - p) * targets
    return (_ALPHA * targets + (1 - _ALPHA) * (1 - targets)) * missed**_GAMMA * entropy


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """IoU of two segments around the same point, from their offsets (…, 2)."""
    shared = torch.minimum(one, other).sum(dim=-1)
    return shared / (one.sum(dim=-1) + other.sum(dim=-1) - shared).clamp(min=1e-8)


def diou(predicted: Tensor, wanted: Tensor) -> Tensor:
    """1 - IoU + (distance of the centres / length of the hull)², from offsets (…, 2) of the same point.

    DIoU loss (https://arxiv.org/abs/1911.08287, Eq. 7) in one dimension.
    """
    hull = torch.maximum(predicted, wanted).sum(dim=-1).clamp(min=1e-8)
    apart = ((predicted[..., 1] - predicted[..., 0]) - (wanted[..., 1] - wanted[..., 0])) / 2
    return 1 - overlap(predicted, wanted) + (apart / hull) ** 2


def tiou(segment: Tensor, others: Tensor) -> Tensor:
    """Temporal IoU (…, N) of segments (…, 2) with `others` (N, 2)."""
    start, end = segment[..., :1], segment[..., 1:]
    shared = (torch.minimum(end, others[:, 1]) - torch.maximum(start, others[:, 0])).clamp(min=0)
    union = (end - start) + (others[:, 1] - others[:, 0]) - shared
    return shared / union.clamp(min=1e-8)


def soft_nms(
    segments: Tensor, scores: Tensor, sigma: float, floor: float, most: int
) -> tuple[Tensor, Tensor]:
    """Gaussian soft-NMS (https://arxiv.org/abs/1704.04503, Eq. 3): segments (M, 2) and scores (M,), best first.

    Each pick multiplies the scores of the others by exp(-IoU² / σ); what falls below `floor` is out, and there are at
    most `most` picks.
    """
    left, rest = scores.clone(), scores >= floor
    picked: list[Tensor] = []
    values: list[Tensor] = []
    while len(picked) < most and bool(rest.any()):
        best = left.masked_fill(~rest, -1.0).argmax()
        picked.append(best)
        values.append(left[best].clone())
        rest[best] = False
        left = left * torch.exp(-(tiou(segments[best], segments) ** 2) / sigma)
        rest &= left >= floor
    if not picked:
        return segments[:0], scores[:0]
    return segments[torch.stack(picked)], torch.stack(values)


def vote(segments: Tensor, candidates: Tensor, scores: Tensor, least: float) -> Tensor:
    """Boundaries (M, 2) as means over all candidates (N, 2) with an IoU of `least` or more, by score times IoU.

    A segment that nothing votes on stays.
    """
    if not len(segments):
        return segments
    alike = tiou(segments, candidates)  # (M, N)
    weights = alike * scores * (alike >= least)
    total = weights.sum(dim=1, keepdim=True)
    return torch.where(total > 0, weights @ candidates / total.clamp(min=1e-12), segments)
