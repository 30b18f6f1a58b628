"""Finding the analysed file near its report, and reusing pictures of an earlier page."""

from __future__ import annotations

import base64
import html
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from urllib.parse import unquote_to_bytes, urlsplit

from data.errors import ForensicError
from data.files import file_sha256
from data.text import printable
from pipeline.report.model import Report

_LOG = logging.getLogger(__name__)


def find_media(report: Report, places: Iterable[Path]) -> Path | None:
    """The first of `places`, files or folders that may hold it, that is the file which the report is about.

    It counts only if its SHA-256 is the report's; one that has the name alone is warned of. None where it is not
    found.
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
    return None


@dataclass(frozen=True)
class EarlierPage:
    """What a page holds of its clip: whether it shows pictures, the clip it links to, the preview (MP4) inside it."""

    pictures: bool
    clip: Path | None
    preview: bytes | None


def earlier_page(path: Path, report: Report) -> EarlierPage | None:
    """The page at `path`; None where there is none, or it was made from another report."""
    try:
        page = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    if report.input.sha256 not in page or html.escape(report.clock.started_at) not in page:
        return None
    linked = re.search(r'<source src="([^"]*)">', page)
    held = re.search(r'<source src="data:video/mp4;base64,([A-Za-z0-9+/]+=*)"', page)
    return EarlierPage(
        pictures='<img src="data:' in page,
        clip=_local(html.unescape(linked[1]), path.parent) if linked is not None else None,
        preview=base64.b64decode(held[1]) if held is not None else None,
    )


def _local(url: str, folder: Path) -> Path | None:
    """The file below or beside `folder` that a relative URL of a page leads to."""
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return None
    return folder / os.fsdecode(unquote_to_bytes(parts.path))
