"""Compact extractors trained on forgeries whose position is known to the step, because we made them.

Their features then go to RT-DeepLoc, which itself never sees a position (DESIGN 5: say so wherever a number rests on
it). Of the data sets only the splits that `pretrain.splits` names are read, never "test".
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from configs.schema import PipelineConfig, PretrainConfig
from data.errors import InputError
from data.files import replacing
from data.hook import Hook, silent
from data.labels import EVIDENCE
from extractors.compact.evidence_net import DIM, EvidenceNet, LookHead, Steps
from extractors.compact.weights import load_part, load_tensors, stored
from extractors.runtime import extractor_digest, inference
from pipeline.bundle import SHIPPED
from pipeline.localization.scores import Evidence
from pipeline.training.crops import Mirror, Prepared, Target, cut, mirrored, prepare
from pipeline.training.crossfit import UNSEEN, Unseen, deal, known_of, save_unseen
from pipeline.training.labelled import LabelledSteps, labelled_faces, labelled_voices
from pipeline.training.probe import extractor_looks, fit_probe

FACE_WEIGHTS, VOICE_WEIGHTS = "face_traces.safetensors", "voice_traces.safetensors"

STEP_S = 0.04
"""Length of a step of either network."""

MEASURED = "measured"
"""Folder, beside the weights, of what was measured of the clips: a folder for each way of measuring."""

_LOG = logging.getLogger(__name__)
_SAMPLED = 400  # clips from which means and deviations are taken
_DECAY = 0.998  # of the running mean of the weights
_UNFORGED = ("sham", "authentic", "joined")
_ORDINARY = 3.0  # how much oftener untouched clips and shams are drawn than one kind of forgery
_FACES = 128  # faces that the head over looks sees at once
_EDGE_WEIGHT, _EDGE_PULL = 0.5, 6.0  # of the loss of onset and offset; of a step that is one, against others

Trained = TypeVar("Trained")


def with_widths(config: PipelineConfig) -> PipelineConfig:
    """`config` with the widths of the features of extractors that are trained now."""
    widths = {"visual_dim": DIM, "audio_dim": DIM}
    return config.model_copy(update={"model": config.model.model_copy(update=widths)})


def with_sources(config: PipelineConfig) -> PipelineConfig:
    """`config` with the files of the pre-trained ear and eye, those of the shipped weights where it says so."""
    files = {"ear": SHIPPED / "compact" / VOICE_WEIGHTS, "eye": SHIPPED / "compact" / FACE_WEIGHTS}
    named = {name: str(path) for name, path in files.items() if getattr(config.pretrain, name) == "shipped"}
    return config.model_copy(update={"pretrain": config.pretrain.model_copy(update=named)})


def pretrain_visual(
    datasets: Sequence[Path], out: Path, config: PipelineConfig, workers: int = 2, hook: Hook = silent
) -> Path:
    """Train what judges traces of faces, and what judges the eye's view; returns `out`/face_traces.safetensors.

    Every crop is seen from the left or the right and forwards or backwards, by chance.

    Raises InputError when the data sets have no forged picture in these splits, or no face to look at.
    """
    from extractors.compact.face_traces import SCHEMA_VERSION, looked_at, relative

    shaping = {"short_side", "crop", "look_every_s"}
    looking = config.visual.model_copy(update={"look_every_s": config.pretrain.look_every_s})
    digest = extractor_digest(
        "face_measures", SCHEMA_VERSION, looking, Path(config.pretrain.eye), include=shaping
    )
    clips = labelled_faces(datasets, config, out / MEASURED / f"visual-{digest}", workers, hook)
    if not any(len(clip.measured.looks) for clip in clips):
        raise InputError("no face of the splits is seen well enough to look at", datasets[0])
    settings = config.pretrain
    prepared = [prepare(clip, lambda traces, valid: (relative(traces, valid), traces)) for clip in clips]

    def trained(some: list[Prepared], name: str) -> tuple[EvidenceNet, LookHead]:
        net = _new_net(some, settings)
        net = _train_net(net, some, mirrored, settings.visual_steps, settings, f"face_traces{name}", hook)
        return net, _train_head([one.steps for one in some], config, f"looks{name}", hook)

    def judged(parts: tuple[EvidenceNet, LookHead], clip: Prepared) -> Evidence:
        net, head = parts
        seen, evidence = clip.steps.measured, _evidence(net, clip)
        taken, due = extractor_looks(clip.steps, evidence[:, EVIDENCE.index("inside")], config)
        added = looked_at(head, len(seen.valid), seen.looks[taken], seen.seen[taken], due[taken])
        return (evidence + added).astype(np.float32)

    net, head = trained(prepared, "")
    _save(out / FACE_WEIGHTS, {"net.": net, "head.": head}, Path(settings.eye), "eye.")
    _cross_fit(prepared, settings.folds, trained, judged, out / UNSEEN / "visual.safetensors", looked=True)
    return out / FACE_WEIGHTS


def pretrain_audio(
    datasets: Sequence[Path], out: Path, config: PipelineConfig, workers: int = 2, hook: Hook = silent
) -> Path:
    """Train the network over measures of speech; returns `out`/voice_traces.safetensors.

    With `pretrain.start` its network goes on, and keeps what it takes for usual measures.

    Raises InputError when the data sets have no forged sound in these splits, WeightsError when `pretrain.start` holds
    no network over these measures.
    """
    from extractors.compact.voice_traces import SCHEMA_VERSION, split

    digest = extractor_digest(
        "voice_measures", SCHEMA_VERSION, config.audio, Path(config.pretrain.ear), include=set()
    )
    clips = labelled_voices(datasets, config, out / MEASURED / f"audio-{digest}", workers, hook)
    settings = config.pretrain
    prepared = [prepare(clip, split) for clip in clips]

    def trained(some: list[Prepared], name: str) -> EvidenceNet:
        net = _new_net(some, settings)
        if settings.start is not None:
            path = Path(settings.start)
            net = load_part(net, load_tensors(path), "net.", path).train()
        return _train_net(net, some, None, settings.audio_steps, settings, f"voice_traces{name}", hook)

    net = trained(prepared, "")
    _save(out / VOICE_WEIGHTS, {"net.": net}, Path(settings.ear), "ear.")
    _cross_fit(prepared, settings.folds, trained, _evidence, out / UNSEEN / "audio.safetensors")
    return out / VOICE_WEIGHTS


def _cross_fit(
    prepared: list[Prepared],
    folds: int,
    train: Callable[[list[Prepared], str], Trained],
    judge: Callable[[Trained, Prepared], Evidence],
    out: Path,
    looked: bool = False,
) -> None:
    """Write the evidence of each clip by what was trained without its person or its forgery; nothing without `folds`.

    What an earlier training has left is gone. A clip whose fold leaves too little to train on is left out.
    """
    out.unlink(missing_ok=True)
    if not folds:
        return
    dealt = deal([clip.steps for clip in prepared], folds)
    found: list[Unseen] = []
    for fold in range(folds):
        others = [clip for clip in prepared if dealt.training(fold, clip.steps)]
        enough = any(clip.steps.forged.any() for clip in others)
        if not enough or (looked and not any(len(clip.steps.measured.looks) for clip in others)):
            continue
        parts = train(others, f" without fold {fold + 1}")
        for clip in prepared:
            if dealt.judging(clip.steps) == fold:
                name, known, _ = known_of(clip.steps)
                found.append(Unseen(name, known, judge(parts, clip), clip.steps.measured.valid))
    save_unseen(out, found)


def _evidence(net: EvidenceNet, clip: Prepared) -> Evidence:
    """What a network over measures says of each step (T, 4) of a clip."""
    with inference():
        relative, absolute = (torch.from_numpy(part).float()[None] for part in (clip.relative, clip.absolute))
        found = net(relative, absolute, torch.from_numpy(clip.steps.measured.valid)[None])
        evidence: Evidence = found.evidence[0].numpy()
    return evidence


def _save(out: Path, parts: dict[str, nn.Module], source: Path, kept: str) -> None:
    """Write trained `parts` by prefix, and beside them the tensors `kept` of `source` as they are stored there."""
    tensors = {name: value for name, value in stored(source).items() if name.startswith(kept)}
    for prefix, part in parts.items():
        tensors |= {prefix + name: value.contiguous() for name, value in part.state_dict().items()}
    with replacing(out) as temporary:
        save_file(tensors, temporary)


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
