"""Files that are analysed several at a time: the order of their results, and a file that comes again meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from pipeline import jobs


class Pool:
    """Does what it is given when it is asked for the result; `begun` has what was given and not asked for yet."""

    begun: list[Path]

    def __init__(self, *_: Any) -> None:
        Pool.begun = []

    def submit(self, work: Callable[[Path], Any], name: Path) -> Any:
        Pool.begun.append(name)
        future: Future[str] = Future()

        def result(timeout: float | None = None) -> str:
            Pool.begun.remove(name)
            return f"report of {name}"

        future.result = result  # type: ignore[method-assign]
        return future

    def shutdown(self, cancel_futures: bool) -> None:
        """Nothing is left to stop."""


def test_a_file_that_comes_again_waits_for_its_first_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "ProcessPoolExecutor", Pool)

    def names() -> Iterator[Path | None]:
        yield Path("a")
        yield Path("b")
        yield Path("b")
        assert Pool.begun == [Path("b")], "one at a time of each file"
        yield None

    done = list(jobs.in_parallel(None, 2, names()))  # type: ignore[arg-type]
    assert done == ["report of a", "report of b", None, "report of b"]
