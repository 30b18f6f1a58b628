"""Calibration: arithmetic by hand, what a fit recovers and how far its priors pull, and what it leaves alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from configs.schema import Calibration
from data.labels import CLASSES
from pipeline.localization.calibrate import IDENTITY, calibrated, evened, fit, log_loss, seen_class

SHARES = np.array([4, 2, 1, 1]) / 8


def turning(sharper: float, copies: int) -> tuple[np.ndarray, np.ndarray]:
    """32 `copies` clips whose classes follow SHARES, turned by one class in each quarter of them.

    The model says SHARES to the power `sharper`: no class is favoured, so that no bias is needed.
    """
    rows, labels = [], []
    for turn in range(4):
        shares = np.roll(SHARES, turn)
        said = shares**sharper / (shares**sharper).sum()
        for label, count in enumerate(np.roll([4, 2, 1, 1], turn)):
            rows += [said] * (count * copies)
            labels += [label] * (count * copies)
    return np.array(rows), np.array(labels)


def test_a_temperature_of_two_takes_square_roots() -> None:
    # roots 0.8, 0.4, 0.4, 0.2 of 1.8 in all
    found = calibrated((0.64, 0.16, 0.16, 0.04), Calibration(temperature=2.0))
    assert found == pytest.approx((4 / 9, 2 / 9, 2 / 9, 1 / 9))


def test_a_bias_multiplies_the_odds_of_its_class() -> None:
    # 0.5, 2 · 0.25, 0.25 of 1.25 in all
    found = calibrated((0.5, 0.25, 0.25, 0.0), Calibration(bias=(0.0, math.log(2), 0.0, 0.0)))
    assert found == pytest.approx((0.4, 0.4, 0.2, 0.0))


def test_the_default_changes_no_bit() -> None:
    generator = np.random.default_rng(0)
    for row in generator.dirichlet(np.ones(4), 100).astype(np.float32).tolist():
        assert calibrated(row, IDENTITY) == tuple(row)


@pytest.mark.parametrize("temperature", [0.01, 0.5, 1.0, 40.0])
def test_impossible_classes_stay_impossible(temperature: float) -> None:
    found = calibrated(
        (0.9, 0.1, 0.0, 0.0), Calibration(temperature=temperature, bias=(-2.0, 1.0, 9.0, 50.0))
    )
    assert found[2:] == (0.0, 0.0)
    assert sum(found) == pytest.approx(1.0)


@pytest.mark.parametrize("temperature", [0.2, 0.7, 3.0, 50.0])
def test_without_bias_the_order_of_the_classes_stays(temperature: float) -> None:
    for row in np.random.default_rng(1).dirichlet(np.ones(4), 50):
        found = calibrated(tuple(row), Calibration(temperature=temperature))
        assert np.argsort(found).tolist() == np.argsort(row).tolist()


def test_a_bias_may_change_the_predicted_class() -> None:
    found = calibrated((0.5, 0.4, 0.05, 0.05), Calibration(bias=(-0.5, 0.5, 0.0, 0.0)))
    assert CLASSES[int(np.argmax(found))] == "visual"


def test_logits_that_are_three_times_too_large_are_divided_by_three() -> None:
    found = fit(*turning(sharper=3.0, copies=100))
    # At a = 1 / T = 1/3 the prior's slope is 1 - 1 / a = -2. The likelihood's curvature is the variance of the
    # logits, -3 ln 2 times 1, 2, 3 and 3, under SHARES: 9 · ln²2 · 0.6875 = 2.973 a clip. With 3200 clips
    # a = 1/3 + 2 / (3200 · 2.973) = 0.33354.
    assert found.temperature == pytest.approx(1 / 0.33354, abs=5e-4)
    assert found.bias == pytest.approx((0, 0, 0, 0), abs=1e-3)


def test_few_clips_leave_the_temperature_nearer_to_one() -> None:
    few, more = (fit(*turning(3.0, copies)).temperature for copies in (1, 4))
    assert 1 < few < more < 3
    assert few > 2.5  # a weak prior: 32 clips are believed already


def test_what_is_calibrated_stays_as_it_is() -> None:
    found = fit(*turning(sharper=1.0, copies=2))
    assert found.temperature == pytest.approx(1.0)
    assert found.bias == pytest.approx((0, 0, 0, 0), abs=1e-9)


def test_biases_follow_the_shares_and_the_prior_holds_them_back() -> None:
    likely, labels = np.tile([0.5, 0.5, 0.0, 0.0], (100, 1)), np.repeat([0, 1], [25, 75])
    found = fit(likely, labels)
    # Equal logits say nothing of T. Where the slope is zero, 100 σ(2 b) - 75 + 25 b = 0, with biases -b and b.
    assert found.temperature == 1.0
    assert found.bias[2:] == (0.0, 0.0)
    assert found.bias[0] == -found.bias[1]
    b = found.bias[1]
    assert 100 / (1 + math.exp(-2 * b)) + 25 * b == pytest.approx(75, abs=0.01)
    assert 0 < b < math.log(3) / 2


def test_a_calibration_is_evened_by_the_odds_of_the_clips() -> None:
    fitted = Calibration(temperature=2.0, bias=(0.1, 0.0, -0.1, 0.0))
    found = evened(fitted, np.array([0, 1, 2, 3]))  # three forged to one authentic: ln 3 more for real
    assert found.bias == pytest.approx((0.1 + math.log(3), 0.0, -0.1, 0.0), abs=1e-3)
    assert found.temperature == 2.0
    for alone in ([0, 0], [1, 3], []):
        assert evened(fitted, np.array(alone, np.int64)) == fitted


def test_a_fit_lowers_the_log_loss() -> None:
    likely, labels = turning(sharper=2.5, copies=1)
    found = fit(likely, labels)
    after = np.array([calibrated(row, found) for row in likely.tolist()])
    assert log_loss(after, labels) < log_loss(likely, labels)


@pytest.mark.parametrize("wrong", [False, True])
def test_clips_that_are_all_right_or_all_wrong_give_finite_numbers(wrong: bool) -> None:
    labels = np.arange(72) % 4
    likely = np.full((72, 4), 0.01)
    likely[np.arange(72), (labels + wrong) % 4] = 0.97
    found = fit(likely, labels)
    assert (0.1 < found.temperature < 1) if not wrong else (1 < found.temperature < math.inf)
    assert np.isfinite(found.bias).all()


def test_probabilities_of_any_size_can_be_fitted() -> None:
    generator = np.random.default_rng(2)
    logits = generator.normal(0, 30, (50, 4))
    likely = np.exp(logits - logits.max(1, keepdims=True))
    likely = np.maximum(likely / likely.sum(1, keepdims=True), 1e-40)
    labels = generator.integers(0, 4, 50)
    found = fit(likely, labels)
    assert found.temperature > 10  # what it says has nothing to do with the labels
    assert fit(likely, labels) == found


def test_without_clips_nothing_is_changed() -> None:
    assert fit(np.zeros((0, 4)), np.zeros(0, np.int64)) == IDENTITY
    assert math.isnan(log_loss(np.zeros((0, 4)), np.zeros(0, np.int64)))


def test_a_label_that_is_impossible_is_refused() -> None:
    with pytest.raises(ValueError, match="a class of probability 0"):
        fit(np.array([[0.5, 0.5, 0.0, 0.0]]), np.array([2]))


FOUR, PICTURES, TWO = (0.4, 0.3, 0.2, 0.1), (0.4, 0.6, 0.0, 0.0), (0.4, 0.0, 0.0, 0.6)


@pytest.mark.parametrize(
    ("label", "likely", "tracks", "expected"),
    [
        ("both", FOUR, (True, True), "both"),
        ("both", PICTURES, (True, False), "visual"),  # the sound was not heard
        ("audio", PICTURES, (True, False), "real"),
        ("audio", TWO, (True, True), "both"),  # a method of two classes calls every forgery so
        ("real", TWO, (True, True), "real"),
        ("real", (0.0, 0.5, 0.5, 0.0), (True, True), None),  # so small that nothing is left of it
        ("both", (0.5, 0.25, 0.25, 0.0), (True, True), None),
    ],
)
def test_a_clip_is_asked_for_what_could_be_seen(
    label: str, likely: tuple[float, ...], tracks: tuple[bool, bool], expected: str | None
) -> None:
    found = seen_class(CLASSES.index(label), likely, *tracks)
    assert (CLASSES[found] if found is not None else None) == expected
