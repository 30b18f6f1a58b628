"""Entries rolled into uncompressed tar files, ``packs/NNNNNN.tar``, and the index that finds them.

The index is two objects. ``packs/index.json`` names the current table, the extractors and the next number of a pack;
replacing it publishes a change. The table, ``packs/index-NNNNNN.npy``, is a NumPy array of fixed-width rows sorted by
key: mapped into memory on a local store, it costs nothing to open and some twenty steps to look up. Packs and tables
never change under their names, and no name is used twice.
"""

from __future__ import annotations

import bisect
import hashlib
import io
import json
import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.errors import StoreError
from data.store.entry import Extent, StoreKey
from data.store.places import Place, writing

FOLDER = "packs"
INDEX = f"{FOLDER}/index.json"

ROW = np.dtype(
    [
        ("media", "V32"),  # the SHA-256 itself
        ("extractor", ">u2"),  # position in the list of names, which may be long
        ("pack", ">u4"),
        ("offset", ">u8"),  # of the entry in the pack, in bytes
        ("size", ">u8"),
        ("steps", ">u4"),
        ("seconds", ">f4"),  # of the grid
    ]
)
"""One packed entry. The first two fields are the key; big-endian, so that its bytes sort as it does."""

_KEY = 34
_TRUST_S = 10.0
_MEND = "run pipeline store gc, which makes it again from the packs"


class Packed(NamedTuple):
    """One entry as the index knows it: its key, where it lies, its steps and how many seconds they cover."""

    key: StoreKey
    pack: int
    offset: int
    size: int
    steps: int
    seconds: float


@dataclass(frozen=True)
class Index:
    """All packed entries: `rows` is sorted by key, `extractors` are the names that rows count, `number` that of this
    index, `following` the number of the next pack."""

    rows: NDArray[Any]
    extractors: tuple[str, ...] = ()
    number: int = 0
    following: int = 1

    def find(self, key: StoreKey) -> Extent | None:
        """Where the entry of `key` lies, None when it is not packed."""
        if key.extractor not in self.extractors:
            return None
        wanted = bytes.fromhex(key.media) + self.extractors.index(key.extractor).to_bytes(2, "big")
        at = bisect.bisect_left(self._keys, wanted)
        if at == len(self._keys) or self._keys[at] != wanted:
            return None
        row = self.rows[at]
        return Extent(pack_name(int(row["pack"])), int(row["offset"]), int(row["size"]))

    @cached_property
    def _keys(self) -> _Keys:
        return _Keys(self.rows)

    def entries(self, pack: int | None = None) -> Iterable[Packed]:
        """The entries of one pack in its order, or all by key."""
        rows = self.rows
        if pack is not None:
            rows = rows[rows["pack"] == pack]
            rows = rows[np.argsort(rows["offset"])]
        for row in rows:
            key = StoreKey(row["media"].tobytes().hex(), self.extractors[int(row["extractor"])])
            places = (int(row["pack"]), int(row["offset"]), int(row["size"]), int(row["steps"]))
            yield Packed(key, *places, float(row["seconds"]))

    def changed(self, added: Sequence[Packed] = (), dropped: Iterable[StoreKey] = ()) -> Index:
        """The next index: `added` take the place of entries with their keys, `dropped` are gone."""
        names = dict.fromkeys((*self.extractors, *(entry.key.extractor for entry in added)))
        numbers = {name: number for number, name in enumerate(names)}
        new = np.array(
            [
                (
                    bytes.fromhex(e.key.media),
                    numbers[e.key.extractor],
                    e.pack,
                    e.offset,
                    e.size,
                    e.steps,
                    e.seconds,
                )
                for e in added
            ],
            dtype=ROW,
        )
        rows = np.empty(len(self.rows) + len(new), ROW)  # joining them would swap the bytes
        rows[: len(self.rows)], rows[len(self.rows) :] = self.rows, new
        keys = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), ROW.itemsize)[:, :_KEY]
        texts = np.ascontiguousarray(keys).view(f"S{_KEY}").reshape(len(rows))
        order = np.argsort(texts, kind="stable")
        texts = texts[order]
        last = np.ones(len(rows), np.bool_)
        last[:-1] = texts[1:] != texts[:-1]
        gone = {
            bytes.fromhex(key.media) + numbers[key.extractor].to_bytes(2, "big")
            for key in dropped
            if key.extractor in numbers
        }
        if gone:
            last &= ~np.isin(texts, np.array(list(gone), dtype=texts.dtype))
        following = max([self.following, *(entry.pack + 1 for entry in added)])
        return Index(rows[order[last]], tuple(names), self.number + 1, following)


