"""Progress of long steps, as users see it: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class ProgressBar:
    """A bar where `stream` (standard error by default) is a terminal, else a line every `every_s`; nothing if `quiet`.

    The bar is removed at the end of its `with` block, of which there may be several.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        quiet: bool = False,
        every_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._quiet, self._every_s, self._clock = quiet, every_s, clock
        self._last_s = clock()
        self._label = self._note = ""
        self._step: str | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if self._stream.isatty() and not quiet:
            self._bar = _rich_bar(self._stream)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._drop(self._bar)

    def begin(self, label: str) -> None:
        """Name the file that the following steps work on."""
        self._label, self._step = label, None

    def note(self, text: str) -> None:
        """Further words behind the amount, from the next step on."""
        self._note = text

    def __call__(self, step: str, completed: int | None = None, total: int | None = None) -> None:
        """Move the bar, or write a line where one is due; a new step starts from zero."""
        if self._bar is not None:
            self._move(self._bar, step, completed, total)
        elif not self._quiet and self._clock() - self._last_s >= self._every_s:
            self._last_s = self._clock()
            amount = "" if not completed else f" {completed}" + (f"/{total}" if total is not None else "")
            label = f"{self._label}: " if self._label else ""
            self._stream.write(f"{label}{step}{amount}{f', {self._note}' if self._note else ''}\n")
            self._stream.flush()

    def _move(self, bar: Progress, step: str, completed: int | None, total: int | None) -> None:
        if step != self._step:
            self._drop(bar)
            self._task = bar.add_task(step, total=total, label=self._label, note=self._note)
            self._step = step
        if self._task is not None:
            bar.update(self._task, completed=completed, total=total, note=self._note)

    def _drop(self, bar: Progress) -> None:
        if self._task is not None:
            bar.remove_task(self._task)
        self._task = self._step = None


def _rich_bar(stream: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.fields[label]}", markup=False),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(file=stream),
        transient=True,
    )
