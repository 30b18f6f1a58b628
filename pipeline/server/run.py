"""Starting the server: its folder, its socket, and the loop that answers."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import uvicorn

from data.errors import UsageError
from data.files import check_folder, locked
from pipeline.server.app import Limits, make_app, tidy
from pipeline.server.jobs import Jobs
from pipeline.server.worker import Setup, Worker

_MOST_CONNECTIONS = 256
"""Connections that are held at a time: files and the analysis need descriptors, too."""

LOOPBACK = ["127.0.0.1", "localhost", "::1"]


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach `host`."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one. Raises UsageError where that is not possible."""
    with ExitStack() as undo:
        try:
            kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listening = undo.enter_context(socket.socket(kind, socket.SOCK_STREAM))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(128)
        except OSError as error:
            what = f"cannot listen at {host}, port {port} ({error.strerror or error})"
            fix = "give --host an address of this machine"
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                fix = "choose another --port, or end the program that uses it"
            raise UsageError(what, fix=fix) from None
        undo.pop_all()
    return listening


def serve(
    folder: Path,
    setup: Setup,
    limits: Limits,
    listening: socket.socket,
    names: list[str],
    token: str | None,
    module: str = "pipeline.server.worker",
    ready: Callable[[], object] = lambda: None,
) -> None:
    """Answer until the process is told to end; `names` are hosts by which clients may call it.

    `module` holds the `main` of the process that analyses; `ready` is called when nothing can be refused any more.

    Raises UsageError when `folder` cannot be used, or another server uses it.
    """
    os.umask(0o077)  # other users of the machine must not read which files were analysed
    check_folder(folder, "--data")
    with locked(
        folder, "server.lock", "another server uses this folder", "end it, or give --data another one"
    ):
        try:
            jobs = Jobs(folder / "jobs.sqlite")
            (folder / "jobs.sqlite").chmod(0o600)  # an earlier version may have made it
            jobs.requeue()
            tidy(folder, jobs)
        except sqlite3.Error as error:
            fix = "free some space if the disk is full; else move the file away, or give another --data"
            raise UsageError(f"cannot be used as the queue ({error})", folder / "jobs.sqlite", fix) from None
        worker = Worker(jobs, folder, setup, module, limits.most_hours)
        app = make_app(folder, jobs, worker, limits, names, token)
        config = uvicorn.Config(
            app,
            log_level="warning",
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=5,
        )
        ready()
        uvicorn.Server(config).run(sockets=[listening])
