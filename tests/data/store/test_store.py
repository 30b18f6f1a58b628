"""The feature store: a valid safetensors file per entry, whole or absent, read in windows."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import pickle
import subprocess
import sys
import time
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file
from store_factory import KEY, MEDIA, fill, sample

import data.store.entry
import data.store.store
from data.errors import StoreError, UsageError
from data.processes import unique_name
from data.store.store import FeatureStore
from data.timeline import TimeGrid


def leftovers(store: FeatureStore) -> list[Path]:
    return list((store.root / ".incoming").iterdir())


# --- format ---------------------------------------------------------------------------------------------------


def test_entry_is_a_safetensors_file_that_the_library_reads(store: FeatureStore) -> None:
    values, valid = sample()
    path = fill(store, values, valid, extractor="TSN")
    tensors = load_file(path)
    np.testing.assert_array_equal(tensors["values"], np.where(valid[:, None], values, 0).astype(np.float16))
    np.testing.assert_array_equal(tensors["valid"], valid)
    assert tensors["valid"].dtype == np.bool_
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    assert (metadata["grid_start"], metadata["grid_step"], metadata["dim"]) == ("0", "1/25", "5")
    assert json.loads(metadata["provenance"]) == {"extractor": "TSN"}


def test_path_comes_from_content_and_extractor(store: FeatureStore) -> None:
    assert store.path(KEY) == store.root / MEDIA[:2] / MEDIA[2:] / "tsn-1.safetensors"


@pytest.mark.parametrize(
    "key", [("abc", "x"), (MEDIA.upper(), "x"), (MEDIA, "../x"), (MEDIA, ".x"), (MEDIA, "")]
)
def test_keys_that_are_no_names_are_refused(store: FeatureStore, key: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="not a"):
        store.path(key)


def test_reader_tells_grid_dimension_and_provenance(store: FeatureStore) -> None:
    fill(store, *sample(7, 3), model="m", note="ü")
    reader = store.reader(KEY)
    assert (reader.n, reader.dim, reader.provenance) == (7, 3, {"model": "m", "note": "ü"})
    assert reader.grid == TimeGrid(Fraction(0), Fraction(1, 25), 7)


def test_rate_need_not_be_whole(store: FeatureStore) -> None:
    with store.writer(KEY, 1, Fraction(30_000, 1001), {}):
        pass
    assert store.reader(KEY).grid.step == Fraction(1001, 30_000)


def test_entry_without_steps_is_valid(store: FeatureStore) -> None:
    with store.writer(KEY, 4, 25, {}):
        pass
    reader = store.reader(KEY)
    reader.verify()
    assert reader.read(0, 0).values.shape == (0, 4)
    assert load_file(store.path(KEY))["values"].shape == (0, 4)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(0, 20), max_size=6), window=st.tuples(st.integers(0, 20), st.integers(0, 20))
)
def test_windows_equal_slices_however_the_entry_was_written(
    store: FeatureStore, cuts: list[int], window: tuple[int, int]
) -> None:
    values, valid = sample(20, 3)
    edges = [0, *sorted(cuts), 20]
    with store.writer(KEY, 3, 25, {}) as writer:
        for a, b in itertools.pairwise(edges):
            writer.append(values[a:b], valid[a:b])
    first, stop = sorted(window)
    found = store.reader(KEY).read(first, stop)
    expected = np.where(valid[:, None], values, 0).astype(np.float16)[first:stop]
    np.testing.assert_array_equal(found.values, expected)
    np.testing.assert_array_equal(found.valid, valid[first:stop])
    # step k of a 25 fps clock starts at k/25 s
    assert found.grid == TimeGrid(Fraction(first, 25), Fraction(1, 25), stop - first)
    store.reader(KEY).verify()


@pytest.mark.parametrize("window", [(-1, 2), (3, 2), (0, 13), (13, 13)])
def test_windows_outside_the_entry_are_refused(store: FeatureStore, window: tuple[int, int]) -> None:
    fill(store, *sample(12))
    with pytest.raises(IndexError):
        store.reader(KEY).read(*window)


def test_reader_survives_pickling_and_replacement(store: FeatureStore) -> None:
    fill(store, *sample(12))
    reader = pickle.loads(pickle.dumps(store.reader(KEY)))
    other, valid = np.ones((12, 5), np.float32), np.ones(12, np.bool_)
    fill(store, other, valid, longer="provenance moves the payload")
    assert reader.read(0, 12).values.min() == 1


# --- notes ----------------------------------------------------------------------------------------------------


def test_notes_come_back_and_lie_in_a_tensor_of_their_own(store: FeatureStore) -> None:
    with store.writer(KEY, 5, 25, {"a": "b"}) as writer:
        writer.note("coverage", "first")
        writer.append(*sample())
        writer.note("coverage", '{"gaps": [], "ü": "\u2028"}')
        writer.note("later", "")
    reader = store.reader(KEY)
    expected = {"coverage": '{"gaps": [], "ü": "\u2028"}', "later": ""}
    assert reader.notes == expected
    assert json.loads(bytes(load_file(store.path(KEY))["notes"])) == expected
    reader.verify()


def test_entry_without_notes_has_none(store: FeatureStore) -> None:
    fill(store, *sample())
    assert store.reader(KEY).notes == {}


def test_cuts_are_steps_within_the_entry_in_order(store: FeatureStore) -> None:
    values, valid = sample()
    with store.writer(KEY, values.shape[1], 25, {}) as writer:
        writer.append(values, valid)
        writer.note("cuts", json.dumps([3, 1, 3, 0, len(valid), -2]))
    assert store.reader(KEY).cuts == (1, 3)


def test_an_entry_without_cuts_has_none(store: FeatureStore) -> None:
    fill(store, *sample())
    assert store.reader(KEY).cuts == ()


@pytest.mark.parametrize("text", ["no list", "{}", "[1.5]", "[true]"])
def test_damaged_cuts_are_told(store: FeatureStore, text: str) -> None:
    values, valid = sample()
    with store.writer(KEY, values.shape[1], 25, {}) as writer:
        writer.append(values, valid)
        writer.note("cuts", text)
    with pytest.raises(StoreError, match="notes are damaged"):
        _ = store.reader(KEY).cuts


def test_long_notes_move_nothing(store: FeatureStore) -> None:
    with store.writer(KEY, 5, 25, {}) as writer:
        writer.append(*sample())
        writer.note("long", "x" * 100_000)
    assert len(store.reader(KEY).notes["long"]) == 100_000
    np.testing.assert_array_equal(load_file(store.path(KEY))["valid"], sample()[1])


# --- what may be written --------------------------------------------------------------------------------------


def test_invalid_steps_are_stored_as_zero_whatever_stood_there(store: FeatureStore) -> None:
    values = np.array([[1.0, 2.0], [np.nan, np.inf]], np.float32)
    fill(store, values, np.array([True, False]))
    np.testing.assert_array_equal(store.reader(KEY).read(0, 2).values, [[1, 2], [0, 0]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 70_000.0])  # 65504 is the largest float16
def test_values_beyond_float16_are_refused(store: FeatureStore, bad: float) -> None:
    with pytest.raises(ValueError, match="float16"):
        fill(store, np.array([[bad]], np.float32), np.array([True]))
    assert not store.contains(KEY)
    assert not leftovers(store)


@pytest.mark.parametrize(("values", "valid"), [((3, 4), 3), ((3, 5), 2), ((15,), 3)])
def test_wrong_shapes_are_refused(store: FeatureStore, values: tuple[int, ...], valid: int) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, 5\)"), store.writer(KEY, 5, 25, {}) as writer:
        writer.append(np.zeros(values, np.float32), np.ones(valid, np.bool_))


@pytest.mark.parametrize(("dim", "rate"), [(0, 25), (3, 0), (3, -1)])
def test_impossible_dimension_and_rate_are_refused(store: FeatureStore, dim: int, rate: int) -> None:
    with pytest.raises((ValueError, ZeroDivisionError)), store.writer(KEY, dim, rate, {}):
        pass
    assert not leftovers(store)


# --- whole or not at all --------------------------------------------------------------------------------------


def test_entry_appears_only_when_the_block_has_ended(store: FeatureStore) -> None:
    with store.writer(KEY, 5, 25, {}) as writer:
        writer.append(*sample())
        assert not store.contains(KEY)
        assert len(leftovers(store)) == 1
    assert store.contains(KEY)
    assert not leftovers(store)


def test_block_that_raises_leaves_nothing_and_keeps_what_was_there(store: FeatureStore) -> None:
    before = fill(store, *sample(12)).read_bytes()
    with pytest.raises(ValueError, match="expected"), store.writer(KEY, 5, 25, {}) as writer:
        writer.append(np.zeros((3, 4), np.float32), np.ones(3, np.bool_))
    assert store.path(KEY).read_bytes() == before
    assert not leftovers(store)


def test_of_two_writers_the_last_replaces_and_both_are_whole(store: FeatureStore) -> None:
    one, two = sample(6), sample(9)
    with store.writer(KEY, 5, 25, {"by": "outer"}) as outer:
        outer.append(*one)
        with store.writer(KEY, 5, 25, {"by": "inner"}) as inner:
            inner.append(*two)
        store.reader(KEY).verify()
        assert store.reader(KEY).provenance == {"by": "inner"}
        outer.append(*one)
    store.reader(KEY).verify()
    assert (store.reader(KEY).n, store.reader(KEY).provenance) == (12, {"by": "outer"})


class FullDisk(io.FileIO):
    """A file on a disk with room for 100 bytes: like write(2), it writes what fits, then fails."""

    def write(self, payload: object) -> int:
        room = 100 - self.tell()
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(memoryview(payload)[:room])  # type: ignore[arg-type]


def test_full_disk_leaves_nothing_and_says_what_to_do(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        data.store.entry, "open", lambda path, mode, buffering: FullDisk(path, "xb"), raising=False
    )
    with pytest.raises(StoreError, match=r"No space left on device.*free space"):
        fill(store, *sample())
    assert not store.contains(KEY)
    assert not leftovers(store)


def test_partial_writes_are_continued(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(io.FileIO):
        def write(self, payload: object) -> int:
            return super().write(memoryview(payload)[:7])  # type: ignore[arg-type]

    real = open
    monkeypatch.setattr(
        data.store.entry, "open", lambda path, mode, buffering: Slow(path, "xb"), raising=False
    )
    fill(store, *sample())
    monkeypatch.setattr(data.store.entry, "open", real, raising=False)
    store.reader(KEY).verify()


def test_folder_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UsageError, match="cannot write features") as caught:
        fill(FeatureStore(tmp_path / "file"), *sample())
    assert caught.value.exit_code == 2


def test_debris_of_dead_processes_is_swept_and_work_in_progress_is_not(store: FeatureStore) -> None:
    folder = store.root / ".incoming"
    folder.mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    day = 24 * 3600
    mine = unique_name()
    dead, alive = folder / mine.replace(str(os.getpid()), str(ended.pid), 1), folder / mine
    recent, old = folder / "1-5@elsewhere~cc", folder / "1-5@elsewhere~dd"
    for path in (dead, alive, recent, old):
        path.touch()
    os.utime(old, (time.time() - 2 * day,) * 2)
    fill(store, *sample())
    assert sorted(leftovers(store)) == sorted([alive, recent])


KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
import numpy as np
from data.store.store import FeatureStore, StoreKey

root, rounds = Path(sys.argv[1]), int(sys.argv[2])
random.seed(1)

def write_for_ever(store, tell):
    k = 0
    while True:
        key = StoreKey(f"{k % 3:064x}", "x")  # every entry is replaced again and again
        with store.writer(key, 64, 25, {"round": str(k)}) as writer:
            for _ in range(8):
                writer.append(np.full((64, 64), k % 1000, np.float32), np.ones(64, np.bool_))
                os.write(tell, b".")
        k += 1

unfinished = good = bad = 0
for _ in range(rounds):
    heard, tell = os.pipe()
    child = os.fork()
    if child == 0:
        write_for_ever(FeatureStore(root), tell)
    for _ in range(random.randint(1, 30)):  # eight dots an entry: some are followed by a commit, which takes longest
        os.read(heard, 1)
    time.sleep(random.choice([0, 0, random.uniform(0, 0.01)]))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(heard), os.close(tell)
    unfinished += len(list((root / ".incoming").iterdir()))
    store = FeatureStore(root)
    for k in range(3):
        key = StoreKey(f"{k:064x}", "x")
        if store.contains(key):
            try:
                reader = store.reader(key)
                reader.verify()
                assert reader.n == 512 and len(np.unique(reader.read(0, 512).values)) == 1
                good += 1
            except Exception:
                bad += 1
with FeatureStore(root).writer(StoreKey("f" * 64, "x"), 1, 1, {}):
    pass
left = len(list((root / ".incoming").iterdir()))
print(json.dumps({"unfinished": unfinished, "good": good, "bad": bad, "left": left}))
"""


