"""Reading long lists entry by entry, and walking folders, whatever the data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data.errors import InputError
from data.manifest import Manifest, Sample
from data.manifest.disk import compare, media_below
from data.manifest.rows import count, periods, read_rows, seconds
from data.timeline import Interval


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


# --- entries --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["[1]", ' [ 1 , {"a": [2, "],["]} ] \n', '[{"a": 1},{"a": 2}]', "[[], [[]], null, true]", "[\t1\r\n,2]"],
)
def test_entries_are_those_of_the_json_library(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.json").write_text(text)
    assert list(read_rows(tmp_path / "list.json")) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ('[{"a": 1}, {"a"', 1),
        ("[1, 2", 2),
        ("[1 2]", 1),
        ("[1,]", 1),
        ("[1,, 2]", 1),
        ("[nonsense]", 0),
        ("[", 0),
    ],
)
def test_where_a_list_is_cut_off_is_told(tmp_path: Path, text: str, entries: int) -> None:
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(InputError, match=f"damaged after {entries} entries; download it again"):
        list(read_rows(tmp_path / "list.json"))


def test_what_is_no_list_or_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    for text in ("{}", "", "7"):
        path.write_text(text)
        with pytest.raises(InputError, match="expected a list"):
            list(read_rows(path))
    path.write_text("[]")
    with pytest.raises(InputError, match="found none"):
        list(read_rows(path))
    path.write_text("[" * 200_000)
    with pytest.raises(InputError, match="damaged after 0 entries"):
        list(read_rows(path))
    with pytest.raises(InputError, match="not readable as JSON"):
        list(read_rows(tmp_path))


def test_values_are_taken_as_they_are_or_refused() -> None:
    assert (seconds(2, "x"), seconds(0.5, "x")) == (2.0, 0.5)
    assert (count(None, "x"), count(7, "x")) == (0, 7)
    assert periods(None, "x") == ()
    assert periods([[0, 1], [2.5, 2.5]], "x") == (Interval(0, 1), Interval(2.5, 2.5))
    refused: list[tuple[Any, Any]] = [
        (seconds, -1), (seconds, float("inf")), (seconds, True), (seconds, "1"), (seconds, None),
        (count, -1), (count, 1.0), (count, False), (count, "1"),
        (periods, [[1]]), (periods, [[1, 2, 3]]), (periods, [1]), (periods, {"a": 1}), (periods, [[2, 1]]),
    ]  # fmt: skip
    for read, value in refused:
        with pytest.raises((ValueError, TypeError)):
            read(value, "x")


# --- files ----------------------------------------------------------------------------------------------------


def test_files_are_held_against_names(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.mp4", "a/deep/2.mp4", "a/extra.mp4", "a/notes.txt", "a/.3.mp4", "b/1.mp4", "0.mp4")
    rows = {name: Sample(Path(name), 0, "train") for name in ("a/deep/2.mp4", "a/1.mp4", "a/9.mp4", "0.mp4")}
    listing = compare(tmp_path, rows)
    assert [sample.file.as_posix() for sample in listing.samples] == ["a/deep/2.mp4", "a/1.mp4", "0.mp4"]
    assert listing.missing == ("a/9.mp4",)
    assert listing.unlisted == ("a/extra.mp4",)  # b/ is named by no row, so nothing of it is ours to judge


def test_a_folder_in_the_place_of_a_clip_is_no_clip(tmp_path: Path) -> None:
    (tmp_path / "a/1.mp4").mkdir(parents=True)
    assert compare(tmp_path, {"a/1.mp4": Sample(Path("a/1.mp4"), 0, "train")}).missing == ("a/1.mp4",)


def test_links_to_folders_and_files_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/id1/1.mp4", "elsewhere/loose.mp4", "set/train/id0/1.mp4")
    (tmp_path / "set/train/id1").symlink_to(tmp_path / "elsewhere/id1")
    (tmp_path / "set/train/2.mp4").symlink_to(tmp_path / "elsewhere/loose.mp4")
    (tmp_path / "set/train/gone.mp4").symlink_to(tmp_path / "elsewhere/gone.mp4")
    (tmp_path / "set/train/id0/up").symlink_to(tmp_path / "set")
    (tmp_path / "set/train/id0/here").symlink_to(tmp_path / "set/train/id0")
    (tmp_path / "set/dev").symlink_to(tmp_path / "elsewhere")
    assert sorted(media_below(tmp_path / "set", "train")) == [
        "train/2.mp4",
        "train/id0/1.mp4",
        "train/id1/1.mp4",
    ]
    assert sorted(media_below(tmp_path / "set", "dev")) == ["dev/id1/1.mp4", "dev/loose.mp4"]
    assert sorted(media_below(tmp_path / "set", links=False)) == ["train/2.mp4", "train/id0/1.mp4"]


def test_folders_that_link_to_each_other_are_walked_once_each_way(tmp_path: Path) -> None:
    touch(tmp_path, "set/a/1.mp4", "set/b/2.mp4")
    for link in ("x", "y"):
        (tmp_path / "set/a" / link).symlink_to(tmp_path / "set/b")
        (tmp_path / "set/b" / link).symlink_to(tmp_path / "set/a")
    names = list(media_below(tmp_path, "set"))
    assert {"set/a/1.mp4", "set/b/2.mp4", "set/a/x/2.mp4", "set/b/y/1.mp4"} <= set(names)
    assert len(names) < 30  # and not two to the power of the system's limit of links


def test_a_data_set_in_the_making_is_told_from_a_wrong_root(tmp_path: Path) -> None:
    touch(tmp_path, "train/000000.mp4", "recipe.json")
    with pytest.raises(InputError, match="unfinished: run the same `pipeline synthesize` command again"):
        Manifest.lavdf(tmp_path)
