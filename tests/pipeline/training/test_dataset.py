"""Batches are a function of the seed and the draw's number; crops, padding and masks are exact."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from data.errors import StoreError, UsageError
from data.store.store import FeatureStore, StoreKey
from pipeline.training.dataset import BatchPlan, Draw, Entry, FeatureDataset, collate

VISUAL, AUDIO = 3, 2


def write(store: FeatureStore, key: StoreKey, dim: int, n: int, rate: Fraction | int = 25) -> None:
    """Features whose value at step k is k + 1 in every channel; every third step is invalid."""
    values = np.repeat(np.arange(1, n + 1, dtype=np.float32)[:, None], dim, axis=1)
    with store.writer(key, dim, rate, {}) as writer:
        writer.append(values, np.arange(n) % 3 != 2)


def add(store: FeatureStore, name: int, visual_n: int, audio_n: int, label: int = 0) -> Entry:
    media = f"{name:064x}"
    entry = Entry(StoreKey(media, "v"), StoreKey(media, "a"), label)
    write(store, entry.visual, VISUAL, visual_n)
    write(store, entry.audio, AUDIO, audio_n)
    return entry


def dataset(store: FeatureStore, entries: list[Entry], max_length: int = 10, seed: int = 0) -> FeatureDataset:
    return FeatureDataset(store, entries, VISUAL, AUDIO, max_length, seed)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path)


# --- items ----------------------------------------------------------------------------------------------------


def test_short_clip_is_whole(store: FeatureStore) -> None:
    item = dataset(store, [add(store, 1, 7, 7, label=3)])[0, 0]
    # steps 2 and 5 are invalid, hence zero
    assert item["visual"][:, 0].tolist() == [1, 2, 0, 4, 5, 0, 7]
    assert item["audio"].shape == (7, AUDIO)
    assert item["visual_mask"].tolist() == [True, True, False, True, True, False, True]
    assert {name: item[name].dtype for name in item} == {
        "visual": torch.float32,
        "audio": torch.float32,
        "visual_mask": torch.bool,
        "audio_mask": torch.bool,
        "label": torch.int64,
    }
    assert item["label"].item() == 3


def test_a_track_with_nothing_to_judge_is_masked_from_end_to_end(store: FeatureStore) -> None:
    entry = add(store, 1, 6, 6, label=1)
    blind = Entry(StoreKey(f"{2:064x}", "v"), entry.audio, 1)
    with store.writer(blind.visual, VISUAL, 25, {}) as writer:
        writer.append(np.zeros((6, VISUAL)), np.zeros(6, bool))
    item = dataset(store, [blind])[0, 0]
    assert not item["visual_mask"].any()
    assert not item["visual"].any()
    assert item["audio_mask"].any()


def test_track_that_ends_early_is_zero_and_invalid_from_there_on(store: FeatureStore) -> None:
    item = dataset(store, [add(store, 1, 6, 4)])[0, 0]
    assert item["audio"][:, 0].tolist() == [1, 2, 0, 4, 0, 0]
    assert item["audio_mask"].tolist() == [True, True, False, True, False, False]
    assert item["visual_mask"].tolist() == [True, True, False, True, True, False]


@pytest.mark.parametrize("number", range(12))
def test_long_clip_is_cropped_at_the_same_place_in_both_tracks(store: FeatureStore, number: int) -> None:
    item = dataset(store, [add(store, 1, 40, 40)])[0, number]
    assert item["visual"].shape == (10, VISUAL)
    both = item["visual_mask"] & item["audio_mask"]
    assert torch.equal(item["visual"][both, 0], item["audio"][both, 0])
    first = int(item["visual"][both, 0][0]) - int(both.nonzero()[0])
    assert 1 <= first <= 31


def test_crops_reach_every_place(store: FeatureStore) -> None:
    clips = dataset(store, [add(store, 1, 12, 12)])
    # 12 steps hold crops of 10 at 0, 1 and 2; each is invalid at its own places
    places = Counter(tuple(clips[0, number]["visual_mask"].tolist()) for number in range(60))
    assert len(places) == 3
    assert min(places.values()) > 8


@pytest.mark.parametrize(("visual_n", "audio_n"), [(40, 12), (12, 40), (40, 3), (3, 40)])
def test_crops_lie_where_both_tracks_run(store: FeatureStore, visual_n: int, audio_n: int) -> None:
    clips = dataset(store, [add(store, 1, visual_n, audio_n)])
    for number in range(20):
        item = clips[0, number]
        assert item["visual_mask"].any()
        assert item["audio_mask"].any()


def test_crop_depends_on_seed_and_number_alone(store: FeatureStore) -> None:
    entry = add(store, 1, 500, 500)
    clips, same = dataset(store, [entry]), dataset(store, [entry])
    values = [clips[0, number]["visual"] for number in range(8)]
    assert all(torch.equal(same[0, number]["visual"], values[number]) for number in reversed(range(8)))
    assert not all(torch.equal(a, values[0]) for a in values[1:])
    other = [dataset(store, [entry], seed=1)[0, number]["visual"] for number in range(8)]
    assert not all(torch.equal(a, b) for a, b in zip(values, other, strict=True))


def test_clip_without_steps_is_one_invalid_step(store: FeatureStore) -> None:
    item = dataset(store, [add(store, 1, 0, 0)])[0, 0]
    assert item["visual"].shape == (1, VISUAL)
    assert not item["visual_mask"].any()


# --- errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ((4, AUDIO), "visual features have 3 channels, not 4; set model.visual_dim=3"),
        ((VISUAL, 9), "audio features have 2 channels, not 9; set model.audio_dim=2"),
    ],
)
def test_other_dimensions_are_refused(store: FeatureStore, dims: tuple[int, int], message: str) -> None:
    clips = FeatureDataset(store, [add(store, 1, 5, 5)], *dims, max_length=10, seed=0)
    with pytest.raises(UsageError, match=message):
        clips[0, 0]


def test_other_clocks_are_refused(store: FeatureStore) -> None:
    entry = add(store, 1, 5, 5)
    write(store, entry.audio, AUDIO, 5, rate=50)
    with pytest.raises(UsageError, match="different time grids"):
        dataset(store, [entry])[0, 0]


def test_absent_features_are_refused(store: FeatureStore) -> None:
    missing = Entry(StoreKey("0" * 64, "v"), StoreKey("0" * 64, "a"), 0)
    with pytest.raises(StoreError, match="extract them first"):
        dataset(store, [missing])[0, 0]


# --- batches --------------------------------------------------------------------------------------------------


def test_collate_pads_at_the_end_with_masks(store: FeatureStore) -> None:
    clips = dataset(store, [add(store, 1, 2, 2, label=1), add(store, 2, 4, 4, label=2)])
    batch = collate([clips[0, 0], clips[1, 1]])
    assert batch["visual"].shape == (2, 4, VISUAL)
    assert batch["audio"][0, :, 0].tolist() == [1, 2, 0, 0]
    assert batch["visual_mask"].tolist() == [[True, True, False, False], [True, True, False, True]]
    assert batch["label"].tolist() == [1, 2]


def test_number_of_workers_changes_nothing(store: FeatureStore) -> None:
    entries = [add(store, k, 10 + 3 * k, 12 + 2 * k, label=k % 4) for k in range(6)]
    labels = [entry.label for entry in entries]

    def batches(workers: int) -> list[dict[str, torch.Tensor]]:
        plan = BatchPlan(labels, 4, range(5), seed=3)
        torch.manual_seed(workers)  # the global generator must not matter
        clips = dataset(store, entries)
        return list(DataLoader(clips, batch_sampler=plan, collate_fn=collate, num_workers=workers))

    for alone, helped in zip(batches(0), batches(2), strict=True):
        assert all(torch.equal(alone[name], helped[name]) for name in alone)


@given(
    clips=st.integers(1, 30), size=st.integers(1, 7), epochs=st.integers(1, 3), seed=st.integers(-5, 2**40)
)
@settings(deadline=None)
def test_every_epoch_holds_every_clip_once(clips: int, size: int, epochs: int, seed: int) -> None:
    plan = BatchPlan([0] * clips, size, range(-(-clips * epochs // size)), seed)
    order = [draw.entry for batch in plan for draw in batch][: clips * epochs]
    assert Counter(order) == dict.fromkeys(range(clips), epochs)
    for epoch in range(epochs):
        assert sorted(order[epoch * clips : (epoch + 1) * clips]) == list(range(clips))


def test_epochs_differ_in_order() -> None:
    (first, second) = BatchPlan([0] * 50, 50, range(2), seed=0)
    assert [draw.entry for draw in first] != [draw.entry for draw in second]


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=20), at=st.integers(0, 9), balance=st.booleans()
)
@settings(deadline=None)
def test_resuming_continues_the_same_sequence(labels: list[int], at: int, balance: bool) -> None:
    whole = list(BatchPlan(labels, 4, range(10), 7, balance))
    assert list(BatchPlan(labels, 4, range(at, 10), 7, balance)) == whole[at:]
    assert len(BatchPlan(labels, 4, range(at, 10), 7, balance)) == 10 - at


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=20),
    world=st.sampled_from([1, 2, 3, 6]),
    balance=st.booleans(),
)
@settings(deadline=None)
def test_processes_share_the_batch_of_one(labels: list[int], world: int, balance: bool) -> None:
    alone = list(BatchPlan(labels, 6, range(4), 7, balance))
    parts = [list(BatchPlan(labels, 6, range(4), 7, balance, rank, world)) for rank in range(world)]
    assert all(len(batch) == 6 // world for part in parts for batch in part)
    assert [list(itertools.chain(*batches)) for batches in zip(*parts, strict=True)] == alone


def test_balanced_batches_hold_each_class_equally_often() -> None:
    labels = [0] * 50 + [1] * 3 + [3] * 10
    plan = BatchPlan(labels, 6, range(100), seed=0, balance=True)
    seen: Counter[int] = Counter()
    for batch in plan:
        assert Counter(labels[draw.entry] for draw in batch) == {0: 2, 1: 2, 3: 2}
        seen.update(draw.entry for draw in batch)
    # 200 draws of class 0 are four rounds of its 50 clips
    assert all(seen[clip] == 4 for clip in range(50))
    assert Counter(seen[clip] for clip in range(53, 63)) == {20: 10}


def test_draw_numbers_count_through_the_run() -> None:
    plan = BatchPlan([0, 0, 0], 2, range(3), seed=0)
    assert [draw.number for batch in plan for draw in batch] == list(range(6))
    assert all(isinstance(draw, Draw) for batch in plan for draw in batch)


def test_batches_that_do_not_split_and_empty_sets_are_refused() -> None:
    with pytest.raises(UsageError, match="batch of 5 does not split over 2 processes"):
        BatchPlan([0], 5, range(1), 0, world=2)
    with pytest.raises(UsageError, match="no clip"):
        BatchPlan([], 5, range(1), 0)
