"""Facts of a media file, read before anything heavy is loaded; files that cannot be analysed are refused here."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InputError
from data.media import MediaInfo

if TYPE_CHECKING:
    from configs.schema import DecodeConfig

CHUNK = 2**20


def probe(path: Path, config: DecodeConfig) -> MediaInfo:
    """Facts of the local file `path`: first video track, first audio track, clock, SHA-256.

    The file is opened in a process of its own, under the limits of `config`. Raises InputError when it is missing,
    no file, not readable, empty, not media, of a refused container or codec, without video and audio, too large or
    too long; MemoryLimitError when opening it needs too much memory.
    """
    from pipeline.media.decoder import inspect_in_worker

    path = Path(path)
    sha256, size = digest(path)
    info = inspect_in_worker(path, config)
    return MediaInfo(**{**vars(info), "path": path, "sha256": sha256, "size_bytes": size})


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
