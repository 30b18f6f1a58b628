"""The interface between the driver and the place where a worker runs."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from typing import Protocol

from pipeline.batch.messages import Message
from pipeline.batch.worker import WorkOrder


@dataclass(frozen=True)
class Gone:
    """The last message about a worker: it has ended, and `how`."""

    how: str


Inbox = queue.SimpleQueue[tuple[int, Message | Gone]]


class Slot(Protocol):
    """One worker. Whatever becomes of it, the last thing in the inbox under its number is `Gone`."""

    def push(self, path: str) -> None:
        """Hand over one more file."""

    def stop(self) -> None:
        """No file will follow: the worker ends when it has answered those it has."""

    def kill(self) -> None:
        """End it now."""


class Engine(Protocol):
    """Where workers live."""

    def room(self) -> tuple[int, int]:
        """Processors and GPUs that there are for workers."""
        ...

    def start(self, order: WorkOrder, number: int, inbox: Inbox) -> Slot:
        """A worker whose messages arrive in `inbox` under its `number`."""
        ...

    def close(self) -> None:
        """Give back what the engine itself holds; the workers are gone by then."""
