"""How far the bounds of what was found lie from those of what was forged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MET = 0.5
"""tIoU from which on a proposal is of a segment."""


def boundary_errors(
    proposals: Sequence[NDArray[np.floating]], segments: Sequence[NDArray[np.floating]]
) -> NDArray[np.float64]:
    """Absolute errors (M, 2) of start and end in seconds, of the M segments that a proposal meets.

    `proposals` (P, 3) score, start and end by video, `segments` (G, 2) start and end by video. Of the proposals whose
    tIoU with a segment is at least `MET` the one of highest score counts, the first of equals.
    """
    errors: list[NDArray[np.float64]] = []
    for found, truth in zip(proposals, segments, strict=True):
        ranked = found[np.argsort(-found[:, 0], kind="stable")].astype(np.float64)
        for start, end in truth:
            shared = (np.minimum(ranked[:, 2], end) - np.maximum(ranked[:, 1], start)).clip(0)
            union = ranked[:, 2] - ranked[:, 1] + end - start - shared
            meets = (
                np.flatnonzero(shared >= MET * union * (1 - 1e-9)) if end > start else np.zeros(0, np.int64)
            )
            if len(meets):
                errors.append(np.abs(ranked[meets[0], 1:] - [start, end]))
    return np.stack(errors) if errors else np.zeros((0, 2))
