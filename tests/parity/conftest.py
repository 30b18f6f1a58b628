"""The environment of `make parity`."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from openmmlab import registry


@pytest.fixture(scope="session")
def mmaction_models() -> Any:
    """mmaction2's model registry; skips where mmaction2 is not installed."""
    if importlib.util.find_spec("mmaction") is None:
        pytest.skip("mmaction2 is not installed here: run `make parity`")
    return registry()
