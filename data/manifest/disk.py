"""Files on disk compared with those that the metadata lists."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError
from data.manifest.samples import AVDEEPFAKE1M_FILES, LAVDF_FILES, RECIPE, Sample, is_media

UNPACK = "unpack every volume of the archive (7z x NAME.zip.001)"


@dataclass(frozen=True)
class Listing:
    """Clips of the metadata that are there, clips that are not, and media files without metadata; sorted names."""

    samples: tuple[Sample, ...]
    missing: tuple[str, ...]
    unlisted: tuple[str, ...]


def compare(root: Path, rows: Mapping[str, Sample]) -> Listing:
    """`rows`, by name relative to `root`, against the folders that they name; files are not opened."""
    absent, unlisted = set(rows), []
    for top in _tops(rows):
        for name in media_below(root, top) if top else _media_in(root):
            if name in absent:
                absent.remove(name)
            else:
                unlisted.append(name)
    there = tuple(sample for name, sample in rows.items() if name not in absent)
    return Listing(there, tuple(sorted(absent)), tuple(sorted(unlisted)))


def refuse_half_unpacked(root: Path, rows: Mapping[str, Sample], listing: Listing) -> None:
    """Raises InputError when none of the clips of one folder directly below `root` is there, with the way out."""
    there = {_top(sample.file.as_posix()) for sample in listing.samples}
    for top in _tops(rows):
        if top in there:
            continue
        folder = root / top
        first = next(name for name in rows if _top(name) == top)
        strange = any(_top(name) == top for name in listing.unlisted)
        problem = "contains none of the clips that the metadata lists" if strange else (
            "is listed in the metadata but missing or empty"
        )  # fmt: skip
        raise InputError(problem, folder, _misplaced(root, top, first))


def media_below(root: Path, top: str = "", links: bool = True) -> Iterator[str]:
    """Names, relative to `root` and with slashes, of all media files below the folder `top` of it.

    No file is asked for its status: on network disks that would take hours for a million clips. Hidden
    folders are left out; with `links`, a link to a folder is followed unless it leads back to
    where it lies or where it was followed from.
    """
    folders: list[tuple[str, tuple[str, ...]]] = [(top, ())]  # with the links that led there
    while folders:
        folder, followed = folders.pop()
        prefix = f"{folder}/" if folder else ""
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if is_media(entry.name) and entry.is_file():
                        yield prefix + entry.name
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append((prefix + entry.name, followed))
                    elif links and entry.is_dir():
                        target = os.path.realpath(entry.path)
                        if target not in followed and not _holds_folder(target, os.path.dirname(entry.path)):
                            folders.append((prefix + entry.name, (*followed, target)))
        except OSError:
            continue  # its clips count as missing


def other_files(root: Path) -> list[str]:
    """Names, relative to `root` and sorted, of the files below it whose endings are none of media; not hidden ones."""
    others = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inner = Path(folder).relative_to(root)
        others += [
            (inner / name).as_posix() for name in files if not name.startswith(".") and not is_media(name)
        ]
    return sorted(others)


def way_out(root: Path, wanted: Iterable[str]) -> str | None:
    """Advice on which folder may have been meant instead of a root that lacks all of `wanted`; None without a guess."""
    wanted = tuple(wanted)
    if (root / RECIPE).is_file():
        return "the data set is unfinished: run the same `pipeline synthesize` command again"
    parent = Path(os.path.abspath(root)).parent
    if _holds(parent, wanted):
        return f"its parent has one: give {parent}"
    try:
        children = sorted(entry.path for entry in os.scandir(root) if entry.is_dir())
    except OSError:
        children = []
    for child in children:
        if _holds(Path(child), wanted):
            return f"the folder {Path(child).name} in it has one: give {child}"
    if not set(LAVDF_FILES) & set(wanted) and _holds(root, LAVDF_FILES):
        return "it has LAV-DF's layout: try --layout lavdf"
    if not set(AVDEEPFAKE1M_FILES) & set(wanted) and _holds(root, AVDEEPFAKE1M_FILES):
        return "it has AV-Deepfake1M's layout: try --layout avdeepfake1m or avdeepfake1m++"
    return None


def _holds(folder: Path, names: Iterable[str]) -> bool:
    return any((folder / name).is_file() for name in names)


def _misplaced(root: Path, top: str, first: str) -> str:
    inner = first.partition("/")[2]
    if top and (root / top / first).is_file():
        return f"its clips lie one folder too deep: move what {root / top / top} holds to {root / top}"
    if inner and (root / inner).is_file():
        return f"its clips lie in {root} itself: move them into {root / top}"
    return f"{UNPACK}, so that {root / first} is there"


def _holds_folder(target: str, folder: str) -> bool:
    return os.path.join(os.path.realpath(folder), "").startswith(os.path.join(target, ""))


def _media_in(root: Path) -> Iterator[str]:
    try:
        with os.scandir(root) as entries:
            yield from (entry.name for entry in entries if is_media(entry.name) and entry.is_file())
    except OSError:
        return


def _tops(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_top, names)))


def _top(name: str) -> str:
    top, slash, _ = name.partition("/")
    return top if slash else ""
