"""Which machine voice speaks in which split, and that a folder of voices is looked at first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from forged_set import CONFIG, voice, write_authentic
from numpy.typing import NDArray

from data.errors import UsageError
from pipeline.forging import synthesize as module
from pipeline.forging.plan import plan
from pipeline.forging.synthesize import synthesize


@pytest.fixture(scope="module")
def authentic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_authentic(tmp_path_factory.mktemp("authentic"))


@dataclass(frozen=True)
class Robot:
    """An engine that hums."""

    name: str

    def speaker(self, rng: np.random.Generator) -> Callable[[str], NDArray[np.float32]]:
        return lambda text: voice(0.5, 200)


def test_an_engine_speaks_in_its_split_alone(authentic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = [Robot("seen"), Robot("unseen"), Robot("free")]
    monkeypatch.setattr(module, "speech_engines", lambda folder: engines)
    families = {"train": {"speech": {"a": ("seen",)}}, "test": {"speech": {"b": ("unseen",)}}}
    made = plan(authentic, CONFIG.model_copy(update={"families": families}))
    heard = {}
    for split in ("train", "dev", "test"):
        machine = module._donors(made, replace(made.material.clips[0], split=split)).machine
        heard[split] = {machine(np.random.default_rng(seed), 100).engine for seed in range(20)}
    assert heard == {"train": {"seen", "free"}, "dev": {"free"}, "test": {"unseen", "free"}}


def test_voices_that_are_not_there_are_told_before_anything_is_made(authentic: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"voices": str(tmp_path / "nowhere")})
    with pytest.raises(UsageError, match=r"onnxruntime|espeak-ng|voices\.json: is not there"):
        synthesize(plan(authentic, config), tmp_path / "out", workers=1)
    assert not list(tmp_path.glob("out/**/*.mp4"))
