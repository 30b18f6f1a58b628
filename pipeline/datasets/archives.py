"""Leftovers of a download: archive volumes that are not unpacked, missing or incomplete."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

_VOLUME = re.compile(r"(?P<archive>.+\.(?:zip|7z|rar|tar))\.(?P<number>\d{3})$", re.IGNORECASE)
_UNFINISHED = (".part", ".crdownload", ".aria2", ".incomplete")


@dataclass(frozen=True)
class Archive:
    """The volumes of one archive, `NAME.zip.001` and so on.

    `missing` are numbers below the last one found, `short` those of volumes smaller than the others: only the
    last may be.
    """

    first: Path
    volumes: int
    size_bytes: int
    missing: tuple[int, ...]
    short: tuple[int, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """Names of the volumes that have to be downloaded."""
        stem = self.first.name[:-3]
        return tuple(f"{stem}{number:03d}" for number in sorted({*self.missing, *self.short}))


@dataclass(frozen=True)
class Leftovers:
    """Multi-volume archives, and files that a downloader has not finished."""

    archives: tuple[Archive, ...]
    unfinished: tuple[Path, ...]


def find_leftovers(root: Path) -> Leftovers:
    """What lies in `root` and in the folders directly below it, and where the hub's client keeps its pieces."""
    sizes: dict[Path, dict[int, int]] = defaultdict(dict)
    unfinished = list(root.glob(".cache/huggingface/download/**/*.incomplete"))
    for entry in _near(root):
        match = _VOLUME.match(entry.name)
        if match is not None:
            sizes[Path(entry.path).with_name(match["archive"])][int(match["number"])] = entry.stat().st_size
        elif entry.name.endswith(_UNFINISHED):
            unfinished.append(Path(entry.path))
    archives = tuple(_archive(path, sizes[path]) for path in sorted(sizes))
    return Leftovers(archives, tuple(sorted(unfinished)))


def _archive(path: Path, sizes: dict[int, int]) -> Archive:
    last, whole = max(sizes), max(sizes.values())
    return Archive(
        first=path.with_name(f"{path.name}.001"),
        volumes=len(sizes),
        size_bytes=sum(sizes.values()),
        missing=tuple(number for number in range(1, last) if number not in sizes),
        short=tuple(n for n, size in sorted(sizes.items()) if size == 0 or (size < whole and n != last)),
    )


def _near(root: Path) -> list[os.DirEntry[str]]:
    near = _entries(root)
    folders = [entry.path for entry in near if not entry.name.startswith(".") and entry.is_dir()]
    for folder in folders:
        near += _entries(folder)
    return near


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
