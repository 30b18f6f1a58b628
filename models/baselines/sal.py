"""SAL (Li et al., Neural Networks 2025): second-order semantics of a video, and actionness from two streams."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.schema import ModelConfig
from data.labels import REAL
from models import losses
from models.baselines import cas as family
from models.batch import Batch
from models.embedding import StepConv, blank
from models.method import FORGED, Scores, WeakMethod, evaluating

_SMALL = 1e-8  # under the root, whose gradient is infinite at 0


@dataclass(frozen=True)
class Outputs:
    """What a pass found.

    Shapes: `cas` (B, T, 2) logits, `visual` and `audio` (B, T) actionness, `step` (B, T) both weighed,
    `semantics` three of (B, 2) logits (joint, sound, picture), `video` (B, 2) logits.
    """

    cas: Tensor
    visual: Tensor
    audio: Tensor
    step: Tensor
    semantics: tuple[Tensor, Tensor, Tensor]
    video: Tensor
    mixed: tuple[Tensor, Tensor] | None = None


class Stream(nn.Module):
    """Conv1d k3 -> ReLU -> dropout; actionness by a convolution of width 1 and a sigmoid."""

    def __init__(self, channels: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.embed = StepConv(channels, dim)
        self.dropout = nn.Dropout(dropout)
        self.action = nn.Linear(dim, 1)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, C), (B, T) -> embedding (B, T, dim), actionness (B, T); zero where invalid."""
        embedding = blank(self.dropout(F.relu(self.embed(x, mask))), mask)
        return embedding, self.action(embedding).squeeze(-1).sigmoid() * mask


