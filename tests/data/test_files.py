"""Files are replaced whole or not at all, and hashed once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

import data.files
from data.errors import InputError, UsageError
from data.files import file_sha256, known_sha256, replacing


def test_replacing_swaps_the_file_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    with replacing(path) as temporary:
        temporary.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert os.listdir(path.parent) == ["a.txt"]


def test_block_that_raises_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyError("stop")

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_target_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"), replacing(tmp_path / "file" / "a.txt"):
        pass


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert file_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(InputError, match="No such file"):
        file_sha256(tmp_path / "b")


def test_files_are_hashed_once_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    index, files = tmp_path / "store" / "index.json", [Path("a"), Path("b")]
    expected = {Path("a"): hashlib.sha256(b"one").hexdigest(), Path("b"): hashlib.sha256(b"two").hexdigest()}
    assert known_sha256(tmp_path, files, index) == expected

    hashed: list[Path] = []
    real = data.files.file_sha256
    monkeypatch.setattr(data.files, "file_sha256", lambda path: hashed.append(path) or real(path))
    assert known_sha256(tmp_path, files, index) == expected
    assert hashed == []

    (tmp_path / "b").write_bytes(b"longer")
    assert known_sha256(tmp_path, files, index)[Path("b")] == hashlib.sha256(b"longer").hexdigest()
    assert hashed == [tmp_path / "b"]

    os.utime(tmp_path / "a", ns=(1, 1))  # same size, other time
    known_sha256(tmp_path, files, index)
    assert hashed == [tmp_path / "b", tmp_path / "a"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": [1, 2]}'])
def test_damaged_index_is_rebuilt(tmp_path: Path, content: str) -> None:
    (tmp_path / "a").write_bytes(b"one")
    index = tmp_path / "index.json"
    index.write_text(content)
    expected = {Path("a"): hashlib.sha256(b"one").hexdigest()}
    assert known_sha256(tmp_path, [Path("a")], index) == expected
    assert index.read_text().count(expected[Path("a")]) == 1


def test_index_that_cannot_be_written_costs_only_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a").write_bytes(b"one")
    found = known_sha256(tmp_path, [Path("a")], tmp_path / "a" / "index.json")
    assert found == {Path("a"): hashlib.sha256(b"one").hexdigest()}
    assert "not remembered" in caplog.text


def test_absent_media_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        known_sha256(tmp_path, [Path("gone.mp4")], tmp_path / "index.json")
