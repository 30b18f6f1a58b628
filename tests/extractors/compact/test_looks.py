"""When the eye looks at a face."""

from __future__ import annotations

import numpy as np

from extractors.compact.looks import further, further_looks


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
