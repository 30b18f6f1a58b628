"""Child processes that take lines of JSON and answer through a pipe: how they are started, and ended without a rest."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO

_LOG = logging.getLogger(__name__)
ROOT = str(Path(__file__).resolve().parents[2])


class Child:
    """A fresh interpreter (spawned, never forked) that runs `main` of `module`, with `environment` beside this one's.

    It reads lines of JSON from its standard input, and ends when that ends: it can't outlive this process.
    """

    def __init__(self, module: str, **environment: str) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", bootstrap(module)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **environment},
            start_new_session=True,  # so that whatever the child starts dies with it, and Ctrl-C is ours alone
        )

    @property
    def answers(self) -> IO[bytes]:
        """The pipe that the process writes to."""
        assert self.process.stdout is not None
        return self.process.stdout

    def tell(self, value: object) -> None:
        """Send `value` as one line of JSON."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # that it has ended shows at the other pipe
            self.process.stdin.write(json.dumps(value).encode("ascii") + b"\n")
            self.process.stdin.flush()

    def forget_errors(self) -> None:
        """Empty what the process has written to standard error."""
        self._stderr.seek(0)  # the child shares this position
        self._stderr.truncate()

    def kill(self) -> None:
        """End the process and whatever it has started, without waiting. May be called again, from any thread."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill the process and wait until it has ended. May be called again, from any thread."""
        self.kill()
        self.process.wait()

    def release(self) -> None:
        """Close the pipes."""
        for pipe in (self.process.stdin, self.process.stdout, self._stderr):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def exit_reason(self) -> str:
        """How the process ended, with the last line of its standard error where it failed."""
        code = self.process.returncode
        self._stderr.seek(max(0, os.fstat(self._stderr.fileno()).st_size - 4000))
        errors = self._stderr.read(4000).decode(errors="replace").strip()
        _LOG.debug("standard error of a child process: %s", errors)
        names = {number.value: number.name for number in signal.Signals}
        how = f"signal {names.get(-code, -code)}" if code < 0 else f"status {code}"
        return f"{how}: {errors.splitlines()[-1]}" if errors and code else how


def bootstrap(module: str) -> str:
    """Code of a child: the function `main` of `module`, never the user's main script: that would run a second time.

    `-P` keeps the working directory off the path (it may hold folders called `data` or `models`). The garbage collector
    rests until the modules are loaded, and passes over them: see `pipeline.runtime.loading`.
    """
    return (
        "import gc, sys; gc.disable(); own = list(sys.path); "
        f"sys.path += [p for p in {[p for p in sys.path if p]!r} if p not in own]; "
        f"{ROOT!r} in own or sys.path.insert(0, {ROOT!r}); "
        f"from {module} import main; gc.freeze(); gc.enable(); main()"
    )


def answer_pipe() -> BinaryIO:
    """The child's side of `answers`; from now on its standard output goes to standard error."""
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # nothing that a library prints may end up between the messages
    return pipe


def take_lines(take: Callable[[bytes], object]) -> None:
    """Call `take` with each further line of standard input, in a thread of its own; the process ends with the input.

    The parent holds the other end, so the child ends when the parent does, however that ends.
    """

    def read() -> None:
        for line in sys.stdin.buffer:
            take(line)
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()


def limit_memory(megabytes: int) -> None:
    """Bound this process's address space, and write no core dumps, where the system can do that."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not every system has, or lets us set, them
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20, megabytes * 2**20))
