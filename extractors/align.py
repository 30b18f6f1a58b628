"""Temporal pooling of 50 Hz audio features onto the visual grid, by time and not by index (paper 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from data.labels import RATE
from extractors.windows import HOP, RECEPTIVE, AudioSteps


@dataclass(frozen=True)
class GridSteps:
    """Consecutive steps of the visual grid from step `first`: values (N, C) float16, valid (N,) bool.

    A step without a valid audio step is invalid and its vector is zero.
    """

    first: int
    values: NDArray[np.float16]
    valid: NDArray[np.bool_]


class GridPooler:
    """Averages, for each grid step, the valid audio steps whose centres fall into it.

    Audio step k is centred on sample 320k + 200; grid step j covers [j/fps, (j+1)/fps) seconds. Where both sequences
    start at 0 and span the same time this equals `torch.nn.AdaptiveAvgPool1d`, as earlier work of
    the paper's authors pools. Memory does not grow with the number of steps, and the result does not depend on how
    the input is cut.
    """

    def __init__(self, fps: Fraction | int = 25) -> None:
        self._fps = fps
        self._first = 0  # of the audio steps held, whose grid step may still receive more
        self._values: NDArray[np.float32] | None = None
        self._valid = np.empty(0, np.bool_)

    def push(self, batch: AudioSteps) -> list[GridSteps]:
        """The grid steps that `batch` completes, in at most one piece.

        Raises ValueError when `batch` does not continue the one before it.
        """
        if self._values is None:
            self._first, self._values, self._valid = batch.first, batch.values, batch.valid
        else:
            expected = self._first + len(self._values)
            if batch.first != expected:
                raise ValueError(
                    f"audio steps must be consecutive: expected step {expected}, got {batch.first}"
                )
            self._values = np.concatenate([self._values, batch.values])
            self._valid = np.concatenate([self._valid, batch.valid])
        targets = self._targets()
        closed = int(np.searchsorted(targets, targets[-1])) if len(targets) else 0
        return [self._release(targets, closed, int(targets[closed]))] if closed else []

    def finish(self) -> list[GridSteps]:
        """The grid step that the last audio steps belong to; none where there were none."""
        targets = self._targets()
        return [self._release(targets, len(targets), int(targets[-1]) + 1)] if len(targets) else []

    def _targets(self) -> NDArray[np.int64]:
        """Grid step of each audio step held."""
        held = len(self._values) if self._values is not None else 0
        return _grid_index(np.arange(self._first, self._first + held), self._fps)

    def _release(self, targets: NDArray[np.int64], count: int, stop: int) -> GridSteps:
        """Means of the first `count` audio steps held, up to grid step `stop`."""
        assert self._values is not None
        start = 0 if self._first == 0 else int(targets[0])
        steps = _average(self._values[:count], self._valid[:count], targets[:count], start, stop)
        self._values, self._valid, self._first = (
            self._values[count:],
            self._valid[count:],
            self._first + count,
        )
        return steps


def _grid_index(steps: NDArray[np.int64], fps: Fraction | int) -> NDArray[np.int64]:
    """Grid step that holds the centre of each audio step, in exact integer arithmetic."""
    rate = Fraction(fps)
    return (HOP * steps + RECEPTIVE // 2) * rate.numerator // (RATE * rate.denominator)


def _average(
    values: NDArray[np.float32], valid: NDArray[np.bool_], targets: NDArray[np.int64], first: int, stop: int
) -> GridSteps:
    """Means of the valid rows of `values` per grid step ``first .. stop - 1``."""
    sums = np.zeros((stop - first, values.shape[1]), np.float64)
    np.add.at(sums, targets[valid] - first, values[valid])
    counts = np.bincount(targets[valid] - first, minlength=stop - first)
    means = sums / np.maximum(counts, 1)[:, None]
    return GridSteps(first, means.astype(np.float16), counts > 0)
