"""What a count of false alarms promises: an upper bound of their rate, and the line on a score that keeps it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

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

    Of each of the `people` one clip was drawn; `alarmed` of these reached it.
    """

    line: float
    bound: float
    alarms: int
    clips: int
    alarmed: int
    people: int


def promised(
    scores: NDArray[np.floating], people: Sequence[str], line: float, confidence: float = 0.95
) -> Certified:
    """What `line` promises after the `scores` (N,) of authentic clips; `people` (N,) says who is in each.

    The bound is counted twice, and the larger one holds: by clip, as if all were independent, which clips of one person
    are not, and by one clip of each person, drawn without regard to its score: these are independent, and each is an
    alarm as often as any clip of any person is. Raises ValueError when a score is not a number.
    """
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    clips: dict[str, list[int]] = {}
    for k, person in enumerate(people):
        clips.setdefault(person, []).append(k)
    drawn = [of[crc32(person.encode()) % len(of)] for person, of in clips.items()]
    reached = scores >= line
    alarms, alarmed = int(reached.sum()), int(reached[drawn].sum())
    by_clip = upper_bound(alarms, len(scores), confidence)
    bound = max(by_clip, upper_bound(alarmed, len(drawn), confidence))
    return Certified(line, bound, alarms, len(scores), alarmed, len(drawn))


def certified_line(
    scores: NDArray[np.floating], people: Sequence[str], rate: float, confidence: float = 0.95
) -> Certified | None:
    """The smallest line whose `promised` bound is at most `rate`; None where there are too few clips or people.

    Arguments and errors are those of `promised`.
    """
    best = promised(scores, people, math.inf, confidence)
    if best.bound > rate:
        return None
    for level in np.unique(scores)[::-1].tolist():
        tried = promised(scores, people, level, confidence)
        if tried.bound > rate:
            # Just above the score that is one too many.
            return best._replace(line=float(np.nextafter(level, np.inf)))
        best = tried
    return best._replace(line=-math.inf)
