"""The result of every file: append-only JSON lines below ``ledger/`` of a store, one file per writing run.

Runs and hosts never write to the same file, hence need no locks. A line that a kill or a full disk cut short is not a
row; the rest stays readable.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from stat import S_ISLNK
from typing import Any, Literal, NamedTuple, get_args

from data.errors import ForensicError, InputError
from data.files import file_sha256
from data.processes import maker_lives, unique_name
from data.store.places import STALE_S, Log, Place, writing
from data.store.store import FeatureStore

FOLDER = "ledger"
Status = Literal["hashed", "done", "partial", "failed", "removed"]
"""`removed`: what was done was taken out of the store again."""

_LOG = logging.getLogger(__name__)
_STATUS: dict[str, int] = {name: number for number, name in enumerate(get_args(Status))}
_NAMES: tuple[Status, ...] = get_args(Status)
_FILE = re.compile(rf"{FOLDER}/\d+T\d+Z-(.+~[0-9a-f]+)(?:\.\d+)?\.jsonl")
_CHUNK_FILES, _THREADS = 4096, 16
_FINISHED = struct.Struct("<d")
_PACKED = struct.Struct("<dqq32sBdd")  # finished, size, mtime, SHA-256 or zeros, status, duration, elapsed
_NOTHING = _PACKED.pack(float("-inf"), -1, 0, b"", 0, 0, 0)


@dataclass(frozen=True)
class LedgerRow:
    """The result of one file: `setup` names the pair of extractors, "" where the row only says the hash.

    `file` is the absolute path without symbolic links; `kind`, `reason` and `fix` are those of the error, else "";
    `duration_s` is the length of the media, `elapsed_s` the time spent on it; `finished_at` is ISO 8601 in UTC.
    """

    file: str
    size: int
    mtime_ns: int
    sha256: str
    setup: str = ""
    status: Status = "hashed"
    kind: str = ""
    reason: str = ""
    fix: str = ""
    duration_s: float = 0.0
    elapsed_s: float = 0.0
    finished_at: str = field(default_factory=lambda: _now())


_FIELDS = itemgetter(*(field.name for field in fields(LedgerRow)))


class Stamp(NamedTuple):
    """A file as it is now: its path without symbolic links, bytes, and time of modification."""

    file: str
    size: int
    mtime_ns: int


class Ledger:
    """The rows of all runs on a store, and a file for the rows of this one, made by the first of them.

    `append` may be called from any thread. Close it, or use it as a context manager.
    """

    def __init__(self, store: FeatureStore) -> None:
        self._place = store.place
        self._seen: Rows | None = None
        self._lock = threading.Lock()
        self._log: Log | None = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self) -> Rows:
        """The latest row of every (file, setup) and the latest hash of every file, as of now.

        Rows appended later are added. Raises StoreError or UsageError when the store cannot be read.
        """
        seen, read = Rows(), set[str]()
        # Until nothing is new: `compact` puts rows into another file, which is there before theirs are gone.
        while names := sorted(_files(self._place).keys() - read):
            for name in names:
                for lines in _lines(self._place, name):
                    seen.add_lines(lines)
            read.update(names)
        self._seen = seen
        return seen

    def append(self, row: LedgerRow) -> None:
        """Add a row. On a local store it is with the operating system on return, so that a killed process loses none;
        on a remote one it is sent within 30 s.

        Raises StoreError when the disk is full or rows could not be sent, UsageError when the store cannot be written.
        """
        with self._lock:
            if self._log is None:
                self._log = self._place.log(_new_name())
            self._log.add(_line(row))
            if self._seen is not None:
                self._seen.add(vars(row))

    def sha256(self, path: str, size: int, mtime_ns: int) -> str | None:
        """The hash of a file that has this size and time, if it is known."""
        return self._rows().sha256(path, size, mtime_ns)

    def status(self, path: str, size: int, mtime_ns: int, setup: str) -> LedgerRow | None:
        """The latest result of a file of this size and time, if there is one; `reason` is kept for failures."""
        return self._rows().status(path, size, mtime_ns, setup)

    def close(self) -> None:
        """Send what is left and close the file.

        Raises StoreError when that fails.
        """
        with self._lock:
            if self._log is not None:
                self._log.close()
                self._log = None

    def _rows(self) -> Rows:
        return self._seen if self._seen is not None else self.load()


class Rows:
    """The latest row of every (file, setup) in about 400 bytes each, for a million files fit into memory so."""

    def __init__(self) -> None:
        self._hashed: dict[str, bytes] = {}
        self._setups: dict[str, dict[str, bytes]] = {}
        self._failures: dict[tuple[str, str], tuple[str, str, str]] = {}
        self._texts: dict[str, str] = {}

    def __iter__(self) -> Iterator[LedgerRow]:
        """The latest row of every file and setup; rows that only say a hash are left out."""
        for setup, rows in self._setups.items():
            for file, packed in rows.items():
                yield self._row(file, packed, setup)

    def all(self) -> Iterator[LedgerRow]:
        """All rows: those of every setup, then the hashes that no setup's row holds."""
        yield from self
        for row in self.hashes():
            packed = self._hashed[row.file]
            if not any(rows.get(row.file) is packed for rows in self._setups.values()):
                yield row

    def hashes(self) -> Iterator[LedgerRow]:
        """The latest hash of every file, as rows that hold nothing else."""
        for file, packed in self._hashed.items():
            row = _PACKED.unpack(packed)
            yield LedgerRow(file, row[1], row[2], row[3].hex(), finished_at=_iso(row[0]))

    def sha256(self, path: str, size: int, mtime_ns: int) -> str | None:
        """See `Ledger.sha256`."""
        row = _PACKED.unpack(self._hashed.get(path, _NOTHING))
        return row[3].hex() if (row[1], row[2]) == (size, mtime_ns) else None

    def status(self, path: str, size: int, mtime_ns: int, setup: str) -> LedgerRow | None:
        """See `Ledger.status`."""
        packed = self._setups.get(setup, {}).get(path, _NOTHING)
        row = _PACKED.unpack(packed)
        return self._row(path, packed, setup) if (row[1], row[2]) == (size, mtime_ns) else None

    def add_lines(self, lines: Sequence[str]) -> None:
        """Take in rows as they lie in a file; anything else is skipped."""
        try:
            rows = json.loads(f"[{','.join(lines)}]")  # one call for thousands of lines is what makes it fast
            if len(rows) != len(lines):
                raise ValueError("a line holds more than a row")
        except (ValueError, RecursionError):
            if len(lines) > 1:
                middle = len(lines) // 2
                self.add_lines(lines[:middle])
                self.add_lines(lines[middle:])
            return
        for row in rows:
            self.add(row)

    def add(self, row: Any) -> None:
        """Take in one row as a JSON object; a damaged one is skipped."""
        try:
            file, size, mtime, sha256, setup, status, kind, reason, fix, duration, elapsed, at = _FIELDS(row)
            finished = datetime.fromisoformat(at).timestamp()
            digest = bytes.fromhex(sha256)
            packed = _PACKED.pack(finished, size, mtime, digest, _STATUS[status], duration, elapsed)
            if type(file) is not str or type(setup) is not str or len(digest) not in (0, 32) or size < 0:
                return
        except (KeyError, TypeError, ValueError, OverflowError, struct.error):
            return
        if digest and finished >= _FINISHED.unpack_from(self._hashed.get(file, _NOTHING))[0]:
            self._hashed[file] = packed
        if not setup:
            return
        rows = self._setups.setdefault(setup, {})
        if finished >= _FINISHED.unpack_from(rows.get(file, _NOTHING))[0]:
            rows[file] = packed
            self._failures.pop((file, setup), None)
            if kind or reason or fix:
                # A broken disk fails a million files for one reason.
                texts = tuple(
                    self._texts.setdefault(text, text) for text in (str(kind), str(reason), str(fix))
                )
                self._failures[file, setup] = (texts[0], texts[1], texts[2])

    def _row(self, file: str, packed: bytes, setup: str) -> LedgerRow:
        finished, size, mtime, digest, number, duration, elapsed = _PACKED.unpack(packed)
        kind, reason, fix = self._failures.get((file, setup), ("", "", ""))
        sha256 = digest.hex() if any(digest) else ""
        status, at = _NAMES[number], _iso(finished)
        return LedgerRow(file, size, mtime, sha256, setup, status, kind, reason, fix, duration, elapsed, at)


