"""One entry of the store: a safetensors file with features, their validity and notes, read in windows.

Format: https://github.com/huggingface/safetensors#format. Tensors: `values` (N, C) float16, `valid` (N,) bool and
`notes`, the UTF-8 bytes of a JSON object of texts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.errors import ForensicError, StoreError
from data.features import Features
from data.store.places import Place, RangeFile, writing
from data.timeline import TimeGrid

SCHEMA = "2"
"""Version of the layout below; readers refuse others."""

CUTS = "cuts"
"""Note of an entry with the steps, as a JSON list, with which another shot or another speaker begins."""

_MAX_HEADER = 1 << 20
_MAX_SIZE = 10**12  # only decides how many digits the reserved header has room for
_HEAD = 4096  # one read that holds the header of nearly every entry
_MEND = "delete this file and run again"
_MEND_PACKED = "run pipeline store verify --remove, then extract again"


class StoreKey(NamedTuple):
    """SHA-256 of the media file (64 hex digits) and the digest of the extractor that read it."""

    media: str
    extractor: str


def entry_name(key: tuple[str, str]) -> str:
    """Name of the object that holds the loose entry of `key`, and of its member of a pack.

    Raises ValueError when the key is not (64 hex digits, name of letters, digits, '.', '_' and '-').
    """
    media, extractor = key
    if not re.fullmatch(r"[0-9a-f]{64}", media):
        raise ValueError(f"not a SHA-256 in hex: {media!r}")
    if not re.fullmatch(r"[0-9A-Za-z_-][0-9A-Za-z_.-]{0,127}", extractor):
        raise ValueError(f"not an extractor digest: {extractor!r}")
    return f"{media[:2]}/{media[2:]}/{extractor}.safetensors"


def entry_key(name: str) -> StoreKey | None:
    """The key of an object by its name, None for one that is no entry."""
    match = re.fullmatch(
        r"([0-9a-f]{2})/([0-9a-f]{62})/([0-9A-Za-z_-][0-9A-Za-z_.-]{0,127})\.safetensors", name
    )
    return StoreKey(match[1] + match[2], match[3]) if match else None


class Extent(NamedTuple):
    """Where an entry lies: an object of the store, and for one inside a pack its offset and size in bytes."""

    name: str
    offset: int = 0
    size: int | None = None


@dataclass(frozen=True)
class _Header:
    """Parsed head of an entry: where the payload begins in its file and how it is shaped."""

    payload: int
    n: int
    dim: int
    notes: int
    metadata: dict[str, str]

    @property
    def valid(self) -> int:
        """Offset of the flags."""
        return self.payload + self.n * self.dim * 2

    @property
    def end(self) -> int:
        """Offset behind the last byte."""
        return self.valid + self.n + self.notes


class FeatureWriter:
    """One unfinished entry in a local file; made by `FeatureStore.writer`."""

    def __init__(
        self, temporary: Path, key: StoreKey, dim: int, rate: Fraction, provenance: Mapping[str, str]
    ) -> None:
        if dim < 1 or rate <= 0:
            raise ValueError(f"features need a positive dimension and rate, got {dim} and {rate}")
        self._temporary, self._dim, self._n = temporary, dim, 0
        self._valid: list[NDArray[np.uint8]] = []
        self._notes: dict[str, str] = {}
        self._hash = hashlib.sha256()
        self._metadata = {
            "schema": SCHEMA,
            "media": key.media,
            "extractor": key.extractor,
            "grid_start": "0",
            "grid_step": str(1 / rate),
            "dim": str(dim),
            "provenance": json.dumps(dict(provenance), sort_keys=True),
        }
        self._reserved = -(-len(self._header(_MAX_SIZE, _MAX_SIZE, "0" * 64)) // 8) * 8
        with writing(temporary):
            # Unbuffered, so that a full disk shows here and not when an object is collected.
            self._file = open(temporary, "xb", buffering=0)  # noqa: SIM115
        try:
            self._write(bytes(8 + self._reserved))
        except ForensicError:
            self.discard()
            raise

    def append(self, values: NDArray[np.floating], valid: NDArray[np.bool_]) -> None:
        """Add steps: `values` (N, C), `valid` (N,); stored as float16, zero where invalid.

        Raises ValueError for a wrong shape or a value beyond float16, StoreError when the disk is full.
        """
        if values.ndim != 2 or values.shape[1] != self._dim or valid.shape != values.shape[:1]:
            raise ValueError(f"expected (N, {self._dim}) and (N,), got {values.shape} and {valid.shape}")
        with np.errstate(over="ignore"):
            halves = np.where(valid[:, None], values, 0).astype("<f2")
        if not np.isfinite(halves).all():
            raise ValueError("features are not finite in float16")
        self._add(halves.tobytes())
        self._valid.append(valid.astype(np.uint8))
        self._n += len(halves)

    def note(self, name: str, text: str) -> None:
        """Keep a text with the entry, for facts known only at its end; a later text of the same name replaces it."""
        self._notes[name] = text

    def finish(self) -> None:
        """Complete the file; nothing can be added afterwards.

        Raises StoreError when the disk is full.
        """
        notes = _canonical(self._notes)
        self._add(b"".join(part.tobytes() for part in self._valid))
        self._add(notes)
        self._hash.update(_canonical(self._metadata))
        header = self._header(self._n, len(notes), self._hash.hexdigest()).ljust(self._reserved)
        with writing(self._temporary):
            self._file.seek(0)
            self._write(self._reserved.to_bytes(8, "little") + header)
            self._file.close()

    def discard(self) -> None:
        """Close and remove the unfinished file, if it is still there."""
        self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    def _add(self, payload: bytes) -> None:
        self._write(payload)
        self._hash.update(payload)

    def _write(self, payload: bytes) -> None:
        rest = memoryview(payload)
        with writing(self._temporary):
            while rest:
                rest = rest[self._file.write(rest) or 0 :]

    def _header(self, n: int, notes: int, digest: str) -> bytes:
        metadata = self._metadata | {"sha256": digest}
        return json.dumps({"__metadata__": metadata} | _tensors(n, self._dim, notes)).encode()


class FeatureReader:
    """A finished entry, read in windows, so that memory and a network carry the window only.

    It keeps no file open: it may be pickled, and be held by the thousand. Where the entry lies is asked of `locate`
    again when it has been moved (`pipeline store pack` does that).
    """

    def __init__(
        self, place: Place, locate: Callable[[StoreKey, bool], Extent | None], key: StoreKey
    ) -> None:
        self.key, self._place, self._locate = key, place, locate
        self._extent: Extent | None = None
        self._known: tuple[Hashable, _Header] | None = None
        with self._open() as (_, header):
            metadata = header.metadata
        self.n, self.dim = header.n, header.dim
        self.grid = TimeGrid(Fraction(metadata["grid_start"]), Fraction(metadata["grid_step"]), header.n)
        self.provenance: dict[str, str] = json.loads(metadata["provenance"])
        self.checksum = metadata["sha256"]

    @property
    def path(self) -> Path | str:
        """The file that holds the entry, a pack for a packed one."""
        assert self._extent is not None
        return self._place.at(self._extent.name)

    @property
    def _mend(self) -> str:
        return _MEND if self._extent is None or self._extent.size is None else _MEND_PACKED

    @property
    def notes(self) -> dict[str, str]:
        """Texts stored with the entry, read again each time.

        Raises StoreError when the file has become unreadable.
        """
        with self._open() as (file, header):
            text = self._read(file, (header.end - header.notes, header.notes))[0]
        try:
            notes = json.loads(text)
        except (ValueError, RecursionError):
            notes = None
        if not isinstance(notes, dict) or not all(isinstance(note, str) for note in notes.values()):
            raise StoreError("its notes are damaged", self.path, self._mend)
        return notes

    @property
    def cuts(self) -> tuple[int, ...]:
        """Steps with which another shot, or another speaker, begins than the step before belongs to, in order.

        Raises StoreError when the file has become unreadable.
        """
        try:
            cuts = json.loads(self.notes.get(CUTS, "[]"))
        except (ValueError, RecursionError):
            cuts = None
        if not isinstance(cuts, list) or not all(type(cut) is int for cut in cuts):
            raise StoreError("its notes are damaged", self.path, self._mend)
        return tuple(sorted({cut for cut in cuts if 0 < cut < self.n}))

    def read(self, first: int, stop: int) -> Features:
        """Steps ``first .. stop - 1``: `values` (stop - first, C) float16.

        Raises IndexError outside ``0 .. n``, StoreError when the file has become unreadable.
        """
        with self._open() as (file, header):
            if not 0 <= first <= stop <= header.n:
                raise IndexError(f"steps {first}..{stop} of {header.n}")
            row = header.dim * 2
            values, valid = self._read(
                file,
                (header.payload + first * row, (stop - first) * row),
                (header.valid + first, stop - first),
            )
        return Features(
            np.frombuffer(values, dtype="<f2").reshape(stop - first, header.dim),
            np.frombuffer(valid, dtype=np.bool_),
            self.grid.crop(first, stop),
        )

    def flags(self) -> NDArray[np.bool_]:
        """Which steps are valid, (n,), without reading the features.

        Raises StoreError when the file has become unreadable.
        """
        with self._open() as (file, header):
            return np.frombuffer(self._read(file, (header.valid, header.n))[0], dtype=np.bool_)

    def verify(self) -> None:
        """Compare the content with its checksum, in bounded memory.

        Raises StoreError when a bit differs.
        """
        with self._open() as (file, header):
            digest = hashlib.sha256()
            for at in range(header.payload, header.end, file.chunk):
                digest.update(self._read(file, (at, min(file.chunk, header.end - at)))[0])
        plain = {name: text for name, text in header.metadata.items() if name != "sha256"}
        digest.update(_canonical(plain))
        if digest.hexdigest() != header.metadata["sha256"]:
            raise StoreError("stored features do not match their checksum", self.path, self._mend)

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[RangeFile, _Header]]:
        with contextlib.ExitStack() as stack:
            file, extent = self._find(stack)
            # A pack never changes under its name; a file of its own may have been replaced since it was last read.
            stamp = file.stamp if extent.size is None else extent
            if self._known is None or self._known[0] != stamp:
                size = file.size if extent.size is None else extent.size
                self._known = (stamp, self._parse(file, extent.offset, size))
            yield file, self._known[1]

    def _find(self, stack: contextlib.ExitStack) -> tuple[RangeFile, Extent]:
        for attempt in range(4):
            if self._extent is None or attempt:
                self._extent = self._locate(self.key, attempt > 0)
            if self._extent is None:
                break
            with contextlib.suppress(FileNotFoundError):
                return stack.enter_context(self._place.open(self._extent.name)), self._extent
        problem = f"no stored features of media {self.key.media[:12]}…"
        raise StoreError(problem, self._place.root, "extract them first (pipeline extract)")

    def _parse(self, file: RangeFile, offset: int, size: int) -> _Header:
        head = file.read((offset, min(_HEAD, size)))[0]
        try:
            length = int.from_bytes(head[:8], "little")
            if len(head) < 8 or not 2 <= length <= min(_MAX_HEADER, size - 8):
                raise ValueError("no header")
            if 8 + length > len(head):
                head = file.read((offset, 8 + length))[0]
            document = json.loads(head[8 : 8 + length])
            metadata = document["__metadata__"]
            if metadata["schema"] != SCHEMA:
                raise ValueError(f"schema {metadata['schema']}, this version reads {SCHEMA}")
            if (metadata["media"], metadata["extractor"]) != self.key:
                raise ValueError("it belongs to another media file or extractor")
            (n, dim), (notes,) = document["values"]["shape"], document["notes"]["shape"]
            if not type(n) is type(dim) is type(notes) is int or n < 0 or dim < 1 or notes < 0:
                raise ValueError("impossible shapes")
            if document != {"__metadata__": metadata} | _tensors(n, dim, notes):
                raise ValueError("its tensors are not those of an entry")
            header = _Header(offset + 8 + length, n, dim, notes, metadata)
            if str(dim) != metadata["dim"] or offset + size != header.end:
                raise ValueError("its size and its header disagree")
            TimeGrid(Fraction(metadata["grid_start"]), Fraction(metadata["grid_step"]), n)
            if not isinstance(json.loads(metadata["provenance"]), dict):
                raise ValueError("no provenance")
            _ = metadata["sha256"]
        except (ValueError, KeyError, TypeError, ZeroDivisionError, RecursionError) as error:
            raise StoreError(f"not an intact feature file ({error})", self.path, self._mend) from None
        return header

    def _read(self, file: RangeFile, *spans: tuple[int, int]) -> list[bytearray]:
        parts = file.read(*spans)
        if [len(part) for part in parts] != [length for _, length in spans]:
            raise StoreError("stored features end too early", self.path, self._mend)
        return parts


def _tensors(n: int, dim: int, notes: int) -> dict[str, dict[str, object]]:
    values, valid = n * dim * 2, n * dim * 2 + n
    return {
        "values": {"dtype": "F16", "shape": [n, dim], "data_offsets": [0, values]},
        "valid": {"dtype": "BOOL", "shape": [n], "data_offsets": [values, valid]},
        "notes": {"dtype": "U8", "shape": [notes], "data_offsets": [valid, valid + notes]},
    }


def _canonical(texts: Mapping[str, str]) -> bytes:
    return json.dumps(texts, sort_keys=True).encode()
