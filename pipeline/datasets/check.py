"""Whether a data set on disk is complete: metadata, files and published counts, checked in about a minute."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from data.errors import InputError
from data.hook import Hook, silent
from data.labels import CLASSES, FPS
from data.manifest import SIDECAR, DatasetName, Sample, read_metadata
from data.manifest.disk import Listing, compare, refuse_half_unpacked
from data.manifest.sidecar import read_sidecar
from pipeline.datasets.archives import find_leftovers
from pipeline.datasets.odd import odd_rows
from pipeline.media.mp4 import Mp4Facts, look_into

Level = Literal["unusable", "incomplete", "note"]

PUBLISHED: Mapping[DatasetName, Mapping[str, int]] = {
    "lavdf": {"train": 78_703, "dev": 31_501, "test": 26_100},
    "avdeepfake1m": {"train": 746_180, "dev": 57_340, "test": 343_240},
    "avdeepfake1m++": {"dev": 77_326},
}
"""Clips per split: arXiv:2204.06228, arXiv:2311.15308; of the third set only one part is known exactly."""

LAVDF_REAL = 36_431
LAVDF_UNLISTED = 1_706
"""Files of LAV-DF without metadata, which its users ignore (https://github.com/ControlNet/LAV-DF/issues/1)."""

SAMPLE = 1000
BEYOND_S = 0.2
"""Intervals may end this much behind the end that the metadata gives: its lengths are not exact."""
APART_S = 0.5
"""A file may be this much longer or shorter than the metadata says; codecs pad by a fraction of it."""

_SEED = 0
_READERS = 8
_PORTION = 100
_NAMED = 3
_MP4 = (".mp4", ".m4v", ".mov")
_EXIT: Mapping[Level, int] = {"unusable": InputError.exit_code, "incomplete": 4, "note": 0}


@dataclass(frozen=True)
class Problem:
    """One finding: how serious it is, what to do, and the first of the files that it concerns."""

    level: Level
    what: str
    fix: str = ""
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetCheck:
    """The state of a data set. `counts` are the metadata's clips by split and class, None for no label.

    `broken` says of each damaged file among those looked into (`looked_into` of them) what is wrong with it.
    """

    dataset: DatasetName
    root: Path
    counts: Mapping[tuple[str, str | None], int]
    published: Mapping[str, int]
    present: int
    missing: tuple[str, ...]
    unlisted: tuple[str, ...]
    looked_into: int
    broken: Mapping[str, str]
    findings: tuple[Problem, ...]

    @property
    def level(self) -> Level:
        """The worst of the findings; `note` when the data set is complete."""
        levels = {finding.level for finding in self.findings}
        return "unusable" if "unusable" in levels else "incomplete" if "incomplete" in levels else "note"

    @property
    def verdict(self) -> str:
        """One line: complete, or what is wrong."""
        if self.level == "note":
            return "complete"
        return f"{self.level}: " + "; ".join(f.what for f in self.findings if f.level == self.level)

    @property
    def exit_code(self) -> int:
        """0 complete, 4 usable but incomplete, 3 unusable."""
        return _EXIT[self.level]


def to_json(checked: DatasetCheck) -> str:
    """All that was found, with every name, as JSON text that ends with a newline."""
    clips: dict[str, dict[str, int]] = {}
    for (split, name), count in checked.counts.items():
        clips.setdefault(split, {})[name if name is not None else "unlabelled"] = count
    document = {
        "schema": "rt-deeploc/data-check@1",
        "dataset": checked.dataset,
        "root": str(checked.root),
        "verdict": checked.verdict,
        "exit_code": checked.exit_code,
        "clips": clips,
        "published": dict(checked.published),
        "present": checked.present,
        "looked_into": checked.looked_into,
        "findings": [asdict(finding) for finding in checked.findings],
        "broken": dict(checked.broken),
        "missing": checked.missing,
        "unlisted": checked.unlisted,
    }
    return json.dumps(document, indent=1) + "\n"


def check(
    dataset: DatasetName, root: Path, sample: int = SAMPLE, hook: Hook = silent, subset: bool = False
) -> DatasetCheck:
    """Hold the metadata of `dataset` at `root` against its files and the published figures.

    `sample` files, drawn with a fixed seed, are looked into without decoding; all of them when it is 0 or there
    are no more. Of a deliberate `subset`, absent clips and parts are no fault. Problems are returned as findings, not
    raised.
    """
    hook("read metadata")
    try:
        rows = read_metadata(dataset, root)
    except InputError as error:
        return _unusable(dataset, root, error)
    odd = odd_rows(dataset, root)
    hook("compare with files")
    listing = compare(root, rows) if dataset != "folder" else Listing(tuple(rows.values()), (), ())
    broken, looked, apart = _look(root, listing.samples, sample, hook)
    # A set that the forger made has LAV-DF's layout, but not its figures.
    own = dataset == "lavdf" and (root / SIDECAR).is_file()
    published = {} if own or subset else PUBLISHED.get(dataset, {})
    counts = Counter(
        (row.split, CLASSES[row.label] if row.label is not None else None) for row in rows.values()
    )
    findings = [
        *(_half_unpacked(root, rows, listing) if not subset else ()),
        *_against_published(dataset, counts, published),
        *(_against_sidecar(root, rows) if own else ()),
        *_against_files(rows, listing, own, LAVDF_UNLISTED if dataset == "lavdf" and not own else 0, subset),
        *_damage(broken, looked, len(listing.samples)),
        *_doubts(rows, apart),
        *_odd(odd),
    ]
    findings += _leftovers(root, all(finding.level == "note" for finding in findings))
    return DatasetCheck(
        dataset, root, counts, published, len(listing.samples), listing.missing, listing.unlisted, looked,
        broken, tuple(findings),
    )  # fmt: skip


def _unusable(dataset: DatasetName, root: Path, error: InputError) -> DatasetCheck:
    findings = (
        Problem("unusable", f"{error.path}: {error.what}", error.fix),
        *_odd(odd_rows(dataset, root)),
        *_leftovers(root, False),
    )
    return DatasetCheck(dataset, root, {}, {}, 0, (), (), 0, {}, findings)


def _half_unpacked(root: Path, rows: Mapping[str, Sample], listing: Listing) -> Iterator[Problem]:
    try:
        refuse_half_unpacked(root, rows, listing)
    except InputError as error:
        yield Problem("unusable", f"{error.path}: {error.what}", error.fix)


def _against_published(
    dataset: DatasetName, counts: Mapping[tuple[str, str | None], int], published: Mapping[str, int]
) -> Iterator[Problem]:
    again = "download the list of that part again"
    for split, expected in published.items():
        listed = sum(count for (name, _), count in counts.items() if name == split)
        part = f"{split} (val)" if split == "dev" and dataset != "lavdf" else split
        if not listed:
            yield Problem("incomplete", f"{part} is not there ({expected:,} clips)", "download that part")
        elif listed != expected:
            message = f"the metadata lists {listed:,} clips of {part}, published are {expected:,}"
            yield Problem("incomplete", message, again)
    real = sum(count for (_, name), count in counts.items() if name == "real")
    if dataset == "lavdf" and sum(counts.values()) == sum(published.values()) and real != LAVDF_REAL:
        message = f"the metadata lists {real:,} real clips, published are {LAVDF_REAL:,}"
        yield Problem("incomplete", message, again)


def _against_sidecar(root: Path, rows: Mapping[str, Sample]) -> Iterator[Problem]:
    again = "let `pipeline synthesize` write it again, with the same settings"
    try:
        listed = {clip.file for clip in read_sidecar(root)}
    except InputError as error:
        yield Problem("incomplete", f"{SIDECAR} {error.what}", again)
        return
    if listed != set(rows):
        message = f"{SIDECAR} and the metadata differ in {len(listed ^ set(rows)):,} clips"
        yield Problem("incomplete", message, again)


def _against_files(
    rows: Mapping[str, Sample], listing: Listing, own: bool, published: int, subset: bool
) -> Iterator[Problem]:
    if listing.missing and subset:
        message = f"{len(listing.missing):,} of {len(rows):,} clips are not in this subset"
        yield Problem("note", message, examples=listing.missing[:_NAMED])
    elif listing.missing:
        message = f"{len(listing.missing):,} of {len(rows):,} clips are missing"
        fix = "copy the data set again" if own else "unpack the archive again: 7z x NAME.zip.001"
        yield Problem("incomplete", message, fix, listing.missing[:_NAMED])
    if listing.unlisted:
        as_known = ", as many as LAV-DF is known to have" if len(listing.unlisted) == published else ""
        message = f"{len(listing.unlisted):,} files have no metadata{as_known}; they are ignored"
        yield Problem("note", message, examples=listing.unlisted[:_NAMED])


def _damage(broken: Mapping[str, str], looked: int, present: int) -> Iterator[Problem]:
    if broken:
        message = f"{len(broken):,} of {looked:,} inspected files are damaged"
        more = "; inspect all with --sample 0" if looked < present else ""
        fix = f"unpack them again, or download their archive again{more}"
        examples = tuple(f"{name} {fault}" for name, fault in list(broken.items())[:_NAMED])
        yield Problem("incomplete", message, fix, examples)


def _doubts(rows: Mapping[str, Sample], apart: tuple[str, ...]) -> Iterator[Problem]:
    beyond = tuple(name for name, row in rows.items() if _ends_beyond(row))
    odd = tuple(
        n
        for n, r in rows.items()
        if r.located and r.label is not None and (r.label == 0) == bool(r.fake_periods)
    )
    for names, what in (
        (apart, f"inspected files are more than {APART_S} s longer or shorter than listed"),
        (beyond, f"clips have an interval that ends more than {BEYOND_S} s after their end"),
        (odd, "clips are real with forged intervals, or forged without any"),
    ):
        if names:
            yield Problem("note", f"{len(names):,} {what}", examples=names[:_NAMED])


def _odd(odd: Mapping[str, tuple[str, ...]]) -> Iterator[Problem]:
    for what, names in odd.items():
        yield Problem("note", f"{len(names):,} clips have {what}", "mend their rows", names[:_NAMED])


def _ends_beyond(row: Sample) -> bool:
    return row.duration_s > 0 and any(p.end_s > row.duration_s + BEYOND_S for p in row.fake_periods)


def _leftovers(root: Path, complete: bool) -> Iterator[Problem]:
    left = find_leftovers(root)
    for path in left.unfinished:
        message, fix = f"{path.name} is a download that has not finished", f"finish it, or remove {path}"
        yield Problem("note" if complete else "incomplete", message, fix)
    for archive in left.archives:
        name = archive.first.stem
        if complete:
            message = f"{archive.volumes} volumes of {name} ({archive.size_bytes / 1e9:.1f} GB) remain"
            yield Problem("note", message, "they are no longer needed")
        elif archive.faults:
            message = f"{len(archive.faults)} volumes of {name} are missing or incomplete"
            fix = f"download them, then: 7z x {archive.first}"
            yield Problem("incomplete", message, fix, archive.faults[:_NAMED])
        else:
            message = f"{archive.volumes} volumes of {name} are present but not, or not fully, unpacked"
            yield Problem("note", message, f"7z x {archive.first}")


def _look(
    root: Path, samples: tuple[Sample, ...], size: int, hook: Hook
) -> tuple[dict[str, str], int, tuple[str, ...]]:
    """What is wrong with the damaged ones of `size` files, how many were looked into, and those of another length."""
    drawn = random.Random(_SEED).sample(samples, size) if 0 < size < len(samples) else samples
    broken: dict[str, str] = {}
    apart = []
    # Side by side, because on a network disk nearly all of the time is waiting; in portions, because a million jobs
    # at once would take a gigabyte.
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(drawn), _PORTION):
            portion = drawn[start : start + _PORTION]
            for row, seen in zip(portion, pool.map(partial(_seen, root), portion), strict=True):
                if isinstance(seen, str):
                    broken[row.file.as_posix()] = seen
                elif _is_apart(row, seen):
                    apart.append(row.file.as_posix())
            hook("inspect files", start + len(portion), len(drawn))
    return dict(sorted(broken.items())), len(drawn), tuple(sorted(apart))


def _seen(root: Path, row: Sample) -> Mp4Facts | str:
    path = root / row.file
    try:
        if path.suffix.lower() in _MP4:
            return look_into(path)
        with open(path, "rb") as file:
            head = file.read(4096)
    except InputError as error:
        return error.what
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not head:
        return "is empty (0 bytes)"
    return Mp4Facts(None, None) if any(head) else "begins with nothing but zeros"


def _is_apart(row: Sample, facts: Mp4Facts) -> bool:
    if facts.duration_s is not None and row.duration_s and abs(facts.duration_s - row.duration_s) > APART_S:
        return True
    frames = facts.video_frames
    return frames is not None and row.video_frames > 0 and abs(frames - row.video_frames) > APART_S * FPS
