"""Blocks of a pre-trained transformer encoder, in plain PyTorch: those of Whisper and of CLIP are the same but for one
activation. `transformers` has both, and takes two seconds to import."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


class Block(nn.Module):
    """Pre-norm self-attention and a perceptron of four times the width: (B, N, C) to (B, N, C).

    Vaswani et al. (2017) with the norms in front. Keys have a bias here; where the original has none it is zero.
    """

    def __init__(self, width: int, heads: int, activation: Activation = F.gelu) -> None:
        super().__init__()
        self.heads, self.activation = heads, activation
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, state: Tensor) -> Tensor:
        """The state after this block."""
        batch, tokens, width = state.shape
        parts = self.qkv(self.norm1(state)).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, tokens, width)
        state = state + self.out(seen)
        changed: Tensor = state + self.down(self.activation(self.up(self.norm2(state))))
        return changed


def quick_gelu(x: Tensor) -> Tensor:
    """x sigmoid(1.702 x), CLIP's activation. Source: https://github.com/openai/CLIP."""
    return x * torch.sigmoid(1.702 * x)
