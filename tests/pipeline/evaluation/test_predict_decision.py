"""What is measured of a detector is its decision where it has one, and what the paper measures where it has none."""

from __future__ import annotations

from pathlib import Path

import pytest
from evidence_factory import Hearing, labelled_clips

from configs.schema import DecisionConfig, LocalizeConfig, TrackDecision
from data.manifest import Sample
from pipeline.evaluation.predict import prediction_of
from pipeline.localization.decide import decide, decided_proposals, judge

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
        [p.score, p.start_s, p.end_s] for p in decided_proposals(SCORES, config)
    ]


def test_without_a_decision_they_are_those_of_the_model() -> None:
    found = prediction_of(SAMPLE, SCORES, LocalizeConfig())
    assert found.probabilities == SCORES.video_probabilities
    assert found.score == pytest.approx(0.5)
