"""Compact extractors trained from scratch on forgeries of our own, whose position is known to the step.

Each tells what was done to every step of a clip: nothing, a harmless edit, or one of the manipulations. Its features
then go to RT-DeepLoc, which itself never sees a position (DESIGN 5: say so wherever a number rests on it). Only the
data sets' train splits are read, hence only their identities.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from configs.schema import PipelineConfig, PretrainConfig
from data.files import replacing
from data.hook import Hook, silent
from data.labels import RATE
from extractors.compact.energies import CHANNELS, SIDE
from extractors.compact.trace_net import WIDTH, TraceNet
from extractors.windows import HOP
from pipeline.training.labelled import (
    AUDIO_CLASSES,
    VISUAL_CLASSES,
    LabelledSteps,
    labelled_faces,
    labelled_voices,
)

FACE_WEIGHTS, VOICE_WEIGHTS = "face_traces.safetensors", "voice_traces.safetensors"

_LOG = logging.getLogger(__name__)
_SAMPLED = 200  # clips along which the code's edges are laid, and ...
_STRIDE = 7  # ... of their steps one in so many
_DECAY = 0.998  # of the running mean of the weights

Mirror = Callable[[NDArray[np.float16], bool, bool], NDArray[np.float16]]


def with_widths(config: PipelineConfig) -> PipelineConfig:
    """`config` with the widths of the features of extractors that are trained now.

    They grow with the forger's manipulations, each of which is a class.
    """
    widths = {
        "visual_dim": WIDTH + len(VISUAL_CLASSES),
        "audio_dim": WIDTH + len(AUDIO_CLASSES),
    }
    return config.model_copy(update={"model": config.model.model_copy(update=widths)})


def pretrain_visual(
    datasets: Sequence[Path], out: Path, config: PipelineConfig, workers: int = 2, hook: Hook = silent
) -> Path:
    """Train the network over the measures of faces; returns `out`/face_traces.safetensors.

    Every crop is seen from the left or the right and forwards or backwards, by chance.

    Raises InputError when the data sets have no forged picture in their train splits.
    """
    clips = labelled_faces(datasets, config, workers, hook)
    steps = round(config.pretrain.crop_s * config.decode.fps)
    return _pretrain(
        clips,
        VISUAL_CLASSES,
        mirrored,
        steps,
        config.pretrain.visual_steps,
        config.pretrain,
        out / FACE_WEIGHTS,
        hook,
    )


def pretrain_audio(
    datasets: Sequence[Path], out: Path, config: PipelineConfig, workers: int = 2, hook: Hook = silent
) -> Path:
    """Train the network over the measures of speech; returns `out`/voice_traces.safetensors.

    Raises InputError when the data sets have no forged sound in their train splits.
    """
    clips = labelled_voices(datasets, config, workers, hook)
    steps = round(config.pretrain.crop_s * RATE / HOP)
    return _pretrain(
        clips,
        AUDIO_CLASSES,
        None,
        steps,
        config.pretrain.audio_steps,
        config.pretrain,
        out / VOICE_WEIGHTS,
        hook,
    )


def _pretrain(
    clips: list[LabelledSteps],
    classes: tuple[str, ...],
    mirror: Mirror | None,
    crop: int,
    updates: int,
    settings: PretrainConfig,
    out: Path,
    hook: Hook,
) -> Path:
    rng = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    net = TraceNet(clips[0].measures.shape[1], len(classes)).train()
    some = rng.choice(len(clips), min(_SAMPLED, len(clips)), replace=False)
    net.fit(torch.from_numpy(np.concatenate([clips[k].measures[::_STRIDE] for k in some])).float())
    people = defaultdict(list)
    for clip in clips:
        if clip.classes.any() or clip.sham.any():
            people[clip.identity].append(clip)
    # Whoever has many clips is seen more often, but not in proportion.
    often = np.sqrt([len(of) for of in people.values()])
    optimizer = torch.optim.AdamW(
        net.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=updates, pct_start=0.1
    )
    # The mean of the last weights judges new people better than the last ones do.
    mean = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(_DECAY), use_buffers=True)
    groups, running = list(people.values()), float("nan")
    for k in range(updates):
        chosen = [groups[g] for g in rng.choice(len(groups), settings.batch, p=often / often.sum())]
        batch = [cut(of[rng.integers(len(of))], crop, mirror, rng) for of in chosen]
        measures, valid, target, weight = (
            torch.from_numpy(np.stack(parts)) for parts in zip(*batch, strict=True)
        )
        weight = torch.tensor([0.0, settings.authentic_weight, settings.sham_weight, 1.0])[weight]
        loss = loss_of(net(measures, valid).logits, target, weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mean.update_parameters(net)
        value = float(loss.detach())
        running = value if k == 0 else 0.98 * running + 0.02 * value
        if (k + 1) % 100 == 0 or k + 1 == updates:
            _LOG.info("%s: step %d of %d, loss %.4f", out.stem, k + 1, updates, running)
        hook(f"pretrain {out.stem}", k + 1, updates)
    with replacing(out) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in mean.module.state_dict().items()}, temporary)
    return out


def loss_of(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean cross-entropy of `logits` (B, T, classes) to `target` (B, T), weighted by `weight` (B, T)."""
    each = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view_as(weight)
    return (each * weight).sum() / weight.sum().clamp(min=1e-6)


def cut(
    clip: LabelledSteps, length: int, mirror: Mirror | None, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """`length` steps of a clip around one that was edited: measures, validity, classes, and what each counts as.

    The last is 0 for a step that does not count, 1 for an untouched, 2 for a harmlessly edited, 3 for a forged one.
    """
    edited = np.flatnonzero((clip.classes > 0) | clip.sham)
    first = int(np.clip(rng.choice(edited) - rng.integers(length), 0, max(0, len(clip.valid) - length)))
    part = slice(first, first + length)
    kind = np.where(clip.classes[part] > 0, 3, np.where(clip.sham[part], 2, 1)) * clip.valid[part]
    measures, valid, classes = clip.measures[part], clip.valid[part], clip.classes[part]
    if mirror is not None:
        across, backwards = rng.random(2) < 0.5
        measures = mirror(measures, bool(across), bool(backwards))
        if backwards:
            kind, valid, classes = kind[::-1], valid[::-1], classes[::-1]
    rest = (0, length - len(kind))
    return (
        np.pad(measures.astype(np.float32), (rest, (0, 0))),
        np.pad(valid, rest),
        np.pad(classes, rest),
        np.pad(kind, rest).astype(np.int64),
    )


def mirrored(measures: NDArray[np.float16], across: bool, backwards: bool) -> NDArray[np.float16]:
    """Measures (T, D) of faces as those of the mirrored picture, or of the clip played backwards."""
    cells = measures.reshape(len(measures), -1, len(CHANNELS), SIDE, SIDE)
    if across:
        cells = cells[..., ::-1]
    if backwards:
        turned = [_TURNED.get(name, name) for name in CHANNELS]
        cells = cells[::-1][:, :, [CHANNELS.index(name) for name in turned]]
    return cells.reshape(measures.shape)


_TURNED = {name: name.replace("before", "after") for name in CHANNELS if name.endswith("_before")}
_TURNED |= {after: before for before, after in _TURNED.items()}
