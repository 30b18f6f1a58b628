"""LOCO (Wu et al., IJCAI 2025), after its description, since its code was never released; it hears, and does not see.

Known: the adapter, the two branches with pooling and squared error, their consistency, the fused activations, and
contrastive losses on pseudo-labels. Two learned vectors stand for what the unknown text encoder says of the learnt
prompts; how vectors meet steps, which steps are contrasted, and all weights are this project's reading.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.schema import ModelConfig
from data.labels import CLASSES, REAL
from models import losses
from models.baselines import cas as family
from models.batch import Batch
from models.embedding import blank
from models.heads import topk_mean
from models.method import FORGED, Scores, WeakMethod, evaluating

_AUDIO = 2  # class of forged sound under an authentic picture


@dataclass(frozen=True)
class Outputs:
    """`steps` and `prompted` (B, T, C) features of the branches, `cas` of each (B, T, 2), `video` (B, 2) logits."""

    steps: Tensor
    prompted: Tensor
    cas: tuple[Tensor, Tensor]
    video: Tensor


class StepNorm(nn.BatchNorm1d):
    """Batch normalisation by channel over the valid steps (B, T, ..., C) only, so that padding has no part in it.

    Two values a channel are needed; with fewer, the running statistics serve.
    """

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """(B, T, ..., C), (B, T) -> the same shape; zero where invalid."""
        rows = x[mask].flatten(0, -2)  # (N, C)
        if self.training and len(rows) > 1:
            done = super().forward(rows)
        else:
            done = F.batch_norm(
                rows, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        out = torch.zeros_like(x)
        out[mask] = done.view(-1, *x.shape[2:]).to(out.dtype)
        return out


class Residual(nn.Module):
    """Two convolutions of 2 steps by 3 channels over the map of steps and channels, and the input again."""

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inward, outward, (2, 3), padding=(1, 1))
        self.norm = StepNorm(outward)
        self.second = nn.Conv2d(outward, outward, (2, 3), padding=(0, 1))
        self.skip = nn.Conv2d(inward, outward, (1, 3), padding=(0, 1)) if inward != outward else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, maps, T, C), (B, T) -> (B, maps', T, C); zero where invalid."""
        between = F.pad(mask, (0, 1)) | F.pad(mask, (1, 0))  # (B, T + 1): a row lies between two steps
        rows = self.norm(self.first(x).permute(0, 2, 3, 1), between)
        y = self.second(F.selu(rows).permute(0, 3, 1, 2)) + self.skip(x)
        return y * mask[:, None, :, None]


