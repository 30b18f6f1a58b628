"""Features of single people of a clip, kept beside those of the clip: an entry of rows, and which step each row is of.

The clip's own entry holds a note that names the rows. A person whose rows are the clip's own has none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.errors import StoreError
from data.features import Features
from data.store.entry import FeatureReader, StoreKey
from data.store.store import FeatureStore

NOTE = "people"
"""Name of the note in the clip's own entry."""

_SUFFIX = ".people"


class Piece(NamedTuple):
    """Steps ``first .. first + n - 1`` of the person `number`; their rows begin at `row`, or are the clip's own."""

    number: int
    first: int
    n: int
    row: int | None


def beside_key(key: StoreKey) -> StoreKey:
    """The key of the rows of people beside the entry of `key`."""
    return StoreKey(key.media, key.extractor + _SUFFIX)


def clip_key(key: StoreKey) -> StoreKey:
    """The key of the clip's entry that the entry of `key` is a part of: its own, but for the rows of people."""
    return StoreKey(key.media, key.extractor.removesuffix(_SUFFIX))


def pieces_text(pieces: list[Piece]) -> str:
    """`pieces` as a note."""
    return json.dumps(pieces)


class PersonReader:
    """The features of one person on the grid of the clip, read in windows as those of a `FeatureReader`.

    A step of the clip in which the person is not seen is invalid.
    """

    def __init__(self, clip: FeatureReader, rows: FeatureReader | None, pieces: tuple[Piece, ...]) -> None:
        self._clip, self._rows, self._pieces = clip, rows, pieces
        self.n, self.dim, self.grid = clip.n, clip.dim, clip.grid

    @property
    def cuts(self) -> tuple[int, ...]:
        """See `FeatureReader.cuts`: those of the clip."""
        return self._clip.cuts

    def read(self, first: int, stop: int) -> Features:
        """See `FeatureReader.read`."""
        if not 0 <= first <= stop <= self.n:
            raise IndexError(f"steps {first}..{stop} of {self.n}")
        values, valid = np.zeros((stop - first, self.dim), np.float16), np.zeros(stop - first, np.bool_)
        for piece in self._pieces:
            a, b = max(first, piece.first), min(stop, piece.first + piece.n)
            if a < b:
                rows = self._of(piece, a, b)
                values[a - first : b - first], valid[a - first : b - first] = rows.values, rows.valid
        return Features(values, valid, self.grid.crop(first, stop))

    def flags(self) -> NDArray[np.bool_]:
        """See `FeatureReader.flags`."""
        valid = np.zeros(self.n, np.bool_)
        clip, rows = self._clip.flags(), self._rows.flags() if self._rows is not None else None
        for piece in self._pieces:
            stop = piece.first + piece.n
            if piece.row is None:
                valid[piece.first : stop] = clip[piece.first : stop]
            elif rows is not None:
                valid[piece.first : stop] = rows[piece.row : piece.row + piece.n]
        return valid

    def _of(self, piece: Piece, first: int, stop: int) -> Features:
        if piece.row is None:
            return self._clip.read(first, stop)
        assert self._rows is not None
        shift = piece.row - piece.first
        return self._rows.read(first + shift, stop + shift)


def people_of(store: FeatureStore, clip: FeatureReader | None) -> Mapping[int, PersonReader]:
    """The people of a clip by number, in order; none where its entry names none.

    Raises StoreError when the note is damaged, or the rows that it names are missing.
    """
    text = clip.notes.get(NOTE) if clip is not None else None
    if clip is None or text is None:
        return {}
    try:
        pieces = [Piece(*each) for each in json.loads(text)]
        inside = all(piece.first >= 0 and piece.first + piece.n <= clip.n for piece in pieces)
        if not inside:
            raise ValueError("steps beyond the clip")
    except (ValueError, TypeError) as error:
        raise StoreError(
            "its note on people is damaged", clip.path, "delete this file and run again"
        ) from error
    rows = None
    if any(piece.row is not None for piece in pieces):
        beside = beside_key(clip.key)
        if not store.contains(beside):
            problem = "the features of people that it names are not there"
            raise StoreError(problem, clip.path, "delete this file and run again")
        rows = store.reader(beside)
    return {
        number: PersonReader(clip, rows, tuple(piece for piece in pieces if piece.number == number))
        for number in sorted({piece.number for piece in pieces})
    }
