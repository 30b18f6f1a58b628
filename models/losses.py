"""The terms of Eq. 4 as plain functions of tensors; each is zero, graph intact, when it has no case."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models.embedding import blank


def mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of `values` (B,) where `chosen` (B,) is True; 0 where none is."""
    return values.masked_fill(~chosen, 0.0).sum() / chosen.sum().clamp(min=1)


def reconstruction(
    features: Tensor, rebuilt: Tensor, masked: Tensor, authentic: Tensor, stop_gradient: bool
) -> Tensor:
    """Eq. 2: squared L2 error of the masked steps, authentic videos only.

    Shapes: F and F̂ (B, T, dim), `masked` (B, T), `authentic` (B,). Mean over the masked steps of a video,
    then over the authentic videos, so that the share of forged ones in a batch does not scale it. The norm is
    the sum over channels, as printed. `stop_gradient` holds the target still: embeddings cannot shrink to
    please the loss.
    """
    target = features.detach() if stop_gradient else features
    squared = blank((target - rebuilt).float(), masked).square().sum(dim=(1, 2))  # (B,)
    count = masked.sum(dim=1)  # (B,): |M|
    return mean_over(squared / count.clamp(min=1), authentic & (count > 0))


def local_features(features: Tensor, error: Tensor, eligible: Tensor, k: int) -> Tensor:
    """f_local (B, dim): mean of the L2-normalised features of the K steps with the largest error (paper 3.3).

    Shapes: (B, T, dim), (B, T), `eligible` (B, T): the steps to choose from; K shrinks to their number. Steps
    are normalised, so that the margin means the same for every width; their mean, as in the paper, is not. No
    gradient flows through the choice.
    """
    ranked = error.masked_fill(~eligible, -torch.inf).topk(min(k, error.shape[1]), dim=1)
    chosen = torch.zeros_like(eligible).scatter(1, ranked.indices, True) & eligible  # (B, T)
    unit = blank(F.normalize(features.float(), dim=-1), chosen)  # (B, T, dim)
    return unit.sum(dim=1) / chosen.sum(dim=1, keepdim=True).clamp(min=1)


def aicl(local: Tensor, present: Tensor, forged: Tensor, margin: float) -> Tensor:
    """Eq. 3: asymmetric triplet loss with the hardest positive and negative of the batch.

    Shapes: `local` (B, dim), `present` and `forged` (B,). Anchors are authentic; the positive is the farthest
    other authentic video, the negative the closest forged one. Zero when the batch has no triplet.
    """
    real, fake = present & ~forged, present & forged
    squared = (local.unsqueeze(1) - local.unsqueeze(0)).square().sum(dim=-1)  # (B, B)
    other = ~torch.eye(len(local), dtype=torch.bool, device=local.device)
    positive = squared.masked_fill(~(real.unsqueeze(0) & other), -1.0).amax(dim=1)  # (B,)
    negative = squared.masked_fill(~fake.unsqueeze(0), torch.inf).amin(dim=1)  # (B,)
    anchor = real & (positive >= 0) & negative.isfinite()
    negative = negative.masked_fill(~anchor, 0.0)  # an infinity would turn the masked gradient into NaN
    return mean_over(F.relu(positive - negative + margin), anchor)


def consistency(original: Tensor, rebuilt: Tensor, present: Tensor, symmetric: bool) -> Tensor:
    """L_KL: KL(original ‖ reconstructed) of video-level class probabilities (paper 3.4).

    Shapes: pooled logits (B, N) twice, `present` (B,). `symmetric` averages both directions.
    """
    p, q = original.float().log_softmax(dim=-1), rebuilt.float().log_softmax(dim=-1)  # (B, N)
    divergence = (p.exp() * (p - q)).sum(dim=-1)  # (B,)
    if symmetric:
        divergence = (divergence + (q.exp() * (q - p)).sum(dim=-1)) / 2
    return mean_over(divergence, present)


def classification(pooled: Tensor, target: Tensor, present: Tensor) -> Tensor:
    """Cross-entropy of one head's pooled logits (B, N) against the video's class (B,), where `present` (B,).

    The paper does not name its loss. The authors' earlier model (MDP) takes the squared error of the softmax,
    whose gradient vanishes where the model is surely wrong; cross-entropy's does not.
    """
    return mean_over(F.cross_entropy(pooled.float(), target, reduction="none"), present)
