"""The authentic material of a data set: clips and voices, the people in them, and each person's split."""

from __future__ import annotations

import csv
import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from configs.schema import DecodeConfig, SynthesizeConfig
from data.errors import ForensicError, InputError, UsageError
from data.hook import Hook, silent
from data.labels import SPLITS
from data.manifest import AUDIO_SUFFIXES, RECIPE, SIDECAR, Manifest
from data.media import MediaInfo
from data.text import printable
from pipeline.forging.recordings import Contour, contour, repeats
from pipeline.media.inspect import inspect
from pipeline.media.whole import read_sound

_LOG = logging.getLogger(__name__)

_MADE_HERE = (RECIPE, SIDECAR)


Tracks = Literal["visual", "audio", "both"]
"""What a generator made of a clip."""


@dataclass(frozen=True)
class Fake:
    """A generator's version of a source, forged throughout or `within_s`; `row` is its row in the table.

    With `fit_known` it runs in time with the source, and that is not measured.
    """

    path: Path
    generator: str
    tracks: Tracks
    within_s: tuple[float, float] | None
    fit_known: bool
    row: int


@dataclass(frozen=True)
class Source:
    """One authentic file: the person in it, the recording conditions, the split, and how many pieces it is cut into.

    `variants` clips are made of each piece. `fakes` are spliced into it; None where the forger's own manipulations
    are. A fake without a counterpart is its own source.
    """

    path: Path
    identity: str
    group: str
    split: str
    pieces: int
    duration_s: float
    pixels: int
    variants: int
    fakes: tuple[Fake, ...] | None = None


@dataclass(frozen=True)
class Voice:
    """A recording of speech whose words are used in forgeries of clips of its own split."""

    path: Path
    identity: str
    split: str


@dataclass(frozen=True)
class Material:
    """What a data set is made of; `left_out` maps files to the reason why they are not used."""

    root: Path
    clips: tuple[Source, ...]
    voices: tuple[Voice, ...]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class _Person:
    identity: str
    group: str = ""
    split: str = ""


def find_material(
    root: Path, config: SynthesizeConfig, seed: int, decode: DecodeConfig, hook: Hook = silent
) -> Material:
    """Clips and voices below `root`, split so that no identity is in two splits.

    Identities come from a CSV in `root` (columns `clip` or `file`; `identity` or `speaker`; optional `group` and
    `split`), else from the folder that a file lies in, else from its name. Each group is spread over the splits.
    Files that by their ending hold sound only lend their voices; where there is nothing else, or with
    `config.forge_voices`, they are forged too. One that holds the sound of a clip lends nothing: it is that person
    under another name.

    Files of sets made by this forger are skipped.

    Raises InputError when there is no authentic media file, UsageError when a table cannot be read or puts a person
    into two splits.
    """
    files = _authentic(root)
    people = _people(root, files)
    named = {file: people.get(file.as_posix(), _Person(_identity_of(file))) for file in files}
    split = _splits(named.values(), config, seed)
    sound_only = [file for file in files if file.suffix.lower() in AUDIO_SUFFIXES]
    forged = (
        files
        if config.forge_voices or len(sound_only) == len(files)
        else sorted(set(files) - set(sound_only))
    )
    clips, left_out = [], {}
    for done, file in enumerate(forged, start=1):
        try:
            info = inspect(root / file, decode.max_pixels, decode.max_duration_s)
            who = named[file]
            clips.append(source_of(root / file, who.identity, who.group, split[who.identity], info, config))
        except ForensicError as error:
            _LOG.warning("left out: %s", printable(str(error)))
            left_out[file.as_posix()] = error.what
        hook("inspect clips", done, len(forged))
    lending = sorted(set(sound_only) - set(forged))
    repeated = _repeats(root, lending, forged, decode, hook)
    for voice, clip in repeated.items():
        left_out[voice] = f"the same recording as {clip}"
        _LOG.info(
            "%s is not used as a voice: it is the same recording as %s", printable(voice), printable(clip)
        )
    voices = tuple(
        Voice(root / file, named[file].identity, split[named[file].identity])
        for file in sound_only
        if file.as_posix() not in repeated
    )
    return Material(root, tuple(clips), voices, left_out)


def spoken(material: Material, split: str) -> list[Path]:
    """Files of `split` that may hold speech: voices, then clips."""
    return [one.path for one in material.voices if one.split == split] + [
        one.path for one in material.clips if one.split == split
    ]


def _repeats(
    root: Path, voices: Sequence[Path], clips: Sequence[Path], decode: DecodeConfig, hook: Hook
) -> dict[str, str]:
    """Files with the sound of a clip under another name: with them a person's words would replace the same words."""
    if not voices or not clips:
        return {}
    heard: dict[str, Contour] = {}
    files = [*voices, *clips]
    for done, file in enumerate(files, start=1):
        try:
            samples = read_sound(root / file, decode)
        except ForensicError:
            samples = None  # said elsewhere, where the file is used
        if samples is not None:
            heard[file.as_posix()] = contour(samples)
        hook("find repeated recordings", done, len(files))
    spoken, shown = ({name.as_posix() for name in names} & heard.keys() for names in (voices, clips))
    return repeats({k: heard[k] for k in sorted(spoken)}, {k: heard[k] for k in sorted(shown)}, hook)