def compact(store: FeatureStore, dry: bool = False) -> list[str]:
    """Put the latest rows of runs that have ended into one file; returns the names of the files that it replaces.

    Files of living runs are left alone, those of other hosts for a day. With `dry` nothing changes.

    Raises StoreError when the disk is full.
    """
    names = []
    for name, written in _files(store.place).items():
        match = _FILE.fullmatch(name)
        lives = maker_lives(match[1]) if match else None
        if lives is False or (lives is None and time.time() - written > STALE_S):
            names.append(name)
    if len(names) < 2 or dry:
        return names if len(names) > 1 else []
    rows, temporary = Rows(), store.place.scratch()
    for name in sorted(names):
        for lines in _lines(store.place, name):
            rows.add_lines(lines)
    try:
        with writing(temporary), open(temporary, "xb") as out:
            out.writelines(_line(row) + b"\n" for row in rows.all())
        store.place.publish(temporary, f"{_new_name()}.jsonl")
    finally:
        temporary.unlink(missing_ok=True)
    store.place.remove(names)
    return names


def known_sha256(root: Path, files: Iterable[Path], ledger: Ledger) -> dict[Path, str]:
    """SHA-256 of each of `files`, which are relative to `root`.

    `ledger` remembers them from one call to the next, as long as size and modification time stay the same, because
    reading a data set of 400 GB takes an hour. Where it cannot be written they are computed again next time.

    Raises InputError when a file cannot be read.
    """
    wanted, hashes, remembers = list(files), dict[Path, str](), True
    for file, stamp in zip(wanted, stamps(root, wanted), strict=True):
        if stamp is None:
            raise _unreadable(root / file)
        digest = ledger.sha256(*stamp)
        if digest is None:
            digest = file_sha256(root / file)
            try:
                if remembers:
                    ledger.append(LedgerRow(*stamp, digest))
            except ForensicError as error:
                remembers = False
                _LOG.warning("file hashes could not be saved: %s", error)
        hashes[file] = digest
    return hashes


