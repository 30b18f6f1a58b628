"""Storage of a store: a local folder, or an object store behind an fsspec URL.

Both are a flat set of named objects (names with slashes) that appear whole or not at all. What differs, and how it
fails, ends here: nothing above knows file systems, buckets or their errors.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Hashable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from data.errors import StoreError, UsageError
from data.processes import maker_lives, unique_name

INCOMING = ".incoming"
"""Folder of unfinished files, one for all, so that sweeping a store of a million entries is one listing."""

STALE_S = 24 * 3600.0
"""Age at which an unfinished file of another host counts as left behind."""

_UNUSABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}


class Found(NamedTuple):
    """An object of a place: its name, its size in bytes and when it was last written, in seconds since 1970."""

    name: str
    size: int
    mtime: float


class RangeFile(Protocol):
    """An object open for reading; `stamp` differs when the object was replaced."""

    chunk: int
    """Bytes that are worth one read."""

    @property
    def size(self) -> int:
        """Bytes of the object."""

    @property
    def stamp(self) -> Hashable:
        """A string that changes when the object is replaced."""

    def read(self, *spans: tuple[int, int]) -> list[bytearray]:
        """Bytes of each (offset, length); shorter where the object ends."""


class Log(Protocol):
    """Lines that grow at the end of one object or a few, written by one process."""

    def add(self, line: bytes) -> None:
        """Add one line without its end; StoreError when there is no room for it, and it may then be half there."""

    def close(self) -> None:
        """Write all lines and close."""


class Place(Protocol):
    """A set of named objects. It may be pickled, and holds nothing open.

    Every method raises UsageError when the place cannot be used as it is (rights, credentials, no such bucket) and
    StoreError when it fails otherwise (full disk, network), saying what to do. No message holds credentials.
    """

    root: Path | str
    """The place for people: without credentials."""

    def at(self, name: str) -> Path | str:
        """The object's path or URL, for messages."""

    def status(self, name: str) -> Found | None:
        """Size and time of an object, None when there is none."""

    def open(self, name: str) -> AbstractContextManager[RangeFile]:
        """The object for reading in ranges; FileNotFoundError when there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Put a small object in its place, durably, replacing what was there."""

    @property
    def exclusive(self) -> bool:
        """Whether `create` can tell that an object is there."""

    def create(self, name: str, content: bytes) -> bool:
        """Put a small object where none is; False when there is one."""

    def publish(self, temporary: Path, name: str) -> None:
        """Give a finished local file from `scratch` its name, durably; it is gone from `scratch` afterwards."""

    def list(self, folder: str = "") -> Iterator[Found]:
        """All objects below `folder`, as they are found; files of `scratch` do not count."""

    def log(self, name: str) -> Log:
        """Lines that become objects whose names begin with `name` and end in ``.jsonl``."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; missing ones are ignored."""

    def scratch(self) -> Path:
        """A path of its own for an unfinished local file, in a folder that exists."""

    def unfinished(self) -> Iterator[Path]:
        """All unfinished local files, of whatever process."""

    def prune(self, dry: bool) -> int:
        """Remove empty folders, where there are folders; with `dry` only count them."""


def read_object(place: Place, name: str) -> bytes | None:
    """The whole of a small object, None when there is none."""
    try:
        with place.open(name) as file:
            return bytes(file.read((0, file.size))[0])
    except FileNotFoundError:
        return None


