"""Features at rest: one entry per (content of the media, extractor), written whole or not at all.

Entries are addressed by what the media holds and never by its name, because data sets repeat names (AV-Deepfake1M
has a `real.mp4` in every folder).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path

from data.claims import Claims
from data.entry import Extent, FeatureReader, FeatureWriter, StoreKey
from data.places import place_of


class FeatureStore:
    """Entries below a folder or an fsspec URL: ``aa/bbb…/<extractor digest>.safetensors``, by the media's SHA-256.

    Any number of processes may read and write at once; of two writers of one key the last replaces the first.

    Raises UsageError when a URL's kind is unknown or its package is not installed.
    """

    def __init__(self, root: Path | str) -> None:
        self.place = place_of(root)
        self.root = self.place.root
        self._claims = Claims(self.place)

    def path(self, key: tuple[str, str]) -> Path | str:
        """Where the entry of `key` is written, whether it exists or not.

        Raises ValueError when the key is not (64 hex digits, name of letters, digits, '.', '_' and '-').
        """
        return self.place.at(entry_name(key))

    def contains(self, key: tuple[str, str]) -> bool:
        """Whether a complete entry exists, for half-written ones have other names."""
        return self._locate(StoreKey(*key)) is not None

    def reader(self, key: tuple[str, str]) -> FeatureReader:
        """The entry of `key`.

        Raises StoreError when it is absent, cut short, garbled or not an entry of this key.
        """
        return FeatureReader(self.place, self._locate, StoreKey(*key))

    @contextlib.contextmanager
    def writer(
        self, key: tuple[str, str], dim: int, rate: Fraction | int, provenance: Mapping[str, str]
    ) -> Iterator[FeatureWriter]:
        """Stream a new entry of `dim` channels at `rate` steps per second; it appears when the block ends.

        Raises StoreError when the disk is full and UsageError when the folder cannot be written; then, and
        when the block raises, nothing stays behind.
        """
        name, temporary = entry_name(key), self.place.scratch()
        writer = FeatureWriter(temporary, StoreKey(*key), dim, Fraction(rate), provenance)
        try:
            yield writer
            writer.finish()
            self.place.publish(temporary, name)
        finally:
            writer.discard()

    def claim(self, name: str) -> AbstractContextManager[bool]:
        """Whether this process has `name` for itself until the block ends; see `data.claims.Claims.claim`."""
        return self._claims.claim(name)

    def _locate(self, key: StoreKey) -> Extent | None:
        name = entry_name(key)
        return Extent(name) if self.place.status(name) is not None else None


def entry_name(key: tuple[str, str]) -> str:
    """Name of the object that holds the loose entry of `key`.

    Raises ValueError when the key is not (64 hex digits, name of letters, digits, '.', '_' and '-').
    """
    media, extractor = key
    if not re.fullmatch(r"[0-9a-f]{64}", media):
        raise ValueError(f"not a SHA-256 in hex: {media!r}")
    if not re.fullmatch(r"[0-9A-Za-z_-][0-9A-Za-z_.-]{0,127}", extractor):
        raise ValueError(f"not an extractor digest: {extractor!r}")
    return f"{media[:2]}/{media[2:]}/{extractor}.safetensors"
