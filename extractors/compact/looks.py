"""When the eye looks at a face: every few seconds, and again where it is most suspicious."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.labels import FPS

CHUNK = 125
"""Frames in which faces are looked for at once: 5 s; 44 MB of 16:9 pictures with a short side of 256."""

_APART = 5  # least distance of a further look to another one, in steps
_SMOOTHED = 9  # steps over which suspicion is averaged


class Again(NamedTuple):
    """That a face is looked at again: `looks` times in five seconds, where `suspicion` is highest.

    It takes traces (N, `MEASURES`) and validity (N,) of consecutive steps, and says how suspicious each is (N,).
    """

    looks: int
    suspicion: Callable[[NDArray[np.float16], NDArray[np.bool_]], NDArray[np.float32]]


def due_looks(seen: NDArray[np.bool_], look_every_s: float, due: int = 0) -> tuple[NDArray[np.int64], int]:
    """Steps (K,) at which a face that is `seen` (T,) is looked at, every `look_every_s` s from step `due` on, and the
    step from which on the next look is due."""
    looks: list[int] = []
    for step in np.flatnonzero(seen).tolist():
        if step >= due:
            looks.append(step)
            due = step + max(1, round(look_every_s * FPS))
    return np.array(looks, np.int64), due


def looked_at_once(steps: int, look_every_s: float) -> bool:
    """Whether a shot of so many `steps` is over before a second look is due: a further one would have none but the
    first to be compared with."""
    return steps <= round(look_every_s * FPS)


def further(steps: int, look_again: int) -> int:
    """How many looks `look_again` in five seconds are in so many `steps`, rounded up."""
    return -(-look_again * steps // CHUNK)


def further_looks(
    suspicion: NDArray[np.float32], seen: NDArray[np.bool_], looks: NDArray[np.int64], most: int
) -> NDArray[np.int64]:
    """The steps (J,) of a face, `seen` (N,) in some, at which to look beyond `looks` (K,), `most` of them.

    They are the highest of the smoothed `suspicion` (N,), and not next to each other.
    """
    steps = np.flatnonzero(seen)
    width = min(_SMOOTHED, len(suspicion))
    smooth = np.convolve(suspicion, np.ones(width) / width, "same")
    taken, found = looks.tolist(), list[int]()
    for step in steps[np.argsort(-smooth[steps], kind="stable")].tolist():
        if len(found) == most:
            break
        if all(abs(step - other) >= _APART for other in taken):
            found.append(step)
            taken.append(step)
    return np.array(sorted(found), np.int64)


def looks_at(valid: NDArray[np.bool_], looks: Sequence[int]) -> list[int]:
    """Those of `looks` at which a face is `valid` (N,), or the middle one of its steps."""
    there = [step for step in looks if valid[step]]
    steps = np.flatnonzero(valid)
    return there or steps[len(steps) // 2 :][:1].tolist()
