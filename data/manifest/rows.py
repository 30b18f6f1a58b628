"""Metadata as rows: read one by one, checked value by value, with errors that name the file and the entry."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.manifest.samples import Sample
from data.timeline import Interval

_AGAIN = "download it again"
_SPACE = re.compile(r"[ \t\n\r]*")


def read_rows(path: Path) -> Iterator[Any]:
    """The entries of the JSON list in `path`, one at a time.

    AV-Deepfake1M++'s training list has 557 MB; as a whole it would become several GB of dictionaries.

    Raises InputError when the file cannot be read, is not a JSON list, is empty or is cut off.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"not readable as JSON ({error})", path, _AGAIN) from None
    decode = json.JSONDecoder().raw_decode
    at, count = _skip(text, 0), 0
    if text[at : at + 1] != "[":
        raise InputError("expected a list with one entry per clip", path, _AGAIN)
    at = _skip(text, at + 1)
    while text[at : at + 1] != "]" or count:
        try:
            row, at = decode(text, at)
        except (ValueError, RecursionError):
            raise InputError(f"is cut off or damaged after {count} entries", path, _AGAIN) from None
        yield row
        count, at = count + 1, _skip(text, at)
        if text[at : at + 1] == "]":
            return
        if text[at : at + 1] != ",":
            raise InputError(f"is cut off or damaged after {count} entries", path, _AGAIN)
        at = _skip(text, at + 1)
    raise InputError("expected a list with one entry per clip, found none", path, _AGAIN)


def read_samples(path: Path, rows: Iterable[Any], build: Callable[[Any], Sample]) -> dict[str, Sample]:
    """The sample that `build` makes of each row, by its file's name relative to the root.

    Raises InputError when `build` raises KeyError, ValueError, TypeError or AttributeError, or a file is
    listed twice; it names `path` and the entry's index.
    """
    samples: dict[str, Sample] = {}
    with _uncollected():
        for index, row in enumerate(rows):
            try:
                sample = build(row)
            except KeyError as error:
                fix = "see the data set's README"
                raise InputError(f"entry {index}{_named(row)} has no field {error}", path, fix) from None
            except (ValueError, TypeError, AttributeError) as error:
                problem = f"entry {index}{_named(row)} cannot be read ({error})"
                raise InputError(problem, path, "correct or remove it") from None
            name = sample.file.as_posix()
            if name in samples:
                problem = f"entry {index} lists {name} more than once"
                raise InputError(problem, path, "remove the repeated entry")
            samples[name] = sample
    return samples


def _named(row: Any) -> str:
    name = row.get("file") if isinstance(row, dict) else None
    return f" ({name[:200]})" if isinstance(name, str) else ""


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector of cycles: there are none here, and looking for them in a million rows takes a third."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def inside(name: Any) -> str:
    """`name`, a path with slashes that stays inside the data set.

    Raises ValueError when it does not, TypeError when it is not text.
    """
    if not isinstance(name, str):
        raise TypeError(f"file name {name!r} is not text")
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"file name {name!r} leaves the data set")
    return name


def seconds(value: Any, name: str) -> float:
    """`value` as finite seconds >= 0. Raises ValueError or TypeError when it is not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} {value!r} is not a number")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} {value} is not a time")
    return float(value)


def count(value: Any, name: str) -> int:
    """`value` as a whole number >= 0, 0 for null. Raises ValueError when it is not."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} {value!r} is not a count")
    return value


def periods(value: Any, name: str) -> tuple[Interval, ...]:
    """Pairs of seconds as intervals, none for null.

    Raises ValueError or TypeError when a bound is negative or not finite, or an end lies before its start.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise TypeError(f"{name} {value!r} is not a list")
    return tuple(Interval(seconds(start, name), seconds(end, name)) for start, end in value)


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space is not None else at
