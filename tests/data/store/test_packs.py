"""The index of the packs: the last entry of each key, and made again when it is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_factory import content, filled, keys

import data.store.packing
import data.store.packs
from data.errors import StoreError
from data.store.entry import Extent, StoreKey
from data.store.packing import drop, needs_index, pack, rebuild
from data.store.packs import EMPTY, Packed
from data.store.store import FeatureStore

LONG = "x" * 128


# --- the index ------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["a", "b", LONG]), st.booleans()), max_size=40))
def test_index_knows_the_last_of_each_key_and_nothing_dropped(changes: list[tuple[int, str, bool]]) -> None:
    index, expected = EMPTY, dict[StoreKey, Extent]()
    for number, (media, extractor, added) in enumerate(changes):
        key = StoreKey(f"{media:x}" * 32 + "0" * 32 if media < 10 else f"{media:064x}", extractor)
        if added:
            index = index.changed([Packed(key, number + 1, number * 512, 9, 1, 0.04)])
            expected[key] = Extent(f"packs/{number + 1:06d}.tar", number * 512, 9)
        else:
            index = index.changed(dropped=[key])
            expected.pop(key, None)
    for media in range(13):
        for extractor in ("a", "b", LONG, "never"):
            key = StoreKey(f"{media:x}" * 32 + "0" * 32 if media < 10 else f"{media:064x}", extractor)
            assert index.find(key) == expected.get(key)
    assert {entry.key for entry in index.entries()} == set(expected)
    assert index.following == max([1, *(n + 2 for n, (*_, added) in enumerate(changes) if added)])


@pytest.mark.parametrize("damage", ["json", "garbage", "table gone", "table cut", "other table", "pickle"])
def test_damaged_index_is_told_and_made_again(store: FeatureStore, damage: str) -> None:
    wanted = keys(5, "tsn-1", LONG)
    before = filled(store, *wanted)
    pack(store, 4000)
    folder = Path(store.root) / "packs"
    table = folder / data.store.packs.table_name(store.packs.index().number).split("/")[1]
    if damage == "json":
        (folder / "index.json").write_text("{}")
    elif damage == "garbage":
        (folder / "index.json").write_bytes(b"\xff\0")
    elif damage == "table gone":
        table.unlink()
    elif damage == "table cut":
        table.write_bytes(table.read_bytes()[:-1])
    elif damage == "other table":
        np.save(table, np.zeros(10))
    else:
        np.save(table, np.array([{}]), allow_pickle=True)
    fresh = FeatureStore(store.root)
    for act in (lambda: fresh.contains(wanted[0]), lambda: fresh.reader(wanted[0])):
        with pytest.raises(StoreError, match="pipeline store gc"):
            act()
    assert needs_index(fresh)
    rebuild(fresh)
    assert not needs_index(fresh)
    assert content(fresh, wanted) == before
    fresh.packs.verify()


def test_lost_index_is_made_again_before_packing_goes_on(store: FeatureStore) -> None:
    wanted = keys(6)
    before = filled(store, *wanted[:3])
    pack(store)
    (Path(store.root) / "packs" / "index.json").unlink()
    before |= filled(store, *wanted[3:])
    assert needs_index(store)
    pack(store)
    assert content(store, wanted) == before


def test_flipped_bit_in_the_table_is_found_by_verifying(store: FeatureStore) -> None:
    filled(store, *keys(3))
    pack(store)
    store.packs.verify()
    table = Path(store.root) / data.store.packs.table_name(store.packs.index().number)
    damaged = bytearray(table.read_bytes())
    damaged[-1] ^= 1
    table.write_bytes(damaged)
    with pytest.raises(StoreError, match="checksum"):
        store.packs.verify()


def test_remote_index_is_trusted_for_a_moment_but_never_for_an_absence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, other = FeatureStore("memory://trust"), FeatureStore("memory://trust")
    one, two = keys(2)
    filled(store, one)
    pack(store)
    assert other.contains(one)
    filled(store, two)
    pack(store)
    assert other.contains(two)
    drop(store, [one])
    assert other.contains(one)
    monkeypatch.setattr(data.store.packs, "_TRUST_S", 0.0)
    assert not other.contains(one)
