"""The training of the two networks of evidence, of picture and of sound, on clips whose forged steps are known."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from configs.schema import PipelineConfig, PretrainConfig
from data.hook import Hook, silent
from data.labels import EVIDENCE
from extractors.compact.evidence_net import EvidenceNet, LookHead, Steps
from extractors.compact.weights import load_part, load_tensors
from extractors.runtime import inference
from pipeline.localization.scores import Evidence
from pipeline.training.crops import Mirror, Prepared, Target, cut, mirrored
from pipeline.training.labelled import LabelledSteps
from pipeline.training.probe import extractor_looks, fit_probe

STEP_S = 0.04
"""Length of a step of either network."""

_LOG = logging.getLogger(__name__)
_SAMPLED = 400  # clips from which means and deviations are taken
_DECAY = 0.998  # of the running mean of the weights
_UNFORGED = ("sham", "authentic", "joined")
_ORDINARY = 3.0  # how much oftener untouched clips and shams are drawn than one kind of forgery
_FACES = 128  # faces that the head over looks sees at once
_EDGE_WEIGHT, _EDGE_PULL = 0.5, 6.0  # of the loss of onset and offset; of a step that is one, against others


class FaceNets(NamedTuple):
    """What judges a picture: the network over traces of faces, and the head over what the eye saw of them."""

    net: EvidenceNet
    head: LookHead


def train_voices(
    clips: list[Prepared], settings: PretrainConfig, name: str = "", hook: Hook = silent
) -> EvidenceNet:
    """The network over measures of speech; `name` tells this training from others.

    With `settings.start` that network goes on. Raises WeightsError when that file holds no network over these measures.
    """
    net = _new_net(clips, settings)
    if settings.start is not None:
        path = Path(settings.start)
        net = load_part(net, load_tensors(path), "net.", path).train()
    return _train_net(net, clips, None, settings.audio_steps, settings, f"voice_traces{name}", hook)


def train_faces(
    clips: list[Prepared], config: PipelineConfig, name: str = "", hook: Hook = silent
) -> FaceNets:
    """What judges a picture; every crop is seen from the left or the right and forwards or backwards, by chance."""
    settings = config.pretrain
    net = _new_net(clips, settings)
    net = _train_net(net, clips, mirrored, settings.visual_steps, settings, f"face_traces{name}", hook)
    return FaceNets(net, _train_head([one.steps for one in clips], config, f"looks{name}", hook))


def evidence_by(net: EvidenceNet, clip: Prepared) -> Evidence:
    """What a network over measures, of sound or of faces, says of each step (T, 4) of a clip."""
    with inference():
        relative, absolute = (torch.from_numpy(part).float()[None] for part in (clip.relative, clip.absolute))
        found = net(relative, absolute, torch.from_numpy(clip.steps.measured.valid)[None])
        evidence: Evidence = found.evidence[0].numpy()
    return evidence


def face_evidence(nets: FaceNets, clip: Prepared, config: PipelineConfig) -> Evidence:
    """What traces and looks say of each step (T, 4) of a clip, looked at where the extractor would."""
    from extractors.compact.face_traces import looked_at

    seen, evidence = clip.steps.measured, evidence_by(nets.net, clip)
    taken, due = extractor_looks(clip.steps, evidence[:, EVIDENCE.index("inside")], config)
    added = looked_at(nets.head, len(seen.valid), seen.looks[taken], seen.seen[taken], due[taken])
    return (evidence + added).astype(np.float32)


def loss_of(steps: Steps, target: Target) -> Tensor:
    """Weighted mean cross-entropy of inside, whole, and half that of the edges.

    `inside` and the edges learn from clips that are forged in part: against itself a whole fake differs from nothing.
    """
    inside, onset, offset, whole = steps.evidence.unbind(-1)

    def mean(logits: Tensor, wanted: Tensor, weight: Tensor, pull: float = 1.0) -> Tensor:
        each = F.binary_cross_entropy_with_logits(
            logits, wanted, reduction="none", pos_weight=torch.tensor(pull)
        )
        return (each * weight).sum() / weight.sum().clamp(min=1e-6)

    edges = sum(
        mean(logits, target.edges[..., k], target.partial, _EDGE_PULL)
        for k, logits in enumerate((onset, offset))
    )
    return (
        mean(inside, target.forged, target.partial)
        + mean(whole, target.forged, target.weight)
        + _EDGE_WEIGHT / 2 * edges
    )


def _new_net(prepared: list[Prepared], settings: PretrainConfig) -> EvidenceNet:
    """A network that knows what is usual: means and deviations of some clips."""
    rng = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    chosen = rng.choice(len(prepared), min(_SAMPLED, len(prepared)), replace=False)
    some = [prepared[k] for k in chosen]
    relative, absolute = (
        torch.from_numpy(np.concatenate([clip[k] for clip in some])).float() for k in (1, 2)
    )
    net = EvidenceNet(relative.shape[1], absolute.shape[1]).train()
    net.relative.fit(relative)
    net.absolute.fit(absolute)
    return net


def _train_net(
    net: EvidenceNet,
    prepared: list[Prepared],
    mirror: Mirror | None,
    updates: int,
    settings: PretrainConfig,
    name: str,
    hook: Hook,
) -> EvidenceNet:
    rng = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    crop = round(settings.crop_s / STEP_S)

    def loss(chosen: list[Prepared]) -> Tensor:
        rows = [cut(clip, crop, mirror, settings, rng) for clip in chosen]
        relative, absolute, valid, *target = (torch.stack(row) for row in zip(*rows, strict=True))
        return loss_of(net(relative, absolute, valid), Target(*target))

    return _optimised(net, loss, prepared, settings.batch, updates, settings, rng, name, hook)


def _train_head(clips: list[LabelledSteps], config: PipelineConfig, name: str, hook: Hook) -> LookHead:
    """The head over what the eye saw: of each face by itself, inside and whole."""
    settings = config.pretrain
    rng = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    faces = [
        _Face(clip, k, seen)
        for clip in clips
        for k, seen in enumerate(torch.from_numpy(clip.measured.seen).float())
    ]
    head = LookHead(len(faces[0].seen)).train()
    fit_probe(head.relative, clips, config)
    head.absolute.fit(torch.stack([face.seen for face in faces]))

    def loss(chosen: list[_Face]) -> Tensor:
        whole = head.absolute(torch.stack([face.seen for face in chosen]))
        return F.binary_cross_entropy_with_logits(
            whole, torch.tensor([float(face.forged) for face in chosen])
        )

    trained = _optimised(head.absolute, loss, faces, _FACES, settings.head_steps, settings, rng, name, hook)
    head.absolute.load_state_dict(trained.state_dict())
    return head.eval()


class _Face(NamedTuple):
    """Look `k` of a clip, and what was `seen` (D,) in it."""

    clip: LabelledSteps
    k: int
    seen: Tensor

    @property
    def forged(self) -> bool:
        return bool(self.clip.forged[self.clip.measured.looks[self.k]])

    @property
    def kind(self) -> str:
        """The clip's, where the face is forged; else "sham" or "authentic"."""
        if self.forged:
            return self.clip.kind
        return "sham" if self.clip.sham[self.clip.measured.looks[self.k]] else "authentic"


