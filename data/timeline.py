"""Time as a type: half-open intervals in seconds and exact, regular grids of steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, order=True)
class Interval:
    """A half-open span of time ``[start_s, end_s)`` in seconds.

    Raises ValueError when a bound is not finite or the end lies before the start.
    """

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start_s) and math.isfinite(self.end_s)):
            raise ValueError(f"interval bounds must be finite, got [{self.start_s}, {self.end_s})")
        if self.end_s < self.start_s:
            raise ValueError(f"interval ends before it starts: [{self.start_s}, {self.end_s})")

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s

    @property
    def mid_s(self) -> float:
        """Middle in seconds."""
        return (self.start_s + self.end_s) / 2

    def overlap_s(self, other: Interval) -> float:
        """Seconds that both intervals cover."""
        return max(0.0, min(self.end_s, other.end_s) - max(self.start_s, other.start_s))

    def tiou(self, other: Interval) -> float:
        """Temporal intersection over union in [0, 1]; 0 for two empty intervals."""
        overlap = self.overlap_s(other)
        union = self.duration_s + other.duration_s - overlap
        return overlap / union if union > 0 else 0.0


def merge(intervals: Iterable[Interval], gap_s: float = 0.0) -> tuple[Interval, ...]:
    """Sorted, disjoint cover of `intervals`, joining those that lie at most `gap_s` seconds apart."""
    merged: list[Interval] = []
    for interval in sorted(intervals):
        if merged and interval.start_s <= merged[-1].end_s + gap_s:
            merged[-1] = Interval(merged[-1].start_s, max(merged[-1].end_s, interval.end_s))
        else:
            merged.append(interval)
    return tuple(merged)


def complement(intervals: Iterable[Interval], within: Interval) -> tuple[Interval, ...]:
    """The parts of `within` that none of `intervals` covers."""
    cursor, free = within.start_s, []
    for interval in merge(interval for interval in intervals if interval.duration_s > 0):
        if interval.start_s > cursor:
            free.append(Interval(cursor, min(interval.start_s, within.end_s)))
        cursor = max(cursor, interval.end_s)
        if cursor >= within.end_s:
            break
    if cursor < within.end_s:
        free.append(Interval(cursor, within.end_s))
    return tuple(gap for gap in free if gap.duration_s > 0)


def total_s(intervals: Iterable[Interval]) -> float:
    """Seconds covered at least once."""
    return sum(interval.duration_s for interval in merge(intervals))


@dataclass(frozen=True)
class TimeGrid:
    """`n` steps of equal length; step k covers ``[start + k*step, start + (k+1)*step)`` seconds.

    Bounds are fractions, so that an hour of 1/25 s steps ends where it should.
    """

    start: Fraction
    step: Fraction
    n: int

    def __post_init__(self) -> None:
        if self.step <= 0 or self.n < 0:
            raise ValueError(f"a grid needs a positive step and n >= 0, got step={self.step}, n={self.n}")

    @classmethod
    def at_rate(cls, rate: Fraction | int, n: int) -> TimeGrid:
        """`n` steps from time 0 at `rate` steps per second."""
        return cls(Fraction(0), 1 / Fraction(rate), n)

    @property
    def rate(self) -> Fraction:
        """Steps per second."""
        return 1 / self.step

    @property
    def span(self) -> Interval:
        """From the first step's start to the last step's end."""
        return self.interval(0, self.n)

    def interval(self, first: float, stop: float) -> Interval:
        """Time covered by steps ``first .. stop - 1``; both may lie between two steps."""
        start, end = (float(self.start + Fraction(at) * self.step) for at in (first, stop))
        return Interval(start, end)

    def centre_s(self, k: int) -> float:
        """Middle of step `k` in seconds."""
        return float(self.start + (k + Fraction(1, 2)) * self.step)

    def crop(self, first: int, stop: int) -> TimeGrid:
        """The grid of steps ``first .. stop - 1``."""
        return TimeGrid(self.start + first * self.step, self.step, stop - first)


def runs(flags: Sequence[bool]) -> tuple[tuple[int, int], ...]:
    """Half-open index ranges ``(first, stop)`` of consecutive true values."""
    ranges: list[tuple[int, int]] = []
    first: int | None = None
    for k, flag in enumerate(flags):
        if flag and first is None:
            first = k
        elif not flag and first is not None:
            ranges.append((first, k))
            first = None
    if first is not None:
        ranges.append((first, len(flags)))
    return tuple(ranges)
