"""The SHA-256 of a media file; files that cannot be read are refused here."""

from __future__ import annotations

import hashlib
from pathlib import Path

from data.errors import InputError

CHUNK = 2**20


def digest(path: Path) -> tuple[str, int]:
    """SHA-256 (hex) and size in bytes of the local file `path`.

    Raises InputError when it is missing, a folder or no regular file, not readable or empty.
    """
    if path.is_dir():
        raise InputError("is a folder, not a file", path, "name a media file")
    if path.exists() and not path.is_file():
        raise InputError("is not a regular file", path, "name a media file")
    hashed, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                hashed.update(chunk)
                size += len(chunk)
    except FileNotFoundError:
        raise InputError("does not exist", path, "check the path") from None
    except PermissionError:
        raise InputError("may not be read", path, f"give yourself access: chmod u+r {path.name}") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path, "check the disk or the path") from error
    if size == 0:
        raise InputError("is empty (0 bytes)", path, "copy or download it again")
    return hashed.hexdigest(), size
