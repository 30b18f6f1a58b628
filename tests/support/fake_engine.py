"""An engine without processes or networks: the driver's other half, under the control of a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.batch.messages import Begun, Message, Ready, Result
from pipeline.batch.slots import Gone, Inbox
from pipeline.batch.worker import WorkOrder

SETUP = "5e7" * 5 + "0"
Act = Callable[["FakeSlot", str], None]
"""What a worker does when it comes to a file."""


def done(slot: FakeSlot, path: str) -> None:
    """Extract it."""
    slot.answer(path)


@dataclass
class FakeSlot:
    """A worker that acts in the moment in which it is handed a file."""

    engine: FakeEngine
    number: int
    inbox: Inbox
    pushed: list[str] = field(default_factory=list)
    gone: bool = False

    def push(self, path: str) -> None:
        self.pushed.append(path)
        if not self.gone:
            self.engine.act(self, path)

    def stop(self) -> None:
        self.engine.stopped.append(self.number)
        self.end("status 0")

    def kill(self) -> None:
        self.engine.killed.append(self.number)
        self.end("signal SIGKILL")

    def tell(self, message: Message) -> None:
        """Say something."""
        self.inbox.put((self.number, message))

    def begin(self, path: str, duration_s: float | None = 1.0) -> None:
        """Come to a file."""
        self.tell(Begun(path, duration_s))

    def answer(self, path: str, status: str = "done", **facts: object) -> None:
        """Be done with a file."""
        values = {"sha256": "0" * 64, "duration_s": 2.0, "elapsed_s": 0.5, "fresh": True, **facts}
        self.tell(Result(path, status, **values))  # type: ignore[arg-type]

    def end(self, how: str) -> None:
        """Be no more."""
        if not self.gone:
            self.gone = True
            self.inbox.put((self.number, Gone(how)))


class FakeEngine:
    """Makes workers that do what `act` says; `silent` ones die before they are ready."""

    def __init__(self, act: Act = done, silent: bool = False, setup: str = SETUP) -> None:
        self.act, self.silent, self.setup = act, silent, setup
        self.slots: list[FakeSlot] = []
        self.orders: list[WorkOrder] = []
        self.killed: list[int] = []
        self.stopped: list[int] = []
        self.closed = 0

    def room(self) -> tuple[int, int]:
        return 2, 0

    def start(self, order: WorkOrder, number: int, inbox: Inbox) -> FakeSlot:
        slot = FakeSlot(self, number, inbox)
        self.slots.append(slot)
        self.orders.append(order)
        if self.silent:
            slot.end("status 1: no module named torch")
        else:
            slot.tell(Ready(self.setup))
        return slot

    def close(self) -> None:
        self.closed += 1

    def who(self, path: str | Path) -> list[int]:
        """Numbers of the workers that were handed `path`, in order."""
        return [slot.number for slot in self.slots for pushed in slot.pushed if pushed == str(path)]
