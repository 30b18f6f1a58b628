"""From media to a verdict with the shipped networks: tracks that are taken away, and certified lines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import media_factory
import pytest

from configs.loader import dump, load_config
from configs.schema import CertifiedLine, DecisionConfig, PipelineConfig, TrackDecision, TrackWeights
from data.errors import UsageError
from data.store.store import FeatureStore
from pipeline import Pipeline
from pipeline.bundle import extraction, weights_folder

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TRACK = TrackDecision(centre=-3.5, scale=1.0, track=TrackWeights(bias=1.0))
DECISION = DecisionConfig(
    visual=TRACK,
    audio=TRACK,
    lines=(
        CertifiedLine(rate=0.05, line=0.9, bound=0.0498, alarms=5, clips=208, people=93),
        CertifiedLine(rate=0.2, line=0.6, bound=0.19, alarms=30, clips=208, people=93),
    ),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return FeatureStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def shipped() -> Pipeline:
    return Pipeline.from_pretrained("compact")


def deciding(config: PipelineConfig) -> PipelineConfig:
    return config.model_copy(update={"localize": config.localize.model_copy(update={"decision": DECISION})})


@pytest.fixture(scope="module")
def decisive(shipped: Pipeline) -> Pipeline:
    """The shipped networks with a decision on segments."""
    return replace(shipped, config=deciding(shipped.config))


def test_a_forged_picture_stays_suspicious_without_its_sound(
    shipped: Pipeline, store: FeatureStore, tmp_path: Path
) -> None:
    muted = tmp_path / "muted.mp4"
    media_factory.ffmpeg("-i", EXAMPLES / "forged_visual.mp4", "-an", "-c", "copy", muted)
    report = shipped(muted, store=store)
    finding = report.finding
    assert finding.verdict in ("forged", "undecided")
    assert finding.strongest is not None
    assert (finding.strongest.modality, report.branches) == ("visual", ("visual",))


@pytest.mark.parametrize("which", ["shipped", "decisive"])
def test_an_authentic_picture_without_its_sound_is_not_called_forged(
    which: str, request: pytest.FixtureRequest, store: FeatureStore, tmp_path: Path
) -> None:
    detector: Pipeline = request.getfixturevalue(which)
    media_factory.ffmpeg("-i", EXAMPLES / "machine_voice.mp4", "-an", "-c", "copy", tmp_path / "muted.mp4")
    report = detector(tmp_path / "muted.mp4", store=store)
    assert (report.label, report.intervals) == ("real", ())


def test_forged_sound_stays_suspicious_without_its_picture(
    shipped: Pipeline, store: FeatureStore, tmp_path: Path
) -> None:
    media_factory.ffmpeg("-i", EXAMPLES / "forged_audio.mp4", "-vn", "-c", "copy", tmp_path / "sound.m4a")
    finding = shipped(tmp_path / "sound.m4a", store=store).finding
    assert finding.verdict in ("forged", "undecided")
    assert finding.strongest is not None
    assert finding.strongest.modality == "audio"


def test_a_rate_picks_its_line(decisive: Pipeline) -> None:
    assert decisive.promising(None).decision == DECISION
    for rate in (0.05, 0.2):
        chosen = decisive.promising(rate).decision
        assert chosen is not None
        assert chosen.max_alarms == rate


def test_a_rate_without_a_line_is_refused_with_those_that_there_are(
    decisive: Pipeline, shipped: Pipeline, store: FeatureStore
) -> None:
    with pytest.raises(
        UsageError, match=r"no certified line for a false-alarm rate of 0.01; .* one for 0.05, 0.2"
    ):
        decisive(EXAMPLES / "machine_voice.mp4", store=store, max_alarms=0.01)
    bare = replace(
        shipped,
        config=shipped.config.model_copy(
            update={"localize": shipped.config.localize.model_copy(update={"decision": None})}
        ),
    )
    with pytest.raises(UsageError, match="`pipeline tune` certifies lines"):
        bare.promising(0.05)


def test_a_route_shows_its_branch_whatever_the_verdict(decisive: Pipeline, store: FeatureStore) -> None:
    report = decisive(EXAMPLES / "forged_visual.mp4", store=store, route="visual")
    assert {one.modality for one in report.intervals} == {"visual"}
    assert report.route == "visual"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    shutil.copytree(weights_folder("compact"), tmp_path / "weights")
    (tmp_path / "weights" / "config.yaml").write_text(
        dump(deciding(load_config("compact"))), encoding="utf-8"
    )
    return tmp_path / "weights"


def test_the_decision_survives_its_folder_and_says_nothing_of_another_model(weights: Path) -> None:
    assert Pipeline.from_pretrained(weights).config.localize.decision == DECISION
    assert extraction(weights, "cpu").config.localize.decision is None


def test_run_takes_a_rate_and_refuses_one_that_is_not_certified(
    cli: Callable[..., Any], weights: Path, tmp_path: Path
) -> None:
    arguments = (
        "run",
        "--input",
        EXAMPLES / "forged_visual.mp4",
        "--weights",
        weights,
        "--json",
        "-",
        "--no-html",
    )
    answer = cli(*arguments, "--max-alarms", "0.2")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["intervals"]
    answer = cli(*arguments, "--max-alarms", "0.01")
    assert answer.code == 2
    assert "they carry one for 0.05, 0.2" in answer.err
    assert answer.out == ""