Example = TypeVar("Example", Prepared, _Face)
Network = TypeVar("Network", bound=nn.Module)


def _optimised(
    net: Network,
    loss_over: Callable[[list[Example]], Tensor],
    examples: list[Example],
    batch: int,
    updates: int,
    settings: PretrainConfig,
    rng: np.random.Generator,
    name: str,
    hook: Hook,
) -> Network:
    """The running mean of the weights of `net` after `updates` steps; every kind of forgery is drawn about as often."""
    kinds = defaultdict(list)
    for example in examples:
        kinds[example.kind].append(example)
    # What there is more of is seen more often, but not in proportion.
    often = np.array(
        [len(of) ** 0.5 * (_ORDINARY if kind in _UNFORGED else 1.0) for kind, of in kinds.items()]
    )
    groups, often = list(kinds.values()), often / often.sum()
    optimizer = torch.optim.AdamW(
        net.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=updates, pct_start=0.1
    )
    # The mean of the last weights judges new people better than the last ones do.
    mean = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(_DECAY), use_buffers=True)
    running = float("nan")
    for k in range(updates):
        chosen = [groups[g][rng.integers(len(groups[g]))] for g in rng.choice(len(groups), batch, p=often)]
        loss = loss_over(chosen)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mean.update_parameters(net)
        value = float(loss.detach())
        running = value if k == 0 else 0.98 * running + 0.02 * value
        if (k + 1) % 100 == 0 or k + 1 == updates:
            _LOG.info("%s: step %d of %d, loss %.4f", name, k + 1, updates, running)
        hook(f"pretrain {name}", k + 1, updates)
    return cast(Network, mean.module).eval()