def source_of(
    path: Path,
    identity: str,
    group: str,
    split: str,
    info: MediaInfo,
    config: SynthesizeConfig,
    variants: int | None = None,
    fakes: tuple[Fake, ...] | None = None,
) -> Source:
    """The file at `path`, which `info` describes, as a source. Raises InputError when it is too short."""
    lengths_s = [stream.duration_s for stream in (info.video, info.audio) if stream is not None]
    known_s = [length for length in [*lengths_s, info.duration_s] if length is not None]
    least_s, most_s = config.clip_s
    # Nothing known: one piece, as long as the file will turn out to be.
    duration_s = max(known_s) if known_s else most_s
    if duration_s < least_s:
        raise InputError(
            f"lasts {duration_s:.2f} s, shorter than {least_s:g} s",
            path,
            "lower synthesize.clip_s or leave it out",
        )
    whole, rest_s = divmod(duration_s, most_s)
    pixels = 0
    if info.video is not None:
        shrink = min(1.0, config.short_side / max(1, min(info.video.width, info.video.height)))
        pixels = round(info.video.width * info.video.height * shrink**2)
    return Source(
        path,
        identity,
        group,
        split,
        int(whole) + (rest_s >= least_s),
        duration_s,
        pixels,
        config.variants if variants is None else variants,
        fakes,
    )


def _authentic(root: Path) -> list[Path]:
    """Media files below `root`, without those of data sets that were forged here, which would count as authentic."""
    files = [sample.file for sample in Manifest.folder(root).samples]
    folders = {folder for file in files for folder in file.parents}
    forged = {folder for folder in folders if any((root / folder / name).is_file() for name in _MADE_HERE)}
    authentic = [file for file in files if forged.isdisjoint(file.parents)]
    if not authentic:
        raise InputError("holds only clips that were forged", root, "give the folder of the authentic clips")
    if forged:
        where = ", ".join(sorted(printable((root / folder).as_posix()) for folder in forged))
        _LOG.warning(
            "%d files of forged data sets are not authentic clips: %s", len(files) - len(authentic), where
        )
    return authentic


def _people(root: Path, files: Sequence[Path]) -> dict[str, _Person]:
    there = {file.as_posix() for file in files}
    people: dict[str, _Person] = {}
    for table in sorted(root.glob("*.csv")):
        named: dict[str, _Person] = {}
        for row in rows_of(table):
            name = row.get("clip") or row.get("file")
            person = row.get("identity") or row.get("speaker")
            if not name or not person:
                continue
            split = row.get("split") or ""
            if split and split not in SPLITS:
                fix = f"name {', '.join(SPLITS)}, or leave the column out"
                raise UsageError(f"unknown split {split!r} of {name}", table, fix)
            if name not in there:
                # Written on Windows, or by a program that starts from the folder itself.
                name = PurePosixPath(name.replace("\\", "/")).as_posix()
            named[name] = _Person(person, row.get("group") or "", split)
        if named and there.isdisjoint(named):
            _LOG.warning(
                "%s: names files that do not exist, such as %s; names are relative to the folder of the table",
                printable(str(table)),
                printable(next(iter(named))),
            )
        people.update(named)
    unnamed = sorted(there - people.keys())
    if unnamed and len(unnamed) < len(there):
        _LOG.warning(
            "%d files are in no table, such as %s; the person is taken from their folder or name",
            len(unnamed),
            printable(unnamed[0]),
        )
    return people


def rows_of(table: Path) -> Iterator[dict[str, str]]:
    """Rows by column in lower case; spreadsheets write a mark before the text, and semicolons or tabs in it."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            header = lines.readline()
            delimiter = max(",;\t", key=header.count)
            lines.seek(0)
            reader = csv.reader(lines, delimiter=delimiter)
            columns = [name.strip().lower() for name in next(reader, [])]
            for row in reader:
                yield dict(zip(columns, (value.strip() for value in row), strict=False))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        fix = "save it as CSV in UTF-8, or move it out of the folder"
        raise UsageError(f"cannot be read as a table ({error})", table, fix) from error


def _identity_of(file: Path) -> str:
    return file.parent.as_posix() if file.parent != Path() else file.stem


def _splits(people: Iterable[_Person], config: SynthesizeConfig, seed: int) -> dict[str, str]:
    """Split of each identity: what a table says, else the split that lacks most, group by group."""
    groups: dict[str, str] = {}
    chosen: dict[str, str] = {}
    for person in people:
        groups[person.identity] = max(person.group, groups.get(person.identity, ""))
        fixed = person.split or config.split_of_person(person.identity)
        if fixed:
            if chosen.get(person.identity, fixed) != fixed:
                fix = "put all clips of a person into one split"
                raise UsageError(f"{person.identity} is in two splits", fix=fix)
            chosen[person.identity] = fixed
    share = dict(zip(SPLITS, (config.train_share, config.dev_share), strict=False))
    share["test"] = 1 - config.train_share - config.dev_share
    count = dict.fromkeys(SPLITS, 0)
    # Groups one after the other, people of a group in an order that only the seed and their names decide.
    for identity in sorted(groups, key=lambda name: (groups[name], _hash(seed, name))):
        if identity not in chosen:
            total = sum(count.values()) + 1
            chosen[identity] = max(SPLITS, key=lambda name: share[name] * total - count[name])
        count[chosen[identity]] += 1
    return chosen


def find_splits(people: Iterable[tuple[str, str]], config: SynthesizeConfig, seed: int) -> dict[str, str]:
    """Split of each identity of `people`, pairs of identity and group, as `find_material` draws them."""
    return _splits((_Person(identity, group) for identity, group in people), config, seed)


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(os.fsencode(f"{seed}:{name}")).digest()
