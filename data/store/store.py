"""Features at rest: one entry per (content of the media, extractor), written whole or not at all.

Entries are addressed by what the media holds and never by its name, because data sets repeat names (AV-Deepfake1M
has a `real.mp4` in every folder).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote, urlsplit

from data.store.claims import Claims
from data.store.entry import Extent, FeatureReader, FeatureWriter, StoreKey, entry_key, entry_name
from data.store.packs import Packs
from data.store.places import Found, LocalPlace, Place


class FeatureStore:
    """Entries below a folder or an fsspec URL: ``aa/bbb…/<extractor digest>.safetensors``, by the media's SHA-256.

    Any number of processes may read and write at once; of two writers of one key the last replaces the first.

    Raises UsageError when a URL's kind is unknown or its package is not installed.
    """

    def __init__(self, root: Path | str) -> None:
        self.place = place_of(root)
        self.root = self.place.root
        self.packs = Packs(self.place)
        self._claims = Claims(self.place)

    def path(self, key: tuple[str, str]) -> Path | str:
        """Where the entry of `key` is written, whether it exists or not.

        Raises ValueError when the key is not (64 hex digits, name of letters, digits, '.', '_' and '-').
        """
        return self.place.at(entry_name(key))

    def contains(self, key: tuple[str, str]) -> bool:
        """Whether a complete entry exists, for half-written ones have other names."""
        return self._locate(StoreKey(*key), False) is not None

    def reader(self, key: tuple[str, str]) -> FeatureReader:
        """The entry of `key`.

        Raises StoreError when it is missing, cut short, damaged or not an entry of this key.
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

    def loose(self) -> Iterator[tuple[StoreKey, Found]]:
        """Entries with a file of their own, by media; those in packs are listed by `packs`."""
        for entry in self.place.list():
            key = entry_key(entry.name)
            if key is not None:
                yield key, entry

    def claim(self, name: str) -> AbstractContextManager[bool]:
        """Whether this process has `name` for itself until the block ends; see `data.store.claims.Claims.claim`."""
        return self._claims.claim(name)

    def _locate(self, key: StoreKey, fresh: bool) -> Extent | None:
        name = entry_name(key)
        # In this order: `pack` removes a loose entry after its index names it, and a later loose one is newer.
        return Extent(name) if self.place.status(name) is not None else self.packs.find(key, fresh)


def place_of(root: Path | str) -> Place:
    """The place that a path or a URL names; ``file://`` URLs are local folders.

    Raises UsageError when the URL's kind is unknown or its package is not installed.
    """
    if isinstance(root, str) and "://" in root:
        parts = urlsplit(root)
        if parts.scheme in ("file", "local"):
            return LocalPlace(Path(unquote(parts.path)))
        from data.store.remote import RemotePlace

        return RemotePlace(root)
    return LocalPlace(Path(root))
