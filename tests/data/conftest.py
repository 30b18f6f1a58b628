"""An empty feature store."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.store import FeatureStore


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "store")
