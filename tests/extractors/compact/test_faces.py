"""Face tracks: steady boxes of one person on a rendered head, bridged misses, none where there is no face."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from head_factory import head
from numpy.typing import NDArray

from extractors.compact import faces
from extractors.compact.faces import (
    DETECT_EVERY,
    LEAST,
    MIN_FOUND,
    REACH,
    follow_faces,
    linked_tracks,
    longest_track,
    smooth,
    track_face,
)


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    return head()


@pytest.fixture(scope="module")
def boxes(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    found = track_face(frames)
    assert found is not None
    return found


def box(x: float, y: float, side: float) -> NDArray[np.float64]:
    return np.array([x, y, side, side], np.float64)


def test_a_head_is_found_and_followed_smoothly(boxes: NDArray[np.float64]) -> None:
    assert boxes.shape == (50, 4)
    centre = boxes[:, :2] + boxes[:, 2:] / 2
    assert np.abs(centre - 128).max() < 64, "the renderer centres the head"
    assert np.abs(np.diff(boxes, axis=0)).max() < 4


def test_boxes_move_with_the_picture(frames: NDArray[np.uint8], boxes: NDArray[np.float64]) -> None:
    shifted = track_face(np.roll(frames, 16, axis=2))
    assert shifted is not None
    assert np.median(shifted[:, 0] - boxes[:, 0]) == pytest.approx(16, abs=3)


def test_boxes_scale_with_the_picture(frames: NDArray[np.uint8], boxes: NDArray[np.float64]) -> None:
    large = np.stack([cv2.resize(frame, None, fx=1.5, fy=1.5) for frame in frames[:13]])
    found = track_face(large)
    assert found is not None
    assert found[6] == pytest.approx(1.5 * boxes[6], rel=0.1)


def test_frames_without_a_face_are_bridged(frames: NDArray[np.uint8], boxes: NDArray[np.float64]) -> None:
    hidden = frames.copy()
    hidden[10:26] = 90  # tried frames 12, 18 and 24 show nothing
    found = track_face(hidden)
    assert found is not None
    assert np.abs(found[18] - boxes[18]).max() < 6


def test_a_face_in_too_few_frames_is_none(frames: NDArray[np.uint8]) -> None:
    shown = int(MIN_FOUND * len(range(0, 50, DETECT_EVERY)))  # the last number of frames that is too small
    hidden = frames.copy()
    hidden[(shown - 1) * DETECT_EVERY + 1 :] = 90
    assert track_face(hidden) is None
    hidden[shown * DETECT_EVERY] = frames[shown * DETECT_EVERY]
    assert track_face(hidden) is not None


def test_no_face_is_found_in_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 128, 128, 3)).astype(np.uint8)
    assert track_face(noise) is None


def test_no_frames_have_no_face() -> None:
    assert track_face(np.zeros((0, 64, 64, 3), np.uint8)) is None


def test_the_track_stays_with_one_of_two_people(
    frames: NDArray[np.uint8], boxes: NDArray[np.float64], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The left face is the larger one at first, the right one now and then: the largest of a frame would jump.
    sides = {0: (60, 50), 6: (60, 50), 12: (58, 64), 18: (62, 50), 24: (60, 64), 30: (61, 50)}
    detected = iter([np.stack([box(150, 40, right), box(20, 40, left)]) for left, right in sides.values()])
    monkeypatch.setattr(faces, "_detect", lambda *_: next(detected))
    found = track_face(np.zeros((36, 120, 240, 3), np.uint8))
    assert found is not None
    assert np.abs(found[:, 0] - 20).max() < 1


def test_links_follow_a_face_that_walks_past_where_another_stood() -> None:
    walk = {k: np.stack([box(10 + 2 * k, 20, 60)]) for k in range(0, 60, 6)}
    walk[30] = np.zeros((0, 4))  # one miss
    walk[36] = np.stack([box(82, 20, 60), box(190, 20, 70)])  # somebody looks in once
    track = longest_track(walk)
    assert track is not None
    assert sorted(track) == [k for k in range(0, 60, 6) if k != 30]
    assert [float(track[k][0]) for k in sorted(track)] == [10.0 + 2 * k for k in sorted(track)]


def test_one_detection_never_serves_two_faces() -> None:
    both = np.stack([box(10, 10, 50), box(30, 10, 50)])  # overlap 3 / 7
    track = longest_track({0: both, 6: both[1:], 12: both})
    assert track is not None
    assert sorted(track) == [0, 6, 12]
    assert {float(b[0]) for b in track.values()} == {30.0}


def test_a_large_face_wins_over_a_small_false_one_that_is_seen_as_often() -> None:
    track = longest_track({k: np.stack([box(100, 100, 30), box(10, 10, 80)]) for k in range(4)})
    assert track is not None
    assert {float(b[2]) for b in track.values()} == {80.0}


def test_nothing_detected_is_no_track() -> None:
    assert longest_track({}) is None
    assert longest_track({0: np.zeros((0, 4)), 6: np.zeros((0, 4))}) is None


def test_smoothing_drops_an_outlier_and_halves_a_step() -> None:
    still = np.tile(box(10, 20, 50), (6, 1))
    jumped = still.copy()
    jumped[3] = box(90, 90, 20)
    assert np.array_equal(smooth(jumped), still)
    step = np.repeat([[0.0], [8.0]], [3, 3], axis=0) * np.ones(4)
    assert smooth(step)[:, 0].tolist() == [0, 0, 2, 6, 8, 8]


def test_smoothing_keeps_a_steady_walk_and_a_single_box() -> None:
    walk = np.arange(7)[:, None] * np.array([2.0, 0, 0, 0]) + box(0, 0, 40)
    assert smooth(walk)[1:-1] == pytest.approx(walk[1:-1])
    assert np.array_equal(smooth(walk[:1]), walk[:1])


# --- one face a frame -----------------------------------------------------------------------------------------------


def detect(
    monkeypatch: pytest.MonkeyPatch, length: int, found: dict[int, list[NDArray[np.float64]]]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The face that leads on `length` frames in which the detector finds these boxes, and nothing else."""
    answers = {k: np.array(found.get(k, [])).reshape(-1, 4) for k in range(0, length, DETECT_EVERY)}
    monkeypatch.setattr(faces, "_detections", lambda *_: answers)
    return follow_faces(np.zeros((length, 4, 4, 3), np.uint8)).leading


