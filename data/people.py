"""The people seen in a clip: numbers, when and where. A number means nothing outside its clip."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import NamedTuple


class BoxAt(NamedTuple):
    """A face at `time_s`: x, y, width and height, as shares of the picture's width and height."""

    time_s: float
    x: float
    y: float
    width: float
    height: float


Track = tuple[tuple[BoxAt, ...], ...]
"""Key frames of the box around a face by uninterrupted run; between two of them it moves in a straight line."""


@dataclass(frozen=True)
class Person:
    """A person of a clip: `number` from 1, first and last time seen, seconds seen, and the track of the face."""

    number: int
    first_s: float
    last_s: float
    seen_s: float
    track: Track


@dataclass(frozen=True)
class Seen:
    """The people of a clip in order of appearance.

    At most `more` further faces at once were large enough, and not followed; `small` at once were too small.
    """

    people: tuple[Person, ...] = ()
    more: int = 0
    small: int = 0

    def text(self) -> str:
        """As JSON."""
        people = [asdict(person) | {"track": plain(person.track)} for person in self.people]
        return json.dumps({"people": people, "more": self.more, "small": self.small})

    @classmethod
    def of(cls, text: str) -> Seen:
        """What `text` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        values = json.loads(text)
        people = tuple(
            Person(**{**each, "track": tuple(tuple(BoxAt(*at) for at in run) for run in each["track"])})
            for each in values["people"]
        )
        return cls(people, values["more"], values["small"])


def plain(track: Track) -> list[list[list[float]]]:
    """`track` in lists; shares of the picture have four digits, seconds three."""
    return [[[round(at.time_s, 3), *(round(share, 4) for share in at[1:])] for at in run] for run in track]
