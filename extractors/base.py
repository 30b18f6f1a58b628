"""What every extractor is: one track of one clip goes in, vectors on the grid of the pictures come out.

To add one: write its class in a file of its own, name that in `extractors.registry`, and add its name to the literal
of `network` in `configs.schema`. Most inherit `PerClip`; those that compute several clips in one pass of their network
hand out a session of `extractors.packing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Piece = tuple[NDArray[Any], NDArray[np.bool_]]
"""Consecutive media of one track with its validity (N,): RGB frames of the grid (N, H, W, 3) uint8, or 16 kHz mono
samples (N,) float32 in [-1, 1]. Invalid frames are black, invalid samples 0."""

Steps = tuple[NDArray[np.floating], NDArray[np.bool_]]
"""Consecutive steps of the grid: vectors (N, C) and validity (N,). The vector of an invalid step counts for nothing."""


class Sink(Protocol):
    """Where the steps of one clip go."""

    def append(self, values: NDArray[np.floating], valid: NDArray[np.bool_]) -> None:
        """Take the next steps: `values` (N, C), `valid` (N,)."""
        ...

    def cut(self) -> None:
        """Take note that the next step belongs to another shot, or speaker, than the last one."""
        ...

    def beside(
        self, number: int, first: int, values: NDArray[np.floating] | None, valid: NDArray[np.bool_]
    ) -> None:
        """Take steps of the person `number`, from step `first` on: `values` (N, C), `valid` (N,).

        Without `values` they are those of the clip's own steps. Steps in which nobody is seen need not come.
        """
        ...

    def note(self, name: str, text: str) -> None:
        """Keep a text with the steps."""
        ...

    def end(self) -> None:
        """Take note that no more steps come."""
        ...


class Session(Protocol):
    """An extractor at work on one clip after the other. After an error it is of no more use.

    No value may depend on the other clips or on how a clip is cut into pieces, and memory must not grow with duration.
    """

    def push(self, pieces: Iterable[Piece], sink: Sink) -> None:
        """Work through one clip. Steps go to `sink` in order, from step 0 without a hole, and then its `end` is called.

        What a shared pass still waits for goes to `sink` during a later `push`, or `finish`. Raises MemoryLimitError
        when memory runs out, WeightsError when the weights give values that are not finite.
        """
        ...

    def finish(self) -> None:
        """Compute all that still waits. Raises as `push` does."""
        ...


class Extractor(Protocol):
    """A frozen network that turns one track of a clip into vectors of length `dim`, one for each step of the grid.

    `digest` names all that shapes a value, and `dtype` is the number format that the network computes in.
    """

    @property
    def dim(self) -> int:
        """Length C of a vector."""
        ...

    @property
    def digest(self) -> str:
        """Name of all that shapes a value: schema, settings, weights, number format; 16 hex digits."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the network."""
        ...

    def session(self, fps: int) -> Session:
        """A session that gives `fps` steps a second."""
        ...

    def evidence(self, values: NDArray[np.floating]) -> NDArray[np.float32] | None:
        """Log-odds (N, 4) in the order of `data.labels.EVIDENCE` in vectors (N, C); None where they hold none."""
        ...


class ExtractorClass(Protocol):
    """How an extractor is made from its part of the settings, its weights and a torch device.

    `uses_device` says whether its network runs on that device; if not, it runs on the processor whatever the device.
    """

    uses_device: bool

    def __call__(self, config: Any, weights: Path, device: str) -> Extractor:
        """Load it. Raises WeightsError when the weights do not fit."""
        ...

    def digest_of(self, config: Any, weights: Path, device: str) -> str:
        """The `digest` that it would have, without loading the network."""
        ...


class PerClip:
    """An extractor that computes each clip alone, on the processor; it is its own session."""

    uses_device = False

    def shots(self, pieces: Iterable[Piece]) -> Iterator[Iterable[Piece]]:
        """The shots of one clip, each as pieces that are to be taken before the next shot; here the clip is one."""
        yield pieces

    def stream(self, pieces: Iterable[Piece]) -> Iterator[Steps]:
        """Steps of one shot, in order from its first, as its pieces arrive."""
        raise NotImplementedError

    def session(self, fps: int) -> Session:
        """See `Extractor.session`."""
        return self

    def push(self, pieces: Iterable[Piece], sink: Sink) -> None:
        """See `Session.push`."""
        for number, shot in enumerate(self.shots(pieces)):
            if number:
                sink.cut()
            for values, valid in self.stream(shot):
                sink.append(values, valid)
        sink.end()

    def finish(self) -> None:
        """See `Session.finish`: nothing waits."""

    def evidence(self, values: NDArray[np.floating]) -> NDArray[np.float32] | None:
        """See `Extractor.evidence`: none."""
        return None
