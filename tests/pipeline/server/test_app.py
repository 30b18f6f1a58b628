"""The application when its disk, its clients or its operator misbehave; nothing is analysed."""

from __future__ import annotations

import asyncio
import errno
import shutil
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from fake_analyst import form
from fastapi import FastAPI
from starlette.testclient import TestClient

from pipeline.server.app import Limits, make_app
from pipeline.server.jobs import Job, Jobs
from pipeline.server.uploads import Refused
from pipeline.server.worker import Setup, Worker

DONE = "d" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    return made


@pytest.fixture
def jobs(folder: Path) -> Jobs:
    """A queue with an analysis that is done."""
    queue = Jobs(folder / "jobs.sqlite")
    (folder / DONE).mkdir()
    (folder / DONE / "report.json").write_text("{}")
    queue.add(Job(DONE, "a.mp4", 1, 1.0, state="done", ended=2.0))
    return queue


def app(folder: Path, jobs: Jobs, *names: str, **limits: float) -> FastAPI:
    worker = Worker(jobs, folder, Setup("compact"))
    return make_app(folder, jobs, worker, Limits(**limits), ["127.0.0.1", *names])


def client(folder: Path, jobs: Jobs, *names: str, **limits: float) -> TestClient:
    """Outside of `with` neither the worker nor the sweeper starts."""
    return TestClient(app(folder, jobs, *names, **limits), base_url="http://127.0.0.1")


def send(to: TestClient, content: bytes = b"media", name: str = "a.mp4", **headers: str) -> Any:
    body, kind = form(content, name)
    return to.post("/analyses", content=body, headers=kind | headers)


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "secret place")


def locked(*_: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize(
    ("what", "fault"),
    [("pathlib.Path.mkdir", full), ("pathlib.Path.rename", full), ("pipeline.server.jobs.Jobs.add", locked)],
)
def test_a_disk_that_fills_up_meanwhile_is_said_and_costs_no_place(
    folder: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, what: str, fault: Callable[..., None]
) -> None:
    own = client(folder, jobs)
    with monkeypatch.context() as patch:
        patch.setattr(what, fault)
        for _ in range(70):  # more than may arrive at a time
            answer = send(own)
            assert answer.status_code == 507
        assert "free some space" in answer.json()["fix"]
        assert "secret" not in answer.text
        assert {place.name for place in folder.iterdir() if place.is_dir()} == {DONE}
    assert send(own).status_code == 202


def test_too_large_is_said_even_where_the_disk_could_not_hold_it(
    folder: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 5_000_000_000})())
    answer = send(client(folder, jobs), **{"Content-Length": "10000000000"})
    assert (answer.status_code, "larger than 2 GB" in answer.json()["detail"]) == (413, True)


def test_uploads_that_arrive_count_as_bytes_and_as_analyses(
    folder: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrives, goes_on = Event(), Event()

    async def slowly(_: object, __: object, ___: object, place: Path, *rest: object) -> tuple[str, int]:
        if arrives.is_set():
            raise Refused(400, "it may arrive", "")
        place.write_bytes(bytes(600))
        arrives.set()
        await asyncio.to_thread(goes_on.wait, 30)
        raise ConnectionError

    free = 1_000_000_000 + 1_399  # 400 bytes of the first are to come
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free})())
    monkeypatch.setattr("pipeline.server.app.receive", slowly)
    own = client(folder, jobs, most_waiting=2, most_bytes=1_000)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(send, own, **{"Content-Length": "1000"})
        assert arrives.wait(30)
        assert send(own, **{"Content-Length": "1000"}).status_code == 507
        free += 1
        assert send(own, **{"Content-Length": "1000"}).status_code == 400
        free = 10**12
        jobs.add(Job("e" * 32, "b.mp4", 1, 1.0))
        assert send(own).status_code == 429
        goes_on.set()
        assert first.result().status_code == 500, "the connection broke, not the disk"


def test_what_cannot_be_deleted_stays_in_the_list(
    folder: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = client(folder, jobs)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        answer = own.delete(f"/analyses/{DONE}")
        assert (answer.status_code, "not all files" in answer.json()["detail"]) == (500, True)
        assert own.get(f"/analyses/{DONE}").status_code == 200
    assert own.delete(f"/analyses/{DONE}").status_code == 204


def test_old_ones_go_even_after_a_moment_without_a_disk(
    folder: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.server.app._SWEEP_EVERY_S", 0.01)
    tried, older = list[int](), Jobs.older_than

    def stumbles(self: Jobs, time_s: float) -> list[Job]:
        tried.append(1)
        if len(tried) == 1:
            raise sqlite3.OperationalError("disk I/O error")
        return older(self, time_s)

    monkeypatch.setattr(Jobs, "older_than", stumbles)
    with client(folder, jobs, keep_days=1.0):
        for _ in range(500):
            if not (folder / DONE).exists():
                break
            time.sleep(0.01)
    assert not (folder / DONE).exists()


def test_a_report_whose_files_are_gone_is_not_found(folder: Path, jobs: Jobs) -> None:
    shutil.rmtree(folder / DONE)
    assert client(folder, jobs).get(f"/analyses/{DONE}/report").status_code == 404


def test_no_number_is_too_large_for_the_list(folder: Path, jobs: Jobs) -> None:
    own = client(folder, jobs)
    assert own.get(f"/analyses?offset={10**9}").json() == {"analyses": [], "count": 1}
    assert own.get(f"/analyses?offset={10**30}").status_code == 422


def test_a_hostile_name_is_harmless_in_the_error_as_well(folder: Path, jobs: Jobs) -> None:
    name = "a\u202egpj.exe"
    jobs.add(Job("b" * 32, name, 1, 1.0, state="failed", error=f"{name}: holds no video"))
    found = client(folder, jobs).get("/analyses/" + "b" * 32).json()
    assert "\u202e" not in found["error"]
    assert found["error"] == "a\\u202egpj.exe: holds no video"


def test_a_name_of_the_machine_may_be_written_in_capitals(folder: Path, jobs: Jobs) -> None:
    own = client(folder, jobs, "Video.Example")
    for host in ("video.example", "VIDEO.example:8420"):
        assert own.get("/analyses", headers={"Host": host}).status_code == 200


def test_the_page_works_behind_a_proxy_with_tls(folder: Path, jobs: Jobs) -> None:
    own = client(folder, jobs, "video.example")
    for origin, status in (("https://video.example", 202), ("https://video.example.evil", 403)):
        assert send(own, Host="video.example", Origin=origin).status_code == status
    # Another server of this machine is another page.
    assert send(own, Origin="http://127.0.0.1:9999").status_code == 403


def test_other_pages_cannot_embed_anything(folder: Path, jobs: Jobs) -> None:
    answer = client(folder, jobs).get(f"/analyses/{DONE}/report")
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
