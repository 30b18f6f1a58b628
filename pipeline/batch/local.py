"""Workers as processes of this machine: lines of JSON in and out, and no process outlives the driver."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import sys
import threading
import traceback
from typing import BinaryIO

from pipeline.batch.messages import Message, from_line, to_line
from pipeline.batch.slots import Gone, Inbox, Slot
from pipeline.batch.worker import Worker, WorkOrder
from pipeline.media.process import Child, answer_pipe, take_lines


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
        threads = str(order.threads)
        self._child = Child("pipeline.batch.local", OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
        self._child.tell(dataclasses.asdict(order))
        threading.Thread(target=self._listen, args=(number, inbox), daemon=True).start()

    def push(self, path: str) -> None:
        self._child.tell(path)

    def stop(self) -> None:
        self._child.tell(None)

    def kill(self) -> None:
        self._child.kill()

    def _listen(self, number: int, inbox: Inbox) -> None:
        with contextlib.suppress(ValueError):  # something that is no message: taken for the end
            for line in self._child.answers:
                inbox.put((number, from_line(line)))
        self._child.end()
        reason = self._child.exit_reason()
        self._child.release()
        inbox.put((number, Gone(reason)))


def main() -> None:
    """The worker's side: an order, then files, from standard input; messages to what was standard output."""
    pipe = answer_pipe()
    outbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
    order = json.loads(sys.stdin.buffer.readline())
    worker = Worker(WorkOrder(**{**order, "overrides": tuple(order["overrides"])}), outbox.put)
    take_lines(lambda line: _take(line, worker))
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


def _take(line: bytes, worker: Worker) -> None:
    path = json.loads(line)
    if path is None:
        worker.stop()
    else:
        worker.push(path)


def _write(pipe: BinaryIO, outbox: queue.SimpleQueue[Message | None]) -> None:
    while (message := outbox.get()) is not None:
        rest = memoryview(to_line(message))
        while rest:
            rest = rest[pipe.write(rest) :]
