"""Training: it learns from video labels, blind to intervals, writes what it says, and refuses bad input."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_set import SETTINGS, Reference, Set, config, equal, keys, rows, run

import pipeline.training.train
from configs.loader import load_config, validate
from data.errors import StoreError, UsageError, WeightsError
from data.files import file_sha256
from data.store.store import FeatureStore
from models.weights import load_weights
from pipeline.training.train import TrainingError, train, video_scores

# --- weak supervision -----------------------------------------------------------------------------------------


def test_clips_without_face_or_speech_are_trained_on_without_nan(tmp_path: Path) -> None:
    """Of every class one clip has no face, one no speech, and one neither."""
    clips = Set(tmp_path / "data")
    for k in range(12):
        key = keys(file_sha256(clips.root / clips.samples[k].file))
        for name, dim, blind in (("visual", 6, (0, 2)), ("audio", 5, (1, 2))):
            if k // 4 in blind:
                n = clips.store.reader(key[name]).n
                clips.store.path(key[name]).unlink()
                with clips.store.writer(key[name], dim, 25, {}) as writer:
                    writer.append(np.zeros((n, dim)), np.zeros(n, bool))
    weights = run(clips, tmp_path / "run")
    assert all(torch.isfinite(value).all() for value in weights.values())
    for row in rows(tmp_path / "run", "train"):
        assert all(np.isfinite(value) for value in row.values() if isinstance(value, float))


def test_intervals_change_no_bit_and_labels_do(
    clips: Set, reference: Reference, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda: clips.relabel(lambda rows: None))

    def shuffle(rows: list[dict[str, Any]]) -> None:
        periods = [row["fake_periods"] for row in rows]
        for row, other in zip(rows, periods[5:] + periods[:5], strict=True):
            row["fake_periods"] = other

    def remove(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            del row["fake_periods"]

    for name, change in (("shuffled", shuffle), ("removed", remove)):
        before = [sample.fake_periods for sample in clips.manifest.samples]
        clips.relabel(change)
        assert [sample.fake_periods for sample in clips.manifest.samples] != before
        assert equal(run(clips, tmp_path / name), reference[1])
    clips.relabel(lambda rows: rows[1].update(modify_audio=True))
    assert not equal(run(clips, tmp_path / "relabelled"), reference[1])


@pytest.mark.parametrize("method", ["cola", "fustal_generator", "fustal", "sal", "loco", "mdp"])
def test_intervals_change_no_bit_of_the_compared_methods(
    clips: Set, tmp_path: Path, request: pytest.FixtureRequest, method: str
) -> None:
    request.addfinalizer(lambda: clips.relabel(lambda rows: None))
    settings = config(method, steps=3)
    before = run(clips, tmp_path / "before", settings)

    def shuffle(rows: list[dict[str, Any]]) -> None:
        for row, period in zip(rows, [row["fake_periods"] for row in rows[5:] + rows[:5]], strict=True):
            row["fake_periods"] = [[0.5 + start, 0.5 + end] for start, end in period]

    clips.relabel(shuffle)
    assert equal(run(clips, tmp_path / "shuffled", settings), before)
    clips.relabel(lambda rows: rows[0].update(modify_audio=True))  # the label does count
    assert not equal(run(clips, tmp_path / "relabelled", settings), before)


@pytest.mark.parametrize("method", ["cola", "mdp"])
def test_compared_methods_learn_through_the_same_trainer(clips: Set, tmp_path: Path, method: str) -> None:
    found = []
    for seed in (1, 2, 3):
        out = tmp_path / str(seed)
        run(
            clips,
            out,
            config(method, steps=40, learning_rate=1e-2, checkpoint_every=40, log_every=10, seed=seed),
        )
        assert {path.name for path in (out / "weights").iterdir()} == {"config.yaml", f"{method}.safetensors"}
        assert load_config(out / "weights" / "config.yaml").model.method == method
        first, *_, last = rows(out, "train")
        assert last["total"] < first["total"] / 2
        assert last["video_accuracy"] > 0.9  # of authentic and forged; three in four are forged
        (dev,) = rows(out, "dev")
        found.append(dev["video_auc"])
    # Of three authentic and nine forged clips: 27 pairs, and a seed, or kernels that round otherwise, may cost any
    # single run a quarter of them.
    assert np.mean(found) > 0.75


def test_run_of_one_method_is_not_resumed_with_another(clips: Set, reference: Reference) -> None:
    with pytest.raises(UsageError, match=r"made with another model \(settings\);"):
        run(clips, reference[0], config("cola"), resume=True)


def test_training_learns_video_labels(clips: Set, tmp_path: Path) -> None:
    run(clips, tmp_path, config(steps=60, learning_rate=1e-2, checkpoint_every=60, log_every=20))
    first, *_, last = rows(tmp_path, "train")
    assert last["total"] < first["total"]
    assert last["video_accuracy"] > 0.8  # chance is 0.25
    (dev,) = rows(tmp_path, "dev")
    assert dev["video_accuracy"] > 0.6
    assert dev["video_auc"] > 0.8


# --- what is written ------------------------------------------------------------------------------------------


def test_metrics_hold_every_loss_term_in_jsonl_and_tensorboard(reference: Reference) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_rows, dev_rows = rows(reference[0], "train"), rows(reference[0], "dev")
    # every 2 steps and at the checkpoints 3, 6 and 8
    assert [row["step"] for row in train_rows] == [2, 3, 4, 6, 8]
    assert [row["step"] for row in dev_rows] == [3, 6, 8]
    names = {"total", "cls", "recon", "kl", "aicl", "video_accuracy", "learning_rate", "steps_per_s"}
    assert names <= train_rows[0].keys()
    for row in train_rows:
        weighted = row["cls"] + 0.1 * (row["recon"] + row["kl"] + row["aicl"])  # Eq. 4
        assert row["total"] == pytest.approx(weighted, rel=1e-4)
    # warm-up over 4 steps: half of the rate in step 2, all of it from step 4
    assert [row["learning_rate"] for row in train_rows] == pytest.approx([5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3])
    assert dev_rows[0]["clips"] == 12

    board = EventAccumulator(str(reference[0] / "tensorboard")).Reload()
    assert {"train/total", "train/learning_rate", "dev/video_auc"} <= set(board.Tags()["scalars"])
    totals = [(event.step, event.value) for event in board.Scalars("train/total")]
    assert totals == [(row["step"], pytest.approx(row["total"])) for row in train_rows]


def test_rows_are_means_over_the_steps_since_the_last_one(clips: Set, tmp_path: Path) -> None:
    run(clips, tmp_path / "each", config(steps=3, log_every=1))
    run(clips, tmp_path / "all", config(steps=3, log_every=3))
    each = [row["total"] for row in rows(tmp_path / "each", "train")]
    (row,) = rows(tmp_path / "all", "train")
    assert row["total"] == pytest.approx(sum(each) / 3, rel=1e-5)


def test_weights_folder_is_complete_with_the_extractors_of_a_bundle(clips: Set, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    (bundle / "wav2vec2").mkdir(parents=True)
    (bundle / "tsn.safetensors").write_bytes(b"tsn")
    (bundle / "wav2vec2" / "config.json").write_text("{}")
    (bundle / "rt_deeploc.safetensors").write_bytes(b"old")
    sources = {"visual": {"weights": "shipped:tsn.safetensors"}, "audio": {"weights": "shipped:wav2vec2"}}
    settings = validate(json.loads(config(steps=2).model_dump_json(exclude={"visual", "audio"})) | sources)
    run(clips, tmp_path / "run", settings, bundle=bundle)
    weights = tmp_path / "run" / "weights"
    assert sorted(path.relative_to(weights).as_posix() for path in weights.rglob("*") if path.is_file()) == [
        "config.yaml",
        "rt_deeploc.safetensors",
        "tsn.safetensors",
        "wav2vec2/config.json",
    ]
    assert (weights / "tsn.safetensors").read_bytes() == b"tsn"
    assert load_config(weights / "config.yaml") == settings
    model = load_weights(settings.model, weights / "rt_deeploc.safetensors")
    assert equal(model.state_dict(), load_file(weights / "rt_deeploc.safetensors"))

    (bundle / "tsn.safetensors").unlink()
    with pytest.raises(WeightsError, match="named in the settings but missing"):
        run(clips, tmp_path / "again", settings, bundle=bundle)


# --- what is refused ------------------------------------------------------------------------------------------


def test_features_of_other_dimensions_are_refused_before_training(clips: Set, tmp_path: Path) -> None:
    settings = validate(SETTINGS | {"model": SETTINGS["model"] | {"audio_dim": 7}})
    with pytest.raises(UsageError, match=r"audio features have 5 channels, not 7; set model.audio_dim=5"):
        run(clips, tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


def test_store_without_features_is_refused(clips: Set, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no clip of the train split.*pipeline extract"):
        train(
            config(), clips.manifest, FeatureStore(tmp_path / "empty"), tmp_path / "run", keys, device="cpu"
        )


def test_clips_without_features_are_left_out_and_counted(
    clips: Set, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    some = FeatureStore(tmp_path / "some")
    for sample in clips.samples[:8]:
        for key in keys(file_sha256(clips.root / sample.file)).values():
            some.path(key).parent.mkdir(parents=True, exist_ok=True)
            some.path(key).write_bytes(clips.store.path(key).read_bytes())
    train(config(steps=1), clips.manifest, some, tmp_path / "run", keys, device="cpu")
    assert "16 of 24 clips are left out" in caplog.text
    assert "12 of 12 clips are left out" in caplog.text
    assert rows(tmp_path / "run", "dev") == []


def test_damaged_features_are_named(clips: Set, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = clips.store.path(keys(file_sha256(clips.root / clips.samples[3].file))["visual"])
    content = path.read_bytes()
    request.addfinalizer(lambda: path.write_bytes(content))
    path.write_bytes(content[:-1])
    with pytest.raises(StoreError, match="delete this file and run again") as caught:
        run(clips, tmp_path / "run")
    assert caught.value.path == path


def test_divergence_stops_the_run_and_keeps_the_last_good_checkpoint(
    clips: Set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pipeline.training.train.optimisation

    def diverging(model: Any, settings: Any) -> Any:
        how = real(model, settings)
        return dataclasses.replace(how, rate=lambda step: how.rate(step) if step < 4 else float("inf"))

    monkeypatch.setattr(pipeline.training.train, "optimisation", diverging)
    with pytest.raises(TrainingError, match=r"the loss is nan at step 6; .*lower train.learning_rate"):
        run(clips, tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 3
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


def test_video_scores_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1, 0, 0], [0.4, 0.6, 0, 0], [0.4, 0, 0.6, 0], [0.7, 0, 0, 0.3]])
    found = video_scores(probabilities, np.array([0, 0, 2, 3]))
    # right: the first and the third
    assert found["video_accuracy"] == 0.5
    # 1 - P(real): authentic 0.1 and 0.6, forged 0.6 and 0.3; of four pairs 0.6 > 0.1, 0.3 > 0.1, 0.6 = 0.6
    assert found["video_auc"] == pytest.approx(2.5 / 4)
    assert found["clips"] == 4
    assert "video_auc" not in video_scores(probabilities[:2], np.array([0, 0]))
