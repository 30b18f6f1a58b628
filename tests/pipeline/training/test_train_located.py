"""Training of the fully supervised methods: with intervals, an optimiser of their own, and the average of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_factory import tiny_config
from training_set import Set, config, equal, rows, run

from configs.detectors import OptimiserConfig
from configs.schema import TrainConfig
from data.errors import UsageError
from data.manifest import LocatedSample
from data.store.store import StoreKey
from data.timeline import Interval
from models.weights import build
from pipeline.training.dataset import Entry, LocatedDataset, LocatedEntry, collate_located
from pipeline.training.optimiser import cosine, optimisation

NAMES = ("actionformer", "tridet", "ummaformer", "mfms")


@pytest.fixture
def clips(training_thread: None, tmp_path: Path) -> Set:
    return Set(tmp_path / "data")


def test_located_samples_are_the_weak_ones_with_intervals(clips: Set) -> None:
    manifest = clips.manifest
    found = manifest.located("train")
    assert tuple(sample.weak for sample in found) == manifest.weak("train")
    assert found[0] == LocatedSample(manifest.weak("train")[0], ())
    assert found[1].periods == (Interval(0.16, 0.32),)

    def remove(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["fake_periods"] = []

    clips.relabel(remove)
    with pytest.raises(UsageError, match="is forged, and has no forged interval"):
        clips.manifest.located("train")


def test_segments_lie_on_the_steps_of_a_crop_and_count_by_half(clips: Set) -> None:
    store = clips.store
    key = StoreKey("0" * 64, "v")
    for name in ("v", "a"):
        with store.writer(StoreKey("0" * 64, name), 2, 25, {}) as writer:
            writer.append(np.zeros((40, 2)), np.ones(40, bool))
    periods = tuple(Interval(start, start + 0.4) for start in (0.0, 0.4, 0.8, 1.2))  # ten steps each
    entry = LocatedEntry(Entry(key, StoreKey("0" * 64, "a"), 1), periods)
    whole = LocatedDataset(store, [entry], 2, 2, 100, seed=0)[0, 0]
    assert whole["segments"].tolist() == [pytest.approx([10 * k, 10 * k + 10]) for k in range(4)]
    part = LocatedDataset(store, [entry], 2, 2, 15, seed=0)
    seen = set()
    for number in range(30):
        item = part[0, number]
        lengths = (item["segments"][:, 1] - item["segments"][:, 0]).tolist()
        assert all(4.99 < length < 10.01 for length in lengths)
        assert item["segments"].min() >= 0
        assert item["segments"].max() <= 15
        seen.add(len(lengths))
    assert seen == {1, 2}
    tensors, segments = collate_located([whole, part[0, 1]])
    assert tensors["visual"].shape == (2, 40, 2)
    assert "segments" not in tensors
    assert [len(one) for one in segments] == [4, len(part[0, 1]["segments"])]


@pytest.mark.parametrize("name", NAMES)
def test_intervals_train_the_supervised_methods(clips: Set, tmp_path: Path, name: str) -> None:
    settings = config(name, steps=3)
    before = run(clips, tmp_path / "before", settings)
    assert all(torch.isfinite(value).all() for value in before.values())
    assert {"cls", "reg", "total"} <= rows(tmp_path / "before", "train")[0].keys()
    assert rows(tmp_path / "before", "dev")[0]["clips"] == 12

    def move(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["fake_periods"] = [[start + 0.1, end + 0.1] for start, end in row["fake_periods"]]

    clips.relabel(move)
    assert not equal(run(clips, tmp_path / "moved", settings), before)


def test_an_interrupted_run_ends_in_the_same_weights(
    clips: Set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config("actionformer", steps=6, checkpoint_every=2)
    whole = run(clips, tmp_path / "whole", settings)

    def stop(step: str, done: int | None = None, total: int | None = None) -> None:
        if done == 4:
            raise RuntimeError("the power failed")

    with pytest.raises(RuntimeError, match="power"):
        run(clips, tmp_path / "cut", settings, hook=stop)
    assert equal(run(clips, tmp_path / "cut", settings, resume=True), whole)
    # the schedule reaches to the last step, so that more of them make another run
    with pytest.raises(UsageError, match="another training"):
        run(clips, tmp_path / "cut", config("actionformer", steps=9, checkpoint_every=2), resume=True)


def test_rate_rises_and_falls_like_a_cosine() -> None:
    settings = OptimiserConfig(learning_rate=1.0, final_rate=0.0, warmup=0.4)
    found = [cosine(settings, step, 10) for step in range(10)]
    assert found[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert found[-1] == pytest.approx(0)
    assert found[6] == pytest.approx((1 + np.cos(np.pi * 2 / 5)) / 2)


def test_only_convolutions_and_linear_layers_decay_and_the_average_follows() -> None:
    model = build(tiny_config(method="actionformer"))
    how = optimisation(model, TrainConfig(steps=4))
    heavy, light = how.optimizer.param_groups
    assert (heavy["weight_decay"], light["weight_decay"]) == (0.05, 0.0)
    assert {p.ndim for p in heavy["params"]} == {2, 3}
    assert {p.ndim for p in light["params"]} == {1}
    assert len(heavy["params"]) + len(light["params"]) == len(list(model.parameters()))
    (mine, *_), (theirs, *_) = model.parameters(), how.result.parameters()
    how.follow()
    with torch.no_grad():
        mine += 1
    before = theirs.clone()
    how.follow()
    # one update before: (1 + 1) / (10 + 1) of the average stays
    torch.testing.assert_close(theirs, before * 2 / 11 + mine * 9 / 11)
    assert how.result is not model
