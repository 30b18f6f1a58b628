"""What is measured of a detector is its decision where it has one, and what the paper measures where it has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from evidence_factory import Hearing, labelled_clips

from configs.schema import DecisionConfig, LocalizeConfig, TrackDecision
from data.manifest import Sample
from pipeline.evaluation.predict import prediction_of
from pipeline.localization import decide as deciding
from pipeline.localization.decide import Decision, decide, decided_proposals, judge

DECISION = DecisionConfig(visual=TrackDecision(centre=-3.0, scale=2.0))
SAMPLE = Sample(Path("dev/1.mp4"), 1, "dev")
(SCORES,) = (clip.scores for clip in labelled_clips(1, Hearing(0.99, edge=5.0), None, kinds=("visual",)))


def test_score_classes_and_proposals_are_those_of_the_decision() -> None:
    config = LocalizeConfig(decision=DECISION)
    found = prediction_of(SAMPLE, SCORES, config)
    decision = judge(SCORES, DECISION)
    assert decision is not None
    assert found.probabilities == decision.probabilities
    assert found.score == pytest.approx(decision.forged)
    assert decision.forged == decide(SCORES, config).probability
    assert found.proposals is not None
    assert found.proposals.tolist() == [
        [p.score, p.start_s, p.end_s] for p in decided_proposals(SCORES, config, decision)
    ]


def test_without_a_decision_they_are_those_of_the_model() -> None:
    found = prediction_of(SAMPLE, SCORES, LocalizeConfig())
    assert found.probabilities == SCORES.video_probabilities
    assert found.score == pytest.approx(0.5)


def test_a_clip_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*arguments: Any) -> Decision | None:
        calls.append(arguments)
        return judge(*arguments)

    monkeypatch.setattr(deciding, "judge", counted)
    for conclude in (
        lambda config: prediction_of(SAMPLE, SCORES, config),
        lambda config: decide(SCORES, config),
    ):
        calls.clear()
        conclude(LocalizeConfig(decision=DECISION))
        assert len(calls) == 1
