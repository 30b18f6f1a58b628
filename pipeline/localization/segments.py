"""From the evidence of one track to its segments: spans that may be forged, each with the log-odds that it is.

A step tells little by itself, and errors of neighbouring steps are alike: what lasts through a clip is its person or
its camera, and a forged span stands out against what is around it. So candidates of all lengths are judged as wholes,
by how far they stand out, by the edges at their ends and by their length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.schema import SegmentWeights, TrackDecision
from data.labels import EVIDENCE
from pipeline.localization.scores import Evidence

SAME = 0.3
"""tIoU above which segments are one: the threshold of non-maximum suppression."""

SHORTEST = 2
"""Steps of the shortest segment."""

MAX_SEGMENTS = 1000
"""Candidates of a track that are compared with each other, the likeliest ones: so that memory and time of hour-long
clips stay bounded."""

LIMIT = 6.0
"""Normalised evidence is cut off beyond this: no single step decides."""

LEVELS = (0.5, 1.0, 1.5, 2.0, 3.0)
"""Normalised evidence above the clip's median that makes runs."""

SMOOTH = (1, 5, 11)
"""Steps of the moving averages in which runs are looked for."""

LENGTHS = (4, 6, 9, 13, 19, 28, 42, 63, 94, 140)
"""Steps of the windows that are tried everywhere."""

_PER_WINDOW = 12
"""A length is tried once in so many steps of a clip, on average: where its mean is highest."""

JUMP = 2
"""Steps on either side of an end whose means are compared."""

_USUAL = 16
"""Steps of the likeliest segment: LAV-DF's are 0.65 s long on average."""

_HEAVIEST = 64
"""Steps up to which a longer segment weighs more."""

_AROUND = (12, 50)
"""Least and most steps on either side that a segment is compared with; in between, as many as it has."""

_SNAP = 4
"""Steps within which an end moves to the strongest edge."""

_PAIRS = 8
"""Ends that each beginning is paired with."""

_ENTIRE = 0.9
"""Share of the valid steps from which on a span counts as the whole clip: nothing is left to compare it with."""

_HALF = 0.5
"""Share of the valid steps from which on a run of them is a candidate: a clip forged from end to end."""

_CHUNK = 50_000
_INSIDE, _ONSET, _OFFSET, _WHOLE = range(len(EVIDENCE))

Spans = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Segment:
    """Steps ``first .. stop - 1``, the log-odds that they are forged, and their mean normalised evidence.

    `begins` and `ends` are its bounds in steps: `first` and `stop`, or between two steps where edges say so.
    """

    first: int
    stop: int
    log_odds: float
    mean: float
    begins: float
    ends: float


class Track(NamedTuple):
    """The evidence of one track, prepared: `inside` (T,) normalised, 0 at invalid steps, and running sums (T + 1,).

    `rise` (T + 1,) is how far the mean of the next `JUMP` steps lies above that of the last ones. `onset` and `offset`
    (T,) lie above their median. `between` says whether segments may begin and end between two steps.
    """

    valid: Flags
    inside: Floats
    rise: Floats
    onset: Floats
    offset: Floats
    median: float
    sums: Floats
    counts: Floats
    whole: Floats
    between: bool

    def mean(self, spans: Spans) -> Floats:
        """Mean normalised evidence (N,) of the valid steps of spans (N, 2); 0 where there is none."""
        sums = self.sums[spans[:, 1]] - self.sums[spans[:, 0]]
        counts = self.counts[spans[:, 1]] - self.counts[spans[:, 0]]
        return sums / np.maximum(counts, 1)


def prepare(evidence: Evidence, valid: Flags, decision: TrackDecision, between: bool = False) -> Track:
    """`evidence` (T, 4) of a track whose steps are `valid` (T,), normalised and ready for sums over spans; segments may
    begin and end `between` two steps."""
    inside = (evidence[:, _INSIDE].astype(np.float64) - decision.centre) / decision.scale
    inside = np.where(valid, inside.clip(-LIMIT, LIMIT), 0.0)
    median = float(np.median(inside[valid])) if valid.any() else 0.0
    onset, offset = (_edge(evidence[:, column].astype(np.float64), valid) for column in (_ONSET, _OFFSET))
    whole = np.where(valid, evidence[:, _WHOLE].astype(np.float64), 0.0)
    rise = _rise(inside, valid, median)
    sums, counts, generated = (_running(values) for values in (inside, valid.astype(np.float64), whole))
    return Track(valid, inside, rise, onset, offset, median, sums, counts, generated, between)


