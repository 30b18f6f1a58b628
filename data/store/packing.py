"""Changes to the packs of a store: pack loose entries, drop, rewrite and re-index.

The order makes a kill harmless at any point: a pack appears whole, then the index that names it, and only then go the
files it holds. What a kill leaves (a pack that no index names, a loose copy of a packed entry) `tidy` removes.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from data.errors import StoreError, UsageError
from data.store.entry import Extent, FeatureReader, StoreKey, entry_name
from data.store.packs import EMPTY, FOLDER, INDEX, Index, Packed, pack_name, table_name
from data.store.shards import BLOCK, PackResult, Roll, members
from data.store.store import FeatureStore

PACK_BYTES = 1 << 30
"""About how large a pack becomes; an entry is never split."""

_NUMBER = re.compile(rf"{FOLDER}/(?:index-)?(\d{{6,}})\.(tar|npy)")
Progress = Callable[[int], None]
"""Told how many more entries are done."""


class Waste(NamedTuple):
    """What `tidy` removes or would remove: names of objects, and the packs that it rewrites for being half dead."""

    names: list[str]
    size: int
    rewritten: list[int]


@contextlib.contextmanager
def exclusive(store: FeatureStore) -> Iterator[None]:
    """Only one process at a time changes the packs of a store.

    Raises UsageError while another one does, and where the store knows no exclusive creation.
    """
    if not store.place.exclusive:
        problem = "its entries cannot be packed: this kind of store lacks exclusive creation of files"
        raise UsageError(problem, store.root, "leave them unpacked, or use S3 or a folder")
    with store.claim("packs") as mine:
        if not mine:
            raise UsageError(
                "another process is changing the packs of this store",
                store.root,
                "try again when it has finished",
            )
        yield


def pack(
    store: FeatureStore, pack_bytes: int = PACK_BYTES, progress: Progress = lambda _: None
) -> PackResult:
    """Pack all loose entries into files of about `pack_bytes`.

    Each is verified inside its pack; a damaged one stays loose and is reported. An entry that is written while this
    runs stays loose. Raises what `exclusive` raises, StoreError when the disk is full.
    """
    outcome = PackResult()
    with exclusive(store):
        if needs_index(store):  # after a kill of the first packing, too
            _rebuild(store)
        roll = Roll(store, pack_bytes, outcome)
        try:
            for key, _ in store.loose():
                _add_loose(store, roll, key)
                progress(1)
            roll.close()
        finally:
            roll.discard()
    return outcome


def drop(store: FeatureStore, keys: Iterable[StoreKey]) -> None:
    """Take entries out of the index, so that they count as absent; their bytes go when `tidy` rewrites the pack.

    Raises what `exclusive` raises.
    """
    gone = list(keys)
    if gone:
        with exclusive(store):
            store.packs.publish(store.packs.index().changed(dropped=gone))


def tidy(store: FeatureStore, dry: bool, pack_bytes: int = PACK_BYTES) -> Waste:
    """Remove packs and tables that no index names, rewrite packs that are more than half dead, and remove loose
    copies of packed entries; with `dry` only tell.

    Raises what `exclusive` raises, StoreError for a damaged index.
    """
    with contextlib.nullcontext() if dry else exclusive(store):
        index = store.packs.index()
        live = _live(index)
        objects = {each.name: each for each in store.place.list(FOLDER)}
        sizes = {n: objects[pack_name(n)].size for n in live if pack_name(n) in objects}
        rewritten = [n for n, size in sizes.items() if live[n] * 2 < size]
        named = {INDEX, table_name(index.number), *map(pack_name, live)}
        names = [name for name in objects if name not in named and _NUMBER.fullmatch(name)]
        copies = (
            [each for each in store.loose() if _is_copy(store, index, each[0])] if len(index.rows) else []
        )
        names += [each.name for _, each in copies]
        size = sum(objects[name].size for name in names if name in objects)
        size += sum(each.size for _, each in copies) + sum(sizes[n] - live[n] for n in rewritten)
        if not dry:
            store.place.remove(names)
            if rewritten:
                _rewrite(store, rewritten, pack_bytes)
    return Waste([*names, *map(pack_name, rewritten)], size, rewritten)


def needs_index(store: FeatureStore) -> bool:
    """Whether the index is damaged, or gone while there are packs."""
    try:
        store.packs.index()
    except StoreError:
        return True
    lost = store.place.status(INDEX) is None
    return lost and any(each.name.endswith(".tar") for each in store.place.list(FOLDER))


def rebuild(store: FeatureStore) -> None:
    """Rebuild the index from the headers of the packs; of entries packed twice the later one counts.

    An entry that was dropped for being damaged comes back if its header is whole: verify afterwards. What cannot be
    read is logged as a warning. Raises what `exclusive` raises.
    """
    with exclusive(store):
        _rebuild(store)


def _add_loose(store: FeatureStore, roll: Roll, key: StoreKey) -> None:
    name = entry_name(key)
    with (
        contextlib.suppress(FileNotFoundError),
        store.place.open(name) as source,
    ):  # it may have gone meanwhile
        if _is_copy(store, roll.index, key):
            store.place.remove([name])  # a kill came between the index and this
            return
        damage = roll.add(key, source, 0, source.size, source.stamp)
        if damage is not None:
            roll.outcome.damaged.append(StoreError(damage.what, store.path(key), damage.fix))


def _is_copy(store: FeatureStore, index: Index, key: StoreKey) -> bool:
    """Whether a loose entry is packed as well, with the same content and intact."""
    packed = index.find(key)
    if packed is None:
        return False
    try:
        loose, other = (
            FeatureReader(store.place, lambda *_, extent=extent: extent, key)
            for extent in (Extent(entry_name(key)), packed)
        )
        if loose.checksum != other.checksum:
            return False
        other.verify()
    except StoreError:
        return False
    return True


def _rewrite(store: FeatureStore, packs: Iterable[int], pack_bytes: int) -> None:
    roll = Roll(store, pack_bytes, PackResult())
    try:
        for number in packs:
            with store.place.open(pack_name(number)) as source:
                for entry in roll.index.entries(number):
                    # One that is damaged keeps its pack, for `verify` to name.
                    roll.add(entry.key, source, entry.offset, entry.size)
        roll.close()
    finally:
        roll.discard()
    live = _live(store.packs.index())
    store.place.remove(pack_name(number) for number in packs if number not in live)


def _live(index: Index) -> dict[int, int]:
    """Bytes of every pack that the index names, with the heads and padding that tar needs."""
    sizes = index.rows["size"].astype(np.int64)
    packs, inverse = np.unique(index.rows["pack"].astype(np.int64), return_inverse=True)
    totals = np.zeros(len(packs), np.int64)
    np.add.at(totals, inverse, sizes + -sizes % BLOCK + BLOCK)
    return dict(zip(packs.tolist(), totals.tolist(), strict=True))


def _rebuild(store: FeatureStore) -> None:
    numbers, entries = [0], dict[StoreKey, Packed]()
    for each in sorted(store.place.list(FOLDER)):
        match = _NUMBER.fullmatch(each.name)
        if match is not None:
            numbers.append(int(match[1]))
            if match[2] == "tar":
                entries |= {entry.key: entry for entry in members(store, each.name, int(match[1]))}
    index = replace(
        EMPTY.changed(list(entries.values())), number=max(numbers) + 1, following=max(numbers) + 1
    )
    store.packs.publish(index, anew=True)
