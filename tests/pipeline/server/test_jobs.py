"""The queue: order, states, and what a restart finds."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest

from pipeline.server.jobs import MOST_STARTS, Job, Jobs


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path / "jobs.sqlite")


def test_the_one_that_waited_longest_is_next(jobs: Jobs) -> None:
    for at, name in ((2.0, "b"), (1.0, "a"), (3.0, "c")):
        jobs.add(Job(name, f"{name}.mp4", 1, at))
    claimed = [job.id for _ in range(4) if (job := jobs.claim()) is not None]
    assert claimed == ["a", "b", "c"]
    assert jobs.count("running") == 3


def test_no_job_is_claimed_twice_by_threads_at_once(jobs: Jobs) -> None:
    for k in range(40):
        jobs.add(Job(str(k), "x", 1, float(k)))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: jobs.claim(), range(48)))
    assert sorted(int(job.id) for job in found if job is not None) == list(range(40))


def test_what_is_over_does_not_change(jobs: Jobs) -> None:
    jobs.add(Job("a", "a.mp4", 1, 1.0))
    assert jobs.change("a", state="failed", error="cancelled", ended=2.0)
    assert not jobs.change("a", state="done")
    found = jobs.get("a")
    assert found is not None
    assert (found.state, found.error, found.over) == ("failed", "cancelled", True)


def test_a_restart_lets_what_ran_wait_again_in_its_place(tmp_path: Path) -> None:
    before = Jobs(tmp_path / "jobs.sqlite")
    for at, name in ((1.0, "a"), (2.0, "b")):
        before.add(Job(name, name, 1, at))
    before.claim()
    before.change("a", step="look", completed=3, total=9)
    after = Jobs(tmp_path / "jobs.sqlite")
    assert after.requeue() == 1
    again = after.claim()
    assert again is not None
    assert (again.id, again.step, again.completed) == ("a", "", None)


def test_what_brings_the_server_down_again_and_again_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    Jobs(path).add(Job("a", "a.mp4", 1, 1.0))
    for start in range(1, MOST_STARTS + 1):
        claimed = Jobs(path).claim()
        assert claimed is not None
        assert claimed.starts == start
        Jobs(path).change("a", step="look", completed=3, total=9)
        assert Jobs(path).requeue() == (start < MOST_STARTS)
    assert Jobs(path).claim() is None
    found = Jobs(path).get("a")
    assert found is not None
    assert (found.state, found.step, found.completed) == ("failed", "", None)
    assert found.ended is not None
    assert found.error == "the server ended each of the 3 times that it was analysed"
    assert "memory" in found.fix


def test_a_queue_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    columns = [field.name for field in fields(Job) if field.name != "starts"]
    with closing(sqlite3.connect(path)) as table, table:
        table.execute(f"CREATE TABLE jobs ({', '.join(columns)}, PRIMARY KEY (id)) WITHOUT ROWID")
        row = [getattr(Job("a", "a.mp4", 1, 1.0), name) for name in columns]
        table.execute(f"INSERT INTO jobs VALUES ({', '.join('?' * len(row))})", row)
    jobs = Jobs(path)
    jobs.add(Job("b", "b.mp4", 1, 2.0))
    assert [(job.name, job.starts) for _ in range(2) if (job := jobs.claim())] == [("a.mp4", 1), ("b.mp4", 1)]
    assert jobs.count("running") == Jobs(path).count() == 2


def test_old_ones_are_those_that_were_over_before(jobs: Jobs) -> None:
    for name, ended in (("a", 10.0), ("b", 30.0), ("c", None)):
        jobs.add(Job(name, name, 1, 1.0))
        if ended is not None:
            jobs.change(name, state="done", ended=ended)
    assert [job.id for job in jobs.older_than(20.0)] == ["a"]
    assert [job.id for job in jobs.newest(2)] == ["a", "b"]
    jobs.remove("a")
    assert jobs.get("a") is None
    assert jobs.count() == 2
