"""Convolutional embedding of one modality (paper 3.1: "independent convolutional embedding layers")."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def blank(x: Tensor, mask: Tensor) -> Tensor:
    """`x` (B, T, C) with zeros where `mask` (B, T) is False, whatever stood there: NaN included."""
    return x.masked_fill(~mask.unsqueeze(-1), 0.0)


class StepConv(nn.Conv1d):
    """1-D convolution over time on (B, T, C), same length; invalid steps count as zero padding."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 3) -> None:
        super().__init__(channels_in, channels_out, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """(B, T, C_in), (B, T) -> (B, T, C_out)."""
        return super().forward(blank(x, mask).transpose(1, 2)).transpose(1, 2)


class Embedding(nn.Module):
    """Maps the features of one modality to F_v or F_a: Conv1d k3 -> ReLU -> LayerNorm.

    The paper gives no more than "convolutional"; kernel and norm are those of its authors' earlier model
    (MDP).
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.conv = StepConv(channels, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C), (B, T) -> (B, T, dim); zero where invalid."""
        return blank(self.norm(F.relu(self.conv(x, mask))), mask)
