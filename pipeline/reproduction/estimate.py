"""What a reproduction takes, before it is begun: stages, hours and disk, here, on 64 cores and with a GPU.

Only metadata are read: neither clips nor weights have to be there. Extraction follows the rates of `rates`; a training
step and the scoring of a clip of each method are timed here, on random features of the real shapes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from configs.loader import apply_overrides, validate
from configs.schema import PipelineConfig
from data.errors import UsageError
from data.hook import Hook, silent
from data.labels import FPS
from data.manifest import Manifest, Sample
from models.batch import Batch
from models.method import Method, SupervisedMethod, WeakMethod
from models.weights import build
from pipeline.evaluation.evaluate import REPLICATES
from pipeline.reproduction.rates import (
    DECODING,
    EXTRACTION,
    GPU_CORES,
    MANY_CORES,
    RESAMPLING_S,
)
from pipeline.reproduction.reproduce import Subject, Variant, variants
from pipeline.runtime import choose_device, machine
from pipeline.training.optimiser import optimisation

_BATCH = 4
"""Clips of a batch that is timed on a processor, where time grows with their number."""
_PROTOCOLS = 2
_BYTES = 4
_KEPT = 4
"""Numbers kept for each weight: the weight, and a checkpoint with it and Adam's two moments."""


@dataclass(frozen=True)
class Stage:
    """One stage: hours here, on 64 cores and with a GPU (None: not measured), and bytes on the disk."""

    name: str
    amount: str
    here_h: float
    cores_h: float
    gpu_h: float | None
    disk_bytes: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """All stages, the machine that this is, and what the numbers rest on."""

    stages: tuple[Stage, ...]
    machine: str
    notes: tuple[str, ...]

    def markdown(self) -> str:
        """A table for people, with a last row for the whole, and notes below."""
        gpu = [stage.gpu_h for stage in self.stages]
        gpu_hours = sum(hours for hours in gpu if hours is not None)
        total = Stage(
            "**all**",
            "",
            sum(stage.here_h for stage in self.stages),
            sum(stage.cores_h for stage in self.stages),
            gpu_hours if None not in gpu else None,
            sum(stage.disk_bytes for stage in self.stages),
        )
        lines = [
            f"| stage | what | here, h | {MANY_CORES} cores, h | 1 GPU, h | disk, GB |",
            "| --- | --- | ---: | ---: | ---: | ---: |",
        ]
        for stage in (*self.stages, total):
            cells = [_number(value) for value in (stage.here_h, stage.cores_h, stage.gpu_h)]
            disk = f"{stage.disk_bytes / 1e9:,.1f}" if stage.disk_bytes else ""
            lines.append(f"| {' | '.join([stage.name, stage.amount, *cells, disk])} |")
        return "\n".join([*lines, "", f"Here: {self.machine}.", *(f"{note}." for note in self.notes)]) + "\n"


@dataclass(frozen=True)
class Pace:
    """Seconds of one training step, of scoring one clip, and the number of weights."""

    step_s: float
    clip_s: float
    weights: int


