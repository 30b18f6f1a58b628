"""What the page of the server is made of."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.testclient import TestClient

from pipeline.server.app import Limits, make_app
from pipeline.server.jobs import Jobs
from pipeline.server.worker import Setup, Worker


def test_all_that_the_page_names_is_served_and_its_colours_are_those_of_the_reports(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs.sqlite")
    app = make_app(tmp_path, jobs, Worker(jobs, tmp_path, Setup("compact")), Limits(), ["127.0.0.1"])
    own = TestClient(app, base_url="http://127.0.0.1")
    paths = re.findall(r'(?:href|src)="(/assets/[^"]+)"', own.get("/").text)
    assert paths == ["/assets/palette.css", "/assets/app.css", "/assets/app.js"]
    answers = [own.get(path) for path in paths]
    kinds = [answer.headers["content-type"].partition(";")[0] for answer in answers]
    assert kinds == ["text/css", "text/css", "text/javascript"]
    palette, style, _ = (answer.text for answer in answers)
    assert "--" not in re.sub(r"var\(--[\w-]+\)", "", style), "a colour of its own"
    assert set(re.findall(r"var\((--[\w-]+)\)", style)) <= set(re.findall(r"(--[\w-]+):", palette))
