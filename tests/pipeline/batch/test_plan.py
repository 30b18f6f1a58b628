"""Planning: what the ledger knows is not done again, and shards share out every file once."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from data.store.ledger import Ledger, LedgerRow
from data.store.store import FeatureStore
from pipeline.batch.plan import Plan, Shard, make_plan
from pipeline.batch.tally import Tally

SETUP = "ab" * 8
FILES = [Path(f"{folder}/real.mp4") for folder in ("a", "b", "c", "d")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    for file in FILES:
        (folder / file).parent.mkdir(parents=True)
        (folder / file).write_bytes(str(file).encode())
    return folder


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "store")


def row(root: Path, file: Path, status: str = "done", setup: str = SETUP) -> LedgerRow:
    path = root.resolve() / file
    stamp = path.stat()
    return LedgerRow(
        file=str(path),
        size=stamp.st_size,
        mtime_ns=stamp.st_mtime_ns,
        sha256="0" * 64,
        setup=setup,
        status=status,  # type: ignore[arg-type]
        kind="InputError" if status == "failed" else "",
        reason="is empty" if status == "failed" else "",
        fix="",
        duration_s=1.0,
        elapsed_s=1.0,
        finished_at="2026-01-01T00:00:00+00:00",
    )


def plan(root: Path, store: FeatureStore, *rows: LedgerRow, **options: object) -> Plan:
    with Ledger(store) as ledger:
        for one in rows:
            ledger.append(one)
    with Ledger(store) as ledger:
        ledger.load()
        return make_plan(root, FILES, ledger, SETUP, **options)  # type: ignore[arg-type]


def names(root: Path, found: Plan) -> list[str]:
    return [Path(path).relative_to(root.resolve()).as_posix() for path in found.todo]


def test_a_new_set_is_all_to_do(root: Path, store: FeatureStore) -> None:
    found = plan(root, store)
    assert names(root, found) == ["a/real.mp4", "b/real.mp4", "c/real.mp4", "d/real.mp4"]
    assert (found.done, found.failed) == (0, ())


def test_equal_names_in_other_folders_are_other_files(root: Path, store: FeatureStore) -> None:
    found = plan(root, store, row(root, FILES[0]), row(root, FILES[2], "partial"))
    assert names(root, found) == ["b/real.mp4", "d/real.mp4"]
    assert found.done == 2


def test_failures_are_left_alone_unless_they_are_to_be_tried_again(root: Path, store: FeatureStore) -> None:
    failed = row(root, FILES[1], "failed")
    found = plan(root, store, failed)
    assert "b/real.mp4" not in names(root, found)
    assert [one.reason for one in found.failed] == ["is empty"]
    again = plan(root, store, retry_failed=True)
    assert "b/real.mp4" in names(root, again)
    assert again.failed == ()


def test_a_file_that_was_replaced_is_to_do_again(root: Path, store: FeatureStore) -> None:
    known = row(root, FILES[0])
    (root / FILES[0]).write_bytes(b"another clip")
    assert "a/real.mp4" in names(root, plan(root, store, known))


def test_a_file_that_was_touched_is_to_do_again(root: Path, store: FeatureStore) -> None:
    known = row(root, FILES[0])
    os.utime(root / FILES[0], ns=(1, 1))
    assert "a/real.mp4" in names(root, plan(root, store, known))


def test_other_extractors_have_done_nothing_for_these(root: Path, store: FeatureStore) -> None:
    assert len(plan(root, store, row(root, FILES[0], setup="cd" * 8)).todo) == 4


def test_a_hash_alone_is_no_extraction(root: Path, store: FeatureStore) -> None:
    known = replace(row(root, FILES[0]), setup="", status="hashed")
    assert len(plan(root, store, known).todo) == 4


def test_a_file_that_vanished_is_to_do_so_that_somebody_says_so(root: Path, store: FeatureStore) -> None:
    known = row(root, FILES[3])
    (root / FILES[3]).unlink()
    assert "d/real.mp4" in names(root, plan(root, store, known))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_share_out_every_file_once(count: int) -> None:
    files = [Path(f"{n:06d}.mp4") for n in range(500)]
    shards = [Shard(index, count) for index in range(1, count + 1)]
    assert all(sum(shard.holds(file) for shard in shards) == 1 for file in files)
    sizes = [sum(shard.holds(file) for file in files) for shard in shards]
    assert min(sizes) > 0.7 * 500 / count


def test_a_shard_counts_what_belongs_to_others(root: Path, store: FeatureStore) -> None:
    parts = [plan(root, store, shard=Shard(index, 2)) for index in (1, 2)]
    assert sorted(names(root, parts[0]) + names(root, parts[1])) == [file.as_posix() for file in FILES]
    assert [part.elsewhere for part in parts] == [len(parts[1].todo), len(parts[0].todo)]


def test_what_was_taken_out_of_the_store_is_done_again(root: Path, store: FeatureStore) -> None:
    later = replace(row(root, FILES[1], "removed"), finished_at="2026-01-02T00:00:00+00:00")
    found = plan(root, store, row(root, FILES[0]), row(root, FILES[1]), later)
    assert names(root, found) == ["b/real.mp4", "c/real.mp4", "d/real.mp4"]


def test_what_is_stored_in_part_is_counted(root: Path, store: FeatureStore) -> None:
    found = plan(root, store, row(root, FILES[0], "partial"), row(root, FILES[1]))
    assert (found.done, found.partial) == (2, 1)
    assert Tally(found).summary().partial == 1


def test_two_names_of_one_file_are_one_file(root: Path, store: FeatureStore) -> None:
    (root / FILES[1]).unlink()
    os.symlink(root / FILES[0], root / FILES[1])
    assert names(root, plan(root, store)) == ["a/real.mp4", "c/real.mp4", "d/real.mp4"]
