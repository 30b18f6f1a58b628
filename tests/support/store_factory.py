"""Small entries for tests of the feature store."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data.store.store import FeatureStore, StoreKey

MEDIA = hashlib.sha256(b"a clip").hexdigest()
KEY = StoreKey(MEDIA, "tsn-1")


def fill(
    store: FeatureStore, values: np.ndarray, valid: np.ndarray, key: StoreKey = KEY, **facts: str
) -> Path:
    with store.writer(key, values.shape[1], 25, facts) as writer:
        writer.append(values, valid)
    return store.path(key)


def sample(n: int = 12, dim: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n * 100 + dim)
    return rng.normal(size=(n, dim)).astype(np.float32), rng.random(n) > 0.2


def keys(count: int, *extractors: str) -> list[StoreKey]:
    """Keys of `count` media, for each of the extractors."""
    media = [hashlib.sha256(b"%d" % k).hexdigest() for k in range(count)]
    return [StoreKey(name, extractor) for name in media for extractor in (extractors or ("tsn-1",))]


def filled(store: FeatureStore, *wanted: StoreKey) -> dict[StoreKey, bytes]:
    """Entries of different lengths; returns what a reader sees of each."""
    for k, key in enumerate(wanted):
        with store.writer(key, 3, 25, {"number": str(k)}) as writer:
            writer.append(*sample(k % 7, 3))
            writer.note("coverage", f"{k}")
    return content(store, wanted)


def content(store: FeatureStore, wanted: Iterable[StoreKey]) -> dict[StoreKey, bytes]:
    """What a reader sees of each entry, all of them verified."""
    found = {}
    for key in wanted:
        reader = store.reader(key)
        reader.verify()
        features = reader.read(0, reader.n)
        found[key] = pickle.dumps(
            (features.values.tobytes(), features.valid.tobytes(), reader.notes, reader.provenance)
        )
    return found


def objects(store: FeatureStore) -> set[str]:
    """Names of everything that lies in a store."""
    return {found.name for found in store.place.list()}
