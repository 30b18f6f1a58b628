"""What a reproduction takes: hours by hand from the rates, every method timed, the command on metadata alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from reproduction_set import World, samples
from training_set import AUDIO, VISUAL

from configs.loader import apply_overrides, validate
from data.errors import UsageError
from data.manifest import Manifest, Sample, write_lavdf
from pipeline.reproduction import estimate as module
from pipeline.reproduction.estimate import Pace, estimate, pace
from pipeline.reproduction.rates import DECODING, EXTRACTION
from pipeline.reproduction.reproduce import METHODS

if TYPE_CHECKING:
    from conftest import Answer

Cli = Callable[..., "Answer"]


def clips(split: str, count: int, duration_s: float = 10.0) -> list[Sample]:
    return [Sample(Path(split, f"{k}.mp4"), k % 4, split, (), duration_s) for k in range(count)]


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes that take 0.5 s a step and 0.1 s a clip, for a million weights, on a machine of four cores."""
    monkeypatch.setattr(module, "pace", lambda *_: Pace(0.5, 0.1, 1_000_000))
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: set(range(4)), raising=False)


@pytest.mark.usefixtures("fixed")
@pytest.mark.parametrize(("network", "kind"), [("face_traces", "compact"), ("tsn", "paper")])
def test_hours_and_disk_by_hand(network: str, kind: str, tmp_path: Path) -> None:
    """Train and dev: 720 clips of 10 s, two hours. 2 seeds of 3 steps of 0.5 s: 3 s for each method."""
    config = World(tmp_path).setup(steps=3).config
    visual = config.visual.model_copy(update={"network": network})
    config = config.model_copy(update={"visual": visual})
    held = Manifest(tmp_path, (*clips("train", 700), *clips("dev", 20), *clips("test", 36)))
    found = estimate("table1", config, (held, held), "test", 2, "cpu")
    rate = EXTRACTION[kind].value
    stages = {stage.name: stage for stage in found.stages}
    extracted = stages[f"extract {tmp_path.name}, train and dev"]
    assert extracted.amount == "720 clips, 2.0 h"
    assert extracted.here_h == pytest.approx(2 / (4 * rate))
    assert extracted.cores_h == pytest.approx(2 / (64 * rate))
    fed = DECODING.value if kind == "paper" else rate
    assert extracted.gpu_h == pytest.approx(2 / (16 * fed))
    assert extracted.disk_bytes == 7200 * 25 * (2 * (VISUAL + AUDIO) + 2)
    trained = stages["train RT-DeepLoc"]
    assert trained.here_h == pytest.approx(2 * 3 * 0.5 / 3600)
    assert trained.cores_h == pytest.approx(trained.here_h / 16)
    assert trained.gpu_h is None
    assert trained.disk_bytes == 2 * 1_000_000 * 16
    # Two seeds of each method: 36 clips of 0.1 s each, then 1000 samples of 36 clips in two protocols.
    runs = 2 * len(METHODS)
    assert stages["evaluate"].here_h == pytest.approx(runs * (36 * 0.1 + 1.5e-6 * 36 * 1000 * 2) / 3600)
    text = found.markdown()
    assert text.count("| train ") == len(METHODS)
    assert "not measured" in text
    assert EXTRACTION[kind].where in text


@pytest.mark.usefixtures("fixed")
def test_runs_with_equal_settings_count_once(tmp_path: Path) -> None:
    config = World(tmp_path).setup(steps=3).config
    held = Manifest(tmp_path, tuple(clips("train", 4) + clips("test", 4)))
    stages = estimate("figure3", config, (held, held), "test", 1, "cpu").stages
    # Nine points; K = 10 or ρ = 0.75 may be the method's own settings.
    digests = {
        validate(apply_overrides(config.model_dump(mode="json"), v.changes)).digest()
        for v in module.variants("figure3")
    }
    assert sum(stage.name.startswith("train ") for stage in stages) == len(digests) < 9


@pytest.mark.parametrize("variant", METHODS, ids=lambda variant: variant.folder)
def test_every_method_can_be_timed(variant: module.Variant, tmp_path: Path) -> None:
    values = World(tmp_path).setup(steps=3).config.model_dump(mode="json")
    found = pace(validate(apply_overrides(values, variant.changes)), 40, "cpu")
    assert found.step_s > 0
    assert found.clip_s > 0
    assert found.weights > 1000


@pytest.mark.usefixtures("fixed")
def test_metadata_without_lengths_are_refused(tmp_path: Path) -> None:
    held = Manifest(tmp_path, tuple(clips("train", 2) + clips("test", 2, 0.0)))
    with pytest.raises(UsageError, match="clips without a length"):
        estimate("table1", World(tmp_path).setup().config, (held, held), "test", 1, "cpu")


@pytest.mark.usefixtures("fixed")
@pytest.mark.parametrize("preset", ["compact", "paper"])
def test_the_command_needs_the_metadata_alone(cli: Cli, preset: str, tmp_path: Path) -> None:
    root = tmp_path / "LAV-DF"
    root.mkdir()
    write_lavdf(root, samples({"train": 8, "dev": 4, "test": 4}))
    answer = cli(
        *("reproduce", "--table", "1", "--dataset", root, "--out", tmp_path / "out", "--preset", preset),
        "--dry-run",
    )
    assert answer.code == 0, answer.err
    assert "| extract LAV-DF, train and dev | 12 clips" in answer.out
    assert "| **all** |" in answer.out
    assert not (tmp_path / "out").exists()
