"""What editing leaves in a face, by place: how much fine detail there is, and how much changes from frame to frame.

Sixteen maps a frame, averaged over cells that follow the face box. Taken less their median over the clip they find
forged frames of people never seen; as they are they find people.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Maps = NDArray[np.float32]

CELL = 4
"""Pixels of the sides of a map's cell."""

SIDE = 6
"""Cells of the face's grid in either direction."""

AREA = (-0.1, 0.0, 1.1, 1.3)
"""The part of the face box u0, v0, u1, v1 that is looked at: ear to ear, forehead to below the chin."""

DETAIL = ("residual", "across", "down", "fine", "coarse", "colour")
CHANGE = ("luma", "chroma", "smooth")
CHANNELS = (
    *DETAIL,
    *(f"{name}_before" for name in CHANGE),
    *(f"{name}_after" for name in CHANGE),
    "bend",
    "y",
    "cr",
    "cb",
)
"""Maps in order. Detail: the fifth-order residual of luma (Fridrich and Kodovsky, 2012), second differences across and
down, two bands of luma, the residual of red difference. Change to the frame before and after: of luma, of the colour
differences, of smooth luma; of smooth luma against the mean of both. Then the tones."""

_MARGIN = 12
"""Pixels around the area that are looked at: cells that it is read from reach 6 beyond it, the widest filter 5 more."""

_RESIDUAL = (
    np.array(
        [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]],
        np.float32,
    )
    / 12
)
_ACROSS = np.array([[1, -2, 1]], np.float32)


def face_energies(frames: Sequence[Frame], boxes: NDArray[np.float64]) -> Maps:
    """Measures (N, 16, 6, 6) of N frames, in the order of `CHANNELS`, from N + 2 `frames` (H, W, 3) and N `boxes`.

    The first and the last frame are neighbours only; at the ends of a clip a frame stands for the neighbour that is
    missing. Boxes are x, y, width, height in px. Energies e are means of absolute values over a cell of 4 x 4 px, as
    log2(1 + 4 e); tones are means over a cell, 0 to 255. What lies outside the picture is as its edge.
    """
    height, width = frames[0].shape[:2]
    u0, v0, u1, v1 = AREA
    corners = np.concatenate(
        [boxes[:, :2] + boxes[:, 2:] * np.array([u, v]) for u, v in ((u0, v0), (u1, v1))]
    )
    # One region for all frames, so that neighbours can be compared; on whole cells, so that it changes no value.
    left, top = (np.floor((corners.min(axis=0) - _MARGIN) / CELL).astype(int) * CELL).clip(0)
    right, bottom = np.ceil((corners.max(axis=0) + _MARGIN) / CELL).astype(int) * CELL
    right, bottom = (
        min(max(right, left + 2 * CELL), width // CELL * CELL),
        min(max(bottom, top + 2 * CELL), height // CELL * CELL),
    )
    left, top = min(left, right - 2 * CELL), min(top, bottom - 2 * CELL)
    bands = [_Bands(frame[top:bottom, left:right]) for frame in frames[:2]]
    maps = np.empty((len(boxes), len(CHANNELS), SIDE, SIDE), np.float32)
    for k, box in enumerate(boxes):
        bands.append(_Bands(frames[k + 2][top:bottom, left:right]))
        maps[k] = face_cells(_maps(*bands), box - np.array([left, top, 0, 0]))
        bands.pop(0)
    return maps


def face_cells(maps: Maps, box: NDArray[np.float64]) -> Maps:
    """Means (C, 6, 6) of `maps` (h, w, C) over a grid laid on `AREA` of the face `box` (x, y, width, height, px).

    What lies outside the maps is as their edge.
    """
    x, y, width, height = box / CELL
    u0, v0, u1, v1 = AREA
    fine = 8 * SIDE
    corners = [
        [x + u0 * width, y + v0 * height],
        [x + u1 * width, y + v0 * height],
        [x + u0 * width, y + v1 * height],
    ]
    # Pixel centres lie at whole numbers for the warp, edges at halves.
    there = np.array(corners, np.float32) - np.float32(0.5)
    here = np.array([[0, 0], [fine, 0], [0, fine]], np.float32) - np.float32(0.5)
    turn = cv2.getAffineTransform(there, here)
    warped = [
        # OpenCV warps four channels at a time.
        cv2.warpAffine(
            maps[..., k : k + 4], turn, (fine, fine), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for k in range(0, maps.shape[-1], 4)
    ]
    cells = np.concatenate([w.reshape(fine, fine, -1) for w in warped], axis=-1)
    return cells.reshape(SIDE, 8, SIDE, 8, -1).mean(axis=(1, 3)).transpose(2, 0, 1)


class _Bands:
    """A frame as YCrCb `colours` (H, W, 3) uint8, its `luma`, and luma under two Gaussians (sigma 1 and 2.5 px)."""

    def __init__(self, frame: Frame) -> None:
        self.colours = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2YCrCb)
        self.luma = self.colours[..., 0].astype(np.float32)
        self.smooth = cv2.GaussianBlur(self.luma, (5, 5), 1.0)
        self.coarse = cv2.GaussianBlur(self.luma, (11, 11), 2.5)


def _maps(past: _Bands, now: _Bands, future: _Bands) -> Maps:
    """Maps (H // 4, W // 4, 16) of a frame between its neighbours."""
    height, width = now.luma.shape
    half = cv2.resize(now.colours, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    energies = [
        cv2.filter2D(now.luma, cv2.CV_32F, _RESIDUAL),
        cv2.filter2D(now.luma, cv2.CV_32F, _ACROSS),
        cv2.filter2D(now.luma, cv2.CV_32F, _ACROSS.T),
        now.luma - now.smooth,
        now.smooth - now.coarse,
        cv2.Laplacian(half[..., 1].astype(np.float32), cv2.CV_32F),
        *_change(past, now),
        *_change(now, future),
        2 * now.smooth - past.smooth - future.smooth,
    ]
    size = width // CELL, height // CELL
    cells = [cv2.resize(np.abs(e), size, interpolation=cv2.INTER_AREA) for e in energies]
    tones = cv2.resize(now.colours.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.dstack([*(np.log2(1 + 4 * cell) for cell in cells), tones])


def _change(first: _Bands, second: _Bands) -> tuple[Maps, Maps, Maps]:
    """Change of luma, of both colour differences together, and of smooth luma."""
    apart = cv2.absdiff(first.colours, second.colours).astype(np.float32)
    return apart[..., 0], apart[..., 1] + apart[..., 2], second.smooth - first.smooth
