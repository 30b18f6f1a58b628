"""Messages of a worker to the driver: plain values, which JSON lines and Ray can both carry."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal, get_args

Status = Literal["done", "partial", "failed", "busy"]


@dataclass(frozen=True)
class Ready:
    """The networks are loaded; `setup` names the pair of extractors (see `pipeline.batch.worker.setup_digest`)."""

    setup: str


@dataclass(frozen=True)
class Begun:
    """The networks have come to the file `path`, which announces `duration_s` seconds (None: unknown)."""

    path: str
    duration_s: float | None


@dataclass(frozen=True)
class Alive:
    """Sent every second: memory in megabytes, as `data.processes.resident_mb` has it."""

    rss_mb: int


@dataclass(frozen=True)
class Result:
    """What became of the file `path`; times in seconds.

    `partial` means stored, but decoded less far than the settings demand; `busy` that another run is at work on the
    same content. `fresh` says that something was computed. `kind`, `reason` and `fix` describe a failure. `stamp` is
    the file as it was read: bytes, and time of modification in nanoseconds; None where it was not looked at.
    """

    path: str
    status: Status
    sha256: str = ""
    duration_s: float = 0.0
    elapsed_s: float = 0.0
    fresh: bool = False
    kind: str = ""
    reason: str = ""
    fix: str = ""
    stamp: tuple[int, int] | None = None


@dataclass(frozen=True)
class Fatal:
    """Why the worker cannot go on with any file: the class of the error and its parts."""

    kind: str
    what: str
    path: str = ""
    fix: str = ""


Message = Ready | Begun | Alive | Result | Fatal
_KINDS = {kind.__name__: kind for kind in get_args(Message)}


def to_line(message: Message) -> bytes:
    """`message` as one line of JSON. File names that are not Unicode survive (surrogate escapes)."""
    return json.dumps([type(message).__name__, asdict(message)]).encode("ascii") + b"\n"


def from_line(line: bytes) -> Message:
    """The inverse of `to_line`. Raises ValueError when `line` is no message."""
    try:
        name, values = json.loads(line)
        message: Message = _KINDS[name](**values)
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a message: {line[:80]!r}") from error
    return message