class Packs:
    """The packed entries of a place, looked up in its current index.

    Several processes may look up while one packs. On a remote store what was found is trusted for ten seconds, so
    that a batch does not ask for the index again and again; what was not found is always looked up anew.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._known: tuple[Hashable, Index] = (None, EMPTY)
        self._asked = float("-inf")

    def __reduce__(self) -> tuple[type[Packs], tuple[Place]]:
        """The index is opened anew where this is unpickled: a mapped file would be copied otherwise."""
        return Packs, (self._place,)

    def find(self, key: StoreKey, fresh: bool = False) -> Extent | None:
        """Where the entry of `key` lies, None when it is not packed; `fresh` reads the index again.

        Raises StoreError when the index is damaged.
        """
        if not (fresh or isinstance(self._place.root, Path)) and time.monotonic() - self._asked < _TRUST_S:
            extent = self._known[1].find(key)
            if extent is not None:
                return extent
        return self.index().find(key)

    def index(self) -> Index:
        """The current index, empty where nothing was packed.

        Raises StoreError when it is damaged.
        """
        for _ in range(4):
            try:
                with self._place.open(INDEX) as file:
                    stamp, content = file.stamp, b""
                    if stamp != self._known[0]:
                        content = bytes(file.read((0, file.size))[0])
            except FileNotFoundError:
                self._known = (None, EMPTY)
            else:
                if stamp != self._known[0]:
                    try:
                        self._known = (stamp, self._load(content))
                    except FileNotFoundError:
                        continue  # its table has been replaced since
            self._asked = time.monotonic()
            return self._known[1]
        raise StoreError("the table of the index is not there", self._place.at(INDEX), _MEND)

    def publish(self, index: Index, anew: bool = False) -> None:
        """Make `index` the current one: first its table, then the small object that names it.

        Raises StoreError when another process has published one meanwhile; with `anew` it replaces any, even a
        damaged one.
        """
        if not anew and self.index().number != index.number - 1:
            problem = "another process is changing the packs of this store"
            raise StoreError(problem, self._place.root, "try again when it has finished")
        table, out = table_name(index.number), io.BytesIO()
        np.save(out, index.rows)
        payload = out.getbuffer()
        temporary = self._place.scratch()
        try:
            with writing(temporary):
                temporary.write_bytes(payload)
            self._place.publish(temporary, table)
        finally:
            temporary.unlink(missing_ok=True)
        head = {
            "table": table,
            "sha256": hashlib.sha256(payload).hexdigest(),
            "entries": len(index.rows),
            "extractors": index.extractors,
            "number": index.number,
            "following": index.following,
        }
        self._place.write(INDEX, json.dumps(head, indent=1).encode())
        self._place.remove([table_name(index.number - 1)])

    def verify(self) -> None:
        """Compare the table with its checksum.

        Raises StoreError when they differ or the index is damaged.
        """
        if not len(self.index().rows):
            return
        with self._place.open(INDEX) as file:
            head = json.loads(file.read((0, file.size))[0])
        digest = hashlib.sha256()
        with self._place.open(head["table"]) as file:
            for at in range(0, file.size, file.chunk):
                digest.update(file.read((at, file.chunk))[0])
        if digest.hexdigest() != head["sha256"]:
            raise StoreError(
                "the table of the index does not match its checksum", self._place.at(head["table"]), _MEND
            )

    def _load(self, content: bytes) -> Index:
        try:
            head = json.loads(content)
            table, number = table_name(head["number"]), head["number"]
            path = self._place.at(table)
            if isinstance(path, Path):
                rows = np.load(path, mmap_mode="r") if head["entries"] else EMPTY.rows
            else:
                with self._place.open(table) as file:
                    rows = np.load(io.BytesIO(file.read((0, file.size))[0]))
            if rows.dtype != ROW or rows.shape != (head["entries"],):
                raise ValueError("its table is another one")
            extractors, following = tuple(map(str, head["extractors"])), int(head["following"])
        except FileNotFoundError:
            raise
        except (ValueError, KeyError, TypeError, EOFError, OSError, RecursionError) as error:
            raise StoreError(
                f"the index of the packs is damaged ({error})", self._place.at(INDEX), _MEND
            ) from None
        return Index(rows, extractors, number, following)


class _Keys(Sequence[bytes]):
    """The keys of the rows, each taken out when it is looked at."""

    def __init__(self, rows: NDArray[Any]) -> None:
        self._count, self._bytes = len(rows), memoryview(rows.view(np.uint8))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, at: Any) -> Any:
        start = at * ROW.itemsize
        return bytes(self._bytes[start : start + _KEY])


EMPTY = Index(np.zeros(0, ROW))
"""The index of a store without packs."""


def pack_name(number: int) -> str:
    """Name of the pack with this number."""
    return f"{FOLDER}/{number:06d}.tar"


def table_name(number: int) -> str:
    """Name of the table of the index with this number."""
    return f"{FOLDER}/index-{number:06d}.npy"
