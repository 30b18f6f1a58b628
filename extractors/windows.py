"""The time axis of all audio networks: steps of 20 ms, and windows of a waveform that are computed alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HOP = 320  # samples from one step to the next: 20 ms
RECEPTIVE = 400  # samples that one step of the convolutional encoder sees: 25 ms


@dataclass(frozen=True)
class AudioSteps:
    """Consecutive 50 Hz steps from step `first`: values (N, C) float32, valid (N,) bool.

    Step k sees samples ``[320k, 320k + 400)``. It is invalid when fewer than half of those that exist are valid;
    its vector is then zero.
    """

    first: int
    values: NDArray[np.float32]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class Window:
    """Samples (N,) float32 that one pass sees, from step `first` on, and the steps that are kept of it.

    Kept are steps `core_first` and the following, whose validity `valid` (N,) bool holds. Windows below one receptive
    field are zero-padded to it.
    """

    first: int
    core_first: int
    samples: NDArray[np.float32]
    valid: NDArray[np.bool_]


def step_count(samples: int) -> int:
    """Steps T of a clip of L samples: ``floor((L - 400) / 320) + 1``; one for shorter clips, none for an empty one."""
    if samples <= 0:
        return 0
    return max(0, samples - RECEPTIVE) // HOP + 1


def samples_through(steps: int) -> int:
    """Samples that `steps` steps see."""
    return (steps - 1) * HOP + RECEPTIVE


def cut_windows(
    batches: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]], core: int, context: int
) -> Iterator[Window]:
    """Windows of `core` steps with `context` more on both sides, of a waveform that arrives in consecutive pieces.

    Pieces are samples (N,) float32 and their validity (N,) bool. The windows do not depend on how the waveform is cut;
    at most one window and one incoming piece are held in memory.

    Raises ValueError for pieces of other shapes.
    """
    samples, valid = np.empty(0, np.float32), np.empty(0, np.bool_)
    held_from = 0  # step at which the held samples begin
    core_first = 0
    for piece, flags in batches:
        if piece.ndim != 1 or piece.shape != flags.shape:
            raise ValueError(f"samples and flags must both be (N,), got {piece.shape} and {flags.shape}")
        samples = np.concatenate([samples, piece.astype(np.float32, copy=False)])
        valid = np.concatenate([valid, flags.astype(np.bool_, copy=False)])
        # One sample more than the window needs, so that a last, complete window is left for the end of the stream.
        while len(samples) > samples_through(core_first + core + context - held_from):
            core_stop = core_first + core
            size = samples_through(core_stop + context - held_from)
            yield _window(samples[:size], valid[:size], held_from, core_first, core_stop)
            core_first = core_stop
            drop = max(0, core_first - context - held_from)
            samples, valid = samples[drop * HOP :], valid[drop * HOP :]
            held_from += drop
    total = held_from + step_count(len(samples))
    if total > core_first:
        yield _window(samples, valid, held_from, core_first, total)


def _window(
    samples: NDArray[np.float32], valid: NDArray[np.bool_], first: int, core_first: int, core_stop: int
) -> Window:
    padded = np.zeros(max(len(samples), RECEPTIVE), np.float32)  # of its own: it may wait for others
    padded[: len(samples)] = samples
    return Window(first, core_first, padded, _step_validity(valid)[core_first - first : core_stop - first])


def _step_validity(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Per step, whether at least half of the samples that it sees are valid; (N,) samples to (T,) steps."""
    running = np.concatenate([[0], np.cumsum(valid, dtype=np.int64)])
    starts = np.arange(step_count(len(valid))) * HOP
    stops = np.minimum(starts + RECEPTIVE, len(valid))
    return (running[stops] - running[starts]) * 2 >= stops - starts
