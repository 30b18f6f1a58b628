"""Other ways from the evidence of a track to its segments, to compare with the model of choice that ships.

Training-free refinements after those that GEM-TFL (https://arxiv.org/abs/2603.05095) names, whose details are not
public: evidence is projected to what changes seldom, and scores spread over a graph of candidates. And a scan over all
spans, whose likelihood is a sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from configs.schema import SegmentWeights
from data.labels import EVIDENCE
from pipeline.localization.scores import ClipScores
from pipeline.localization.segments import (
    MAX_SEGMENTS,
    SHORTEST,
    Segment,
    Track,
    candidates,
    features,
    overlap,
    ranked,
    vector,
)

Floats = NDArray[np.float64]

ROUNDS = 300
"""Steps of the projected gradient; twice as many change nothing in the third decimal."""

STAY = 0.7
"""Share of a candidate's score that comes from its neighbours: the beta of GEM-TFL's closed form."""

SHARES = (0.05, 0.2, 0.8)
MARGINS = (0.5, 1.0, 2.0)
"""Values of a scan's two numbers that are tried, see `Scan`."""

NOTHING = -50.0
"""Log-odds that stand for a track without a span."""

_INSIDE, _ONSET, _OFFSET = (EVIDENCE.index(name) for name in ("inside", "onset", "offset"))
_MOST = 300
"""Candidates of a track that are compared."""


def flat(values: Floats, weight: float) -> Floats:
    """The x (T,) that is least in ½ ‖x - values‖² + weight Σ |x_t+1 - x_t|: steps that change seldom.

    By gradients of the dual problem (Chambolle, 2004, https://doi.org/10.1023/B:JMIV.0000011325.36760.1e).
    """
    pull = np.zeros(max(0, len(values) - 1))
    for _ in range(ROUNDS):
        pull = (pull + 0.25 * np.diff(values + np.diff(pull, prepend=0.0, append=0.0))).clip(-weight, weight)
    found: Floats = values + np.diff(pull, prepend=0.0, append=0.0)
    return found


def projected(scores: ClipScores, weight: float = 2.0) -> ClipScores:
    """`scores` whose evidence of "inside" is `flat`, in units of its spread within the clip."""

    def change(name: str, evidence: NDArray[np.float32]) -> NDArray[np.float32]:
        shown = scores.valid[name]
        changed = evidence.copy()
        inside = evidence[shown, _INSIDE].astype(np.float64)
        spread = float(inside.std()) or 1.0
        changed[shown, _INSIDE] = spread * flat(inside / spread, weight)
        return changed

    return with_evidence(scores, {name: change(name, values) for name, values in scores.evidence.items()})


def without_edges(scores: ClipScores) -> ClipScores:
    """`scores` that know of no onset and no offset."""

    def change(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
        changed = evidence.copy()
        changed[:, [_ONSET, _OFFSET]] = 0.0
        return changed

    return with_evidence(scores, {name: change(values) for name, values in scores.evidence.items()})


def with_evidence(scores: ClipScores, evidence: Mapping[str, NDArray[np.float32]]) -> ClipScores:
    """`scores` with other `evidence`, of a clip as one person: the people of a clip are left out."""
    return replace(scores, evidence=evidence, people={})


def diffused(track: Track, weights: SegmentWeights) -> tuple[Segment, ...]:
    """The segments of a track by scores that spread to candidates which overlap, likeliest first.

    Scores are the probabilities of the model of choice, s; what they spread to, in closed form, is
    (1 - β)(I - β S)⁻¹ s, S the tIoU of two candidates with rows that sum to 1 (Zhou et al., NeurIPS 2003).
    """
    spans = candidates(track)
    odds = features(track, spans) @ vector(weights)
    kept = np.argsort(-odds, kind="stable")[:_MOST]
    spans, odds = spans[kept], odds[kept]
    if not len(spans):
        return ()
    none = -np.logaddexp(0.0, np.logaddexp.reduce(odds))
    graph = np.stack([overlap(spans, span) for span in spans])
    graph /= graph.sum(axis=1, keepdims=True)
    scores = (1 - STAY) * np.linalg.solve(np.eye(len(spans)) - STAY * graph, np.exp(odds + none))
    return ranked(track, spans, np.log(np.maximum(scores, 1e-12)) - none)


@dataclass(frozen=True)
class Scan:
    """The log-odds of a span, summed over its steps, with the prior of its length.

    share x Σ (evidence - median - margin) + onset + offset + the log density of its length in steps, log-normal with
    `mean` and `deviation` of its logarithm. A share below 1 says that errors of neighbouring steps are alike.
    """

    share: float
    margin: float
    mean: float
    deviation: float

    def segments(self, track: Track) -> tuple[Segment, ...]:
        """The best spans of all of `track`, likeliest first, without those that overlap a better one."""
        odds = self._log_odds(track)
        likeliest = np.argsort(-odds, axis=None, kind="stable")[:MAX_SEGMENTS]
        first, stop = np.unravel_index(likeliest, odds.shape)
        spans = np.column_stack([first, stop])[np.isfinite(odds[first, stop])]
        return ranked(track, spans, odds[spans[:, 0], spans[:, 1]])

    def strongest(self, track: Track) -> float:
        """Log-odds of the likeliest span of `track`; `NOTHING` where there is none."""
        return max(NOTHING, float(self._log_odds(track).max()))

    def _log_odds(self, track: Track) -> Floats:
        """Log-odds (T + 1, T + 1) of the spans from each step to each other; -inf where there is none."""
        ends = np.arange(len(track.valid) + 1)
        lengths = ends - ends[:, None]
        span = (lengths >= SHORTEST) & (track.counts - track.counts[:, None] == lengths)
        sums = np.concatenate([[0.0], np.cumsum(track.valid * (track.inside - track.median - self.margin))])
        logs = np.log(np.maximum(lengths, 1))
        prior = -0.5 * ((logs - self.mean) / self.deviation) ** 2 - logs
        onset, offset = np.append(track.onset, 0.0), np.append(0.0, track.offset)
        odds = self.share * (sums - sums[:, None]) + onset[:, None] + offset + prior
        return np.where(span, odds, -np.inf)


def scans(lengths: NDArray[np.int64]) -> Iterator[Scan]:
    """Every scan that is tried, with the prior of forged `lengths` in steps."""
    logs = np.log(np.maximum(lengths, SHORTEST))
    for share in SHARES:
        for margin in MARGINS:
            yield Scan(share, margin, float(logs.mean()), max(0.1, float(logs.std())))
