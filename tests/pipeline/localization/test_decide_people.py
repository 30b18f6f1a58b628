"""The decision on clips of several people: each by their own picture, and no alarm because there are more of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from evidence_factory import SPAN, scores_of
from evidence_factory import sure_clip as clip

from configs.schema import DecisionConfig, LocalizeConfig, TrackDecision, TrackWeights
from pipeline.localization.curves import step_curves
from pipeline.localization.decide import (
    FEATURES,
    JudgedTrack,
    decide,
    judge,
    judge_track,
    of_people,
)
from pipeline.localization.scores import ClipScores

TRACK = TrackDecision(centre=-3.0, scale=2.0, track=TrackWeights(bias=0.5, best=1.0))
DECISION = DecisionConfig(visual=TRACK, audio=TRACK, line=0.8)
CONFIG = LocalizeConfig(decision=DECISION)


def said(log_odds: float) -> JudgedTrack:
    return JudgedTrack((), np.zeros(len(FEATURES)), log_odds)


def with_people(forged: dict[int, bool], audio: bool | None = None, seed: int = 0) -> ClipScores:
    """Scores of a clip with several people, each with a picture track of their own."""
    each = {number: clip(is_forged, audio, seed + number) for number, is_forged in forged.items()}
    return replace(clip(False, audio, seed), people=each)


def test_odds_of_several_people_are_the_mean_of_theirs() -> None:
    # 1/3 of 6, 2 and 1: together 3, the mean.
    shared = of_people({n: said(math.log(odds)) for n, odds in ((1, 6.0), (2, 2.0), (4, 1.0))})
    assert [math.exp(track.log_odds) for track in shared.values()] == pytest.approx([2, 2 / 3, 1 / 3])
    found = judge(with_people({1: False, 2: True, 3: False}), DECISION)
    assert found is not None
    odds = [
        math.exp(judge_track(s, "visual", TRACK).log_odds)
        for s in with_people({1: False, 2: True, 3: False}).people.values()
    ]
    assert math.exp(found.tracks["visual"].log_odds) == pytest.approx(np.mean(odds))


def test_one_person_is_judged_as_the_clip_and_named() -> None:
    scores = clip(True, None)
    alone = decide(replace(scores, people={1: scores}), CONFIG)
    plain = decide(scores, CONFIG)
    assert plain.verdict == alone.verdict == "forged"
    assert alone.probability == plain.probability
    assert [replace(each, person=0) for each in alone.intervals] == list(plain.intervals)
    assert {each.person for each in alone.intervals} == {1}
    assert list(alone.people) == [1]


@pytest.mark.parametrize("who", [1, 2, 5])
def test_the_forged_person_is_named_and_the_others_are_not(who: int) -> None:
    found = decide(with_people({n: n == who for n in (1, 2, 5)}), CONFIG)
    assert found.verdict == "forged"
    assert {each.person for each in found.intervals} == {who}
    assert found.strongest is not None
    assert found.strongest.person == who
    assert max(found.people, key=lambda n: found.people[n]) == who


def test_a_span_of_one_person_and_of_the_sound_is_of_both_and_keeps_the_person() -> None:
    found = decide(with_people({1: False, 2: True}, audio=True), CONFIG)
    assert [(each.modality, each.person) for each in found.intervals] == [("both", 2)]


def test_the_same_span_of_two_people_is_told_of_each() -> None:
    found = decide(with_people({1: True, 2: True}), CONFIG)
    assert sorted(each.person for each in found.intervals) == [1, 2]


@pytest.mark.parametrize("odds", [3.0, 10.0, 20.0])
@pytest.mark.parametrize("people", [2, 4, 8])
def test_more_authentic_people_raise_no_more_alarms(people: int, odds: float) -> None:
    """Odds of an authentic person have a mean of 1: drawn from a log-normal of that mean, as of a calibrated track."""
    drawn = np.random.default_rng(0).normal(-1.125, 1.5, (4000, people))
    together = [
        sum(math.exp(track.log_odds) for track in of_people({k: said(v) for k, v in enumerate(row)}).values())
        for row in drawn
    ]
    alone, likeliest = (np.exp(drawn[:, 0]) >= odds).mean(), (np.exp(drawn.max(axis=1)) >= odds).mean()
    assert (np.array(together) >= odds).mean() < alone + 0.03
    assert (np.array(together) >= odds).mean() < likeliest


def test_the_picture_curve_of_several_people_is_that_of_the_likeliest() -> None:
    scores = with_people({1: True, 2: False})
    single = [step_curves(each, CONFIG).visual for each in scores.people.values()]
    together = step_curves(scores, CONFIG).visual
    assert np.array_equal(together, np.maximum(*single))


def test_of_a_long_file_each_stretch_of_each_person_is_judged() -> None:
    """Two stretches: person 2 is forged in the second one, at the same steps of it as `SPAN`."""
    halves = {number: (clip(False, None, number), clip(number == 2, None, number + 9)) for number in (1, 2)}

    def joined(number: int) -> ClipScores:
        first, second = halves[number]
        n = first.grid.n
        both = np.concatenate([first.evidence["visual"], second.evidence["visual"]])
        return replace(scores_of({"visual": both}), stretches={"visual": ((0, n), (n, 2 * n))})

    people = {number: joined(number) for number in halves}
    found = decide(replace(people[1], people=people), CONFIG)
    assert found.verdict == "forged"
    (interval,) = found.intervals
    n = halves[1][0].grid.n
    assert interval.person == 2
    assert (interval.start_s, interval.end_s) == pytest.approx(
        ((n + SPAN[0]) / 25, (n + SPAN[1]) / 25), abs=0.09
    )
