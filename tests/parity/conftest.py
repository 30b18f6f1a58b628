"""The environment of `make parity`: mmaction2 1.2.0, made importable."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import pytest


@pytest.fixture(scope="session")
def mmaction_models() -> Any:
    """mmaction2's model registry; skips where mmaction2 is not installed.

    Its wheel forgets the subpackage `mmaction.models.localizers.drn`, which nothing here needs: an empty stand-in is
    put in its place before the import.
    """
    if importlib.util.find_spec("mmaction") is None:
        pytest.skip("mmaction2 is not installed here: run `make parity`")
    package = types.ModuleType("mmaction.models.localizers.drn")
    module = types.ModuleType("mmaction.models.localizers.drn.drn")
    package.__path__ = []
    module.DRN = type("DRN", (), {})  # type: ignore[attr-defined]
    sys.modules.update({package.__name__: package, module.__name__: module})
    import mmaction.models  # noqa: F401 - registers the models
    from mmaction.registry import MODELS
    from mmengine.registry import init_default_scope

    init_default_scope("mmaction")
    return MODELS
