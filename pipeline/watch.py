"""A folder that fills up: media files in it, each once it has stopped changing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from data.errors import InputError
from data.manifest.disk import media_below

POLL_S = 1.0
"""Seconds between two looks into the folder."""

Stamp = tuple[int, int]


def arrivals(
    folder: Path,
    settle_s: float,
    passed: Callable[[Path], bool] = lambda name: False,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Path | None]:
    """Media files below `folder`, relative to it, whose size and time of change have stayed for `settle_s` seconds.

    One that changes later comes again. Those of which `passed` is true are left out until they change. None stands
    for a look after which nothing more is ready: the next one follows in a second. It never ends by itself.
    Raises InputError when the folder is not there.
    """
    done: dict[str, Stamp] = {}
    waiting: dict[str, tuple[Stamp, float]] = {}
    while True:
        if not folder.is_dir():
            raise InputError("no such folder", folder, "check the path")
        there = set()
        for name in sorted(media_below(folder, links=False)):
            # What was handed out before it may have taken an hour.
            stamp, now_s = _stamp(folder / name), clock()
            if stamp is None or done.get(name) == stamp:
                continue
            there.add(name)
            before, since_s = waiting.get(name, (None, now_s))
            if stamp != before:
                waiting[name] = (stamp, now_s)
            elif now_s - since_s >= settle_s:
                del waiting[name]
                first, done[name] = name not in done, stamp
                if not (first and passed(Path(name))):
                    yield Path(name)
        waiting = {name: found for name, found in waiting.items() if name in there}
        yield None
        sleep(POLL_S)


def _stamp(path: Path) -> Stamp | None:
    """Size and time of change; None for what is empty, or gone again."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if status.st_size else None
