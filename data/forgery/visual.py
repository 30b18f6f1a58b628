"""Visual forgeries of the lower face, blended under a feathered mask that follows the face box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Boxes = NDArray[np.float64]

MIN_DONOR = 8
"""Fewest frames of another moment that `replace_lower_face` takes a mouth from."""

RAMP = 2
"""Frames over which a patch fades in and out, so that its borders in time do not jump."""


class VisualForgery(Protocol):
    """Forges `frames` (N, H, W, 3) uint8 inside `span`, given face `boxes` (N, 4) as x, y, width, height."""

    __name__: str

    def __call__(
        self, frames: Frames, boxes: Boxes, span: tuple[int, int], rng: np.random.Generator
    ) -> Frames: ...


def replace_lower_face(
    frames: Frames, boxes: Boxes, span: tuple[int, int], rng: np.random.Generator
) -> Frames:
    """The mouth of another moment of the same person, as a lip-sync attack puts other words into it.

    The donor moment keeps its own motion; it is moved and scaled onto the face, its colour is matched to the ring
    around the patch, and it is blended under a feathered ellipse. Raises ValueError when the clip holds no other
    moment of at least `MIN_DONOR` frames.
    """
    first, stop = span
    donors = _donor_frames(len(frames), span, rng)
    out = frames.copy()
    for k, donor in zip(range(first, stop), donors, strict=True):
        region = _lower_face(frames.shape[1:3], boxes[k])
        patch = _warp_box(frames[donor], boxes[donor], boxes[k], region)
        _blend(out[k], _match_ring(patch, frames[k], region), region, _ramp(k, span))
    return out


def resynthesize_lower_face(
    frames: Frames, boxes: Boxes, span: tuple[int, int], rng: np.random.Generator
) -> Frames:
    """The mouth as a face generator of low resolution redraws it: less detail, slightly other colour and sharpness.

    Lip-sync generators work at 96 px for the whole face; the face box is reduced to 40 to 96 px and enlarged again.
    """
    first, stop = span
    face_px = int(rng.integers(40, 97))
    gain = rng.uniform(0.94, 1.06, size=3)
    sharpen = rng.uniform(0.0, 1.2)
    out = frames.copy()
    for k in range(first, stop):
        region = _lower_face(frames.shape[1:3], boxes[k])
        scale = min(1.0, face_px / max(float(boxes[k][2]), 1.0))
        _blend(out[k], _redraw(frames[k], scale, gain, sharpen, region), region, _ramp(k, span))
    return out


@dataclass(frozen=True)
class _Region:
    """A rectangle of the picture and the feathered mask (h, w) in [0, 1] inside it."""

    rows: slice
    columns: slice
    mask: NDArray[np.float32]


def _lower_face(size: tuple[int, int], box: NDArray[np.float64]) -> _Region:
    x, y, width, height = box
    centre_x, centre_y = x + 0.5 * width, y + 0.78 * height
    radius_x, radius_y = 0.36 * width, 0.27 * height
    rows = slice(
        int(np.clip(centre_y - 1.2 * radius_y, 0, size[0] - 1)),
        int(np.clip(centre_y + 1.2 * radius_y + 1, 1, size[0])),
    )
    columns = slice(
        int(np.clip(centre_x - 1.2 * radius_x, 0, size[1] - 1)),
        int(np.clip(centre_x + 1.2 * radius_x + 1, 1, size[1])),
    )
    across = (np.arange(columns.start, columns.stop) - centre_x) / radius_x
    down = (np.arange(rows.start, rows.stop) - centre_y) / radius_y
    radius = np.hypot(across[None, :], down[:, None])
    return _Region(rows, columns, np.clip((1.15 - radius) / 0.35, 0.0, 1.0).astype(np.float32))


def _donor_frames(n: int, span: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int64]:
    first, stop = span
    length = stop - first
    # A donor close to the span would show nearly the same mouth, hence nothing forged.
    margin = 5
    low, high = max(((0, first - margin), (stop + margin, n)), key=lambda side: side[1] - side[0])
    stretch = high - low
    if stretch < MIN_DONOR:
        raise ValueError(f"no other moment of {MIN_DONOR} frames outside {span} in a clip of {n}")
    # Walking back and forth keeps the motion smooth where the stretch is shorter than the span.
    walk = np.concatenate([np.arange(low, high), np.arange(high - 2, low, -1)])
    return walk[(int(rng.integers(stretch)) + np.arange(length)) % len(walk)]


def _ramp(k: int, span: tuple[int, int]) -> float:
    first, stop = span
    return min(1.0, (k - first + 1) / RAMP, (stop - k) / RAMP)


def _blend(picture: Frames, patch: NDArray[np.float32], region: _Region, strength: float) -> None:
    base = picture[region.rows, region.columns]
    weight = (region.mask * strength)[..., None]
    base[...] = np.clip(base * (1 - weight) + patch * weight + 0.5, 0, 255).astype(np.uint8)


def _match_ring(patch: NDArray[np.float32], picture: Frames, region: _Region) -> NDArray[np.float32]:
    ring = (region.mask > 0) & (region.mask < 0.9)
    target = picture[region.rows, region.columns]
    return patch + (target[ring].mean(axis=0) - patch[ring].mean(axis=0)) if ring.any() else patch


def _warp_box(
    image: Frames, source: NDArray[np.float64], target: NDArray[np.float64], region: _Region
) -> NDArray[np.float32]:
    columns = np.arange(region.columns.start, region.columns.stop)
    rows = np.arange(region.rows.start, region.rows.stop)
    columns = (columns - target[0]) * (source[2] / target[2]) + source[0]
    rows = (rows - target[1]) * (source[3] / target[3]) + source[1]
    return _resample(image, _linear(rows, image.shape[0]), _linear(columns, image.shape[1]))


def _redraw(
    image: Frames, scale: float, gain: NDArray[np.float64], sharpen: float, region: _Region
) -> NDArray[np.float32]:
    part = image[region.rows, region.columns]
    height, width = part.shape[:2]
    low = (max(2, round(height * scale)), max(2, round(width * scale)))
    small = _resample(part, _area(low[0], height), _area(low[1], width))
    rows = (np.arange(height) + 0.5) * low[0] / height - 0.5
    columns = (np.arange(width) + 0.5) * low[1] / width - 0.5
    drawn = _resample(small, _linear(rows, low[0]), _linear(columns, low[1]))
    around = [np.roll(drawn, shift, axis) for axis in (0, 1) for shift in (-1, 1)]
    blurred = np.mean([drawn, *around], axis=0, dtype=np.float32)
    return (drawn + np.float32(sharpen) * (drawn - blurred)) * gain.astype(np.float32)


def _resample(
    image: NDArray[Any], rows: NDArray[np.float32], columns: NDArray[np.float32]
) -> NDArray[np.float32]:
    used = np.flatnonzero(rows.any(axis=0))
    part = image[used[0] : used[-1] + 1].astype(np.float32)
    resized = np.tensordot(rows[:, used[0] : used[-1] + 1], part, axes=(1, 0))  # (H', W, 3)
    return np.tensordot(columns, resized, axes=(1, 1)).transpose(1, 0, 2)  # (H', W', 3)


def _linear(positions: NDArray[np.float64], n: int) -> NDArray[np.float32]:
    clamped = np.clip(positions, 0, n - 1)
    left = np.minimum(clamped.astype(int), max(n - 2, 0))
    weight = clamped - left
    matrix = np.zeros((len(positions), n), np.float32)
    rows = np.arange(len(positions))
    matrix[rows, left] += 1 - weight
    matrix[rows, np.minimum(left + 1, n - 1)] += weight
    return matrix


def _area(low: int, n: int) -> NDArray[np.float32]:
    edges = np.arange(low + 1) * n / low
    pixels = np.arange(n)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    matrix = np.clip(overlap, 0, None)
    return (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)
