"""The weights that ship with the package: whole, small, documented, and better than a coin on the samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from media_factory import ffmpeg

from configs.loader import load_config
from data.timeline import Interval
from pipeline import Pipeline
from pipeline.bundle import bundle_config, weights_folder

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TRUTH = json.loads((EXAMPLES / "truth.json").read_text(encoding="utf-8"))
FOLDER = weights_folder("compact")


@pytest.fixture(scope="module")
def detector() -> Pipeline:
    return Pipeline.from_pretrained("compact")


def test_the_folder_is_small_and_holds_no_pickles() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 95e6
    assert {path.suffix for path in files} == {".safetensors", ".json", ".yaml", ".md"}


def test_its_settings_are_those_of_the_preset() -> None:
    assert bundle_config(FOLDER) == load_config("compact")


def test_the_model_card_says_what_it_must() -> None:
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    for topic in ("research use", "licence of the source", "What it can't do", "video-level labels only"):
        assert topic in card


@pytest.mark.parametrize("name", TRUTH)
def test_the_machine_voice_of_every_sample_is_noticed(detector: Pipeline, name: str) -> None:
    finding = detector(EXAMPLES / name).finding
    assert finding.verdict in ("forged", "undecided")
    assert finding.strongest is not None
    assert finding.strongest.modality == "audio"
    *_, voice = TRUTH[name]["intervals"]
    spoken = Interval(finding.strongest.start_s, finding.strongest.end_s)
    assert spoken.tiou(Interval(voice[0], voice[1])) > 0.8


def test_a_forged_picture_without_sound_is_met_in_time(detector: Pipeline, tmp_path: Path) -> None:
    ffmpeg("-i", EXAMPLES / "forged_visual.mp4", "-an", "-c", "copy", tmp_path / "muted.mp4")
    finding = detector(tmp_path / "muted.mp4").finding
    assert finding.verdict in ("forged", "undecided")
    assert finding.strongest is not None
    start_s, end_s, _ = TRUTH["forged_visual.mp4"]["intervals"][0]
    found = Interval(finding.strongest.start_s, finding.strongest.end_s)
    assert found.tiou(Interval(start_s, end_s)) > 0.8


@pytest.mark.media
def test_a_real_clip_is_analysed_whole(detector: Pipeline, media: Path) -> None:
    report = detector(sorted((media / "clips").glob("*.mp4"))[0])
    assert report.complete
    assert sum(report.probabilities.values()) == pytest.approx(1)
    assert all("not assessed there" in warning for warning in report.warnings)
