"""Training of RT-DeepLoc and its peers on stored features, with video-level labels only (paper 4.1).

The fully supervised methods of Table 1 train here too, with the forged intervals and an optimiser of their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from configs.schema import PipelineConfig, TrainConfig
from data.errors import ForensicError, UsageError
from data.hook import Hook, silent
from data.labels import REAL
from data.manifest import Manifest
from data.store.store import FeatureStore
from models.batch import Batch
from models.method import SupervisedMethod, WeakMethod
from models.weights import build, supervised
from pipeline.evaluation.metrics import auc
from pipeline.runtime import choose_device
from pipeline.training.dataset import (
    BatchPlan,
    Entry,
    FeatureDataset,
    LocatedDataset,
    LocatedEntry,
    collate,
    collate_located,
)
from pipeline.training.entries import Keys, located_entries, weak_entries
from pipeline.training.optimiser import Optimisation, optimisation
from pipeline.training.run_folder import Metrics, RunFolder

_LOG = logging.getLogger(__name__)

DEV_CLIPS = 1024
"""Most dev clips that are scored beside a checkpoint; a fixed draw of them where there are more."""


class TrainingError(ForensicError):
    """Training failed: the loss is no longer a number."""


def train(
    config: PipelineConfig,
    manifest: Manifest,
    store: FeatureStore,
    out: Path,
    keys: Keys,
    *,
    bundle: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    workers: int = 0,
    hook: Hook = silent,
) -> Path:
    """Train on the `train` split and return the folder of the final weights, ``out/weights``.

    Of `manifest` only files and video-level labels are read, never intervals, unless the method is fully supervised.
    The last step's weights are kept: nothing is selected. Beside each checkpoint, video-level accuracy and AUC on the
    `dev` split are written. `bundle` holds the extractors' weights, which are copied beside the result. With
    `resume`, a run that was interrupted goes on to the same weights; without a checkpoint it starts. Under
    `accelerate launch` or `torchrun` every process takes an equal part of the batch.

    Raises UsageError for settings, data or folders that do not fit, StoreError for damaged features,
    TrainingError when the loss diverges, KeyboardInterrupt after SIGINT or SIGTERM, when a checkpoint has been saved.
    """
    folder = RunFolder(out)
    accelerator = _accelerator(config, device)
    if folder.checkpoint.exists() and not resume:
        raise UsageError("holds a training run", out, "resume it (--resume) or choose another folder")
    with accelerator.main_process_first():
        entries: Sequence[Entry] | Sequence[LocatedEntry]
        if supervised(config.model):
            entries = located_entries(manifest, manifest.located("train"), store, keys)
            _check(config, store, [one.entry for one in entries])
        else:
            entries = weak_entries(manifest, manifest.weak("train"), store, keys)
            _check(config, store, entries)
        dev = weak_entries(manifest, manifest.weak("dev"), store, keys)
    with _deterministic():
        run = _Run(config, folder, accelerator, store, entries, dev)
        run.go(resume, workers, hook if accelerator.is_main_process else silent)
        if accelerator.is_main_process:
            folder.save_weights(run.model, config, bundle)
        accelerator.wait_for_everyone()
    return folder.weights


class _Step(nn.Module):
    """Losses of one batch in one module, so that data parallelism and mixed precision wrap them together."""

    def __init__(self, model: WeakMethod[Any] | SupervisedMethod[Any]) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, batch: Batch, generator: torch.Generator, segments: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Every term of the objective, and the share of videos whose class is right.

        A method of two classes is right when it tells authentic from forged.
        """
        outputs = self.model(batch, generator)
        if isinstance(self.model, SupervisedMethod):
            terms = self.model.losses(outputs, batch, segments)
        else:
            terms = self.model.losses(outputs, batch)
        right = outputs.video.argmax(dim=-1) == batch.label.clamp(max=outputs.video.shape[-1] - 1)
        return terms | {"video_accuracy": right.float().mean()}


