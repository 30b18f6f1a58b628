"""The server with a process that only pretends to analyse: the interface, its limits, load, and sudden ends."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from fake_analyst import PATIENCE_S, Server, form
from starlette.testclient import TestClient

from pipeline.server.app import Limits, make_app, tidy
from pipeline.server.jobs import Job, Jobs
from pipeline.server.worker import Setup, Worker

FORGED_HOST = "evil.example"
STALLS = (
    b"POST /analyses HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\n"
    b"Content-Type: multipart/form-data; boundary=xx\r\n\r\n--xx\r\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    running = Server(folder, most_bytes=100_000)
    yield running
    running.kill()


def client(folder: Path, token: str | None = None, host: str = "127.0.0.1", **limits: float) -> TestClient:
    """The application without a socket; nothing is analysed."""
    folder.mkdir(exist_ok=True)
    jobs = Jobs(folder / "jobs.sqlite")
    app = make_app(
        folder, jobs, Worker(jobs, folder, Setup("compact")), Limits(**limits), ["127.0.0.1"], token
    )
    return TestClient(app, base_url=f"http://{host}:8420", follow_redirects=False)


def send(to: TestClient, name: str = "a.mp4", **headers: str) -> Any:
    body, kind = form(b"media", name)
    return to.post("/analyses", content=body, headers=kind | headers)


def test_an_upload_becomes_a_report(server: Server) -> None:
    status, accepted = server.upload("clip.mp4")
    assert (status, set(accepted), accepted["state"]) == (202, {"id", "state"}, "queued")
    server.until(lambda: server.state(accepted["id"]) == "done")
    _, found = server.ask("GET", f"/analyses/{accepted['id']}")
    assert (found["name"], found["verdict"], found["outcome"]) == (
        "clip.mp4",
        "not_found",
        "no forgery found",
    )
    for ending, address in found["files"].items():
        assert server.ask("GET", address) == (200, f"{ending} of clip.mp4".encode())
    assert server.ask("GET", f"/analyses/{accepted['id']}/report")[0] == 200
    assert server.ask("GET", f"/analyses/{accepted['id']}/files/media.mp4") == (200, b"media")
    _, listed = server.ask("GET", "/analyses")
    assert (listed["count"], [each["id"] for each in listed["analyses"]]) == (1, [accepted["id"]])


def test_what_cannot_be_analysed_fails_with_a_word_and_the_next_one_goes_on(server: Server) -> None:
    ids = [server.upload(name)[1]["id"] for name in ("bad.txt", "die.mp4", "good.mp4")]
    server.until(lambda: server.state(ids[2]) == "done")
    bad, died = (server.ask("GET", f"/analyses/{each}")[1] for each in ids[:2])
    assert (bad["state"], bad["error"], bad["fix"]) == ("failed", "bad.txt: nothing to see", "give a video")
    assert died["state"] == "failed"
    assert "status 9" in died["error"]
    assert server.ask("GET", f"/analyses/{ids[0]}/report")[0] == 409


def test_a_running_analysis_is_cancelled_at_once_and_the_next_one_begins(server: Server) -> None:
    slow, after = (server.upload(name)[1]["id"] for name in ("slow.mp4", "after.mp4"))
    server.until(lambda: server.state(slow) == "running")
    status, found = server.ask("POST", f"/analyses/{slow}/cancel")
    assert (status, found["state"], found["error"]) == (200, "failed", "cancelled")
    server.until(lambda: server.state(after) == "done")
    assert server.ask("POST", f"/analyses/{after}/cancel")[1]["state"] == "done"


def test_a_process_that_was_killed_while_it_rested_costs_nothing(server: Server) -> None:
    first = server.upload("clip.mp4")[1]["id"]
    server.until(lambda: server.state(first) == "done")
    (resting,) = psutil.Process(server.process.pid).children()
    resting.kill()
    second = server.upload("clip.mp4")[1]["id"]
    server.until(lambda: server.state(second) in ("done", "failed"))
    assert server.state(second) == "done"


def test_deleting_takes_the_upload_and_the_report(server: Server, folder: Path) -> None:
    done = server.upload("clip.mp4")[1]["id"]
    slow = server.upload("slow.mp4")[1]["id"]
    server.until(lambda: server.state(slow) == "running")
    for each in (done, slow):
        assert (folder / each).is_dir()
        assert server.ask("DELETE", f"/analyses/{each}")[0] == 204
        assert not (folder / each).exists()
        assert server.ask("GET", f"/analyses/{each}")[0] == 404
    server.until(lambda: server.ask("GET", "/analyses")[1]["count"] == 0)


def test_two_files_of_one_name_are_two_analyses(server: Server) -> None:
    ids = {server.upload("clip.mp4", content)[1]["id"] for content in (b"one", b"two")}
    assert len(ids) == 2
    server.until(lambda: all(server.state(each) == "done" for each in ids))
    found = {server.ask("GET", f"/analyses/{each}/files/media.mp4")[1] for each in ids}
    assert found == {b"one", b"two"}


def test_fifty_clients_at_once_lose_nothing_and_take_no_memory(server: Server) -> None:
    server.upload("first.mp4")
    before = psutil.Process(server.process.pid).memory_info().rss
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda k: server.upload(f"{k}.mp4", bytes([k]) * 90_000), range(50)))
    assert {status for status, _ in answers} == {202}
    server.until(lambda: all(server.state(found["id"]) == "done" for _, found in answers))
    for k, (_, found) in enumerate(answers):
        assert server.ask("GET", f"/analyses/{found['id']}/files/media.mp4")[1] == bytes([k]) * 90_000
    # 50 uploads are 4.5 MB; what is held is the work of the threads, not the files.
    assert psutil.Process(server.process.pid).memory_info().rss - before < 60_000_000


def test_a_sudden_end_loses_nothing_that_was_done_and_begins_the_rest_anew(folder: Path) -> None:
    first = Server(folder)
    done = first.upload("clip.mp4")[1]["id"]
    first.until(lambda: first.state(done) == "done")
    ran, waited = (first.upload(name)[1]["id"] for name in ("slow.mp4", "waits.mp4"))
    first.until(lambda: first.state(ran) == "running")
    children = psutil.Process(first.process.pid).children(recursive=True)
    first.kill()
    (folder / ("0" * 32)).mkdir()  # an upload that was arriving
    psutil.wait_procs(children, timeout=30)
    assert not any(child.is_running() for child in children)  # nobody goes on in the dark
    second = Server(folder)
    try:
        assert second.ask("GET", f"/analyses/{done}/files/report.json") == (200, b"json of clip.mp4")
        assert not (folder / ("0" * 32)).exists()
        second.until(lambda: second.state(ran) == "running")
        second.ask("POST", f"/analyses/{ran}/cancel")
        second.until(lambda: second.state(waited) == "done")
    finally:
        second.kill()


def test_a_cut_connection_and_a_lie_about_the_length_leave_nothing(server: Server, folder: Path) -> None:
    body, headers = form(b"x" * 50_000, "clip.mp4")
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        head = f"POST /analyses HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        line.sendall((head + f"Content-Type: {headers['Content-Type']}\r\n\r\n").encode() + body[:30_000])
    status, found = server.ask("POST", "/analyses", b"", Content_Length="10000000000", **headers)
    assert (status, found["fix"]) == (413, "cut it, or raise --max-gb of `pipeline serve`")
    server.until(lambda: not [place for place in folder.iterdir() if place.is_dir()])
    assert server.upload("clip.mp4")[0] == 202
    server.process.terminate()
    assert server.process.stderr is not None
    assert b"Traceback" not in server.process.stderr.read()


def test_another_page_cannot_use_it(folder: Path) -> None:
    with client(folder) as own:
        for headers in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            assert send(own, **headers).status_code == 403
        assert (
            send(own, Origin="http://127.0.0.1:8420", **{"Sec-Fetch-Site": "same-origin"}).status_code == 202
        )
        # A name that resolves here is not enough (DNS rebinding).
        assert own.get("/analyses", headers={"Host": FORGED_HOST}).status_code == 400
        assert own.get("/analyses", headers={"Host": "127.0.0.1:8420"}).status_code == 200


def test_a_token_is_asked_for_everywhere(folder: Path) -> None:
    token = "sixteen-letters-1"
    with client(folder, token) as own:
        for path in ("/", "/analyses", "/docs", "/openapi.json", "/assets/app.js"):
            assert own.get(path).status_code == 401
        assert own.get("/analyses", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        assert own.get("/analyses?token=" + token).status_code == 401
        opened = own.get("/?token=" + token)
        assert (opened.status_code, opened.headers["location"]) == (303, "/")
        assert "httponly" in opened.headers["set-cookie"].lower()
        assert own.get("/").status_code == 200  # by the cookie


@pytest.mark.parametrize(
    "path",
    [
        "..%2f..%2fjobs.sqlite",
        "%2e%2e",
        "jobs.sqlite",
        "media",
        "report.exe",
        "arriving",
        "report.json%00",
        ".",
    ],
)
def test_no_path_of_a_client_is_opened(folder: Path, path: str) -> None:
    with client(folder) as own:
        jobs, name = Jobs(folder / "jobs.sqlite"), Jobs.new_id()
        (folder / name).mkdir()
        (folder / name / "report.json").write_text("{}")
        (folder / name / "secret").write_text("secret")
        jobs.add(Job(name, "a.mp4", 1, 1.0, state="done"))
        assert own.get(f"/analyses/{name}/files/report.json").status_code == 200
        assert own.get(f"/analyses/{name}/files/{path}").status_code in (404, 405)
        assert b"secret" not in own.get(f"/analyses/{path}").content
        assert own.get(f"/assets/{path}").status_code == 404


def test_more_than_may_wait_is_turned_away(folder: Path) -> None:
    folder.mkdir()
    full = Jobs(folder / "full.sqlite")
    worker = Worker(full, folder, Setup("compact"))
    for k in range(2):
        full.add(Job(Jobs.new_id(), "x", 1, float(k)))
    app = make_app(folder, full, worker, Limits(most_waiting=2), ["127.0.0.1"])
    resting = TestClient(app, base_url="http://127.0.0.1")  # outside of `with` its worker does not start
    answer = send(resting)
    assert (answer.status_code, answer.json()["fix"]) == (429, "try again later")


def test_a_disk_that_is_almost_full_takes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with client(folder) as own:
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
        answer = send(own)
        assert (answer.status_code, "disk" in answer.json()["detail"]) == (507, True)
        assert not [place for place in folder.iterdir() if place.is_dir()]


def test_old_analyses_are_deleted_and_young_ones_kept(folder: Path) -> None:
    folder.mkdir()
    jobs = Jobs(folder / "jobs.sqlite")
    for name, ended in (("0" * 32, 1.0), ("1" * 32, 4e9)):
        (folder / name).mkdir()
        jobs.add(Job(name, "x", 1, 1.0, state="done", ended=ended))
    with client(folder, keep_days=1.0) as own:
        own.get("/analyses")
        for _ in range(200):
            if jobs.count() == 1:
                break
            own.get("/analyses")
    assert sorted(place.name for place in folder.iterdir() if place.is_dir()) == ["1" * 32]


def test_folders_without_a_job_go_and_nothing_else(folder: Path) -> None:
    folder.mkdir()
    jobs = Jobs(folder / "jobs.sqlite")
    jobs.add(Job("1" * 32, "x", 1, 1.0))
    for name in ("0" * 32, "1" * 32, "mine"):
        (folder / name).mkdir()
    tidy(folder, jobs)
    assert {place.name for place in folder.iterdir() if place.is_dir()} == {"1" * 32, "mine"}


def test_hostile_names_are_shown_without_their_tricks(server: Server) -> None:
    name = "a\u202egpj.\u001b[31mexe.mp4"
    body, headers = form(b"media", name)
    job_id = server.ask("POST", "/analyses", body, **headers)[1]["id"]
    shown = server.ask("GET", f"/analyses/{job_id}")[1]["name"]
    assert not re.search("[\u202e\u001b]", shown)


def test_the_interface_describes_itself_without_other_machines(folder: Path) -> None:
    with client(folder) as own:
        paths = own.get("/openapi.json").json()["paths"]
        assert {"/analyses", "/analyses/{job_id}", "/analyses/{job_id}/report"} <= paths.keys()
        page = own.get("/docs").text
        sources = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert sources
        assert not [source for source in sources if source.startswith(("http", "//"))]
        for source in sources:
            if source.startswith("/"):
                assert own.get(source).status_code == 200


def test_every_answer_forbids_what_browsers_may_guess(folder: Path) -> None:
    with client(folder) as own:
        for path in ("/", "/analyses", "/nothing"):
            headers = own.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
        assert "script-src 'self'" in own.get("/").headers["content-security-policy"]


def test_clients_that_stall_do_not_keep_others_out(server: Server) -> None:
    lines = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(12)]
    for line in lines:
        line.sendall(STALLS)
    assert server.upload("clip.mp4")[0] == 202
    for line in lines:
        line.close()


def test_connections_that_do_nothing_cost_no_analysis(server: Server) -> None:
    lines = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
    status, _ = server.ask("GET", "/analyses")
    assert status == 503
    for line in lines:
        line.close()
    server.until(lambda: server.ask("GET", "/analyses")[0] == 200)
    job_id = server.upload("clip.mp4")[1]["id"]
    server.until(lambda: server.state(job_id) == "done")


def test_other_users_of_the_machine_cannot_read_what_is_kept(server: Server, folder: Path) -> None:
    job_id = server.upload("clip.mp4")[1]["id"]
    server.until(lambda: server.state(job_id) == "done")
    kept = [folder, *folder.rglob("*")]
    assert [path for path in kept if path.exists() and path.stat().st_mode & 0o077] == []


def test_an_upload_that_stalls_is_told_so_and_hung_up_on(folder: Path) -> None:
    running = Server(folder, patience_s=0.5)
    try:
        with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_S) as line:
            line.sendall(STALLS)
            answer = b"".join(iter(lambda: line.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 408")
    finally:
        running.kill()
