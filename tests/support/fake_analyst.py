"""An analysis process that decides by the name of the file, and what tests need to talk to a server."""

from __future__ import annotations

import http.client
import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pipeline.media.process import answer_pipe, take_lines
from pipeline.server.app import FORMS

PATIENCE_S = 60.0


def main() -> None:
    """Files called slow* take a minute, busy* write for as long, die* end the process, bad* fail; others are done."""
    pipe = answer_pipe()
    lines = queue.SimpleQueue[bytes]()
    take_lines(lines.put)
    lines.get()
    while True:
        order = json.loads(lines.get())
        media, name = Path(order["media"]), order["name"]
        pipe.write(json.dumps({"step": "look", "completed": 1, "total": 4}).encode() + b"\n")
        Path(tempfile.mkdtemp(), "features").write_text(f"features of {name}")
        sys.stderr.write("a warning\n")
        sys.stderr.flush()
        if name.startswith("slow"):
            time.sleep(60)
        end = time.monotonic() + 60
        while name.startswith("busy") and time.monotonic() < end:
            media.parent.mkdir(exist_ok=True)
            (media.parent / "report.json").write_text("{}")
        if name.startswith("die"):
            os._exit(9)
        if name.startswith("bad"):
            ended = {"state": "failed", "error": f"{name}: nothing to see", "fix": "give a video"}
        else:
            for form in FORMS:
                (media.parent / f"report.{form}").write_text(f"{form} of {name}")
            ended = {"state": "done", "verdict": "not_found", "outcome": "no forgery found"}
        pipe.write(json.dumps({"ended": ended}).encode() + b"\n")


def form(
    content: bytes, name: str, field: str = "file", boundary: str = "xx"
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a form with one file."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


class Server:
    """`pipeline.server.run.serve` with the fake process, in a process of its own."""

    def __init__(self, folder: Path, patience_s: float = 30.0, **limits: float) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        code = (
            "import sys; from pathlib import Path\n"
            f"sys.path.append({str(Path(__file__).parent)!r})\n"
            "from pipeline.server.worker import Setup\n"
            "from pipeline.server.app import Limits\n"
            "from pipeline.server import uploads\n"
            "from pipeline.server.run import listen, serve\n"
            f"uploads.PATIENCE_S = {patience_s}\n"
            f"serve(Path({str(folder)!r}), Setup('compact'), Limits(**{limits!r}), listen('127.0.0.1', {self.port}),"
            " ['127.0.0.1'], None, 'fake_analyst')\n"
        )
        self.process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
        self.until(self.answers)

    def answers(self) -> bool:
        """Whether it takes connections."""
        assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
        with socket.socket() as knock:
            return knock.connect_ex(("127.0.0.1", self.port)) == 0

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            line.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
            answer = line.getresponse()
            text = answer.read()
        finally:
            line.close()
        return answer.status, json.loads(text) if text[:1] in (b"{", b"[") else text

    def upload(self, name: str, content: bytes = b"media") -> tuple[int, Any]:
        """Send a file."""
        body, headers = form(content, name)
        return self.ask("POST", "/analyses", body, **headers)

    def until(self, condition: Any) -> None:
        """Wait for `condition`; only a hang reaches the limit."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, "nothing happened"
            time.sleep(0.05)

    def state(self, job_id: str) -> str:
        """State of an analysis."""
        return str(self.ask("GET", f"/analyses/{job_id}")[1]["state"])

    def kill(self) -> None:
        """As kill -9."""
        self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()
