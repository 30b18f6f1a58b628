"""One process that analyses one upload after the other: it can be killed at any time, and nothing else is lost."""

from __future__ import annotations

import json
import logging
import queue
import shutil
import sqlite3
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from data.errors import ForensicError
from pipeline.media.process import Child, answer_pipe, take_lines
from pipeline.server.jobs import Job, Jobs

if TYPE_CHECKING:
    from pipeline.jobs import Analyst

REPORT = "report"
"""Name of the report's files without their endings."""

_PATIENCE_S = 1.0  # between two looks for a job that another thread did not announce
_SHOWN_EVERY_S = 0.25
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """What the process loads: those of `pipeline.jobs.Orders` that hold for all uploads, as JSON has them."""

    source: str
    preset: str | None = None
    device: str = "auto"
    overrides: tuple[str, ...] = ()
    max_alarms: float | None = None
    trust: str | None = None


class Worker:
    """Works through `jobs` whose uploads lie in `folder`/ID, in a thread that watches the process.

    A process that dies costs the job that it was at, which fails with a word about it; the next job gets a new one.
    So does a job that takes longer than `most_hours`. Its temporary files lie in `folder`/scratch and go with it.
    `module` holds the `main` of the process.
    """

    def __init__(
        self,
        jobs: Jobs,
        folder: Path,
        setup: Setup,
        module: str = "pipeline.server.worker",
        most_hours: float = 24.0,
    ) -> None:
        self._jobs, self._folder, self._setup, self._module = jobs, folder, setup, module
        self._most_hours = most_hours
        self._scratch = folder / "scratch"
        self._child: Child | None = None
        self._current: str | None = None
        self._lock = threading.Lock()
        self._news, self._leaving = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)

    def start(self) -> None:
        """Begin with what waits."""
        self._thread.start()

    def wake(self) -> None:
        """Take note that there is a new job."""
        self._news.set()

    def cancel(self, job_id: str) -> bool:
        """End a job that waits or runs; whether there was one."""
        with self._lock:
            ended = self._jobs.change(
                job_id, state="failed", ended=time.time(), error="cancelled", fix="upload it again"
            )
            if ended and self._current == job_id and self._child is not None:
                self._child.end()  # so that nothing is written any more when this returns
        return ended

    def leave(self) -> None:
        """Kill the process and begin nothing more, without waiting for the thread."""
        self._leaving.set()
        self._news.set()
        with self._lock:
            if self._child is not None:
                self._child.kill()

    def stop(self) -> None:
        """End the process; a job that was running is left as it is, and a restart begins it anew."""
        self.leave()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        self._sweep()  # of a server that was killed
        while not self._leaving.is_set():
            try:
                job = self._jobs.claim()
                if job is None:
                    self._news.wait(_PATIENCE_S)
                    self._news.clear()
                else:
                    self._attempt(job)
                    if self._leaving.is_set():
                        self._jobs.uncount(job.id)
            except (OSError, sqlite3.Error) as error:  # the thread must outlive a disk that is full
                _LOG.warning("the queue cannot be read or written: %s", error)
                self._leaving.wait(_PATIENCE_S)
        self._drop()

    def _attempt(self, job: Job) -> None:
        try:
            self._analyse(job)
        except Exception as error:
            # What the process still says is about this job, and no other may take it for its own.
            self._drop()
            _LOG.warning("an analysis could not be followed to its end: %s", error)
            while not self._leaving.is_set():
                with suppress(OSError, sqlite3.Error):
                    fix = "see that the server's disk has room, and try again"
                    self._end(job, state="failed", error=f"it could not be written down ({error})", fix=fix)
                    return
                self._leaving.wait(_PATIENCE_S)

    def _drop(self) -> str:
        """End the process, if there is one, and say how it ended."""
        with self._lock:
            child, self._child, self._current = self._child, None, None
        if child is None:
            return ""
        child.end()
        reason = child.exit_reason()
        child.release()
        self._sweep()
        return reason

    def _sweep(self) -> None:
        """Delete temporary files of a process that was killed: they hold what it saw and heard in an upload."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _analyse(self, job: Job) -> None:
        media = next((path for path in (self._folder / job.id).glob("media*") if path.is_file()), None)
        if media is None:
            self._end(job, state="failed", error="the upload is gone", fix="upload it again")
            return
        late = threading.Event()
        limit = threading.Timer(3600 * self._most_hours, self._expire, (job, late))
        limit.daemon = True
        limit.start()
        try:
            reason = self._follow(job, media, late)
        finally:
            limit.cancel()
        if reason is None or self._leaving.is_set():
            return
        # What follows has no effect on a job that was cancelled.
        if late.is_set():
            error = f"the analysis took longer than {self._most_hours:g} hours and was stopped"
            fix = "upload a shorter piece, or start the server with a larger --max-hours"
        else:
            error = f"the analysis ended early ({reason})"
            fix = "try again; if it happens again, analyse it with `pipeline run --debug`"
        self._end(job, state="failed", error=error, fix=fix)

    def _expire(self, job: Job, late: threading.Event) -> None:
        """Kill the process if it is still at `job`, which is `late` then."""
        with self._lock:
            if self._current == job.id and self._child is not None:
                late.set()
                self._child.kill()

    def _follow(self, job: Job, media: Path, late: threading.Event) -> str | None:
        """Have `job` analysed; how the process ended where it did so on its own or was killed, else None."""
        heard = False
        while True:
            with self._lock:
                now = self._jobs.get(job.id)
                if self._leaving.is_set() or now is None or now.state != "running":
                    return None  # left, cancelled or deleted before it began
                used = self._child is not None
                if self._child is None:
                    self._scratch.mkdir(mode=0o700, exist_ok=True)
                    self._child = Child(self._module, TMPDIR=str(self._scratch))
                    self._child.tell(asdict(self._setup))
                child, self._current = self._child, job.id
            child.tell({"media": str(media), "name": job.name})
            for line in child.answers:
                message, heard = json.loads(line), True
                if "ended" in message:
                    with self._lock:
                        self._current = None
                        child.forget_errors()  # or warnings fill the disk over the months
                    self._end(job, **message["ended"])
                    return None
                self._jobs.change(job.id, **message)
            reason = self._drop()
            if heard or not used or late.is_set() or self._leaving.is_set():
                return reason
            # It was killed for the job before, which had just ended: this one has not begun.

    def _end(self, job: Job, **values: object) -> None:
        self._jobs.change(job.id, ended=time.time(), step="", completed=None, total=None, **values)


def main() -> None:
    """The process: a line with the `Setup`, then a line for each upload; answers are lines of columns of `Job`."""
    pipe = answer_pipe()
    lines = queue.SimpleQueue[bytes]()
    take_lines(lines.put)
    analyst: Analyst | None = None
    setup = json.loads(lines.get())
    while True:
        order = json.loads(lines.get())
        hook = _Reporter(pipe)
        if analyst is None:
            hook("load the weights")
            try:
                analyst = _load(setup)
            except ForensicError as error:
                _say(pipe, ended=_failed(error))
                continue
        try:
            ended = _analyse(analyst, Path(order["media"]), order["name"], hook)
        except ForensicError as error:
            ended = _failed(error, order["name"])
        except MemoryError:
            sys.exit("out of memory")
        except Exception as error:
            logging.getLogger(__name__).exception("unexpected")
            ended = {"state": "failed", "error": f"unexpected {type(error).__name__}", "fix": "report it"}
        _say(pipe, ended=ended)


def _load(setup: dict[str, Any]) -> Analyst:
    from pipeline.jobs import Analyst, Orders

    trust = Path(setup["trust"]) if setup["trust"] is not None else None
    return Analyst(Orders(Path(), **setup | {"trust": trust}))


def _analyse(analyst: Analyst, media: Path, name: str, hook: _Reporter) -> dict[str, Any]:
    """Write all forms of a report beside `media`, which the client calls `name`."""
    from typing import get_args

    from pipeline.report.exports import Form
    from pipeline.report.outputs import Outputs
    from pipeline.report.rows import verdict

    report = analyst.detector(media, hook=hook, **analyst.options)
    named = replace(report, input=replace(report.input, name=name))
    with Outputs(media.parent, html=True, exports=get_args(Form)) as outputs:
        analyst.write(outputs, Path(REPORT), named, hook, media)
    return {"state": "done", "verdict": report.verdict, "outcome": verdict(report)}


class _Reporter:
    """A hook that tells the parent, a few times a second at most."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe, self._step, self._next = pipe, "", 0.0

    def __call__(self, step: str, completed: int | None = None, total: int | None = None) -> None:
        now = time.monotonic()
        if step != self._step or now >= self._next:
            self._step, self._next = step, now + _SHOWN_EVERY_S
            _say(self._pipe, step=step, completed=completed, total=total)


def _failed(error: ForensicError, name: str = "") -> dict[str, Any]:
    # The path is one of ours and means nothing to the client.
    return {"state": "failed", "error": f"{name}: {error.what}" if name else error.what, "fix": error.fix}


def _say(pipe: BinaryIO, **values: object) -> None:
    pipe.write(json.dumps(values).encode("ascii") + b"\n")
