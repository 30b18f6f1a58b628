"""Seven step-wise classifiers and top-k multiple instance learning (paper 3.4, Figure 2b)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.schema import HeadsConfig
from data.labels import CLASSES
from models.embedding import StepConv

HEADS = (
    "fused",
    "visual",
    "audio",
    "visual_original",
    "visual_rebuilt",
    "audio_original",
    "audio_rebuilt",
)
"""The fused main branch, the two modality branches, the four single streams (paper 3.4)."""

ORIGINAL_HEADS = ("fused", "visual_original", "audio_original")
"""Those that see no reconstructed stream: all that is left without MTLR."""


def topk_mean(scores: Tensor, mask: Tensor, divisor: int) -> Tensor:
    """Video-level score: per class the mean of the k highest step scores, k = max(1, T // divisor) (3.4).

    Shapes: (B, T, N), (B, T) -> (B, N). T counts the valid steps of each video; zero where there is none.
    """
    k = (mask.sum(dim=1) // divisor).clamp(min=1).view(-1, 1, 1)  # (B, 1, 1)
    ranked = scores.masked_fill(~mask.unsqueeze(-1), -torch.inf).sort(dim=1, descending=True).values
    chosen = torch.arange(scores.shape[1], device=scores.device).view(1, -1, 1) < k  # (B, T, 1)
    top = ranked.masked_fill(~chosen | ranked.isinf(), 0.0)  # (B, T, N)
    return top.sum(dim=1) / k.squeeze(1)


class Head(nn.Module):
    """Class activation sequence of one stream: Conv1d k3 -> ReLU -> dropout -> Conv1d k1, with biases.

    The authors' earlier model (MDP) ends in a ReLU and no bias, to fit its squared error; here the outputs
    are the logits of a softmax, where a ReLU would stop the gradient of every negative one.
    """

    def __init__(self, channels: int, classes: int, config: HeadsConfig) -> None:
        super().__init__()
        self.hidden = StepConv(channels, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(config.hidden, classes)  # a convolution of width 1

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C), (B, T) -> logits (B, T, classes)."""
        return self.out(self.dropout(F.relu(self.hidden(x, mask))))


class Heads(nn.Module):
    """The seven heads, or some: four classes on F_m, authentic or forged on every stream of one modality."""

    def __init__(self, dim: int, config: HeadsConfig, names: tuple[str, ...] = HEADS) -> None:
        super().__init__()
        widths = {"fused": 4 * dim, "visual": 2 * dim, "audio": 2 * dim}
        self.heads = nn.ModuleDict(
            {
                name: Head(widths.get(name, dim), len(CLASSES) if name == "fused" else 2, config)
                for name in names
            }
        )

    def forward(self, streams: dict[str, Tensor], masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """Streams (B, T, C) and masks (B, T) by head -> logits (B, T, classes) by head."""
        return {name: head(streams[name], masks[name]) for name, head in self.heads.items()}
