"""Files as wholes: written completely or not at all, and known by what they hold."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from data.errors import InputError, UsageError

_LOG = logging.getLogger(__name__)


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


def known_sha256(root: Path, files: Iterable[Path], index: Path) -> dict[Path, str]:
    """SHA-256 of each of `files`, which are relative to `root`.

    `index` remembers them from one call to the next, as long as size and modification time stay the same,
    because reading a data set of 400 GB takes an hour. Without a readable index they are computed again.

    Raises InputError when a file cannot be read.
    """
    known = _read_index(index)
    found, changed = {}, False
    for file in files:
        path = root / file
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})", path, "check the file") from error
        name, stamp = str(path.resolve()), [status.st_size, status.st_mtime_ns]
        if name not in known or known[name][:2] != stamp:
            known[name], changed = [*stamp, file_sha256(path)], True
        found[file] = str(known[name][2])
    if changed:
        try:
            with replacing(index) as temporary:
                temporary.write_text(json.dumps(known), encoding="utf-8")
        except UsageError as error:
            _LOG.warning("hashes are not remembered: %s", error)
    return found


def _read_index(index: Path) -> dict[str, list[int | str]]:
    try:
        known = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {name: row for name, row in known.items() if isinstance(row, list) and len(row) == 3}


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
