"""Geometry of pictures: rectangles that follow a face box, and resampling of pixels into them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Boxes = NDArray[np.float64]
Patch = NDArray[np.float32]
"""Colours (h, w, 3) of a region, 0 to 255, not yet rounded."""

MIN_SIDE = 8
"""Pixels of a region's shorter side under which there is no face worth forging."""


@dataclass(frozen=True)
class Region:
    """A rectangle of the picture, with the place of its pixel centres in units of a face box.

    `u` (w,) runs from 0 at the box's left edge to 1 at its right edge, `v` (h,) from its top to its bottom.
    """

    rows: slice
    columns: slice
    u: NDArray[np.float64]
    v: NDArray[np.float64]

    @classmethod
    def around(
        cls, size: tuple[int, int], box: NDArray[np.float64], bounds: tuple[float, float, float, float]
    ) -> Region:
        """The part of a picture of `size` (height, width) within `bounds` (u0, v0, u1, v1) of `box`.

        Raises ValueError when fewer than `MIN_SIDE` pixels of it lie in the picture.
        """
        x, y, width, height = box
        top, bottom = np.clip([np.floor(y + bounds[1] * height), np.ceil(y + bounds[3] * height)], 0, size[0])
        left, right = np.clip([np.floor(x + bounds[0] * width), np.ceil(x + bounds[2] * width)], 0, size[1])
        if min(bottom - top, right - left) < MIN_SIDE:
            raise ValueError(f"the face box {box.round(1).tolist()} lies outside the picture {size}")
        rows, columns = slice(int(top), int(bottom)), slice(int(left), int(right))
        u = (np.arange(columns.start, columns.stop) + 0.5 - x) / width
        v = (np.arange(rows.start, rows.stop) + 0.5 - y) / height
        return cls(rows, columns, u, v)

    def of(self, picture: Frames) -> Frames:
        """This rectangle of `picture` (H, W, 3), a view."""
        return picture[self.rows, self.columns]


def fetch(
    picture: NDArray[Any], box: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]
) -> Patch:
    """The colours of `picture` at places `v` (h,) down and `u` (w,) across its face `box`, by cubic convolution.

    Edge pixels go on beyond the picture; a coarse grid averages what lies between its points.
    Source: Keys, "Cubic convolution interpolation for digital image processing" (1981), a = -0.5.
    """
    rows, row_weights = _taps(box[1] + v * box[3] - 0.5, picture.shape[0])
    columns, column_weights = _taps(box[0] + u * box[2] - 0.5, picture.shape[1])
    left = int(columns.min())
    part = picture[:, left : int(columns.max()) + 1]
    down = _mix([part[rows[:, k]] * row_weights[:, k, None, None] for k in range(rows.shape[1])])
    columns = columns - left
    return _mix(
        [
            np.take(down, at, axis=1) * weight[None, :, None]
            for at, weight in zip(columns.T, column_weights.T, strict=True)
        ]
    )


def fetch_bent(
    picture: NDArray[Any], box: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]
) -> Patch:
    """As `fetch` with a place of its own for each pixel, `u` and `v` (h, w), linear between pixels."""
    rows = np.clip(box[1] + v * box[3] - 0.5, 0, picture.shape[0] - 1).astype(np.float32)
    columns = np.clip(box[0] + u * box[2] - 0.5, 0, picture.shape[1] - 1).astype(np.float32)
    top = np.minimum(rows.astype(np.intp), max(picture.shape[0] - 2, 0))
    left = np.minimum(columns.astype(np.intp), max(picture.shape[1] - 2, 0))
    down, across = (rows - top)[..., None], (columns - left)[..., None]
    pixels = picture.reshape(-1, picture.shape[2])
    at = top * picture.shape[1] + left
    right = int(picture.shape[1] > 1)
    below = picture.shape[1] * int(picture.shape[0] > 1)
    upper = pixels[at] * (1 - across) + pixels[at + right] * across
    lower = pixels[at + below] * (1 - across) + pixels[at + below + right] * across
    bent: Patch = upper * (1 - down) + lower * down
    return bent


def upright(
    picture: NDArray[Any],
    box: NDArray[np.float64],
    bounds: tuple[float, float, float, float],
    size: tuple[int, int],
) -> tuple[Patch, NDArray[np.float64]]:
    """The part `bounds` (u0, v0, u1, v1) of a face as a picture of `size` (height, width), and its face box there.

    `fetch` from what comes back leads from such a normalised face into the frame again.
    """
    scale = np.array([size[1] / (bounds[2] - bounds[0]), size[0] / (bounds[3] - bounds[1])])
    u = bounds[0] + (np.arange(size[1]) + 0.5) / scale[0]
    v = bounds[1] + (np.arange(size[0]) + 0.5) / scale[1]
    return fetch(picture, box, u, v), np.concatenate([-np.array(bounds[:2]) * scale, scale])


def sharpen(patch: Patch, amount: float) -> Patch:
    """Unsharp masking of a patch by its four neighbours; a negative `amount` (down to -1) blurs."""
    padded = np.pad(patch, ((1, 1), (1, 1), (0, 0)), mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return (patch + np.float32(0.8 * amount) * (patch - around / np.float32(4))).astype(
        np.float32, copy=False
    )


def _mix(parts: list[Patch]) -> Patch:
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total


def _taps(positions: NDArray[np.float64], n: int) -> tuple[NDArray[np.intp], Patch]:
    """Indices and weights (P, taps) of the samples 0..n-1 that make up the value at each position (P,)."""
    spacing = abs(positions[-1] - positions[0]) / max(len(positions) - 1, 1)
    stretch = max(1.0, float(spacing))
    at = np.ceil(positions - 2 * stretch)[:, None] + np.arange(int(np.ceil(4 * stretch)))
    x = np.abs(at - positions[:, None]) / stretch
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.clip(at, 0, n - 1).astype(np.intp), weights.astype(np.float32)
