"""Features at rest: one safetensors file per (content of the media, extractor), written whole or not at all.

Format: https://github.com/huggingface/safetensors#format. Files are addressed by what the media holds and
never by its name, because data sets repeat names (AV-Deepfake1M has a `real.mp4` in every folder).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.errors import ForensicError, StoreError, UsageError
from data.features import Features
from data.timeline import TimeGrid

SCHEMA = "1"
"""Version of the layout below; readers refuse others."""

_MAX_HEADER = 1 << 20
_MAX_STEPS = 10**12  # only decides how many digits the reserved header has room for
_STALE_S = 24 * 3600.0
_CHUNK = 1 << 20
_MEND = "delete this file and run again"
_UNUSABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}


class StoreKey(NamedTuple):
    """SHA-256 of the media file (64 hex digits) and the digest of the extractor that read it."""

    media: str
    extractor: str


@dataclass(frozen=True)
class _Header:
    """Parsed head of an entry: where the payload begins and how it is shaped."""

    payload: int
    n: int
    dim: int
    metadata: dict[str, str]


class FeatureStore:
    """A folder of feature files: ``root/aa/bbb…/<extractor digest>.safetensors``, by the media's SHA-256.

    Any number of processes may read and write at once; of two writers of one key the last replaces the first.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._swept = False

    def path(self, key: tuple[str, str]) -> Path:
        """Where the entry of `key` lies, whether it exists or not.

        Raises ValueError when the key is not (64 hex digits, name of letters, digits, '.', '_' and '-').
        """
        media, extractor = key
        if not re.fullmatch(r"[0-9a-f]{64}", media):
            raise ValueError(f"not a SHA-256 in hex: {media!r}")
        if not re.fullmatch(r"[0-9A-Za-z_-][0-9A-Za-z_.-]{0,127}", extractor):
            raise ValueError(f"not an extractor digest: {extractor!r}")
        return self.root / media[:2] / media[2:] / f"{extractor}.safetensors"

    def contains(self, key: tuple[str, str]) -> bool:
        """Whether a complete entry exists: one file status, for half-written ones have other names."""
        return self.path(key).is_file()

    def reader(self, key: tuple[str, str]) -> FeatureReader:
        """The entry of `key`.

        Raises StoreError when it is absent, cut short, garbled or not an entry of this key.
        """
        return FeatureReader(self.path(key), StoreKey(*key))

    @contextlib.contextmanager
    def writer(
        self, key: tuple[str, str], dim: int, rate: Fraction | int, provenance: Mapping[str, str]
    ) -> Iterator[FeatureWriter]:
        """Stream a new entry of `dim` channels at `rate` steps per second; it appears when the block ends.

        Raises StoreError when the disk is full and UsageError when the folder cannot be written; then, and
        when the block raises, nothing stays behind.
        """
        target, temporary = self.path(key), self._incoming() / _temporary_name()
        writer = FeatureWriter(temporary, StoreKey(*key), dim, Fraction(rate), provenance)
        try:
            yield writer
            writer.commit(target)
        finally:
            writer.discard()

    def _incoming(self) -> Path:
        # One folder for all unfinished files, so that sweeping a store of a million entries is one listing.
        folder = self.root / ".incoming"
        with _write_errors(self.root):
            folder.mkdir(parents=True, exist_ok=True)
            if not self._swept:
                _sweep(folder)
                self._swept = True
        return folder


class FeatureWriter:
    """One unfinished entry; made by `FeatureStore.writer`."""

    def __init__(
        self, temporary: Path, key: StoreKey, dim: int, rate: Fraction, provenance: Mapping[str, str]
    ) -> None:
        if dim < 1 or rate <= 0:
            raise ValueError(f"features need a positive dimension and rate, got {dim} and {rate}")
        self._temporary, self._dim, self._n = temporary, dim, 0
        self._valid: list[NDArray[np.uint8]] = []
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
        self._reserved = -(-len(self._header(_MAX_STEPS, "0" * 64)) // 8) * 8
        with _write_errors(temporary):
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
        payload = halves.tobytes()
        self._write(payload)
        self._hash.update(payload)
        self._valid.append(valid.astype(np.uint8))
        self._n += len(halves)

    def commit(self, target: Path) -> None:
        """Finish the file, bring it to the disk and give it its name.

        Raises StoreError when the disk is full, UsageError when the folder cannot be written.
        """
        flags = b"".join(part.tobytes() for part in self._valid)
        self._write(flags)
        self._hash.update(flags)
        self._hash.update(_canonical(self._metadata))
        header = self._header(self._n, self._hash.hexdigest()).ljust(self._reserved)
        with _write_errors(target):
            self._file.seek(0)
            self._write(self._reserved.to_bytes(8, "little") + header)
            os.fsync(self._file.fileno())
            self._file.close()
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._temporary, target)
            # A new name lives in its folder, and that folder's in the one above.
            for folder in (target.parent, target.parent.parent, target.parent.parent.parent):
                _sync_folder(folder)

    def discard(self) -> None:
        """Close and remove the unfinished file; does nothing after `commit`."""
        self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    def _write(self, payload: bytes) -> None:
        rest = memoryview(payload)
        with _write_errors(self._temporary):
            while rest:
                rest = rest[self._file.write(rest) or 0 :]

    def _header(self, n: int, digest: str) -> bytes:
        size = n * self._dim * 2
        return json.dumps(
            {
                "__metadata__": self._metadata | {"sha256": digest},
                "values": {"dtype": "F16", "shape": [n, self._dim], "data_offsets": [0, size]},
                "valid": {"dtype": "BOOL", "shape": [n], "data_offsets": [size, size + n]},
            }
        ).encode()


