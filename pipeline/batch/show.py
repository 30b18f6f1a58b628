"""Progress of a run for users: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, TextIO

from pipeline.batch.tally import Progress


class Show(Protocol):
    """Shows progress while its `with` block runs."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __call__(self, progress: Progress) -> None:
        """Take note of `progress`."""


class Lines:
    """One line every `every_s` seconds."""

    def __init__(
        self, stream: TextIO, every_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream, self._every_s, self._clock = stream, every_s, clock
        self._told_s = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __call__(self, progress: Progress) -> None:
        """Write a line where one is due."""
        if self._clock() - self._told_s >= self._every_s:
            self._told_s = self._clock()
            self._stream.write(progress.line() + "\n")
            self._stream.flush()


class Bar:
    """A bar with rate, failures and the time that is left, removed when the work is done."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            BarColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(file=stream),
            transient=True,
        )
        self._task = self._bar.add_task("starting workers", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Move the bar."""
        description = progress.line() if progress.answered else "starting workers"
        self._bar.update(
            self._task, completed=progress.answered, total=progress.total, description=description
        )


def show(stream: TextIO, quiet: bool = False) -> Show:
    """The bar where `stream` is a terminal, lines where it is not; with `quiet`, nothing."""
    if quiet:
        return Lines(stream, every_s=math.inf)
    return Bar(stream) if stream.isatty() else Lines(stream)
