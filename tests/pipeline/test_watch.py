"""Files of a folder that fills up are handed out once, when they have stopped changing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from data.errors import InputError
from pipeline.watch import POLL_S, arrivals


class Days:
    """A clock that sleeping moves on; at each awakening the next step happens in the folder."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.now_s, self._steps = 0.0, list(steps)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        if not self._steps:
            raise KeyboardInterrupt
        self._steps.pop(0)()

    def watch(
        self, folder: Path, settle_s: float, known: Callable[[Path], bool] = lambda name: False
    ) -> list:
        """What came, with the time at which it did, until the steps are over."""
        found: list[tuple[float, str]] = []
        names: Iterator[Path | None] = arrivals(folder, settle_s, known, self.sleep, lambda: self.now_s)
        with suppress(KeyboardInterrupt):
            found += ((self.now_s, str(name)) for name in names if name is not None)
        return found


def nothing() -> None:
    """A step in which nothing happens."""


def grow(path: Path, data: bytes = b"x") -> Callable[[], object]:
    """A step that appends `data`; times of change are those of the test."""

    def step() -> None:
        path.parent.mkdir(exist_ok=True)
        with open(path, "ab") as file:
            file.write(data)
        os.utime(path, (1, 1))

    return step


def test_a_file_comes_once_when_it_has_stayed_for_the_time(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    days = Days(grow(path), grow(path), nothing, grow(path), *[nothing] * 6)
    # The last change is seen at 4 s.
    assert days.watch(tmp_path, 3.0) == [(4 * POLL_S + 3, "a.mp4")]


def test_a_file_of_the_same_size_that_is_written_again_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    grow(path)()
    days = Days(nothing, lambda: os.utime(path, (2, 2)), nothing, nothing, nothing)
    assert days.watch(tmp_path, 2.0) == [(4.0, "a.mp4")]


def test_files_below_come_in_order_and_others_do_not(tmp_path: Path) -> None:
    for name in ("b.mp4", "a/c.wav", "a.mp4.part", "notes.txt", ".hidden.mp4"):
        grow(tmp_path / name)()
    (tmp_path / "empty.mp4").touch()
    assert Days(nothing).watch(tmp_path, 0.0) == [(1.0, "a/c.wav"), (1.0, "b.mp4")]


def test_a_file_that_changes_later_comes_again(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    grow(path)()
    days = Days(nothing, grow(path), nothing, nothing)
    assert days.watch(tmp_path, 0.0) == [(1.0, "a.mp4"), (3.0, "a.mp4")]


def test_a_known_file_is_passed_over_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    grow(path)()
    days = Days(nothing, grow(path), nothing, nothing)
    assert days.watch(tmp_path, 0.0, lambda name: name == Path("a.mp4")) == [(3.0, "a.mp4")]


def test_a_file_that_goes_away_before_it_is_whole_never_comes(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    grow(path)()
    assert Days(path.unlink, nothing, grow(path), nothing).watch(tmp_path, 3.0) == []


def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        next(arrivals(tmp_path / "none", 0.0))


def test_a_file_that_is_written_again_while_another_is_out_has_to_stay_for_the_time(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        grow(tmp_path / name)()
    days = Days(nothing, nothing, nothing, nothing)
    came: list[tuple[float, str]] = []
    with suppress(KeyboardInterrupt):
        for name in arrivals(tmp_path, 2.0, sleep=days.sleep, clock=lambda: days.now_s):
            if name is not None:
                came.append((days.now_s, str(name)))
            if name == Path("a.mp4"):
                days.now_s += 60  # an analysis, during which the other changes
                grow(tmp_path / "b.mp4")()
    assert came == [(2.0, "a.mp4"), (64.0, "b.mp4")]
