"""Files as wholes: written completely or not at all, and known by what they hold."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.errors import InputError, UsageError


@contextlib.contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` when the block ends well.

    `durable` waits until the content is on the disk; without it a power failure may lose what was written last,
    which is right for thousands of files that can be made again.

    Raises UsageError when the folder cannot be written or the disk is full; then `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.chmod(
            temporary, 0o666 & ~_umask()
        )  # some writers, safetensors among them, keep a file to its owner
        if durable:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        fix = "choose another output folder, make this one writable or free space"
        raise UsageError(f"cannot be written ({error.strerror or error})", path, fix) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def file_sha256(path: Path) -> str:
    """SHA-256 of the bytes of `path` in hex.

    Raises InputError when it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", path, "check the file") from error


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def check_folder(folder: Path, option: str) -> None:
    """Make `folder` if need be and see that files can be made in it.

    Raises UsageError that names the option which leads elsewhere.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        fix = f"choose another place with {option}, or make this one writable"
        raise UsageError(f"cannot be written ({error.strerror})", folder, fix) from error


@contextlib.contextmanager
def locked(folder: Path, name: str, problem: str, fix: str) -> Iterator[None]:
    """Make `folder` and hold its lock file `name`; UsageError with `problem` and `fix` while somebody else does."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(problem, folder, fix) from None
    try:
        yield
    finally:
        lock.release()


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """Write a file whole or not at all, with its folders; `durable` as in `data.files.replacing`.

    Raises UsageError when the place cannot be written.
    """
    with replacing(path, durable) as temporary:
        # A file name may hold bytes that are no Unicode; JSON escapes them, other forms cannot.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def write_json(path: Path, content: Any) -> None:
    """Write `content` for people and programs. Raises UsageError when `path` cannot be written."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
