"""The ledger: rows of any number of runs, of which the last counts, whatever a kill left of them."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import data.store.ledger
import data.store.places
from data.errors import InputError, StoreError, UsageError
from data.store.ledger import Ledger, LedgerRow, compact, known_sha256, stamps
from data.store.store import FeatureStore

SHA = hashlib.sha256(b"a clip").hexdigest()
DONE = LedgerRow("/d/a.mp4", 5, 7, SHA, "pair", "done", duration_s=2.5, elapsed_s=0.5)
FAILED = replace(DONE, status="failed", sha256="", kind="InputError", reason="holds nothing", fix="check it")


def at(row: LedgerRow, second: int) -> LedgerRow:
    return replace(row, finished_at=f"2026-01-01T00:00:{second:02d}.000000+00:00")


def files(store: FeatureStore) -> list[Path]:
    return sorted((Path(store.root) / "ledger").glob("*.jsonl"))


def append(store: FeatureStore, *rows: LedgerRow) -> None:
    with Ledger(store) as ledger:
        for row in rows:
            ledger.append(row)


# --- rows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [DONE, FAILED, replace(DONE, status="partial")])
def test_row_comes_back_as_it_was(store: FeatureStore, row: LedgerRow) -> None:
    append(store, row)
    assert list(Ledger(store).load()) == [row]
    assert Ledger(store).status(row.file, row.size, row.mtime_ns, "pair") == row


def test_a_row_is_one_line_of_json_with_all_fields(store: FeatureStore) -> None:
    append(store, DONE)
    (path,) = files(store)
    assert json.loads(path.read_text()) == vars(DONE)
    assert path.read_text().count("\n") == 1


def test_store_without_rows_has_no_file(store: FeatureStore) -> None:
    with Ledger(store) as ledger:
        assert ledger.sha256("/d/a.mp4", 5, 7) is None
        assert ledger.status("/d/a.mp4", 5, 7, "pair") is None
    assert not Path(store.root).exists()


def test_changed_file_is_not_known(store: FeatureStore) -> None:
    append(store, DONE)
    ledger = Ledger(store)
    for size, time in ((6, 7), (5, 8)):
        assert ledger.sha256(DONE.file, size, time) is None
        assert ledger.status(DONE.file, size, time, "pair") is None
    assert ledger.status(DONE.file, 5, 7, "other pair") is None


def test_hash_is_that_of_the_latest_row_that_has_one(store: FeatureStore) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    append(store, at(DONE, 3), at(LedgerRow(DONE.file, 5, 8, other), 4), at(FAILED, 5))
    ledger = Ledger(store)
    assert ledger.sha256(DONE.file, 5, 8) == other
    assert ledger.status(DONE.file, 5, 7, "pair") == at(FAILED, 5)
    assert [row.sha256 for row in ledger.load().hashes()] == [other]


def test_the_latest_row_counts_whichever_file_it_is_in(store: FeatureStore) -> None:
    for row in (at(FAILED, 9), at(DONE, 5)):
        append(store, row)
    paths = files(store)
    assert len(paths) == 2
    assert list(Ledger(store).load()) == [at(FAILED, 9)]
    append(store, at(DONE, 10))
    assert list(Ledger(store).load()) == [at(DONE, 10)]


def test_rows_of_this_run_are_known_at_once(store: FeatureStore) -> None:
    with Ledger(store) as ledger:
        ledger.load()
        ledger.append(DONE)
        assert ledger.sha256(DONE.file, 5, 7) == SHA
        assert ledger.status(DONE.file, 5, 7, "pair") == DONE


NAMES = st.text(st.characters(), max_size=12)  # surrogates, controls, separators and quotes among them


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.builds(
            LedgerRow,
            file=NAMES,
            size=st.integers(0, 3),
            mtime_ns=st.integers(-3, 3),
            sha256=st.sampled_from(["", SHA]),
            setup=st.sampled_from(["one", "two"]),
            status=st.sampled_from(["done", "partial", "failed"]),
            reason=NAMES,
            finished_at=st.integers(0, 59).map(lambda s: f"2026-01-01T00:00:{s:02d}.000000+00:00"),
        ),
        max_size=12,
    ),
    cuts=st.lists(st.integers(0, 12), max_size=3),
    torn=st.integers(0, 400),
)
def test_any_appends_and_torn_tails_leave_the_latest_whole_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[LedgerRow], cuts: list[int], torn: int
) -> None:
    store = FeatureStore(tmp_path_factory.mktemp("store"))
    edges = [0, *sorted(cut for cut in cuts if cut < len(rows)), len(rows)]
    kept: list[LedgerRow] = []
    for number, (a, b) in enumerate(itertools.pairwise(edges)):
        before = set(files(store))
        append(store, *rows[a:b])
        for path in set(files(store)) - before:
            # names sort by time and by chance within a second; the order of the files must not matter to the test
            path = path.rename(path.with_name(f"{number}.jsonl"))
            content = path.read_bytes()
            left = max(0, len(content) - torn)
            path.write_bytes(content[:left])
            # a row is whole also where the tear took just the end of its line
            ends = itertools.accumulate(len(line) for line in content.splitlines(keepends=True))
            kept += [row for row, end in zip(rows[a:b], ends, strict=True) if end - 1 <= left]
    latest: dict[tuple[str, str], LedgerRow] = {}
    for row in kept:
        old = latest.get((row.file, row.setup))
        if old is None or row.finished_at >= old.finished_at:
            latest[row.file, row.setup] = row
    assert {(row.file, row.setup): row for row in Ledger(store).load()} == latest


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        "1], [2",
        json.dumps(vars(DONE) | {"size": "5"}),
        json.dumps(vars(DONE) | {"size": 2**70}),
        json.dumps(vars(DONE) | {"sha256": "ab"}),
        json.dumps(vars(DONE) | {"file": 3}),
        json.dumps(vars(DONE) | {"status": "great"}),
        json.dumps(vars(DONE) | {"finished_at": "yesterday"}),
        json.dumps(vars(DONE) | {"setup": ["x"]}),
        "[" * 100_000,
    ],
)
def test_what_is_no_row_is_passed_over(store: FeatureStore, line: str) -> None:
    append(store, DONE)
    (path,) = files(store)
    path.write_text(f"{line}\n{path.read_text()}{line}\n\xff\xfe{line}")
    assert list(Ledger(store).load()) == [DONE]


def test_rows_across_the_edges_of_reads_are_whole(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [replace(DONE, file=f"/d/{k}") for k in range(40)]
    append(store, *rows)
    monkeypatch.setattr(data.store.places._LocalFile, "chunk", 97)
    assert list(Ledger(store).load()) == rows


# --- faults ---------------------------------------------------------------------------------------------------

KILLED = """
import os, sys
from data.store.ledger import Ledger, LedgerRow
from data.store.store import FeatureStore
ledger = Ledger(FeatureStore(sys.argv[1]))
for k in range(10**9):
    ledger.append(LedgerRow(f"/d/{k}", k, k, "", "pair", "done"))
    os.write(1, b".")
