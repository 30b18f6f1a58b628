"""FuSTAL (Feng et al., TCSVT 2025): CoLA with contrast across videos, and a detector on its pseudo-labels."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from configs.schema import ModelConfig
from configs.weak import FustalConfig
from data.labels import REAL
from models import losses
from models.baselines import cas as family
from models.baselines import cola, detector
from models.baselines.cola import CoLA
from models.baselines.tridet import TriDet
from models.batch import Batch
from models.embedding import blank
from models.heads import topk_mean
from models.method import FORGED, Scores, WeakMethod, evaluating


class FuSTALGenerator(CoLA):
    """The first stage alone: hard snippets are compared with easy ones of other videos too."""

    def losses(self, outputs: cola.Outputs, batch: Batch) -> dict[str, Tensor]:
        """`total` = `cls` + 0.01 (`snico` + 0.2 `crossed`)."""
        terms = super().losses(outputs, batch)
        forged = batch.seen_label != REAL
        crossed = crossed_contrast(outputs, family.either(batch), forged.unsqueeze(1) == forged, self.config)
        weight = self.config.cola.snico * self.config.fustal.crossed
        return {**terms, "crossed": crossed, "total": terms["total"] + weight * crossed}


def crossed_contrast(outputs: cola.Outputs, mask: Tensor, alike: Tensor, config: ModelConfig) -> Tensor:
    """SniCo with the hard snippets of another video of the same label, `alike` (B, B); mean over all such pairs."""
    sets = cola.snippets(outputs.cas.sum(dim=-1), mask, outputs.eligible, config.cola)
    hard_action, hard_background, easy_action, easy_background = sets
    steps, temperature = outputs.embedding.float(), config.cola.temperature
    return crossed_nce(steps, hard_action, easy_action, easy_background, alike, temperature) + crossed_nce(
        steps, hard_background, easy_background, easy_action, alike, temperature
    )


def crossed_nce(
    embedding: Tensor, query: Tensor, key: Tensor, negative: Tensor, alike: Tensor, temperature: float
) -> Tensor:
    """InfoNCE of video j's mean query with the mean key and the negatives of video i, for alike i ≠ j.

    Shapes: (B, T, C), three sets of steps (B, T), (B, B). Mean over the pairs in which no set is empty.
    """

    def centre(chosen: Tensor) -> Tensor:
        return F.normalize(blank(embedding, chosen).sum(dim=1), dim=-1)

    asked = centre(query)  # (B, C)
    like = centre(key) @ asked.T  # (B, B): key's video, query's video
    unlike = F.normalize(embedding, dim=-1) @ asked.T  # (B, T, B)
    unlike = unlike.masked_fill(~negative.unsqueeze(-1), -torch.inf)
    every = torch.cat([like.unsqueeze(1), unlike], dim=1) / temperature  # (B, 1 + T, B)
    answers = key.any(dim=1) & negative.any(dim=1)
    other = ~torch.eye(len(alike), dtype=torch.bool, device=alike.device)
    pairs = alike & other & answers.unsqueeze(1) & query.any(dim=1)
    each = every.logsumexp(dim=1) - every[:, 0]
    return losses.mean_over(each.flatten(), pairs.flatten())


def runs(curve: Tensor, threshold: float) -> Tensor:
    """(T,) -> (N, 2): half-open runs of at least two steps above `threshold`."""
    above = F.pad((curve > threshold).long(), (1, 1)).diff()
    starts, ends = (above == 1).nonzero().flatten(), (above == -1).nonzero().flatten()
    spans = torch.stack([starts, ends], dim=1)
    return spans[ends - starts >= 2]


def outer_inner(curve: Tensor, segments: Tensor) -> Tensor:
    """(N,): mean of `curve` (T,) inside each segment less that in the quarter of its length on either side.

    A segment that fills the curve has nothing around it: 0 is taken off.
    """
    total = F.pad(curve.cumsum(dim=0), (1, 0))
    start, end = segments.unbind(dim=1)
    ring = (end - start + 3) // 4  # at least a step
    left, right = (start - ring).clamp(min=0), (end + ring).clamp(max=len(curve))
    inside = total[end] - total[start]
    around = total[right] - total[left] - inside
    return inside / (end - start) - around / (right - left - (end - start)).clamp(min=1)


def overlaps(one: Tensor, other: Tensor) -> Tensor:
    """(N, 2), (M, 2) -> (N, M): intersection over union."""
    start = torch.maximum(one[:, None, 0], other[None, :, 0])
    end = torch.minimum(one[:, None, 1], other[None, :, 1])
    shared = (end - start).clamp(min=0).float()
    lengths = (one[:, 1] - one[:, 0])[:, None] + (other[:, 1] - other[:, 0])[None, :]
    return shared / (lengths - shared)


def pseudo_labels(activation: Tensor, probability: Tensor, config: FustalConfig) -> Tensor:
    """(T,) forged activations, () probability of the video -> (N, 2) segments to learn from, in steps.

    Runs at every threshold of the curve between its extremes, ranked by contrast with their surroundings, thinned
    out; then those that score high and are supported by others, as far as there are any.
    """
    curve = activation.float()
    curve = (curve - curve.min()) / (curve.max() - curve.min()).clamp(min=1e-6)
    segments = torch.cat([runs(curve, threshold) for threshold in config.thresholds])
    scores = outer_inner(curve, segments) + config.video * probability
    order = scores.argsort(descending=True, stable=True)
    segments, scores = segments[order], scores[order]
    iou = overlaps(segments, segments)
    best: list[int] = []
    for index in range(len(segments)):
        if not best or float(iou[index, best].max()) <= config.nms:
            best.append(index)
    support = iou[best].sum(dim=1) - 1
    chosen = (scores[best] > config.score) & (support >= config.support)
    return segments[best][chosen]


@dataclass(frozen=True)
class Outputs:
    """`video` (B, 2) logits; what the generator or the student said, by stage, and the student's labels."""

    video: Tensor
    generated: cola.Outputs | None = None
    detected: detector.Outputs | None = None
    segments: tuple[Tensor, ...] = ()


