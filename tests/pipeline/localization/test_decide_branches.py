"""A finding names the branches that its intervals could come from, and the thresholds that made them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evidence_factory import sure_clip as clip

from configs.schema import DecisionConfig, LocalizeConfig, TrackDecision, TrackWeights
from data.labels import Route
from pipeline.localization.curves import step_curves
from pipeline.localization.decide import decide
from pipeline.localization.localize import localize
from pipeline.localization.scores import Thresholds, Window

TRACK = TrackDecision(centre=-3.0, scale=2.0, track=TrackWeights(bias=0.5, best=1.0))
SEGMENTS = LocalizeConfig(decision=DecisionConfig(visual=TRACK, audio=TRACK))
ROUTED = LocalizeConfig()


def test_a_decision_names_the_tracks_that_it_rests_on_and_no_thresholds() -> None:
    # The windows say "both", so the routing would name the joint branch.
    windows = (Window(0, 150, (0.2, 0.1, 0.1, 0.6)),)
    scores = replace(clip(True, True), windows=windows)
    for weighed in (("visual",), ("audio",), ("visual", "audio")):
        config = LocalizeConfig(decision=DecisionConfig(**dict.fromkeys(weighed, TRACK)))
        found = decide(scores, config)
        assert (found.verdict, found.branches, found.thresholds) == ("forged", weighed, None)
        shown = step_curves(scores, config)
        assert tuple(name for name in ("visual", "audio") if getattr(shown, name) is not None) == weighed


def test_without_a_decision_a_finding_names_the_branches_and_thresholds_that_made_it() -> None:
    thresholds = Thresholds(ROUTED.onset, ROUTED.offset)
    by_class = replace(clip(True, True), windows=(Window(0, 150, (0.2, 0.1, 0.1, 0.6)),))
    found = decide(by_class, ROUTED)
    assert (found.branches, found.thresholds) == (("joint",), thresholds)
    # Settings with a decision that the clip gives no evidence for are those of a clip without one.
    assert decide(replace(by_class, evidence={}), SEGMENTS).thresholds == thresholds
    # One track alone is judged by its branch: here by the sound's, though the window says that nothing is forged.
    curve = np.full(150, 0.1, np.float32)
    curve[60:76] = 0.97
    alone = replace(clip(None, True), evidence={}, windows=(Window(0, 150, (0.7, 0, 0.3, 0)),), audio=curve)
    found = decide(alone, ROUTED)
    assert (found.branches, {each.modality for each in found.intervals}) == (("audio",), {"audio"})


@pytest.mark.parametrize(
    ("route", "branches"), [("audio", ("audio",)), ("all", ("visual", "audio", "joint"))]
)
def test_a_branch_that_is_asked_for_changes_what_is_shown_and_not_the_verdict(
    route: Route, branches: tuple[str, ...]
) -> None:
    asked, found = decide(clip(True, False), SEGMENTS, route), decide(clip(True, False), SEGMENTS)
    assert (asked.branches, asked.intervals) == (branches, localize(clip(True, False), SEGMENTS, route))
    assert asked.thresholds == Thresholds(SEGMENTS.onset, SEGMENTS.offset)
    kept = {"branches": found.branches, "intervals": found.intervals, "thresholds": found.thresholds}
    assert replace(asked, **kept) == found
    nothing = decide(replace(clip(True, False), windows=()), SEGMENTS, route)
    assert (nothing.verdict, nothing.branches) == ("not_assessable", ())
