"""Workers as actors of a Ray cluster (extra `ray`): an existing one by its address, or one on this machine."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Iterator
from typing import Any

from data.errors import UsageError
from pipeline.batch.messages import Message
from pipeline.batch.slots import Gone, Inbox, Slot
from pipeline.batch.worker import Worker, WorkOrder

_AT_ONCE = 4
"""Calls that an actor serves at once: the stream of its messages, and files while that goes on."""


class RayEngine:
    """Starts workers wherever the cluster has room; a worker counts as its threads, and as one GPU under CUDA.

    The package must be installed on every node, and the store be reachable under the same path or URL. Raises
    UsageError when Ray is not installed or the cluster cannot be reached.
    """

    def __init__(self, address: str | None = None) -> None:
        try:
            import ray
        except ImportError:
            fix = "pip install '.[ray]' in the checkout, or use --engine local"
            raise UsageError("Ray is not installed", fix=fix) from None
        self._ray = ray
        self._own = not ray.is_initialized()
        if self._own:
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, RuntimeError, ValueError) as error:
                reason = str(error).strip().splitlines()[0]
                fix = "check --address (HOST:PORT, or auto), or leave it out for a cluster on this machine"
                raise UsageError(f"no Ray cluster can be reached ({reason})", fix=fix) from error

    def room(self) -> tuple[int, int]:
        """Processors and GPUs of the whole cluster."""
        resources = self._ray.cluster_resources()
        return int(resources.get("CPU", 1)), int(resources.get("GPU", 0))

    def start(self, order: WorkOrder, number: int, inbox: Inbox) -> Slot:
        """A worker whose messages arrive in `inbox` under its `number`."""
        gpus = 1 if order.device.startswith("cuda") else 0
        actor: Any = self._ray.remote(_Actor)
        placed = actor.options(
            num_cpus=order.threads, num_gpus=gpus, max_concurrency=_AT_ONCE, scheduling_strategy="SPREAD"
        )
        return _Handle(self._ray, placed.remote(order), number, inbox)

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._own:
            self._ray.shutdown()


class _Actor:
    """A worker inside of Ray."""

    def __init__(self, order: WorkOrder) -> None:
        self._outbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._worker = Worker(order, self._outbox.put)
        threading.Thread(target=self._work, daemon=True).start()

    def push(self, path: str) -> None:
        self._worker.push(path)

    def stop(self) -> None:
        self._worker.stop()

    def messages(self) -> Iterator[Message]:
        while (message := self._outbox.get()) is not None:
            yield message

    def _work(self) -> None:
        try:
            self._worker.work()
        finally:
            self._outbox.put(None)


class _Handle:
    def __init__(self, ray: Any, actor: Any, number: int, inbox: Inbox) -> None:
        self._ray, self._actor = ray, actor
        stream = actor.messages.options(num_returns="streaming").remote()
        threading.Thread(target=self._listen, args=(stream, number, inbox), daemon=True).start()

    def push(self, path: str) -> None:
        self._actor.push.remote(path)

    def stop(self) -> None:
        self._actor.stop.remote()

    def kill(self) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._actor)

    def _listen(self, stream: Any, number: int, inbox: Inbox) -> None:
        how = "its node or process ended"
        try:
            for reference in stream:
                inbox.put((number, self._ray.get(reference)))
        except self._ray.exceptions.RayError as error:
            how = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        self.kill()
        inbox.put((number, Gone(how)))
