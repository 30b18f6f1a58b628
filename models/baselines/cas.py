"""What the family of CoLA shares: a two-class activation sequence (CAS), choosing steps, and scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.labels import CLASSES, REAL
from models.batch import Batch
from models.embedding import StepConv
from models.heads import topk_mean
from models.method import FORGED, Scores


class Activations(nn.Module):
    """Conv1d k3 -> ReLU is the embedding; dropout -> Conv1d k1 without bias -> ReLU is the CAS.

    The last weights start out positive. Drawn with signs, as in the originals, a class may be zero at every step of
    every video from the start, and then no gradient ever reaches it.
    """

    def __init__(self, channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embed = StepConv(channels, width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, 2, bias=False)  # a convolution of width 1
        with torch.no_grad():
            self.out.weight.abs_()

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, channels), (B, T) -> embedding (B, T, width), CAS (B, T, 2): authentic, forged."""
        embedding = F.relu(self.embed(x, mask))
        return embedding, F.relu(self.out(self.dropout(embedding)))


def either(batch: Batch) -> Tensor:
    """(B, T) bool: steps with a valid picture or valid sound."""
    return batch.visual_mask | batch.audio_mask


def share(mask: Tensor, divisor: int) -> Tensor:
    """(B, T) -> (B,): k = max(1, T // divisor) of the valid steps."""
    return (mask.sum(dim=1) // divisor).clamp(min=1)


def highest(values: Tensor, eligible: Tensor, k: Tensor) -> Tensor:
    """(B, T), (B, T), (B,) -> (B, T) bool: the k eligible steps of the largest values, all where there are fewer.

    Of equal values the earlier one counts as larger.
    """
    order = values.detach().masked_fill(~eligible, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return (order.argsort(dim=1) < k.unsqueeze(1)) & eligible


def scores(cas: Tensor, batch: Batch, divisor: int) -> Scores:
    """Scores of a model that knows authentic and forged only, from its CAS (B, T, 2).

    The model has one step score, so every branch of a present track gets it. Nor can it say which track is forged:
    the probability of forged goes whole to the widest class that the tracks allow ("both", or the only track),
    whose branch is judged by all evidence. A step is forged with the softmax of its activations, but a step whose
    forged activation is zero with 0: the ReLU leaves 0/0, which a softmax would call a half.
    """
    mask = either(batch)
    step = cas.softmax(dim=-1)[..., FORGED] * (cas[..., FORGED] > 0)  # (B, T)
    forged = topk_mean(cas, mask, divisor).softmax(dim=-1)[:, FORGED:]  # (B, 1)
    return on_tracks(forged, step, batch)


def on_tracks(forged: Tensor, step: Tensor, batch: Batch, spans: tuple[Tensor, ...] | None = None) -> Scores:
    """Scores of a model that says how likely a video is forged (B, 1), and each step (B, T), but not which track is.

    See `scores`; `spans` are segments that it has found itself.
    """
    both, real = widest(batch)
    return Scores(
        video_probabilities=forged * both + (1 - forged) * real,
        visual=step * batch.visual_mask,
        audio=step * batch.audio_mask,
        joint=step * either(batch),
        visual_error=None,
        audio_error=None,
        spans=spans,
    )


def widest(batch: Batch) -> tuple[Tensor, Tensor]:
    """(B, 4) twice, one-hot: the widest class that the tracks allow, REAL where there is none; and REAL."""
    sees, hears = batch.visual_mask.any(dim=1).long(), batch.audio_mask.any(dim=1).long()
    real = F.one_hot(torch.full_like(sees, REAL), len(CLASSES))
    return F.one_hot(sees + 2 * hears, len(CLASSES)), real
