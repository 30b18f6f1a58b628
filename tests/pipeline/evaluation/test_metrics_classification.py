"""Scores of videos and steps, and the bootstrap, with numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.metrics import (
    accuracy,
    auc,
    calibration_error,
    confusion,
    eer,
    even_weights,
    interval,
    reliability,
    resample,
)


def flags(text: str) -> np.ndarray:
    return np.array([mark == "f" for mark in text])


def test_auc_by_hand() -> None:
    # forged 0.6 and 0.3, authentic 0.1 and 0.6: 0.6 > 0.1, 0.3 > 0.1, 0.6 = 0.6, 0.3 < 0.6
    assert auc(np.array([0.1, 0.6, 0.6, 0.3]), flags("aaff")) == pytest.approx(2.5 / 4)
    assert auc(np.array([0.5, 0.5, 0.5]), flags("aff")) == 0.5
    assert np.isnan(auc(np.array([0.5, 0.7]), flags("ff")))


def test_weights_are_copies() -> None:
    scores, forged, weights = np.array([0.1, 0.6, 0.6, 0.3]), flags("aaff"), np.array([2.0, 1.0, 0.0, 3.0])
    # only 0.3 is forged, three times; authentic 0.1 twice, 0.6 once: six of nine pairs
    assert auc(scores, forged, weights) == pytest.approx(6 / 9)
    copies = np.repeat(np.arange(4), weights.astype(int))
    assert auc(scores[copies], forged[copies]) == pytest.approx(6 / 9)
    labels, predicted = np.array([0, 1, 2, 3]), np.array([0, 1, 1, 1])
    assert accuracy(predicted, labels) == 0.5
    assert accuracy(predicted, labels, weights) == 0.5
    assert accuracy(predicted, labels, np.array([1.0, 0, 0, 3])) == 0.25
    assert np.isnan(accuracy(predicted, labels, np.zeros(4)))


def test_eer_by_hand() -> None:
    # a threshold between 0.4 and 0.6 misses one of four and raises one of four alarms
    scores = np.array([0.1, 0.2, 0.3, 0.6, 0.4, 0.7, 0.8, 0.9])
    assert eer(scores, flags("aaaaffff")) == pytest.approx(0.25)
    assert eer(np.array([0.1, 0.2, 0.8, 0.9]), flags("aaff")) == 0.0
    assert eer(np.array([0.8, 0.9, 0.1, 0.2]), flags("aaff")) == 1.0
    assert eer(np.array([0.5, 0.5]), flags("af")) == pytest.approx(0.5)
    assert np.isnan(eer(np.array([0.5, 0.5]), flags("aa")))


def test_eer_lies_between_thresholds() -> None:
    # Above 0.2: no miss, 1/2 alarms. Above 0.5, where one forged and one authentic tie: 1/3 missed, no alarm.
    # On the line between, x = 1/2 (1 - s) and x = s/3 meet at s = 3/5, x = 1/5.
    assert eer(np.array([0.2, 0.5, 0.5, 0.8, 0.9]), flags("aafff")) == pytest.approx(0.2)


def test_scores_that_are_no_numbers_are_refused() -> None:
    for measure in (auc, eer):
        with pytest.raises(ValueError, match="not a number"):
            measure(np.array([0.1, np.nan]), flags("af"))


def test_confusion_has_the_truth_in_rows() -> None:
    found = confusion(np.array([0, 1, 1, 2]), np.array([0, 0, 1, 3]), 4)
    assert found.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]


def test_samples_are_as_large_as_the_set_and_repeatable() -> None:
    one, two = list(resample(50, 3, seed=7)), list(resample(50, 3, seed=7))
    assert all((a == b).all() and a.sum() == 50 for a, b in zip(one, two, strict=True))
    assert not (one[0] == one[1]).all()
    assert not (one[0] == next(resample(50, 1, seed=8))).all()


def test_people_are_drawn_whole() -> None:
    groups = ["anna", "ben", "anna", "cleo", "ben", "anna"]
    for weights in resample(6, 20, seed=0, groups=groups):
        by_name = {name: {w for w, g in zip(weights, groups, strict=True) if g == name} for name in groups}
        assert all(len(values) == 1 for values in by_name.values())
        assert sum(values.pop() for values in by_name.values()) == 3


def test_intervals_are_percentiles() -> None:
    assert interval(list(range(101))) == pytest.approx((2.5, 97.5))
    assert interval([0.5, np.nan, 0.5]) == (0.5, 0.5)
    assert all(np.isnan(interval([np.nan])))


def test_the_interval_of_a_mean_is_about_two_standard_errors_wide() -> None:
    values = np.random.default_rng(0).normal(size=400)
    means = [float((weights @ values) / weights.sum()) for weights in resample(400, 500, seed=1)]
    low, high = interval(means)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.15)


# --- calibration ------------------------------------------------------------------------------------------------------

LIKELY = np.array([0.02, 0.08, 0.35, 0.3, 1.0])


def test_reliability_by_hand() -> None:
    # 0.0 to 0.1: two, mean 0.05, none forged; 0.3 to 0.4: two, mean 0.325, one forged; 1 belongs to the last bin.
    low, middle, last = reliability(LIKELY, flags("aafaf"))
    assert low == pytest.approx((0.0, 0.1, 2, 0.05, 0.0))
    assert middle == pytest.approx((0.3, 0.4, 2, 0.325, 0.5))
    assert last == pytest.approx((0.9, 1.0, 1, 1.0, 1.0))


def test_the_calibration_error_is_the_mean_gap_of_the_items() -> None:
    # gaps 0.05, 0.175 and 0, with two, two and one items
    assert calibration_error(LIKELY, flags("aafaf")) == pytest.approx((2 * 0.05 + 2 * 0.175) / 5)
    assert calibration_error(np.array([0.0, 1.0]), flags("af")) == 0.0
    assert calibration_error(np.array([0.0, 1.0]), flags("fa")) == 1.0
    assert calibration_error(np.array([0.4, 0.9]), flags("fa"), bins=1) == pytest.approx(0.15)
    assert np.isnan(calibration_error(np.zeros(0), np.zeros(0, bool)))


def test_weights_are_copies_in_calibration_too() -> None:
    weights = np.array([1.0, 3.0, 2.0, 0.0, 1.0])
    copies = np.repeat(np.arange(5), weights.astype(int))
    forged = flags("aafaf")
    assert calibration_error(LIKELY, forged, weights) == pytest.approx(
        calibration_error(LIKELY[copies], forged[copies])
    )


@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.nan])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="not between 0 and 1"):
        reliability(np.array([0.5, wrong]), flags("af"))


def test_even_weights_by_hand() -> None:
    # One forged against three authentic: each side weighs 2.
    assert even_weights(flags("faaa")).tolist() == pytest.approx([2, 2 / 3, 2 / 3, 2 / 3])
    assert even_weights(flags("fa"), np.array([1.0, 3.0])).tolist() == pytest.approx([2, 2])
    assert even_weights(flags("ff")).tolist() == [1, 1]