"""


def test_kill_9_loses_no_row_that_was_appended(tmp_path: Path) -> None:
    here = Path(data.store.ledger.__file__).parents[2]
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=here, stdout=subprocess.PIPE)
    assert child.stdout is not None
    told = len(child.stdout.read(500))
    child.send_signal(signal.SIGKILL)
    told += len(child.stdout.read())
    child.wait()
    child.stdout.close()
    found = {row.file for row in Ledger(FeatureStore(tmp_path)).load()}
    assert {f"/d/{k}" for k in range(told)} <= found <= {f"/d/{k}" for k in range(told + 1)}


def test_full_disk_is_told_and_costs_one_row(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [replace(DONE, file=f"/d/{k}") for k in range(3)]
    with Ledger(store) as ledger:
        ledger.append(rows[0])
        log = ledger._log
        assert log is not None
        real = log._file  # type: ignore[attr-defined]

        class Full:
            room = 50

            def write(self, payload: memoryview) -> int:
                if not self.room:
                    raise OSError(28, "No space left on device")
                wrote, self.room = real.write(payload[: self.room]), 0
                return int(wrote)

        monkeypatch.setattr(log, "_file", Full())
        with pytest.raises(StoreError, match=r"No space left.*free space"):
            ledger.append(rows[1])
        monkeypatch.setattr(log, "_file", real)
        ledger.append(rows[2])
    assert list(Ledger(store).load()) == [rows[0], rows[2]]


def test_store_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write"):
        Ledger(FeatureStore(tmp_path / "file")).append(DONE)


# --- compaction -----------------------------------------------------------------------------------------------


def ended(store: FeatureStore, number: int, *rows: LedgerRow) -> Path:
    """A file of a run that has ended."""
    append(store, *rows)
    (path,) = [path for path in files(store) if f"-{os.getpid()}-" in path.name]
    return path.rename(path.with_name(path.name.replace(f"-{os.getpid()}-", f"-{DEAD}{number}-")))


DEAD = 2**22  # beyond the largest process number


def test_compaction_keeps_what_the_rows_of_ended_runs_tell(store: FeatureStore) -> None:
    other = LedgerRow("/d/b.mp4", 5, 7, hashlib.sha256(b"b").hexdigest())
    old = [ended(store, 1, at(DONE, 1), other), ended(store, 2, at(FAILED, 2))]
    # the failure says no hash, but the older row of its file does
    assert set(Ledger(store).load().all()) == {at(FAILED, 2), other, at(LedgerRow(DONE.file, 5, 7, SHA), 1)}
    assert len(compact(store, dry=True)) == 2
    assert files(store) == sorted(old[:2])
    with Ledger(store) as alive:
        alive.append(at(DONE, 3))
        assert len(compact(store)) == 2
        assert len(files(store)) == 2
        alive.append(at(replace(DONE, setup="other"), 4))
    rows = Ledger(store).load()
    assert set(rows) == {at(DONE, 3), at(replace(DONE, setup="other"), 4)}
    assert sorted(row.file for row in rows.hashes()) == ["/d/a.mp4", "/d/b.mp4"]
    assert compact(store) == []


def test_compaction_leaves_files_of_other_hosts_for_a_day(store: FeatureStore) -> None:
    for k in range(2):
        path = ended(store, k, replace(DONE, file=f"/d/{k}"))
        path.rename(path.with_name(path.name.replace("@", "@elsewhere-")))
    assert compact(store) == []
    for path in files(store):
        os.utime(path, (1, 1))
    assert len(compact(store)) == 2
    assert len(list(Ledger(store).load())) == 2


def test_reader_that_meets_a_compaction_misses_nothing(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [replace(DONE, file=f"/d/{k}") for k in range(3)]
    for k, row in enumerate(rows):
        ended(store, k, row)
    real, compacted = data.store.ledger._lines, []

    def lines(place: object, name: str) -> Iterator[list[str]]:
        if not compacted:
            compacted.append(True)
            compact(store)
        return real(place, name)  # type: ignore[arg-type]

    monkeypatch.setattr(data.store.ledger, "_lines", lines)
    assert set(Ledger(store).load()) == set(rows)


# --- hashes and stamps ----------------------------------------------------------------------------------------


def test_files_are_hashed_once_until_they_change(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "media"
    root.mkdir()
    (root / "a").write_bytes(b"one")
    (root / "b").write_bytes(b"two")
    names = [Path("a"), Path("b")]
    expected = {Path("a"): hashlib.sha256(b"one").hexdigest(), Path("b"): hashlib.sha256(b"two").hexdigest()}

    hashed: list[Path] = []
    real = data.store.ledger.file_sha256
    monkeypatch.setattr(data.store.ledger, "file_sha256", lambda path: hashed.append(path) or real(path))

    def known() -> dict[Path, str]:
        hashed.clear()
        with Ledger(store) as ledger:
            return known_sha256(root, names, ledger)

    assert known() == expected
    assert hashed == [root / "a", root / "b"]
    assert known() == expected
    assert hashed == []
    (root / "b").write_bytes(b"longer")
    assert known()[Path("b")] == hashlib.sha256(b"longer").hexdigest()
    assert hashed == [root / "b"]
    os.utime(root / "a", ns=(1, 1))  # same size, other time
    known()
    assert hashed == [root / "a"]


def test_ledger_that_cannot_be_written_costs_only_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"one")
    with Ledger(FeatureStore(tmp_path / "a")) as ledger:
        found = known_sha256(tmp_path, [Path("a"), Path("b")], ledger)
    assert found == dict.fromkeys([Path("a"), Path("b")], hashlib.sha256(b"one").hexdigest())
    assert caplog.text.count("file hashes could not be saved") == 1


@pytest.mark.parametrize("name", ["gone.mp4", "gone/gone.mp4", "null\0byte"])
def test_absent_media_is_an_input_error(store: FeatureStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be read") as caught:
        known_sha256(tmp_path, [Path(name)], Ledger(store))
    assert caught.value.path == tmp_path / name


def test_stamps_are_those_of_stat_below_links_and_folders(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "deep" / "a").write_bytes(b"12345")
    (tmp_path / "real" / "b").symlink_to("deep/a")
    (tmp_path / "link").symlink_to("real/deep")
    (tmp_path / "dangling").symlink_to("nowhere")
    names = ["real/deep/a", "real/b", "link/a", "link/../b", str(tmp_path / "link" / "a")]
    found = stamps(tmp_path, [Path(name) for name in [*names, "dangling", "none", "none/a", "real/b/c"]])
    status = (tmp_path / "real" / "deep" / "a").stat()
    expected = (str((tmp_path / "real" / "deep" / "a").resolve()), 5, status.st_mtime_ns)
    assert found == [expected] * 5 + [None] * 4


def test_stamps_keep_their_order_over_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.store.ledger, "_CHUNK_FILES", 3)
    for k in range(20):
        (tmp_path / f"{k}").write_bytes(b"x" * k)
    names = [Path(f"{k}") for k in range(21)]
    assert [stamp.size if stamp else None for stamp in stamps(tmp_path, names)] == [*range(20), None]