class _Run:
    """The loop and what it moves: model, optimizer, step."""

    def __init__(
        self,
        config: PipelineConfig,
        folder: RunFolder,
        accelerator: Accelerator,
        store: FeatureStore,
        entries: Sequence[Entry] | Sequence[LocatedEntry],
        dev: Sequence[Entry],
    ) -> None:
        self.config, self.folder, self.accelerator = config, folder, accelerator
        model, settings = config.model, config.train
        limits = (model.visual_dim, model.audio_dim, settings.max_length, settings.seed)
        located = [one for one in entries if isinstance(one, LocatedEntry)]
        weak = [one for one in entries if isinstance(one, Entry)]
        self._labels = [one.label for one in (*weak, *(one.entry for one in located))]
        self._train_set = (
            LocatedDataset(store, located, *limits) if located else FeatureDataset(store, weak, *limits)
        )
        self._dev_set = FeatureDataset(store, dev, *limits)
        torch.manual_seed(_seed(settings.seed, 0))
        self._trained = build(model)
        if isinstance(self._trained, WeakMethod):
            self._trained.begin(settings.steps)
        self._how: Optimisation = optimisation(self._trained, settings)
        self._module, self._optimizer = accelerator.prepare(_Step(self._trained), self._how.optimizer)
        self._how.state.to(accelerator.device)  # the average of the weights too
        self._identity = {
            "model (settings)": config.model.digest(),
            "training (settings)": settings.digest() if located else _lasting(settings),
            "data set or features": _fingerprint(entries),
            "number of processes": str(accelerator.num_processes),
        }

    @property
    def model(self) -> WeakMethod[Any] | SupervisedMethod[Any]:
        """The result: what is trained, or the moving average of its weights."""
        return self._how.result

    def go(self, resume: bool, workers: int, hook: Hook) -> None:
        """Train from step 0, or from the checkpoint, to the last step."""
        settings, accelerator = self.config.train, self.accelerator
        start = 0
        if resume and self.folder.checkpoint.exists():
            start = self.folder.load_checkpoint(self._how.state, self._optimizer.optimizer, self._identity)
            _LOG.info("resuming after step %d of %d", start, settings.steps)
        steps = range(start, settings.steps)
        main = accelerator.is_main_process
        with contextlib.ExitStack() as stack:
            metrics = stack.enter_context(Metrics(self.folder.root, start)) if main else None
            interrupted = stack.enter_context(_interruption())
            total: dict[str, Tensor] = {}
            since, began_s = start, time.perf_counter()
            hook("train", start, settings.steps)
            for step, (tensors, segments) in zip(steps, self._loader(steps, workers), strict=True):
                terms = self._advance(step, Batch(**tensors).to(accelerator.device), segments)
                total = {name: total.get(name, 0.0) + term.detach() for name, term in terms.items()}
                done = step + 1
                stop, last = self._agree(bool(interrupted)), done == settings.steps
                saving = stop or last or done % settings.checkpoint_every == 0
                if saving or done % settings.log_every == 0:
                    row = self._mean(total, done - since)
                    row["learning_rate"] = self._how.rate(step)
                    row["steps_per_s"] = (done - since) / max(time.perf_counter() - began_s, 1e-9)
                    if not math.isfinite(row["total"]):
                        fix = f"lower {self._how.knob}; the last checkpoint is kept"
                        raise TrainingError(
                            f"the loss is {row['total']} at step {done}", self.folder.root, fix
                        )
                    if metrics is not None:
                        metrics.write(done, "train", row)
                    total, since, began_s = {}, done, time.perf_counter()
                if saving:
                    self._save(done, metrics, judge=not stop)
                hook("train", done, settings.steps)
                if stop:
                    message = f"interrupted after step {done}; the same command with --resume continues"
                    _LOG.warning("%s: %s", self.folder.root, message)
                    raise KeyboardInterrupt(message)

    def _advance(self, step: int, batch: Batch, segments: Sequence[Tensor]) -> dict[str, Tensor]:
        """One update of the weights; all that is random in it follows from seed, step and process."""
        settings, accelerator = self.config.train, self.accelerator
        rank = accelerator.process_index
        torch.manual_seed(_seed(settings.seed, 1, step, rank))  # dropout
        masks = torch.Generator().manual_seed(_seed(settings.seed, 2, step, rank))
        for group in self._optimizer.param_groups:
            group["lr"] = self._how.rate(step)
        self._module.train()
        terms: dict[str, Tensor] = self._module(batch, masks, segments)
        accelerator.backward(terms["total"])
        if self._how.clip_norm is not None:
            accelerator.clip_grad_norm_(self._module.parameters(), self._how.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._how.follow()
        return terms

    def _loader(self, steps: range, workers: int) -> DataLoader[tuple[dict[str, Tensor], list[Tensor]]]:
        settings, accelerator = self.config.train, self.accelerator
        plan = BatchPlan(
            self._labels,
            settings.batch_size,
            steps,
            settings.seed,
            settings.balance_classes,
            accelerator.process_index,
            accelerator.num_processes,
        )
        return DataLoader(
            cast("Dataset[Any]", self._train_set),  # batches are what collate_located makes of the items
            batch_sampler=plan,
            collate_fn=collate_located,
            num_workers=workers,
            worker_init_fn=_leave_signals_alone,
        )

    def _agree(self, stop: bool) -> bool:
        """Whether any process was told to stop: all have to leave the loop after the same step."""
        if self.accelerator.num_processes == 1:
            return stop
        flag = torch.tensor(float(stop), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, reduction="sum") > 0)

    def _mean(self, total: dict[str, Tensor], steps: int) -> dict[str, float]:
        stacked = self.accelerator.reduce(
            torch.stack([term.float() for term in total.values()]) / steps, "mean"
        )
        return dict(zip(total, stacked.tolist(), strict=True))

    def _save(self, done: int, metrics: Metrics | None, judge: bool) -> None:
        if self.accelerator.is_main_process:
            self.folder.save_checkpoint(done, self._how.state, self._optimizer.optimizer, self._identity)
        if metrics is not None and judge and len(self._dev_set):
            metrics.write(done, "dev", self._judge())
        self.accelerator.wait_for_everyone()

    def _judge(self) -> dict[str, float]:
        """Video-level accuracy over four classes and AUC of forged against authentic on dev clips; no intervals."""
        size, clips = self.config.train.batch_size, len(self._dev_set)
        chosen = np.random.default_rng(0).permutation(clips)[:DEV_CLIPS]
        probabilities, labels = [], []
        for first in range(0, len(chosen), size):
            items = [self._dev_set[int(i), int(i)] for i in chosen[first : first + size]]
            batch = Batch(**collate(items)).to(self.accelerator.device)
            probabilities.append(self.model.score(batch).video_probabilities.float().cpu().numpy())
            labels.append(batch.label.cpu().numpy())
        return video_scores(np.concatenate(probabilities), np.concatenate(labels))


