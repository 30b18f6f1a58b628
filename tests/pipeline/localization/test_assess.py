"""Abstention: a track with nothing to judge is kept, masked and named, and a clip without any gets no answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import media_factory
import numpy as np
import pytest
from evaluation_set import write_set

from configs.schema import LocalizeConfig
from data.files import file_sha256
from data.labels import NAMES
from data.manifest import Manifest
from data.media import Assessment, AudioStream, MediaInfo, StreamCoverage, VideoStream
from data.store.store import FeatureStore
from data.timeline import Interval, TimeGrid
from pipeline import Pipeline
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.predict import NEUTRAL, predict
from pipeline.extraction.extract import extract_clip
from pipeline.extraction.keys import store_keys
from pipeline.extraction.track import Track
from pipeline.localization.assess import assess, assessable, caution
from pipeline.media.decoder import DecodePool
from pipeline.report.json import dumps, loads
from pipeline.report.rows import summary
from pipeline.training.tune import tune

if TYPE_CHECKING:
    from conftest import Answer

PLAIN = LocalizeConfig()
WHOLE = StreamCoverage(4.0, 4.0)
NO_FACE = "no face was found in the picture"
NO_SPEECH = "no speech was found in the sound"


def info(start_s: float = 0.0) -> MediaInfo:
    video = VideoStream("h264", 96, 64, 0, "yuv420p", 25.0, start_s, 4.0)
    return MediaInfo(Path("a.mp4"), "", 1, "mp4", 0.0, 4.0, video, AudioStream("aac", 16_000, 1, 0.0, 4.0))


def judged(valid: np.ndarray, coverage: StreamCoverage = WHOLE, start_s: float = 0.0) -> Assessment:
    """What is said of a picture track whose steps are `valid`, beside a sound track that is."""
    enough = assessable(valid, Fraction(1, 25), PLAIN)
    found = assess(
        {"visual": valid if enough else np.zeros_like(valid), "audio": np.ones_like(valid)},
        {"visual": float(valid.sum() / 25), "audio": len(valid) / 25},
        TimeGrid.at_rate(25, len(valid)),
        info(start_s),
        {"visual": coverage, "audio": WHOLE},
    )
    assert found["visual"] is not None
    return found["visual"]


def steps(*spans: tuple[float, float], of_s: float = 4.0) -> np.ndarray:
    """Steps of 1/25 s, valid within `spans` of seconds."""
    valid = np.zeros(round(25 * of_s), bool)
    for start_s, end_s in spans:
        valid[round(25 * start_s) : round(25 * end_s)] = True
    return valid


# --- enough to judge --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_s", "valid_s", "enough"),
    [
        (10.0, 1.0, True),
        (10.0, 0.96, False),
        (10.0, 0.0, False),
        (1.2, 0.6, True),  # of a clip under two seconds half is enough
        (1.2, 0.56, False),
        (0.04, 0.04, True),
        (0.0, 0.0, False),
    ],
)
def test_a_second_is_enough_and_of_a_shorter_clip_half(of_s: float, valid_s: float, enough: bool) -> None:
    assert assessable(steps((0.0, valid_s), of_s=of_s), Fraction(1, 25), PLAIN) == enough


def test_pieces_of_a_track_add_up() -> None:
    assert assessable(steps((0.0, 0.5), (3.0, 3.5)), Fraction(1, 25), PLAIN)


# --- what is said -----------------------------------------------------------------------------------------------------


def test_a_stretch_without_a_face_is_named_with_its_place() -> None:
    found = judged(steps((0.0, 1.0), (2.0, 4.0)))
    assert found == Assessment(3.0, (Interval(1.0, 2.0),), None)
    (warning,) = caution({"visual": found}, {"visual": WHOLE}, PLAIN)
    assert warning == "no face, or one too briefly, in 25.0 % of the picture: not assessed there"


def test_a_short_stretch_is_shown_without_a_warning() -> None:
    found = judged(steps((0.0, 1.0), (1.24, 4.0)))
    assert found.gaps == (Interval(1.0, 1.24),)
    assert caution({"visual": found}, {"visual": WHOLE}, PLAIN) == ()


def test_what_was_not_decoded_is_no_stretch_without_a_face() -> None:
    torn = StreamCoverage(4.0, 3.0, (Interval(1.02, 2.03),))
    # The gap's borders lie within steps, which are invalid as a whole.
    assert judged(steps((0.0, 1.0), (2.04, 4.0)), torn).gaps == ()


def test_before_a_late_track_begins_nothing_is_missing() -> None:
    late = StreamCoverage(3.0, 3.0)
    assert judged(steps((1.0, 4.0)), late, start_s=1.0).gaps == ()


@pytest.mark.parametrize(
    ("valid", "coverage", "reason"),
    [
        (steps(), WHOLE, NO_FACE),
        (steps((1.0, 1.4)), WHOLE, "only 0.40 s of the picture show a face"),
        (
            steps((0.0, 0.4)),
            StreamCoverage(4.0, 0.4, (Interval(0.4, 4.0),)),
            "only 0.40 s of the picture could be decoded",
        ),
    ],
)
def test_a_track_that_is_not_assessable_says_why(
    valid: np.ndarray, coverage: StreamCoverage, reason: str
) -> None:
    found = judged(valid, coverage)
    assert found.reason == reason
    assert sum(gap.duration_s for gap in found.gaps) == pytest.approx(coverage.decoded_s)
    assert caution({"visual": found}, {"visual": coverage}, PLAIN) == (f"not assessable: {reason}",)


# --- from file to report ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector(tiny_bundle: Path) -> Pipeline:
    return Pipeline.from_pretrained(tiny_bundle, device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media_factory.make("cfr25", tmp_path_factory.mktemp("clips")).path


Blinder = Callable[..., None]


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> Blinder:
    """Makes the extractors find nothing to judge in the named tracks, from step `first` on."""
    append, begin = Track.append, Track.__init__

    def blinding(*names: str, first: int = 0) -> None:
        def begun(self: Any, modality: str, *more: Any) -> None:
            begin(self, modality, *more)  # type: ignore[arg-type]
            self.modality = modality

        def blinded(self: Any, values: np.ndarray, valid: np.ndarray) -> None:
            if self.modality in names:
                valid = valid & (np.arange(len(valid)) + self._done < first)
            append(self, values, valid)

        monkeypatch.setattr(Track, "__init__", begun)
        monkeypatch.setattr(Track, "append", blinded)

    return blinding


def test_a_track_without_a_valid_step_is_kept_and_not_decoded_again(
    blind: Blinder, detector: Pipeline, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind("visual", "audio")
    store = FeatureStore(tmp_path)
    first = extract_clip(clip, detector.extractors, store, detector.config)
    assert first.visual is not None
    assert first.visual.n == 50
    assert not first.visual.flags().any()
    assert not first.visual.read(0, 50).values.any()
    assert first.coverage["visual"] == StreamCoverage(2.0, 2.0, units=50, placed=50)
    assert first.complete
    asked: list[list[str]] = []
    submit = DecodePool.submit

    def spy(pool: DecodePool, path: Path, wanted: Any, **more: Any) -> Any:
        asked.append(list(wanted))
        return submit(pool, path, wanted, **more)

    monkeypatch.setattr(DecodePool, "submit", spy)
    again = extract_clip(clip, detector.extractors, store, detector.config)
    assert asked == [[]]
    assert (again.coverage, again.fresh) == (first.coverage, False)


def test_without_a_face_the_sound_alone_is_judged(blind: Blinder, detector: Pipeline, clip: Path) -> None:
    blind("visual")
    report = detector(clip)
    assert report.label in ("real", "audio")
    assert report.probabilities is not None
    assert report.probabilities["visual"] == report.probabilities["both"] == 0
    assert sum(report.probabilities.values()) == pytest.approx(1)
    assert report.scores.visual is None
    assert report.scores.visual_error is None
    assert report.scores.audio is not None
    assert not {found.modality for found in report.intervals} & {"visual", "both"}
    assert dict(report.doubts) == {"visual": NO_FACE}
    assert report.warnings == (f"not assessable: {NO_FACE}",)
    assert not report.complete
    assert loads(dumps(report)).assessment == report.assessment
    assert "; the picture is not assessable (" in summary(report, "a.mp4")[0]


@pytest.mark.parametrize("route", ["auto", "all", "visual"])
def test_without_face_and_speech_there_is_no_answer(
    route: Any, blind: Blinder, detector: Pipeline, clip: Path
) -> None:
    blind("visual", "audio")
    report = detector(clip, route=route)
    assert (report.label, report.probabilities, report.intervals) == ("not_assessable", None, ())
    assert report.branches == ()
    assert report.scores.visual is report.scores.audio is None
    assert np.isnan(report.scores.joint).all()
    assert dict(report.doubts) == {"visual": NO_FACE, "audio": NO_SPEECH}
    assert not report.complete
    assert summary(report, "a.mp4")[0] == f"a.mp4: not assessable: {NO_FACE}, and {NO_SPEECH}"


def test_half_a_clip_with_a_face_is_judged_there(blind: Blinder, detector: Pipeline, clip: Path) -> None:
    blind("visual", first=30)
    report = detector(clip)
    assert report.scores.visual is not None
    assert np.isfinite(report.scores.visual[:30]).all()
    assert np.isnan(report.scores.visual[30:]).all()
    assert report.assessment["visual"] == Assessment(1.2, (Interval(1.2, 2.0),))
    assert report.warnings == ("no face, or one too briefly, in 40.0 % of the picture: not assessed there",)
    assert report.complete


def test_a_picture_without_a_face_and_without_sound_is_no_answer(
    blind: Blinder, detector: Pipeline, tmp_path: Path
) -> None:
    blind("visual")
    report = detector(media_factory.make("no_audio", tmp_path).path)
    assert report.label == "not_assessable"
    assert summary(report, "a.mp4")[0] == f"a.mp4: not assessable: {NO_FACE}, and there is no sound"


def test_the_command_says_so_and_ends_with_4(
    blind: Blinder, cli: Callable[..., Answer], clip: Path, tiny_bundle: Path
) -> None:
    blind(*NAMES)
    answer = cli("run", "--input", clip, "--weights", tiny_bundle)
    assert answer.code == 4, answer.err
    assert answer.out.splitlines()[0] == f"cfr25.mp4: not assessable: {NO_FACE}, and {NO_SPEECH}"
    document = json.loads(Path("pipeline-out/cfr25.mp4.json").read_text())
    assert (document["label"], document["probabilities"]) == ("not_assessable", None)
    assert Path("pipeline-out/cfr25.mp4.html").is_file()
    folder = cli("run", "--input", clip.parent, "--weights", tiny_bundle, "--out", "all", "--no-html")
    assert folder.code == 4
    assert "cfr25.mp4,not_assessable" in Path("all/index.csv").read_text().replace('"', "")
    again = cli("report", "--input", "pipeline-out/cfr25.mp4.json", "--media", clip, "--export", "vtt")
    assert again.code == 0, again.err
    assert f"Not assessable: {NO_FACE}." in Path("pipeline-out/cfr25.mp4.vtt").read_text()


# --- many clips ------------------------------------------------------------------------------------------------------


def test_clips_without_anything_to_judge_are_predicted_measured_and_tuned_on(
    detector: Pipeline, tmp_path: Path
) -> None:
    samples = write_set(tmp_path / "set")[:4]
    manifest = Manifest(tmp_path / "set", tuple(samples))
    store = FeatureStore(tmp_path / "store")
    blank(store, detector, manifest, {0: ("visual", "audio"), 1: ("visual",), 2: ("audio",)})
    found = predict(detector, manifest, "dev", store)
    assert [one.abstained for one in found] == [True, False, False, False]
    assert not any(one.unread for one in found)
    assert (found[0].score, found[0].probabilities) == (0.5, NEUTRAL)
    assert found[0].proposals is not None
    assert found[0].proposals.shape == (0, 3)
    assert found[0].steps is not None
    assert set(found[0].steps.curves) == {"joint"}
    assert np.isnan(found[0].steps.curves["joint"]).all()
    assert found[1].steps is not None
    assert set(found[1].steps.curves) == {"audio", "joint"}
    result = evaluate(found, manifest, "dev", replicates=0)
    assert result.notes[0].startswith("1 clips are not assessable")
    assert tune(detector, [manifest], store, "dev").clips == 4


def blank(
    store: FeatureStore, detector: Pipeline, manifest: Manifest, tracks: dict[int, tuple[str, ...]]
) -> None:
    """Stores, for clips of `manifest` by number, tracks of 30 steps in which there is nothing to judge."""
    for k, names in tracks.items():
        sha256 = file_sha256(manifest.root / manifest.samples[k].file)
        keys = store_keys(sha256, detector.extractors, detector.config)
        for name in names:
            dim = getattr(detector.extractors, name).dim
            with store.writer(keys[name], dim, 25, {}) as writer:
                writer.append(np.zeros((30, dim)), np.zeros(30, bool))
                writer.note("coverage", json.dumps(asdict(StreamCoverage(1.2, 1.2))))
