"""Bounds of a rate: by hand where there is a formula, against the table of the binomial where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.evaluation.metrics.bounds import certified_line, promised, upper_bound


@pytest.mark.parametrize(
    ("events", "trials", "percent"),
    [(0, 59, 5.0), (2, 124, 5.0), (5, 208, 5.0), (1, 93, 5.0), (1, 87, 5.3), (7, 38, 31.8)],
)
def test_the_bound_after_some_alarms(events: int, trials: int, percent: float) -> None:
    assert round(100 * upper_bound(events, trials), 1) == percent


@pytest.mark.parametrize("trials", [1, 10, 59, 4000])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_without_an_event_the_bound_has_a_formula(trials: int, confidence: float) -> None:
    # (1 - p)^n = 1 - confidence
    assert upper_bound(0, trials, confidence) == pytest.approx(1 - (1 - confidence) ** (1 / trials))


@pytest.mark.parametrize("trials", [2, 30, 500])
def test_if_all_but_one_are_events_the_bound_has_a_formula(trials: int) -> None:
    # 1 - p^n = 1 - confidence
    assert upper_bound(trials - 1, trials) == pytest.approx(0.95 ** (1 / trials))


@pytest.mark.parametrize(("events", "trials"), [(3, 17), (12, 40), (40, 900)])
def test_at_the_bound_so_few_events_have_the_remaining_chance(events: int, trials: int) -> None:
    p = upper_bound(events, trials)
    chance = sum(math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(events + 1))
    assert chance == pytest.approx(0.05)


def test_nothing_is_known_without_trials_or_when_all_are_events() -> None:
    assert upper_bound(0, 0) == upper_bound(7, 7) == 1.0


def test_more_events_than_trials_are_an_error() -> None:
    with pytest.raises(ValueError, match="3 events in 2 trials"):
        upper_bound(3, 2)


def test_the_line_lies_just_above_the_first_score_that_is_one_too_many() -> None:
    # 124 people with one clip each: 5 % allows two alarms (4.99 %) and not three (6.13 %).
    scores = np.arange(124) / 124
    found = certified_line(scores, [f"p{k}" for k in range(124)], 0.05)
    assert found is not None
    assert found.line == np.nextafter(121 / 124, 1)
    assert (found.alarms, found.clips, found.alarmed, found.people) == (2, 124, 2, 124)
    assert found.bound == pytest.approx(upper_bound(2, 124))
    assert (scores >= found.line).sum() == 2


def test_scores_that_are_equal_pass_the_line_together() -> None:
    scores = np.array([*np.zeros(120), 0.5, 0.5, 0.5, 0.9])
    found = certified_line(scores, [str(k) for k in range(124)], 0.05)
    assert found is not None
    assert (found.line, found.alarms) == (np.nextafter(0.5, 1), 1)


def test_one_clip_of_each_person_is_drawn_and_all_clips_count_too() -> None:
    scores = np.array([*np.linspace(0, 0.5, 208), 0.91, 0.92, 0.93, 0.94])
    people = [*(f"p{k // 2}" for k in range(208)), *["same"] * 4]
    found = certified_line(scores, people, 0.05)
    assert found is not None
    # By clip five of 212 would do (4.9 %), six would not (5.5 %); of the people one may alarm (4.4 %), not two (5.9 %).
    assert (found.alarms, found.alarmed, found.people) == (5, 1, 105)
    assert found.bound == pytest.approx(max(upper_bound(5, 212), upper_bound(1, 105)))


def test_the_clip_of_a_person_is_drawn_without_regard_to_its_score() -> None:
    people = [f"p{k // 4}" for k in range(400)]
    rng = np.random.default_rng(0)
    scores = rng.permuted((np.arange(400) % 4 == 3).astype(float).reshape(100, 4), axis=1).ravel()
    # Everybody has one alarm in four clips: of the drawn ones about a quarter are, not all.
    found = promised(scores, people, 0.5)
    assert (found.alarms, found.people) == (100, 100)
    assert 15 <= found.alarmed <= 35
    assert found.bound == pytest.approx(max(upper_bound(100, 400), upper_bound(found.alarmed, 100)))
    # Scores decide nothing about who is drawn.
    turned = promised(1 - scores, people, 0.5)
    assert turned.alarmed == 100 - found.alarmed


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_holds_as_often_as_it_promises_where_clips_of_a_person_are_alike(seed: int) -> None:
    # People differ in how often their clips alarm: 4 % on average, one in five of them 16 % and the others 1 %.
    rng, held = np.random.default_rng(seed), 0
    for _ in range(300):
        rates = np.where(rng.random(150) < 0.2, 0.16, 0.01)
        scores = (rng.random((150, 5)) < rates[:, None]).astype(float).ravel()
        held += promised(scores, [f"p{k // 5}" for k in range(750)], 0.5).bound >= 0.04
    assert held / 300 >= 0.95 - 0.03  # three times less than the chance of 300 draws


def test_many_clips_of_few_people_promise_nothing() -> None:
    assert certified_line(np.zeros(1000), [str(k % 58) for k in range(1000)], 0.05) is None
    assert certified_line(np.zeros(1000), [str(k % 59) for k in range(1000)], 0.05) is not None


def test_a_higher_rate_never_has_a_higher_line() -> None:
    scores = np.random.default_rng(0).normal(size=700)
    people = [str(k // 2) for k in range(700)]
    lines = [certified_line(scores, people, rate) for rate in (0.01, 0.05, 0.2)]
    values = [found.line for found in lines if found is not None]
    assert len(values) == 3
    assert values == sorted(values, reverse=True)


def test_a_rate_that_all_clips_may_reach_needs_no_line() -> None:
    found = certified_line(np.array([0.1, 0.2]), ["a", "b"], 1.0)
    assert found is not None
    assert found.line == -math.inf


def test_a_score_that_is_not_a_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a number"):
        certified_line(np.array([0.1, np.nan]), ["a", "b"], 0.05)
