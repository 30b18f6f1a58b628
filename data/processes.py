"""Names of processes, which tell leftovers of dead processes from the work of running ones, and background chores."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import secrets
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

_NAME = re.compile(r"(\d+)-(\d*)@([^~]+)~[0-9a-f]+")


def unique_name() -> str:
    """A name that no other process or call makes and that tells its maker: ``<pid>-<start>@<host>~<hex>``.

    The host carries its process namespace, because containers may share a host's name and not its process numbers.
    """
    return f"{_here()}~{secrets.token_hex(6)}"


def maker_lives(name: str) -> bool | None:
    """Whether the process that made `name` with `unique_name` is running; None when this host cannot tell.

    A process with the same number that started at another time is another one. Where the system does not tell start
    times (outside Linux), the number alone decides.
    """
    match = _NAME.fullmatch(name)
    if match is None or match[3] != _host():
        return None
    pid, start = int(match[1]), match[2]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # another user's process is one as well
    return start in ("", _start(pid))


def resident_mb() -> int:
    """Resident memory of this process in megabytes; where there is no /proc, the most that it ever was, or else 0."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 2**20
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # not every system has it
        return 0
    # In bytes on macOS, in kilobytes elsewhere: getrusage(2).
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (
        2**20 if sys.platform == "darwin" else 2**10
    )


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
    return f"{os.getpid()}-{_start(os.getpid())}@{_host()}"


@functools.cache
def _host() -> str:
    space = ""
    with contextlib.suppress(OSError):
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    return re.sub(r"[^0-9A-Za-z.-]", "-", f"{socket.gethostname()}.{space}")


def _start(pid: int) -> str:
    # Field 22 of proc(5): clock ticks from boot to start; the name in field 2 may hold blanks and parentheses.
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    return ""
