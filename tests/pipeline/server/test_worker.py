"""The thread that watches the process: whose verdict is whose, and what is over when an answer says so."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from fake_analyst import PATIENCE_S
from starlette.testclient import TestClient

from pipeline.media.process import Child
from pipeline.server.app import Limits, make_app
from pipeline.server.jobs import MOST_STARTS, Job, Jobs
from pipeline.server.worker import Setup, Worker, _load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    return made


class Stumbling(Jobs):
    """A queue in which no analysis can be ended while `full`."""

    full = False

    def change(self, job_id: str, **values: object) -> bool:
        """See `Jobs.change`."""
        if self.full and "state" in values:
            raise sqlite3.OperationalError("database or disk is full")
        return super().change(job_id, **values)


class Overtaken(Jobs):
    """A queue in which something happens `then`, after a job was taken from it and before its analysis begins."""

    then: Callable[[Job], object] = staticmethod(lambda _: None)

    def claim(self) -> Job | None:
        """See `Jobs.claim`."""
        job = super().claim()
        if job is not None:
            self.then(job)
        return job


def waiting(jobs: Jobs, folder: Path, name: str, created: float) -> str:
    """An upload in the queue."""
    job_id = Jobs.new_id()
    (folder / job_id).mkdir(parents=True)
    (folder / job_id / "media.mp4").write_bytes(b"media")
    jobs.add(Job(job_id, name, 5, created))
    return job_id


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


@contextmanager
def running(jobs: Jobs, folder: Path) -> Iterator[Worker]:
    """A worker that analyses the queue until the block ends."""
    worker = Worker(jobs, folder, Setup("compact"), "fake_analyst")
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def done(jobs: Jobs, *job_ids: str) -> list[Job]:
    """These analyses, as soon as all of them are over."""
    until(lambda: all((job := jobs.get(each)) is not None and job.over for each in job_ids))
    return [job for each in job_ids if (job := jobs.get(each)) is not None]


def test_no_file_gets_the_verdict_of_another_when_the_disk_is_full(folder: Path) -> None:
    jobs = Stumbling(folder / "jobs.sqlite")
    one, two = (waiting(jobs, folder, name, at) for name, at in (("a.mp4", 1.0), ("bad-b.mp4", 2.0)))
    jobs.full = True
    with running(jobs, folder):
        until(lambda: (folder / one / "report.otio").is_file())
        time.sleep(1.5)
        jobs.full = False
        first, second = done(jobs, one, two)
        assert (first.state, "could not be written down" in first.error) == ("failed", True)
        assert (second.state, second.error) == ("failed", "bad-b.mp4: nothing to see")


def test_what_was_cancelled_before_it_began_does_not_run(folder: Path) -> None:
    jobs = Overtaken(folder / "jobs.sqlite")
    gone, after = (waiting(jobs, folder, name, at) for name, at in (("gone.mp4", 1.0), ("clip.mp4", 2.0)))
    worker = Worker(jobs, folder, Setup("compact"), "fake_analyst")
    jobs.then = lambda job: worker.cancel(gone) if job.id == gone else None
    worker.start()
    try:
        until(lambda: (job := jobs.get(after)) is not None and job.state == "done")
        assert not (folder / gone / "report.json").exists()
        found = jobs.get(gone)
        assert found is not None
        assert (found.state, found.error) == ("failed", "cancelled")
    finally:
        worker.stop()


def dies_late(monkeypatch: pytest.MonkeyPatch, delay_s: float = 0.5) -> None:
    """As on a busy machine, where a process that was killed lives on for a moment."""
    kill = Child.kill

    def later(child: Child) -> None:
        timer = threading.Timer(delay_s, kill, [child])
        timer.daemon = True
        timer.start()

    monkeypatch.setattr(Child, "kill", later)


def test_a_deleted_analysis_writes_nothing_any_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(folder / "jobs.sqlite")
    busy = waiting(jobs, folder, "busy.mp4", 1.0)
    app = make_app(
        folder, jobs, Worker(jobs, folder, Setup("compact"), "fake_analyst"), Limits(), ["127.0.0.1"]
    )
    with TestClient(app, base_url="http://127.0.0.1") as own:
        until((folder / busy / "report.json").is_file)
        dies_late(monkeypatch)
        assert own.delete(f"/analyses/{busy}").status_code == 204
        time.sleep(0.2)
        assert not (folder / busy).exists()


def test_what_a_killed_process_kept_for_itself_goes_with_it(folder: Path) -> None:
    jobs = Jobs(folder / "jobs.sqlite")
    (folder / "scratch").mkdir()
    (folder / "scratch" / "old").write_text("features that a server left when it was killed")
    slow = waiting(jobs, folder, "slow.mp4", 1.0)
    with running(jobs, folder) as worker:
        until(
            lambda: (
                [each.read_text() for each in folder.glob("scratch/*/features")] == ["features of slow.mp4"]
            )
        )
        assert not (folder / "scratch" / "old").exists()
        assert worker.cancel(slow)
        until(lambda: not (folder / "scratch").exists())


def test_a_server_that_ends_begins_nothing(folder: Path) -> None:
    jobs = Overtaken(folder / "jobs.sqlite")
    job_id = waiting(jobs, folder, "clip.mp4", 1.0)
    worker = Worker(jobs, folder, Setup("compact"), "fake_analyst")
    jobs.then = lambda _: worker.leave()
    worker.start()
    worker.stop()
    assert not (folder / job_id / "report.json").exists()
    found = jobs.get(job_id)
    assert found is not None
    # It waits as before, or would after a restart, and no start is counted.
    assert (found.state in ("queued", "running"), found.starts) == (True, 0)


def test_a_start_does_not_count_when_the_server_was_told_to_end(folder: Path) -> None:
    for _ in range(MOST_STARTS + 1):
        jobs = Jobs(folder / "jobs.sqlite")
        if not jobs.count():
            waiting(jobs, folder, "slow.mp4", 1.0)
        jobs.requeue()
        worker = Worker(jobs, folder, Setup("compact"), "fake_analyst")
        worker.start()
        until(lambda jobs=jobs: jobs.newest(1)[0].step == "look")
        worker.stop()
    assert jobs.newest(1)[0].state == "running"


def test_an_analysis_that_takes_too_long_is_stopped_and_the_next_one_begins(folder: Path) -> None:
    jobs = Jobs(folder / "jobs.sqlite")
    slow, after = (waiting(jobs, folder, name, at) for name, at in (("slow.mp4", 1.0), ("clip.mp4", 2.0)))
    worker = Worker(jobs, folder, Setup("compact"), "fake_analyst", most_hours=2 / 3600)
    worker.start()
    try:
        until(lambda: (job := jobs.get(slow)) is not None and job.over)
        found = jobs.get(slow)
        assert found is not None
        assert found.error == "the analysis took longer than 0.000555556 hours and was stopped"
        assert "--max-hours" in found.fix
        until(lambda: (job := jobs.get(after)) is not None and job.over)
        assert (job := jobs.get(after)) is not None
        assert "longer than" in job.error or job.state == "done"
    finally:
        worker.stop()


def test_warnings_of_the_process_do_not_pile_up(folder: Path) -> None:
    jobs = Jobs(folder / "jobs.sqlite")
    with running(jobs, folder) as worker:
        for k in range(3):
            done(jobs, waiting(jobs, folder, f"{k}.mp4", float(k)))
        assert worker._child is not None
        assert worker._child._stderr.seek(0, 2) == 0


def test_the_options_of_the_server_reach_the_detector(tiny_bundle: Path, tmp_path: Path) -> None:
    setup = Setup(
        str(tiny_bundle), device="cpu", overrides=("decode.stall_timeout_s=7",), trust=str(tmp_path / "a.pem")
    )
    analyst = _load(json.loads(json.dumps(asdict(setup))))
    assert analyst.options["trust"] == tmp_path / "a.pem"
    assert analyst.detector.config.decode.stall_timeout_s == 7