class FuSTAL(WeakMethod[Outputs]):
    """Three stages in one run, by the number of steps so far.

    The generator; the student on the generator's segments; the student on those of its own moving average, which is
    also what scores. Until the student's turn, the generator scores. Stages follow from `begin`; without it, all
    steps are the generator's.
    """

    passes: Tensor
    stages: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = FuSTALGenerator(config)
        self.student = TriDet(config)
        self.average = copy.deepcopy(self.student).requires_grad_(False)
        self.register_buffer("passes", torch.zeros((), dtype=torch.long))
        self.register_buffer("stages", torch.full((2,), torch.iinfo(torch.long).max))  # first pass of each

    def begin(self, steps: int) -> None:
        """Divides the steps among the stages; the generator has at least one."""
        settings = self.config.fustal
        first = max(1, round(settings.generator_share * steps))
        self.stages.copy_(torch.tensor([first, first + round(settings.labelled_share * (steps - first))]))

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Outputs:
        """In training, counts the pass and lets the average follow the student."""
        done = int(self.passes)
        learning, refining = self.stages.tolist()
        if self.training:
            self.passes += 1
        if done < learning:
            generated = self.generator(batch, generator)
            return Outputs(generated.video, generated=generated)
        if self.training:
            self._follow(done - learning)
        # By its video-level label an authentic clip has no segment to learn.
        taught = self._own(batch) if done >= refining else self._generated(batch)
        segments = tuple(
            one if label != REAL else one[:0]
            for one, label in zip(taught, batch.seen_label.tolist(), strict=True)
        )
        detected = self.student(batch, generator)
        return Outputs(self._video(detected), detected=detected, segments=segments)

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The generator's, then the student's with `video`, binary cross-entropy, by stage; 0 for the other stage."""
        zero = outputs.video.new_zeros(())
        terms = dict.fromkeys(("cls", "snico", "crossed", "points", "reg", "video"), zero)
        if outputs.generated is not None:
            return terms | self.generator.losses(outputs.generated, batch)
        if outputs.detected is None:
            raise ValueError("a pass of neither stage")
        located = self.student.losses(outputs.detected, batch, outputs.segments)
        forged = (batch.seen_label != REAL).long()
        video = losses.classification(outputs.video, forged, family.either(batch).any(dim=1))
        points, total = located["cls"], located["total"] + video
        return terms | {"points": points, "reg": located["reg"], "video": video, "total": total}

    def score(self, batch: Batch, seed: int = 0) -> Scores:
        """See the detector's; nothing is drawn, so `seed` does not matter."""
        if self.passes < self.stages[0]:
            return self.generator.score(batch, seed)
        return self.average.score(batch, seed)

    def _video(self, detected: detector.Outputs) -> Tensor:
        """(B, 2): logits of authentic, 0, and of forged, the mean of the surest points at full rate."""
        settings, level = self.config.fustal, detected.levels[0]
        logits = F.dropout(level.logits.unsqueeze(-1), settings.dropout, self.training)
        pooled = topk_mean(logits, level.mask, settings.topk_divisor)
        return torch.cat([torch.zeros_like(pooled), pooled], dim=-1)

    def _generated(self, batch: Batch) -> list[Tensor]:
        with evaluating(self.generator):
            outputs = self.generator(batch)
        mask = family.either(batch)
        forged = outputs.video.softmax(dim=-1)[:, FORGED]
        return [
            pseudo_labels(cas[: _length(known), FORGED], video, self.config.fustal)
            for cas, known, video in zip(blank(outputs.cas, mask), mask, forged, strict=True)
        ]

    def _own(self, batch: Batch) -> list[Tensor]:
        """Segments of the average that score high, or the best one."""
        segments = []
        for spans in self.average.score(batch).spans or ():
            good = spans[:, 0] > self.config.fustal.score
            segments.append(spans[good, 1:] if good.any() else spans[:1, 1:])
        return segments

    def _follow(self, done: int) -> None:
        """As elsewhere: a short run would end in its first weights, were the decay not lower at first."""
        decay = min(self.config.fustal.average, (1 + done) / (10 + done)) if done else 0.0
        with torch.no_grad():
            for mine, theirs in zip(self.average.parameters(), self.student.parameters(), strict=True):
                mine.lerp_(theirs, 1 - decay)


def _length(mask: Tensor) -> int:
    """Steps up to the last valid one, at least one."""
    return max(1, int((mask * torch.arange(1, len(mask) + 1, device=mask.device)).max()))
