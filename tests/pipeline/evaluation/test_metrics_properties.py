"""Metrics against a second implementation, and what must not change them: scales, shifts, the order of videos."""

from __future__ import annotations

from typing import Any

import metric_oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_oracle import Video

from pipeline.evaluation.metrics import PROTOCOLS, auc, localization

QUICK = settings(max_examples=25, deadline=None)

# Times on LAV-DF's grid of 1/25 s and scores of one decimal: overlaps at exactly a threshold, ties and doubles abound.
times = st.integers(0, 60).map(lambda k: k / 25)
spans = st.tuples(times, times).map(sorted)
scores = st.integers(0, 10).map(lambda k: k / 10)


@st.composite
def proposals(draw: Any) -> list[list[float]]:
    rows = [[draw(scores), *draw(spans)] for _ in range(draw(st.integers(0, 6)))]
    return rows + [list(row) for row in rows[: draw(st.integers(0, 2))]]


@st.composite
def videos(draw: Any) -> Video:
    label = draw(st.sampled_from([0, 1, 2, 3, 3]))
    segments = [list(draw(spans)) for _ in range(draw(st.integers(1, 3)))] if label else []
    return draw(proposals()), segments + [list(row) for row in segments[: draw(st.integers(0, 1))]], label


data_sets = st.lists(videos(), min_size=1, max_size=8)


def measure(name: Any, data: list[Video]) -> dict[str, float]:
    return localization(
        [np.array(found).reshape(-1, 3) for found, _, _ in data],
        [np.array(truth).reshape(-1, 2) for _, truth, _ in data],
        PROTOCOLS[name],
        np.array([label for _, _, label in data]),
    )


def agree(found: dict[str, float], expected: dict[str, float], within: float = 1e-9) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=within, nan_ok=True), key


def without_empty(data: list[Video]) -> list[Video]:
    return [(found if found else [[0.5, 0.0, 0.0]], truth, label) for found, truth, label in data]


# --- the second implementation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROTOCOLS)
@given(data=data_sets)
@QUICK
def test_small_sets_agree_with_the_oracle(name: Any, data: list[Video]) -> None:
    agree(measure(name, data), metric_oracle.measure(name, data))


def drawn(seed: int, count: int, decimals: int) -> list[Video]:
    """Authentic videos, empty lists, exact and near hits, doubles; with one decimal ties everywhere."""
    rng, data = np.random.default_rng(seed), []
    for _ in range(count):
        label = int(rng.integers(4))
        starts = np.round(rng.uniform(0, 4, int(rng.integers(1, 4)) if label else 0), decimals)
        truth = np.stack([starts, starts + np.round(rng.uniform(0.2, 1.5, len(starts)), decimals)], axis=1)
        n = int(rng.choice([0, 1, 3, 8, 30, 120]))
        starts = np.round(rng.uniform(0, 4, n), decimals)
        found = np.stack(
            [
                np.round(rng.random(n), decimals),
                starts,
                starts + np.round(rng.uniform(0, 1.5, n), decimals),
            ],
            axis=1,
        )
        if len(truth) and n:
            found[rng.integers(n), 1:] = truth[0]
            near = truth[-1] + rng.normal(0, 0.05, 2)
            found[rng.integers(n), 1:] = np.sort(np.maximum(near, 0))
        if n > 3:
            found[1] = found[2]
        if len(truth) > 1 and rng.random() < 0.3:
            truth[1] = truth[0]
        data.append((found.tolist(), truth.tolist(), label))
    return data


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("seed", range(4))
def test_random_sets_agree_with_the_oracle(name: Any, seed: int) -> None:
    data = drawn(seed, 30, decimals=1 if seed % 2 else 6)
    assert any(not found for found, _, _ in data)
    assert any(not truth for _, truth, _ in data)
    agree(measure(name, data), metric_oracle.measure(name, data))


