"""Scripts that are no part of a package, loaded as modules."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def loaded(script: str) -> Iterator[ModuleType]:
    """The module of a `script`, named from the root of the repository; forgotten afterwards.

    It finds the scripts beside it, as it does when Python runs it.
    """
    path = ROOT / script
    spec = importlib.util.spec_from_file_location(
        "_".join(path.relative_to(ROOT).with_suffix("").parts), path
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(path.parent))
        del sys.modules[spec.name]
