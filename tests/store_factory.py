"""A small entry for tests of the feature store."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from data.store import FeatureStore, StoreKey

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
