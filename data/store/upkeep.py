"""Upkeep of a store: its contents, its integrity, and what can be removed."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError, StoreError
from data.hook import Hook, silent
from data.store.claims import FOLDER as CLAIMS
from data.store.claims import is_live
from data.store.entry import Extent, FeatureReader, StoreKey, entry_key, entry_name
from data.store.ledger import Ledger, LedgerRow, compact
from data.store.packing import drop, needs_index, rebuild, tidy
from data.store.packs import FOLDER as PACKS
from data.store.packs import pack_name
from data.store.people import clip_key
from data.store.places import is_abandoned, read_object
from data.store.store import FeatureStore

_HEADERS = {True: 20_000, False: 1_000}  # of loose entries that are looked into, in a folder and elsewhere
_BATCH = 1_000


@dataclass(frozen=True)
class Held:
    """What a store holds of one extractor; `steps` and `hours` are None where loose entries are too many to look
    into one by one."""

    extractor: str
    loose: int
    packed: int
    size: int
    steps: int | None
    hours: float | None


@dataclass(frozen=True)
class Contents:
    """What is in a store: entries by extractor, packs, files in the ledger by status, failures by kind, the hours of
    media that were extracted, and what living and dead processes have left (unfinished files, claims)."""

    root: str
    extractors: tuple[Held, ...]
    packs: int
    pack_size: int
    files: dict[str, int]
    failures: dict[str, int]
    media_hours: float
    unfinished: int
    abandoned: int
    claims: int
    dead_claims: int

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Damage:
    """One damaged entry: its key (None for the index of the packs) and what is wrong where."""

    key: StoreKey | None
    packed: bool
    error: StoreError


@dataclass(frozen=True)
class Removed:
    """One kind of thing that `collect` removes: how many, and how many bytes that frees."""

    what: str
    count: int
    size: int = 0


def existing_store(root: str) -> FeatureStore:
    """The store at a folder or URL.

    Raises InputError when the folder is not there, UsageError for a URL that cannot be used.
    """
    store = FeatureStore(root)
    if isinstance(store.root, Path) and not store.root.is_dir():
        raise InputError("no such store", store.root, "check the path; pipeline extract makes a store")
    return store


def contents_of(store: FeatureStore, hook: Hook = silent) -> Contents:
    """What is in a store.

    Raises StoreError when the index of its packs is damaged or the store cannot be read.
    """
    index, tallies = store.packs.index(), defaultdict[str, _Tally](_Tally)
    for number, extractor in enumerate(index.extractors):
        rows = index.rows[index.rows["extractor"] == number]
        tally = tallies[extractor]
        tally.packed, tally.size = len(rows), int(rows["size"].sum(dtype=np.int64))
        tally.steps = int(rows["steps"].sum(dtype=np.int64))
        tally.seconds = float(rows["seconds"].sum(dtype=np.float64))
    limit = _HEADERS[isinstance(store.root, Path)]
    for done, (key, entry) in enumerate(store.loose()):
        hook("count", done)
        tally = tallies[key.extractor]
        tally.loose, tally.size = tally.loose + 1, tally.size + entry.size
        twice = index.find(key) is not None
        tally.packed -= twice  # the loose one wins
        tally.whole &= twice or done < limit
        with contextlib.suppress(StoreError):  # a damaged one is for `verify` to tell
            if tally.whole and not twice:
                reader = FeatureReader(store.place, lambda *_, entry=entry: Extent(entry.name), key)
                tally.steps += reader.n
                tally.seconds += float(reader.n * reader.grid.step)
    packs = [entry.size for entry in store.place.list(PACKS) if entry.name.endswith(".tar")]
    files, failures, media_s = Counter[str](), Counter[str](), 0.0
    for row in Ledger(store).load():
        files[row.status] += 1
        if row.status == "failed":
            failures[row.kind] += 1
        elif row.status != "removed":
            media_s += row.duration_s
    unfinished, claims = list(store.place.unfinished()), list(_claims(store))
    return Contents(
        str(store.root),
        tuple(
            tallies[name].held(name)
            for name in sorted(tallies)
            if tallies[name].loose or tallies[name].packed
        ),
        len(packs),
        sum(packs),
        dict(files),
        dict(failures),
        media_s / 3600,
        len(unfinished),
        sum(map(is_abandoned, unfinished)),
        len(claims),
        sum(dead for _, dead in claims),
    )


def find_damage(store: FeatureStore, hook: Hook = silent) -> Iterator[Damage]:
    """Compare every entry with its checksum; yields the damaged ones.

    Entries that are packed or removed meanwhile count as intact. Packs whose index is damaged so far that it cannot be
    read are not looked into.
    """
    done = 0
    for key, found in store.loose():
        hook("verify", done := done + 1)
        error = _check(store, key, Extent(found.name))
        if error is not None and store.place.status(found.name) is not None:
            yield Damage(key, False, error)
    try:
        store.packs.verify()
    except StoreError as damage:
        yield Damage(None, True, damage)
        if needs_index(store):
            return
    index = store.packs.index()
    total = done + len(index.rows)
    for number in np.unique(index.rows["pack"]).tolist():
        for entry in index.entries(number):
            hook("verify", done := done + 1, total)
            extent = Extent(pack_name(entry.pack), entry.offset, entry.size)
            error = _check(store, entry.key, extent)
            if error is not None and store.packs.index().find(entry.key) == extent:
                yield Damage(entry.key, True, error)


def remove_damaged(store: FeatureStore, damages: Sequence[Damage]) -> int:
    """Remove damaged entries, so that the next extraction makes them again; returns how many.

    With the features of people goes the clip's own entry, which names them. A packed entry is taken out of the index.
    The ledger lists the files no longer as done. Raises UsageError while another process changes the packs.
    """
    keys = [(damage.key, damage.packed) for damage in damages if damage.key is not None]
    clips = {clip_key(key) for key, _ in keys} - {key for key, _ in keys}
    store.place.remove(entry_name(key) for key in (*clips, *(key for key, packed in keys if not packed)))
    held = [] if needs_index(store) else [key for key in clips if store.packs.index().find(key) is not None]
    drop(store, [*held, *(key for key, packed in keys if packed)])
    _not_done(store, {key.media for key, _ in keys})
    return len(keys)


def collect(
    store: FeatureStore, dry: bool = False, extractor: str | None = None, hook: Hook = silent
) -> Iterator[Removed]:
    """Remove leftovers: unfinished files and claims of dead processes, loose copies of packed entries, packs
    and tables that no index names, packs that are more than half dead, empty folders, ledger files of runs that have
    ended but for one. With `extractor`, its entries as well, and the ledger lists their files no longer as done. With
    `dry` only tell.

    A damaged index is made again first. Files and claims of living processes are never touched.

    Raises UsageError while another process changes the packs, StoreError when the disk is full.
    """
    hook("index")
    if needs_index(store):
        yield Removed("index of the packs made again", 1)
        if dry:
            return  # what else there is only the new index can tell
        rebuild(store)
    if extractor is not None:
        yield from _remove_extractor(store, extractor, dry, hook)
    hook("leftovers")
    files = [path for path in store.place.unfinished() if is_abandoned(path)]
    size = 0
    for path in files:
        with contextlib.suppress(FileNotFoundError):  # another process may remove it meanwhile
            size += path.stat().st_size
    yield Removed("unfinished files", len(files), size)
    claims = [name for name, dead in _claims(store) if dead]
    yield Removed("claims of dead processes", len(claims))
    if not dry:
        for path in files:
            path.unlink(missing_ok=True)
        store.place.remove(claims)
    hook("packs")
    waste = tidy(store, dry)
    copies = sum(entry_key(name) is not None for name in waste.names)
    yield Removed("loose copies of packed entries", copies)
    yield Removed("packs and tables", len(waste.names) - copies, waste.size)
    hook("ledger")
    yield Removed("ledger files put into one", len(compact(store, dry)))
    yield Removed("empty folders", store.place.prune(dry))


@dataclass
class _Tally:
    """Counts of one extractor; `whole` while every loose entry was looked into."""

    loose: int = 0
    packed: int = 0
    size: int = 0
    steps: int = 0
    seconds: float = 0.0
    whole: bool = True

    def held(self, extractor: str) -> Held:
        """The counts for users."""
        hours = self.seconds / 3600
        amounts = (self.steps, hours) if self.whole else (None, None)
        return Held(extractor, self.loose, self.packed, self.size, *amounts)


def _check(store: FeatureStore, key: StoreKey, extent: Extent) -> StoreError | None:
    try:
        FeatureReader(store.place, lambda *_: extent, key).verify()
    except StoreError as error:
        return error
    return None


def _claims(store: FeatureStore) -> Iterator[tuple[str, bool]]:
    """Name of every claim, and whether its owner is dead."""
    for claim in store.place.list(CLAIMS):
        owner = read_object(store.place, claim.name)
        if owner is not None:
            yield claim.name, not is_live(owner.decode(errors="replace"), claim.mtime)


def _not_done(store: FeatureStore, media: Set[str]) -> None:
    """Let the ledger list files of these contents no longer as done, for any pair of extractors: what is there still
    is found by the next extraction, and not computed again."""
    with Ledger(store) as ledger:
        for row in list(ledger.load()):
            if row.sha256 in media and row.status in ("done", "partial"):
                ledger.append(LedgerRow(row.file, row.size, row.mtime_ns, row.sha256, row.setup, "removed"))


def _remove_extractor(store: FeatureStore, extractor: str, dry: bool, hook: Hook) -> Iterator[Removed]:
    count = size = 0
    batch: list[str] = []
    media = set[str]()
    for key, found in store.loose():
        if clip_key(key).extractor == extractor:
            hook("entries", count := count + 1)
            size += found.size
            batch.append(found.name)
            media.add(key.media)
        if len(batch) == _BATCH and not dry:
            store.place.remove(batch)
            batch = []
    packed = [entry for entry in store.packs.index().entries() if clip_key(entry.key).extractor == extractor]
    if not dry:
        store.place.remove(batch)
        drop(store, [entry.key for entry in packed])
        _not_done(store, media | {entry.key.media for entry in packed})
    yield Removed("loose entries of that extractor", count, size)
    yield Removed("packed entries of that extractor", len(packed), sum(entry.size for entry in packed))
