"""From curves to intervals: hysteresis, merging, minimum length and routing, worked by hand at 25 steps a second."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from configs.schema import LocalizeConfig
from data.timeline import TimeGrid
from pipeline.localization.localize import intervals, localize, proposals
from pipeline.localization.scores import ClipScores, ForgedInterval, Window

PLAIN = LocalizeConfig(onset=0.5, offset=0.4, merge_gap_s=0.0, min_duration_s=0.0)


def steps_of(curve: list[float], config: LocalizeConfig = PLAIN, valid: list[int] | None = None) -> list[Any]:
    """Found intervals as (first step, stop, score)."""
    grid = TimeGrid.at_rate(25, len(curve))
    flags = np.array(valid if valid is not None else [1] * len(curve), bool)
    found = intervals(np.array(curve, np.float32), flags, grid, config, "visual")
    return [(round(i.start_s * 25), round(i.end_s * 25), round(i.score, 4)) for i in found]


def clip(
    n: int = 10,
    visual: Any = 0.0,
    audio: Any = 0.0,
    joint: Any = 0.0,
    probabilities: tuple[float, ...] = (0.1, 0.7, 0.1, 0.1),
) -> ClipScores:
    """One-window scores; a branch is a constant, a list of steps, or None."""

    def curve(value: Any) -> Any:
        return None if value is None else np.broadcast_to(np.array(value, np.float32), n).copy()

    branches = {"visual": curve(visual), "audio": curve(audio), "joint": curve(joint)}
    label = int(np.argmax(probabilities))
    routed = {
        name: values if values is not None and label == index else np.zeros(n, np.float32)
        for index, (name, values) in enumerate(branches.items(), start=1)
    }
    return ClipScores(
        grid=TimeGrid.at_rate(25, n),
        visual=branches["visual"],
        audio=branches["audio"],
        joint=branches["joint"],
        visual_error=None,
        audio_error=None,
        valid={name: np.full(n, values is not None) for name, values in branches.items()},
        routed=routed,
        windows=(Window(0, n, probabilities),),
    )


def test_a_run_starts_where_it_reaches_the_offset_if_it_reaches_the_onset() -> None:
    #        0    1    2    3    4    5    6    7    8
    curve = [0.1, 0.4, 0.6, 0.4, 0.3, 0.4, 0.45, 0.1, 0.5]
    # steps 1-3 peak at 0.6, mean 1.4/3; steps 5-6 never reach 0.5; step 8 reaches both thresholds exactly
    assert steps_of(curve) == [(1, 4, 0.4667), (8, 9, 0.5)]


def test_bounds_are_the_bounds_of_the_steps() -> None:
    found = localize(clip(5, visual=[0, 0.9, 0.9, 0, 0]), PLAIN)
    assert found == (ForgedInterval(0.04, 0.12, "visual", pytest.approx(0.9)),)


def test_runs_join_across_gaps_up_to_the_limit() -> None:
    curve = [0.9, 0.0, 0.0, 0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.9]
    joined = PLAIN.model_copy(update={"merge_gap_s": 0.12})
    # 0.12 s are three steps exactly, though not in floats: the gap of three joins, that of four does not
    assert steps_of(curve, joined) == [(0, 5, 0.36), (9, 10, 0.9)]
    assert len(steps_of(curve, PLAIN.model_copy(update={"merge_gap_s": 0.11}))) == 3


def test_merging_chains() -> None:
    joined = PLAIN.model_copy(update={"merge_gap_s": 0.04})
    assert steps_of([0.6, 0, 0.6, 0, 0.6], joined) == [(0, 5, 0.36)]


def test_a_run_below_onset_is_no_bridge() -> None:
    joined = PLAIN.model_copy(update={"merge_gap_s": 0.04})
    assert steps_of([0.9, 0.0, 0.45, 0.0, 0.9], joined) == [(0, 1, 0.9), (4, 5, 0.9)]


def test_short_runs_go_after_merging() -> None:
    config = PLAIN.model_copy(update={"min_duration_s": 0.12, "merge_gap_s": 0.04})
    assert steps_of([0.9, 0.9, 0, 0, 0.9, 0.9, 0.9], config) == [(4, 7, 0.9)]  # two steps go, three stay
    assert steps_of([0.9, 0.0, 0.9, 0, 0, 0, 0], config) == [(0, 3, 0.6)]  # one and one are three when joined


def test_undecoded_steps_are_never_inside_an_interval() -> None:
    joined = PLAIN.model_copy(update={"merge_gap_s": 1.0})
    curve = [0.9] * 8
    assert steps_of(curve, joined, [1, 1, 1, 0, 0, 1, 1, 1]) == [(0, 3, 0.9), (5, 8, 0.9)]
    # a gap that is partly undecoded cannot be bridged either
    assert steps_of([0.9, 0.0, 0.9, 0.9, 0.9], joined, [1, 1, 0, 1, 1]) == [(0, 1, 0.9), (3, 5, 0.9)]


@pytest.mark.parametrize(("level", "found"), [(1.0, [(0, 4, 1.0)]), (0.0, [])])
def test_flat_curves(level: float, found: list[Any]) -> None:
    assert steps_of([level] * 4) == found


def test_an_offset_of_zero_takes_the_whole_clip() -> None:
    assert steps_of([0.0, 0.9, 0.0], PLAIN.model_copy(update={"offset": 0.0})) == [(0, 3, 0.3)]


@pytest.mark.parametrize(
    ("probabilities", "modality"),
    [((0.1, 0.7, 0.1, 0.1), "visual"), ((0.1, 0.1, 0.7, 0.1), "audio"), ((0.1, 0.1, 0.1, 0.7), "both")],
)
def test_auto_follows_the_predicted_class(probabilities: tuple[float, ...], modality: str) -> None:
    found = localize(clip(visual=0.6, audio=0.7, joint=0.8, probabilities=probabilities), PLAIN)
    score = {"visual": 0.6, "audio": 0.7, "both": 0.8}[modality]
    assert found == (ForgedInterval(0.0, 0.4, modality, pytest.approx(score)),)


def test_a_real_clip_yields_nothing_unless_a_branch_is_asked_for() -> None:
    scores = clip(visual=0.6, audio=0.7, joint=0.8, probabilities=(0.7, 0.1, 0.1, 0.1))
    assert localize(scores, PLAIN) == ()
    assert [found.modality for found in localize(scores, PLAIN, "audio")] == ["audio"]
    assert [found.modality for found in localize(scores, PLAIN, "joint")] == ["both"]
    assert {found.modality for found in localize(scores, PLAIN, "all")} == {"visual", "audio", "both"}


def test_a_missing_track_yields_nothing() -> None:
    scores = clip(visual=0.6, audio=None, joint=0.8)
    assert localize(scores, PLAIN, "audio") == ()
    assert {found.modality for found in localize(scores, PLAIN, "all")} == {"visual"}


def test_windows_may_be_routed_differently() -> None:
    scores = clip(visual=[0.9] * 4 + [0.0] * 6, audio=[0.0] * 6 + [0.8] * 4)
    scores.routed["audio"][6:] = 0.8  # as if a second window had been routed to the audio branch
    found = localize(scores, PLAIN)
    assert [(i.modality, round(i.start_s, 2), round(i.end_s, 2)) for i in found] == [
        ("visual", 0.0, 0.16),
        ("audio", 0.24, 0.4),
    ]


def test_intervals_come_in_order_of_time() -> None:
    found = localize(
        clip(visual=[0] * 8 + [0.9] * 2, audio=[0.9] + [0] * 9, joint=[0, 0.9] * 5), PLAIN, "all"
    )
    assert list(found) == sorted(found, key=lambda i: i.start_s)
    assert len(found) == 7


def test_proposals_are_weighted_by_their_class_and_ranked() -> None:
    scores = clip(visual=[0.9] * 4 + [0] * 6, audio=[0] * 6 + [0.8] * 4, probabilities=(0.5, 0.1, 0.3, 0.1))
    found = proposals(scores, PLAIN)
    assert [(i.modality, round(i.score, 4)) for i in found] == [("audio", 0.24), ("visual", 0.09)]
    assert localize(scores, PLAIN) == ()  # the clip seems real


def test_proposals_take_the_probabilities_of_the_nearest_window() -> None:
    base = clip(visual=[0.8] * 2 + [0] * 6 + [0.8] * 2)
    windows = (Window(0, 6, (0.1, 0.9, 0.0, 0.0)), Window(4, 10, (0.8, 0.2, 0.0, 0.0)))
    found = proposals(ClipScores(**{**vars(base), "windows": windows}), PLAIN)
    assert [(round(i.start_s, 2), round(i.score, 4)) for i in found] == [(0.0, 0.72), (0.32, 0.16)]


def test_joint_proposals_are_weighted_by_any_forgery() -> None:
    scores = clip(joint=[0.8] * 4 + [0] * 6, probabilities=(0.25, 0.5, 0.2, 0.05))
    assert [(i.modality, round(i.score, 4)) for i in proposals(scores, PLAIN)] == [
        ("both", 0.6)
    ]  # 0.8 (1 - 0.25)


def test_of_proposals_of_one_segment_the_best_stays() -> None:
    # Steps 0 to 3 by the picture (0.9 x 0.5), 0 to 4 by both (0.7 x 0.9, tIoU 4 / 5); 7 to 9 by the sound alone.
    scores = clip(
        visual=[0.9] * 4 + [0] * 6,
        audio=[0] * 7 + [0.8] * 3,
        joint=[0.7] * 5 + [0] * 5,
        probabilities=(0.1, 0.5, 0.3, 0.1),
    )
    found = proposals(scores, PLAIN)
    assert [(i.modality, round(i.score, 4)) for i in found] == [("both", 0.63), ("audio", 0.24)]


def test_proposals_that_hardly_overlap_both_stay() -> None:
    # Steps 0 to 3 and 2 to 9 share 2 of 10: tIoU 0.2.
    scores = clip(visual=[0.9] * 4 + [0] * 6, audio=[0] * 2 + [0.8] * 8, probabilities=(0.1, 0.5, 0.3, 0.1))
    assert [i.modality for i in proposals(scores, PLAIN)] == ["visual", "audio"]


def test_impossible_classes_propose_nothing() -> None:
    """A method that cannot tell the tracks apart has one curve for all branches, and "both" is its only class."""
    same: list[float] = [0.9] * 4 + [0] * 6
    scores = clip(visual=same, audio=same, joint=same, probabilities=(0.4, 0.0, 0.0, 0.6))
    assert [(i.modality, round(i.score, 4)) for i in proposals(scores, PLAIN)] == [("both", 0.54)]


def test_defaults_are_usable() -> None:
    found = localize(clip(50, visual=[0.0] * 20 + [0.9] * 10 + [0.0] * 20), LocalizeConfig())
    assert [(i.start_s, i.end_s) for i in found] == [(0.8, 1.2)]