class LocalPlace:
    """A folder of this machine or of a network file system."""

    exclusive = True

    def __init__(self, root: Path) -> None:
        self.root: Path | str = root
        self._folder, self._swept = root, False

    def at(self, name: str) -> Path | str:
        """The path of `name`."""
        return self._folder / name

    def status(self, name: str) -> Found | None:
        """Size and time of a file, None when there is none."""
        path = self._folder / name
        with _reading(path):
            try:
                status = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return Found(name, status.st_size, status.st_mtime) if stat.S_ISREG(status.st_mode) else None

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[RangeFile]:
        """A file for reading in ranges."""
        path = self._folder / name
        with _reading(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield _LocalFile(path, descriptor)
        finally:
            os.close(descriptor)

    def write(self, name: str, content: bytes) -> None:
        """Replace a file."""
        temporary = self.scratch()
        try:
            with writing(temporary):
                temporary.write_bytes(content)
            self.publish(temporary, name)
        finally:
            temporary.unlink(missing_ok=True)

    def create(self, name: str, content: bytes) -> bool:
        """Make a file that was not there."""
        path = self._folder / name
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except FileExistsError:
                return False
            try:
                os.write(descriptor, content)
            except OSError:
                path.unlink(missing_ok=True)
                raise
            finally:
                os.close(descriptor)
        return True

    def publish(self, temporary: Path, name: str) -> None:
        """Sync a file to disk, then rename it."""
        path = self._folder / name
        with writing(path):
            _sync(temporary)
            while True:
                made = _make_folders(path.parent)
                try:
                    os.replace(temporary, path)
                    break
                except FileNotFoundError:
                    # Another process may have tidied the folder away since; a lost temporary file never comes back.
                    if not temporary.exists():
                        raise
            # A new name lives in its folder, and a new folder's in the one above. Each such sync costs as much as
            # bringing the file itself to the disk, hence none for a folder that was there.
            for folder in (path.parent, *made):
                _sync(folder)

    def list(self, folder: str = "") -> Iterator[Found]:
        """Files below `folder`, in the order of their names within each folder."""
        with _reading(self._folder / folder):
            try:
                entries = sorted(os.scandir(self._folder / folder), key=lambda entry: entry.name)
            except (FileNotFoundError, NotADirectoryError):
                return
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                if name != INCOMING:
                    yield from self.list(name)
                continue
            with contextlib.suppress(FileNotFoundError), _reading(self._folder / name):
                status = entry.stat()
                yield Found(name, status.st_size, status.st_mtime)

    def log(self, name: str) -> Log:
        """A file that is appended to: on return of `add` the line is with the operating system."""
        return _LocalLog(self._folder / f"{name}.jsonl")

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, and the folders that they leave empty but for those at the top."""
        for name in names:
            path = self._folder / name
            with writing(path):
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                for _ in range(name.count("/") - 1):
                    path = path.parent
                    path.rmdir()

    def scratch(self) -> Path:
        """A path below ``.incoming``, which is swept once per process: dead processes' files are removed."""
        folder = self._folder / INCOMING
        with writing(self._folder):
            folder.mkdir(parents=True, exist_ok=True)
            if not self._swept:
                for path in filter(is_abandoned, self.unfinished()):
                    path.unlink(missing_ok=True)
                self._swept = True
        return folder / unique_name()

    def unfinished(self) -> Iterator[Path]:
        """Files below ``.incoming``."""
        folder = self._folder / INCOMING
        with contextlib.suppress(FileNotFoundError), _reading(folder):
            yield from folder.iterdir()

    def prune(self, dry: bool) -> int:
        """Remove empty folders but for those at the top."""
        count = 0
        for folder, below, files in os.walk(self._folder, topdown=False):
            if Path(folder).parent not in (self._folder, self._folder.parent) and not below and not files:
                count += 1
                with contextlib.suppress(OSError):  # a writer may have put something in
                    if not dry:
                        os.rmdir(folder)
        return count


class _LocalFile:
    """A local file open for reading."""

    chunk = 1 << 20

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor
        status = os.fstat(descriptor)
        self.size = status.st_size
        self.stamp: Hashable = (status.st_ino, status.st_size, status.st_mtime_ns)

    def read(self, *spans: tuple[int, int]) -> list[bytearray]:
        """Each span by plain reads at its offset, so that memory holds the spans only."""
        with _reading(self._path):
            return [self._span(offset, length) for offset, length in spans]

    def _span(self, offset: int, length: int) -> bytearray:
        found, done = bytearray(length), 0
        with memoryview(found) as view:
            while done < length:
                # Linux reads at most 2 GiB at a time.
                count = os.preadv(self._descriptor, [view[done : done + (1 << 30)]], offset + done)
                if not count:
                    break
                done += count
        del found[done:]
        return found


class _LocalLog:
    """A file that lines are appended to."""

    def __init__(self, path: Path) -> None:
        self._path, self._torn = path, False
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: each line is one call, and a killed process loses none.
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115

    def add(self, line: bytes) -> None:
        """Append a line."""
        # After a line that a full disk cut short, the next one begins a line of its own.
        rest = memoryview(b"\n" * self._torn + line + b"\n")
        self._torn = True
        with writing(self._path):
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        self._torn = False

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def is_abandoned(path: Path) -> bool:
    """Whether the process of an unfinished file is gone; one of another host counts as gone after a day."""
    lives = maker_lives(path.name)
    try:
        return lives is False or (lives is None and time.time() - path.stat().st_mtime > STALE_S)
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the operating system says of a failed write into UsageError or StoreError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _UNUSABLE:
            fix = "choose another store folder or make this one writable"
            raise UsageError(f"cannot write features ({reason})", path, fix) from error
        fix = "free space on that disk and run again; finished entries are kept"
        raise StoreError(f"cannot write features ({reason})", path, fix) from error


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
    except OSError as error:
        fix = "make it readable, or check that disk"
        raise StoreError(f"cannot read stored features ({error.strerror})", path, fix) from error


def _make_folders(folder: Path) -> list[Path]:
    """Make `folder`; returns the folders that got a new name in them."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
    return [path.parent for path in missing]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
