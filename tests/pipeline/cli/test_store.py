"""`pipeline store`: what its commands print, and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from store_factory import content, filled, keys

from data.store.ledger import Ledger, LedgerRow
from data.store.store import FeatureStore


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    kept = FeatureStore(tmp_path / "store")
    filled(kept, *keys(3, "aa", "bb"))
    return kept


def damage(path: Path) -> None:
    payload = bytearray(path.read_bytes())
    payload[-1] ^= 1
    path.write_bytes(payload)


def test_stat_says_what_is_there(store: FeatureStore, cli: Callable) -> None:
    row = LedgerRow("/d/\x1b[2Ja.mp4", 1, 1, "", "pair", "failed", "Input\x1bError", "x", "y")
    with Ledger(store) as ledger:
        ledger.append(row)
        ledger.append(replace(row, file="/d/b", status="done", kind="", reason="", duration_s=7200.0))
    done = cli("store", "stat", "--store", store.root)
    assert done.code == 0
    assert "6 entries" in done.out
    assert "aa: 3 loose, 0 packed" in done.out
    assert "1 done, 1 failed; 2.0 h of media" in done.out
    assert "Input\\x1bError: 1" in done.out
    assert "\x1b" not in done.out


def test_stat_as_json(store: FeatureStore, cli: Callable) -> None:
    found = json.loads(cli("store", "stat", "--store", store.root, "--json").out)
    assert [(held["extractor"], held["loose"]) for held in found["extractors"]] == [("aa", 3), ("bb", 3)]


def test_pack_then_everything_reads_as_before(store: FeatureStore, cli: Callable) -> None:
    before = content(store, keys(3, "aa", "bb"))
    done = cli("store", "pack", "--store", store.root, "--shard-mb", "1")
    assert (done.code, "6 entries" in done.out, "1 new pack" in done.out) == (0, True, True)
    assert content(store, before) == before
    assert "6 entries" in cli("store", "stat", "--store", store.root).out


def test_verify_names_damage_and_removes_it_when_asked(store: FeatureStore, cli: Callable) -> None:
    assert cli("store", "verify", "--store", store.root).out == "everything is intact\n"
    path = Path(store.path(keys(1, "aa")[0]))
    damage(path)
    told = cli("store", "verify", "--store", store.root)
    assert told.code == 4
    assert str(path) in told.out
    assert path.exists()
    found = json.loads(cli("store", "verify", "--store", store.root, "--json").out)
    assert [row["path"] for row in found["damaged"]] == [str(path)]
    assert cli("store", "verify", "--store", store.root, "--remove").code == 4
    assert not path.exists()
    assert cli("store", "verify", "--store", store.root).code == 0


def test_pack_leaves_damaged_entries_and_says_so(store: FeatureStore, cli: Callable) -> None:
    path = Path(store.path(keys(1, "aa")[0]))
    damage(path)
    done = cli("store", "pack", "--store", store.root)
    assert done.code == 4
    assert str(path) in done.out
    assert "5 entries" in done.out


def test_gc_tells_and_removes(store: FeatureStore, cli: Callable) -> None:
    told = cli("store", "gc", "--store", store.root, "--extractor", "aa", "--dry-run")
    assert "loose entries of that extractor: 3" in told.out
    assert "nothing was changed" in told.out
    assert cli("store", "gc", "--store", store.root, "--extractor", "aa").code == 0
    assert "3 entries" in cli("store", "stat", "--store", store.root).out
    assert cli("store", "gc", "--store", store.root).out == "nothing to remove\n"


def test_commands_work_on_a_remote_store(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    url = "memory://from-the-command-line"
    before = filled(FeatureStore(url), *keys(2, "aa"))
    assert cli("store", "pack", "--store", url).code == 0
    assert cli("store", "verify", "--store", url).code == 0
    assert cli("store", "gc", "--store", url).out == "nothing to remove\n"
    assert "2 entries" in cli("store", "stat", "--store", url).out
    assert content(FeatureStore(url), before) == before


@pytest.mark.parametrize("command", ["stat", "verify", "gc", "pack"])
def test_absent_and_impossible_stores_are_one_line(command: str, cli: Callable) -> None:
    absent = cli("store", command, "--store", "nowhere")
    assert (absent.code, absent.err.count("\n")) == (3, 1)
    impossible = cli("store", command, "--store", "nonsense://x")
    assert (impossible.code, impossible.err.count("\n")) == (2, 1)
