"""A sequence of feature vectors on a clock, with a flag per step that says whether media stood behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.timeline import TimeGrid


@dataclass(frozen=True)
class Features:
    """Feature vectors of one modality.

    Shapes: `values` (T, C) float16, `valid` (T,) bool, `grid` of T steps. A step is invalid where nothing was
    decoded; its vector is zero.

    Raises ValueError when the lengths differ.
    """

    values: NDArray[np.float16]
    valid: NDArray[np.bool_]
    grid: TimeGrid

    def __post_init__(self) -> None:
        if not len(self.values) == len(self.valid) == self.grid.n:
            raise ValueError(
                f"features of {len(self.values)} steps, {len(self.valid)} flags and a grid of {self.grid.n}"
            )