class SAL(WeakMethod[Outputs]):
    """A CAS on both tracks, and actionness of each; classes are authentic and forged.

    Nothing but the MIL loss ties actionness to forged steps, and the semantics of the whole video, which enhance the
    steps of high actionness, can satisfy it at any step: it may settle on the others (docs/decisions.md).
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        dim, dropout = config.fusion.dim, config.sal.dropout
        self.embed = StepConv(config.visual_dim + config.audio_dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.visual = Stream(config.visual_dim, dim, dropout)
        self.audio = Stream(config.audio_dim, dim, dropout)
        self.classify = nn.Linear(dim * dim, 2)
        self.describe = nn.Linear(dim * dim, dim)
        self.out = nn.Linear(dim, 2)
        # Of the confidence of a step; what two equally likely classes have, widely spread.
        self.register_buffer("centre", torch.tensor(0.5))
        self.register_buffer("spread", torch.tensor(1.0))

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Outputs:
        """Nothing but dropout is random, so `generator` does not matter. In training, mixtures of two clips too."""
        settings, mask = self.config.sal, family.either(batch)
        visual, audio = blank(batch.visual, batch.visual_mask), blank(batch.audio, batch.audio_mask)
        joint = blank(self.dropout(F.relu(self.embed(torch.cat([visual, audio], dim=-1), mask))), mask)
        seen, visual_action = self.visual(visual, batch.visual_mask)
        heard, audio_action = self.audio(audio, batch.audio_mask)
        step = weighed(visual_action, audio_action, batch, settings.audio_share)
        described = second_order(joint, mask)
        semantics = (
            self.classify(described),
            self.classify(second_order(heard, batch.audio_mask)),
            self.classify(second_order(seen, batch.visual_mask)),
        )
        enhanced = joint + self.describe(described).unsqueeze(1) * step.unsqueeze(-1)
        cas = blank(self.out(enhanced), mask)
        actions = fused(cas, visual_action, audio_action, batch)
        pooled = pooled_by(cas, actions, mask, settings.topk_divisor)
        video = settings.pooled_share * pooled + (1 - settings.pooled_share) * semantics[0]
        mixed = None
        if self.training:
            mixed = (
                self.visual(visual + visual.roll(1, 0), either_of(batch.visual_mask))[1],
                self.audio(audio + audio.roll(1, 0), either_of(batch.audio_mask))[1],
            )
        return Outputs(cas, visual_action, audio_action, step, semantics, video, mixed)

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The sum of `mil`, `agreement`, `background`, `semantics` (weighted), `action` and `mixed`."""
        settings, mask = self.config.sal, family.either(batch)
        forged, present = (batch.seen_label != REAL).long(), mask.any(dim=1)
        actions = fused(outputs.cas, outputs.visual, outputs.audio, batch)
        pooled = pooled_by(outputs.cas, actions, mask, settings.topk_divisor)
        mil = losses.classification(pooled, forged, present)
        both = batch.visual_mask & batch.audio_mask
        apart = (outputs.visual - outputs.audio).square().masked_fill(~both, 0.0)
        agreement = apart.sum() / both.sum().clamp(min=1)
        still = outputs.cas * (1 - outputs.step).unsqueeze(-1)
        background = losses.mean_over(
            from_uniform(pooled_by(still, still, mask, settings.topk_divisor)), present
        )
        tracks = (present, batch.audio_mask.any(dim=1), batch.visual_mask.any(dim=1))
        semantics = torch.stack(
            [
                losses.classification(logits, forged, track)
                for logits, track in zip(outputs.semantics, tracks, strict=True)
            ]
        ).sum()
        chosen, sure = self._pseudo_labels(outputs, mask)
        power = settings.power
        action = generalised(outputs.visual, chosen, sure, batch.visual_mask, power) + generalised(
            outputs.audio, chosen, sure, batch.audio_mask, power
        )
        mixed = outputs.video.new_zeros(())
        if outputs.mixed is not None:
            any_of, mean_sure = either_of(chosen), (sure + sure.roll(1, 0)) / 2
            for curve, track in zip(outputs.mixed, (batch.visual_mask, batch.audio_mask), strict=True):
                mixed = mixed + generalised(curve, any_of, mean_sure, either_of(track), power)
        terms = {
            "mil": mil,
            "agreement": settings.agreement * agreement,
            "background": settings.background * background,
            "semantics": settings.semantics * semantics,
            "action": action,
            "mixed": mixed,
        }
        return {**terms, "total": torch.stack(list(terms.values())).sum()}

    def score(self, batch: Batch, seed: int = 0) -> Scores:
        """A step is forged with its fused score; see `models.baselines.cas.scores` for the tracks."""
        with evaluating(self):
            outputs = self(batch)
            step = fused(outputs.cas, outputs.visual, outputs.audio, batch)[..., FORGED]
            forged = outputs.video.softmax(dim=-1)[:, FORGED:]
        return family.on_tracks(forged, step, batch)

    def _pseudo_labels(self, outputs: Outputs, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) bool: steps of an action; (B, T): how far each is trusted, by the running mean and variance."""
        settings = self.config.sal
        with torch.no_grad():
            count = mask.sum(dim=1)
            most = family.share(mask, settings.topk_divisor) + (count * settings.extra_share).long()
            likely = family.highest(outputs.step, mask, most)
            active = family.highest(F.relu(outputs.cas).sum(dim=-1), mask, family.share(mask, 2))
            sure = outputs.cas.float().softmax(dim=-1).amax(dim=-1)
            if self.training and mask.any():
                known, keep = sure[mask], settings.momentum
                self.centre.lerp_(known.mean(), 1 - keep)
                self.spread.lerp_(known.var(unbiased=False), 1 - keep)
            return likely & active, trust(sure, self.centre, self.spread)


def second_order(embedding: Tensor, mask: Tensor) -> Tensor:
    """(B, T, C), zero where invalid -> (B, C²): Σ e eᵀ / T², signed root, unit length; T counts valid steps."""
    count = mask.sum(dim=1).clamp(min=1).view(-1, 1, 1)
    product = embedding.transpose(1, 2) @ embedding / count.square()
    return F.normalize((product.sign() * (product.abs() + _SMALL).sqrt()).flatten(1), dim=-1)


def weighed(visual: Tensor, audio: Tensor, batch: Batch, audio_share: float) -> Tensor:
    """(B, T): weighted mean of the actionness of the tracks that a step has."""
    heavy, light = audio_share * batch.audio_mask, (1 - audio_share) * batch.visual_mask
    return (heavy * audio + light * visual) / (heavy + light).clamp(min=_SMALL)


def fused(cas: Tensor, visual: Tensor, audio: Tensor, batch: Batch) -> Tensor:
    """(B, T, 2): mean of the softmax and the actionness of both tracks; of what a step has."""
    parts = 1 + batch.visual_mask.long() + batch.audio_mask.long()
    total = cas.softmax(dim=-1) + (visual + audio).unsqueeze(-1)
    return blank(total / parts.unsqueeze(-1), family.either(batch))


def pooled_by(values: Tensor, ranks: Tensor, mask: Tensor, divisor: int) -> Tensor:
    """(B, 2): per class the mean of `values` (B, T, 2) at the k steps of the highest `ranks` (B, T, 2)."""
    k = family.share(mask, divisor)
    pooled = []
    for index in range(values.shape[-1]):
        chosen = family.highest(ranks[..., index], mask, k)
        total = values[..., index].masked_fill(~chosen, 0.0).sum(dim=1)
        pooled.append(total / chosen.sum(dim=1).clamp(min=1))
    return torch.stack(pooled, dim=-1)


def from_uniform(logits: Tensor) -> Tensor:
    """(B, N) -> (B,): KL(uniform ‖ softmax)."""
    log_q = logits.float().log_softmax(dim=-1)
    return -log_q.mean(dim=-1) - torch.tensor(float(logits.shape[-1])).log().to(log_q)


def trust(sure: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """exp(−min(p − μ, 0)² / (σ² / 2)): 1 from the mean on, less below it."""
    return torch.exp(-(sure - centre).clamp(max=0).square() / (spread / 2).clamp(min=_SMALL))


def generalised(curve: Tensor, chosen: Tensor, sure: Tensor, mask: Tensor, power: float) -> Tensor:
    """Generalised cross-entropy (1 − pᵠ) / q, weighed by `sure`; mean over chosen steps plus mean over the others."""
    total = curve.new_zeros(())
    for truth, probability in ((chosen, curve), (~chosen, 1 - curve)):
        which = truth & mask
        # Blanked first: the root's gradient is infinite at the 0 of an invalid step.
        safe = probability.float().masked_fill(~which, 1.0).clamp(min=_SMALL)
        each = sure * (1 - safe**power) / power
        total = total + each.masked_fill(~which, 0.0).sum() / which.sum().clamp(min=1)
    return total


def either_of(chosen: Tensor) -> Tensor:
    """(B, T) bool: of a clip or the one before it in the batch."""
    return chosen | chosen.roll(1, 0)
