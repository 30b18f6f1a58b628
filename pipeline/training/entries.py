"""From the clips of a manifest to training entries: where their features are, and what may be known of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from data.manifest import LocatedSample, Manifest, WeakSample
from data.store.ledger import Ledger, known_sha256
from data.store.store import FeatureStore, StoreKey
from pipeline.training.dataset import Entry, LocatedEntry

_LOG = logging.getLogger(__name__)

Keys = Callable[[str], Mapping[str, StoreKey]]
"""SHA-256 of a media file -> store keys of its "visual" and "audio" features."""


def weak_entries(
    manifest: Manifest, samples: Sequence[WeakSample], store: FeatureStore, keys: Keys
) -> tuple[Entry, ...]:
    """Training entries of those samples whose features of both modalities are stored."""
    return tuple(entry for entry in _stored(manifest, samples, store, keys) if entry is not None)


def located_entries(
    manifest: Manifest, samples: Sequence[LocatedSample], store: FeatureStore, keys: Keys
) -> tuple[LocatedEntry, ...]:
    """The same with forged intervals."""
    entries = _stored(manifest, [sample.weak for sample in samples], store, keys)
    return tuple(
        LocatedEntry(entry, sample.periods)
        for entry, sample in zip(entries, samples, strict=True)
        if entry is not None
    )


def _stored(
    manifest: Manifest, samples: Sequence[WeakSample], store: FeatureStore, keys: Keys
) -> list[Entry | None]:
    """The entry of each sample, None where the features of a track are not stored."""
    with Ledger(store) as ledger:
        hashes = known_sha256(manifest.root, [sample.file for sample in samples], ledger)
    entries: list[Entry | None] = []
    for sample in samples:
        key = keys(hashes[sample.file])
        there = store.contains(key["visual"]) and store.contains(key["audio"])
        entries.append(Entry(key["visual"], key["audio"], sample.label) if there else None)
    if None in entries:
        _LOG.warning(
            "%s: %d of %d clips are left out, because the features of a track are not in the store",
            manifest.root,
            entries.count(None),
            len(samples),
        )
    return entries
