"""Workers as processes of this machine: lines of JSON in and out, and no process outlives the driver."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from typing import IO

from pipeline.batch.messages import Message, from_line, to_line
from pipeline.batch.slots import Gone, Inbox, Slot
from pipeline.batch.worker import Worker, WorkOrder
from pipeline.media.process import bootstrap


class LocalEngine:
    """Starts workers here, each in a fresh interpreter (spawned, never forked)."""

    def room(self) -> tuple[int, int]:
        """Processors that this process may use, and GPUs."""
        import torch

        affinity = hasattr(os, "sched_getaffinity")
        processors = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
        return processors, torch.cuda.device_count()

    def start(self, order: WorkOrder, number: int, inbox: Inbox) -> Slot:
        """A worker whose messages arrive in `inbox` under its `number`."""
        return _Process(order, number, inbox)

    def close(self) -> None:
        """Nothing is left when the workers are gone."""


class _Process:
    def __init__(self, order: WorkOrder, number: int, inbox: Inbox) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        threads = str(order.threads)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", bootstrap("pipeline.batch.local")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
            start_new_session=True,  # Ctrl-C is the driver's alone
        )
        self._say(dataclasses.asdict(order))
        threading.Thread(target=self._listen, args=(number, inbox), daemon=True).start()

    def push(self, path: str) -> None:
        self._say(path)

    def stop(self) -> None:
        self._say(None)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _say(self, value: object) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # that it is gone is told by its end of the other pipe
            self._process.stdin.write(json.dumps(value).encode("ascii") + b"\n")
            self._process.stdin.flush()

    def _listen(self, number: int, inbox: Inbox) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # something that is no message: taken for the end
            for line in self._process.stdout:
                inbox.put((number, from_line(line)))
        self.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        inbox.put((number, Gone(self._obituary(code))))

    def _obituary(self, code: int) -> str:
        with self._stderr:
            size = self._stderr.seek(0, os.SEEK_END)
            self._stderr.seek(max(0, size - 4000))
            said = self._stderr.read().decode(errors="replace").strip()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
        return f"{how}: {said.splitlines()[-1]}" if said and code else how


def main() -> None:
    """The worker's side: an order, then files, from standard input; messages to what was standard output."""
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # nothing that a library prints may end up between the messages
    outbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
    order = json.loads(sys.stdin.buffer.readline())
    worker = Worker(WorkOrder(**{**order, "overrides": tuple(order["overrides"])}), outbox.put)
    threading.Thread(target=_read, args=(sys.stdin.buffer, worker), daemon=True).start()
    writer = threading.Thread(target=_write, args=(pipe, outbox), daemon=True)
    writer.start()
    code = 0
    try:
        worker.work()
    except BaseException:
        traceback.print_exc()
        code = 1
    outbox.put(None)
    writer.join()
    # Not by returning: the thread that waits for files would hold up the interpreter, or break it.
    os._exit(code)


def _read(pipe: IO[bytes], worker: Worker) -> None:
    """Files for `worker`. The driver holds the other end: when it ends, however it ends, so does this process."""
    for line in pipe:
        path = json.loads(line)
        if path is None:
            worker.stop()
        else:
            worker.push(path)
    os._exit(1)


def _write(pipe: IO[bytes], outbox: queue.SimpleQueue[Message | None]) -> None:
    while (message := outbox.get()) is not None:
        rest = memoryview(to_line(message))
        while rest:
            rest = rest[pipe.write(rest) :]
