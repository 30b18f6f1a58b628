"""Gives files to workers and writes their answers to the ledger; a worker that dies loses only its own files."""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from configs.schema import BatchConfig
from data import errors
from data.errors import ForensicError
from data.store.ledger import Ledger, LedgerRow
from pipeline.batch.messages import Alive, Begun, Fatal, Message, Ready, Result
from pipeline.batch.slots import Engine, Gone, Inbox, Slot
from pipeline.batch.tally import Tally
from pipeline.batch.worker import WorkOrder
from pipeline.extraction.stream import stamp_of

_POLL_S = 0.5
_BUSY_S = 2.0
"""Files that another run is at work on are asked for again after this long."""
_STARTS, _DEATHS = 3, 20
"""Workers in a row that may die before they are ready, or without having answered for a file; then the fault is not
a file's."""
_STOP_S = 20.0

_LOG = logging.getLogger(__name__)


@dataclass
class _Held:
    """One worker, the `files` that it was given and has not answered, and the one that it is `at`."""

    slot: Slot
    files: deque[str] = field(default_factory=deque)
    at: str | None = None
    ready: bool = False
    served: int = 0
    alone: bool = False  # it was given a suspect and gets nothing beside it
    leaving: bool = False
    limit_s: float = 0.0
    limit_at_s: float | None = None  # when the file that it is at has had its time
    verdict: _Verdict | None = None

    @property
    def culprit(self) -> str | None:
        """The file to blame if it dies now."""
        return self.at if self.at is not None else next(iter(self.files), None)


@dataclass(frozen=True)
class _Verdict:
    """Why we ended a worker: which file is to blame, for what, and whether that needs no second trial."""

    culprit: str | None
    kind: str
    reason: str
    final: bool


