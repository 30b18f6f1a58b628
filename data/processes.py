"""Names of processes, which tell leftovers of dead processes from the work of running ones; what workers and background
chores have in common."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import re
import secrets
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import psutil

_TICKS = os.sysconf("SC_CLK_TCK")
_NAME = re.compile(r"(\d+)-(\d*)@([^~]+)~[0-9a-f]+")


def unique_name() -> str:
    """A name that no other process or call makes and that tells its maker: ``<pid>-<start>@<host>~<hex>``.

    The host carries its process namespace, because containers may share a host's name and not its process numbers.
    """
    return f"{_here()}~{secrets.token_hex(6)}"


def maker_lives(name: str) -> bool | None:
    """Whether the process that made `name` with `unique_name` is running; None when this host cannot tell.

    A process with the same number that started at another time is another one.
    """
    match = _NAME.fullmatch(name)
    if match is None or match[3] != _host():
        return None
    pid, start = int(match[1]), match[2]
    try:
        if not psutil.pid_exists(pid):
            return False
        now = _start(pid)
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OverflowError):
        return True  # another user's process, of which nothing more can be read
    # The clock may have been set meanwhile; no number is given out twice within a second.
    return not start or abs(int(start) - now) <= _TICKS


def resident_mb() -> int:
    """Resident memory of this process in megabytes."""
    return int(psutil.Process().memory_info().rss) // 2**20


def end_with_parent() -> None:
    """Have this worker end at once when the process that started it is gone; it would wait for work for good."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class Every:
    """Calls `chore` every `seconds` in a daemon thread until `stop`, from the first `begin` on.

    A forked child has no such thread; its own `begin` starts one.
    """

    def __init__(self, seconds: float, chore: Callable[[], None]) -> None:
        self._seconds, self._chore = seconds, chore
        self._thread: tuple[int, threading.Event] | None = None

    def begin(self) -> None:
        """Start the thread, unless it runs in this process."""
        if self._thread is None or self._thread[0] != os.getpid():
            stopped = threading.Event()
            self._thread = (os.getpid(), stopped)
            threading.Thread(target=self._run, args=(stopped,), daemon=True).start()

    def stop(self) -> None:
        """End it; a chore that is under way is not waited for."""
        if self._thread is not None:
            self._thread[1].set()
            self._thread = None

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.wait(self._seconds):
            self._chore()


def _here() -> str:
    return f"{os.getpid()}-{_own_start(os.getpid())}@{_host()}"


@functools.cache
def _host() -> str:
    space = ""
    with contextlib.suppress(OSError):
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    return re.sub(r"[^0-9A-Za-z.-]", "-", f"{socket.gethostname()}.{space}")


@functools.cache
def _own_start(pid: int) -> int:
    return _start(pid)


def _start(pid: int) -> int:
    """When the process started, in clock ticks from boot, as field 22 of proc(5) has it."""
    return round((psutil.Process(pid).create_time() - psutil.boot_time()) * _TICKS)
