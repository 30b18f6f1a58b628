"""Proposals against segments: overlaps and one-to-one matching, for all videos at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.metrics.protocols import Protocol

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

DECIMALS = 9


@dataclass(frozen=True)
class Flat:
    """Rows of all videos one after the other; those of video v are ``first[v] .. first[v + 1] - 1``.

    Shapes: `rows` (N, columns), `video` (N,), `first` (V + 1,).
    """

    rows: Floats
    video: Ints
    first: Ints

    @classmethod
    def of(cls, videos: Sequence[NDArray[np.floating]], columns: int) -> Flat:
        """Rows (n, `columns`) of each video; an empty array of any shape has none.

        Raises ValueError for other shapes, values that are not finite, or spans (the last two columns) that end
        before they start.
        """
        counts = np.array([len(rows) for rows in videos], np.int64)
        filled = [np.asarray(rows, np.float64) for rows in videos if len(rows)]
        if any(rows.ndim != 2 or rows.shape[1] != columns for rows in filled):
            raise ValueError(f"every video needs rows of {columns} numbers")
        rows = np.concatenate(filled) if filled else np.zeros((0, columns))
        if not np.isfinite(rows).all() or (rows[:, -1] < rows[:, -2]).any():
            raise ValueError("a score or time is not finite, or a span ends before it starts")
        first = np.concatenate([[0], np.cumsum(counts)])
        return cls(rows, np.repeat(np.arange(len(videos)), counts), first)

    @property
    def counts(self) -> Ints:
        """Rows of each video, (V,)."""
        return np.diff(self.first)

    def ranks(self, order: Ints) -> Ints:
        """Place of each row within its video, (N,), from an `order` that keeps videos together."""
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order)) - self.first[self.video]
        return places


@dataclass(frozen=True)
class Pairs:
    """Segments and proposals of the same video that overlap, as row numbers, and their IoU > 0; all (M,).

    They are ordered by the segment's place in its video, then by segment, then by proposal.
    """

    segment: Ints
    proposal: Ints
    iou: NDArray[np.floating]

    def __getitem__(self, chosen: Ints | Flags) -> Pairs:
        return Pairs(self.segment[chosen], self.proposal[chosen], self.iou[chosen])


def overlaps(proposals: Flat, segments: Flat, arithmetic: str) -> Pairs:
    """All pairs that overlap; `proposals` has the columns score, start, end, `segments` start, end."""
    parts = []
    for place in range(int(segments.counts.max(initial=0))):
        videos = np.flatnonzero((segments.counts > place) & (proposals.counts > 0))
        sizes = proposals.counts[videos]
        segment = np.repeat(segments.first[videos] + place, sizes)
        ends = np.cumsum(sizes)
        proposal = np.arange(len(segment)) + np.repeat(proposals.first[videos] - (ends - sizes), sizes)
        iou = _iou(proposals.rows[proposal, 1:], segments.rows[segment], arithmetic)
        parts.append(Pairs(segment, proposal, iou)[iou > 0])
    if not parts:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))


def score_order(proposals: Flat, ties: Literal["first", "last", "together"]) -> Ints:
    """Rows by video, then by falling score, then as `ties` says; ``together`` orders equal scores by their times."""
    score, video = proposals.rows[:, 0], proposals.video
    if ((score[1:] < score[:-1]) | (video[1:] != video[:-1])).all():
        return np.arange(len(score))  # as files usually are; sorting ten million rows takes seconds
    if ties == "first":
        return np.lexsort((-score, video))
    if ties == "last":
        return np.lexsort((-np.arange(len(score)), -score, video))
    return np.lexsort((proposals.rows[:, 2], proposals.rows[:, 1], -score, video))


def hits(pairs: Pairs, iou: float, strict: bool) -> Flags:
    """Which pairs reach the threshold, compared in the precision of their IoU."""
    threshold = pairs.iou.dtype.type(iou)
    return pairs.iou > threshold if strict else pairs.iou >= threshold


class Matching:
    """One-to-one matching of proposals with segments at any threshold, by the rules of `protocol`."""

    def __init__(self, proposals: Flat, segments: Flat, pairs: Pairs, protocol: Protocol) -> None:
        self._strict, self._by_score = protocol.strict, protocol.matching == "score"
        self._segments, self._proposals = segments, proposals
        if self._by_score:
            order = score_order(proposals, protocol.ties)
            place = np.empty(len(order), np.int64)
            place[order] = np.arange(len(order))
            # Of segments that it overlaps equally, a proposal takes the later one: what a reversed argsort gives.
            pairs = pairs[np.lexsort((-pairs.segment, -pairs.iou, place[pairs.proposal]))]
        self._pairs = pairs

    def matched(self, iou: float) -> Ints:
        """Row numbers of the proposals that have a segment of their own."""
        pairs = self._pairs[hits(self._pairs, iou, self._strict)]
        if not len(pairs.iou):
            return np.zeros(0, np.int64)
        if not self._by_score:
            turn = pairs.segment - self._segments.first[self._segments.video[pairs.segment]]
            return pairs.proposal[_greedy(turn, pairs.segment, pairs.proposal, len(self._proposals.rows))]
        # The turn of a proposal is its number among those of its video that hit anything.
        starts = np.diff(pairs.proposal, prepend=-1) != 0
        number, video = np.cumsum(starts), self._proposals.video[pairs.proposal]
        opens = np.diff(video, prepend=-1) != 0
        turn = number - number[opens][np.cumsum(opens) - 1]
        by_turn = np.argsort(turn, kind="stable")
        pairs = pairs[by_turn]
        return pairs.proposal[_greedy(turn[by_turn], pairs.proposal, pairs.segment, len(self._segments.rows))]


def _greedy(turn: Ints, chooser: Ints, wanted: Ints, size: int) -> Ints:
    """Pairs by which every `chooser`, in its `turn`, takes the first of its `wanted` that is still free.

    Pairs are ordered by turn, chooser and preference; in one turn each video has one chooser at most, so that all
    choosers of a turn can choose at once. `wanted` are numbers below `size`.
    """
    taken, chosen = np.zeros(size, np.bool_), []
    for first, stop in pairwise(np.searchsorted(turn, np.arange(turn[-1] + 2)).tolist()):
        free = first + np.flatnonzero(~taken[wanted[first:stop]])
        picked = free[np.diff(chooser[free], prepend=-1) != 0]
        taken[wanted[picked]] = True
        chosen.append(picked)
    return np.concatenate(chosen)


def _iou(proposals: Floats, segments: Floats, arithmetic: str) -> NDArray[np.floating]:
    """IoU of spans (n, 2) row by row; where both are the same single instant it is 0."""
    dtype = np.float32 if arithmetic == "float32" else np.float64
    (a, b), (c, d) = proposals.T.astype(dtype), segments.T.astype(dtype)
    shared = np.maximum(np.minimum(b, d) - np.maximum(a, c), 0)
    union, hull = b - a + (d - c) - shared, np.maximum(b, d) - np.minimum(a, c)
    whole = union if arithmetic == "float64" else hull
    iou: NDArray[np.floating] = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return iou.round(DECIMALS) if arithmetic == "rounded" else iou
