"""MFMS-style: features of the modalities fused, and of each by itself, in one detector.

Of MFMS (Zhang et al., ACM MM 2024) neither code nor text is public. This is its title built of UMMAFormer's parts, not
a reproduction, and the tables call it so.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from configs.schema import ModelConfig
from models.baselines.detector import Heads, Outputs, PointDetector, Sequences
from models.baselines.pyramid import Block, Embedding, Levels, Linear, TopDown, transformers
from models.baselines.ummaformer import ClipClassifier, clip_loss
from models.batch import Batch
from models.embedding import blank


class MFMSStyle(PointDetector):
    """A pyramid over cross attention of picture and sound, and one over each track; their levels are added."""

    def __init__(self, config: ModelConfig) -> None:
        settings = config.detector
        super().__init__(config, settings)
        dim = settings.dim
        self.embeds = nn.ModuleList(Embedding(n, dim) for n in (config.visual_dim, config.audio_dim))
        self.crosses = nn.ModuleList(
            Block(dim, settings.heads, settings.window, drop=settings.drop_path, cross=True) for _ in range(2)
        )
        self.fuse = Linear(2 * dim, dim)
        self.pyramids = nn.ModuleList(transformers(settings) for _ in range(3))
        self.neck = TopDown(dim, settings.levels)
        self.heads = Heads(settings)
        self.classifier = ClipClassifier(dim, config.ummaformer.dropout)

    def detect(self, grid: Sequences, generator: torch.Generator | None) -> Outputs:
        """See `Outputs`; nothing is drawn from `generator`."""
        tracks = grid.x.split([self.config.visual_dim, self.config.audio_dim], dim=-1)
        picture, sound = (embed(x, grid.mask) for embed, x in zip(self.embeds, tracks, strict=True))
        seen, _ = self.crosses[0](picture, grid.mask, sound, sound)
        heard, _ = self.crosses[1](sound, grid.mask, picture, picture)
        fused = blank(self.fuse(torch.cat([seen, heard], dim=-1)), grid.mask)
        streams: list[Levels] = [
            pyramid(x, grid.mask) for pyramid, x in zip(self.pyramids, (fused, picture, sound), strict=True)
        ]
        levels = [
            (torch.stack([x for x, _ in same]).sum(dim=0), same[0][1]) for same in zip(*streams, strict=True)
        ]
        logit = self.classifier(levels[0][0], grid.mask)
        video = torch.stack([torch.zeros_like(logit), logit], dim=-1)
        return Outputs(self.heads(self.neck(levels)), video, grid)

    def extra(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`video`, the clips' class, weighted as in UMMAFormer."""
        return {"video": self.config.ummaformer.video * clip_loss(outputs.video, batch)}

    def probability(self, outputs: Outputs, spans: object) -> Tensor:
        """That of the clip's classifier."""
        return outputs.video[:, 1].sigmoid()
