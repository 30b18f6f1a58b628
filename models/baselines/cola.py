"""CoLA: snippet contrastive learning (Zhang et al., CVPR 2021), on picture and sound side by side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from configs.schema import ColaConfig, ModelConfig
from data.labels import REAL
from models import losses
from models.baselines import cas as family
from models.batch import Batch
from models.embedding import blank
from models.heads import topk_mean
from models.method import Scores, WeakMethod, evaluating


@dataclass(frozen=True)
class Outputs:
    """`embedding` (B, T, C), `cas` (B, T, 2), `video` (B, 2) logits, `eligible` (B, T): steps for easy snippets."""

    embedding: Tensor
    cas: Tensor
    video: Tensor
    eligible: Tensor


class CoLA(WeakMethod[Outputs]):
    """One convolution on the concatenated features; its embedding is as wide as RT-DeepLoc's fused features.

    At the paper's size that is 2048, as in CoLA. Its classes were actions; here they are authentic and forged,
    since a softmax over one class is constant.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.visual_dim + config.audio_dim
        self.activations = family.Activations(channels, 4 * config.fusion.dim, config.heads.dropout)

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Outputs:
        """In training, easy snippets are looked for among a random part of the steps, one draw for both kinds."""
        mask, settings = family.either(batch), self.config.cola
        embedding, cas = self._activate(batch)
        eligible = torch.ones_like(mask)
        if self.training:
            device = generator.device if generator is not None else mask.device
            noise = torch.rand(mask.shape, generator=generator, device=device).to(mask.device)
            eligible = noise >= settings.easy_dropout
        return Outputs(embedding, cas, topk_mean(cas, mask, settings.topk_divisor), eligible)

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`total` = `cls` + 0.01 `snico`.

        `cls` is binary cross-entropy of the softmax against the one-hot label; with two classes that is the
        cross-entropy of the logits.
        """
        mask = family.either(batch)
        cls = losses.classification(outputs.video, (batch.seen_label != REAL).long(), mask.any(dim=1))
        action = outputs.cas.sum(dim=-1)  # (B, T): actionness
        snico = snippet_contrast(outputs.embedding, action, mask, outputs.eligible, self.config.cola)
        return {"cls": cls, "snico": snico, "total": cls + self.config.cola.snico * snico}

    def score(self, batch: Batch, seed: int = 0) -> Scores:
        """See `models.baselines.cas.scores`; nothing is drawn, so `seed` does not matter."""
        with evaluating(self):
            return family.scores(self._activate(batch)[1], batch, self.config.cola.topk_divisor)

    def _activate(self, batch: Batch) -> tuple[Tensor, Tensor]:
        both = torch.cat(
            [blank(batch.visual, batch.visual_mask), blank(batch.audio, batch.audio_mask)], dim=-1
        )
        return self.activations(both, family.either(batch))


def dilate(inside: Tensor, width: int) -> Tensor:
    """Binary dilation of (B, T) bool by `width` steps, from (width - 1) // 2 before to width // 2 after.

    SciPy's convention, which is lopsided for an even width; so is that of `erode`.
    """
    before = (width - 1) // 2
    grown = F.pad(inside.float(), (before, width - 1 - before), value=0.0)
    return F.max_pool1d(grown.unsqueeze(1), width, stride=1).squeeze(1) > 0


def erode(inside: Tensor, width: int) -> Tensor:
    """Binary erosion of (B, T) bool by `width` steps, from width // 2 before to (width - 1) // 2 after.

    Nothing is inside beyond either end.
    """
    before = width // 2
    outside = F.pad(1 - inside.float(), (before, width - 1 - before), value=1.0)
    return F.max_pool1d(outside.unsqueeze(1), width, stride=1).squeeze(1) == 0


def snippets(
    action: Tensor, mask: Tensor, eligible: Tensor, config: ColaConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hard action, hard background, easy action, easy background: (B, T) bool each, from actionness (B, T).

    Hard ones lie just inside and just outside the regions above the median. CoLA fills a ring of too few steps
    with arbitrary ones of the video; here it stays small.
    """
    action = action.detach().float()
    easy = family.share(mask, config.topk_divisor)
    hard = family.share(mask, config.hard_divisor)
    median = action.masked_fill(~mask, torch.nan).nanquantile(0.5, dim=1, keepdim=True)
    above = (action > median) & mask
    inner = erode(above, config.inner) & ~erode(above, config.outer)
    outer = dilate(above, config.outer) & ~dilate(above, config.inner) & mask
    return (
        family.highest(action, inner, hard),
        family.highest(action, outer, hard),
        family.highest(action, mask & eligible, easy),
        family.highest(-action, mask & eligible, easy),
    )


def info_nce(embedding: Tensor, query: Tensor, key: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """InfoNCE by cosine of the mean query to the mean key, against every negative of the same video.

    Shapes: (B, T, C), three sets of steps (B, T) bool. Mean over the videos in which no set is empty.
    """

    def centre(chosen: Tensor) -> Tensor:
        return F.normalize(blank(embedding, chosen).sum(dim=1), dim=-1)  # (B, C): the mean's direction

    asked = centre(query)
    like = (asked * centre(key)).sum(dim=-1, keepdim=True)  # (B, 1)
    unlike = (F.normalize(embedding, dim=-1) @ asked.unsqueeze(-1)).squeeze(-1)  # (B, T)
    every = torch.cat([like, unlike.masked_fill(~negative, -torch.inf)], dim=1) / temperature
    complete = query.any(dim=1) & key.any(dim=1) & negative.any(dim=1)
    return losses.mean_over(every.logsumexp(dim=1) - every[:, 0], complete)


def snippet_contrast(
    embedding: Tensor, action: Tensor, mask: Tensor, eligible: Tensor, config: ColaConfig
) -> Tensor:
    """SniCo: hard action like easy action, hard background like easy background, and neither like the other."""
    hard_action, hard_background, easy_action, easy_background = snippets(action, mask, eligible, config)
    steps = embedding.float()
    return info_nce(steps, hard_action, easy_action, easy_background, config.temperature) + info_nce(
        steps, hard_background, easy_background, easy_action, config.temperature
    )
