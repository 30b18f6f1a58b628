"""Progress, events and summary of a run."""

from __future__ import annotations

import datetime
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from data.store.ledger import LedgerRow
from data.text import printable
from pipeline.batch.messages import Result
from pipeline.batch.plan import Plan


@dataclass(frozen=True)
class Summary:
    """A run in numbers: files by what became of them, failures by kind, media in hours, time in seconds.

    `done` were extracted now, `found` turned out to be stored, `skipped` were known to be done, `failed_before` are
    left alone since an earlier run; `partial` are among `done`, `found` and `skipped`.
    """

    done: int
    found: int
    partial: int
    skipped: int
    failed: int
    failed_before: int
    failures: dict[str, int]
    media_hours: float
    elapsed_s: float

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of media extracted in a second; None when none was."""
        return (
            3600 * self.media_hours / self.elapsed_s if self.media_hours > 0 and self.elapsed_s > 0 else None
        )

    def lines(self) -> list[str]:
        """The summary for people."""
        speed = f", {self.real_time_factor:.1f} times real time" if self.real_time_factor is not None else ""
        lines = [
            f"{self.done} extracted ({self.media_hours:.2f} h of media in {_duration(self.elapsed_s)}{speed})",
            f"{self.found + self.skipped} already in the store",
        ]
        if self.partial:
            lines.append(f"{self.partial} only in part, for what could be decoded")
        if self.failed:
            kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.failures.items()))
            lines.append(f"{self.failed} failed: {kinds}")
        if self.failed_before:
            lines.append(f"{self.failed_before} failed in an earlier run; try them again with --retry-failed")
        return lines


class Tally:
    """Counts results, shows progress with `show`, and writes events as JSON lines to `events`."""

    def __init__(
        self,
        plan: Plan,
        show: Callable[[Progress], None] | None = None,
        events: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan, self._show, self._events, self._clock = plan, show, events, clock
        self._started_s = clock()
        self._counts: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._media_s = 0.0
        self.failed: list[Result] = []
        self._tell("started", todo=len(plan.todo), done=plan.done, failed_before=len(plan.failed))

    def begun(self, path: str) -> None:
        """A worker has come to `path`."""
        self._tell("begun", file=path)

    def add(self, result: Result) -> None:
        """Count an answer."""
        if result.status == "failed":
            self._counts["failed"] += 1
            self._failures[result.kind] += 1
            self.failed.append(result)
        else:
            self._counts["done" if result.fresh else "found"] += 1
            self._counts["partial"] += result.status == "partial"
            self._media_s += result.duration_s if result.fresh else 0.0
        self._tell("finished", **asdict(result))
        self.tick()

    def tick(self) -> None:
        """Let people see how far things are."""
        if self._show is not None:
            self._show(self.progress())

    def progress(self) -> Progress:
        """How far the run is."""
        counts = self._counts
        answered = counts["done"] + counts["found"] + counts["failed"]
        elapsed_s = self._clock() - self._started_s
        return Progress(answered, len(self._plan.todo), counts["failed"], self._media_s, elapsed_s)

    def summary(self) -> Summary:
        """The run in numbers."""
        counts = self._counts
        return Summary(
            counts["done"],
            counts["found"],
            counts["partial"] + self._plan.partial,
            self._plan.done,
            counts["failed"],
            len(self._plan.failed),
            dict(self._failures),
            self._media_s / 3600,
            self._clock() - self._started_s,
        )

    def close(self) -> Summary:
        """Record the end of the run; returns the summary."""
        summary = self.summary()
        self._tell("ended", **asdict(summary))
        return summary

    def _tell(self, event: str, **facts: Any) -> None:
        if self._events is not None:
            self._events.write(json.dumps({"event": event, "at": _now(), **facts}) + "\n")
            self._events.flush()


@dataclass(frozen=True)
class Progress:
    """How far a run is: files answered of those to do, failures among them, seconds of media, seconds gone."""

    answered: int
    total: int
    failed: int
    media_s: float
    elapsed_s: float

    @property
    def remaining_s(self) -> float | None:
        """Seconds that the rest will take at the rate so far; None before the first answer."""
        return self.elapsed_s / self.answered * (self.total - self.answered) if self.answered else None

    def note(self) -> str:
        """What a line of progress says behind the number of files."""
        speed = f"{self.media_s / self.elapsed_s:.1f} x real time" if self.elapsed_s > 0 else ""
        left = f", {_duration(self.remaining_s)} left" if self.remaining_s is not None else ""
        return f"{self.failed} failed, {speed}{left}"


def failure_line(row: LedgerRow | Result) -> str:
    """One failure as one line of text."""
    path = row.file if isinstance(row, LedgerRow) else row.path
    return printable(f"{path}: {row.reason}" + (f"; {row.fix}" if row.fix else ""))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    )
