"""`pipeline serve` as people start it: what it refuses, and one upload from end to end with the shipped weights."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import media_factory
import pytest
from fake_analyst import form
from fastapi import FastAPI
from starlette.testclient import TestClient

import pipeline.server
from pipeline.server import run
from pipeline.server.app import Limits, make_app
from pipeline.server.jobs import Jobs
from pipeline.server.worker import Setup, Worker

PATIENCE_S = 120.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "--token"),
        (["--token", "short"], "16"),
        (["--set", "visual.nothing=1"], "nothing"),
        (["--max-alarms", "0.3"], "0.3"),
        (["--trust", "nobody.pem"], "--trust"),
    ],
)
def test_what_would_be_unsafe_or_wrong_is_refused(
    cli: Callable[..., Any], tmp_path: Path, arguments: list[str], said: str
) -> None:
    answer = cli("serve", "--data", tmp_path, *arguments)
    assert answer.code == 2
    assert said in answer.err


def test_a_port_in_use_is_named(cli: Callable[..., Any], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = cli("serve", "--data", tmp_path, "--port", port)
    assert answer.code == 2
    assert f"port {port}" in answer.err
    assert "choose another --port" in answer.err


def test_an_address_of_another_machine_is_named(cli: Callable[..., Any], tmp_path: Path) -> None:
    answer = cli("serve", "--data", tmp_path, "--host", "192.0.2.1", "--token", "sixteen-letters-1")
    assert answer.code == 2
    assert "give --host an address of this machine" in answer.err


def test_a_queue_that_cannot_be_read_is_named(cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_text("something else, and long enough to be taken for a table" * 100)
    before = os.umask(0o022)
    try:
        answer = cli("serve", "--data", tmp_path, "--port", "0")
    finally:
        os.umask(before)  # the server has its own
    assert answer.code == 2
    assert "jobs.sqlite: cannot be used as the queue (file is not a database)" in answer.err
    assert "open" not in answer.out  # nobody can


def test_without_its_packages_it_says_what_to_install(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The package's attribute is put back as well: the import binds it to a new module.
    monkeypatch.setattr(pipeline, "server", pipeline.server)
    for name in [name for name in sys.modules if name.startswith("pipeline.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    answer = cli("serve", "--data", tmp_path)
    assert answer.code == 2
    assert ".[server]" in answer.err


@pytest.fixture
def started(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, TestClient]]:
    """Starts the command: the address that it prints, and a client of the application that it would answer with."""
    apps = list[FastAPI]()

    def answer(
        folder: Path,
        setup: Setup,
        limits: Limits,
        listening: socket.socket,
        names: list[str],
        token: str | None,
        ready: Callable[[], None],
    ) -> None:
        listening.close()
        ready()
        folder.mkdir(parents=True)
        jobs = Jobs(folder / "jobs.sqlite")
        apps.append(make_app(folder, jobs, Worker(jobs, folder, setup), limits, names, token))

    monkeypatch.setattr(run, "serve", answer)

    def start(*arguments: str) -> tuple[str, TestClient]:
        said = cli("serve", "--data", tmp_path / "data", "--port", "0", *arguments)
        assert said.code == 0, said.err
        address = said.out.partition("open ")[2].partition("\n")[0]
        # Outside of `with` nothing is analysed.
        return address, TestClient(apps.pop(), base_url=address.partition("?")[0], follow_redirects=False)

    return start


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_it_answers_to_the_address_that_it_prints(
    started: Callable[..., tuple[str, TestClient]], host: str
) -> None:
    address, client = started("--host", host)
    assert urlsplit(address).hostname == host
    assert client.get(address).status_code == 200


@pytest.mark.parametrize("token", ["sixteen-letters-1", "a&b=c#d%25e+f/g?h", "a b;c,d\"e\\f'g=hij"])
def test_the_address_that_it_prints_lets_its_reader_in(
    started: Callable[..., tuple[str, TestClient]], token: str
) -> None:
    address, client = started("--token", token)
    assert client.get("/").status_code == 401
    assert client.get(address).status_code == 303
    assert client.get("/").status_code == 200


def test_what_opens_untrusted_media_does_not_know_the_token(
    started: Callable[..., tuple[str, TestClient]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RT_DEEPLOC_TOKEN", "sixteen-letters-1")
    address, _ = started()
    assert "?token=sixteen-letters-1" in address
    assert "RT_DEEPLOC_TOKEN" not in os.environ


@pytest.fixture
def served(tmp_path: Path) -> Iterator[int]:
    """The port of a server with the shipped weights."""
    command = [sys.executable, "-m", "pipeline", "serve", "--port", "0", "--data", tmp_path / "data"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    found = re.match(r"open http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
    assert found is not None, process.stderr.read()
    yield int(found[1])
    process.send_signal(signal.SIGINT)
    process.wait(timeout=PATIENCE_S)
    assert "Traceback" not in process.stderr.read()
    process.stdout.close()
    process.stderr.close()


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    line.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
    answer = line.getresponse()
    text = answer.read()
    line.close()
    return answer.status, text


def test_a_clip_and_what_is_none_go_through_the_real_thing(served: int, tmp_path: Path) -> None:
    clip = media_factory.write(tmp_path / "clip.mp4", n=25, audio_seconds=1.0).path
    ids = []
    for name, content in (("clip.mp4", clip.read_bytes()), ("notes.mp4", b"no video at all")):
        body, headers = form(content, name)
        status, text = ask(served, "POST", "/analyses", body, **headers)
        assert status == 202
        ids.append(json.loads(text)["id"])
    end, found = time.monotonic() + PATIENCE_S, list[Any]()
    while not found or any(each["state"] in ("queued", "running") for each in found):
        assert time.monotonic() < end
        time.sleep(0.2)
        found = [json.loads(ask(served, "GET", f"/analyses/{each}")[1]) for each in ids]
    assert [each["state"] for each in found] == ["done", "failed"]
    report = json.loads(ask(served, "GET", f"/analyses/{ids[0]}/report")[1])
    assert report["input"]["name"] == "clip.mp4"
    assert report["verdict"] == found[0]["verdict"]
    page = ask(served, "GET", f"/analyses/{ids[0]}/files/report.html")[1].decode()
    assert "clip.mp4" in page
    assert 'src="media.mp4"' in page
    assert found[1]["error"].startswith("notes.mp4: ")
    assert str(tmp_path) not in found[1]["error"]
    for address in found[0]["files"].values():
        assert ask(served, "GET", address)[0] == 200
