"""Stores for tests of this layer: an empty one, and one of every kind of place."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from data.store.store import FeatureStore

_NUMBERS = itertools.count()


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "store")


@pytest.fixture(params=["local", "memory", "s3"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """An empty store in a place of each kind; unfinished files of all kinds lie below `tmp_path`."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if request.param == "local":
        return FeatureStore(tmp_path / "store")
    name = f"store-{next(_NUMBERS)}"
    if request.param == "memory":
        return FeatureStore(f"memory://{name}")
    return FeatureStore(f"{request.getfixturevalue('s3_bucket')}/{name}")
