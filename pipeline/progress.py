"""Progress of long steps, as users see it: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO


class PlainProgress:
    """A line once a minute, for logs: nothing of what is done sooner."""

    def __init__(
        self, stream: TextIO, every_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream, self._every_s, self._clock = stream, every_s, clock
        self._label = ""
        self._last_s = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def begin(self, label: str) -> None:
        """Name the file that the following steps work on."""
        self._label = label

    def __call__(self, step: str, completed: int | None = None, total: int | None = None) -> None:
        """Write a line where one is due."""
        now_s = self._clock()
        if now_s - self._last_s < self._every_s:
            return
        self._last_s = now_s
        amount = "" if not completed else f" {completed}" + (f"/{total}" if total is not None else "")
        self._stream.write(f"{self._label}: {step}{amount}\n" if self._label else f"{step}{amount}\n")
        self._stream.flush()


class BarProgress:
    """A bar per file on a terminal, removed at the end of its `with` block, of which there may be several."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.fields[label]}", markup=False),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self._label = ""
        self._step: str | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._drop()

    def begin(self, label: str) -> None:
        """Name the file that the following steps work on."""
        self._label, self._step = label, None

    def __call__(self, step: str, completed: int | None = None, total: int | None = None) -> None:
        """Move the bar; a new step starts from zero."""
        if step != self._step:
            self._drop()
            self._task = self._progress.add_task(step, total=total, label=self._label)
            self._step = step
        if self._task is not None:
            self._progress.update(self._task, completed=completed, total=total)

    def _drop(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._step = None


def progress(stream: TextIO | None = None, quiet: bool = False) -> PlainProgress | BarProgress:
    """The bar where `stream` (standard error by default) is a terminal, else plain lines; with `quiet`, nothing."""
    target = stream if stream is not None else sys.stderr
    if quiet:
        return PlainProgress(target, every_s=math.inf)
    return BarProgress(target) if target.isatty() else PlainProgress(target)
