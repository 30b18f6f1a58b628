"""Temporal pooling of 50 Hz audio features onto the visual grid, by time and not by index (paper 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from extractors.wav2vec2 import HOP, RECEPTIVE, SAMPLE_RATE, AudioSteps


@dataclass(frozen=True)
class GridSteps:
    """Consecutive steps of the visual grid from step `first`: values (N, C) float16, valid (N,) bool.

    A step without a valid audio step is invalid and its vector is zero.
    """

    first: int
    values: NDArray[np.float16]
    valid: NDArray[np.bool_]


def pool_to_grid(steps: Iterable[AudioSteps], fps: Fraction | int = 25) -> Iterator[GridSteps]:
    """Averages, for each grid step, the valid audio steps whose centres fall into it.

    Audio step k is centred on sample 320k + 200; grid step j covers [j/fps, (j+1)/fps) seconds. Where both sequences
    start at 0 and span the same time this equals `torch.nn.AdaptiveAvgPool1d`, as earlier work of
    the paper's authors pools. Memory does not grow with the number of steps, and the result does not depend on how
    the input is cut.

    Raises ValueError when a batch does not continue the one before it.
    """
    expected: int | None = None
    open_values: NDArray[np.float32] | None = None  # audio steps of the grid step that may still receive more
    open_valid = np.empty(0, np.bool_)
    open_first = 0
    for batch in steps:
        if expected is not None and batch.first != expected:
            raise ValueError(f"audio steps must be consecutive: expected step {expected}, got {batch.first}")
        expected = batch.first + len(batch.values)
        if open_values is None:
            open_values, open_valid, open_first = batch.values, batch.valid, batch.first
        else:
            open_values = np.concatenate([open_values, batch.values])
            open_valid = np.concatenate([open_valid, batch.valid])
        targets = _grid_index(np.arange(open_first, expected), fps)
        closed = int(np.searchsorted(targets, targets[-1])) if len(targets) else 0
        if closed:
            start = 0 if open_first == 0 else int(targets[0])
            yield _average(
                open_values[:closed], open_valid[:closed], targets[:closed], start, int(targets[closed])
            )
            open_values, open_valid, open_first = (
                open_values[closed:],
                open_valid[closed:],
                open_first + closed,
            )
    if open_values is not None and len(open_values):
        targets = _grid_index(np.arange(open_first, open_first + len(open_values)), fps)
        start = 0 if open_first == 0 else int(targets[0])
        yield _average(open_values, open_valid, targets, start, int(targets[-1]) + 1)


def pool_array(
    values: NDArray[np.float32], valid: NDArray[np.bool_] | None = None, fps: Fraction | int = 25
) -> GridSteps:
    """`pool_to_grid` of a whole sequence (N, C) that starts at audio step 0; `valid` (N,) defaults to all."""
    flags = valid if valid is not None else np.ones(len(values), np.bool_)
    parts = list(pool_to_grid([AudioSteps(0, values, flags)], fps))
    if not parts:
        return GridSteps(0, np.empty((0, values.shape[1]), np.float16), np.empty(0, np.bool_))
    return GridSteps(0, np.concatenate([p.values for p in parts]), np.concatenate([p.valid for p in parts]))


def _grid_index(steps: NDArray[np.int64], fps: Fraction | int) -> NDArray[np.int64]:
    """Grid step that holds the centre of each audio step, in exact integer arithmetic."""
    rate = Fraction(fps)
    return (HOP * steps + RECEPTIVE // 2) * rate.numerator // (SAMPLE_RATE * rate.denominator)


def _average(
    values: NDArray[np.float32], valid: NDArray[np.bool_], targets: NDArray[np.int64], first: int, stop: int
) -> GridSteps:
    """Means of the valid rows of `values` per grid step ``first .. stop - 1``."""
    sums = np.zeros((stop - first, values.shape[1]), np.float64)
    np.add.at(sums, targets[valid] - first, values[valid])
    counts = np.bincount(targets[valid] - first, minlength=stop - first)
    means = sums / np.maximum(counts, 1)[:, None]
    return GridSteps(first, means.astype(np.float16), counts > 0)