def video_scores(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> dict[str, float]:
    """Accuracy over the four classes, and AUC of 1 - P(real) for forged against authentic videos.

    Shapes: (N, 4), (N,). Without videos of both kinds there is no `video_auc`.
    """
    right = probabilities.argmax(axis=1) == labels
    row = {"video_accuracy": float(right.mean()), "clips": float(len(labels))}
    forged = labels != REAL
    if forged.any() and not forged.all():
        row["video_auc"] = auc(1 - probabilities[:, REAL], forged)
    return row


def _check(config: PipelineConfig, store: FeatureStore, entries: Sequence[Entry]) -> None:
    """Refuse early what the first batch would refuse."""
    if not entries:
        problem = "no clip of the train split has features of both tracks in this store"
        raise UsageError(
            problem, store.root, "extract them first (pipeline extract) with the same preset and weights"
        )
    limits = (config.model.visual_dim, config.model.audio_dim, 1, 0)
    _ = FeatureDataset(store, entries[:1], *limits)[0, 0]


def _accelerator(config: PipelineConfig, device: str) -> Accelerator:
    settings = config.train
    # A stage of FuSTAL leaves the weights of the others without gradients.
    parallel = DistributedDataParallelKwargs(find_unused_parameters=config.model.method == "fustal")
    try:
        return Accelerator(
            cpu=choose_device(device) == "cpu",
            mixed_precision=settings.mixed_precision,
            kwargs_handlers=[parallel],
        )
    except ValueError as error:  # its state is one per process
        problem = f"this process cannot change to device {device} and precision {settings.mixed_precision}"
        raise UsageError(f"{problem} ({error})", None, "use a new process") from error


def _seed(*path: int) -> int:
    """An independent 63-bit seed for every path of numbers."""
    return int(np.random.SeedSequence([n % 2**32 for n in path]).generate_state(1, np.uint64)[0] >> 1)


def _lasting(settings: TrainConfig) -> str:
    """Digest of the settings that shape the weights at a given step: a run may be resumed with more steps."""
    free: dict[str, Any] = {"steps": 1, "checkpoint_every": 1, "log_every": 1}
    return settings.model_copy(update=free).digest()


def _fingerprint(entries: Sequence[Entry] | Sequence[LocatedEntry]) -> str:
    return hashlib.sha256(repr([tuple(entry) for entry in entries]).encode()).hexdigest()


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """Deterministic kernels where PyTorch has them, so that a resumed run ends in the same weights on a GPU too."""
    before, warning = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warning)


@contextlib.contextmanager
def _interruption() -> Iterator[list[int]]:
    """Signals received so far; the loop asks between steps, since a half-made update must not be saved.

    A second signal of a kind has its usual effect.
    """
    received: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    try:
        yield received
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _leave_signals_alone(worker: int) -> None:
    # Ctrl-C reaches the whole process group, and forked workers inherit the handler: the main process decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