def test_kill_9_while_writing_never_leaves_a_bad_entry(tmp_path: Path) -> None:
    here = Path(data.store.store.__file__).parents[2]
    command = [sys.executable, "-c", KILLER, str(tmp_path / "store"), "25"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["bad"] == 0
    assert found["good"] > 0
    assert found["unfinished"] > 0, "no kill hit a file that was being written: the test proves nothing"
    assert found["left"] == 0, "the next writer must sweep what the killed ones left"


# --- memory ---------------------------------------------------------------------------------------------------


def test_memory_holds_a_window_and_not_the_entry(store: FeatureStore) -> None:
    # 16 MiB of features in batches of 64 KiB; windows of 32 KiB
    batch, valid = np.ones((32, 1024), np.float16), np.ones(32, np.bool_)
    tracemalloc.start()
    with store.writer(KEY, 1024, 25, {}) as writer:
        for _ in range(256):
            writer.append(batch, valid)
    reader = store.reader(KEY)
    for first in range(0, reader.n, 512):
        reader.read(first, first + 16)
    peak = tracemalloc.get_traced_memory()[1]
    reader.verify()
    verify_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert store.path(KEY).stat().st_size > 16 * 2**20
    assert peak < 2 * 2**20
    assert verify_peak < 4 * 2**20
