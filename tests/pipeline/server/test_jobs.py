"""The queue: order, states, and what a restart finds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.server.jobs import Job, Jobs


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
