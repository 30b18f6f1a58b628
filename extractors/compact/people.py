"""Who is who in a clip: faces of one stretch are given the numbers of the people seen before.

A face is the person who was last seen at its place, or else the one whom it looks like most: what the eye saw of both,
in deviations from the mean of its training material, points the same way (docs/decisions.md). Numbers hold within one
clip. Nothing that tells a person apart is kept when the clip ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.labels import FPS
from data.people import BoxAt, Person, Seen
from data.timeline import runs
from extractors.compact.faces import MIN_OVERLAP, REACH, Followed
from extractors.compact.landmarks import overlap

ALIKE = 0.55
"""Least cosine between what was seen of a person and of a face that may be the same. Of looks at 87
people 95 in a hundred pairs of one person in two clips lie above 0.54, and 99 in a hundred of two people below 0.51."""

MOST_KNOWN = 64
"""People who are told apart in one clip; later ones are not followed."""

KEY_EVERY = 12
"""Steps between two key frames of a box; those that lie on the way between their neighbours are left out."""

_ON_THE_WAY = 0.02
"""Distance from that way, in heights of the box, that counts as none."""

_LONGEST = 50
"""Key frames after which one is kept at the latest."""

Looks = NDArray[np.float16]
Likeness = Callable[[Looks], NDArray[np.float64]]
"""Looks (K, E) to directions (K, E) of length 1 by which people are told apart."""


class Face(NamedTuple):
    """A face followed through a stretch, and what the eye saw of it, (K, E)."""

    followed: Followed
    looks: Looks


@dataclass
class _Known:
    """A person: where last seen, the sum of directions, and the boxes so far."""

    number: int
    box: NDArray[np.float64]
    last: int
    direction: NDArray[np.float64] | None
    first: int
    steps: int = 0
    track: list[list[tuple[int, NDArray[np.float64]]]] = field(default_factory=list)


class People:
    """The people of one clip, as its stretches come.

    `view` is x, y, width and height, in px of the faces' boxes, of the whole picture.
    """

    def __init__(self, likeness: Likeness) -> None:
        self._likeness = likeness
        self._known: list[_Known] = []
        self._more = self._small = 0
        self.view = (0.0, 0.0, 1.0, 1.0)

    def number(self, faces: Sequence[Face], done: int, more: int, small: int) -> list[int]:
        """Numbers of `faces`, from 1, in the stretch that begins at step `done`; 0 for one that is not followed.

        `more` and `small` are those of `extractors.compact.faces.Faces`.
        """
        numbers = [0] * len(faces)
        directions = [self._direction(face.looks) for face in faces]
        for k, (face, person) in self._pairs(faces, directions, done):
            taken = [
                other
                for other, n in zip(faces, numbers, strict=True)
                if n == person.number and _together(other, face)
            ]
            if not numbers[k] and not taken:
                numbers[k] = person.number
        for k in sorted(range(len(faces)), key=lambda k: int(np.argmax(faces[k].followed.seen))):
            if not numbers[k]:
                numbers[k] = self._alike_here(faces, directions, numbers, k) or self._new(faces[k], done)
            if numbers[k]:
                self._note(self._known[numbers[k] - 1], faces[k], directions[k], done)
        self._more = max(self._more, more + numbers.count(0))
        self._small = max(self._small, small)
        return numbers

    def cut(self) -> None:
        """Take note that another shot begins: whoever stands where somebody stood may be anybody."""
        for person in self._known:
            person.box = np.zeros(4)

    def seen(self) -> Seen:
        """Who was seen, when and where."""
        x, y, width, height = self.view
        scale = np.array([width, height, width, height])

        def at(step: int, box: NDArray[np.float64]) -> BoxAt:
            return BoxAt((step + 0.5) / FPS, *((box - (x, y, 0, 0)) / scale).tolist())

        people = tuple(
            Person(
                person.number,
                person.first / FPS,
                (person.last + 1) / FPS,
                person.steps / FPS,
                tuple(tuple(at(*key) for key in _thinned(run)) for run in person.track),
            )
            for person in self._known
        )
        return Seen(people, self._more, self._small)

    def _pairs(
        self, faces: Sequence[Face], directions: Sequence[NDArray[np.float64] | None], done: int
    ) -> list[tuple[int, tuple[Face, _Known]]]:
        """Faces and people who may be the same, surest first: those at the same place, then those who look alike."""
        pairs = []
        for k, face in enumerate(faces):
            first = int(np.argmax(face.followed.seen))
            for person in self._known:
                near = overlap(face.followed.boxes[first], person.box)
                alike = _cosine(directions[k], person.direction)
                if near >= MIN_OVERLAP and done + first - person.last <= REACH:
                    pairs.append((1 + near, k, face, person))
                elif alike >= ALIKE:
                    pairs.append((alike, k, face, person))
        pairs.sort(key=lambda each: (-each[0], each[1], each[3].number))
        return [(k, (face, person)) for _, k, face, person in pairs]

    def _alike_here(
        self,
        faces: Sequence[Face],
        directions: Sequence[NDArray[np.float64] | None],
        numbers: Sequence[int],
        k: int,
    ) -> int:
        """The number of a face of the same stretch that looks like face `k` and is not seen together with it."""
        alike = [
            (_cosine(directions[k], directions[j]), n)
            for j, n in enumerate(numbers)
            if n and not any(m == n and _together(faces[i], faces[k]) for i, m in enumerate(numbers))
        ]
        best, number = max(alike, default=(0.0, 0))
        return number if best >= ALIKE else 0

    def _direction(self, looks: Looks) -> NDArray[np.float64] | None:
        return self._likeness(looks).sum(axis=0) if len(looks) else None

    def _new(self, face: Face, done: int) -> int:
        if len(self._known) == MOST_KNOWN:
            return 0
        first = int(np.argmax(face.followed.seen))
        number = len(self._known) + 1
        self._known.append(_Known(number, face.followed.boxes[first], done + first - 1, None, done + first))
        return number

    def _note(self, person: _Known, face: Face, direction: NDArray[np.float64] | None, done: int) -> None:
        boxes, seen = face.followed
        for first, stop in runs(seen.tolist()):
            keys = sorted({*range(first, stop, KEY_EVERY), stop - 1})
            run = [(done + k, boxes[k]) for k in keys]
            if person.track and person.track[-1][-1][0] == done + first - 1:
                person.track[-1] += run
            else:
                person.track.append(run)
            person.box, person.last = boxes[stop - 1], max(person.last, done + stop - 1)
            person.steps += stop - first
        person.track.sort(key=lambda run: run[0][0])
        if direction is not None:
            person.direction = direction if person.direction is None else person.direction + direction


def _together(a: Face, b: Face) -> bool:
    return bool((a.followed.seen & b.followed.seen).any())


def _cosine(a: NDArray[np.float64] | None, b: NDArray[np.float64] | None) -> float:
    if a is None or b is None:
        return -1.0
    return float(a @ b / max(1e-12, float(np.linalg.norm(a) * np.linalg.norm(b))))


def _thinned(run: list[tuple[int, NDArray[np.float64]]]) -> list[tuple[int, NDArray[np.float64]]]:
    """Key frames of a box without those that lie on the straight way from the last kept one to the next."""
    times = np.array([at for at, _ in run], np.float64)[:, None]
    boxes = np.stack([box for _, box in run])
    corners = [0]
    for k in range(1, len(run) - 1):
        a, between = corners[-1], slice(corners[-1] + 1, k + 1)
        share = (times[between] - times[a]) / (times[k + 1] - times[a])
        off = np.abs(boxes[between] - boxes[a] - share * (boxes[k + 1] - boxes[a])).max()
        if off > _ON_THE_WAY * boxes[k, 3] or k - a >= _LONGEST:
            corners.append(k)
    return [run[k] for k in dict.fromkeys([*corners, len(run) - 1])]
