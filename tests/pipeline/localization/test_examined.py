"""An interval claims only what was examined: those of the joint branch are cut where a track was not judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.schema import LocalizeConfig
from data.timeline import TimeGrid
from pipeline.localization.localize import localize, proposals
from pipeline.localization.scores import ClipScores, Window

PLAIN = LocalizeConfig(onset=0.5, offset=0.4, merge_gap_s=0.0, min_duration_s=0.0)


def clip(visual: list[bool], audio: list[bool], joint: float = 0.9) -> ClipScores:
    """Scores of a clip whose joint curve is `joint` wherever one of the tracks was judged."""
    n = len(visual)
    valid = {"visual": np.array(visual), "audio": np.array(audio)}
    valid["joint"] = valid["visual"] | valid["audio"]
    curve, none = np.full(n, joint, np.float32), np.zeros(n, np.float32)
    return ClipScores(
        grid=TimeGrid.at_rate(25, n),
        visual=none,
        audio=none,
        joint=curve,
        visual_error=None,
        audio_error=None,
        valid=valid,
        routed={"visual": none, "audio": none, "joint": curve},
        windows=(Window(0, n, (0.0, 0.0, 0.0, 1.0)),),
    )


def spans(scores: ClipScores, config: LocalizeConfig = PLAIN) -> list[tuple[int, int, str]]:
    return [(round(f.start_s * 25), round(f.end_s * 25), f.modality) for f in localize(scores, config)]


def test_where_the_sound_starts_late_the_picture_alone_is_named() -> None:
    scores = clip([True] * 100, [False] * 50 + [True] * 50)
    assert spans(scores) == [(0, 50, "visual"), (50, 100, "both")]


def test_where_the_picture_ends_early_the_sound_alone_is_named() -> None:
    scores = clip([True] * 30 + [False] * 70, [True] * 100)
    assert spans(scores) == [(0, 30, "both"), (30, 100, "audio")]


def test_without_the_other_track_nothing_is_called_both() -> None:
    assert spans(clip([False] * 50, [True] * 50)) == [(0, 50, "audio")]


@pytest.mark.parametrize(("pause", "expected"), [(4, [(0, 100, "both")]), (5, None)])
def test_a_sliver_between_two_judged_stretches_cuts_nothing(pause: int, expected: list | None) -> None:
    # 4 steps are 0.16 s, less than the 0.2 s from which the assessment tells of a gap; 5 steps are 0.2 s.
    audio = [True] * 50 + [False] * pause + [True] * (50 - pause)
    whole = [(0, 50, "both"), (50, 50 + pause, "visual"), (50 + pause, 100, "both")]
    assert spans(clip([True] * 100, audio)) == (expected if expected is not None else whole)


def test_parts_shorter_than_an_interval_may_be_are_none() -> None:
    config = PLAIN.model_copy(update={"min_duration_s": 0.4})
    scores = clip([True] * 100, [False] * 8 + [True] * 92)
    assert spans(scores, config) == [(8, 100, "both")]


def test_proposals_for_evaluation_stay_whole() -> None:
    scores = clip([True] * 100, [False] * 50 + [True] * 50)
    assert [(p.start_s, p.end_s) for p in proposals(scores, PLAIN)] == [(0.0, 4.0)]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0, 1)), min_size=1, max_size=80))
def test_no_interval_lies_where_its_tracks_were_not_judged(steps: list[tuple[bool, bool, float]]) -> None:
    scores = clip([step[0] for step in steps], [step[1] for step in steps])
    curve = np.array([step[2] for step in steps], np.float32)
    scores = replace(scores, joint=curve, routed={**scores.routed, "joint": curve})
    names = {"visual": ("visual",), "audio": ("audio",), "both": ("visual", "audio")}
    for first, stop, modality in spans(scores):
        for name in names[modality]:
            missing = ~scores.valid[name][first:stop]
            runs = "".join("x" if flag else " " for flag in missing).split()
            assert all(len(run) < 5 for run in runs)
            assert not missing[0]
            assert not missing[-1]