class Driver:
    """Runs `workers` workers of `engine`, each under the same `order`, until every file has an answer.

    A file that a worker dies on is tried once more, alone in a fresh worker; when that one dies too, the file has
    failed. What else the dead worker held goes back to the others.
    """

    def __init__(
        self,
        engine: Engine,
        order: WorkOrder,
        workers: int,
        limits: BatchConfig,
        setup: str,
        ledger: Ledger,
        tally: Tally,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._order, self._workers, self._limits = engine, order, workers, limits
        self._setup, self._ledger, self._tally, self._clock = setup, ledger, tally, clock
        self._inbox: Inbox = queue.SimpleQueue()
        self._held: dict[int, _Held] = {}
        self._todo: deque[str] = deque()
        self._suspects: deque[str] = deque()
        self._busy: deque[str] = deque()
        self._busy_until_s = 0.0
        self._started = self._false_starts = self._deaths = 0

    def run(self, files: Iterable[str]) -> None:
        """Give every one of `files` (absolute paths) to a worker and record the result.

        Raises the error that keeps all workers from going on (a full disk, unusable weights), and UsageError when
        workers die before they have begun. Whatever ends the run, no worker outlives it.
        """
        self._todo.extend(files)
        try:
            while self._left():
                self._start_workers()
                for held in self._held.values():
                    self._feed(held)
                self._await()
                self._watch()
                self._tally.tick()
            self._stop_workers()
        finally:
            for held in self._held.values():
                held.slot.kill()

    def _left(self) -> int:
        """Files without an answer."""
        held = sum(len(held.files) for held in self._held.values())
        return len(self._todo) + len(self._suspects) + len(self._busy) + held

    def _start_workers(self) -> None:
        wanted = min(self._workers, self._left())
        while sum(not held.leaving for held in self._held.values()) < wanted:
            self._started += 1
            self._held[self._started] = _Held(self._engine.start(self._order, self._started, self._inbox))

    def _feed(self, held: _Held) -> None:
        # One that is not ready may wait for room on a cluster for ever, and what it holds with it.
        if not held.ready or held.leaving or held.alone:
            return
        if held.served >= self._limits.clips_per_worker:
            held.leaving = True
            held.slot.stop()
        elif self._suspects and not held.files:
            if held.served:  # a fresh one takes its place
                held.leaving = True
                held.slot.stop()
            else:
                held.alone = True
                self._give(held, self._suspects.popleft())
        else:
            if not self._todo and self._clock() >= self._busy_until_s:
                self._todo, self._busy = self._busy, self._todo
                self._busy_until_s = self._clock() + _BUSY_S
            while self._todo and self._may_take(held):
                self._give(held, self._todo.popleft())

    def _may_take(self, held: _Held) -> bool:
        # Twice as many as its decoders, for what is decoded ahead, the one that it is at, and one on the way.
        ahead = 2 * self._order.decoders + 2
        return len(held.files) < ahead and held.served < self._limits.clips_per_worker

    def _give(self, held: _Held, path: str) -> None:
        held.files.append(path)
        held.served += 1
        held.slot.push(path)

    def _await(self) -> None:
        """Handle the next message, if one comes soon, and all others that have come meanwhile."""
        try:
            number, message = self._inbox.get(timeout=_POLL_S)
            while True:
                self._handle(number, message)
                number, message = self._inbox.get_nowait()
        except queue.Empty:
            pass

    def _handle(self, number: int, message: Message | Gone) -> None:
        held = self._held[number]
        match message:
            case Ready(setup):
                held.ready, self._false_starts = True, 0
                if setup != self._setup:
                    problem = "a worker has other extractors than this run"
                    raise errors.WeightsError(problem, fix="install the same version and weights everywhere")
            case Begun(path, duration_s):
                held.at = path
                held.limit_s = self._limits.file_s + self._limits.file_factor * (duration_s or 0.0)
                held.limit_at_s = self._clock() + held.limit_s
                self._tally.begun(path)
            case Alive(rss_mb):
                if rss_mb > self._limits.memory_mb and held.verdict is None:
                    reason = f"its worker needed {rss_mb} MB, more than the {self._limits.memory_mb} allowed"
                    # What a worker has gathered over many files is not the fault of the last one.
                    self._end(held, _Verdict(held.culprit, "MemoryLimitError", reason, final=held.alone))
            case Result():
                self._answer(held, message)
            case Fatal(kind, problem, path, fix):
                raise getattr(errors, kind, ForensicError)(problem, path or None, fix)
            case Gone(how):
                del self._held[number]
                self._on_exit(held, how)

    def _answer(self, held: _Held, result: Result) -> None:
        self._deaths = 0
        held.files.remove(result.path)
        if result.path == held.at:
            held.at = held.limit_at_s = None
        held.alone = held.alone and bool(held.files)
        if result.status == "busy":
            self._busy.append(result.path)
        else:
            self._note(result)

    def _note(self, result: Result) -> None:
        assert result.status != "busy"
        size, mtime_ns = result.stamp or stamp_of(result.path) or (0, 0)
        row = LedgerRow(
            file=result.path,
            size=size,
            mtime_ns=mtime_ns,
            sha256=result.sha256,
            setup=self._setup,
            status=result.status,
            kind=result.kind,
            reason=result.reason,
            fix=result.fix,
            duration_s=result.duration_s,
            elapsed_s=round(result.elapsed_s, 3),
        )
        self._ledger.append(row)
        self._tally.add(result)

    def _watch(self) -> None:
        """End workers whose file has had its time."""
        now_s = self._clock()
        for held in self._held.values():
            if held.limit_at_s is not None and now_s > held.limit_at_s:
                reason = f"took longer than {held.limit_s:.0f} s"
                self._end(held, _Verdict(held.culprit, "TimeLimit", reason, final=True))

    def _end(self, held: _Held, verdict: _Verdict) -> None:
        held.verdict, held.leaving, held.limit_at_s = verdict, True, None
        held.slot.kill()

    def _on_exit(self, held: _Held, how: str) -> None:
        """Go on without a worker: the file that it died on is tried again, alone, or fails; its other files go back."""
        verdict = held.verdict
        if not held.ready:
            if verdict is not None or not held.leaving:
                self._count_false_start(verdict.reason if verdict is not None else how)
            return
        if verdict is None:
            reason = f"the worker died on it ({how})"
            verdict = _Verdict(held.culprit, "WorkerDied", reason, final=held.alone)
        self._todo.extendleft(path for path in reversed(held.files) if path != verdict.culprit)
        if verdict.culprit is None or verdict.culprit not in held.files:
            return
        self._deaths += 1
        if self._deaths >= _DEATHS:
            problem = f"{_DEATHS} workers in a row died on the files that they were given ({verdict.reason})"
            raise errors.UsageError(
                problem, verdict.culprit, "try that file alone with `pipeline run --debug`"
            )
        if verdict.final:
            fix = "try it alone with `pipeline run`, or raise the limits (--set batch.…)"
            self._note(Result(verdict.culprit, "failed", kind=verdict.kind, reason=verdict.reason, fix=fix))
        else:
            _LOG.warning("%s: %s; it is tried again, alone", verdict.culprit, verdict.reason)
            self._suspects.append(verdict.culprit)

    def _count_false_start(self, how: str) -> None:
        self._false_starts += 1
        if self._false_starts >= _STARTS:
            problem = f"{_STARTS} workers in a row ended before they were ready ({how})"
            raise errors.UsageError(problem, fix="try `pipeline doctor`, or fewer --workers")

    def _stop_workers(self) -> None:
        """Let idle workers end by themselves; those that do not are killed afterwards."""
        for held in self._held.values():
            held.leaving = True
            held.slot.stop()
        until_s = self._clock() + _STOP_S
        while self._held and self._clock() < until_s:
            self._await()
