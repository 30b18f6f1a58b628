"""Claims: small objects below ``.claims/`` that name the process that works on an entry.

Claims save work and never guard features, which are whole without them: two owners of one claim repeat work.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Iterator

from data.errors import ForensicError
from data.processes import Every, maker_lives, unique_name
from data.store.places import Place, read_object

FOLDER = ".claims"
STALE_S = 600.0
"""Age at which a claim of another host that was not refreshed counts as left behind."""

_REFRESH_S = 60.0
_LOG = logging.getLogger(__name__)


class Claims:
    """The claims of this process on one place.

    While any is held, a daemon thread refreshes them every minute: other hosts see an owner's life by that alone, and
    decoding a long clip leaves no natural moment to call something. Clocks of the hosts may differ by some minutes.
    """

    def __init__(self, place: Place) -> None:
        self._place, self._every = place, Every(_REFRESH_S, self.refresh)
        self._forget()

    def __reduce__(self) -> tuple[type[Claims], tuple[Place]]:
        """A pickled copy holds no claims."""
        return Claims, (self._place,)

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Whether this process owns `name` until the block ends; False while a running process, maybe itself, owns it.

        Where the place lacks exclusive creation, every process gets every claim.

        Raises ValueError when `name` is no file name, StoreError or UsageError when the store cannot be written.
        """
        if not re.fullmatch(r"[0-9A-Za-z_-][0-9A-Za-z_.@~-]{0,199}", name):
            raise ValueError(f"not a name of a claim: {name!r}")
        if self._pid != os.getpid():
            self._forget()  # a forked child has none of its parent's claims
        owned = not self._place.exclusive or self._take(name)
        try:
            if name in self._held:
                self._every.begin()
            yield owned
        finally:
            if owned:
                self._release(name)

    def refresh(self) -> None:
        """Refresh the claims of this process; a claim that another process took over is given up."""
        for name, token in list(self._held.items()):
            try:
                with self._lock:
                    if self._held.get(name) == token == self._owner(name):
                        self._place.write(_at(name), token.encode())
            except ForensicError as error:
                _LOG.warning("a claim could not be refreshed: %s", error)

    def _forget(self) -> None:
        self._held, self._pid, self._lock = dict[str, str](), os.getpid(), threading.Lock()

    def _take(self, name: str) -> bool:
        """Make the claim, or take over a stale one.

        A taker first claims the stale claim's token and then looks whether it is still there: of two takers the second
        finds the first one's token and lets go. A taker that dies leaves a stale claim like any other.
        """
        token = unique_name()
        if not self._place.create(_at(name), token.encode()):
            owner, status = self._owner(name), self._place.status(_at(name))
            if owner is None or status is None or is_live(owner, status.mtime):
                return False
            # An owner that died before it had written its token has none; its claim's time is as good.
            key = owner if re.fullmatch(r"[0-9A-Za-z.@~-]{1,150}", owner) else f"{name[:100]}@{status.mtime}"
            if not self._take(key):
                return False
            try:
                if self._owner(name) != owner:
                    return False
                self._place.write(_at(name), token.encode())
            finally:
                self._release(key)
        self._held[name] = token
        return True

    def _release(self, name: str) -> None:
        with self._lock:  # else a refresh under way would bring it back
            token = self._held.pop(name, None)
            if token is not None and self._owner(name) == token:
                self._place.remove([_at(name)])

    def _owner(self, name: str) -> str | None:
        content = read_object(self._place, _at(name))
        return None if content is None else content.decode(errors="replace")


def is_live(owner: str, mtime: float) -> bool:
    """Whether the maker of a claim, last refreshed at `mtime`, still works: told by its process where that ran on this
    host, else by the claim's age."""
    lives = maker_lives(owner)
    return lives if lives is not None else time.time() - mtime < STALE_S


def _at(name: str) -> str:
    return f"{FOLDER}/{name}"