def _rise(inside: Floats, valid: Flags, median: float) -> Floats:
    filled = np.pad(np.where(valid, inside, median), JUMP, constant_values=median)
    sums = _running(filled)
    means = (sums[JUMP:] - sums[:-JUMP]) / JUMP  # of the JUMP steps from each step on
    rise: Floats = means[JUMP:] - means[:-JUMP]
    return rise


def _running(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])


def _edge(values: Floats, valid: Flags) -> Floats:
    """Evidence of an edge above its median in the clip, at most `LIMIT`; 0 at invalid steps."""
    usual = float(np.median(values[valid])) if valid.any() else 0.0
    return np.where(valid, (values - usual).clip(-LIMIT, LIMIT), 0.0)


def segments(track: Track, weights: SegmentWeights) -> tuple[Segment, ...]:
    """Segments of a track, likeliest first; of those that overlap by more than `SAME` the likeliest stays."""
    spans = candidates(track)
    parts = [spans[first : first + _CHUNK] for first in range(0, len(spans), _CHUNK)]
    log_odds = [features(track, part) @ vector(weights) for part in parts]
    return ranked(track, spans, np.concatenate([np.zeros(0), *log_odds]))


def ranked(track: Track, spans: Spans, log_odds: Floats) -> tuple[Segment, ...]:
    """`segments` out of the candidates of a track (N, 2) and their log-odds (N,)."""
    order = np.lexsort((spans[:, 1], spans[:, 0], -log_odds))[:MAX_SEGMENTS]
    spans, log_odds = spans[order], log_odds[order]
    means = track.mean(spans)
    free = np.ones(len(spans), np.bool_)
    best: list[Segment] = []
    for k in range(len(spans)):
        if free[k]:
            first, stop = spans[k].tolist()
            bounds = _bounds(track, first, stop)
            best.append(Segment(first, stop, float(log_odds[k]), float(means[k]), *bounds))
            free &= overlap(spans, spans[k]) <= SAME
    return tuple(best)


def _bounds(track: Track, first: int, stop: int) -> tuple[float, float]:
    """`first` and `stop`, each moved by at most half a step where `track.between`."""
    if not track.between:
        return first, stop
    early, late = _moved_by(track.onset, track.valid, first), _moved_by(track.offset, track.valid, stop - 1)
    return first + early, stop + late


def _moved_by(edge: Floats, valid: Flags, at: int) -> float:
    """How many steps behind `at` an edge lies that stands out there; 0 where a neighbour was not judged."""
    if not 0 < at < len(edge) - 1 or not valid[at - 1 : at + 2].all() or edge[at] <= 0:
        return 0.0
    return vertex(*edge[at - 1 : at + 2].tolist())


def vertex(before: float, peak: float, after: float) -> float:
    """How far behind the second of three values the parabola through them is highest, at most half their distance; 0
    where that value is not the highest."""
    bend = before - 2 * peak + after
    return (before - after) / (2 * bend) if peak >= max(before, after) and bend < 0 else 0.0


def overlap(spans: Spans, span: Spans) -> Floats:
    """tIoU (N,) of spans (N, 2) with one span (2,)."""
    shared = np.minimum(spans[:, 1], span[1]) - np.maximum(spans[:, 0], span[0])
    shared = np.maximum(shared, 0)
    return shared / (spans[:, 1] - spans[:, 0] + span[1] - span[0] - shared)


FEATURES = ("bias", "level", "mass", "step", "jump", "edges", "length", "entire", "whole")
"""Features of a segment, each with a weight in `SegmentWeights`."""


def vector(weights: SegmentWeights) -> Floats:
    """`weights` in the order of FEATURES."""
    return np.array([getattr(weights, name) for name in FEATURES])


def features(track: Track, spans: Spans) -> Floats:
    """FEATURES (N, 9) of spans (N, 2), all steps of which are valid."""
    first, stop = spans[:, 0], spans[:, 1]
    n = (stop - first).astype(np.float64)
    level = track.mean(spans)
    reach = n.clip(*_AROUND).astype(np.int64)
    before = np.stack([np.maximum(first - reach, 0), first], axis=1)
    after = np.stack([stop, np.minimum(stop + reach, len(track.valid))], axis=1)
    near = [track.counts[side[:, 1]] - track.counts[side[:, 0]] for side in (before, after)]
    sums = [track.sums[side[:, 1]] - track.sums[side[:, 0]] for side in (before, after)]
    around = (sums[0] + sums[1]) / np.maximum(near[0] + near[1], 1)
    entire = n >= _ENTIRE * track.counts[-1]
    bare = entire | (near[0] + near[1] == 0)
    whole = (track.whole[stop] - track.whole[first]) / np.maximum(n, 1)
    return np.stack(
        [
            np.ones(len(spans)),
            level,
            np.where(entire, 0.0, (level - track.median) * np.minimum(n, _HEAVIEST) / _USUAL),
            np.where(bare, 0.0, level - around),
            np.where(entire, 0.0, track.rise[first] - track.rise[stop]),
            np.where(entire, 0.0, track.onset[first] + track.offset[stop - 1]),
            np.where(entire, 0.0, -0.5 * np.log(np.maximum(n, 1) / _USUAL) ** 2),
            entire.astype(np.float64),
            np.where(entire, whole, 0.0),
        ],
        axis=1,
    )


