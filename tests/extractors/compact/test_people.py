"""Who is who: by place, by look, and never two at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from data.people import BoxAt, Person
from extractors.compact.faces import REACH, Followed
from extractors.compact.people import KEY_EVERY, MOST_KNOWN, Face, People

LENGTH = 125
LEFT, RIGHT = np.array([10.0, 10, 40, 40]), np.array([100.0, 20, 40, 40])


def likeness(looks: NDArray[np.float16]) -> NDArray[np.float64]:
    values = looks.astype(np.float64)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def face(
    box: NDArray[np.float64],
    look: int | Sequence[float] | None,
    first: int = 0,
    stop: int = LENGTH,
    move: float = 0.0,
) -> Face:
    """A face in steps ``first .. stop - 1`` that looks like one of three people, like a mixture, or unknown."""
    seen = np.zeros(LENGTH, np.bool_)
    seen[first:stop] = True
    boxes = (box + np.outer(np.arange(LENGTH), [move, 0, 0, 0])) * seen[:, None]
    looks = (
        np.zeros((0, 3)) if look is None else np.eye(3)[[look]] if isinstance(look, int) else np.array([look])
    )
    return Face(Followed(boxes, seen), looks.astype(np.float16))


def people() -> People:
    found = People(likeness)
    found.view = (0, 0, 200, 100)
    return found


def test_a_face_at_the_same_place_is_the_same_person_whatever_it_looks_like() -> None:
    who = people()
    assert who.number([face(LEFT, 0), face(RIGHT, 1)], 0, 0, 0) == [1, 2]
    # A forged face may look like another person.
    assert who.number([face(RIGHT, 2), face(LEFT, 1)], LENGTH, 0, 0) == [2, 1]


def test_after_a_cut_a_face_is_whom_it_looks_like() -> None:
    who = people()
    who.number([face(LEFT, 0), face(RIGHT, 1)], 0, 0, 0)
    there = LENGTH + 10 * REACH
    assert who.number([face(RIGHT, 0)], there, 0, 0) == [1]
    assert who.number([face(RIGHT, 2)], there + 10 * REACH, 0, 0) == [3]


def test_across_a_cut_the_same_place_says_nothing() -> None:
    who = people()
    who.number([face(LEFT, 0)], 0, 0, 0)
    who.cut()
    assert who.number([face(LEFT, 1)], LENGTH, 0, 0) == [2]
    who.cut()
    assert who.number([face(LEFT, 0)], 2 * LENGTH, 0, 0) == [1]


def test_two_faces_at_once_are_two_people_however_alike() -> None:
    who = people()
    assert who.number([face(LEFT, 0), face(RIGHT, 0)], 0, 0, 0) == [1, 2]


def test_faces_of_one_stretch_that_follow_each_other_and_look_alike_are_one_person() -> None:
    who = people()
    shots = [face(LEFT, 0, 0, 60), face(RIGHT, 1, 61, 90), face(RIGHT, [0.9, 0.1, 0.1], 91, 125)]
    assert who.number(shots, 0, 0, 0) == [1, 2, 1]
    assert who.seen().people[0].seen_s == pytest.approx((60 + 34) / 25)


def test_a_face_that_was_never_looked_at_is_known_by_its_place_alone() -> None:
    who = people()
    assert who.number([face(LEFT, None)], 0, 0, 0) == [1]
    assert who.number([face(LEFT, None)], LENGTH, 0, 0) == [1]
    assert who.number([face(LEFT, None)], 2 * LENGTH + 2 * REACH, 0, 0) == [2]


def test_numbers_are_given_in_order_of_appearance() -> None:
    assert people().number([face(LEFT, 0, 50), face(RIGHT, 1, 10)], 0, 0, 0) == [2, 1]


def test_more_people_than_are_told_apart_are_counted_and_not_followed() -> None:
    who = people()
    for k in range(MOST_KNOWN):
        assert who.number([face(LEFT, None)], 10 * LENGTH * k, 0, 0) == [k + 1]
    assert who.number([face(LEFT, None), face(RIGHT, None)], 10 * LENGTH * MOST_KNOWN, 3, 2) == [0, 0]
    seen = who.seen()
    assert (len(seen.people), seen.more, seen.small) == (MOST_KNOWN, 5, 2)


def test_who_was_seen_is_told_in_seconds_and_shares_of_the_picture() -> None:
    who = people()
    who.number([face(LEFT, 0, 25, 76)], 0, 0, 0)
    (person,) = who.seen().people
    assert person == Person(
        1, 1.0, 3.04, 2.04, ((BoxAt(1.02, 0.05, 0.1, 0.2, 0.4), BoxAt(3.02, 0.05, 0.1, 0.2, 0.4)),)
    )


def test_where_only_the_middle_was_looked_at_boxes_are_those_of_the_whole_picture() -> None:
    who = people()
    who.view = (-100, 0, 400, 100)
    who.number([face(LEFT, 0)], 0, 0, 0)
    assert who.seen().people[0].track[0][0][1:] == (110 / 400, 0.1, 0.1, 0.4)


@pytest.mark.parametrize("move", [0.3, 1.0])
def test_key_frames_of_a_straight_way_are_its_ends_across_stretches(move: float) -> None:
    who = people()
    who.number([face(LEFT, 0, move=move)], 0, 0, 0)
    who.number([face(LEFT + np.array([LENGTH * move, 0, 0, 0]), 0, move=move)], LENGTH, 0, 0)
    (run,) = who.seen().people[0].track
    assert [at.time_s for at in run] == [0.02, (2 * LENGTH - 0.5) / 25]


def test_between_key_frames_a_box_is_nowhere_far_from_the_straight_way() -> None:
    rng = np.random.default_rng(0)
    walk = LEFT + np.cumsum(rng.normal(0, 0.7, (LENGTH, 4)), axis=0) * [1, 1, 0.1, 0.1]
    who = people()
    who.number([Face(Followed(walk, np.ones(LENGTH, np.bool_)), np.eye(3, dtype=np.float16)[:1])], 0, 0, 0)
    (run,) = who.seen().people[0].track
    keys = np.array(run)
    steps = np.arange(0, LENGTH, KEY_EVERY)
    drawn = np.stack([np.interp((steps + 0.5) / 25, keys[:, 0], keys[:, k]) for k in range(1, 5)], axis=1)
    assert np.abs(drawn * [200, 100, 200, 100] - walk[steps]).max() < 0.03 * 45