class Adapter(nn.Module):
    """Temporal forgery attention (CFPRF's network, MIT): residual blocks, and a weighted sum over the channels."""

    def __init__(self, channels: int, width: int, maps: tuple[int, ...], hidden: int) -> None:
        super().__init__()
        self.narrow = nn.Linear(channels, width)
        self.norm = StepNorm(width)
        self.blocks = nn.ModuleList(
            Residual(inward, outward) for inward, outward in zip((1, *maps[:-1]), maps, strict=True)
        )
        self.out_norm = nn.LayerNorm(width)
        self.ask = nn.Linear(maps[-1], hidden)  # convolutions of width 1
        self.ask_norm = StepNorm(hidden)
        self.weigh = nn.Linear(hidden, maps[-1])

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, channels), (B, T) -> (B, T, maps)."""
        y = F.selu(self.norm(self.narrow(blank(x, mask)), mask)).unsqueeze(1) * mask[:, None, :, None]
        for block in self.blocks:
            y = block(y, mask)
        y = F.selu(self.out_norm(y)).permute(0, 2, 3, 1)  # (B, T, width, maps)
        weights = self.weigh(self.ask_norm(F.selu(self.ask(y)), mask)).softmax(dim=2)
        return blank((weights * y).sum(dim=2), mask)


class LOCO(WeakMethod[Outputs]):
    """Steps alone are classified, and steps under the prompts of both classes; the mean of both is the result."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        settings = config.loco
        dim = settings.maps[-1]
        self.adapter = Adapter(config.audio_dim, settings.width, settings.maps, settings.attention)
        self.out = nn.Linear(dim, 2)
        self.prompts = nn.Parameter(torch.randn(2, dim))
        self.enhance = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.out_prompted = nn.Linear(dim, 1)

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Outputs:
        """Nothing is random, so `generator` does not matter."""
        mask, divisor = batch.audio_mask, self.config.loco.topk_divisor
        steps = self.adapter(batch.audio, mask)
        asked = steps.unsqueeze(2) * self.prompts  # (B, T, 2, C)
        prompted = asked + self.enhance(asked)
        cas = (self.out(steps), self.out_prompted(prompted).squeeze(-1))
        video = (topk_mean(cas[0], mask, divisor) + topk_mean(cas[1], mask, divisor)) / 2
        return Outputs(steps, prompted[:, :, FORGED], cas, video)

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`total` = `steps` + `prompted`, squared errors, + 0.1 `consistency` + 0.1 `contrast`.

        The target is whether the sound is forged.
        """
        settings, mask = self.config.loco, batch.audio_mask
        present, forged = mask.any(dim=1), batch.audio_forged & mask.any(dim=1)
        pooled = [topk_mean(cas, mask, settings.topk_divisor) for cas in outputs.cas]
        errors = [
            losses.mean_over(
                (one.float().softmax(dim=-1) - F.one_hot(forged.long(), 2)).square().mean(dim=-1), present
            )
            for one in pooled
        ]
        agreement = losses.consistency(pooled[0], pooled[1], present, symmetric=True)
        chosen = pseudo_labels(probability(outputs), mask, forged, settings.topk_divisor)
        contrast = sum(
            (contrasted(x, *chosen, settings.temperature) for x in (outputs.steps, outputs.prompted)),
            outputs.video.new_zeros(()),
        )
        total = errors[0] + errors[1] + settings.consistency * agreement + settings.contrast * contrast
        return {
            "steps": errors[0],
            "prompted": errors[1],
            "consistency": agreement,
            "contrast": contrast,
            "total": total,
        }

    def score(self, batch: Batch, seed: int = 0) -> Scores:
        """It judges the sound alone: forged is the class "audio", and every step of the picture has 0."""
        with evaluating(self):
            outputs = self(batch)
            step = probability(outputs) * batch.audio_mask
            forged = outputs.video.softmax(dim=-1)[:, FORGED:] * batch.audio_mask.any(dim=1, keepdim=True)
        classes = F.one_hot(torch.tensor([REAL, _AUDIO], device=step.device), len(CLASSES))
        return Scores(
            video_probabilities=(1 - forged) * classes[0] + forged * classes[1],
            visual=torch.zeros_like(step),
            audio=step,
            joint=step,
            visual_error=None,
            audio_error=None,
        )


def probability(outputs: Outputs) -> Tensor:
    """(B, T): mean over both branches of how likely a step is forged."""
    first, second = (cas.softmax(dim=-1)[..., FORGED] for cas in outputs.cas)
    return (first + second) / 2


def pseudo_labels(step: Tensor, mask: Tensor, forged: Tensor, divisor: int) -> tuple[Tensor, Tensor]:
    """(B, T) bool twice: the likeliest k steps of a forged clip; the unlikeliest, of an authentic one the likeliest."""
    k = family.share(mask, divisor)
    top, low = family.highest(step, mask, k), family.highest(-step, mask, k)
    in_forged = forged.unsqueeze(1)
    return top & in_forged, torch.where(in_forged, low, top)


def contrasted(steps: Tensor, forged: Tensor, authentic: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss (https://arxiv.org/abs/2004.11362, L_out) of the mean features of either kind.

    Shapes: (B, T, C), (B, T) bool twice. Every clip gives one vector of each kind that it has; mean over those that
    have another of their kind.
    """
    vectors = torch.cat([blank(steps.float(), chosen).sum(dim=1) for chosen in (forged, authentic)])
    vectors = F.normalize(vectors, dim=-1)  # (2B, C): the mean's direction
    present = torch.cat([forged.any(dim=1), authentic.any(dim=1)])
    kind = torch.arange(len(present), device=present.device) >= len(forged)
    other = ~torch.eye(len(present), dtype=torch.bool, device=present.device) & present
    like = other & (kind.unsqueeze(1) == kind)
    logits = vectors @ vectors.T / temperature
    # A finite low number: a row without any other vector would give NaN, whose gradient no mask can stop.
    log_p = logits - logits.masked_fill(~other, -1e4).logsumexp(dim=1, keepdim=True)
    each = -log_p.masked_fill(~like, 0.0).sum(dim=1) / like.sum(dim=1).clamp(min=1)
    return losses.mean_over(each, present & like.any(dim=1))
