"""Writing packs and reading what lies in them: uncompressed tar files that any tar and webdataset open."""

from __future__ import annotations

import io
import logging
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.errors import StoreError
from data.store.entry import Extent, FeatureReader, StoreKey, entry_key, entry_name
from data.store.packs import Packed, pack_name
from data.store.places import LocalPlace, RangeFile, writing
from data.store.store import FeatureStore

BLOCK = tarfile.BLOCKSIZE
"""Members of a tar file begin at multiples of it."""

_LOG = logging.getLogger(__name__)
_PORTION = (
    8  # an index is written when packs have grown by this part, since it is as long as the store is large
)


@dataclass
class PackResult:
    """What packing did: entries packed and their bytes, packs made, and an error for each damaged entry, left loose."""

    entries: int = 0
    size: int = 0
    packs: int = 0
    damaged: list[StoreError] = field(default_factory=list)


class Roll:
    """Packs that are being written one after another; the index follows them, and then the loose files go."""

    def __init__(self, store: FeatureStore, pack_bytes: int, outcome: PackResult) -> None:
        self._store, self._pack_bytes, self.outcome = store, pack_bytes, outcome
        self.index = store.packs.index()
        self._next = self.index.following
        self._file: io.FileIO | None = None
        self._temporary = Path()
        self._open: list[Packed] = []  # in the pack that is being written
        self._waiting: list[Packed] = []  # in packs that no index names yet
        self._stamps: dict[str, object] = {}

    def add(
        self, key: StoreKey, source: RangeFile, offset: int, size: int, stamp: object = None
    ) -> StoreError | None:
        """Copy an entry to the end of the pack; `stamp` is that of the loose file to remove once it is indexed.

        Returns what is wrong with it if it is not intact; then the pack is as it was.
        """
        file = self._file if self._file is not None else self._begin()
        start = file.tell()
        head = _tar_header(entry_name(key), size)
        with writing(self._temporary):
            _write(file, head)
        for at in range(0, size, source.chunk):
            try:
                part = source.read((offset + at, min(source.chunk, size - at)))[0]
            except StoreError as damage:
                return self._undo(file, start, damage)
            with writing(self._temporary):
                _write(file, part)
        with writing(self._temporary):
            _write(file, bytes(-size % BLOCK))
        extent = Extent(self._temporary.name, start + len(head), size)
        try:
            # What is verified are the bytes that will be read, not those they were copied from.
            reader = FeatureReader(LocalPlace(self._temporary.parent), lambda *_: extent, key)
            reader.verify()
        except StoreError as damage:
            return self._undo(file, start, damage)
        steps, seconds = reader.n, float(reader.n * reader.grid.step)
        self._open.append(Packed(key, self._next, extent.offset, size, steps, seconds))
        if stamp is not None:
            self._stamps[entry_name(key)] = stamp
        if file.tell() >= self._pack_bytes:
            self._end()
            if len(self._waiting) * _PORTION >= len(self.index.rows):
                self._publish()
        return None

    def close(self) -> None:
        """Finish the last pack and index everything."""
        if self._file is not None and self._open:
            self._end()
        if self._waiting:
            self._publish()

    def discard(self) -> None:
        """Remove the unfinished pack."""
        if self._file is not None:
            self._file.close()
            self._temporary.unlink(missing_ok=True)

    def _undo(self, file: io.FileIO, start: int, damage: StoreError) -> StoreError:
        with writing(self._temporary):
            file.truncate(start)
            file.seek(start)
        return damage

    def _begin(self) -> io.FileIO:
        self._temporary = self._store.place.scratch()
        with writing(self._temporary):
            # Unbuffered, so that the copy can be verified, and a full disk shows, at once.
            self._file = io.FileIO(self._temporary, "x+")
        return self._file

    def _end(self) -> None:
        assert self._file is not None
        with writing(self._temporary):
            _write(self._file, bytes(2 * BLOCK))
            self._file.close()
        self._store.place.publish(self._temporary, pack_name(self._next))
        self.outcome.packs += 1
        self._waiting += self._open
        self._file, self._open, self._next = None, [], self._next + 1

    def _publish(self) -> None:
        index = self.index.changed(self._waiting)
        self._store.packs.publish(index)
        self.index = index
        self.outcome.entries += len(self._waiting)
        self.outcome.size += sum(entry.size for entry in self._waiting)
        self._store.place.remove(name for name, stamp in self._stamps.items() if self._stamp(name) == stamp)
        self._waiting, self._stamps = [], {}

    def _stamp(self, name: str) -> object:
        # An entry that was written again since it was copied stays.
        try:
            with self._store.place.open(name) as file:
                return file.stamp
        except FileNotFoundError:
            return None


def members(store: FeatureStore, name: str, number: int) -> Iterator[Packed]:
    """The entries of the pack with this name and number whose headers are whole; the others are logged as warnings."""
    with store.place.open(name) as file:
        try:
            with tarfile.open(fileobj=io.BufferedReader(_Tape(file), file.chunk), mode="r:") as tar:
                for member in tar:
                    key, extent = entry_key(member.name), Extent(name, member.offset_data, member.size)
                    if key is None:
                        continue
                    try:
                        reader = FeatureReader(store.place, lambda *_, extent=extent: extent, key)
                    except StoreError as error:
                        _LOG.warning("%s: %s is left out: %s", store.place.at(name), member.name, error.what)
                        continue
                    seconds = float(reader.n * reader.grid.step)
                    yield Packed(key, number, extent.offset, member.size, reader.n, seconds)
                whole = tar.offset + 2 * BLOCK == file.size
        except tarfile.TarError:
            whole = False
        if not whole:
            _LOG.warning("%s: is damaged; entries after the damage are lost", store.place.at(name))


class _Tape(io.RawIOBase):
    """A range file as a stream for `tarfile`."""

    def __init__(self, file: RangeFile) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As `io.IOBase.seek`."""
        self._at = offset + (0, self._at, self._file.size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        """As `io.RawIOBase.readinto`."""
        length = max(0, min(len(buffer), self._file.size - self._at))
        part = self._file.read((self._at, length))[0]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


def _tar_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    try:
        return info.tobuf(tarfile.USTAR_FORMAT)
    except ValueError:  # beyond 8 GiB, or an extractor of more than 88 letters
        return info.tobuf(tarfile.GNU_FORMAT)


def _write(file: io.FileIO, payload: bytes | bytearray) -> None:
    rest = memoryview(payload)
    while rest:
        rest = rest[file.write(rest) or 0 :]