def test_the_oracle_is_checked_by_hand_itself() -> None:
    """The example of test_metrics.test_truth_first_matching_can_leave_a_segment_unmatched, in the oracle."""
    data: list[Video] = [([[0.9, 0.3, 1.3], [0.8, 0.0, 0.9]], [[0.0, 1.0], [0.4, 1.4]], 3)]
    assert metric_oracle.measure("honest", data)["AP@0.5"] == 1.0
    # right, wrong, of two; the strip up to recall 1/2 is not added, and nothing is beyond
    assert metric_oracle.measure("paper", data)["AP@0.5"] == 0.0
    # best overlaps 0.9 and 0.82: both segments are hit at all seven thresholds
    assert metric_oracle.measure("paper", data)["AR@2"] == 1.0


# --- what changes nothing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name != "avdeepfake1m"])
@given(data=data_sets, factor=st.sampled_from([0.25, 0.5, 2.0, 64.0]))
@QUICK
def test_scale_of_the_scores_does_not_matter(name: Any, data: list[Video], factor: float) -> None:
    scaled = [([[factor * s, a, b] for s, a, b in found], truth, label) for found, truth, label in data]
    agree(measure(name, scaled), measure(name, data))


@pytest.mark.parametrize("shift_s", [0.04, 7.3, 512.0])
@given(data=data_sets)
@QUICK
def test_the_default_does_not_care_where_in_time_a_video_begins(shift_s: float, data: list[Video]) -> None:
    moved = [
        (
            [[s, a + shift_s, b + shift_s] for s, a, b in found],
            [[a + shift_s, b + shift_s] for a, b in truth],
            label,
        )
        for found, truth, label in data
    ]
    agree(measure("honest", moved), measure("honest", data))


@given(data=data_sets, order=st.randoms())
@QUICK
def test_the_default_does_not_care_for_any_order(data: list[Video], order: Any) -> None:
    mixed = [(list(found), list(truth), label) for found, truth, label in data]
    order.shuffle(mixed)
    for found, _, _ in mixed:
        order.shuffle(found)
    agree(measure("honest", mixed), measure("honest", data))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_without_ties_the_order_of_videos_does_not_matter(name: Any) -> None:
    data = without_empty(drawn(5, 25, decimals=6))
    rng = np.random.default_rng(0)
    for found, _, _ in data:
        for row in found:
            row[0] = float(np.float32(rng.random()))
    agree(measure(name, data[::-1]), measure(name, data))


@given(data=data_sets)
@QUICK
def test_measures_are_shares(data: list[Video]) -> None:
    for name in PROTOCOLS:
        values = np.array(list(measure(name, data).values()))
        assert ((values >= 0) & (values <= 1 + 1e-12) | np.isnan(values)).all()


@given(data=data_sets)
@QUICK
def test_a_stricter_threshold_and_a_smaller_budget_never_help(data: list[Video]) -> None:
    found = measure("honest", data)
    if not np.isnan(found["mAP"]):
        recalls = [found[f"AR@{n}"] for n in (20, 10, 5, 2)]
        assert recalls == sorted(recalls, reverse=True)


@given(data=data_sets)
@QUICK
def test_a_false_alarm_below_all_others_changes_nothing(data: list[Video]) -> None:
    more = [([*found, [-1.0, 900.0, 901.0]], truth, label) for found, truth, label in data]
    found, expected = measure("honest", more), measure("honest", data)
    agree(
        {k: found[k] for k in found if k.startswith("AP")},
        {k: expected[k] for k in found if k.startswith("AP")},
    )


@given(st.lists(st.tuples(st.integers(0, 5).map(float), st.booleans()), min_size=2, max_size=30))
@QUICK
def test_auc_counts_pairs(rows: list[tuple[float, bool]]) -> None:
    values, forged = [score for score, _ in rows], [flag for _, flag in rows]
    found = auc(np.array(values), np.array(forged))
    if all(forged) or not any(forged):
        assert np.isnan(found)
    else:
        assert found == pytest.approx(metric_oracle.auc(values, forged))
        assert auc(-np.array(values), np.array(forged)) == pytest.approx(1 - found)
