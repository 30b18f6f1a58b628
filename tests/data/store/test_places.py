"""A folder and an object store behave alike: whole objects, ranges, exclusive creation, errors that say what to do."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from store_factory import KEY, fill, sample

import data.store.places
import data.store.remote
from data.errors import StoreError, UsageError
from data.store.ledger import Ledger, LedgerRow
from data.store.places import LocalPlace, Place, read_object
from data.store.store import FeatureStore, place_of


@pytest.fixture
def place(anywhere: FeatureStore) -> Place:
    return anywhere.place


def names(place: Place, folder: str = "") -> list[str]:
    return sorted(found.name for found in place.list(folder))


# --- conformance ----------------------------------------------------------------------------------------------


def test_empty_place_has_nothing(place: Place) -> None:
    assert names(place) == names(place, "a/b") == []
    assert place.status("a") is None
    assert read_object(place, "a/b") is None
    with pytest.raises(FileNotFoundError), place.open("a"):
        pass
    place.remove(["a", "a/b"])


def test_written_object_is_read_in_ranges(place: Place) -> None:
    place.write("a/b", b"0123456789")
    with place.open("a/b") as file:
        assert file.size == 10
        assert file.read((2, 3), (0, 0), (9, 1), (0, 10)) == [b"234", b"", b"9", b"0123456789"]
    found = place.status("a/b")
    assert found is not None
    assert (found.name, found.size) == ("a/b", 10)
    assert abs(found.mtime - Path(__file__).stat().st_atime) < 10 * 366 * 24 * 3600  # a time, in seconds


def test_replaced_object_has_another_stamp(place: Place) -> None:
    stamps = []
    for content in (b"one", b"one", b"other"):
        place.write("a", content)
        with place.open("a") as file:
            assert read_object(place, "a") == content
            stamps.append(file.stamp)
    assert stamps[0] != stamps[2] != stamps[1]


def test_folder_is_no_object(place: Place) -> None:
    place.write("a/b/c", b"x")
    assert place.status("a") is place.status("a/b") is None


def test_creation_is_exclusive(place: Place) -> None:
    assert place.exclusive
    assert place.create("a/b", b"first") is True
    assert place.create("a/b", b"second") is False
    assert read_object(place, "a/b") == b"first"
    place.remove(["a/b"])
    assert place.create("a/b", b"third") is True


def test_published_file_appears_whole_and_leaves_scratch(place: Place) -> None:
    for content in (b"x" * 3_000_000, b"second"):
        temporary = place.scratch()
        temporary.write_bytes(content)
        assert temporary.name not in str(names(place))
        place.publish(temporary, "aa/bb/c")
        assert read_object(place, "aa/bb/c") == content
        assert list(temporary.parent.iterdir()) == []


def test_listing_tells_objects_below_a_folder(place: Place) -> None:
    for name in ("a", "b/c", "b/d/e", "bc/f"):
        place.write(name, name.encode())
    assert names(place) == ["a", "b/c", "b/d/e", "bc/f"]
    assert names(place, "b") == ["b/c", "b/d/e"]
    assert {found.size for found in place.list("b")} == {3, 5}


def test_removing_many_leaves_the_others(place: Place) -> None:
    for k in range(5):
        place.write(f"a/{k}/x", b"")
    place.remove([f"a/{k}/x" for k in range(4)] + ["a/9/x"])
    assert names(place) == ["a/4/x"]


def test_log_becomes_lines_in_order(place: Place) -> None:
    log = place.log("ledger/one")
    for line in (b"1", b"2", b"3"):
        log.add(line)
    log.close()
    assert b"".join(read_object(place, name) or b"" for name in names(place, "ledger")) == b"1\n2\n3\n"
    assert all(name.startswith("ledger/one") and name.endswith(".jsonl") for name in names(place))


def test_place_survives_pickling(place: Place) -> None:
    place.write("a", b"x")
    assert read_object(pickle.loads(pickle.dumps(place)), "a") == b"x"


# --- the store on every kind of place -------------------------------------------------------------------------


def test_entry_is_whole_or_absent_everywhere(anywhere: FeatureStore) -> None:
    values, valid = sample(300, 64)
    with pytest.raises(ValueError, match="expected"), anywhere.writer(KEY, 64, 25, {}) as writer:
        writer.append(values[:, :3], valid)
    assert not anywhere.contains(KEY)
    with anywhere.writer(KEY, 64, 25, {"by": "test"}) as writer:
        writer.append(values, valid)
        writer.note("coverage", "all")
        assert not anywhere.contains(KEY)
    assert anywhere.contains(KEY)
    reader = pickle.loads(pickle.dumps(anywhere.reader(KEY)))
    reader.verify()
    assert (reader.n, reader.notes, reader.provenance) == (300, {"coverage": "all"}, {"by": "test"})
    expected = np.where(valid[:, None], values, 0).astype(np.float16)
    np.testing.assert_array_equal(reader.read(17, 40).values, expected[17:40])
    np.testing.assert_array_equal(reader.read(17, 40).valid, valid[17:40])
    assert reader.read(0, 0).values.shape == (0, 64)


def test_absent_entry_says_to_extract_everywhere(anywhere: FeatureStore) -> None:
    with pytest.raises(StoreError, match="pipeline extract"):
        anywhere.reader(KEY)


def test_entry_that_was_replaced_is_read_anew_everywhere(anywhere: FeatureStore) -> None:
    fill(anywhere, *sample())
    reader = anywhere.reader(KEY)
    fill(anywhere, np.ones((12, 5), np.float32), np.ones(12, np.bool_), longer="provenance moves the payload")
    assert reader.read(0, 12).values.min() == 1


def test_ledger_goes_on_everywhere(anywhere: FeatureStore) -> None:
    rows = [LedgerRow(f"/d/{k}", k, k, "", "pair", "done") for k in range(3)]
    for row in rows:
        with Ledger(anywhere) as ledger:
            ledger.append(row)
    assert sorted(Ledger(anywhere).load(), key=lambda row: row.file) == rows


# --- object stores --------------------------------------------------------------------------------------------


def test_window_of_a_remote_entry_costs_a_few_small_requests(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(f"{s3_bucket}/windows")
    fill(store, *sample(2000, 512))
    files, _ = store.place._connect()  # type: ignore[attr-defined]
    requests = []
    real = type(files)._call_s3

    async def counted(self: object, method: str, *args: object, **kwargs: object) -> object:
        requests.append((method, kwargs.get("Range")))
        return await real(self, method, *args, **kwargs)

    monkeypatch.setattr(type(files), "_call_s3", counted)
    reader = store.reader(KEY)
    requests.clear()
    reader.read(100, 110)
    ranges = [found for method, found in requests if method == "get_object"]
    assert len(requests) <= 3
    sizes = [1 + int(text.split("-")[1]) - int(text.split("=")[1].split("-")[0]) for text in map(str, ranges)]
    assert sizes == [10 * 512 * 2, 10]


def test_rows_are_sent_in_time_and_kept_over_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    place = place_of("memory://outage")
    log = place.log("ledger/one")
    log.add(b"1")
    assert len(names(place)) == 1, "the first line shows at once whether the store takes any"
    log.add(b"2")
    assert len(names(place)) == 1
    monkeypatch.setattr(place, "write", lambda *_: (_ for _ in ()).throw(StoreError("away", "x", "wait")))
    log._quietly()  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match="away"):
        log.add(b"3")
    monkeypatch.undo()
    log._quietly()  # type: ignore[attr-defined]
    assert len(names(place)) == 2
    log.add(b"4")
    log.close()
    assert b"".join(read_object(place, name) or b"" for name in names(place)) == b"1\n2\n4\n"


def test_store_that_takes_nothing_is_told_by_the_first_row_and_not_again(s3_bucket: str) -> None:
    with Ledger(FeatureStore("s3://no-such-bucket-here/x")) as ledger, pytest.raises(UsageError):
        ledger.append(LedgerRow("/d", 1, 1, ""))


def test_absent_bucket_is_a_usage_error(s3_bucket: str) -> None:
    store = FeatureStore("s3://no-such-bucket-here/x")
    assert not store.contains(KEY)
    with pytest.raises(UsageError, match=r"s3://no-such-bucket-here/x.*no such bucket; make it"):
        fill(store, *sample())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
            UsageError,
            "no credentials.*AWS_ACCESS_KEY",
        ),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, StoreError, "does not answer.*AWS_ENDPOINT_URL"),
    ],
)
def test_remote_that_cannot_be_used_says_why(
    s3_bucket: str,
    settings: dict[str, str | None],
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    import s3fs

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    for name, value in settings.items():
        monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        for act in (lambda s: s.contains(KEY), lambda s: fill(s, *sample())):
            with pytest.raises(error, match=message) as caught:
                act(FeatureStore(f"{s3_bucket}/x"))
            assert "test-secret" not in str(caught.value)
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


def test_credentials_never_stand_in_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
    place = place_of("memory://user:passw0rd@bucket/x?token=hunter3")
    assert str(place.root) == "memory://bucket/x"
    files, _ = place._connect()  # type: ignore[attr-defined]

    def fail(*_: object, **__: object) -> None:
        raise OSError("PUT https://user:passw0rd@host/ with hunter2hunter2 failed")

    monkeypatch.setattr(type(files), "pipe_file", fail)
    with pytest.raises(StoreError) as caught:
        place.write("a", b"")
    assert "PUT https://host/ with … failed" in str(caught.value)
    assert "passw0rd" not in str(caught.value)
    assert "hunter" not in str(caught.value)


def test_denied_access_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    place = place_of("memory://denied")
    files, _ = place._connect()  # type: ignore[attr-defined]

    def deny(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(files), "info", deny)
    with pytest.raises(UsageError, match=r"access is denied.*check the credentials"):
        place.status("a")


def test_unknown_kind_of_url_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="unknown kind of store 'nonsense'"):
        FeatureStore("nonsense://bucket/x")


def test_missing_package_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, "s3", raising=False)
    with pytest.raises(UsageError, match=r"package is missing \(Install s3fs.*\.\[s3\]"):
        FeatureStore("s3://bucket/x")


def test_file_urls_are_folders(tmp_path: Path) -> None:
    store = FeatureStore(f"file://{tmp_path}/a%20b")
    assert isinstance(store.place, LocalPlace)
    assert store.root == tmp_path / "a b"


def test_file_system_without_exclusive_creation_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    place = place_of("memory://plain")
    files, _ = place._connect()  # type: ignore[attr-defined]
    monkeypatch.setattr(type(files), "pipe_file", lambda self, path, value: None)
    assert not place.exclusive


def test_temporary_folder_that_others_may_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / f"rt-deeploc-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(UsageError, match="others may write"):
        place_of("memory://x").scratch()


# --- folders --------------------------------------------------------------------------------------------------


def test_folder_that_is_tidied_away_meanwhile_is_made_again(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tidied = os.replace, []

    def replace(source: Path, target: Path) -> None:
        if not tidied:
            tidied.append(target)
            target.parent.rmdir()
        real(source, target)

    monkeypatch.setattr(data.store.places.os, "replace", replace)
    fill(store, *sample())
    assert len(tidied) == 1
    store.reader(KEY).verify()


def test_full_disk_leaves_no_empty_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data.store.places.os, "write", full)
    with pytest.raises(StoreError, match="No space left"):
        place_of(tmp_path).create("a/b", b"x")
    assert list((tmp_path / "a").iterdir()) == []


def test_removing_a_file_removes_its_empty_folders(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    for name in ("aa/b/x", "aa/c/x", "aa/c/y"):
        place.write(name, b"")
    place.remove(["aa/b/x", "aa/c/x"])
    assert sorted(path.name for path in (tmp_path / "aa").iterdir()) == ["c"]
    place.remove(["aa/c/y"])
    assert (tmp_path / "aa").is_dir()


def test_help_needs_no_fsspec() -> None:
    code = "import data.store.store, sys; sys.exit('fsspec' in sys.modules)"
    here = Path(data.store.places.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=here, check=False).returncode == 0
