"""Stretches of a clip as what is measured of a face, step by step, and the windows that a network sees of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from extractors.compact.energies import CHANNELS, SIDE

MEASURES = len(CHANNELS) * SIDE * SIDE

_CORE, _CONTEXT = 250, 125  # steps that a pass of the network keeps, and that it sees on either side


class Stretch(NamedTuple):
    """Consecutive steps: traces (N, `MEASURES`) of the face in each, whether it has one (N,), and what the eye saw.

    `looks` (K,) are the steps of this stretch whose faces `seen` (K, E) were looked at, `due` (K,) those of them that
    were due whatever is in the clip; at the others something was suspicious.
    """

    traces: NDArray[np.float16]
    valid: NDArray[np.bool_]
    looks: NDArray[np.int64]
    seen: NDArray[np.float16]
    due: NDArray[np.bool_]

    @classmethod
    def blank(cls, length: int, eye: int) -> Stretch:
        """`length` steps without a face, before an eye that says `eye` numbers."""
        return cls(
            np.zeros((length, MEASURES), np.float16),
            np.zeros(length, np.bool_),
            np.zeros(0, np.int64),
            np.zeros((0, eye), np.float16),
            np.zeros(0, np.bool_),
        )

    def only(self, valid: NDArray[np.bool_], looks: Sequence[int]) -> Stretch:
        """The same with a face only where `valid` (N,), and of what was due that at `looks`."""
        chosen = valid[self.looks] & (np.isin(self.looks, looks) | ~self.due)
        return Stretch(self.traces, valid, self.looks[chosen], self.seen[chosen], self.due[chosen])

    def then(self, other: Stretch) -> Stretch:
        """This stretch and the `other` after it."""
        return Stretch(
            np.concatenate([self.traces, other.traces]),
            np.concatenate([self.valid, other.valid]),
            np.concatenate([self.looks, other.looks + len(self.valid)]),
            np.concatenate([self.seen, other.seen]),
            np.concatenate([self.due, other.due]),
        )

    def beside(self, other: Stretch) -> Stretch:
        """This stretch and another of the same steps, in none of which both have a face."""
        order = np.argsort(looks := np.concatenate([self.looks, other.looks]), kind="stable")
        return Stretch(
            np.where(other.valid[:, None], other.traces, self.traces),
            self.valid | other.valid,
            looks[order],
            np.concatenate([self.seen, other.seen])[order],
            np.concatenate([self.due, other.due])[order],
        )


Numbered = tuple[Stretch, dict[int, Stretch]]
"""A stretch of the face that leads, and the stretches of the same steps of people, by number."""


def windows(parts: Iterable[Numbered]) -> Iterator[tuple[Stretch, dict[int, Stretch], slice]]:
    """Stretches that overlap, each with the part of it that is its own; together these are all steps."""
    held: Numbered | None = None
    lead = 0  # steps held that were handed out before
    for part in chain(parts, [None]):
        if part is not None:
            held = part if held is None else _then(held, part)
        while (
            held is not None
            and len(held[0].valid) > lead
            and (part is None or len(held[0].valid) >= lead + _CORE + _CONTEXT)
        ):
            length = len(held[0].valid)
            stop = min(length, lead + _CORE)
            yield *_cut_all(held, 0, min(length, lead + _CORE + _CONTEXT)), slice(lead, stop)
            drop = max(0, stop - _CONTEXT)
            held, lead = _cut_all(held, drop, length), stop - drop


def _then(held: Numbered, part: Numbered) -> Numbered:
    (leading, people), (next_leading, next_people) = held, part
    eye = leading.seen.shape[1]
    before, after = (Stretch.blank(len(each.valid), eye) for each in (leading, next_leading))
    return leading.then(next_leading), {
        number: people.get(number, before).then(next_people.get(number, after))
        for number in sorted({*people, *next_people})
    }


def _cut_all(held: Numbered, first: int, stop: int) -> Numbered:
    """Steps ``first .. stop - 1``, and the people who are seen in them."""
    leading, people = held
    return _cut(leading, first, stop), {
        number: _cut(part, first, stop) for number, part in people.items() if part.valid[first:stop].any()
    }


def _cut(part: Stretch, first: int, stop: int) -> Stretch:
    """Steps ``first .. stop - 1`` of a stretch."""
    inside = (part.looks >= first) & (part.looks < stop)
    looked = part.looks[inside] - first, part.seen[inside], part.due[inside]
    return Stretch(part.traces[first:stop], part.valid[first:stop], *looked)


def leading_of(each: Sequence[Stretch], looks: Sequence[int], length: int, eye: int) -> Stretch:
    """Of stretches of `length` steps, in every step the first that has a face; of what was due that at `looks`."""
    leading = Stretch.blank(length, eye)
    for part in each:
        leading = leading.beside(part.only(part.valid & ~leading.valid, looks))
    return leading
