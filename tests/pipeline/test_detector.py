"""The Python interface."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import media_factory
import numpy as np
import pytest

import pipeline as package
from data.errors import InputError, UsageError, WeightsError
from data.store.store import FeatureStore
from pipeline import Pipeline, Report
from pipeline.bundle import extraction, weights_folder
from pipeline.report.json import dumps, loads
from pipeline.runtime import choose_device


@pytest.fixture(scope="module")
def detector(tiny_bundle: Path) -> Pipeline:
    return Pipeline.from_pretrained(tiny_bundle, device="cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def report(detector: Pipeline, clips: Path) -> Report:
    return detector(media_factory.make("cfr25", clips).path)


def test_a_report_is_typed_and_complete(report: Report, tiny_bundle: Path) -> None:
    # The fused head of the tiny weights is biased towards "both".
    assert report.label == "both"
    assert report.branches == ("joint",)
    assert sum(report.probabilities.values()) == pytest.approx(1.0, abs=1e-5)
    assert list(report.probabilities) == ["real", "visual", "audio", "both"]
    (found,) = report.intervals
    assert found.modality == "both"
    assert 0.5 < found.score <= 1
    assert 0 <= found.start_s < found.end_s <= report.scores.grid.span.end_s
    assert report.complete
    assert report.provenance.preset == "compact"
    assert report.provenance.config_digest
    assert set(report.provenance.weights) == {"tsn", "wav2vec2", "rt_deeploc"}
    assert {"rt-deeploc", "torch", "av", "transformers"} <= report.provenance.versions.keys()
    assert report.provenance.device == "cpu"
    assert report.clock.elapsed_s > 0


def test_the_report_knows_the_input(report: Report, clips: Path) -> None:
    import hashlib

    content = (clips / "cfr25.mp4").read_bytes()
    assert report.input.name == "cfr25.mp4"
    assert report.input.sha256 == hashlib.sha256(content).hexdigest()
    assert report.input.size_bytes == len(content)
    assert report.input.video is not None
    assert (report.input.video.width, report.input.video.height) == (96, 64)


def test_curves_are_numbers_where_media_was_and_nan_elsewhere(report: Report) -> None:
    scores = report.scores
    assert scores.visual is not None
    assert scores.audio is not None
    # 50 pictures; the sound lasts a little longer, and so does the grid.
    assert np.isfinite(scores.visual[:50]).all()
    assert np.isnan(scores.visual[50:]).all()
    assert np.isfinite(scores.joint).all()


def test_the_same_input_gives_the_same_bytes_but_for_the_clock(
    report: Report, detector: Pipeline, clips: Path, tmp_path: Path
) -> None:
    store = FeatureStore(tmp_path)
    cold, warm = (detector(clips / "cfr25.mp4", store=store) for _ in range(2))
    texts = [json.loads(dumps(one)) for one in (report, cold, warm)]
    clocks = [text.pop("clock") for text in texts]
    assert texts[0] == texts[1] == texts[2]
    assert len({json.dumps(clock) for clock in clocks}) > 1


def test_a_report_survives_json(report: Report) -> None:
    assert dumps(loads(dumps(report))) == dumps(report)


@pytest.mark.parametrize(
    ("route", "modalities"),
    [("visual", {"visual"}), ("audio", {"audio"}), ("joint", {"both"}), ("all", {"visual", "audio", "both"})],
)
def test_a_route_shows_its_branch(
    route: Any, modalities: set[str], detector: Pipeline, clips: Path, tiny_bundle: Path
) -> None:
    # With a threshold of zero every branch shows an interval.
    easy = Pipeline.from_pretrained(
        tiny_bundle, device="cpu", overrides=["localize.onset=0", "localize.offset=0"]
    )
    report = easy(clips / "cfr25.mp4", route=route)
    assert {found.modality for found in report.intervals} == modalities
    assert report.route == route


def test_without_sound_only_the_picture_can_be_forged(detector: Pipeline, clips: Path) -> None:
    report = detector(media_factory.make("no_audio", clips).path)
    assert report.label in ("real", "visual")
    assert report.probabilities["audio"] == report.probabilities["both"] == 0
    assert report.coverage["audio"] is None
    assert report.scores.audio is None
    assert report.scores.audio_error is None


def test_map_yields_errors_and_goes_on(detector: Pipeline, clips: Path) -> None:
    good, gone = media_factory.make("tenth", clips).path, clips / "gone.mp4"
    pairs = list(detector.map([gone, good]))
    assert [path for path, _ in pairs] == [gone, good]
    assert isinstance(pairs[0][1], InputError)
    assert pairs[0][1].path == gone
    assert isinstance(pairs[1][1], Report)


def test_longer_than_a_window_is_analysed_to_its_end(detector: Pipeline, clips: Path) -> None:
    path = clips / "long.mp4"
    media_factory.write(path, n=200, audio_seconds=8.0)
    report = detector(path)  # windows of 64 steps with an overlap of 32
    assert report.scores.grid.n >= 200
    assert np.isfinite(report.scores.joint).all()


def test_overrides_reach_the_digest(tiny_bundle: Path, detector: Pipeline) -> None:
    other = Pipeline.from_pretrained(tiny_bundle, device="cpu", overrides=["localize.onset=0.9"])
    assert other.config.localize.onset == 0.9
    assert other.config.digest() != detector.config.digest()


def test_a_folder_of_another_preset_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match="'compact', not 'paper'"):
        Pipeline.from_pretrained(tiny_bundle, preset="paper", device="cpu")


def test_paper_without_trained_weights_names_the_command() -> None:
    with pytest.raises(WeightsError, match="pipeline train --preset paper"):
        Pipeline.from_pretrained("paper", device="cpu")


@pytest.mark.parametrize("source", ["", "no/such/folder", "../weights"])
def test_what_is_neither_preset_nor_folder_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        weights_folder(tmp_path / source / "x")


def test_extraction_does_not_need_the_detector(tiny_bundle: Path, tmp_path: Path) -> None:
    import shutil

    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    (bundle / "rt_deeploc.safetensors").unlink()
    setup = extraction(bundle, "cpu")
    assert setup.bundle == bundle
    assert setup.extractors.audio.dim == 16


def test_the_processor_is_always_a_device() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") in ("cpu", "cuda")


def test_the_package_exports_two_names_and_no_more() -> None:
    assert package.__all__ == ["Pipeline", "Report"]
    with pytest.raises(AttributeError, match="Detector"):
        _ = package.Detector


def in_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=600
    )


def test_importing_the_package_does_not_load_torch(tmp_path: Path) -> None:
    done = in_python(
        "import pipeline, sys; assert 'torch' not in sys.modules; print(pipeline.__all__)", tmp_path
    )
    assert done.stdout.strip() == "['Pipeline', 'Report']", done.stderr


@pytest.mark.parametrize("name", ["models", "data", "configs", "extractors"])
def test_a_folder_that_hides_a_package_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    done = in_python("import pipeline", tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("ImportError: ")
    assert str((tmp_path / name).resolve()) in last
    assert "use the `pipeline` command" in last


def test_the_guard_accepts_our_own_packages() -> None:
    package.check_siblings(Path(package.__file__).parents[1])
