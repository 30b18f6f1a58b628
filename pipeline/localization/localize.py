"""Step scores to forged intervals: routing, hysteresis, merging, minimum length (paper 3.1, 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from configs.schema import LocalizeConfig
from data.labels import CLASSES, REAL, Route
from data.timeline import Interval, TimeGrid, runs
from pipeline.localization.assess import SLIVER_S
from pipeline.localization.scores import MODALITY, ForgedInterval
from pipeline.localization.segments import SAME

if TYPE_CHECKING:
    from pipeline.localization.scores import ClipScores, Window


def localize(scores: ClipScores, config: LocalizeConfig, route: Route = "auto") -> tuple[ForgedInterval, ...]:
    """Forged intervals in order of time.

    `auto` follows the predicted class of each window (paper 3.1), so `real` yields none; a branch's name
    shows that branch whatever the class; `all` shows the three of them. An interval names the tracks that were
    judged all along it: one of the joint branch is cut where either is not.
    """
    cut: list[ForgedInterval] = []
    for interval in _uncut(scores, config, route):
        cut += _examined(interval, scores, config) if interval.modality == "both" else [interval]
    return tuple(sorted(cut))


def _uncut(scores: ClipScores, config: LocalizeConfig, route: Route) -> tuple[ForgedInterval, ...]:
    """Intervals of the curves, those of the joint branch whole."""
    uncut: list[ForgedInterval] = []
    for branch, modality in MODALITY.items():
        if route not in ("auto", "all", branch):
            continue
        curve = scores.routed[branch] if route == "auto" else getattr(scores, branch)
        if branch == "joint" and scores.spans is not None:
            uncut += _sure(scores, scores.spans, config, route)
        elif curve is not None:
            uncut += intervals(curve, scores.valid[branch], scores.grid, config, modality)
    return tuple(sorted(uncut))


def _sure(
    scores: ClipScores, spans: tuple[ForgedInterval, ...], config: LocalizeConfig, route: Route
) -> Iterator[ForgedInterval]:
    """Segments that the method itself has found, from a score of `onset` on; by route, where the window says forged."""
    for span in best_of_same(spans):
        window = _nearest(scores, span)
        if span.score >= config.onset and (route != "auto" or window.predicted != CLASSES[REAL]):
            yield span


def _nearest(scores: ClipScores, interval: ForgedInterval) -> Window:
    """The window whose middle is nearest to that of an interval."""
    middle = (interval.start_s + interval.end_s) / 2
    return min(scores.windows, key=lambda w: abs(scores.grid.interval(w.first, w.stop).mid_s - middle))


def _examined(
    interval: ForgedInterval, scores: ClipScores, config: LocalizeConfig
) -> Iterator[ForgedInterval]:
    """The parts of an interval of the joint branch in which the same tracks were judged, named after them.

    Stretches without one track that are shorter than `SLIVER_S` and lie between two with both are passed over, as in
    the assessment; parts shorter than an interval may be are none.
    """
    grid = scores.grid
    first, stop = (
        round((time_s - float(grid.start)) / float(grid.step))
        for time_s in (interval.start_s, interval.end_s)
    )
    both = scores.valid["visual"][first:stop] & scores.valid["audio"][first:stop]
    for low, high in runs((~both).tolist()):
        if low > 0 and high < len(both) and (high - low) * float(grid.step) < SLIVER_S:
            both[low:high] = True
    alone = {name: ~both & scores.valid[name][first:stop] for name in ("visual", "audio")}
    for modality, flags in (("both", both), *alone.items()):
        for low, high in runs(flags.tolist()):
            if high - low >= _steps(config.min_duration_s, grid):
                span = grid.interval(first + low, first + high)
                yield replace(interval, start_s=span.start_s, end_s=span.end_s, modality=modality)


def proposals(scores: ClipScores, config: LocalizeConfig) -> tuple[ForgedInterval, ...]:
    """Ranked intervals of all branches for evaluation, best first; in a clip that seems real they score low.

    The mean step score is multiplied by a probability of the window whose middle is nearest, uncalibrated, since that
    ranks better: that of the class which routes to the branch, and for the joint branch, whose curve tells any forgery,
    that of not being real. Where it is zero there is no proposal: the class needs an absent track, or the method cannot
    tell the tracks apart and its one curve is the joint one. Of two that overlap by more than `SAME` the better one
    stays: branches see the same segment. Segments that the method itself has found, and ranked, stay as they are.
    """
    if scores.spans is not None:
        return scores.spans
    ranked = []
    for interval in _uncut(scores, config, route="all"):
        likely = dict(zip(CLASSES, _nearest(scores, interval).uncalibrated, strict=True))
        gate = 1 - likely["real"] if interval.modality == "both" else likely[interval.modality]
        if gate > 0:
            ranked.append(replace(interval, score=interval.score * gate))
    return best_of_same(sorted(ranked, key=lambda interval: -interval.score))


def best_of_same(ranked: Iterable[ForgedInterval]) -> tuple[ForgedInterval, ...]:
    """Intervals, best first, without those that overlap a better one by more than `SAME`."""
    best: list[ForgedInterval] = []
    for interval in ranked:
        span = Interval(interval.start_s, interval.end_s)
        if all(span.tiou(Interval(other.start_s, other.end_s)) <= SAME for other in best):
            best.append(interval)
    return tuple(best)


def intervals(
    curve: NDArray[np.floating],
    valid: NDArray[np.bool_],
    grid: TimeGrid,
    config: LocalizeConfig,
    modality: str,
) -> list[ForgedInterval]:
    """Intervals of one curve (T,) on `grid`; a step that `valid` (T,) denies is in none of them.

    A run of steps at or above `offset` counts if one of them reaches `onset`. Runs at most `merge_gap_s`
    apart join, unless nothing was decoded in between; those shorter than `min_duration_s` go. The score is
    the run's mean.
    """
    gap, shortest = _steps(config.merge_gap_s, grid), _steps(config.min_duration_s, grid)
    spans: list[tuple[int, int]] = []
    for first, stop in runs((valid & (curve >= config.offset)).tolist()):
        if curve[first:stop].max() < config.onset:
            continue
        if spans and first - spans[-1][1] <= gap and valid[spans[-1][1] : first].all():
            first = spans.pop()[0]
        spans.append((first, stop))
    return [
        ForgedInterval(span.start_s, span.end_s, modality, float(curve[first:stop].mean()))
        for first, stop in spans
        if stop - first >= shortest
        for span in [grid.interval(first, stop)]
    ]


def _steps(seconds: float, grid: TimeGrid) -> Fraction:
    """A duration in steps, exactly: 0.12 s is three steps of 1/25 s, which floats deny."""
    return Fraction(str(seconds)) / grid.step
