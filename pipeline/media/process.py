"""One decoding process as its parent sees it: how it is started, read, timed and killed."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

log = logging.getLogger(__name__)
ROOT = str(Path(__file__).resolve().parents[2])


class Child:
    """One decoding process. Time during which its messages are not read does not count as its own."""

    def __init__(self) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", bootstrap("pipeline.media.child")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # so that whatever the child starts dies with it, and Ctrl-C is ours alone
        )
        self.served = 0
        self.seen_s = time.monotonic()
        self._since_s: float | None = None

    def send(self, task: dict[str, Any]) -> None:
        """Start the next task; what the last one left on standard error is forgotten."""
        assert self.process.stdin is not None
        self._stderr.seek(0)  # the child shares this position
        self._stderr.truncate()
        self.resume()
        with contextlib.suppress(BrokenPipeError):  # its exit status says more
            self.process.stdin.write(json.dumps(task).encode() + b"\n")
            self.process.stdin.flush()

    def read(self, size: int) -> memoryview:
        """The next `size` bytes that the process writes. Raises EOFError at its end."""
        view = np.empty(size, np.uint8).data
        filled = 0
        while filled < size:
            got = self.process.stdout.readinto(view[filled:])  # type: ignore[union-attr]
            if not got:
                raise EOFError
            filled += got
            self.seen_s = time.monotonic()
        return view

    def busy_s(self) -> float:
        """Seconds since the task was sent or its messages were last waited for; 0 during a pause."""
        return time.monotonic() - self._since_s if self._since_s is not None else 0.0

    def pause(self) -> None:
        """Its messages are not read from now on."""
        self._since_s = None

    def resume(self) -> None:
        """Its messages are read again."""
        self._since_s = self.seen_s = time.monotonic()

    def kill(self) -> None:
        """End the process and whatever it has started. May be called again, from any thread."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def release(self) -> None:
        """Close the pipes."""
        for pipe in (self.process.stdin, self.process.stdout, self._stderr):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def obituary(self) -> str:
        """How the process ended, with its last words."""
        code = self.process.returncode
        self._stderr.seek(max(0, os.fstat(self._stderr.fileno()).st_size - 4000))
        said = self._stderr.read(4000).decode(errors="replace").strip()
        log.debug("decoding process: %s", said)
        names = {number.value: number.name for number in signal.Signals}
        how = f"signal {names.get(-code, -code)}" if code < 0 else f"status {code}"
        return f"the decoder died on it ({how}{': ' + said.splitlines()[-1] if said else ''})"


def bootstrap(module: str) -> str:
    """Code of a child: the function `main` of `module`, never the user's main script: that would run a second time.

    `-P` keeps the working directory off the path (it may hold folders called `data` or `models`).
    """
    return (
        "import sys; own = list(sys.path); "
        f"sys.path += [p for p in {[p for p in sys.path if p]!r} if p not in own]; "
        f"{ROOT!r} in own or sys.path.insert(0, {ROOT!r}); "
        f"from {module} import main; main()"
    )
