"""Decoding processes and the tasks that they do one after the other: started, watched, killed and replaced here."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import ForensicError, InputError, MemoryLimitError
from pipeline.media.base import AudioBatch, VideoBatch
from pipeline.media.messages import BATCHES, HEADER, Done, Message, parse
from pipeline.media.process import Child

log = logging.getLogger(__name__)
AHEAD = 2
"""Batches of one process that wait here while the model is busy."""
MAX_JSON, MAX_DATA = 2**26, 2**32
"""Bytes of one message; a child that a hostile file has taken over could announce anything."""
MOST_TASKS = 500
"""Tasks after which a process is replaced, so that what libraries leak stays small."""
MOST_RESIDENT_MB = 768
"""Memory still held between two tasks above which a process is replaced; 70 MB are held after the first."""
GRACE_S = 1.0
"""A process is not called silent before this side has listened for this long: it may have been suspended itself."""
HOSTILE = "the file may be damaged or hostile; re-encode it and try again"


@dataclass(eq=False)
class Job:
    """One task, and what has arrived of it. `limit_s` bounds the time that its process works on it."""

    task: dict[str, Any]
    path: Path
    limit_s: float | None = None
    inbox: deque[Message] = field(default_factory=deque)
    error: ForensicError | None = None
    ended: bool = False
    """All messages have arrived."""
    settled: bool = False
    """Its reader has seen the end or the error, or does not want to know."""
    dropped: bool = False
    lane: _Lane | None = None
    arrived: int = 0
    skip: int = 0
    """Messages that a second try repeats."""
    spent_s: float = 0.0
    """Seconds of work before the process last waited for its reader."""


class _Decoding(Child):
    """One decoding process. Time during which its messages are not read does not count as its own."""

    def __init__(self) -> None:
        super().__init__("pipeline.media.child", OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
        self.served = 0
        self.seen_s = time.monotonic()
        self._since_s: float | None = None

    def send(self, task: dict[str, Any]) -> None:
        """Start the next task; what the last one left on standard error is forgotten."""
        self.forget_errors()
        self.resume()
        self.tell(task)

    def read(self, size: int) -> memoryview:
        """The next `size` bytes that the process writes. Raises EOFError at its end."""
        view = np.empty(size, np.uint8).data
        filled = 0
        while filled < size:
            got = self.answers.readinto(view[filled:])  # type: ignore[attr-defined]
            if not got:
                raise EOFError
            filled += got
            self.seen_s = time.monotonic()
        return view

    def busy_s(self) -> float:
        """Seconds since the task was sent or its messages were last waited for; 0 during a pause."""
        return time.monotonic() - self._since_s if self._since_s is not None else 0.0

    def pause(self) -> None:
        """Its messages are not read from now on."""
        self._since_s = None

    def resume(self) -> None:
        """Its messages are read again."""
        self._since_s = self.seen_s = time.monotonic()


@dataclass(eq=False)
class _Lane:
    """The place of one process: the process in it now, its job, and batches that wait for their reader."""

    child: _Decoding | None = None
    job: Job | None = None
    held: int = 0


class Crew:
    """Up to `lanes` processes. Jobs go to the first free one, in order of submission, and are read in that order.

    A process runs ahead of the reader by `AHEAD` batches. When it dies or must be killed, its job gets the error and
    the next one a new process. One that died or ran out of memory after other jobs may be their victim: then the job
    is tried once more in a new process.
    """

    def __init__(self, lanes: int, stall_s: float) -> None:
        self.stall_s = stall_s
        self._lanes = [_Lane() for _ in range(lanes)]
        self._waiting: deque[Job] = deque()
        self._order: deque[Job] = deque()
        self._threads: set[threading.Thread] = set()
        self._changed = threading.Condition()
        self._closed = False
        self._refusal = ""

    def submit(self, job: Job) -> None:
        """Queue `job`; returns at once."""
        with self._changed:
            if self._closed:
                raise RuntimeError("the decoding processes have been stopped")
            self._waiting.append(job)
            self._order.append(job)
            self._feed()

    def receive(self, job: Job) -> Message | None:
        """The next message of `job`, None at its end.

        Raises InputError when the process reports bad input, dies, stays silent for `stall_s` or works longer than
        the job's limit, MemoryLimitError when it hits its memory limit; RuntimeError before the jobs submitted
        earlier are read to their end or dropped: they may hold the room that this one needs.
        """
        with self._changed:
            if job.dropped:
                raise InputError("was read on after its decoder had been stopped", job.path, HOSTILE)
            while self._order and self._order[0].settled:
                self._order.popleft()
            if not job.settled and self._order[0] is not job:
                raise RuntimeError("clips are read in the order of their submission")
            if job.lane is None:
                self._feed()
            if job.lane is None:
                job.error = self._refused(job)
            began_s = time.monotonic()
            while True:
                self._check_time(job)
                if job.inbox:
                    return self._taken(job)
                if job.error is not None:
                    job.settled = True
                    raise job.error
                if job.ended:
                    job.settled = True
                    return None
                self._await(job, began_s)

    def drop(self, job: Job) -> None:
        """Forget `job`; a process that is at work on it is killed. May be called again."""
        with self._changed:
            if not job.settled:
                job.settled = job.dropped = True
                self._discard(job)
                if job.lane is not None and job.lane.job is job:
                    self._replace(job.lane)

    def close(self) -> None:
        """Kill all processes. May be called again."""
        with self._changed:
            self.abandon()
            for job in self._order:
                job.dropped |= not job.settled
                job.settled = True
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def abandon(self) -> None:
        """Kill all processes without taking the lock: the garbage collector may come at any time."""
        self._closed = True
        for lane in self._lanes:
            child = lane.child
            if child is not None:
                child.end()

    # All that follows is called with the lock held, but for `_listen`.

    def _feed(self) -> None:
        for lane in self._lanes:
            while lane.job is None and self._waiting and not self._closed:
                job = self._waiting[0]
                if not job.settled and not self._assign(lane, job):
                    return
                self._waiting.popleft()
        self._changed.notify_all()

    def _assign(self, lane: _Lane, job: Job) -> bool:
        """Give `job` to the process of `lane`, a new one if need be; False if none can be started."""
        if lane.child is None:
            try:
                lane.child = _Decoding()
            except OSError as error:
                self._refusal = error.strerror or str(error)
                return False
            thread = threading.Thread(target=self._listen, args=(lane, lane.child), daemon=True)
            self._threads.add(thread)
            thread.start()
            if self._closed:  # by `abandon`, which holds no lock
                lane.child.end()
        lane.job, job.lane, job.spent_s = job, lane, 0.0
        lane.child.send(job.task)
        return True

    def _refused(self, job: Job) -> MemoryLimitError:
        problem = f"no decoding process could be started ({self._refusal})"
        return MemoryLimitError(problem, job.path, "stop other programs or use fewer workers")

    def _replace(self, lane: _Lane, again: Job | None = None) -> None:
        """Kill the process of `lane`; a new one starts with `again` or the next job."""
        child, lane.child, lane.job = lane.child, None, None
        if child is not None:
            child.end()
        if again is not None:
            log.info("%s: tried once more in a new decoding process", again.path)
            again.skip = again.arrived
            if not self._assign(lane, again):
                again.error = self._refused(again)
        self._feed()

    def _check_time(self, job: Job) -> None:
        if job.limit_s is None or job.ended or job.error is not None or job.lane is None:
            return
        child = job.lane.child
        busy_s = job.spent_s + (child.busy_s() if child is not None else 0.0)
        if busy_s > job.limit_s:
            self._discard(job)
            problem = f"took longer than {job.limit_s:g} s to decode and was stopped"
            self._fail(job, InputError(problem, job.path, "re-encode the file or allow more time"))

    def _await(self, job: Job, began_s: float) -> None:
        """Wait until something changes; give the process up when it has been silent for too long."""
        now_s = time.monotonic()
        child = job.lane.child if job.lane is not None else None
        left_s = self.stall_s
        if child is not None:
            until_s = child.seen_s + self.stall_s
            left_s = max(until_s, began_s + min(GRACE_S, self.stall_s)) - now_s
        if left_s <= 0:
            problem = f"the decoder gave nothing for {self.stall_s:g} s and was stopped"
            fix = "re-encode the file or raise decode.stall_timeout_s"
            self._fail(job, InputError(problem, job.path, fix))
            return
        if job.limit_s is not None and child is not None:
            left_s = min(left_s, max(0.01, job.limit_s - job.spent_s - child.busy_s()))
        self._changed.wait(left_s)

    def _fail(self, job: Job, error: ForensicError) -> None:
        job.error = error
        assert job.lane is not None
        self._replace(job.lane)

    def _taken(self, job: Job) -> Message:
        message = job.inbox.popleft()
        if isinstance(message, VideoBatch | AudioBatch):
            assert job.lane is not None
            job.lane.held -= 1
            self._changed.notify_all()
        return message

    def _discard(self, job: Job) -> None:
        while job.inbox:
            self._taken(job)

    def _listen(self, lane: _Lane, child: _Decoding) -> None:
        """Messages of `child` to its jobs until it ends; anything that is no message counts as its end."""
        try:
            while self._hear(lane, child):
                pass
        except Exception as error:
            log.debug("decoding process: %r", error)
        with self._changed:
            if lane.child is child:
                self._on_exit(lane, child)
            self._threads.discard(threading.current_thread())
        child.end()
        child.release()

    def _hear(self, lane: _Lane, child: _Decoding) -> bool:
        kind, text_size, data_size = HEADER.unpack(child.read(HEADER.size))
        if text_size > MAX_JSON or data_size > MAX_DATA:
            raise ValueError("not a message")
        with self._changed:
            if kind in BATCHES and lane.held >= AHEAD and lane.job is not None:
                lane.job.spent_s += child.busy_s()
                child.pause()
                while lane.held >= AHEAD and lane.child is child and not self._closed:
                    self._changed.wait(1.0)  # now and then: `abandon` wakes nobody
                child.resume()
            job = lane.job
            if lane.child is not child or self._closed or job is None:
                return False
        text, data = bytes(child.read(text_size)), child.read(data_size)
        message = parse(kind, text, data, job.path)
        with self._changed:
            if lane.child is not child or self._closed:
                return False
            if message is not None:
                self._deliver(lane, child, job, message)
            return True

    def _deliver(self, lane: _Lane, child: _Decoding, job: Job, message: Message) -> None:
        if isinstance(message, MemoryLimitError):
            if child.served:
                self._replace(lane, again=job)
            else:
                self._fail(job, message)
        elif isinstance(message, ForensicError | Done):
            child.served += 1
            job.error = message if isinstance(message, ForensicError) else None
            job.ended = job.error is None
            lane.job = None
            resident_mb = message.resident_mb if isinstance(message, Done) else 0
            if child.served >= MOST_TASKS or resident_mb > MOST_RESIDENT_MB:
                self._replace(lane)
            else:
                self._feed()
        elif job.skip:
            job.skip -= 1
        else:
            job.arrived += 1
            lane.held += isinstance(message, VideoBatch | AudioBatch)
            job.inbox.append(message)
            self._changed.notify_all()

    def _on_exit(self, lane: _Lane, child: _Decoding) -> None:
        """Try the job of a process that has ended on its own once more, or let it fail."""
        child.end()
        job = lane.job
        if job is None or self._closed:
            lane.child = lane.job = None
        elif child.served:
            log.info("%s: the decoder died on it (%s)", job.path, child.exit_reason())
            self._replace(lane, again=job)
        else:
            problem = f"the decoder died on it ({child.exit_reason()})"
            self._fail(job, InputError(problem, job.path, HOSTILE))
