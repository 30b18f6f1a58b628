"""Volumes and unfinished downloads, in the places where downloads leave them."""

from __future__ import annotations

from pathlib import Path

from pipeline.datasets.archives import Archive, find_leftovers


def put(root: Path, sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(bytes(size))


def test_volumes_are_counted_by_archive(tmp_path: Path) -> None:
    put(tmp_path, {f"LAV-DF.zip.{k:03d}": 10 for k in (1, 2, 3)} | {"LAV-DF.zip.004": 4})
    put(
        tmp_path, {f"train/train.zip.{k:03d}": 10 for k in (1, 2)} | {"train/clip.mp4": 5, "metadata.json": 5}
    )
    assert find_leftovers(tmp_path).archives == (
        Archive(tmp_path / "LAV-DF.zip.001", 4, 34, (), ()),
        Archive(tmp_path / "train/train.zip.001", 2, 20, (), ()),
    )


def test_gaps_and_volumes_that_are_not_whole_are_named(tmp_path: Path) -> None:
    put(tmp_path, {"a.zip.002": 10, "a.zip.003": 7, "a.zip.005": 10, "a.zip.006": 0})
    (archive,) = find_leftovers(tmp_path).archives
    assert (archive.missing, archive.short) == ((1, 4), (3, 6))
    assert archive.faults == ("a.zip.001", "a.zip.003", "a.zip.004", "a.zip.006")
    assert archive.first == tmp_path / "a.zip.001"  # though it is not there


def test_other_names_are_no_volumes(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"a.zip": 1, "a.zip.1": 1, "a.mp4.001": 1, "zip.001": 1, "deep/er/a.zip.001": 1, ".x/a.zip.001": 1},
    )
    assert find_leftovers(tmp_path).archives == ()


def test_unfinished_downloads_are_found(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"a.zip.001.aria2": 1, "val/b.zip.part": 1, ".cache/huggingface/download/val/c.incomplete": 1},
    )
    found = [path.relative_to(tmp_path).as_posix() for path in find_leftovers(tmp_path).unfinished]
    assert found == [".cache/huggingface/download/val/c.incomplete", "a.zip.001.aria2", "val/b.zip.part"]


def test_a_root_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    left = find_leftovers(tmp_path / "gone")
    assert (left.archives, left.unfinished) == ((), ())
