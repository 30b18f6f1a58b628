"""Which media files a path stands for that somebody names."""

from __future__ import annotations

import re
from pathlib import Path

from data.errors import InputError, UsageError
from data.manifest import Manifest
from data.manifest.disk import other_files
from data.text import printable

_NAMED = 10
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


def find_clips(source: Path) -> tuple[list[Path], Path]:
    """Media files that `source`, a file or a folder, stands for, relative to the folder returned with them.

    Raises InputError when there is nothing, or no media file in the folder, UsageError for a URL or a stream.
    """
    if source.is_dir():
        return [sample.file for sample in Manifest.folder(source).samples], source
    if not source.exists() and (str(source) == "-" or _URL.match(str(source))):
        raise UsageError(
            "is no local file, and only local files are read", source, "download or save it first"
        )
    if not source.exists():
        raise InputError("no such file or folder", source, "check the path")
    return [Path(source.name)], source.parent


def passed_over(folder: Path) -> list[str]:
    """A line about the files below `folder` whose endings are none of media; empty where there are none."""
    others = other_files(folder)
    if not others:
        return []
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    named = ", ".join(map(printable, others[:_NAMED]))
    return [f"passed over, by their endings: {len(others)} file(s): {named}{more}"]