def every(first: int, stop: int, face: NDArray[np.float64]) -> dict[int, list[NDArray[np.float64]]]:
    return {k: [face] for k in range(first, stop) if k % DETECT_EVERY == 0}


def test_the_only_face_is_followed_as_it_is_tracked(
    frames: NDArray[np.uint8], boxes: NDArray[np.float64]
) -> None:
    found, seen = follow_faces(frames).leading
    assert seen.all()
    assert np.array_equal(found, boxes)


def test_after_a_cut_another_face_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = box(10, 10, 40), box(100, 20, 60)
    found, seen = detect(monkeypatch, 120, every(0, 60, left) | every(60, 120, right))
    assert seen.all()
    # The one that covers more goes first; it reaches back to the frame after the last detection of the other.
    assert np.array_equal(np.unique(found[:55], axis=0), [left])
    assert np.array_equal(np.unique(found[55:], axis=0), [right])


def test_of_two_faces_the_one_is_followed_that_covers_more_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = box(10, 10, 40), box(100, 20, 60)
    both = {k: [small, large] for k in range(0, 60, DETECT_EVERY)}
    found, seen = detect(monkeypatch, 60, both)
    assert seen.all()
    assert np.array_equal(np.unique(found, axis=0), [large])


def test_a_face_that_stays_on_is_taken_where_the_larger_one_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = box(10, 10, 40), box(100, 20, 60)
    found, seen = detect(
        monkeypatch, 120, {k: [small, large] if k < 72 else [small] for k in range(0, 120, DETECT_EVERY)}
    )
    assert seen.all()
    last = 66 + DETECT_EVERY - 1
    assert np.array_equal(np.unique(found[: last + 1], axis=0), [large])
    assert np.array_equal(np.unique(found[last + 1 :], axis=0), [small])


