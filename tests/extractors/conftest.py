"""One thread for small networks, and a file server that misbehaves on demand."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks are faster on one thread than on many that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Server:
    """A file server on this machine that can break off and refuse, and remembers what was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []  # path, Range header
        self.breaks: dict[str, int] = {}  # bytes of a path's next answer before the connection drops, once
        self.failures: list[int] = []  # status codes of the next answers
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        head = request.command == "HEAD"
        wanted = request.headers.get("Range")
        self.requests.append((f"HEAD {request.path}" if head else request.path, wanted))
        if self.failures:
            request.send_error(self.failures.pop(0))
            return
        content = self.files.get(request.path)
        if content is None:
            request.send_response(404)
            request.send_header("X-Error-Code", "EntryNotFound")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        first = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0  # type: ignore[index]
        request.send_response(206 if first else 200)
        if first:
            request.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - first))
        if commit := re.search(r"/resolve/(\w+)/", request.path):  # as a model hub says which file this is
            request.send_header("X-Repo-Commit", commit[1])
            request.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        request.end_headers()
        if head:
            return
        body = content[first:]
        request.wfile.write(body[: self.breaks.pop(request.path, None)])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    local = Server()
    monkeypatch.setenv("RT_DEEPLOC_OPENMMLAB_URL", local.url)
    monkeypatch.setenv("HF_ENDPOINT", local.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))  # pauses between attempts
    yield local
    local.http.shutdown()
    local.http.server_close()
