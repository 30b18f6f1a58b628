"""A model hub on this machine: takes commits and serves their files, as huggingface_hub asks for them."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import threading
from typing import Any


class ModelHub:
    """`commits` maps repository and commit to files, `private` repositories to whether they are.

    `refuse` makes writing fail.
    """

    def __init__(self) -> None:
        self.commits: dict[tuple[str, str], dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.refuse = False
        self._objects: dict[str, bytes] = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.read(self)

            def do_POST(self) -> None:
                outer.write(self)

            do_HEAD, do_PUT = do_GET, do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self.http.shutdown()
        self.http.server_close()

    def read(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Answer GET and HEAD: listings and files of a commit."""
        path = request.path.partition("?")[0]
        if found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/tree/(\w+)", path):
            files = self.commits.get((found[1], found[2]))
            self._say(
                request, 404 if files is None else 200, [_entry(*each) for each in (files or {}).items()]
            )
        elif found := re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/(\w+)/(.+)", path):
            content = self.commits.get((found[1], found[2]), {}).get(found[3])
            if content is None:
                self._say(request, 404, {})
                return
            tag = {"X-Repo-Commit": found[2], "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
            self._send(request, 200, content, tag)
        else:
            self._say(request, 404, {})

    def write(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Answer POST and PUT: a repository, the parts of a commit, the commit."""
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        path = request.path
        if self.refuse:
            self._say(request, 403, {"error": "not yours"})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.private.setdefault(name, asked.get("visibility") == "private")
            self._say(request, 200, {"url": f"{self.url}/{name}"})
        elif path == "/api/validate-yaml":
            self._say(request, 200, {"errors": [], "warnings": []})
        elif "/preupload/" in path:
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith("safetensors") else "regular",
                }
                for file in json.loads(body)["files"]
            ]
            self._say(request, 200, {"files": [{**mode, "shouldIgnore": False} for mode in modes]})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.url}/objects/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            self._say(request, 200, {"transfer": "basic", "objects": objects})
        elif found := re.fullmatch(r"/objects/(\w+)", path):
            self._objects[found[1]] = body
            self._say(request, 200, {})
        elif found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/commit/main", path):
            commit = hashlib.sha1(body).hexdigest()
            self.commits[found[1], commit] = dict(self._file(line) for line in body.splitlines()[1:])
            self._say(
                request,
                200,
                {"success": True, "commitOid": commit, "commitUrl": f"{self.url}/{found[1]}/commit/{commit}"},
            )
        else:
            self._say(request, 404, {})

    def _file(self, line: bytes) -> tuple[str, bytes]:
        value = json.loads(line)["value"]
        if "oid" in value:
            return value["path"], self._objects[value["oid"]]
        return value["path"], base64.b64decode(value["content"])

    def _say(self, request: http.server.BaseHTTPRequestHandler, code: int, value: Any) -> None:
        self._send(request, code, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self, request: http.server.BaseHTTPRequestHandler, code: int, body: bytes, headers: dict[str, str]
    ) -> None:
        request.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)


def _entry(name: str, content: bytes) -> dict[str, Any]:
    """A file in a listing: large ones carry a SHA-256, others git's name."""
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": blob}
    if name.endswith("safetensors"):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry
