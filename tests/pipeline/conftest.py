"""What the tests of training share: a data set, and a run on it that was never interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from training_set import Reference, Set


@pytest.fixture(scope="module")
def training_thread() -> Iterator[None]:
    """Training of small models is faster on one thread than on many."""
    from model_factory import one_thread

    with one_thread():
        yield


@pytest.fixture(scope="module")
def clips(training_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Set:
    """The data set of `training_set`; modules that train nothing have clips of their own."""
    from training_set import Set

    return Set(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def reference(clips: Set, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Output folder and weights of a run without interruption."""
    from training_set import run

    out = tmp_path_factory.mktemp("reference") / "run"
    return out, run(clips, out)
