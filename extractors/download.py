"""Fetching one file over HTTP: resumed after an interruption, checked, and there only when it is complete."""

from __future__ import annotations

import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.errors import WeightsError

Hook = Callable[[str, int | None, int | None], None]
Check = Callable[[Path], str | None]  # what is wrong with a file, or None

_TIMEOUT_S = 30.0
_ATTEMPTS = 4
_PAUSE_S = 1.0  # before the second attempt; doubled before each further one
_BLOCK = 1 << 20
_HEADERS = {"User-Agent": "rt-deeploc"}

log = logging.getLogger(__name__)


def fetch_file(url: str, path: Path, check: Check, mend: str, hook: Hook | None = None) -> None:
    """Fetches `url` into `path`, which appears only when it is complete and `check` finds no problem with it.

    An interrupted download stays beside it as `.part`, and the next attempt or call continues it; one that fails the
    check is deleted. `hook(step, bytes, total bytes)` hears of every block.

    Raises WeightsError, with `mend` as the way out, when the server refuses, stays out of reach, or the check fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    _attempt(lambda: _transfer(url, partial, hook), url, mend)
    if (problem := check(partial)) is not None:
        partial.unlink()
        raise WeightsError(f"{url} failed its check: {problem}", path, f"try again, or {mend}")
    os.replace(partial, path)
    log.info("fetched %s", path)


def fetch_json(url: str, mend: str) -> dict[str, Any]:
    """The JSON object at `url`.

    Raises WeightsError, with `mend` as the way out, when it cannot be had.
    """
    found: dict[str, Any] = {}

    def read() -> None:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=_HEADERS), timeout=_TIMEOUT_S
        ) as response:
            found.update(json.load(response))

    _attempt(read, url, mend)
    return found


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Lets one process at a time fetch into `path`; the lock goes with the process, however it ends.

    Raises WeightsError when the folder of `path` cannot be written.
    """
    from filelock import FileLock  # most runs fetch nothing

    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        fix = "set RT_DEEPLOC_CACHE to another folder"
        raise WeightsError(f"the cache cannot be written ({error.strerror})", path.parent, fix) from error
    try:
        yield
    finally:
        lock.release()


def _transfer(url: str, partial: Path, hook: Hook | None) -> None:
    """One attempt: appends what is missing of `url` to `partial`, or starts over when the server cannot resume."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = _HEADERS | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if (
            error.code == 416 and have
        ):  # nothing lies beyond what is here: it is complete, or another file's part
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return
            partial.unlink()
        raise
    with response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        done = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        with partial.open("ab" if resumed else "wb") as stream:
            while block := response.read(_BLOCK):
                stream.write(block)
                done += len(block)
                if hook is not None:
                    hook(f"fetch {partial.stem}", done, total)
    if total is not None and done < total:
        raise ConnectionError(f"connection closed after {done} of {total} bytes")


def _attempt(action: Callable[[], None], url: str, mend: str) -> None:
    """Runs `action` until it succeeds, a few times, with growing pauses; not again when the server refuses."""
    for attempt in range(_ATTEMPTS):
        try:
            return action()
        except (OSError, http.client.HTTPException, ValueError) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code in (400, 401, 403, 404, 410)
            if refused or attempt == _ATTEMPTS - 1:
                raise WeightsError(
                    f"cannot fetch {url} ({error})", fix=f"check the network, or {mend}"
                ) from error
            log.warning("fetching %s failed (%s); trying again", url, error)
            time.sleep(_PAUSE_S * 2**attempt)
