"""Training of the vocoders on authentic speech; it can be stopped at any step and resumed."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from data.audio import speech_activity
from data.errors import ForensicError, InputError, UsageError
from data.files import replacing
from data.hook import Hook, silent
from data.text import printable
from pipeline.forging.vocoders.adversary import Judges, SpectralDistance, fooling_loss, judging_loss
from pipeline.forging.vocoders.networks import MAKES, Vocoder
from pipeline.forging.vocoders.speak import read_vocoder
from pipeline.media.whole import DECODE, read_sound

CROP = 8000
"""Samples of one example, rounded down to whole hops."""

WEIGHT = 4.0
"""Of the spectral distance beside the judges' opinion."""

FORGETTING = 0.999
"""Of the running mean of the weights, which is what ships: it needs no plan for when the training ends."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """Steps in all, those of them without judges at the start, examples a step, and steps between two saves."""

    steps: int
    alone: int
    batch: int = 8
    save_every: int = 100


def read_speech(paths: Sequence[Path], hook: Hook = silent) -> list[NDArray[np.float32]]:
    """Those of the recordings at `paths` in which somebody speaks, mono 16 kHz; one that cannot be read is left out.

    Raises InputError when there are none.
    """
    recordings = []
    for done, path in enumerate(paths, start=1):
        try:
            samples = read_sound(path, DECODE)
        except ForensicError as error:
            _LOG.warning("left out: %s", printable(str(error)))
            continue
        if samples is not None and len(samples) > CROP and speech_activity(samples).any():
            recordings.append(samples)
        hook("listen", done, len(paths))
    if not recordings:
        raise InputError(
            f"none of {len(paths)} recordings holds speech", fix="give speech of the train split"
        )
    return recordings


def train(
    make: str,
    speech: Sequence[NDArray[np.float32]],
    out: Path,
    schedule: Schedule,
    seed: int = 0,
    hook: Hook = silent,
) -> Path:
    """Train the vocoder called `make` on `speech`, and return the path of its weights in `out`.

    Goes on from the state that an earlier run left in `out`; where there are weights alone, with judges of its own.

    Raises UsageError when there is no such make, or `out` cannot be written, InputError when what is there is damaged.
    """
    if make not in MAKES:
        raise UsageError(f"there is no vocoder '{make}'", fix=f"known are {', '.join(MAKES)}")
    torch.manual_seed(seed)
    weights, state = out / f"{make}.safetensors", out / f"{make}.state.pt"
    begun = MAKES[make]() if state.is_file() or not weights.is_file() else _begun(make, weights)
    run = _Run(begun, state, schedule)
    examples = _examples(speech, schedule.batch, run.vocoder.hop, seed, run.step)
    while run.step < schedule.steps:
        run.learn(next(examples))
        if run.step % schedule.save_every == 0 or run.step == schedule.steps:
            run.save()
            save_weights(run.mean, weights)
            _LOG.info("%s: step %d, mel distance %.3f", make, run.step, run.distance)
        hook(f"{make} ({run.distance:.2f})", run.step, schedule.steps)
    return weights


def _begun(make: str, weights: Path) -> Vocoder:
    try:
        return read_vocoder(make, weights)
    except (ValueError, SafetensorError) as error:
        raise InputError(f"cannot be gone on from ({error})", weights, "delete it to start again") from error


def save_weights(vocoder: Vocoder, path: Path) -> None:
    """Write the weights in half precision."""
    tensors = {name: value.half().contiguous() for name, value in vocoder.weights().items()}
    with replacing(path) as partial:
        save_file(tensors, str(partial))


class _Run:
    """A vocoder, its running mean, the discriminators, and the number of steps trained."""

    def __init__(self, vocoder: Vocoder, path: Path, schedule: Schedule) -> None:
        self.vocoder, self._path, self._schedule = vocoder, path, schedule
        self.mean = copy.deepcopy(vocoder)
        self._judges, self._far = Judges(), SpectralDistance()
        self._makes = torch.optim.AdamW(vocoder.parameters(), 1e-3, betas=(0.8, 0.99))
        self._judging = torch.optim.AdamW(self._judges.parameters(), 4e-4, betas=(0.8, 0.99))
        self.step, self.distance = 0, 0.0
        if path.is_file():
            self._load()

    def learn(self, real: Tensor) -> None:
        """One step on examples (N, L)."""
        made = self.vocoder.copy(real)
        loss = WEIGHT * self._far(real, made)
        if self.step >= self._schedule.alone:
            self._judging.zero_grad()
            verdicts = self._judges(torch.cat([real, made.detach()]))
            real_seen, made_seen = _halves(verdicts)
            judged = judging_loss(real_seen, made_seen)
            judged.backward()
            self._judging.step()
            for weight in self._judges.parameters():
                weight.requires_grad_(False)
            loss = loss + fooling_loss(real_seen, self._judges(made))
            for weight in self._judges.parameters():
                weight.requires_grad_(True)
        self._makes.param_groups[0]["lr"] = 1e-3 if self.step < self._schedule.alone else 4e-4
        self._makes.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.vocoder.parameters(), 10.0)
        self._makes.step()
        self.step += 1
        share = min(FORGETTING, self.step / (self.step + 10))
        with torch.no_grad():
            for mean, now in zip(self.mean.parameters(), self.vocoder.parameters(), strict=True):
                mean.lerp_(now, 1 - share)
            recent = float(self._far.mel(real, made))
        self.distance = recent if self.distance == 0.0 else 0.98 * self.distance + 0.02 * recent

    def save(self) -> None:
        """Write all that a resumed training needs."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        with replacing(self._path) as partial:
            torch.save({"step": self.step, "distance": self.distance, **parts}, partial)

    def _load(self) -> None:
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
            for name, part in self._parts().items():
                if isinstance(part, Vocoder):
                    part.load_state_dict(state[name], strict=False)
                else:
                    part.load_state_dict(state[name])
            self.step, self.distance = int(state["step"]), float(state["distance"])
        except Exception as error:  # torch.load raises whatever the damage makes of zip and pickle
            raise InputError(
                f"cannot be gone on from ({error})", self._path, "delete it to start again"
            ) from error

    def _parts(self) -> dict[str, torch.nn.Module | torch.optim.Optimizer]:
        return {
            "vocoder": self.vocoder,
            "mean": self.mean,
            "judges": self._judges,
            "makes": self._makes,
            "judging": self._judging,
        }


