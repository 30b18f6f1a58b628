"""A feature sequence holds as many vectors as flags as steps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from data.features import Features
from data.timeline import TimeGrid


def make(values: int, flags: int, steps: int) -> Features:
    return Features(np.zeros((values, 3), np.float16), np.ones(flags, np.bool_), TimeGrid.at_rate(25, steps))


def test_equal_lengths_are_accepted() -> None:
    assert make(4, 4, 4).grid.span.end_s == 0.16
    assert make(0, 0, 0).values.shape == (0, 3)


@pytest.mark.parametrize("lengths", [(4, 4, 5), (4, 5, 4), (5, 4, 4)])
def test_unequal_lengths_are_refused_with_all_three(lengths: tuple[int, int, int]) -> None:
    with pytest.raises(
        ValueError, match=f"{lengths[0]} steps, {lengths[1]} flags and a grid of {lengths[2]}"
    ):
        make(*lengths)


def test_features_cannot_be_reassigned() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make(1, 1, 1).valid = np.zeros(1, np.bool_)  # type: ignore[misc]
