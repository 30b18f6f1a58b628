"""The table of `pipeline synthesize --pairs`: outputs of generators and the recordings that they were made from."""

from __future__ import annotations

import csv
import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from configs.schema import DecodeConfig, SynthesizeConfig
from data.errors import ForensicError, InputError, UsageError
from data.hook import Hook, silent
from data.labels import SPLITS
from data.media import MediaInfo
from data.text import printable
from pipeline.forging.sources import Fake, Material, Source, Tracks, rows_of, source_of
from pipeline.media.inspect import inspect

COLUMNS = ("fake", "authentic", "generator", "kind", "tracks")
"""Columns that the table must have."""

OPTIONAL = ("identity", "group", "split", "start_s", "end_s", "fit")
"""Columns that it may have: the person, the recording conditions, the split, where the fake is forged, and whether its
timing is `known` to be that of the authentic file, so that it need not be measured."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """A row of the table; without `fake` an authentic recording alone, without `authentic` a fake alone."""

    row: int
    fake: Path | None
    authentic: Path | None
    generator: str
    tracks: Tracks
    identity: str
    group: str
    split: str
    within_s: tuple[float, float] | None
    fit_known: bool


def find_pairs(table: Path, config: SynthesizeConfig, hook: Hook = silent) -> Material:
    """The sources that the rows of `table` name, each with the fakes that were made of it.

    Paths count from the folder of the table. A generator's split is that of its row, else that of `config.families`,
    else train; all rows of a person are in one split. A row that cannot be used is left out, with its number and the
    reason; the line of the header is row 1.

    Raises UsageError when the table lacks a column or has one too many, InputError when no row can be used.
    """
    left_out: dict[str, str] = {}
    pairs: list[Pair] = []
    checks = _Checks(config)
    rows = list(_read(table))
    for done, (row, cells) in enumerate(rows, start=1):
        try:
            pairs.append(checks.pair(row, cells, table.parent))
        except InputError as error:
            _leave_out(left_out, f"row {row}", error)
        hook("read the pairs", done, len(rows))
    sources = []
    grouped: dict[Path, list[Pair]] = {}
    for pair in pairs:
        first = pair.authentic if pair.authentic is not None else pair.fake
        assert first is not None
        grouped.setdefault(first, []).append(pair)
    for path, group in grouped.items():
        try:
            sources.append(_source(path, group, checks.info(path), config))
        except InputError as error:
            for pair in group:
                _leave_out(left_out, f"row {pair.row}", error)
    if not sources:
        raise InputError("no row can be used", table, "see the warnings above")
    return Material(table.parent, tuple(sources), (), left_out)


class _Checks:
    """The checks of each row, and across rows."""

    def __init__(self, config: SynthesizeConfig) -> None:
        self._config = config
        self._generators: dict[str, tuple[str, int]] = {}
        self._people: dict[str, tuple[str, int]] = {}
        self._roles: dict[Path, tuple[str, int]] = {}
        self._recordings: dict[Path, tuple[str, int]] = {}
        self._infos: dict[Path, MediaInfo] = {}

    def pair(self, row: int, cells: Mapping[str, str], root: Path) -> Pair:
        """The checked row. Raises InputError that says what is wrong with it."""
        fake, authentic = (root / cells[name] if cells[name] else None for name in ("fake", "authentic"))
        if fake is None and authentic is None:
            raise InputError("names neither a fake nor an authentic file")
        if fake is not None and not cells["generator"]:
            raise InputError("names no generator", fix="say what made the fake")
        tracks = _tracks(cells["tracks"]) if fake is not None else "both"
        for path in (fake, authentic):
            if path is not None:
                self.info(path)
        if cells["fit"] not in ("", "known"):
            raise InputError(f"unknown fit '{cells['fit']}'", fix="write known, or nothing")
        self._present(fake, authentic, tracks)
        for path, role in ((fake, "fake"), (authentic, "authentic")):
            if path is not None:
                self._same_role(path, role, row)
        identity = cells["identity"] or (authentic or fake or root).stem
        split = self._split(cells, identity)
        if fake is not None:
            _agree(self._generators, cells["generator"], split, row, "the generator")
        _agree(self._people, identity, split, row, "the person")
        if authentic is not None:
            # What is made of one recording is one source, with one person and one split.
            before, first = self._recordings.setdefault(authentic, (identity, row))
            if before != identity:
                raise InputError(f"shows '{identity}' here and '{before}' in row {first}", authentic)
        return Pair(
            row,
            fake,
            authentic,
            cells["generator"],
            tracks,
            identity,
            cells["group"],
            split,
            _within(cells),
            cells["fit"] == "known",
        )

    def info(self, path: Path) -> MediaInfo:
        """Facts of the file at `path`. Raises InputError when it cannot be opened."""
        if path not in self._infos:
            if not path.is_file():
                raise InputError("is not there", path, "paths count from the folder of the table")
            decode = DecodeConfig()
            self._infos[path] = inspect(path, decode.max_pixels, decode.max_duration_s)
        return self._infos[path]

    def _present(self, fake: Path | None, authentic: Path | None, tracks: Tracks) -> None:
        for track, name in (("visual", "picture"), ("audio", "sound")):
            if tracks not in (track, "both"):
                continue
            for path in (fake, authentic):
                if path is None or fake is None:
                    continue
                info = self.info(path)
                if (info.video if track == "visual" else info.audio) is None:
                    raise InputError(f"has no {name}, which the tracks '{tracks}' need", path)
        if fake is not None and authentic is not None and _digest(fake) == _digest(authentic):
            raise InputError("is the same file as its fake", authentic, "nothing would be forged")

    def _same_role(self, path: Path, role: str, row: int) -> None:
        known, first = self._roles.setdefault(path, (role, row))
        if known != role:
            raise InputError(
                f"is {role} here and {known} in row {first}",
                path,
                "are the two columns swapped in one of them?",
            )

    def _split(self, cells: Mapping[str, str], identity: str) -> str:
        if cells["split"] and cells["split"] not in SPLITS:
            raise InputError(f"unknown split '{cells['split']}'", fix=f"name {', '.join(SPLITS)}, or none")
        fixed = {
            f"the generator '{cells['generator']}'": self._config.split_of_generator(cells["generator"]),
            f"the person '{identity}'": self._config.split_of_person(identity),
        }
        wanted = cells["split"] or next((split for split in fixed.values() if split), "")
        wanted = wanted or self._people.get(identity, ("train", 0))[0]
        for what, split in fixed.items():
            if split and split != wanted:
                raise InputError(f"{what} belongs to {split}, the row to {wanted}")
        return wanted


def _agree(rows: dict[str, tuple[str, int]], name: str, split: str, row: int, role: str) -> None:
    before, first = rows.setdefault(name, (split, row))
    if before != split:
        raise InputError(
            f"{role} '{name}' is in two splits: {before} in row {first}, {split} here",
            fix="choose one of them",
        )


def _source(path: Path, group: list[Pair], info: MediaInfo, config: SynthesizeConfig) -> Source:
    first = group[0]
    fakes = tuple(
        Fake(pair.fake, pair.generator, pair.tracks, pair.within_s, pair.fit_known, pair.row)
        for pair in group
        if pair.fake is not None
    )
    alone = first.authentic is None
    forged = len(fakes) if alone else len(fakes) * config.variants
    # As many authentic clips beside the forged ones of a recording as the share of authentic clips asks for.
    real = 0 if alone else max(1, round(forged * config.real_share / max(1e-6, 1 - config.real_share)))
    return source_of(
        path, first.identity, first.group, first.split, info, config, variants=real + forged, fakes=fakes
    )


def _read(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        rows = list(rows_of(table))
        with table.open(newline="", encoding="utf-8-sig") as lines:
            header = lines.readline()
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror})", table) from error
    names = [
        cell.strip().strip('"').lower()
        for cell in next(csv.reader([header], delimiter=max(",;\t", key=header.count)), [])
    ]
    missing = [name for name in COLUMNS if name not in names]
    unknown = [name for name in names if name not in (*COLUMNS, *OPTIONAL)]
    for fault, columns in (("lacks the column", missing), ("has an unknown column", unknown)):
        if columns:
            raise UsageError(
                f"row 1 {fault} {', '.join(map(repr, columns))}",
                table,
                f"columns are {', '.join(COLUMNS)}, and may be {', '.join(OPTIONAL)}",
            )
    for number, row in enumerate(rows, start=2):
        if any(row.values()):
            yield number, {name: row.get(name, "") for name in (*COLUMNS, *OPTIONAL)}


def _tracks(text: str) -> Tracks:
    for choice in get_args(Tracks):
        if text == choice:
            return choice
    raise InputError(f"unknown tracks '{text}'", fix="name visual, audio or both")


def _within(cells: Mapping[str, str]) -> tuple[float, float] | None:
    given = cells["start_s"], cells["end_s"]
    if not any(given):
        return None
    try:
        start_s, end_s = (float(cell) for cell in given)
    except ValueError:
        raise InputError(f"start_s and end_s are no numbers: {given}") from None
    if not 0 <= start_s < end_s:
        raise InputError(f"start_s {start_s:g} and end_s {end_s:g} are no interval")
    return start_s, end_s


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _leave_out(left_out: dict[str, str], name: str, error: ForensicError) -> None:
    left_out[name] = str(error)
    _LOG.warning("left out: %s: %s", name, printable(str(error)))
