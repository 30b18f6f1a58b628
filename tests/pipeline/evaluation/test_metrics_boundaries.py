"""Errors of boundaries, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.metrics import boundary_errors


def spans(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float64).reshape(len(rows), -1)


NOTHING = np.zeros((0, 3))


def test_a_segment_is_compared_with_the_best_proposal_that_meets_it() -> None:
    found = spans((0.9, 5.0, 6.0), (0.8, 1.1, 2.0), (0.7, 1.0, 2.0))
    # The first misses it; the second meets it with a tIoU of 0.9 and scores higher than the exact one.
    assert boundary_errors([found], [spans((1.0, 2.0))]) == pytest.approx(spans((0.1, 0.0)))


def test_a_tiou_of_one_half_is_enough_and_less_is_not() -> None:
    assert boundary_errors([spans((1.0, 0.0, 2.0))], [spans((0.0, 1.0))]) == pytest.approx(spans((0.0, 1.0)))
    assert boundary_errors([spans((1.0, 0.0, 2.1))], [spans((0.0, 1.0))]).shape == (0, 2)


def test_every_segment_of_every_video_counts() -> None:
    found = [spans((0.5, 0.0, 1.0), (0.4, 3.1, 4.0)), NOTHING, spans((0.1, 2.0, 3.2))]
    truth = [spans((0.1, 1.0), (3.0, 4.0)), spans((0.0, 1.0)), spans((2.0, 3.0))]
    assert boundary_errors(found, truth) == pytest.approx(spans((0.1, 0.0), (0.1, 0.0), (0.0, 0.2)))


def test_segments_without_length_are_met_by_nothing() -> None:
    assert boundary_errors([spans((1.0, 1.0, 1.0))], [spans((1.0, 1.0))]).shape == (0, 2)
    assert boundary_errors([], []).shape == (0, 2)
