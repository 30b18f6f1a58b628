"""Forgery Discovery Network: a masked autoencoder over time, one per modality (paper 3.2, Eq. 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from configs.schema import FDNConfig
from models.embedding import blank
from models.fusion import hidden_keys


@dataclass(frozen=True)
class Reconstruction:
    """What the network made of one modality.

    Shapes: `features` F̂ (B, T, dim), `error` ‖F − F̂‖₂ (B, T) without gradient, `masked` (B, T) bool: the
    steps that the encoder did not see. All are zero or False where the modality is invalid.
    """

    features: Tensor
    error: Tensor
    masked: Tensor


def masked_count(steps: Tensor, ratio: float) -> Tensor:
    """|M| = ⌊ρT⌋ of the valid steps, (B,) long -> (B,) long (paper 3.2).

    Exact integer arithmetic on the decimal that the user wrote: in floats ``int(10 * (1 - 0.8))`` is 1.
    """
    rho = Fraction(str(ratio))
    return steps * rho.numerator // rho.denominator


def random_mask(valid: Tensor, ratio: float, generator: torch.Generator | None = None) -> Tensor:
    """Draws M anew for every video: (B, T) bool with exactly ⌊ρT⌋ of its valid steps."""
    device = generator.device if generator is not None else valid.device
    noise = torch.rand(valid.shape, generator=generator, device=device).to(valid.device)
    order = noise.masked_fill(~valid, 2.0).argsort(dim=1)  # the valid steps first, in random order
    rank = order.argsort(dim=1)  # (B, T): place of each step in that order
    return rank < masked_count(valid.sum(dim=1), ratio).unsqueeze(1)


def complementary_masks(valid: Tensor, ratio: float, passes: int, seed: int) -> Tensor:
    """Masks for inference: (P, B, T) bool, every valid step masked in at least one pass.

    Each video's steps are shuffled once; pass p masks ⌊ρT⌋ of them (one at least), starting p/passes of the
    way round the shuffled ring. The shuffle depends on the seed and the number of valid steps alone, never on
    the batch. A video gets more passes than asked for when ⌊ρT⌋ is too small to cover it; its neighbours then
    get passes without masked steps, which count for nothing.
    """
    rows: list[list[Tensor]] = []
    for row in valid.cpu():
        places = row.nonzero().squeeze(1)  # (n,)
        n = len(places)
        count = max(1, int(masked_count(torch.tensor(n), ratio)))
        ring = places[torch.randperm(n, generator=torch.Generator().manual_seed(seed))].repeat(2)
        needed = max(passes, math.ceil(n / count)) if n else 0
        starts = [p * n // needed for p in range(needed)]
        rows.append([torch.zeros_like(row).index_fill(0, ring[s : s + count], True) for s in starts])
    total = max(passes, *map(len, rows))
    blank_row = torch.zeros_like(valid[0]).cpu()
    padded = [masks + [blank_row] * (total - len(masks)) for masks in rows]
    return torch.stack([torch.stack(masks) for masks in padded], dim=1).to(valid.device)


def sinusoidal(length: int, dim: int, device: torch.device) -> Tensor:
    """Position embedding p_i, (length, dim): sines, then cosines, of wavelengths from 2π to 10000 · 2π."""
    half = (dim + 1) // 2
    rate = torch.exp(torch.arange(half, device=device) * (-math.log(10_000.0) / max(half - 1, 1)))
    angle = torch.arange(length, device=device).unsqueeze(1) * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)[:, :dim]


def transformer(dim: int, heads: int, layers: int, dropout: float) -> nn.TransformerEncoder:
    """Pre-LN stack on (B, T, dim) with a final LayerNorm and an MLP of four times the width."""
    layer = nn.TransformerEncoderLayer(
        dim, heads, 4 * dim, dropout, activation="gelu", batch_first=True, norm_first=True
    )
    stack = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
    for weight in stack.parameters():  # the stack copies one layer: without this all layers start out equal
        if weight.dim() > 1:
            nn.init.xavier_uniform_(weight)
    return stack


class FDN(nn.Module):
    """Masked autoencoder of one modality: deep encoder of visible steps, light decoder of all (paper 3.2)."""

    def __init__(self, dim: int, config: FDNConfig) -> None:
        super().__init__()
        self.config = config
        self.to_encoder = nn.Linear(dim, config.encoder_dim)
        self.encoder = transformer(config.encoder_dim, config.heads, config.encoder_layers, config.dropout)
        self.to_decoder = nn.Linear(config.encoder_dim, config.decoder_dim)
        self.mask_token = nn.Parameter(torch.empty(config.decoder_dim).normal_(std=0.02))
        self.decoder = transformer(config.decoder_dim, config.heads, config.decoder_layers, config.dropout)
        self.to_features = nn.Linear(config.decoder_dim, dim)

    def encode(self, features: Tensor, visible: Tensor) -> Tensor:
        """Z_V = E_enc(F_V): (B, T, dim), (B, T) -> (B, T, encoder_dim), zero but at the visible steps.

        The visible steps are gathered, so the encoder's cost is that of the short sequence.
        """
        count = visible.sum(dim=1)  # (B,)
        length = max(1, int(count.max()))  # V
        index = (
            (~visible).long().argsort(dim=1, stable=True)[:, :length]
        )  # (B, V): visible first, in time's order
        slot = torch.arange(length, device=index.device) < count.unsqueeze(1)  # (B, V): holds a visible step

        x = self.to_encoder(features) + sinusoidal(
            features.shape[1], self.config.encoder_dim, features.device
        )
        wide = index.unsqueeze(-1).expand(-1, -1, x.shape[-1])  # (B, V, encoder_dim)
        z = self.encoder(blank(x.gather(1, wide), slot), src_key_padding_mask=hidden_keys(slot))
        return z.new_zeros(*features.shape[:2], z.shape[-1]).scatter(1, wide, blank(z, slot))

    def query(self, z: Tensor, visible: Tensor) -> Tensor:
        """Eq. 1, (B, T, decoder_dim): encoder output where visible, mask token elsewhere, plus p_i."""
        position = sinusoidal(z.shape[1], self.config.decoder_dim, z.device)
        return torch.where(visible.unsqueeze(-1), self.to_decoder(z), self.mask_token) + position

    def forward(self, features: Tensor, valid: Tensor, masked: Tensor) -> Reconstruction:
        """Reconstructs F (B, T, dim) from its valid steps that are not in `masked` (B, T)."""
        visible = valid & ~masked
        z_full = self.query(self.encode(features, visible), visible)  # (B, T, decoder_dim)
        decoded = self.decoder(z_full, src_key_padding_mask=hidden_keys(valid))
        rebuilt = blank(self.to_features(decoded), valid)  # (B, T, dim)
        error = torch.linalg.vector_norm((features - rebuilt).detach().float(), dim=-1)  # (B, T)
        return Reconstruction(rebuilt, error, masked)

    def average(self, features: Tensor, valid: Tensor, seed: int) -> Reconstruction:
        """Deterministic reconstruction for inference, from several complementary masks.

        F̂ and the error of a step are averages over the passes in which it was masked: a step that the
        encoder saw says nothing about how predictable it is.
        """
        masks = complementary_masks(valid, self.config.mask_ratio, self.config.test_passes, seed)
        total, error = torch.zeros_like(features), features.new_zeros(valid.shape)
        for masked in masks:
            one = self(features, valid, masked)
            total += blank(one.features, masked)
            error += one.error * masked
        times = masks.sum(dim=0).clamp(min=1)  # (B, T)
        return Reconstruction(total / times.unsqueeze(-1), error / times, valid)