def estimate(
    subject: Subject,
    config: PipelineConfig,
    sets: tuple[Manifest, Manifest],
    split: str,
    seeds: int,
    device: str = "auto",
    hook: Hook = silent,
) -> Estimate:
    """What `subject` takes from nothing: trained on the first of `sets`, evaluated on `split` of the second.

    Raises UsageError when the metadata give no lengths.
    """
    source, target = sets
    chosen = choose_device(device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts = [(source, ("train", "dev")), (target, (split,))]
    stages = [_extraction(config, manifest, splits, cores) for manifest, splits in parts]
    tested = [sample for sample in target.samples if sample.split == split]
    steps = round(FPS * _media_s(target, tested) / len(tested))
    paces: dict[str, tuple[Variant, Pace, int]] = {}
    wanted = variants(subject)
    for number, variant in enumerate(wanted):
        hook("time a step of each method", number, len(wanted))
        settings = validate(apply_overrides(config.model_dump(mode="json"), variant.changes), origin=subject)
        key = settings.digest()  # two rows of Figure 3 may be one run
        if key not in paces:
            paces[key] = (
                variant,
                pace(settings, min(steps, settings.train.max_length), chosen),
                settings.train.steps,
            )
    runs = 1 if subject == "figure4" else seeds
    on_gpu = chosen.startswith("cuda")
    for variant, found, train_steps in paces.values():
        spent_h = runs * train_steps * found.step_s / 3600
        disk = float(runs * found.weights * _BYTES * _KEPT)
        amount = f"{runs} x {train_steps:,} steps of {found.step_s:.3g} s"
        stages.append(_scaled(f"train {variant.label}", amount, spent_h, cores, on_gpu, disk))
    scoring_s = sum(found.clip_s for _, found, _ in paces.values()) * len(tested) * runs
    measuring_s = RESAMPLING_S * len(tested) * REPLICATES * _PROTOCOLS * len(paces) * runs
    stages.append(
        _scaled(
            "evaluate",
            f"{len(paces) * runs} x {len(tested):,} clips",
            (scoring_s + measuring_s) / 3600,
            cores,
            on_gpu,
        )
    )
    return Estimate(tuple(stages), machine(device), _notes(config, on_gpu))


def pace(config: PipelineConfig, steps: int, device: str) -> Pace:
    """Time one training step of the method of `config`, after one that warms up, and the scoring of one clip.

    Features are random, `steps` long. On a processor a few clips are timed and the time is scaled to the batch.
    """
    settings = config.train
    size = settings.batch_size if device.startswith("cuda") else min(settings.batch_size, _BATCH)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(config.model).to(device)
        batch = _batch(config, size, steps).to(device)
    if isinstance(model, WeakMethod):
        model.begin(settings.steps)
    how = optimisation(model, settings)
    segments = [torch.tensor([[1.0, max(2.0, steps / 4)]], device=device) for _ in range(size)]

    def train() -> None:
        masks = torch.Generator().manual_seed(0)
        model.train()
        outputs = model(batch, masks)
        terms = (
            model.losses(outputs, batch, segments)
            if isinstance(model, SupervisedMethod)
            else model.losses(outputs, batch)
        )
        terms["total"].backward()
        how.optimizer.step()
        how.optimizer.zero_grad(set_to_none=True)
        how.follow()

    train()
    step_s = _timed(train, device) * settings.batch_size / size
    one = _batch(config, 1, steps).to(device)
    clip_s = _timed(lambda: _score(model, one), device)
    return Pace(step_s, clip_s, sum(weight.numel() for weight in model.parameters()))


def _score(model: Method[Any], batch: Batch) -> None:
    with torch.inference_mode():
        model.score(batch)


def _timed(work: Any, device: str) -> float:
    began_s = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - began_s


def _batch(config: PipelineConfig, size: int, steps: int) -> Batch:
    valid = torch.ones(size, steps, dtype=torch.bool)
    return Batch(
        torch.randn(size, steps, config.model.visual_dim),
        torch.randn(size, steps, config.model.audio_dim),
        valid,
        valid.clone(),
        torch.arange(size) % 4,
    )


def _extraction(config: PipelineConfig, manifest: Manifest, splits: Sequence[str], cores: int) -> Stage:
    samples = [sample for sample in manifest.samples if sample.split in splits]
    media_s = _media_s(manifest, samples)
    core_x = EXTRACTION[_kind(config)].value
    fed_x = GPU_CORES * (DECODING.value if _kind(config) == "paper" else core_x)
    width = 2 * (config.model.visual_dim + config.model.audio_dim) + 2  # float16, and a flag a track
    name = f"extract {manifest.root.resolve().name}, {' and '.join(splits)}"
    hours = media_s / 3600
    amount = f"{len(samples):,} clips, {hours:,.1f} h"
    disk = media_s * FPS * width
    return Stage(name, amount, hours / (cores * core_x), hours / (MANY_CORES * core_x), hours / fed_x, disk)


def _media_s(manifest: Manifest, samples: Iterable[Sample]) -> float:
    lengths = [sample.duration_s for sample in samples]
    if not lengths or not all(length > 0 for length in lengths):
        problem = "has clips without a length in its metadata, so nothing can be estimated"
        raise UsageError(
            problem, manifest.root, "give a data set in the layout of LAV-DF or AV-Deepfake1M, with labels"
        )
    return sum(lengths)


def _scaled(name: str, amount: str, here_h: float, cores: int, on_gpu: bool, disk: float = 0.0) -> Stage:
    """A stage that was timed here: on more cores it takes as much less, on a GPU what it takes on one that is here."""
    return Stage(name, amount, here_h, here_h * cores / MANY_CORES, here_h if on_gpu else None, disk)


def _notes(config: PipelineConfig, on_gpu: bool) -> tuple[str, ...]:
    rate = EXTRACTION[_kind(config)]
    notes = [
        "A length is what the metadata say, and nothing that is done already is taken off",
        f"Extraction: {rate.value:g} seconds of media a second and core ({rate.where})",
        "Training and scoring were timed here, one step and one clip each, on random features of the mean length of "
        f"the clips that are evaluated; on a processor a step of {_BATCH} clips, scaled to the batch",
        f"{MANY_CORES} cores: as many times as fast as one; for training a bound, not a measurement",
    ]
    if _kind(config) == "paper":
        notes.append(
            f"1 GPU: extraction is what {GPU_CORES} cores can decode ({DECODING.value:g} seconds a second and core, "
            f"{DECODING.where}), a bound that holds if the networks keep up"
        )
    else:
        notes.append(
            f"1 GPU: these extractors run on processors, so that it is its {GPU_CORES} cores that extract"
        )
    if not on_gpu:
        notes.append("Training on a GPU was not measured: the same command on a machine with one prints it")
    return tuple(notes)


def _kind(config: PipelineConfig) -> str:
    """The preset whose extractors these are."""
    return "compact" if config.visual.network == "face_traces" else "paper"


def _number(hours: float | None) -> str:
    if hours is None:
        return "not measured"
    return f"{hours:,.1f}" if hours >= 0.95 else f"{hours:.2g}"
