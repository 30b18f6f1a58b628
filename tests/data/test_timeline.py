"""Intervals against a brute-force model on whole ticks, grids against exact fractions."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.timeline import Interval, TimeGrid, complement, merge, runs, total_s

TICKS = 40
whole = st.integers(0, TICKS)
intervals = st.tuples(whole, whole).map(lambda pair: Interval(float(min(pair)), float(max(pair))))
rates = st.sampled_from([Fraction(25), Fraction(30_000, 1001), Fraction(50), Fraction(1, 3)])


def ticks(*covering: Interval) -> set[int]:
    """Whole ticks [k, k + 1) that lie inside one of `covering`."""
    return {k for interval in covering for k in range(int(interval.start_s), int(interval.end_s))}


# --- Interval -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bounds", [(1.0, 0.5), (math.nan, 1.0), (0.0, math.inf), (-math.inf, 0.0), (0.0, math.nan)]
)
def test_impossible_intervals_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="interval"):
        Interval(*bounds)


def test_tiou_by_hand() -> None:
    # [0, 4) and [2, 6): overlap 2, union 6
    assert Interval(0, 4).tiou(Interval(2, 6)) == pytest.approx(1 / 3)
    # [0, 4) holds [1, 2): overlap 1, union 4
    assert Interval(0, 4).tiou(Interval(1, 2)) == 0.25
    assert Interval(0, 1).tiou(Interval(1, 2)) == 0.0  # half-open: touching is not overlapping
    assert Interval(1, 1).tiou(Interval(1, 1)) == 0.0  # nothing over nothing


@given(intervals, intervals)
def test_overlap_and_tiou_count_ticks(a: Interval, b: Interval) -> None:
    assert a.overlap_s(b) == b.overlap_s(a) == len(ticks(a) & ticks(b))
    union = len(ticks(a) | ticks(b))
    assert a.tiou(b) == b.tiou(a) == (len(ticks(a) & ticks(b)) / union if union else 0.0)


# --- sets of intervals ----------------------------------------------------------------------------------------


@given(st.lists(intervals))
def test_merge_covers_the_same_ticks_with_disjoint_sorted_intervals(some: list[Interval]) -> None:
    merged = merge(some)
    assert ticks(*merged) == ticks(*some)
    assert all(a.end_s < b.start_s for a, b in itertools.pairwise(merged))
    assert merge(merged) == merged


@given(st.lists(intervals, min_size=1), st.integers(0, 5))
def test_merge_closes_gaps_up_to_the_limit_and_no_others(some: list[Interval], gap: int) -> None:
    merged = merge(some, gap_s=float(gap))
    assert all(b.start_s - a.end_s > gap for a, b in itertools.pairwise(merged))
    # every tick that was added lies in a gap of at most `gap` ticks between two of the plain cover
    allowed = {
        k
        for a, b in itertools.pairwise(merge(some))
        if b.start_s - a.end_s <= gap
        for k in ticks(Interval(a.end_s, b.start_s))
    }
    assert ticks(*merged) == ticks(*some) | allowed


def test_merge_keeps_the_longer_of_nested_intervals() -> None:
    assert merge([Interval(2, 3), Interval(0, 10)]) == (Interval(0, 10),)


@given(st.lists(intervals), intervals)
def test_complement_is_what_is_left(some: list[Interval], within: Interval) -> None:
    free = complement(some, within)
    assert ticks(*free) == ticks(within) - ticks(*some)
    assert all(gap.duration_s > 0 for gap in free)
    assert merge(free) == free


@given(st.lists(intervals))
def test_total_counts_ticks_once(some: list[Interval]) -> None:
    assert total_s(some) == len(ticks(*some))


# --- TimeGrid -------------------------------------------------------------------------------------------------


def test_an_hour_of_25_fps_ends_exactly() -> None:
    grid = TimeGrid.at_rate(25, 90_000)
    assert grid.span == Interval(0.0, 3600.0)
    assert grid.interval(89_999, 90_000) == Interval(3599.96, 3600.0)
    assert grid.centre_s(0) == 0.02
    assert grid.rate == 25


def test_bounds_may_lie_between_steps() -> None:
    assert TimeGrid.at_rate(25, 100).crop(25, 100).interval(0.25, 10.5) == Interval(1.01, 1.42)


def test_ntsc_rate_is_exact() -> None:
    grid = TimeGrid.at_rate(Fraction(30_000, 1001), 30_000)
    assert grid.span.end_s == 1001.0


@pytest.mark.parametrize(("step", "n"), [(Fraction(0), 1), (Fraction(-1, 25), 1), (Fraction(1, 25), -1)])
def test_impossible_grids_are_refused(step: Fraction, n: int) -> None:
    with pytest.raises(ValueError, match="positive step"):
        TimeGrid(Fraction(0), step, n)


@given(rates, st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_crop_keeps_the_clock(rate: Fraction, first: int, length: int, k: int) -> None:
    grid = TimeGrid.at_rate(rate, 200)
    part = grid.crop(first, first + length)
    assert part.n == length
    assert part.centre_s(k) == grid.centre_s(first + k)
    assert part.crop(0, part.n) == part


# --- runs -----------------------------------------------------------------------------------------------------


@given(st.lists(st.booleans()))
def test_runs_are_the_groups_of_true_values(flags: list[bool]) -> None:
    expected, cursor = [], 0
    for flag, group in itertools.groupby(flags):
        length = len(list(group))
        if flag:
            expected.append((cursor, cursor + length))
        cursor += length
    assert runs(flags) == tuple(expected)
