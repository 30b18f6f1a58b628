"""What a method is to the trainer and the scorer: one surface for RT-DeepLoc and all it is compared with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from configs.detectors import OptimiserConfig
from configs.schema import ModelConfig
from models.batch import Batch

FORGED = 1
"""Second class of whatever tells authentic from forged; the first is `data.labels.REAL`."""


@dataclass(frozen=True)
class Scores:
    """Inference result: probabilities in [0, 1], reconstruction errors >= 0, all zero where nothing is valid.

    Shapes: `video_probabilities` (B, 4) in the order of CLASSES; `visual`, `audio` and `joint` (B, T): how
    likely a step is forged, by branch; `visual_error` and `audio_error` (B, T): ‖F − F̂‖₂, None from a model
    that reconstructs nothing. `spans`, from a method that finds segments itself: for each video (P, 3) with score,
    start and end in steps, best first.
    """

    video_probabilities: Tensor
    visual: Tensor
    audio: Tensor
    joint: Tensor
    visual_error: Tensor | None
    audio_error: Tensor | None
    spans: tuple[Tensor, ...] | None = None


class VideoLogits(Protocol):
    """What the trainer reads of any forward pass."""

    @property
    def video(self) -> Tensor:
        """(B, N) logits of the video's class: the four CLASSES, or authentic and forged."""


O_contra = TypeVar("O_contra", bound=VideoLogits)


class Method(nn.Module, ABC, Generic[O_contra]):
    """Base of all methods; each is one file, and one line in `models.weights.METHODS`."""

    config: ModelConfig

    @abstractmethod
    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> O_contra:
        """One pass as in training; all that is random but dropout is drawn from `generator`."""

    @abstractmethod
    def score(self, batch: Batch, seed: int = 0) -> Scores:
        """Step scores and video probabilities, the same for the same video and seed whatever the batch."""


class WeakMethod(Method[O_contra]):
    """A method that learns from video-level labels. It cannot see an interval: a Batch has no field for them."""

    def begin(self, steps: int) -> None:
        """Told before training how many steps there will be; a resumed run takes what its checkpoint says."""

    @abstractmethod
    def losses(self, outputs: O_contra, batch: Batch) -> dict[str, Tensor]:
        """Every term of the objective by name, scalars; `total` is the one to minimise."""


class SupervisedMethod(Method[O_contra]):
    """A method that learns from the forged segments themselves."""

    @property
    @abstractmethod
    def optimiser(self) -> OptimiserConfig:
        """How it is trained, in place of Adam and what `train` says of it."""

    @abstractmethod
    def losses(self, outputs: O_contra, batch: Batch, segments: Sequence[Tensor]) -> dict[str, Tensor]:
        """As in `WeakMethod`; `segments` has (N, 2) for each video: start and end in steps."""


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, and the mode of before afterwards."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(training)
