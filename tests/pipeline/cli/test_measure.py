"""`pipeline evaluate` and `tune` from files on the disk to what they print, write and return."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from evaluation_set import write_set

from data.manifest import Manifest
from data.store.store import FeatureStore

if TYPE_CHECKING:
    from conftest import Answer

Cli = Callable[..., "Answer"]


@pytest.fixture(scope="module")
def stored(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, tuple[Any, ...]]:
    """A data set, the store with its features, and what the detector says of its clips."""
    from model_factory import one_thread

    from pipeline.detector import Pipeline
    from pipeline.evaluation.predict import predict

    root = tmp_path_factory.mktemp("measured")
    write_set(root / "set")
    with one_thread():
        detector = Pipeline.from_pretrained(tiny_bundle, device="cpu")
        manifest = Manifest.lavdf(root / "set")
        found = predict(detector, manifest, "dev", FeatureStore(root / "store"))
    return root / "set", root / "store", found


def test_predictions_of_a_detector(stored: tuple[Path, Path, tuple[Any, ...]]) -> None:
    *read, broken = stored[2]
    for one in read:
        assert not one.unread
        assert one.score == pytest.approx(1 - one.probabilities[0])
        assert sum(one.probabilities) == pytest.approx(1)
        assert set(one.steps.curves) == {"visual", "audio", "joint"}
        assert one.steps.grid.n >= 30
        assert one.steps.curves["visual"].shape == (one.steps.grid.n,)
        assert list(one.proposals[:, 0]) == sorted(one.proposals[:, 0], reverse=True)
    assert any(len(one.proposals) for one in read)
    assert broken.unread
    assert (broken.score, len(broken.proposals), broken.steps) == (0.0, 0, None)


def test_evaluate_writes_tables_and_submissions(
    cli: Cli, stored: tuple[Path, Path, tuple[Any, ...]], tiny_bundle: Path, tmp_path: Path
) -> None:
    root, store, found = stored
    out = tmp_path / "out"
    answer = cli(
        *("evaluate", "--dataset", root, "--split", "dev", "--weights", tiny_bundle, "--store", store),
        *("--out", out, "--bootstrap", "20", "--device", "cpu"),
    )
    assert answer.code == 4  # one clip could not be analysed
    assert (
        "1 clips could not be analysed and count as classified authentic, first dev/000004.mp4" in answer.out
    )
    assert "## localization, honest" in answer.out
    assert sorted(path.name for path in out.iterdir()) == [
        "evaluation.csv",
        "evaluation.json",
        "evaluation.md",
        "prediction.txt",
        "predictions.json",
    ]
    assert (out / "evaluation.md").read_text() in answer.out
    document = json.loads((out / "evaluation.json").read_text())
    assert document["clips"] == {"real": 1, "visual": 2, "audio": 1, "both": 1}
    assert document["tables"]["step level"]["joint"]["steps"]["value"] == sum(
        int(np.isfinite(one.steps.curves["joint"]).sum()) for one in found[:-1]
    )

    again = cli(
        *("evaluate", "--dataset", root, "--split", "dev", "--bootstrap", "20", "--out", tmp_path / "again"),
        *("--predictions", out / "predictions.json", "--scores", out / "prediction.txt"),
    )
    assert again.code == 0
    repeated = json.loads((tmp_path / "again" / "evaluation.json").read_text())["tables"]
    for table in ("localization, honest", "localization, paper"):
        assert repeated[table] == document["tables"][table]
    assert repeated["video level"]["all"]["AUC"] == document["tables"]["video level"]["all"]["AUC"]


@pytest.mark.parametrize(
    ("server", "file"),
    [
        ("1m-deepfakes", "prediction.zip"),
        ("ddl-gav", "submission.zip"),
        ("mle-dojo", "submission.csv"),
        ("deepfakebench", "frames.txt"),
        ("partialspoof", ""),
    ],
)
def test_a_detectors_submission_is_accepted(
    server: str,
    file: str,
    cli: Cli,
    stored: tuple[Path, Path, tuple[Any, ...]],
    tiny_bundle: Path,
    tmp_path: Path,
) -> None:
    """Of five clips one cannot be read: it has a place in every format."""
    root, store, _ = stored
    command = ("evaluate", "--dataset", root, "--split", "dev")
    made = cli(
        *(*command, "--weights", tiny_bundle, "--store", store, "--device", "cpu", "--bootstrap", "0"),
        *("--out", tmp_path, "--write", server),
    )
    assert made.code == 4, made.err
    assert f"wrote {tmp_path / server}" in made.out
    answer = cli(*command, "--submission", tmp_path / server / file, "--server", server)
    assert answer.code == 0, answer.err
    assert f"measured as {server} does" in answer.out


def test_a_submission_needs_a_folder_to_be_written_to(cli: Cli, tmp_path: Path) -> None:
    refused = cli("evaluate", "--dataset", tmp_path, "--write", "1m-deepfakes")
    assert refused.code == 2
    assert "give --out DIR" in refused.err
    unknown = cli("evaluate", "--dataset", tmp_path, "--write", "nobody")
    assert unknown.code == 2
    assert "is not one of 1m-deepfakes" in unknown.err


def test_foreign_predictions_need_no_clip_on_the_disk(cli: Cli, tmp_path: Path) -> None:
    clips = write_set(tmp_path / "set")
    shutil.rmtree(tmp_path / "set" / "dev")
    rows = {s.file.as_posix(): [[0.9, p.start_s, p.end_s] for p in s.fake_periods] for s in clips}
    (tmp_path / "p.json").write_text(json.dumps(rows))
    command = (
        "evaluate",
        "--dataset",
        tmp_path / "set",
        "--split",
        "dev",
        "--predictions",
        tmp_path / "p.json",
    )
    answer = cli(*command, "--protocol", "lavdf", "--protocol", "honest", "--bootstrap", "0")
    assert answer.code == 0
    assert "80.00" in answer.out  # a perfect result of five segments: 1 - 1/5
    assert "100.00" in answer.out
    assert "video level" not in answer.out


def test_predictions_with_faults_are_never_scored(cli: Cli, tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    (tmp_path / "p.json").write_text('{"dev/000000.mp4": [[NaN, 0, 1]], "dev/000009.mp4": []}')
    command = (
        "evaluate",
        "--dataset",
        tmp_path / "set",
        "--split",
        "dev",
        "--predictions",
        tmp_path / "p.json",
    )
    answer = cli(*command, "--out", tmp_path / "out")
    assert (answer.code, answer.out) == (3, "")
    assert (
        "6 fault(s), first: 'dev/000000.mp4' #0 [nan, 0.0, 1.0] has a score that is not a number"
        in answer.err
    )
    assert "'dev/000009.mp4' is not in this split" in answer.err
    assert "'dev/000001.mp4' is missing" in answer.err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--weights", "w", "--predictions", "p"), "not both"),
        (("--store", "s", "--scores", "p"), "not both"),
        (("--weights", "w"), "a detector is evaluated from stored features; give --store DIR"),
        (("--predictions", "p", "--protocol", "fair"), "not one of honest, lavdf"),
    ],
)
def test_options_that_contradict_each_other(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    answer = cli("evaluate", "--dataset", tmp_path, *arguments)
    assert answer.code == 2
    assert said in " ".join(answer.err.replace("│", " ").split())


def test_tune_changes_the_weights_folder_and_says_what_it_used(
    cli: Cli, stored: tuple[Path, Path, tuple[Any, ...]], tiny_bundle: Path, tmp_path: Path
) -> None:
    root, store, _ = stored
    shutil.copytree(tiny_bundle, tmp_path / "weights")
    answer = cli(
        *("tune", "--dataset", root, "--weights", tmp_path / "weights", "--store", store),
        *("--metric", "AR@5", "--device", "cpu"),
    )
    assert answer.code == 0, answer.err
    assert "interval labels of dev were used; the record is" in answer.out
    record = json.loads((tmp_path / "weights" / "tuning.json").read_text())
    assert (record["clips"], record["metric"]) == (5, "AR@5")
    assert record["best"] >= record["trials"][0]["score"]

    from configs.loader import load_config

    tuned = load_config(tmp_path / "weights" / "config.yaml").localize
    assert {name: getattr(tuned, name) for name in record["chosen"]} == record["chosen"]


def test_tune_fits_the_decision_to_clips_that_networks_had_not_seen(
    cli: Cli, stored: tuple[Path, Path, tuple[Any, ...]], tiny_bundle: Path, tmp_path: Path
) -> None:
    from data.manifest.sidecar import EditedSegment, SynthesizedClip
    from pipeline.training.crossfit import UNSEEN, Unseen, save_unseen

    root, store, _ = stored
    weights, folder = tmp_path / "weights", tmp_path / "extractors"
    shutil.copytree(tiny_bundle, weights)
    tune = ("tune", "--dataset", root, "--weights", weights, "--store", store, "--device", "cpu", "--unseen")
    answer = cli(*tune, folder)
    assert answer.code == 3
    assert "unseen: is not there" in answer.err

    def unseen(number: int) -> Unseen:
        """Every third clip has forged sound, with evidence of it."""
        evidence = np.random.default_rng(number).normal(0, 0.5, (50, 4)).astype(np.float32)
        spans = () if number % 3 else (EditedSegment(0.4, 1.2, "audio", "vocoder"),)
        evidence[10:30, 0] += 5 * len(spans)
        name, person = f"{number}.mp4", f"p{number}"
        clip = SynthesizedClip(
            name, person, "g", "train", 2 * len(spans), spans, (), None, "s", 0.0, 0, 32000, 9
        )
        return Unseen("material", clip, evidence, np.ones(50, np.bool_))

    save_unseen(folder / UNSEEN / "visual.safetensors", [])
    save_unseen(folder / UNSEEN / "audio.safetensors", [unseen(number) for number in range(120)])
    answer = cli(*tune, folder)
    assert answer.code == 0, answer.err
    assert "on 120 clips of 120 people, each judged by a fit to others" in answer.out
    decision = json.loads((weights / "tuning.json").read_text())["decision"]
    assert [line["clips"] for line in decision["lines"]] == [80, 80]
    assert decision["lines"][0]["recall"] > 0.9


def test_tune_calibrates_what_reports_and_predictions_say(
    cli: Cli, stored: tuple[Path, Path, tuple[Any, ...]], tiny_bundle: Path, tmp_path: Path
) -> None:
    from configs.schema import Calibration
    from pipeline.bundle import extraction
    from pipeline.detector import Pipeline
    from pipeline.evaluation.predict import predict
    from pipeline.localization.calibrate import calibrated

    root, store, before = stored
    weights = tmp_path / "weights"
    shutil.copytree(tiny_bundle, weights)
    answer = cli("tune", "--dataset", root, "--weights", weights, "--store", store, "--device", "cpu")
    assert answer.code == 0, answer.err
    fitted = json.loads((weights / "tuning.json").read_text())["calibration"]
    assert fitted["clips"] == 4  # the fifth cannot be read
    assert fitted["log_loss"]["after"] < fitted["log_loss"]["before"]
    old, new = (fitted["calibration_error"][when] for when in ("before", "after"))
    assert f"on the 4 clips it was fitted to: {old:.4f} -> {new:.4f}" in answer.out
    assert f"temperature {fitted['temperature']:g}, bias of real, visual, audio, both" in answer.out

    detector = Pipeline.from_pretrained(weights, device="cpu")
    calibration = detector.config.localize.calibration
    assert calibration == Calibration(temperature=fitted["temperature"], bias=tuple(fitted["bias"]))
    after = predict(detector, Manifest.lavdf(root), "dev", FeatureStore(store))
    for one, was in zip(after[:4], before[:4], strict=True):
        assert one.probabilities == pytest.approx(calibrated(was.probabilities, calibration))
        assert one.probabilities != pytest.approx(was.probabilities)
    report = detector(root / after[0].file, store=FeatureStore(store))
    assert tuple(report.probabilities.values()) == pytest.approx(after[0].probabilities)
    # What is trained on the folder's extractors is another model.
    assert extraction(weights, "cpu").config.localize.calibration == Calibration()
