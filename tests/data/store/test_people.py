"""Features of people beside those of a clip: rows, and the steps they are of."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data.errors import StoreError
from data.store.entry import entry_name
from data.store.people import NOTE, Piece, beside_key, people_of, pieces_text
from data.store.store import FeatureStore, StoreKey

KEY = StoreKey("ab" * 32, "faces")
CLIP = np.arange(30, dtype=np.float16).reshape(10, 3)
ROWS = 100 + np.arange(15, dtype=np.float16).reshape(5, 3)
PIECES = [Piece(1, 0, 4, None), Piece(2, 2, 3, 0), Piece(1, 8, 2, 3)]


def write(
    store: FeatureStore, key: StoreKey, values: NDArray[np.float16], invalid: int, note: str = ""
) -> None:
    with store.writer(key, 3, Fraction(25), {}) as writer:
        writer.append(values, np.arange(len(values)) != invalid)
        if note:
            writer.note(NOTE, note)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(tmp_path)
    write(store, beside_key(KEY), ROWS, invalid=1)
    write(store, KEY, CLIP, invalid=3, note=pieces_text(PIECES))
    return store


def test_a_person_is_read_on_the_grid_of_the_clip(store: FeatureStore) -> None:
    people = people_of(store, store.reader(KEY))
    assert list(people) == [1, 2]
    first, second = (people[number].read(0, 10) for number in (1, 2))
    # The clip's own steps 0 to 3, of which the last is invalid, then rows 3 and 4.
    assert first.valid.tolist() == [True, True, True, False, False, False, False, False, True, True]
    assert np.array_equal(first.values[[0, 1, 2, 8, 9]], np.concatenate([CLIP[:3], ROWS[3:]]))
    assert not first.values[3:8].any()
    # Rows 0 to 2, of which the middle one is invalid.
    assert np.flatnonzero(second.valid).tolist() == [2, 4]
    assert np.array_equal(second.values[[2, 4]], ROWS[[0, 2]])


def test_windows_and_flags_agree_with_the_whole(store: FeatureStore) -> None:
    for reader in people_of(store, store.reader(KEY)).values():
        whole = reader.read(0, 10)
        assert np.array_equal(reader.flags(), whole.valid)
        for first, stop in ((0, 0), (1, 4), (3, 9), (8, 10)):
            part = reader.read(first, stop)
            assert np.array_equal(part.values, whole.values[first:stop])
            assert np.array_equal(part.valid, whole.valid[first:stop])
            assert part.grid == whole.grid.crop(first, stop)
        with pytest.raises(IndexError):
            reader.read(5, 11)


def test_a_clip_without_the_note_has_no_people(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    write(store, KEY, CLIP, invalid=3)
    assert people_of(store, store.reader(KEY)) == {}
    assert people_of(store, None) == {}


@pytest.mark.parametrize("note", ["{", "[1]", "[[1, 2]]", pieces_text([Piece(1, 5, 6, None)])])
def test_a_damaged_note_is_an_error_that_names_the_entry(tmp_path: Path, note: str) -> None:
    store = FeatureStore(tmp_path)
    write(store, KEY, CLIP, invalid=3, note=note)
    with pytest.raises(StoreError, match="people is damaged"):
        people_of(store, store.reader(KEY))


def test_missing_rows_are_an_error(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    write(store, KEY, CLIP, invalid=3, note=pieces_text(PIECES))
    with pytest.raises(StoreError):
        people_of(store, store.reader(KEY))


def test_rows_that_are_gone_are_said_with_what_to_do(store: FeatureStore) -> None:
    store.place.remove([entry_name(beside_key(KEY))])
    with pytest.raises(StoreError, match=r"features of people that it names are not there.*delete this file"):
        people_of(store, store.reader(KEY))
