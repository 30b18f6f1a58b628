"""What a count of false alarms promises: an upper bound of their rate, and the line on a score that keeps it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_HALVINGS = 60


def upper_bound(events: int, trials: int, confidence: float = 0.95) -> float:
    """One-sided upper bound of a probability after `events` in `trials` independent trials; 1 without any trial.

    The probability at which so few events have the chance 1 - `confidence` (Clopper and Pearson, 1934). Raises
    ValueError for more events than trials.
    """
    if not 0 <= events <= trials:
        raise ValueError(f"{events} events in {trials} trials")
    if events == trials:
        return 1.0
    k = np.arange(1, events + 1)
    choices = np.concatenate([[0.0], np.cumsum(np.log((trials - k + 1) / k))])  # ln of n over k
    at = np.arange(events + 1)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        p = (low + high) / 2
        terms = choices + at * math.log(p) + (trials - at) * math.log1p(-p)
        if np.exp(terms).sum() > 1 - confidence:
            low = p
        else:
            high = p
    return high


class Certified(NamedTuple):
    """A line on scores, the bound that it keeps, and what the bound rests on: `alarms` of `clips` reached the line.

    `alarmed` of `people` have a clip that reached it.
    """

    line: float
    bound: float
    alarms: int
    clips: int
    alarmed: int
    people: int


def certified_line(
    scores: NDArray[np.floating], people: Sequence[str], rate: float, confidence: float = 0.95
) -> Certified | None:
    """The smallest line that at most `rate` of authentic clips reach, with `confidence`; None where there are too few.

    `scores` (N,) are those of authentic clips, `people` (N,) who is in each. The bound is counted twice, and the larger
    one holds: by clip, as if all were independent, and by person, where each counts as one trial and as an alarm as
    soon as one clip of theirs is, since clips of one person are not independent. Raises ValueError when a score is
    not a number.
    """
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    names = np.asarray(people)
    everybody = len(np.unique(names))
    kept: Certified | None = None
    for level in [np.inf, *np.unique(scores)[::-1].tolist()]:
        reached = scores >= level
        alarms, alarmed = int(reached.sum()), len(np.unique(names[reached]))
        bound = max(upper_bound(alarms, len(scores), confidence), upper_bound(alarmed, everybody, confidence))
        if bound > rate:
            # Just above the score that is one too many.
            return kept._replace(line=float(np.nextafter(level, np.inf))) if kept is not None else None
        kept = Certified(-math.inf, bound, alarms, len(scores), alarmed, everybody)
    return kept
