"""AP at IoU thresholds and AR@N of proposals, under any protocol and for any resampling of the videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.metrics.matching import (
    Flags,
    Flat,
    Floats,
    Ints,
    Matching,
    Pairs,
    hits,
    overlaps,
    score_order,
)
from pipeline.evaluation.metrics.protocols import PROTOCOLS, Protocol

_BOTH = 3


def localization(
    proposals: Sequence[NDArray[np.floating]],
    segments: Sequence[NDArray[np.floating]],
    protocol: Protocol = PROTOCOLS["honest"],
    labels: NDArray[np.integer] | None = None,
) -> dict[str, float]:
    """AP@t, their mean `mAP`, AR@N and their mean `mAR`, all in [0, 1]; NaN where no segment counts.

    `proposals`: (P, 3) score, start and end by video, in file order; `segments`: (G, 2) start and end of what is
    forged, in file order; `labels` (V,) 0..3 where `protocol` chooses a subset.

    Raises ValueError for other shapes, values that are not finite, reversed spans or lacking labels.
    """
    return Localization(proposals, segments, protocol, labels)()


@dataclass(frozen=True)
class _Curve:
    """The matched proposals of one threshold, by rank: their ranks from 0 and their videos, both (M,)."""

    rank: Ints
    video: Ints


class Localization:
    """Proposals matched once with the truth (see `localization`), then measured for any weights of the videos."""

    def __init__(
        self,
        proposals: Sequence[NDArray[np.floating]],
        segments: Sequence[NDArray[np.floating]],
        protocol: Protocol = PROTOCOLS["honest"],
        labels: NDArray[np.integer] | None = None,
    ) -> None:
        if len(proposals) != len(segments):
            raise ValueError(f"{len(proposals)} videos have proposals, {len(segments)} have ground truth")
        self.protocol = protocol
        self._chosen = _subset(protocol, len(segments), labels)
        by_clip = [proposals[v] for v in self._chosen]
        if protocol.empty == "pad":
            by_clip = [rows if len(rows) else np.zeros((1, 3)) for rows in by_clip]
        flat = Flat.of(by_clip, 3)
        if protocol.arithmetic == "float32":  # scores that are equal there are ties there
            flat = Flat(flat.rows.astype(np.float32).astype(np.float64), flat.video, flat.first)
        truth = Flat.of([segments[v] for v in self._chosen], 2)
        pairs = overlaps(flat, truth, protocol.arithmetic)
        self._segment_video, self._proposal_count = truth.video, flat.counts
        self._rank_proposals(flat)
        matching = Matching(flat, truth, pairs, protocol)
        self._curves = {iou: self._curve(flat, matching.matched(iou)) for iou in protocol.ap_ious}
        self._recalled = self._recalls(flat, truth, pairs)

    def __call__(self, weights: NDArray[np.floating] | None = None) -> dict[str, float]:
        """The measures, with video v counted `weights[v]` times (V,); without weights once.

        What an ``average`` budget allows each video is that of the unweighted videos.
        """
        chosen = weights[self._chosen] if weights is not None else None
        counted = chosen[self._segment_video] if chosen is not None else np.ones(len(self._segment_video))
        total = float(counted.sum())
        seen = np.cumsum(chosen[self._ranked_video]) if chosen is not None else None
        precisions = {
            f"AP@{iou:g}": self._average_precision(curve, chosen, seen, total)
            for iou, curve in self._curves.items()
        }
        precisions["mAP"] = float(np.mean(list(precisions.values())))
        recalls = {f"AR@{n}": self.recall(n, counted) for n in self.protocol.budgets}
        return {**precisions, **recalls, "mAR": float(np.mean(list(recalls.values())))}

    def recall(self, budget: int, counted: NDArray[np.floating]) -> float:
        """AR@`budget` with segment g counted `counted[g]` times (G,), in the order of the videos of the subset."""
        if self.protocol.empty == "skip":
            counted = counted * (self._proposal_count[self._segment_video] > 0)
        total = float(counted.sum())
        # Whole numbers below 2**24, hence exact in the number format that is fastest to multiply.
        right = (counted.astype(np.float32) @ self._recalled[budget]).astype(np.float64)
        return float((right / total).mean()) if total else np.nan

    def _rank_proposals(self, flat: Flat) -> None:
        """Rank all proposals by score: `_rank` (N,) of each row, `_until` the last rank of the same score."""
        score = flat.rows[:, 0]
        if self.protocol.ties == "last":
            order = np.argsort(score, kind="stable")[::-1]
        else:
            order = np.argsort(-score, kind="stable")
        self._ranked_video = flat.video[order]
        self._rank = np.empty(len(order), np.int64)
        self._rank[order] = np.arange(len(order))
        self._until: Ints | None = None
        if self.protocol.ties == "together" and len(order):
            ranked = score[order]
            last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
            self._until = np.repeat(last, np.diff(last, prepend=-1))

    def _curve(self, flat: Flat, matched: Ints) -> _Curve:
        rank = self._rank[matched]
        order = np.argsort(rank)
        return _Curve(rank[order], flat.video[matched][order])

    def _average_precision(
        self, curve: _Curve, weights: NDArray[np.floating] | None, seen: Floats | None, total: float
    ) -> float:
        """Area under the interpolated precision; only matched proposals can be its corners."""
        if not total:
            return np.nan
        if not len(curve.rank):
            return 0.0
        at = curve.rank if self._until is None else self._until[curve.rank]
        counted = weights[curve.video] if weights is not None else np.ones(len(at))
        right = np.cumsum(counted)[np.searchsorted(at, at, side="right") - 1]
        tried = seen[at] if seen is not None else at + 1.0
        precision = np.divide(right, tried, out=np.zeros_like(right), where=tried > 0)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        area = float((counted * best).sum())
        if not self.protocol.first_strip:
            top = int(np.searchsorted(seen, 0, side="right")) if seen is not None else 0
            at_top = int(np.searchsorted(curve.rank, top))
            if at_top < len(curve.rank) and curve.rank[at_top] == top:
                area -= float(best[at_top])
        return area / total

    def _recalls(self, flat: Flat, truth: Flat, pairs: Pairs) -> dict[int, NDArray[np.float32]]:
        """By budget: whether each segment is hit at each of `ar_ious` (G, thresholds)."""
        order = {
            "file": lambda: np.arange(len(flat.rows)),
            "score": lambda: score_order(flat, self.protocol.ties),
            "time": lambda: np.lexsort((flat.rows[:, 1], flat.video)),
        }[self.protocol.order]()
        place, video = flat.ranks(order)[pairs.proposal], flat.video[pairs.proposal]
        recalled = {}
        for budget in self.protocol.budgets:
            allowed = place < self._quota(flat, truth, budget)[video]
            best = np.zeros(len(truth.rows), pairs.iou.dtype)
            np.maximum.at(best, pairs.segment[allowed], pairs.iou[allowed])
            rows = np.arange(len(best))
            flags = [
                hits(Pairs(rows, rows, best), iou, self.protocol.strict) for iou in self.protocol.ar_ious
            ]
            recalled[budget] = np.stack(flags, axis=1).astype(np.float32)
        return recalled

    def _quota(self, flat: Flat, truth: Flat, budget: int) -> Ints:
        """Proposals of each video that AR@`budget` looks at, (V,)."""
        if self.protocol.budget == "each":
            return np.full(len(flat.counts), budget)
        most, forged = max(self.protocol.budgets), truth.counts > 0
        everything, videos = len(flat.rows), int(forged.sum())
        if not everything or not videos:
            return np.zeros(len(flat.counts), np.int64)
        ratio = most * float(videos) / everything
        wanted = np.minimum((flat.counts * ratio).astype(np.int64), flat.counts) * forged
        if not wanted.sum():
            return np.zeros(len(flat.counts), np.int64)
        share = budget / float(most) * (most * float(videos) / wanted.sum())
        return np.minimum((wanted * share).astype(np.int64), wanted)


def _subset(protocol: Protocol, videos: int, labels: NDArray[np.integer] | None) -> Ints:
    if protocol.subset == "all":
        return np.arange(videos)
    if labels is None or len(labels) != videos:
        raise ValueError(f"the subset '{protocol.subset}' needs a label for every video")
    members: Flags = labels == _BOTH if protocol.subset == "both" else labels > 0
    return np.flatnonzero(members)