class FeatureReader:
    """A finished entry, read in windows by plain seek and read, so that memory holds the window only.

    It keeps no file open: it may be pickled, and be held by the thousand.
    """

    def __init__(self, path: Path, key: StoreKey) -> None:
        self.path, self.key = path, key
        self._known: tuple[tuple[int, int, int], _Header] | None = None
        with self._open() as (_, header):
            metadata = header.metadata
        self.n, self.dim = header.n, header.dim
        self.grid = TimeGrid(Fraction(metadata["grid_start"]), Fraction(metadata["grid_step"]), header.n)
        self.provenance: dict[str, str] = json.loads(metadata["provenance"])

    def read(self, first: int, stop: int) -> Features:
        """Steps ``first .. stop - 1``: `values` (stop - first, C) float16.

        Raises IndexError outside ``0 .. n``, StoreError when the file has become unreadable.
        """
        with self._open() as (file, header):
            if not 0 <= first <= stop <= header.n:
                raise IndexError(f"steps {first}..{stop} of {header.n}")
            values = np.empty((stop - first, header.dim), dtype=np.float16)
            valid = np.empty(stop - first, dtype=np.bool_)
            self._fill(file, header.payload + first * header.dim * 2, values)
            self._fill(file, header.payload + header.n * header.dim * 2 + first, valid)
        return Features(values, valid, self.grid.crop(first, stop))

    def verify(self) -> None:
        """Compare the content with its checksum, in bounded memory.

        Raises StoreError when a bit differs.
        """
        with self._open() as (file, header):
            found = hashlib.sha256()
            file.seek(header.payload)
            while chunk := file.read(_CHUNK):
                found.update(chunk)
        plain = {name: text for name, text in header.metadata.items() if name != "sha256"}
        found.update(_canonical(plain))
        if found.hexdigest() != header.metadata["sha256"]:
            raise StoreError("stored features do not match their checksum", self.path, _MEND)

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[BinaryIO, _Header]]:
        try:
            with open(self.path, "rb") as file:
                status = os.fstat(file.fileno())
                stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
                # Another process may have replaced the file since it was last read.
                if self._known is None or self._known[0] != stamp:
                    self._known = (stamp, self._parse(file, status.st_size))
                yield file, self._known[1]
        except FileNotFoundError:
            what = f"no stored features of media {self.key.media[:12]}…"
            raise StoreError(what, self.path, "extract them first (pipeline extract)") from None
        except OSError as error:
            fix = "make the file readable, or " + _MEND
            raise StoreError(f"cannot read stored features ({error.strerror})", self.path, fix) from error

    def _parse(self, file: BinaryIO, size: int) -> _Header:
        try:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_MAX_HEADER, size - 8):
                raise ValueError("no header")
            document = json.loads(file.read(length))
            metadata = document["__metadata__"]
            if metadata["schema"] != SCHEMA:
                raise ValueError(f"schema {metadata['schema']}, this version reads {SCHEMA}")
            if (metadata["media"], metadata["extractor"]) != self.key:
                raise ValueError("it belongs to another media file or extractor")
            n, dim = document["values"]["shape"]
            end = n * dim * 2
            expected = {
                "__metadata__": metadata,
                "values": {"dtype": "F16", "shape": [n, dim], "data_offsets": [0, end]},
                "valid": {"dtype": "BOOL", "shape": [n], "data_offsets": [end, end + n]},
            }
            if type(n) is not int or type(dim) is not int or document != expected:
                raise ValueError("its tensors are not those of an entry")
            if str(dim) != metadata["dim"] or size != 8 + length + end + n:
                raise ValueError("its size and its header disagree")
            TimeGrid(Fraction(metadata["grid_start"]), Fraction(metadata["grid_step"]), n)
            if not isinstance(json.loads(metadata["provenance"]), dict):
                raise ValueError("no provenance")
            _ = metadata["sha256"]
        except (ValueError, KeyError, TypeError, ZeroDivisionError, RecursionError) as error:
            raise StoreError(f"not an intact feature file ({error})", self.path, _MEND) from None
        return _Header(8 + length, n, dim, metadata)

    def _fill(self, file: BinaryIO, offset: int, array: NDArray[np.generic]) -> None:
        file.seek(offset)
        payload = file.read(array.nbytes)
        if len(payload) != array.nbytes:
            raise StoreError("stored features end too early", self.path, _MEND)
        array[...] = np.frombuffer(payload, dtype=array.dtype).reshape(array.shape)


def _canonical(metadata: Mapping[str, str]) -> bytes:
    return json.dumps(metadata, sort_keys=True).encode()


def _temporary_name() -> str:
    return f"{os.getpid()}-{secrets.token_hex(6)}@{socket.gethostname()}"


def _sweep(folder: Path) -> None:
    """Remove unfinished files whose process is gone; those of other hosts, when they are a day old."""
    for path in folder.iterdir():
        owner, _, host = path.name.partition("@")
        pid = owner.partition("-")[0]
        with contextlib.suppress(OSError):
            dead = host == socket.gethostname() and pid.isdigit() and not _alive(int(pid))
            if dead or time.time() - path.stat().st_mtime > _STALE_S:
                path.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _UNUSABLE:
            fix = "choose another store folder or make this one writable"
            raise UsageError(f"cannot write features ({reason})", path, fix) from error
        fix = "free space on that disk and run again; finished entries are kept"
        raise StoreError(f"cannot write features ({reason})", path, fix) from error
