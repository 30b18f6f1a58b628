"""Segments: the features of a span by hand, candidates that meet the truth, and bounds on time and memory."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from evidence_factory import Hearing, evidence
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.schema import SegmentWeights, TrackDecision
from pipeline.localization.segments import (
    FEATURES,
    MAX_SEGMENTS,
    SAME,
    SHORTEST,
    Track,
    candidates,
    features,
    overlap,
    prepare,
    ranked,
    segments,
    vector,
)

PLAIN = TrackDecision()


def track_of(
    inside: list[float] | np.ndarray, valid: np.ndarray | None = None, decision: TrackDecision = PLAIN
) -> Track:
    values = np.zeros((len(inside), 4), np.float32)
    values[:, 0] = inside
    return prepare(values, np.ones(len(inside), bool) if valid is None else valid, decision)


def feature(track: Track, name: str, first: int, stop: int) -> float:
    return float(features(track, np.array([[first, stop]]))[0, FEATURES.index(name)])


STEP = [0.0] * 20 + [2.0] * 8 + [0.0] * 20


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bias", 1.0),
        ("level", 2.0),
        ("mass", 2.0 * 8 / 16),  # the median of the clip is 0
        ("step", 2.0),  # 12 steps on either side are 0
        ("jump", 4.0),  # two steps up and two down
        ("edges", 0.0),  # nothing is said of edges
        ("length", -0.5 * np.log(8 / 16) ** 2),
        ("entire", 0.0),
        ("whole", 0.0),
    ],
)
def test_a_span_that_stands_out_by_two(name: str, value: float) -> None:
    assert feature(track_of(STEP), name, 20, 28) == pytest.approx(value)


def test_a_span_that_is_too_long_by_its_own_length() -> None:
    track = track_of(STEP)
    assert feature(track, "level", 20, 36) == pytest.approx(1.0)
    # 16 steps on either side: 12 of the 16 before are 0 and so are all 12 after it.
    assert feature(track, "step", 20, 36) == pytest.approx(1.0)
    assert feature(track, "jump", 20, 36) == pytest.approx(2.0)


def test_the_whole_clip_has_no_surroundings() -> None:
    values = np.ones((30, 4), np.float32) * [2.0, 5.0, 5.0, 3.0]
    track = prepare(values.astype(np.float32), np.ones(30, bool), PLAIN)
    found = dict(zip(FEATURES, features(track, np.array([[0, 30]]))[0], strict=True))
    assert found == pytest.approx(
        {
            "bias": 1,
            "level": 2,
            "mass": 0,
            "step": 0,
            "jump": 0,
            "edges": 0,
            "length": 0,
            "entire": 1,
            "whole": 3,
        }
    )


def test_evidence_is_normalised_and_cut_off() -> None:
    track = track_of([1.0, 3.0, 90.0, -90.0], decision=TrackDecision(centre=1.0, scale=0.5))
    assert track.inside.tolist() == [0.0, 4.0, 6.0, -6.0]


def test_edges_count_above_what_is_usual_in_the_clip() -> None:
    values = np.zeros((30, 4), np.float32)
    values[:, 1], values[:, 2] = -4.0, -5.0
    values[10, 1] = -1.0  # begins with step 10
    values[17, 2] = -3.0  # ends with step 17
    track = prepare(values, np.ones(30, bool), PLAIN)
    assert feature(track, "edges", 10, 18) == pytest.approx(3.0 + 2.0)
    assert feature(track, "edges", 11, 18) == pytest.approx(2.0)
    assert [10, 18] in candidates(track).tolist()


def test_invalid_steps_belong_to_no_segment_and_count_for_nothing() -> None:
    valid = np.ones(48, bool)
    valid[23:25] = False
    track = track_of(np.where(valid, STEP, 50.0), valid)
    for first, stop in candidates(track).tolist():
        assert valid[first:stop].all()
    assert track.inside.max() == 2.0
    # Of the steps around 20 to 22 only those that are valid.
    assert feature(track, "step", 20, 23) == pytest.approx(2.0 - 3 * 2.0 / 22)


def test_without_a_valid_step_there_is_no_segment() -> None:
    track = track_of([1.0] * 9, np.zeros(9, bool))
    assert segments(track, SegmentWeights()) == ()


def test_of_segments_that_overlap_the_likeliest_stays() -> None:
    track = track_of(STEP)
    spans = np.array([[20, 28], [21, 29], [30, 40], [20, 40]])
    # tIoU of the first with the second 7/9, with the fourth 8/20: both are the same segment.
    found = ranked(track, spans, np.array([1.0, 2.0, 0.5, 0.0]))
    assert [(one.first, one.stop, one.log_odds) for one in found] == [(21, 29, 2.0), (30, 40, 0.5)]
    assert found[0].mean == pytest.approx(7 / 8 * 2)


@pytest.mark.parametrize(
    ("spans", "tiou"), [((0, 4), 1.0), ((2, 6), 2 / 6), ((4, 8), 0.0), ((6, 9), 0.0), ((0, 8), 0.5)]
)
def test_overlap_is_intersection_over_union(spans: tuple[int, int], tiou: float) -> None:
    assert overlap(np.array([spans]), np.array([0, 4]))[0] == pytest.approx(tiou)


def test_the_best_segment_is_the_span_that_was_forged() -> None:
    rng = np.random.default_rng(0)
    met = 0
    for _ in range(40):
        track = prepare(
            evidence(rng, Hearing(0.97, 0.5, edge=4.0), (60, 76)),
            np.ones(150, bool),
            TrackDecision(centre=-3, scale=2),
        )
        best = segments(track, SegmentWeights())[0]
        met += abs(best.first - 60) <= 1 and abs(best.stop - 76) <= 1
    assert met >= 36


def test_the_truth_is_nearly_always_among_the_candidates() -> None:
    rng = np.random.default_rng(1)
    for edge in (0.0, 3.0):
        nearest = []
        for _ in range(60):
            length = int(rng.integers(5, 40))
            first = int(rng.integers(5, 145 - length))
            values = evidence(rng, Hearing(0.83, 0.8, edge), (first, first + length))
            spans = candidates(prepare(values, np.ones(150, bool), TrackDecision(centre=-3, scale=2)))
            nearest.append(overlap(spans, np.array([first, first + length])).max())
        assert np.mean(np.array(nearest) >= 0.7) >= 0.9


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 90))
def test_segments_are_valid_disjoint_enough_and_in_order(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 3, (steps, 4)).astype(np.float32)
    valid = rng.random(steps) < rng.random()
    found = segments(prepare(values * valid[:, None], valid, PLAIN), SegmentWeights(edges=0.7, jump=0.3))
    assert [one.log_odds for one in found] == sorted((one.log_odds for one in found), reverse=True)
    for k, one in enumerate(found):
        assert valid[one.first : one.stop].all()
        assert one.stop - one.first >= SHORTEST
        rest = np.array([[other.first, other.stop] for other in found[:k]]).reshape(-1, 2)
        assert (overlap(rest, np.array([one.first, one.stop])) <= SAME).all()


def edged(
    onset: list[float], offset: list[float], valid: np.ndarray | None = None, between: bool = True
) -> Track:
    """Twenty steps, 8 to 13 of which are forged; edges are told of steps 7 to 9 and 12 to 14 alone."""
    values = np.zeros((20, 4), np.float32)
    values[8:14, 0], values[7:10, 1], values[12:15, 2] = 3.0, onset, offset
    return prepare(values, np.ones(20, bool) if valid is None else valid, PLAIN, between)


def bounds(track: Track) -> tuple[float, float]:
    (found,) = ranked(track, np.array([[8, 14]]), np.zeros(1))
    assert (found.first, found.stop) == (8, 14)
    return found.begins, found.ends


def test_a_segment_begins_and_ends_where_the_parabolas_through_its_edges_are_highest() -> None:
    # Onset 1, 4, 3: (1 - 3) / (2 (1 - 8 + 3)) = 1/4 of a step later. Offset 2, 3, 1: (2 - 1) / (2 (2 - 6 + 1)) = -1/6.
    assert bounds(edged([1, 4, 3], [2, 3, 1])) == pytest.approx((8.25, 14 - 1 / 6))


def test_bounds_are_steps_where_nothing_stands_out() -> None:
    assert bounds(edged([1, 4, 3], [2, 3, 1], between=False)) == (8, 14)
    assert bounds(edged([0, 0, 0], [1, 2, 3])) == (8, 14)  # no edge; a neighbour is stronger
    assert bounds(edged([9, 9, 9], [-1, -2, -3])) == (8, 14)  # as strong everywhere; below the usual


def test_bounds_do_not_reach_into_steps_that_were_not_judged() -> None:
    valid = np.ones(20, bool)
    valid[[7, 14]] = False
    assert bounds(edged([0, 4, 0], [0, 4, 0], valid)) == (8, 14)
    assert bounds(edged([0, 4, 3], [3, 4, 0], valid)) == (8, 14)


def test_a_segment_of_the_whole_clip_keeps_its_bounds() -> None:
    values = np.zeros((20, 4), np.float32)
    values[[0, 19], 1:3] = 4.0
    (found,) = ranked(prepare(values, np.ones(20, bool), PLAIN, True), np.array([[0, 20]]), np.zeros(1))
    assert (found.begins, found.ends) == (0, 20)


def test_an_hour_takes_seconds_and_bounded_memory() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(0, 2, (25 * 3600, 4)).astype(np.float32)
    tracemalloc.start()
    began = time.process_time()
    found = segments(prepare(values, np.ones(len(values), bool), PLAIN), SegmentWeights())
    took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) <= MAX_SEGMENTS
    assert took < 20
    assert peak < 250e6


def test_weights_are_in_the_order_of_the_features() -> None:
    assert SegmentWeights.model_fields.keys() == set(FEATURES)
    numbered = SegmentWeights(**{name: float(k) for k, name in enumerate(FEATURES)})
    assert vector(numbered).tolist() == list(range(len(FEATURES)))
