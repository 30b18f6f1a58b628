"""What a process knows of its own memory, on systems that tell and on those that do not."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from data.processes import resident_mb


@pytest.fixture
def no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without /proc."""

    def absent(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", absent)


def test_resident_memory_is_that_of_this_process_and_falls_again() -> None:
    before = resident_mb()
    held = bytearray(200 * 2**20)
    held[::4096] = b"\1" * len(held[::4096])
    assert 150 <= resident_mb() - before <= 300
    del held
    assert resident_mb() - before < 100


@pytest.mark.usefixtures("no_proc")
@pytest.mark.parametrize(("platform", "peak"), [("linux", 300 * 2**10), ("darwin", 300 * 2**20)])
def test_without_proc_it_is_the_most_that_it_ever_was(
    platform: str, peak: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=peak))
    assert resident_mb() == 300


@pytest.mark.usefixtures("no_proc")
def test_where_nothing_tells_it_is_nought(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert resident_mb() == 0
