"""The comparison of ways to decide and to localize, on made-up evidence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evidence_factory import Hearing, labelled_clips, sure_clip
from scripts import loaded

from configs.schema import LocalizeConfig, SegmentWeights, TrackDecision
from pipeline.localization.segments import prepare, segments


def test_every_way_has_a_row_and_the_decision_on_segments_uses_the_edges() -> None:
    with loaded("benchmarks/decisions.py") as module:
        sharp = Hearing(0.9, 0.9, edge=3.0)
        clips = [
            *labelled_clips(80, sharp, sharp),
            *labelled_clips(40, sharp, None, seed=1, kinds=("real", "visual")),
        ]
        rows = dict(module.compare(clips, LocalizeConfig()))
        assert [*rows] == [*module.WAYS]
        # The made-up model knows nothing.
        assert all(abs(value - 0.5) < 0.2 for value in rows["joint curve, highest sixteenth"][:3])
        pooled, decided = rows["better track's evidence, highest sixteenth"], rows["decision on segments"]
        for one, other in zip(pooled[:3], decided[:3], strict=True):
            assert math.isfinite(one)
            assert other > one
        assert decided[3] > rows["… without onsets and offsets"][3] > rows[next(iter(rows))][3]
        # The scan, which is told that errors last, finds the made-up spans as well.
        assert rows["a scan over all spans"][3] > 0.5
        text = module.table([rows, rows])
        assert f"{decided[0]:.3f} ± 0.000" in text
        assert "nan" not in text


def test_evidence_is_projected_to_what_changes_seldom() -> None:
    with loaded("benchmarks/refinements.py") as module:
        # Least by hand: of two values 0 and 4 and a weight of 1 each moves 1 towards the other; of 6 both meet.
        assert module.flat(np.array([0.0, 4.0]), 1.0) == pytest.approx([1.0, 3.0])
        assert module.flat(np.array([0.0, 4.0]), 6.0) == pytest.approx([2.0, 2.0], abs=1e-3)
        # A step among four loses the weight on both sides, which its neighbours share.
        assert module.flat(np.array([0.0, 0.0, 6.0, 0.0]), 1.0) == pytest.approx(
            [0.5, 0.5, 4.0, 1.0], abs=1e-3
        )
        assert len(module.flat(np.zeros(0), 1.0)) == 0


def test_scores_spread_to_candidates_that_overlap() -> None:
    with loaded("benchmarks/refinements.py") as module:
        scores = sure_clip(True, True)
        track = prepare(scores.evidence["visual"], scores.valid["visual"], TrackDecision(centre=-3, scale=2))
        weights = SegmentWeights()
        own, spread = segments(track, weights), module.diffused(track, weights)
        assert abs(spread[0].first - own[0].first) + abs(spread[0].stop - own[0].stop) <= 2
        # What it had alone it shares with its neighbours.
        assert spread[0].log_odds < own[0].log_odds


def test_a_scan_finds_the_run_of_steps_that_adds_up_to_most() -> None:
    with loaded("benchmarks/refinements.py") as module:
        evidence = np.zeros((20, 4), np.float32)
        evidence[5:9, 0] = 3.0
        track = prepare(evidence, np.ones(20, np.bool_), TrackDecision(centre=0, scale=1))
        best = module.Scan(1.0, 1.0, math.log(4), 0.5).segments(track)[0]
        # Four steps, each 3 - 1 above the margin, and the density of 4: -ln 4.
        assert (best.first, best.stop) == (5, 9)
        assert best.log_odds == pytest.approx(8 - math.log(4))
