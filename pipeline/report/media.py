"""The analysed file, found again near its report."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path, PurePath

from data.errors import ForensicError
from data.files import file_sha256
from data.text import printable
from pipeline.report.model import Report

_LOG = logging.getLogger(__name__)


def find_media(report: Report, places: Iterable[Path]) -> Path | None:
    """The first of `places`, files or folders that may hold it, that is the file which the report is about.

    It counts only if its SHA-256 is the report's; one that has the name alone is warned of. None where it is not
    found, also with a warning.
    """
    name = PurePath(report.input.name).name
    for place in dict.fromkeys(places):
        path = place
        try:
            path = place / name if place.is_dir() else place
            # A name in a report may be none that a file system takes.
            if not path.is_file():
                continue
            # The size is compared first, because a large file takes a while to hash.
            if path.stat().st_size == report.input.size_bytes and file_sha256(path) == report.input.sha256:
                return path
        except (OSError, ForensicError) as error:
            _LOG.warning("%s cannot be read: %s", printable(str(path)), error)
            continue
        _LOG.warning(
            "%s is not the file that was analysed: its SHA-256 differs from the report's",
            printable(str(path)),
        )
    _LOG.warning(
        "the page of '%s' has no pictures: the analysed file was not found; name it with --media",
        printable(name),
    )
    return None
