"""When the eye looks at a face."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from extractor_factory import random_eye
from head_factory import long_head
from numpy.typing import NDArray

from extractors.compact.face_traces import FaceMeasures
from extractors.compact.looks import Again, further, further_looks


def test_faces_are_looked_at_again_where_they_are_most_suspicious_by_hand() -> None:
    seen = np.ones(100, np.bool_)
    suspicion = np.zeros(100, np.float32)
    suspicion[40:49], suspicion[70:79] = 9.0, 4.5  # after smoothing highest at 44 and 74
    due = np.array([0, 50])
    assert further_looks(suspicion, seen, due, 1).tolist() == [44]
    assert further_looks(suspicion, seen, due, 3).tolist() == [39, 44, 74], (
        "five steps apart, also from what was due"
    )
    seen[30:60] = False
    assert further_looks(suspicion, seen, due, 1).tolist() == [74], "only where there is a face"
    assert further_looks(suspicion, seen, due, 0).tolist() == []
    assert [further(steps, 3) for steps in (0, 1, 41, 42, 125, 126)] == [0, 1, 1, 2, 3, 4]


@pytest.mark.parametrize(("frames", "further_ones"), [(25, 0), (50, 0), (60, 1)])
def test_a_shot_that_is_over_before_a_second_look_is_due_is_not_looked_at_again(
    frames: int, further_ones: int
) -> None:
    def pieces() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
        yield long_head(frames, 80), np.ones(frames, np.bool_)

    again = Again(2, lambda traces, _: np.arange(len(traces), dtype=np.float32))
    (shown,) = FaceMeasures(random_eye(layers=1)).shown(pieces(), 2.0, again)
    assert (~shown.leading.due).sum() == further_ones
