"""Forged speaking heads that the tests of pre-training share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from extractor_factory import small_parts
from forged_set import InLine, write_forged_set, write_speaking_heads

from configs.loader import load_config
from configs.schema import PipelineConfig
from pipeline.training import labelled


@pytest.fixture(scope="module")
def in_line() -> Iterator[None]:
    """Clips are measured in this process, one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelled, "ProcessPoolExecutor", InLine)
        yield


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    return write_forged_set(write_speaking_heads(root / "authentic"), root / "forged")


@pytest.fixture(scope="module")
def rows(forged: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((forged / "forgeries.json").read_text())
    return found


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PipelineConfig:
    """Small pictures, and a small ear and eye."""
    return load_config("compact", ["visual.short_side=96", *small_parts(tmp_path_factory.mktemp("parts"))])