def _halves(verdicts: list[tuple[Tensor, list[Tensor]]]) -> tuple[list[tuple[Tensor, list[Tensor]]], ...]:
    """The verdicts on the first and on the second half of a batch."""
    sides = []
    for side in (0, 1):
        sides.append([(score.chunk(2)[side], [x.chunk(2)[side] for x in seen]) for score, seen in verdicts])
    return tuple(sides)


def _examples(
    speech: Sequence[NDArray[np.float32]], batch: int, hop: int, seed: int, step: int
) -> Iterator[Tensor]:
    """Batches (batch, CROP in whole hops): long recordings more often, each at a level of its own."""
    length = CROP // hop * hop
    share = np.sqrt([len(samples) for samples in speech])
    share /= share.sum()
    while True:
        rng = np.random.default_rng([seed, step])
        crops: list[NDArray[np.float32]] = []
        while len(crops) < batch:
            samples = speech[int(rng.choice(len(speech), p=share))]
            first = int(rng.integers(len(samples) - length + 1))
            crop = samples[first : first + length]
            peak = float(np.abs(crop).max())
            if peak > 0.01:  # silence teaches nothing
                crops.append(crop * np.float32(rng.uniform(0.3, 0.95) / max(peak, 0.1)))
        yield torch.from_numpy(np.stack(crops))
        step += 1
