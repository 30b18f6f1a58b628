"""The queue of analyses: a row in SQLite for each, so that a restart loses none."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

State = Literal["queued", "running", "done", "failed"]

MOST_STARTS = 3
"""How often an analysis is begun: what brings the server down each time would do so for ever."""

_WAIT_S = 30.0


@dataclass(frozen=True)
class Job:
    """One analysis. `id` is 32 hex digits; `name` is the client's name of the file, for people alone.

    Times are in seconds since 1970. `step`, `completed` and `total` say how far it is; `outcome` is the report in a
    sentence and `verdict` its verdict; `error` and `fix` are what went wrong and what to do. `starts` is how often it
    was begun.
    """

    id: str
    name: str
    size: int
    created: float
    state: State = "queued"
    started: float | None = None
    ended: float | None = None
    step: str = ""
    completed: int | None = None
    total: int | None = None
    verdict: str = ""
    outcome: str = ""
    error: str = ""
    fix: str = ""
    starts: int = 0

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed")


_COLUMNS = [field.name for field in fields(Job)]


class Jobs:
    """The table in the file `path`; safe for use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as table:
            table.execute("PRAGMA journal_mode=WAL")  # readers do not wait for writers
            table.execute(
                f"CREATE TABLE IF NOT EXISTS jobs ({', '.join(_COLUMNS)}, PRIMARY KEY (id)) WITHOUT ROWID"
            )
            if not any(name == "starts" for _, name, *_ in table.execute("PRAGMA table_info(jobs)")):
                table.execute("ALTER TABLE jobs ADD COLUMN starts DEFAULT 0")  # of an earlier version

    @staticmethod
    def new_id() -> str:
        """A name that nobody can guess."""
        return secrets.token_hex(16)

    def add(self, job: Job) -> None:
        """Put `job` at the end of the queue."""
        marks = ", ".join("?" * len(_COLUMNS))
        with self._open() as table:
            table.execute(f"INSERT INTO jobs VALUES ({marks})", [getattr(job, name) for name in _COLUMNS])

    def claim(self) -> Job | None:
        """Take the job that has waited longest: from now on it is running. None where none waits."""
        with self._open() as table:
            table.execute("BEGIN IMMEDIATE")
            row = table.execute(
                "SELECT * FROM jobs WHERE state = 'queued' ORDER BY created, id LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            table.execute(
                "UPDATE jobs SET state = 'running', started = ?, starts = starts + 1 WHERE id = ?",
                (time.time(), row[0]),
            )
        return self.get(row[0])

    def change(self, job_id: str, **values: object) -> bool:
        """Set columns of a job that is not over; whether there was one."""
        names = ", ".join(f"{name} = ?" for name in values)
        with self._open() as table:
            done = table.execute(
                f"UPDATE jobs SET {names} WHERE id = ? AND state IN ('queued', 'running')",
                (*values.values(), job_id),
            )
            return done.rowcount > 0

    def get(self, job_id: str) -> Job | None:
        """The job of that id, if there is one."""
        with self._open() as table:
            row = table.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return Job(*row) if row is not None else None

    def newest(self, limit: int, offset: int = 0) -> list[Job]:
        """Jobs, newest first."""
        with self._open() as table:
            rows = table.execute(
                "SELECT * FROM jobs ORDER BY created DESC, id LIMIT ? OFFSET ?", (limit, offset)
            ).fetchall()
        return [Job(*row) for row in rows]

    def count(self, *states: State) -> int:
        """How many jobs are in one of `states`, or in all without any."""
        where = f" WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        with self._open() as table:
            return int(table.execute(f"SELECT COUNT(*) FROM jobs{where}", states).fetchone()[0])

    def uncount(self, job_id: str) -> None:
        """Do not count the last start of a job that is still running: it was interrupted by no fault of its own."""
        with self._open() as table:
            table.execute("UPDATE jobs SET starts = starts - 1 WHERE id = ? AND state = 'running'", (job_id,))

    def requeue(self) -> int:
        """Let every running job wait again, as after a restart; how many there were.

        One that was begun `MOST_STARTS` times fails instead.
        """
        error = f"the server ended each of the {MOST_STARTS} times that it was analysed"
        fix = "it may need more memory than there is: upload a shorter piece, or use `pipeline run --debug`"
        with self._open() as table:
            table.execute(
                "UPDATE jobs SET state = 'failed', ended = ?, step = '', completed = NULL, total = NULL, error = ?,"
                " fix = ? WHERE state = 'running' AND starts >= ?",
                (time.time(), error, fix, MOST_STARTS),
            )
            return table.execute(
                "UPDATE jobs SET state = 'queued', started = NULL, step = '', completed = NULL, total = NULL"
                " WHERE state = 'running'"
            ).rowcount

    def older_than(self, time_s: float) -> list[Job]:
        """Jobs that were over before `time_s`."""
        with self._open() as table:
            rows = table.execute(
                "SELECT * FROM jobs WHERE state IN ('done', 'failed') AND ended < ?", (time_s,)
            ).fetchall()
        return [Job(*row) for row in rows]

    def remove(self, job_id: str) -> None:
        """Forget a job."""
        with self._open() as table:
            table.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=_WAIT_S)) as table, table:
            yield table
