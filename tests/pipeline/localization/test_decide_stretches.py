"""A file of several stretches: each judged as a clip, the best corrected for how many there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evidence_factory import proposed, scores_of
from numpy.typing import NDArray

from configs.schema import DecisionConfig, LocalizeConfig, TrackDecision
from pipeline.localization.curves import step_curves
from pipeline.localization.decide import decide, judge
from pipeline.localization.scores import ClipScores, Window

CONFIG = DecisionConfig(visual=TrackDecision(centre=0.0, scale=1.0), stretches=0.5, line=0.7)
LOCALIZE = LocalizeConfig(decision=CONFIG)
T = 120


def quiet(seed: int) -> NDArray[np.float32]:
    found = np.zeros((T, 4), np.float32)
    found[:, 0] = np.random.default_rng(seed).normal(0, 0.4, T)
    return found


def loud(seed: int) -> NDArray[np.float32]:
    found = quiet(seed)
    found[50:70, 0] += 6
    return found


def joined(*parts: NDArray[np.float32]) -> ClipScores:
    """The scores of clips one after the other, each a stretch."""
    scores = scores_of({"visual": np.concatenate(parts)})
    cuts = [(k * T, (k + 1) * T) for k in range(len(parts))]
    likely = scores.windows[0].probabilities
    return replace(
        scores, windows=tuple(Window(a, b, likely) for a, b in cuts), stretches={"visual": tuple(cuts)}
    )


def log_odds(scores: ClipScores) -> float:
    decision = judge(scores, CONFIG)
    assert decision is not None
    return decision.tracks["visual"].log_odds


def test_one_stretch_is_judged_as_ever() -> None:
    plain = scores_of({"visual": loud(0)})
    assert decide(joined(loud(0)), LOCALIZE) == decide(plain, LOCALIZE)
    assert log_odds(joined(loud(0))) == log_odds(plain)


def test_the_best_of_three_loses_half_the_logarithm_of_three() -> None:
    alone = log_odds(joined(loud(0)))
    assert log_odds(joined(quiet(1), loud(0), quiet(2))) == pytest.approx(alone - 0.5 * np.log(3))


def test_a_forged_span_is_found_at_its_time_in_the_file() -> None:
    finding = decide(joined(quiet(1), quiet(2), loud(0), quiet(3)), LOCALIZE)
    assert finding.verdict == "forged"
    (found,) = finding.intervals
    assert (found.start_s, found.end_s) == (
        pytest.approx((2 * T + 50) / 25),
        pytest.approx((2 * T + 70) / 25),
    )
    assert found.score == pytest.approx(finding.probability)


def test_two_forged_stretches_correct_each_other_less() -> None:
    one, two = joined(loud(0), quiet(1), quiet(2)), joined(loud(0), loud(0), quiet(2))
    assert log_odds(two) == pytest.approx(log_odds(one) + 0.5 * np.log(2))
    assert len(decide(two, LOCALIZE).intervals) == 2


def test_no_segment_spans_a_cut() -> None:
    both = joined(quiet(1), quiet(2))
    both.evidence["visual"][T - 8 : T + 8, 0] += 6
    spans = [(round(p.start_s * 25), round(p.end_s * 25)) for p in proposed(both, LOCALIZE)]
    assert spans
    assert all(stop <= T or first >= T for first, stop in spans)


def test_a_level_that_changes_at_a_cut_is_no_evidence() -> None:
    brighter = quiet(2) + np.array([3, 0, 0, 0], np.float32)
    together = joined(quiet(1), quiet(3), brighter)
    alone = log_odds(joined(brighter))
    assert log_odds(together) <= alone, "no more than that shot says by itself"


def test_a_stretch_without_a_judged_step_counts_for_nothing() -> None:
    with_gap = joined(loud(0), quiet(1))
    with_gap.valid["visual"][T:] = False
    assert log_odds(with_gap) == log_odds(joined(loud(0)))


def test_curves_are_as_those_of_each_stretch() -> None:
    generated = quiet(1) + np.array([0, 0, 0, 4], np.float32)
    curve = step_curves(joined(generated, quiet(2)), LOCALIZE).visual
    alone = step_curves(joined(quiet(2)), LOCALIZE).visual
    assert curve is not None
    assert alone is not None
    assert curve[T:].tolist() == alone.tolist()
    assert curve[:T].min() > 0.9


def test_windows_go_with_the_stretch_that_holds_their_middle() -> None:
    scores = joined(quiet(1), quiet(2), quiet(3))
    assert [w.first for w in scores.crop(T, 2 * T).windows] == [T]
    assert scores.crop(T, 2 * T).grid.start == T * scores.grid.step
    assert [w.first for w in scores.crop(2 * T + 90, 3 * T).windows] == [2 * T], "none has its middle there"
