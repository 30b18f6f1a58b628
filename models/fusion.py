"""Bidirectional cross-modal attention (paper 3.1, Figure 2b "Multimodal Feature Encoding and Fusion")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from configs.schema import FusionConfig
from models.embedding import blank


def hidden_keys(mask: Tensor) -> Tensor:
    """What attention must not look at: (..., T) bool, the opposite of `mask`.

    A row without any valid key keeps its first one, because a softmax over nothing is NaN, in the backward pass
    too. Callers blank the outputs of such rows.
    """
    hidden = ~mask
    hidden[..., 0] &= mask.any(dim=-1)
    return hidden


class CrossAttention(nn.Module):
    """One direction: the steps of one modality ask the other one, then LayerNorm.

    No residual, since F_m keeps the original beside the enhanced stream. Unless ``config.reach`` bounds it, a step
    sees the whole other track, so evidence of a forged part reaches every step of the video.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.reach = config.reach
        self.attention = nn.MultiheadAttention(config.dim, config.heads, config.dropout, batch_first=True)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, query: Tensor, other: Tensor, query_mask: Tensor, other_mask: Tensor) -> Tensor:
        """(B, T, dim) and (B, T) twice -> (B, T, dim); zero where the query is invalid or sees no valid step."""
        if self.reach is None:
            heard = other_mask.any(dim=1, keepdim=True)  # (B, 1)
            hidden = {"key_padding_mask": hidden_keys(other_mask)}
        else:
            step = torch.arange(query.shape[1], device=query.device)
            near = (step.unsqueeze(1) - step).abs() <= self.reach  # (T, T)
            allowed = other_mask.unsqueeze(1) & near  # (B, T, T)
            heard = allowed.any(dim=-1)  # (B, T)
            hidden = {"attn_mask": hidden_keys(allowed).repeat_interleave(self.attention.num_heads, dim=0)}
        attended, _ = self.attention(query, other, other, need_weights=False, **hidden)  # (B, T, dim)
        return blank(self.norm(attended), query_mask & heard)


class Fusion(nn.Module):
    """F_m: both original streams beside both enhanced ones (paper 3.1)."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.visual_asks = CrossAttention(config)
        self.audio_asks = CrossAttention(config)

    def forward(self, f_v: Tensor, f_a: Tensor, visual_mask: Tensor, audio_mask: Tensor) -> Tensor:
        """F_v and F_a (B, T, dim), masks (B, T) -> F_m (B, T, 4 * dim)."""
        enhanced_v = self.visual_asks(f_v, f_a, visual_mask, audio_mask)  # (B, T, dim)
        enhanced_a = self.audio_asks(f_a, f_v, audio_mask, visual_mask)  # (B, T, dim)
        return torch.cat([f_v, f_a, enhanced_v, enhanced_a], dim=-1)  # (B, T, 4 * dim)