def test_a_gap_is_bridged_as_far_as_the_face_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    face = box(10, 10, 40)
    near = detect(
        monkeypatch, 120, every(0, 36, face) | every(78, 120, face)
    )  # 30 and 78: 24 frames to the middle
    assert near[1].all()
    far = detect(monkeypatch, 150, every(0, 36, face) | every(102, 150, face))  # 30 and 102
    assert far[1].tolist() == [k <= 30 + REACH or k >= 102 - REACH for k in range(150)]
    assert not far[0][~far[1]].any()


def test_before_and_after_its_detections_a_face_is_held_for_less_than_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, seen = detect(monkeypatch, 100, every(30, 61, box(10, 10, 40)))
    assert np.flatnonzero(seen)[[0, -1]].tolist() == [30 - DETECT_EVERY + 1, 60 + DETECT_EVERY - 1]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_is_detected_less_than_three_times_is_no_face(
    monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    _, seen = detect(monkeypatch, 100, every(30, 30 + times * DETECT_EVERY, box(10, 10, 40)))
    assert seen.any() == (times >= 3)


def test_a_false_detection_beside_the_face_takes_no_frame_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    face, false = box(10, 10, 40), box(100, 10, 90)
    found, seen = detect(monkeypatch, 60, every(0, 60, face) | {24: [false, face]})
    assert seen.all()
    assert np.array_equal(np.unique(found, axis=0), [face])


@pytest.mark.parametrize(("length", "tried"), [(1, 1), (6, 1), (7, 2), (13, 3)])
def test_a_clip_too_short_for_three_tries_needs_the_face_in_each(
    monkeypatch: pytest.MonkeyPatch, length: int, tried: int
) -> None:
    face = box(10, 10, 40)
    assert detect(monkeypatch, length, every(0, length, face))[1].all()
    assert not detect(monkeypatch, length, every(0, DETECT_EVERY * (tried - 1), face))[1].any()


def test_no_frames_and_no_detections_have_no_face(monkeypatch: pytest.MonkeyPatch) -> None:
    for length in (0, 40):
        found, seen = detect(monkeypatch, length, {})
        assert found.shape == (length, 4)
        assert not seen.any()


def test_linked_tracks_are_all_of_them() -> None:
    left, right = box(10, 10, 40), box(100, 20, 60)
    tracks = linked_tracks({0: np.stack([left, right]), 6: right[None], 12: left[None]})
    assert sorted(sorted(track) for track in tracks) == [[0, 6], [0, 12]]


# --- all faces ------------------------------------------------------------------------------------------------------


def test_all_faces_are_followed_the_largest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = box(10, 10, 40), box(100, 20, 60)
    answers = {k: np.stack([small, large]) for k in range(0, 60, DETECT_EVERY)}
    monkeypatch.setattr(faces, "_detections", lambda *_: answers)
    found = follow_faces(np.zeros((60, 4, 4, 3), np.uint8))
    assert [np.unique(each.boxes, axis=0).tolist() for each in found.each] == [
        [large.tolist()],
        [small.tolist()],
    ]
    assert all(each.seen.all() for each in found.each)
    assert (found.more, found.small) == (0, 0)


def test_fifty_faces_are_counted_and_eight_of_them_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = np.stack([box(100 * k, 0, 40 + k) for k in range(50)])
    monkeypatch.setattr(faces, "_detections", lambda *_: dict.fromkeys(range(0, 60, DETECT_EVERY), crowd))
    found = follow_faces(np.zeros((60, 4, 4, 3), np.uint8))
    assert [each.boxes[0, 2] for each in found.each] == [89, 88, 87, 86, 85, 84, 83, 82]
    assert found.more == 42


def test_faces_too_small_to_be_looked_at_are_counted_the_most_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    face, tiny = box(100, 20, 60), box(10, 10, LEAST - 1)
    answers = {k: np.stack([face, *([tiny] if k > 20 else []), tiny]) for k in range(0, 60, DETECT_EVERY)}
    monkeypatch.setattr(faces, "_detections", lambda *_: answers)
    found = follow_faces(np.zeros((60, 4, 4, 3), np.uint8))
    assert (len(found.each), found.small, found.more) == (1, 2, 0)