def candidates(track: Track) -> Spans:
    """Spans (N, 2) of at least `SHORTEST` valid steps that may be forged, in order; N is at most linear in T."""
    parts = [*_by_level(track), *_by_length(track), *_by_edges(track)]
    spans = np.concatenate([np.zeros((0, 2), np.int64), *parts])
    spans = np.concatenate([spans, _snapped(track, spans), _entire(track)])
    spans = spans[spans[:, 1] - spans[:, 0] >= SHORTEST]
    spans = spans[track.counts[spans[:, 1]] - track.counts[spans[:, 0]] == spans[:, 1] - spans[:, 0]]
    return np.unique(spans, axis=0)


def _runs(flags: Flags) -> Spans:
    """Half-open runs (N, 2) of true flags (T,)."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return changes.reshape(-1, 2).astype(np.int64)


def _by_level(track: Track) -> list[Spans]:
    """Runs of steps that stand out, at several levels, in the evidence and in moving averages of it."""
    spans = []
    steps = np.arange(len(track.valid))
    for width in SMOOTH:
        window = np.stack(
            [np.maximum(steps - width // 2, 0), np.minimum(steps + width // 2 + 1, len(steps))], axis=1
        )
        smooth = track.mean(window)
        spans += [_runs(track.valid & (smooth >= track.median + level)) for level in LEVELS]
    return spans


def _by_length(track: Track) -> list[Spans]:
    """Windows of each length where their mean is highest around."""
    chosen = []
    for length in LENGTHS:
        first = np.arange(len(track.valid) - length + 1)
        spans = np.stack([first, first + length], axis=1).astype(np.int64)
        spans = spans[track.counts[spans[:, 1]] - track.counts[spans[:, 0]] == length]
        if len(spans):
            means = track.mean(spans)
            most = max(1, len(track.valid) // _PER_WINDOW)
            peaks = np.flatnonzero(_peaks(means, max(1, length // 4)))
            chosen.append(spans[peaks[np.argsort(-means[peaks], kind="stable")[:most]]])
    return chosen


def _peaks(values: Floats, reach: int) -> Flags:
    """Which values (N,) are the highest within `reach` to either side."""
    peaks: Flags = values >= _around(values, reach).max(axis=1)
    return peaks


def _around(values: Floats, reach: int) -> Floats:
    """Views (N, 2 reach + 1) of what lies within `reach` of each value (N,); -inf beyond the ends."""
    padded = np.full(len(values) + 2 * reach, -np.inf)
    padded[reach : reach + len(values)] = values
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)


def _by_edges(track: Track) -> list[Spans]:
    """Every beginning that stands out, up to each of the next ends that do."""
    begins, ends = (
        np.flatnonzero(_peaks(values, 2) & (values > 1)) for values in (track.onset, track.offset)
    )
    pairs = []
    next_end = np.searchsorted(ends, begins + SHORTEST - 1)
    for ahead in range(_PAIRS):
        there = next_end + ahead < len(ends)
        pairs.append(np.stack([begins[there], ends[next_end[there] + ahead] + 1], axis=1).astype(np.int64))
    return pairs


def _snapped(track: Track, spans: Spans) -> Spans:
    """`spans` (N, 2) with each end at the strongest edge nearby, and again at the steepest rise and fall nearby."""
    if not len(spans):
        return spans
    moved = [np.stack([_moved(track.rise, spans[:, 0]), _moved(-track.rise, spans[:, 1])], axis=1)]
    if track.onset.any() or track.offset.any():
        last = _moved(track.offset, spans[:, 1] - 1)
        moved.append(np.stack([_moved(track.onset, spans[:, 0]), last + 1], axis=1))
    return np.concatenate(moved)


def _moved(values: Floats, at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places `at` (N,), each moved to the highest of the `values` within `_SNAP`."""
    nearby = _around(values, _SNAP).argmax(axis=1) - _SNAP
    return at + nearby[at]


def _entire(track: Track) -> Spans:
    """Runs of valid steps that hold at least half of them."""
    spans = _runs(track.valid)
    return spans[spans[:, 1] - spans[:, 0] >= _HALF * track.counts[-1]]
