"""ActionFormer (Zhang et al., ECCV 2022): a pyramid of local attention, on picture and sound side by side."""

from __future__ import annotations

import torch

from configs.schema import ModelConfig
from models.baselines.detector import Heads, Outputs, PointDetector, Sequences, best_logit
from models.baselines.pyramid import Embedding, Norms, transformers


class ActionFormer(PointDetector):
    """Embedding, transformer pyramid, a norm for each level, shared heads."""

    def __init__(self, config: ModelConfig) -> None:
        settings = config.detector
        super().__init__(config, settings)
        self.embed = Embedding(config.visual_dim + config.audio_dim, settings.dim)
        self.pyramid = transformers(settings)
        self.neck = Norms(settings.dim, settings.levels)
        self.heads = Heads(settings)

    def detect(self, grid: Sequences, generator: torch.Generator | None) -> Outputs:
        """See `Outputs`; nothing is drawn from `generator`."""
        levels = self.heads(self.neck(self.pyramid(self.embed(grid.x, grid.mask), grid.mask)))
        return Outputs(levels, best_logit(levels), grid)
