"""MDP, the parent of RT-DeepLoc (same laboratory, ACM MM 2025): no reconstruction, attention without softmax."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.schema import ModelConfig
from data.labels import REAL
from models import losses
from models.baselines import cas as family
from models.batch import Batch
from models.embedding import Embedding, blank
from models.heads import topk_mean
from models.method import FORGED, Scores, WeakMethod, evaluating


@dataclass(frozen=True)
class Outputs:
    """`embedding` (B, T, C), `cas` (B, T, 2), `video` (B, 2) logits."""

    embedding: Tensor
    cas: Tensor
    video: Tensor


class TemporalAttention(nn.Module):
    """Cross attention that keeps the order of time: one weight for every step of the other track.

    S = Q Kᵀ / √dim is summed over the queries instead of a softmax, and scales the values of its step.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(dim, 2 * dim)
        self.key = nn.Linear(dim, 2 * dim)
        self.value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(2 * dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.scale = 1 / math.sqrt(dim)

    def weights(self, asking: Tensor, other: Tensor, asking_mask: Tensor) -> Tensor:
        """(B, T, 1): Σ_i q_i · k_t / √dim, over the valid i; the sum is taken first, so the cost is linear in T."""
        query = blank(self.query(asking), asking_mask).sum(dim=1, keepdim=True)  # (B, 1, 2 dim)
        return self.key(other) @ query.transpose(1, 2) * self.scale

    def forward(self, asking: Tensor, other: Tensor, asking_mask: Tensor, other_mask: Tensor) -> Tensor:
        """(B, T, dim) and (B, T) twice -> (B, T, dim): steps of `other`; zero where it is invalid or nobody asks."""
        answer = self.out(self.weights(asking, other, asking_mask) * self.value(other))
        return blank(self.norm(answer), other_mask & asking_mask.any(dim=1, keepdim=True))


class MDP(WeakMethod[Outputs]):
    """Embeddings, attention in both directions, the four streams concatenated, one CAS of authentic and forged."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.fusion.dim
        # 2048 channels of the picture to the sound's 1024, by the mean of neighbours
        self.pooled_dim = min(config.visual_dim, config.audio_dim)
        self.embed_visual = Embedding(self.pooled_dim, dim)
        self.embed_audio = Embedding(config.audio_dim, dim)
        self.visual_asks = TemporalAttention(dim)
        self.audio_asks = TemporalAttention(dim)
        self.activations = family.Activations(4 * dim, config.heads.hidden, config.heads.dropout)

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Outputs:
        """Nothing but dropout is random, so `generator` does not matter."""
        f_v = self.embed_visual(F.adaptive_avg_pool1d(batch.visual, self.pooled_dim), batch.visual_mask)
        f_a = self.embed_audio(batch.audio, batch.audio_mask)
        heard = self.visual_asks(f_v, f_a, batch.visual_mask, batch.audio_mask)
        seen = self.audio_asks(f_a, f_v, batch.audio_mask, batch.visual_mask)
        mask = family.either(batch)
        embedding, cas = self.activations(torch.cat([f_a, f_v, heard, seen], dim=-1), mask)
        return Outputs(embedding, cas, topk_mean(cas, mask, self.config.mdp.topk_divisor))

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`total` = `cls`, the squared error of the softmax (called P2SGrad), + 0.2 `difference`."""
        mask, settings = family.either(batch), self.config.mdp
        forged = (batch.seen_label != REAL).long()
        wrong = outputs.video.float().softmax(dim=-1) - F.one_hot(forged, 2)  # (B, 2)
        cls = losses.mean_over(wrong.square().mean(dim=-1), mask.any(dim=1))
        jump, present = largest_jumps(outputs.embedding, mask, settings.topk_divisor)
        each = F.binary_cross_entropy_with_logits(jump, (forged == FORGED).float(), reduction="none")
        difference = losses.mean_over(each, present)
        return {"cls": cls, "difference": difference, "total": cls + settings.difference * difference}

    def score(self, batch: Batch, seed: int = 0) -> Scores:
        """See `models.baselines.cas.scores`; nothing is drawn, so `seed` does not matter."""
        with evaluating(self):
            return family.scores(self(batch).cas, batch, self.config.mdp.topk_divisor)


def largest_jumps(embedding: Tensor, mask: Tensor, divisor: int) -> tuple[Tensor, Tensor]:
    """Mean of the k largest changes from a valid step to the next one, k = max(1, T // divisor), and if there is any.

    Shapes: (B, T, C), (B, T) -> (B,), (B,). A change is the mean over channels of the squared difference.
    """
    change = (embedding[:, 1:] - embedding[:, :-1]).float().square().mean(dim=-1)  # (B, T - 1)
    pairs = mask[:, 1:] & mask[:, :-1]
    chosen = family.highest(change, pairs, family.share(mask, divisor))
    total = change.masked_fill(~chosen, 0.0).sum(dim=1)
    return total / chosen.sum(dim=1).clamp(min=1), pairs.any(dim=1)
