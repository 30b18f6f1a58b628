"""The decision: its arithmetic by hand, and what must hold between verdict, class, probability and intervals."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from evidence_factory import SPAN, Hearing, evidence, proposed, scores_of
from evidence_factory import sure_clip as clip
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.schema import CertifiedLine, DecisionConfig, LocalizeConfig, TrackDecision, TrackWeights
from data.timeline import TimeGrid
from pipeline.localization.curves import step_curves
from pipeline.localization.decide import (
    FEATURES,
    JudgedTrack,
    class_probabilities,
    decide,
    judge,
    judge_track,
    vector,
)
from pipeline.localization.lines import line_of
from pipeline.localization.localize import localize, proposals
from pipeline.localization.scores import ClipScores, Window
from pipeline.localization.segments import SAME

TRACK = TrackDecision(centre=-3.0, scale=2.0, track=TrackWeights(bias=0.5, best=1.0))
DECISION = DecisionConfig(
    visual=TRACK,
    audio=TRACK,
    line=0.9,
    lines=(
        CertifiedLine(rate=0.05, line=0.8, bound=0.0498, alarms=5, clips=208, people=93),
        CertifiedLine(rate=0.2, line=0.6, bound=0.19, alarms=30, clips=208, people=93),
    ),
    population="the authentic clips of a set",
)
CONFIG = LocalizeConfig(decision=DECISION)


def said(log_odds: float) -> JudgedTrack:
    return JudgedTrack((), np.zeros(len(FEATURES)), log_odds)


@pytest.mark.parametrize(
    ("odds", "expected"),
    [
        # P(real), visual, audio, both. One track: its odds alone.
        ({"visual": 3.0}, (1 / 4, 3 / 4, 0, 0)),
        ({"audio": 1.0}, (1 / 2, 0, 1 / 2, 0)),
        # Both say nothing: as likely forged as not, and no class likelier than another.
        ({"visual": 1.0, "audio": 1.0}, (1 / 2, 1 / 6, 1 / 6, 1 / 6)),
        # (6 + 2 + 12) / 3 = 20/3 to 1; the shares are 6, 2 and 12 of 20.
        ({"visual": 6.0, "audio": 2.0}, (3 / 23, 6 / 23, 2 / 23, 12 / 23)),
    ],
)
def test_tracks_are_joined_by_their_odds(odds: dict[str, float], expected: tuple[float, ...]) -> None:
    tracks = {name: said(math.log(value)) for name, value in odds.items()}
    assert class_probabilities(tracks, DecisionConfig()) == pytest.approx(expected)


def test_slope_and_bias_calibrate_the_odds_and_leave_the_shares() -> None:
    # Odds of 4, its root 2, times e^0.5 with the bias.
    found = class_probabilities({"audio": said(math.log(4))}, DecisionConfig(slope=0.5, bias=0.5))
    assert found[0] == pytest.approx(1 / (1 + 2 * math.exp(0.5)))
    assert found[2] == pytest.approx(1 - found[0])


def test_odds_of_any_size_give_probabilities() -> None:
    for value in (-1e4, 1e4):
        found = class_probabilities({"visual": said(value), "audio": said(-value)}, DecisionConfig())
        assert sum(found) == pytest.approx(1)
        assert all(0 <= p <= 1 for p in found)


def test_the_features_of_a_track_by_hand() -> None:
    inside = np.full((32, 4), 0.0, np.float32)
    inside[:, 0] = -1.0
    inside[4:12, 0] = 3.0
    inside[:, 3] = 0.25
    valid = np.ones(32, bool)
    valid[30:] = False
    scores = scores_of({"visual": inside}, likely=(0.2, 0.3, 0.1, 0.4), valid={"visual": valid})
    curve = np.full(32, 0.5, np.float32)
    curve[5], curve[31] = 0.8, 1.0  # of an invalid step nothing counts
    scores = replace(scores, visual=curve)
    config = TrackDecision(centre=-1.0, scale=2.0)
    found = judge_track(scores, "visual", config)
    values = dict(zip(FEATURES, found.features, strict=True))
    assert values["bias"] == 1
    assert values["best"] == found.segments[0].log_odds == max(one.log_odds for one in found.segments)
    assert (found.segments[0].first, found.segments[0].stop) == (4, 12)
    assert values["mean"] == pytest.approx(2.0)
    assert values["top"] == pytest.approx(2.0)  # the highest of 30 steps
    assert values["whole"] == pytest.approx(0.25)
    assert values["share"] == pytest.approx(8 / 30)
    assert values["curve"] == pytest.approx(math.log(0.8 / 0.2))
    assert values["video"] == pytest.approx(math.log(0.3 / 0.2))  # without sound nothing can be of both
    weights = TrackWeights(**{name: 0.1 * k for k, name in enumerate(FEATURES)})
    expected = sum(0.1 * k * values[name] for k, name in enumerate(FEATURES))
    weighed = judge_track(scores, "visual", config.model_copy(update={"track": weights}))
    assert weighed.log_odds == pytest.approx(expected)
    assert vector(weights) == pytest.approx(0.1 * np.arange(8))


def test_of_several_windows_the_most_suspicious_speaks_uncalibrated() -> None:
    scores = clip(False, None)
    windows = (
        Window(0, 75, (0.9, 0.1, 0.0, 0.0), (0.5, 0.5, 0.0, 0.0)),
        Window(75, 150, (0.9, 0.1, 0.0, 0.0), (0.2, 0.8, 0.0, 0.0)),
    )
    found = judge_track(replace(scores, windows=windows), "visual", TRACK)
    assert found.features[FEATURES.index("video")] == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    ("visual", "audio", "label"),
    [
        (True, False, "visual"),
        (False, True, "audio"),
        (True, True, "both"),
        (True, None, "visual"),
        (None, True, "audio"),
    ],
)
def test_a_forged_clip_gets_its_class_and_the_span(visual: bool, audio: bool, label: str) -> None:
    found = decide(clip(visual, audio), CONFIG)
    assert (found.verdict, found.label) == ("forged", label)
    assert found.probability is not None
    assert found.probability >= found.line
    best = max(found.intervals, key=lambda one: one.score)
    assert (best.start_s, best.end_s, best.modality) == pytest.approx((60 / 25, 76 / 25, label), abs=0.09)
    assert found.strongest is not None


@pytest.mark.parametrize(("visual", "audio"), [(False, False), (False, None), (None, False)])
def test_an_authentic_clip_has_no_interval(visual: bool, audio: bool) -> None:
    found = decide(clip(visual, audio), CONFIG)
    assert (found.verdict, found.label, found.intervals) == ("not_found", "real", ())


@pytest.mark.parametrize("seed", range(5))
def test_taking_a_track_away_never_turns_a_forged_clip_into_an_authentic_one(seed: int) -> None:
    whole = clip(True, False, seed)
    for other in ("absent", "invalid"):
        muted = replace(
            whole,
            audio=None,
            evidence={"visual": whole.evidence["visual"]},
            valid=whole.valid | {"audio": np.zeros(150, bool)},
            usable_s={"visual": 6.0} | ({"audio": 0.2} if other == "invalid" else {}),
        )
        assert decide(whole, CONFIG).verdict == decide(muted, CONFIG).verdict == "forged"
        # The muted clip says no less: the authentic sound spoke against a forgery.
        assert decide(muted, CONFIG).probability >= decide(whole, CONFIG).probability  # type: ignore[operator]


def with_bias(bias: float, base: DecisionConfig = DECISION) -> LocalizeConfig:
    return LocalizeConfig(decision=base.model_copy(update={"bias": bias}))


def test_between_floor_and_line_a_clip_is_undecided_and_names_its_strongest_segment() -> None:
    scores = clip(True, False)
    decision = judge(scores, DECISION)
    assert decision is not None
    log_odds = math.log(decision.forged / (1 - decision.forged))
    for target, verdict in ((0.85, "forged"), (0.79, "undecided"), (0.51, "undecided"), (0.49, "not_found")):
        found = decide(scores, with_bias(math.log(target / (1 - target)) - log_odds))
        assert found.verdict == verdict
        assert found.probability == pytest.approx(target)
        assert (found.line, found.floor) == (0.8, 0.5)
        assert bool(found.intervals) == (verdict == "forged") == (found.label != "real")
        assert found.strongest is not None
        assert found.strongest.start_s == pytest.approx(60 / 25, abs=0.09)


def test_a_promise_names_what_it_rests_on() -> None:
    found = decide(clip(False, False), CONFIG)
    promise = found.promise
    assert promise is not None
    assert (promise.asked, promise.bound, promise.confidence) == (0.05, 0.0498, 0.95)
    assert (promise.alarms, promise.clips, promise.people) == (5, 208, 93)
    assert promise.population == "the authentic clips of a set"


def test_another_rate_has_another_line_and_none_no_promise() -> None:
    for rate, line in ((0.2, 0.6), (0.01, 0.9)):
        decision = DECISION.model_copy(update={"max_alarms": rate})
        found = decide(clip(True, False), LocalizeConfig(decision=decision))
        assert (found.line, found.promise is None) == (line, rate == 0.01)
    assert line_of(DECISION, 0.1 + 0.1) is DECISION.lines[1]


def test_nothing_to_judge_is_no_verdict() -> None:
    scores = replace(clip(True, None), windows=())
    for config in (CONFIG, LocalizeConfig()):
        found = decide(scores, config)
        assert (found.verdict, found.label, found.probability) == ("not_assessable", "not_assessable", None)
        assert (found.intervals, found.strongest) == ((), None)


def test_bounds_lie_between_steps_in_sound_and_at_steps_in_the_picture() -> None:
    for name in ("visual", "audio"):
        scores = scores_of({name: np.full((150, 4), -6, np.float32)})
        told = scores.evidence[name]
        told[60:76, 0] = 6.0
        told[59:62, 1], told[74:77, 2] = (-3, 0, -1), (-3, 0, -1)  # -6 is usual: 3, 6 and 5 above it
        (best, *_) = decide(scores, CONFIG).intervals
        moved = (3 - 5) / (2 * (3 - 12 + 5)) if name == "audio" else 0
        assert (best.start_s, best.end_s) == pytest.approx(((60 + moved) / 25, (76 + moved) / 25))


def test_spans_of_both_tracks_that_are_the_same_become_one() -> None:
    found = decide(clip(True, True), CONFIG)
    assert [one.modality for one in found.intervals].count("both") == 1
    assert "both" in {one.modality for one in found.intervals}


def test_spans_of_two_tracks_stay_apart_where_they_differ_or_a_track_was_not_judged() -> None:
    rng = np.random.default_rng(3)
    sure = Hearing(0.999, 0.3, edge=6.0)
    apart = scores_of({"visual": evidence(rng, sure, (20, 40)), "audio": evidence(rng, sure, (90, 110))})
    found = decide(apart, CONFIG)
    assert (found.label, [one.modality for one in found.intervals]) == ("both", ["visual", "audio"])

    same = scores_of({"visual": evidence(rng, sure, SPAN), "audio": evidence(rng, sure, SPAN)})
    same.valid["audio"][74:] = False
    found = decide(same, CONFIG)
    assert found.label == "both"
    for one in found.intervals:
        if one.modality == "both":
            assert one.end_s <= 74 / 25 + 1e-9


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(-6, 6),
    st.sampled_from([0.5, 0.8, 0.99]),
    st.sampled_from(["v", "a", "va"]),
)
def test_verdict_class_probability_and_intervals_never_contradict_each_other(
    seed: int, bias: float, line: float, tracks: str
) -> None:
    rng = np.random.default_rng(seed)
    names = [name for name in ("visual", "audio") if name[0] in tracks]
    held = {name: rng.normal(-3, 3, (40, 4)).astype(np.float32) for name in names}
    valid = {name: rng.random(40) < 0.9 for name in names}
    for name in names:
        valid[name][:5] = True
    scores = scores_of(held, valid=valid)
    decision = DECISION.model_copy(update={"lines": (), "line": line, "bias": bias})
    found = decide(scores, LocalizeConfig(decision=decision))
    assert found.probability is not None
    assert 0 <= found.floor <= found.line <= 1
    if found.probability >= found.line:
        assert found.verdict == "forged"
        assert found.intervals
        shown = {one.modality for one in found.intervals}
        assert found.label == (shown.pop() if len(shown) == 1 else "both")
        assert list(found.intervals) == sorted(found.intervals)
    else:
        assert found.verdict == ("undecided" if found.probability >= found.floor else "not_found")
        assert (found.label, found.intervals) == ("real", ())
    for one in found.intervals:
        steps = slice(round(one.start_s * 25), round(one.end_s * 25))
        for other in found.intervals:
            if other is not one and other.modality == one.modality != "both":
                shared = min(one.end_s, other.end_s) - max(one.start_s, other.start_s)
                assert shared <= min(one.end_s - one.start_s, other.end_s - other.start_s) / 2 + 1e-9
        for name in ("visual", "audio") if one.modality == "both" else (one.modality,):
            assert scores.valid[name][steps].all()


def test_proposals_are_the_segments_of_both_tracks_best_first_and_low_in_authentic_clips() -> None:
    forged, authentic = (proposed(clip(flag, False), CONFIG) for flag in (True, False))
    for found in (forged, authentic):
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        assert {one.modality for one in found} == {"visual", "audio"}
        assert all(0 <= one.score <= 1 for one in found)
    assert (forged[0].start_s, forged[0].end_s) == pytest.approx((60 / 25, 76 / 25), abs=0.09)
    assert forged[0].score > 10 * authentic[0].score


def test_a_span_that_both_tracks_propose_is_proposed_once() -> None:
    found = proposed(clip(True, True), CONFIG)
    near = [one for one in found if abs(one.start_s - 60 / 25) < 0.1 and abs(one.end_s - 76 / 25) < 0.1]
    assert len(near) == 1
    for k, one in enumerate(found):
        for other in found[:k]:
            shared = min(one.end_s, other.end_s) - max(one.start_s, other.start_s)
            union = one.end_s - one.start_s + other.end_s - other.start_s - shared
            assert max(0.0, shared) / union <= SAME


@pytest.mark.parametrize("evidence_of", [{}, {"audio": None}])
def test_without_evidence_or_settings_the_class_decides(evidence_of: dict[str, None]) -> None:
    scores = clip(True, True)
    curve = np.zeros(150, np.float32)
    curve[10:20] = 0.9
    windows = (Window(0, 150, (0.2, 0.1, 0.1, 0.6)),)
    bare = replace(scores, evidence={}, windows=windows, joint=curve, routed=scores.routed | {"joint": curve})
    for config in (CONFIG, LocalizeConfig()):
        found = decide(bare, config)
        assert (found.verdict, found.label, found.promise) == ("forged", "both", None)
        # 0.6 against 0.2 of the class real
        assert (found.probability, found.line, found.floor) == (pytest.approx(0.75), 0.5, 0.5)
        assert found.intervals == localize(bare, config)
        assert proposed(bare, config) == proposals(bare, config)
    real = replace(bare, windows=(Window(0, 150, (0.4, 0.2, 0.1, 0.3)),))
    found = decide(real, LocalizeConfig())
    assert (found.verdict, found.label, found.intervals) == ("not_found", "real", ())
    assert found.probability == pytest.approx(0.3 / 0.7)  # though P(forged) over all classes is 0.6


def lone(highest: float, name: str = "visual", likely_real: float = 0.7) -> ClipScores:
    """A clip with one track, whose class probabilities say "real" and whose branch reaches `highest`."""
    scores = clip(True, None) if name == "visual" else clip(None, True)
    curve = np.full(150, 0.1, np.float32)
    curve[60:76] = highest
    classes = [likely_real, 0.0, 0.0, 0.0]
    classes[1 if name == "visual" else 2] = 1 - likely_real
    return replace(
        scores,
        evidence={},
        windows=(Window(0, 150, (classes[0], classes[1], classes[2], 0.0)),),
        **{name: curve},
    )


@pytest.mark.parametrize("name", ["visual", "audio"])
def test_a_clip_of_one_track_is_judged_by_its_branch_whatever_the_classes_lost(name: str) -> None:
    found = decide(lone(0.97, name), LocalizeConfig())
    assert (found.verdict, found.label) == ("forged", name)
    assert found.probability == pytest.approx(0.97)
    assert [(one.start_s, one.end_s, one.modality) for one in found.intervals] == [(60 / 25, 76 / 25, name)]
    assert found.strongest == found.intervals[0]


@pytest.mark.parametrize(
    ("highest", "verdict"), [(0.89, "undecided"), (0.51, "undecided"), (0.4, "not_found")]
)
def test_a_branch_alone_has_to_be_sure(highest: float, verdict: str) -> None:
    found = decide(lone(highest), LocalizeConfig())
    assert (found.verdict, found.label, found.intervals) == (verdict, "real", ())
    assert (found.line, found.floor) == (0.9, 0.5)


def test_where_no_interval_is_long_enough_a_sure_branch_still_shows_its_highest_steps() -> None:
    config = LocalizeConfig(min_duration_s=5.0)
    found = decide(lone(0.97), config)
    assert found.verdict == "forged"
    assert [(one.start_s, one.end_s) for one in found.intervals] == [(60 / 25, 76 / 25)]


def test_the_curves_shown_join_spans_and_whole_clips_by_hand() -> None:
    # p = 1/2 and 9/10 inside, q = 3/4 from end to end: 1 - (1/2)(1/4) and 1 - (1/10)(1/4).
    said = np.zeros((2, 4), np.float32)
    said[:, 0], said[:, 3] = (0.0, np.log(9)), np.log(3)
    grid = TimeGrid(Fraction(0), Fraction(1, 25), 2)
    steps = np.ones(2, np.bool_)
    nothing = np.zeros(2, np.bool_)
    curve = np.full(2, 0.1, np.float32)
    scores = ClipScores(
        grid=grid,
        visual=None,
        audio=curve,
        joint=curve,
        visual_error=None,
        audio_error=None,
        valid={"visual": nothing, "audio": steps, "joint": steps},
        routed={},
        windows=(Window(0, 2, (0.25, 0.25, 0.25, 0.25)),),
        evidence={"audio": said},
    )
    shown = step_curves(scores, CONFIG)
    assert shown.visual is None
    assert shown.audio == pytest.approx([0.875, 0.975])
    assert shown.joint == pytest.approx([0.875, 0.975])
    assert step_curves(scores, LocalizeConfig()).audio is curve
