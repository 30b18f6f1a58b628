"""UMMAFormer (Zhang et al., ACM MM 2023): a reconstruction that forged clips fit badly, and a cross pyramid."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.detectors import DetectorConfig, UMMAFormerConfig
from configs.schema import ModelConfig
from models.baselines import points as rules
from models.baselines.detector import Heads, Outputs, PointDetector, Sequences
from models.baselines.pyramid import Block, Conv, Embedding, Levels, Linear, TopDown, transformers, widened
from models.batch import Batch
from models.embedding import blank
from models.losses import mean_over

_SLOPE = 0.2


def instance_norm(x: Tensor, mask: Tensor) -> Tensor:
    """(B, T, C), (B, T) -> (B, T, C): every channel with mean 0 and variance 1 over the valid steps of a clip."""
    count = mask.sum(dim=1).clamp(min=1).view(-1, 1, 1)
    mean = blank(x, mask).sum(dim=1, keepdim=True) / count
    centred = blank(x - mean, mask)
    return centred / (centred.square().sum(dim=1, keepdim=True) / count + 1e-5).sqrt()


class Doubling(nn.ConvTranspose1d):
    """Transposed convolution of three steps that doubles the rate."""

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__(inward, outward, 3, stride=2, padding=1, output_padding=1)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, mask: Tensor, fine: Tensor) -> Tensor:  # type: ignore[override]
        """(B, T, inward), (B, T), the finer mask (B, T') with T' <= 2 T -> (B, T', outward)."""
        y = super().forward(blank(x, mask).transpose(1, 2)).transpose(1, 2)
        return blank(y[:, : fine.shape[1]], fine)


class ClipClassifier(nn.Module):
    """Logit of a forged clip from the maxima and means of its steps."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.conv = Conv(dim, dim, 1)
        self.out = nn.Sequential(
            Linear(2 * dim, dim), nn.LayerNorm(dim), nn.ReLU(), nn.Dropout(dropout), Linear(dim, 1)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, dim), (B, T) -> (B,)."""
        x = F.leaky_relu(instance_norm(self.conv(x, mask), mask), _SLOPE)
        mean = x.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        highest = x.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(dim=1)
        return self.out(torch.cat([highest.masked_fill(highest.isinf(), 0.0), mean], dim=-1)).squeeze(-1)


class Reconstructor(nn.Module):
    """Autoencoder of the features through a bottleneck in time (section 3.2), and the clip's class from there."""

    def __init__(self, channels: int, config: UMMAFormerConfig) -> None:
        super().__init__()
        widths = (channels, *config.bottleneck)
        self.down = nn.ModuleList(
            Conv(inward, outward, 3, 2) for inward, outward in itertools.pairwise(widths)
        )
        self.up = nn.ModuleList(
            Doubling(inward, outward) for inward, outward in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.classifier = ClipClassifier(widths[-1], config.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, channels), (B, T) -> reconstruction (B, T, channels), logits (B,) of forged clips."""
        masks = [mask]
        for conv in self.down:
            x = conv(x, masks[-1])
            masks.append(masks[-1][:, ::2])
            x = F.leaky_relu(instance_norm(x, masks[-1]), _SLOPE)
        logit = self.classifier(x, masks[-1])
        for conv in self.up:
            coarse = masks.pop()
            x = F.leaky_relu(instance_norm(conv(x, coarse, masks[-1]), masks[-1]), _SLOPE)
        return blank(x, mask), logit


class CrossPyramid(nn.Module):
    """Parallel cross-attention pyramid (PCA-FPN, section 3.3).

    A stream at the full rate asks every coarser level, and answers it before the next one is made.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.pyramid = transformers(config)

        def crosses() -> nn.ModuleList:
            return nn.ModuleList(
                Block(config.dim, config.heads, config.window, drop=config.drop_path, cross=True)
                for _ in range(config.levels - 1)
            )

        self.asks, self.answers = crosses(), crosses()
        self.neck = TopDown(config.dim, config.levels)

    def forward(self, x: Tensor, mask: Tensor) -> Levels:
        """(B, T, dim), (B, T) -> levels."""
        for block in self.pyramid.stem:
            x, mask = block(x, mask)
        full, whole = x, mask
        levels = []
        for number, branch in enumerate(self.pyramid.branches):
            factor = 2 ** (number + 1)
            x, mask = branch(x, mask)
            wide = widened(x, factor, full.shape[1])
            full, _ = self.asks[number](full, whole, wide, wide)
            levels.append((x, mask))
            narrow = full[:, ::factor]
            x, _ = self.answers[number](x, mask, narrow, narrow)
        return self.neck([(full, whole), *levels])


class UMMAFormer(PointDetector):
    """Temporal feature abnormal attention (TFAA), PCA-FPN and shared heads.

    Attention from the features to their reconstruction, in the same embedding, weighs the features.
    """

    def __init__(self, config: ModelConfig) -> None:
        settings = config.detector
        super().__init__(config, settings)
        channels = config.visual_dim + config.audio_dim
        self.reconstructor = Reconstructor(channels, config.ummaformer)
        self.embed = Embedding(channels, settings.dim)
        self.abnormal = Block(
            settings.dim, settings.heads, settings.window, drop=settings.drop_path, cross=True
        )
        self.pyramid = CrossPyramid(settings)
        self.heads = Heads(settings)

    def detect(self, grid: Sequences, generator: torch.Generator | None) -> Outputs:
        """`terms` of the outputs are the reconstruction (B, T, C); nothing is drawn from `generator`."""
        rebuilt, logit = self.reconstructor(grid.x, grid.mask)
        x = self.embed(grid.x, grid.mask)
        x, _ = self.abnormal(x, grid.mask, self.embed(rebuilt, grid.mask), x)
        video = torch.stack([torch.zeros_like(logit), logit], dim=-1)
        return Outputs(self.heads(self.pyramid(x, grid.mask)), video, grid, (rebuilt,))

    def extra(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`recon`, of authentic clips, and `video`, the clips' class.

        Without an authentic clip in a batch the first is zero; in the original it is no number.
        """
        settings, grid, (rebuilt,) = self.config.ummaformer, outputs.grid, outputs.terms
        present = grid.mask.any(dim=1)
        error = blank((rebuilt - grid.x).abs().float(), grid.mask).mean(dim=-1).sum(dim=1)
        mean = error / grid.mask.sum(dim=1).clamp(min=1)  # (B,)
        return {
            "recon": settings.reconstruction * mean_over(mean, batch.authentic & present),
            "video": settings.video * clip_loss(outputs.video, batch),
        }

    def probability(self, outputs: Outputs, spans: object) -> Tensor:
        """That of the clip's classifier."""
        return outputs.video[:, 1].sigmoid()


def clip_loss(video: Tensor, batch: Batch) -> Tensor:
    """Sum of the focal losses of the clips' classes, from logits (B, 2)."""
    return rules.focal(video[:, 1].float(), (~batch.authentic).float()).sum()
