"""AP and AR by hand: every rule in which the evaluators of the field differ, with numbers to check on paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.evaluation.metrics import PROTOCOLS, Localization, Protocol, localization

HONEST, LAVDF, WHEEL = PROTOCOLS["honest"], PROTOCOLS["lavdf"], PROTOCOLS["avdeepfake1m"]
ACTIVITYNET, PAPER, LAB = PROTOCOLS["activitynet"], PROTOCOLS["paper"], PROTOCOLS["lab"]

Videos = list[tuple[list[list[float]], list[list[float]]]]


def measure(
    protocol: Protocol, videos: Videos, labels: list[int] | None = None, **changes: Any
) -> dict[str, float]:
    """Measures of videos given as (proposals, segments)."""
    found = [np.array(proposals).reshape(-1, 3) for proposals, _ in videos]
    truth = [np.array(segments).reshape(-1, 2) for _, segments in videos]
    known = np.array(labels) if labels is not None else None
    return localization(found, truth, replace(protocol, **changes), known)


def ap(protocol: Protocol, videos: Videos, iou: float = 0.5, **changes: Any) -> float:
    return measure(protocol, videos, ap_ious=(iou,), **changes)[f"AP@{iou:g}"]


def ar(protocol: Protocol, videos: Videos, n: int, iou: float = 0.5, **changes: Any) -> float:
    return measure(protocol, videos, ar_ious=(iou,), budgets=(n,), **changes)[f"AR@{n}"]


def perfect(n: int) -> Videos:
    """`n` videos with a segment and the proposal that equals it."""
    return [([[0.9, k, k + 1.0]], [[k, k + 1.0]]) for k in range(n)]


# --- presets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("lavdf", "AP@0.5 AP@0.75 AP@0.95 mAP AR@100 AR@50 AR@20 AR@10 mAR"),
        ("avdeepfake1m", "AP@0.5 AP@0.75 AP@0.9 AP@0.95 mAP AR@50 AR@30 AR@20 AR@10 AR@5 mAR"),
        ("paper", "AP@0.1 AP@0.2 AP@0.3 AP@0.4 AP@0.5 AP@0.6 AP@0.7 mAP AR@20 AR@10 AR@5 AR@2 mAR"),
    ],
)
def test_presets_have_the_measures_of_their_tables(name: Any, names: str) -> None:
    assert list(measure(PROTOCOLS[name], perfect(2))) == names.split()


def test_recall_is_averaged_over_the_thresholds_of_each_protocol() -> None:
    # IoU 0.62: hit at 0.1 to 0.6 of seven thresholds, at 0.5, 0.55 and 0.6 of ten
    videos: Videos = [([[0.9, 0.0, 0.62]], [[0.0, 1.0]])]
    assert measure(PAPER, videos)["AR@2"] == pytest.approx(6 / 7)
    assert measure(HONEST, videos)["AR@2"] == pytest.approx(6 / 7)
    assert measure(LAVDF, videos)["AR@10"] == pytest.approx(3 / 10)


def test_means_are_over_thresholds_and_over_budgets() -> None:
    videos: Videos = [([[0.9, 5.0, 6.0], [0.8, 0.0, 0.45]], [[0.0, 1.0]])]
    found = measure(HONEST, videos, budgets=(2, 1))
    assert found["mAP"] == pytest.approx(0.5 * 4 / 7)  # 0.5 at each of 0.1 to 0.4
    assert (found["AR@2"], found["AR@1"], found["mAR"]) == pytest.approx((4 / 7, 0.0, 2 / 7))


# --- a perfect result ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5])
def test_lavdf_gives_a_perfect_result_one_minus_one_over_n(n: int) -> None:
    # The strip below the first recall, 1/n wide, is never added: one segment, perfectly found, scores 0.
    for protocol in (LAVDF, WHEEL, PAPER):
        assert ap(protocol, perfect(n)) == pytest.approx(1 - 1 / n)
    assert ap(LAB, perfect(n), labels=[3] * n) == pytest.approx(1 - 1 / n)
    assert ap(ACTIVITYNET, perfect(n)) == 1.0
    assert ap(HONEST, perfect(n)) == 1.0


def test_the_strip_is_dropped_only_where_the_best_proposal_is_right() -> None:
    videos: Videos = [([[0.9, 7.0, 8.0], [0.8, 0.0, 1.0]], [[0.0, 1.0]])]
    assert ap(LAVDF, videos) == pytest.approx(0.5)  # curve (0, 0), (1, 1/2)
    assert ap(ACTIVITYNET, videos) == pytest.approx(0.5)


# --- the curve ----------------------------------------------------------------------------------------------------


def test_precision_is_interpolated_from_the_right() -> None:
    # By score: right, wrong, right, right; precision 1, 1/2, 2/3, 3/4, of four segments three are found.
    videos: Videos = [
        ([[0.9, 0, 1], [0.8, 8, 9], [0.7, 2, 3], [0.6, 4, 5]], [[0, 1], [2, 3], [4, 5], [6, 7]]),
    ]
    assert ap(HONEST, videos) == pytest.approx((1 + 3 / 4 + 3 / 4) / 4)
    assert ap(ACTIVITYNET, videos) == pytest.approx((1 + 3 / 4 + 3 / 4) / 4)
    assert ap(LAVDF, videos) == pytest.approx((3 / 4 + 3 / 4) / 4)


def test_proposals_in_authentic_videos_are_false_alarms() -> None:
    videos: Videos = [([[0.5, 0.0, 1.0]], [[0.0, 1.0]]), ([[0.9, 0.0, 1.0]], [])]
    for protocol in (HONEST, ACTIVITYNET, LAVDF, WHEEL, PAPER):
        assert ap(protocol, videos) == pytest.approx(0.5)
    assert ap(HONEST, videos, subset="forged", labels=[1, 0]) == 1.0
    assert ar(HONEST, videos, 1) == 1.0  # recall does not know of them


def test_proposals_are_ranked_over_all_videos() -> None:
    videos: Videos = [([[0.3, 0.0, 1.0]], [[0.0, 1.0]]), ([[0.9, 5.0, 6.0], [0.8, 0.0, 1.0]], [[0.0, 1.0]])]
    assert ap(HONEST, videos) == pytest.approx(2 / 3)  # wrong, right, right: 1/2 and 2/3, interpolated 2/3


# --- equal to the threshold -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("iou", "end"), [(0.5, 0.5), (0.25, 0.25), (1.0, 1.0)])
def test_iou_equal_to_the_threshold(iou: float, end: float) -> None:
    # Exact in binary: whatever the arithmetic, only the comparison decides.
    videos: Videos = [([[0.9, 0.0, end]], [[0.0, 1.0]]), ([[0.8, 0.0, end]], [[0.0, 1.0]])]
    for protocol in (HONEST, ACTIVITYNET):
        assert (ap(protocol, videos, iou), ar(protocol, videos, 1, iou)) == (1.0, 1.0)
    for protocol in (LAVDF, WHEEL, PAPER):
        assert (ap(protocol, videos, iou), ar(protocol, videos, 1, iou)) == (0.0, 0.0)


def test_thresholds_that_floats_cannot_hold() -> None:
    # 0.28 of 0.4 s is 0.7 on paper, and in floats a little more or less, depending on where the span lies.
    videos: Videos = [([[0.9, s, s + 0.28]], [[s, s + 0.4]]) for s in np.arange(0.0, 8.0, 0.04).tolist()]
    assert ar(HONEST, videos, 1, 0.7) == 1.0  # the default judges all of them alike
    assert 0.0 < ar(ACTIVITYNET, videos, 1, 0.7, budget="each") < 1.0  # doubles do not
    assert 0.0 < ar(LAVDF, videos, 1, 0.7) < 1.0


def test_family_a_computes_in_single_precision() -> None:
    # Whole numbers above 2**24 are two apart there, so that 3.4 and 4.0 s are both 4 s long.
    start = 2.0**24
    videos: Videos = [([[0.9, start, start + 3.4]], [[start, start + 4.0]])]
    assert ar(LAVDF, videos, 1, 0.9) == 1.0
    assert ar(LAVDF, videos, 1, 0.9, arithmetic="float64") == 0.0
    # likewise scores: 0.1 + 1e-9 equals 0.1, so that file order decides
    close: Videos = [([[0.1, 5.0, 6.0], [0.1 + 1e-9, 0.0, 1.0]], [[0.0, 1.0]])]
    assert ap(LAVDF, close) == pytest.approx(0.5)
    assert ap(HONEST, close) == 1.0


def test_spans_without_length_have_no_overlap() -> None:
    videos: Videos = [([[0.9, 1.0, 1.0], [0.8, 0.0, 2.0]], [[1.0, 1.0]])]
    for protocol in PROTOCOLS.values():
        found = measure(protocol, videos, [3])
        assert (found["mAP"], found["mAR"]) == (0.0, 0.0)


# --- who is matched with whom ---------------------------------------------------------------------------------------


def test_file_order_against_score_order_in_matching() -> None:
    # Two proposals hit the only segment; the first in the file has the lower score.
    videos: Videos = [([[0.2, 0.0, 1.0], [0.9, 0.0, 1.0]], [[0.0, 1.0]])]
    assert ap(LAVDF, videos) == pytest.approx(0.5)  # by score: wrong, right
    assert ap(ACTIVITYNET, videos) == 1.0  # by score: right, wrong
    assert ap(HONEST, videos) == 1.0


def test_truth_first_matching_can_leave_a_segment_unmatched() -> None:
    # Segment A is hit by proposals 1 and 2, segment B by proposal 1 only. A takes 1, the first in the file; B goes
    # without. By score proposal 1 takes B, which it overlaps most, and 2 takes A.
    a, b = [0.0, 1.0], [0.4, 1.4]
    videos: Videos = [([[0.9, 0.3, 1.3], [0.8, 0.0, 0.9]], [a, b])]
    # IoU: 1 with A 0.7/1.3 = 0.54, with B 0.9/1.1 = 0.82; 2 with A 0.9, with B 0.5/1.4 = 0.36
    assert ap(HONEST, videos) == 1.0
    assert ap(ACTIVITYNET, videos) == 1.0
    assert ap(LAVDF, videos, first_strip=True) == pytest.approx(0.5)
    # the order of the segments decides: B first takes 1, A takes 2
    swapped: Videos = [(videos[0][0], [b, a])]
    assert ap(LAVDF, swapped, first_strip=True) == 1.0
    # recall does not match one to one
    assert ar(LAVDF, videos, 2) == 1.0


def test_a_proposal_goes_on_to_its_next_best_segment() -> None:
    # Both proposals prefer A; the second takes B, which it hits too.
    a, b = [0.0, 1.0], [0.1, 1.1]
    videos: Videos = [([[0.9, 0.0, 1.0], [0.8, 0.0, 1.02]], [a, b])]
    assert ap(ACTIVITYNET, videos) == 1.0
    assert ap(HONEST, videos) == 1.0


def test_doubled_proposals_count_once() -> None:
    videos: Videos = [([[0.9, 0.0, 1.0], [0.8, 0.0, 1.0], [0.7, 2.0, 3.0]], [[0.0, 1.0], [2.0, 3.0]])]
    # right, wrong, right: precision 1, 1/2, 2/3
    assert ap(HONEST, videos) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert ap(ACTIVITYNET, videos) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert ap(LAVDF, videos) == pytest.approx(0.5 * 2 / 3)


def test_doubled_segments_need_a_proposal_each() -> None:
    twice = [[0.0, 1.0], [0.0, 1.0]]
    one: Videos = [([[0.9, 0.0, 1.0]], twice)]
    two: Videos = [([[0.9, 0.0, 1.0], [0.8, 0.0, 1.0]], twice)]
    assert (ap(HONEST, one), ap(HONEST, two)) == (0.5, 1.0)
    assert (ap(LAVDF, one), ap(LAVDF, two)) == (0.0, 0.5)
    assert ar(HONEST, one, 1) == 1.0


# --- equal scores ---------------------------------------------------------------------------------------------------


def test_equal_scores() -> None:
    right, wrong = [0.5, 0.0, 1.0], [0.5, 5.0, 6.0]
    first: Videos = [([right, wrong], [[0.0, 1.0]])]
    last: Videos = [([wrong, right], [[0.0, 1.0]])]
    # LAV-DF sorts stably: what comes first in the file is tried first.
    assert (ap(LAVDF, first, first_strip=True), ap(LAVDF, last)) == (1.0, 0.5)
    # A reversed argsort tries the last first.
    assert (ap(ACTIVITYNET, first), ap(ACTIVITYNET, last)) == (0.5, 1.0)
    # By default both are one point of the curve, precision 1/2.
    assert (ap(HONEST, first), ap(HONEST, last)) == (0.5, 0.5)


def test_equal_scores_in_different_videos() -> None:
    videos: Videos = [([[0.5, 0.0, 1.0]], [[0.0, 1.0]]), ([[0.5, 0.0, 1.0]], [])]
    for changed in (videos, videos[::-1]):
        assert ap(HONEST, changed) == 0.5
    assert (ap(ACTIVITYNET, videos), ap(ACTIVITYNET, videos[::-1])) == (0.5, 1.0)


def test_constant_scores_have_the_precision_of_the_whole() -> None:
    videos: Videos = [([[1.0, k, k + 1.0] for k in range(10)], [[0.0, 1.0], [5.0, 6.0]])]
    assert ap(HONEST, videos) == pytest.approx(2 / 10)


# --- AR@N -----------------------------------------------------------------------------------------------------------


def test_which_proposals_recall_looks_at() -> None:
    # In the file: third segment, second, first; by score second, first, third; in time first, second, third.
    videos: Videos = [([[0.1, 4, 5], [0.9, 2, 3], [0.5, 0, 1]], [[0, 1], [4, 5]])]
    assert ar(LAVDF, videos, 1) == 0.5
    assert ar(LAVDF, videos, 2) == 0.5
    assert ar(HONEST, videos, 1) == 0.0
    assert ar(HONEST, videos, 2) == 0.5
    assert ar(LAB, videos, 1, labels=[3]) == 0.5
    assert ar(LAB, videos, 3, labels=[3]) == 1.0


def test_recall_is_pooled_over_videos() -> None:
    videos: Videos = [([[0.9, 0, 1]], [[0, 1]]), ([[0.9, 0, 1]], [[2, 3], [4, 5], [6, 7]])]
    assert ar(HONEST, videos, 2) == pytest.approx(1 / 4)  # not the mean of 1 and 0


def test_videos_without_proposals() -> None:
    videos: Videos = [([[0.9, 0, 1]], [[0, 1]]), ([], [[0, 1]])]
    for protocol in (HONEST, LAVDF, PAPER, WHEEL):
        assert ar(protocol, videos, 2) == 0.5
    assert ar(LAB, videos, 2, labels=[3, 3]) == 1.0  # the second has vanished from the denominator
    assert ap(LAB, videos, labels=[3, 3], first_strip=True) == 0.5  # but not from AP


def test_padding_adds_a_false_alarm_of_score_zero() -> None:
    # Ranked among other zeros it comes first, as its video does.
    videos: Videos = [([], []), ([[0.0, 0.0, 1.0]], [[0.0, 1.0]])]
    assert ap(WHEEL, videos) == 0.5
    assert ap(LAVDF, videos, first_strip=True) == 1.0


def test_the_average_budget() -> None:
    # Two videos with segments, 4 and 2 proposals, and an authentic one with 6. N = 1 of at most 2: the budget of 2
    # for each of two videos over 12 proposals keeps a third: int(4/3) = 1 and int(2/3) = 0 proposals.
    one = [[0.9, 8, 9], [0.8, 0, 1], [0.7, 2, 3], [0.6, 4, 5]]
    two = [[0.9, 0, 1], [0.8, 2, 3]]
    videos: Videos = [(one, [[0, 1]]), (two, [[0, 1]]), ([[0.5, 0, 1]] * 6, [])]
    assert ar(ACTIVITYNET, videos, 2) == 0.0
    # Without the authentic video 4/6 are kept: 2 and 1; N = 2 asks for int(2 · 4/3) = 2 of 2 and int(4/3) = 1 of 1.
    assert ar(ACTIVITYNET, videos[:2], 2) == 1.0
    assert ar(ACTIVITYNET, videos[:2], 2, budget="each") == 1.0
    # N = 1 of at most 2: a share of 1/2 · 4/3 = 2/3 of those kept: int(4/3) = 1 and int(2/3) = 0
    assert measure(ACTIVITYNET, videos[:2], budgets=(2, 1), ar_ious=(0.5,))["AR@1"] == 0.0
    assert measure(ACTIVITYNET, videos[:2], budgets=(2, 1), ar_ious=(0.5,), budget="each")["AR@1"] == 0.5


# --- subsets, nothing at all, and nonsense --------------------------------------------------------------------------


def test_the_laboratory_looks_only_at_videos_forged_in_both_tracks() -> None:
    videos: Videos = [([[0.9, 0, 1]], [[0, 1]]), ([[0.9, 0, 1]], [[5, 6]]), ([[0.9, 0, 1]], [])]
    assert ar(LAB, videos, 2, labels=[3, 1, 0]) == 1.0
    assert ar(LAB, videos, 2, labels=[1, 3, 0]) == 0.0
    assert ar(PAPER, videos, 2, labels=[3, 1, 0]) == 0.5
    with pytest.raises(ValueError, match="needs a label for every video"):
        measure(LAB, videos)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_proposal_scores_zero_and_no_segment_no_number(name: Any) -> None:
    nothing = measure(PROTOCOLS[name], [([], [[0, 1]]), ([], [])], [3, 3])
    if name == "lab":  # a video without proposals does not count there
        assert nothing.pop("mAR") is not None
        nothing = {key: value for key, value in nothing.items() if key.startswith("AP")}
    assert set(nothing.values()) == {0.0}
    assert all(np.isnan(value) for value in measure(PROTOCOLS[name], [([[0.5, 0, 1]], [])], [3]).values())
    assert all(np.isnan(value) for value in measure(PROTOCOLS[name], [], []).values())


@pytest.mark.parametrize(
    "proposals",
    [[[np.nan, 0, 1]], [[0.5, np.inf, 1]], [[0.5, 2, 1]], [[0.5, 0]], [0.5, 0.0, 1.0]],
)
def test_numbers_that_mean_nothing_are_refused(proposals: Any) -> None:
    with pytest.raises(ValueError, match=r"rows of 3 numbers|not finite|ends before"):
        localization([np.array(proposals)], [np.zeros((0, 2))])


def test_unequal_numbers_of_videos_are_refused() -> None:
    with pytest.raises(ValueError, match="2 videos have proposals, 1 have ground truth"):
        localization([np.zeros((0, 3))] * 2, [np.zeros((0, 2))])


@pytest.mark.parametrize(
    "changes", [{"ap_ious": ()}, {"ar_ious": (0.0,)}, {"ap_ious": (1.1,)}, {"budgets": (0,)}]
)
def test_protocols_that_mean_nothing_are_refused(changes: Any) -> None:
    with pytest.raises(ValueError, match=r"IoU thresholds|N >= 1"):
        replace(HONEST, **changes)


# --- weights of the videos, for the bootstrap -----------------------------------------------------------------------


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_weight_is_the_number_of_copies_of_a_video(name: Any) -> None:
    rng = np.random.default_rng(3)
    found, truth, labels = [], [], rng.integers(1, 4, 12)
    for k in range(12):
        starts = rng.uniform(0, 5, 6)
        # scores differ between videos: copies of one video are ties by nature, and stand side by side
        found.append(np.stack([rng.random(6), starts, starts + 1], axis=1)[: k % 7])
        truth.append(np.stack([starts[:2] + 0.2, starts[:2] + 1.1], axis=1))
    labels[::2] = 3
    weights = rng.integers(0, 3, 12)
    copies = np.repeat(np.arange(12), weights)
    # the average budget stays that of the whole, by design
    protocol = replace(PROTOCOLS[name], budget="each")
    expected = localization([found[k] for k in copies], [truth[k] for k in copies], protocol, labels[copies])
    measured = Localization(found, truth, protocol, labels)(weights.astype(float))
    assert measured == pytest.approx(expected)


def test_weights_of_one_change_nothing() -> None:
    videos = perfect(4)
    found, truth = [np.array(p) for p, _ in videos], [np.array(s) for _, s in videos]
    judged = Localization(found, truth, PAPER)
    assert judged(np.ones(4)) == judged()
