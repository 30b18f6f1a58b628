"""Keeping a store: told what is in it, damage found and removed, leftovers collected, living runs left alone."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from store_factory import content, fill, filled, keys, objects, sample

import data.store.upkeep
from data.errors import InputError, StoreError, UsageError
from data.processes import unique_name
from data.store.entry import StoreKey, entry_name
from data.store.ledger import Ledger, LedgerRow
from data.store.packing import pack
from data.store.people import beside_key
from data.store.store import FeatureStore
from data.store.upkeep import Damage, Held, collect, contents_of, existing_store, find_damage, remove_damaged

_NUMBERS = itertools.count()
ROW = LedgerRow("/d/a.mp4", 1, 1, "", "pair", "done", duration_s=1800.0)


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    local = request.param == "local"
    return FeatureStore(tmp_path / "store" if local else f"memory://kept-{next(_NUMBERS)}")


def dead_name() -> str:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return unique_name().replace(str(os.getpid()), str(ended.pid), 1)


def rewrite(store: FeatureStore, name: str, at: int) -> None:
    """Flip a bit of an object."""
    with store.place.open(name) as file:
        payload = file.read((0, file.size))[0]
    payload[at] ^= 1
    store.place.write(name, bytes(payload))


def removed(store: FeatureStore, **options: object) -> dict[str, int]:
    return {each.what: each.count for each in collect(store, **options) if each.count}  # type: ignore[arg-type]


# --- stat -----------------------------------------------------------------------------------------------------


def test_survey_counts_entries_steps_and_hours(store: FeatureStore) -> None:
    for key in keys(3, "a", "b"):
        fill(store, *sample(50, 2), key)
    pack(store)
    (again,) = keys(1, "a")
    fill(store, *sample(50, 2), again)
    fill(store, *sample(90, 2), StoreKey("f" * 64, "a"))
    found = contents_of(store)
    assert [replace(held, size=0) for held in found.extractors] == [
        Held("a", 2, 2, 0, 240, pytest.approx(240 / 25 / 3600)),
        Held("b", 0, 3, 0, 150, pytest.approx(150 / 25 / 3600)),
    ]
    with store.place.open("packs/000001.tar") as file:
        assert (found.packs, found.pack_size) == (1, file.size)
    assert sum(held.size for held in found.extractors) > 8 * 200


def test_survey_does_not_look_into_more_loose_entries_than_it_says(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data.store.upkeep, "_HEADERS", {True: 2, False: 2})
    filled(store, *keys(4, "a"))
    (held,) = contents_of(store).extractors
    assert (held.loose, held.steps, held.hours) == (4, None, None)


def test_survey_tells_the_ledger_and_what_runs_left(store: FeatureStore) -> None:
    failed = replace(ROW, status="failed", kind="InputError", reason="x")
    with Ledger(store) as ledger:
        for k in range(3):
            ledger.append(replace(ROW, file=f"/d/{k}"))
            ledger.append(replace(failed, file=f"/f/{k}"))
        ledger.append(replace(failed, file="/d/0", finished_at="2020-01-01T00:00:00+00:00"))
        ledger.append(replace(failed, file="/f/9", kind="MemoryLimitError"))
    alive = store.place.scratch()
    alive.touch()
    (alive.parent / dead_name()).touch()
    store.place.write(".claims/x", dead_name().encode())
    with store.claim("y"):
        found = contents_of(store)
    assert found.files == {"done": 3, "failed": 4}
    assert found.failures == {"InputError": 3, "MemoryLimitError": 1}
    assert found.media_hours == 1.5
    assert (found.unfinished, found.abandoned, found.claims, found.dead_claims) == (2, 1, 2, 1)


def test_empty_store_holds_nothing(store: FeatureStore) -> None:
    found = contents_of(store)
    assert (found.extractors, found.packs, found.files, found.unfinished) == ((), 0, {}, 0)


def test_absent_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such store"):
        existing_store(str(tmp_path / "none"))


# --- verify ---------------------------------------------------------------------------------------------------


def test_damage_is_found_wherever_it_is_and_removed(store: FeatureStore) -> None:
    wanted = keys(8, "a")
    before = filled(store, *wanted[:4])
    pack(store)
    before |= filled(store, *wanted[4:])
    assert list(find_damage(store)) == []
    victim = next(iter(store.packs.index().entries(1)))
    rewrite(store, "packs/000001.tar", victim.offset + victim.size - 1)
    rewrite(store, entry_name(wanted[6]), -1)
    damages = list(find_damage(store))
    assert {(damage.key, damage.packed) for damage in damages} == {(victim.key, True), (wanted[6], False)}
    assert {str(damage.error.path).rpartition("/")[2] for damage in damages} == {
        "000001.tar",
        "a.safetensors",
    }
    assert remove_damaged(store, damages) == 2
    assert list(find_damage(store)) == []
    assert not store.contains(victim.key)
    assert not store.contains(wanted[6])
    intact = [key for key in wanted if key not in (victim.key, wanted[6])]
    assert content(store, intact) == {key: before[key] for key in intact}


@pytest.mark.parametrize("packed", [False, True])
def test_with_the_features_of_people_goes_the_clip_and_the_ledger_forgets_both(
    store: FeatureStore, packed: bool
) -> None:
    (clip, other) = keys(2, "a")
    people = beside_key(clip)
    filled(store, clip, other, people)
    if packed:
        pack(store)
    with Ledger(store) as ledger:
        for key in (clip, other):
            ledger.append(replace(ROW, file=f"/d/{key.media}.mp4", sha256=key.media))
    error = StoreError("is damaged")
    assert remove_damaged(store, [Damage(people, packed, error)]) == 1
    assert list(find_damage(store)) == []
    assert [key for key in (clip, other, people) if store.contains(key)] == [other]
    rows = {row.sha256: row.status for row in Ledger(store).load()}
    assert rows == {clip.media: "removed", other.media: "done"}
    assert contents_of(store).media_hours == 0.5


def test_pack_that_is_gone_is_damage_of_all_its_entries(store: FeatureStore) -> None:
    wanted = keys(3, "a")
    filled(store, *wanted)
    pack(store)
    store.place.remove(["packs/000001.tar"])
    assert {damage.key for damage in find_damage(store)} == set(wanted)


@pytest.mark.parametrize("name", ["packs/index.json", "packs/index-000001.npy"])
def test_damaged_index_is_told_and_collecting_mends_it(store: FeatureStore, name: str) -> None:
    wanted = keys(3, "a")
    before = filled(store, *wanted)
    pack(store)
    store.place.write(name, b"?")
    (damage,) = find_damage(store)
    assert damage.key is None
    assert "pipeline store gc" in str(damage.error)
    assert remove_damaged(store, [damage]) == 0
    assert removed(store, dry=True) == {"index of the packs made again": 1}
    assert "index of the packs made again" in removed(store)
    assert content(store, wanted) == before


def test_entry_that_is_packed_while_it_is_verified_is_no_damage(store: FeatureStore) -> None:
    filled(store, *keys(3, "a"))
    steps = iter(find_damage(store, lambda step, done=None, total=None: pack(FeatureStore(store.root))))
    assert list(steps) == []


# --- gc -------------------------------------------------------------------------------------------------------


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(store: FeatureStore) -> None:
    wanted = keys(2, "a")
    before = filled(store, *wanted)
    writer = store.writer(StoreKey("e" * 64, "a"), 3, 25, {})
    unfinished = writer.__enter__()
    unfinished.append(np.ones((2, 3), np.float32), np.ones(2, np.bool_))
    scratch = store.place.scratch()
    dead = scratch.with_name(dead_name())
    dead.write_bytes(b"12345")
    store.place.write(".claims/x", dead_name().encode())
    expected = {"unfinished files": 1, "claims of dead processes": 1}
    with store.claim("mine"):
        assert removed(store, dry=True) == expected
        assert dead.exists()
        assert removed(store) == expected
        assert [found.name for found in store.place.list(".claims")] == [".claims/mine"]
    assert not dead.exists()
    writer.__exit__(None, None, None)
    assert store.reader(StoreKey("e" * 64, "a")).n == 2
    assert content(store, wanted) == before
    assert removed(store) == {}


def test_entries_of_one_extractor_go_loose_and_packed(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data.store.upkeep, "_BATCH", 2)
    wanted = keys(8, "a", "b")
    filled(store, *wanted[:8])
    pack(store)
    filled(store, *wanted[8:])
    kept = [key for key in wanted if key.extractor == "b"]
    before = content(store, kept)
    expected = {"loose entries of that extractor": 4, "packed entries of that extractor": 4}
    told = removed(store, extractor="a", dry=True)
    assert {what: told[what] for what in expected} == expected
    assert all(store.contains(key) for key in wanted)
    told = removed(store, extractor="a")
    assert {what: told[what] for what in expected} == expected
    assert [key for key in wanted if store.contains(key)] == kept
    assert content(store, kept) == before
    assert not any(key.extractor == "a" for key, _ in store.loose())


def test_with_an_extractor_go_the_features_of_its_people(store: FeatureStore) -> None:
    (clip,) = keys(1, "a")
    filled(store, clip, beside_key(clip))
    pack(store)
    (loose,) = keys(2, "a")[1:]
    filled(store, loose, beside_key(loose))
    told = removed(store, extractor="a")
    assert (told["loose entries of that extractor"], told["packed entries of that extractor"]) == (2, 2)
    assert not any(store.contains(key) for one in (clip, loose) for key in (one, beside_key(one)))


def test_files_whose_features_went_with_an_extractor_are_extracted_again(store: FeatureStore) -> None:
    gone, packed, other = keys(3, "a")[0], keys(3, "a")[1], keys(3, "a", "b")[-1]
    filled(store, packed)
    pack(store)
    filled(store, gone, other)
    with Ledger(store) as ledger:
        for number, key in enumerate((gone, packed, other)):
            ledger.append(LedgerRow(f"/d/{number}.mp4", 1, 1, key.media, "pair", "done"))
    removed(store, extractor="a", dry=True)
    assert {row.status for row in Ledger(store).load()} == {"done"}
    removed(store, extractor="a")
    rows = {row.sha256: row.status for row in Ledger(store).load()}
    assert rows == {gone.media: "removed", packed.media: "removed", other.media: "done"}


def test_copies_orphans_and_empty_folders_go(tmp_path: Path) -> None:
    store, wanted = FeatureStore(tmp_path), keys(2, "a")
    filled(store, *wanted)
    payload = Path(store.path(wanted[0])).read_bytes()
    pack(store)
    store.place.write(entry_name(wanted[0]), payload)
    store.place.write("packs/000007.tar", b"orphan")
    (tmp_path / "ab" / ("c" * 62)).mkdir(parents=True)
    expected = {"loose copies of packed entries": 1, "packs and tables": 1, "empty folders": 1}
    assert removed(store, dry=True) == expected
    assert removed(store) == expected
    assert removed(store) == {}
    assert {name for name in objects(store) if not name.startswith("packs/")} == set()


def test_ledger_files_of_ended_runs_become_one(store: FeatureStore) -> None:
    for k in range(3):
        with Ledger(store) as ledger:
            ledger.append(replace(ROW, file=f"/d/{k}"))
    for name in sorted(objects(store)):
        with store.place.open(name) as file:
            payload = bytes(file.read((0, file.size))[0])
        store.place.remove([name])
        store.place.write(f"ledger/20260101T000000Z-{dead_name()}.jsonl", payload)
    assert removed(store) == {"ledger files put into one": 3}
    assert len(objects(store)) == 1
    assert {row.file for row in Ledger(store).load()} == {"/d/0", "/d/1", "/d/2"}


def test_collecting_is_refused_while_somebody_packs(store: FeatureStore) -> None:
    filled(store, *keys(1))
    with FeatureStore(store.root).claim("packs"), pytest.raises(UsageError, match="another process"):
        list(collect(store))
