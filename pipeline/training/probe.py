"""What a look at a face says against the other looks at its clip: a line, fitted in closed form.

Where few people lend their faces, a hidden layer learns who they are: on face swaps of people left out it told less
than a line does (docs/decisions.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from configs.schema import PipelineConfig
from extractors.compact.evidence_net import LookHead, Probe
from extractors.compact.looks import due_looks, further, further_looks, looked_at_once
from pipeline.evaluation.metrics import even_weights
from pipeline.training.choice import choice
from pipeline.training.crossfit import people_of
from pipeline.training.labelled import LabelledSteps

_RIDGE = 3.0
"""Weight of the squared length of a probe's weights, in looks at a face."""

_FOLDS = 4  # of people, by whom a probe that did not see them is judged

Flags = NDArray[np.bool_]


class _Looks(NamedTuple):
    """Looks at some clips: what was seen (K, D) against the clip, whether it was forged (K,), how much it counts (K,),
    and the fold of who is in it (K,)."""

    seen: Tensor
    forged: Flags
    weight: NDArray[np.float64]
    fold: NDArray[np.int64]


def fit_probe(probe: Probe, clips: Sequence[LabelledSteps], config: PipelineConfig) -> None:
    """Fit `probe` to looks at `clips` that are not forged from end to end: log-odds as people say whom it did not see.

    Forged and other looks count alike together, and a kind of forgery by the root of how many there are. A probe that
    tells nothing says nothing.
    """
    for parameter in probe.leave.parameters():
        nn.init.zeros_(parameter)
    looks = _gathered([clip for clip in clips if len(clip.measured.looks) and not clip.whole], config)
    if looks is None:
        return
    probe.fit(looks.seen)
    inputs = probe.standardised(looks.seen)
    said, there = np.zeros(len(looks.forged)), np.zeros(len(looks.forged), np.bool_)
    for fold in range(_FOLDS):
        held = looks.fold == fold
        if held.any() and _both(looks.forged[~held]):
            said[held] = (inputs[torch.from_numpy(held)] @ _line(inputs, looks, ~held)).numpy()
            there |= held
    if not _both(looks.forged[there]):
        return
    rows, forged = np.column_stack([np.ones(there.sum()), said[there]]), looks.forged[there]
    weight = _balanced(looks.weight[there], forged)
    bias, slope = choice(rows, forged.astype(np.float64), weight, np.zeros(2), np.full(2, 1e-3))
    with torch.no_grad():
        probe.leave.weight.copy_(max(0.0, float(slope)) * _line(inputs, looks, np.ones(len(said), np.bool_)))
        probe.leave.bias.fill_(float(bias))


def blind_looks(clip: LabelledSteps, config: PipelineConfig) -> Flags:
    """Which looks (K,) at a clip were taken whatever was forged."""
    seen = clip.measured
    return np.isin(seen.looks, due_looks(seen.valid, config.pretrain.look_every_s)[0])


def extractor_looks(
    clip: LabelledSteps, suspicion: NDArray[np.float32], config: PipelineConfig
) -> tuple[Flags, Flags]:
    """Of the looks (K,) at a clip those that the extractor would take, whose `suspicion` of its steps is (T,), and
    those of them that are due."""
    seen = clip.measured
    there = np.zeros(len(seen.valid), np.bool_)
    there[seen.looks[blind_looks(clip, config)]] = True
    due, _ = due_looks(there, config.visual.look_every_s)
    once = looked_at_once(len(seen.valid), config.visual.look_every_s)
    most = 0 if once else further(int(seen.valid.sum()), config.visual.look_again)
    more = further_looks(suspicion, there, due, most)
    return np.isin(seen.looks, np.union1d(due, more)), np.isin(seen.looks, due)


def _gathered(clips: Sequence[LabelledSteps], config: PipelineConfig) -> _Looks | None:
    if not clips:
        return None
    seen, flags, folds, kinds = [], [], [], list[str]()
    for number, clip in enumerate(clips):
        at, blind = clip.measured.looks, torch.from_numpy(blind_looks(clip, config))
        seen.append(LookHead.split(torch.from_numpy(clip.measured.seen).float(), blind)[0])
        flags.append(clip.forged[at])
        folds.append(np.full(len(at), _fold(clip, number)))
        kinds += [
            clip.kind if forged else "sham" if sham else "authentic"
            for forged, sham in zip(clip.forged[at], clip.sham[at], strict=True)
        ]
    counts = Counter(kinds)
    # What there is more of counts more, but not in proportion.
    weight = np.array([counts[kind] ** -0.5 for kind in kinds])
    return _Looks(torch.cat(seen), np.concatenate(flags), weight, np.concatenate(folds))


def _fold(clip: LabelledSteps, number: int) -> int:
    names = "+".join(sorted(people_of(clip.known.clip))) if clip.known is not None else str(number)
    return int(sha256(names.encode()).hexdigest(), 16) % _FOLDS


def _line(inputs: Tensor, looks: _Looks, chosen: Flags) -> Tensor:
    """Weights (D,) of ridge regression of forged (1) and other (-1) looks on `inputs` (K, D)."""
    flags = torch.from_numpy(chosen)
    x, forged = inputs[flags], looks.forged[chosen]
    weight = torch.from_numpy(_balanced(looks.weight[chosen], forged)).float()
    target = torch.from_numpy(2.0 * forged - 1).float()
    width = x.shape[1]
    gram = x.T @ (x * weight[:, None]) + _RIDGE * width * torch.eye(width)
    return torch.linalg.solve(gram, x.T @ (weight * target))


def _both(forged: Flags) -> bool:
    return bool(forged.any() and not forged.all())


def _balanced(weight: NDArray[np.float64], forged: Flags) -> NDArray[np.float64]:
    """`weight` (K,), scaled so that forged and other looks weigh alike and all K together."""
    return even_weights(forged, weight) * (len(weight) / weight.sum())