def stamps(root: Path, files: Sequence[Path]) -> list[Stamp | None]:
    """Path, size and time of each of `files`, which are relative to `root`; None for one that cannot be looked at.

    A million files take seconds: one system call for each, many at a time where they wait for a network.
    """
    look = _Looker(root)
    with ThreadPoolExecutor(_THREADS) as pool:
        chunks = (files[at : at + _CHUNK_FILES] for at in range(0, len(files), _CHUNK_FILES))
        return [stamp for chunk in pool.map(look, chunks) for stamp in chunk]


class _Looker:
    """`Path.resolve` and `Path.stat` in one call for each file and one for each folder, which are remembered."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._folders = {"": self._root}

    def __call__(self, files: Sequence[Path]) -> list[Stamp | None]:
        stamps: list[Stamp | None] = []
        for file in files:
            name = os.fspath(file)
            try:
                if name[:1] == "/" or ".." in name:
                    path, status = self._follow(os.path.join(self._root, name))
                else:
                    head, _, tail = name.rpartition("/")
                    path, status = self._step(self._folder(head), tail)
                stamps.append(Stamp(path, status.st_size, status.st_mtime_ns))
            except (OSError, ValueError):  # ValueError: a name with a null byte
                stamps.append(None)
        return stamps

    def _folder(self, name: str) -> str:
        folder = self._folders.get(name)
        if folder is None:
            head, _, tail = name.rpartition("/")
            folder = self._folders[name] = self._step(self._folder(head), tail)[0]
        return folder

    def _step(self, folder: str, name: str) -> tuple[str, os.stat_result]:
        path = f"{folder}/{name}"
        status = os.lstat(path)
        return self._follow(path) if S_ISLNK(status.st_mode) else (path, status)

    def _follow(self, path: str) -> tuple[str, os.stat_result]:
        real = os.path.realpath(path)
        return real, os.stat(real)


def _unreadable(path: Path) -> InputError:
    try:
        path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return InputError(f"cannot be read ({reason})", path, "check the file")
    return InputError("disappeared and came back while it was read", path, "run again")


def _files(place: Place) -> dict[str, float]:
    return {name: written for name, _, written in place.list(FOLDER) if name.endswith(".jsonl")}


def _new_name() -> str:
    return f"{FOLDER}/{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{unique_name()}"


def _line(row: LedgerRow) -> bytes:
    return json.dumps(vars(row)).encode()


def _lines(place: Place, name: str) -> Iterator[list[str]]:
    rest = b""
    # `compact` may have replaced the file since it was listed.
    with contextlib.suppress(FileNotFoundError), place.open(name) as file:
        for at in range(0, file.size, file.chunk):
            whole, _, rest = (rest + file.read((at, min(file.chunk, file.size - at)))[0]).rpartition(b"\n")
            yield whole.decode(errors="replace").split("\n")
    yield [rest.decode(errors="replace")]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
