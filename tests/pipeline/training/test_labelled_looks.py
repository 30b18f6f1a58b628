"""Which faces of a training clip the eye looks at."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.training.labelled import chosen_looks


@pytest.mark.parametrize("seed", range(5))
def test_forged_and_edited_steps_are_looked_at_beyond_the_usual_looks(seed: int) -> None:
    valid = np.ones(100, np.bool_)
    forged, sham = np.zeros(100, np.bool_), np.zeros(100, np.bool_)
    valid[:10], forged[5:20], sham[40:44] = False, True, True
    usual = np.array([10, 60])
    looks = chosen_looks(usual, valid, forged, sham, seed)
    assert looks.tolist() == sorted({*looks.tolist(), *usual.tolist()})
    assert valid[looks].all()
    more = np.setdiff1d(looks, usual)
    assert (len(more), forged[more].sum(), sham[more].sum()) == (3, 2, 1)
    assert np.array_equal(chosen_looks(usual, valid, forged, sham, seed), looks)


def test_of_an_untouched_clip_the_usual_looks_are_enough() -> None:
    nothing, valid = np.zeros(50, np.bool_), np.ones(50, np.bool_)
    assert chosen_looks(np.array([3, 30]), valid, nothing, nothing, 0).tolist() == [3, 30]


@pytest.mark.parametrize(("steps", "looks"), [([], []), ([3], [3]), ([0, 2], [0, 2]), ([7, 9], [7, 9])])
def test_no_look_is_taken_twice(steps: list[int], looks: list[int]) -> None:
    valid = np.isin(np.arange(10), steps)
    every = np.ones(10, np.bool_)
    assert chosen_looks(np.array(steps[:1], np.int64), valid, every, every, 0).tolist() == looks
