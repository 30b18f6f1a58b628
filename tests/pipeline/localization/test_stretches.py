"""Stretches of a file, and what the best of several is worth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.localization.stretches import corrected, handovers, stretches


def test_a_short_clip_is_one_stretch() -> None:
    assert stretches(500, (), 500) == ((0, 500),)
    assert stretches(0, (), 500) == ()


def test_shots_are_stretches_and_long_ones_fall_into_equal_parts() -> None:
    assert stretches(30, (4, 10), 8) == ((0, 4), (4, 10), (10, 16), (16, 23), (23, 30))


def test_cuts_beyond_the_clip_are_none() -> None:
    assert stretches(10, (0, 10, 12), 20) == ((0, 10),)


def seen(text: str) -> np.ndarray:
    """Steps at which somebody is seen, marked by x."""
    return np.array([mark == "x" for mark in text])


def test_a_cut_from_some_people_to_others_hands_over_and_a_jump_cut_does_not() -> None:
    anchor, guest = seen("xxxxxx......xx"), seen("......xxxxxx..")
    assert handovers((3, 6, 9, 12), [anchor, guest]) == (6, 12)


def test_who_stays_in_the_picture_may_speak_on() -> None:
    assert handovers((2, 4), [seen("xxxx.."), seen("..xxxx")]) == ()


def test_a_shot_without_a_face_is_passed_over() -> None:
    assert handovers((2, 4), [seen("xx..xx")]) == ()
    assert handovers((2, 4), [seen("xx...."), seen("....xx")]) == (4,)
    assert handovers((2,), []) == handovers((), [seen("xx")]) == ()


def test_one_stretch_keeps_its_log_odds() -> None:
    assert corrected(np.array([1.25]), 0.65).tolist() == [1.25]


def test_the_kth_strongest_of_n_has_the_weighted_logarithm_of_n_over_k_taken_off() -> None:
    found = corrected(np.array([0.0, 8.0, 4.0]), 2.0)
    assert found == pytest.approx([0.0, 8 - 2 * math.log(3), 4 - 2 * math.log(1.5)])


def test_no_stretch_counts_less_than_a_weaker_one() -> None:
    # The first alone would lose ln 2, the two of them together nothing.
    assert corrected(np.array([3.0, 2.9]), 1.0).tolist() == [2.9, 2.9]


def test_a_line_is_reached_as_seldom_by_many_stretches_as_by_one() -> None:
    draws = np.random.default_rng(0).exponential(size=(4000, 50))  # falls by e per 1, as the weight says
    reached = np.mean([corrected(row, 1.0).max() >= 3 for row in draws])
    assert reached == pytest.approx(math.exp(-3), abs=0.01)
