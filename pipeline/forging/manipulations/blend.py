"""Blending new pixels over a face: soft masks that follow the box, matched colours, ramps in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.forging.manipulations.geometry import Boxes, Frames, Patch, Region

EDGE = 1.15
"""Where a mask ends, in radii of its ellipse."""

_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], np.float32)
"""Luma and the two colour differences of RGB (ITU-R BT.601)."""


@dataclass(frozen=True)
class Shape:
    """A soft mask in units of the face box: an ellipse with a wavy rim that fades over `feather` radii."""

    centre: tuple[float, float]
    radius: tuple[float, float]
    feather: float = 0.35
    waves: tuple[float, ...] = ()

    def drawn(self, rng: np.random.Generator, waviness: float = 0.02) -> Shape:
        """This shape with a drawn softness (0.25 to 0.5 radii) and a rim that waves by `waviness` radii."""
        waves = rng.uniform(-waviness, waviness, size=6)
        return replace(self, feather=float(rng.uniform(0.25, 0.5)), waves=tuple(waves.tolist()))

    def bounds(self) -> tuple[float, float, float, float]:
        """The rectangle u0, v0, u1, v1 that holds the mask."""
        reach = EDGE + sum(abs(wave) for wave in self.waves)
        (u, v), (across, down) = self.centre, self.radius
        return u - reach * across, v - reach * down, u + reach * across, v + reach * down

    def mask(self, region: Region) -> NDArray[np.float32]:
        """Weights (h, w) in [0, 1] of the new pixels of `region`."""
        across = ((region.u - self.centre[0]) / self.radius[0]).astype(np.float32)[None, :]
        down = ((region.v - self.centre[1]) / self.radius[1]).astype(np.float32)[:, None]
        radius = np.hypot(across, down)
        if self.waves:
            angle = np.arctan2(down, across)
            for k in range(len(self.waves) // 2):
                cosine, sine = self.waves[2 * k : 2 * k + 2]
                radius -= np.float32(cosine) * np.cos((k + 2) * angle)
                radius -= np.float32(sine) * np.sin((k + 2) * angle)
        linear = np.clip((EDGE - radius) / np.float32(self.feather), 0, 1)
        return (linear * linear * (3 - 2 * linear)).astype(np.float32)


LIPS = Shape((0.5, 0.82), (0.22, 0.13))
"""The mouth alone."""

LOWER_FACE = Shape((0.5, 0.79), (0.32, 0.26))
"""Mouth, cheeks and chin: below the eyes of a box that a frontal-face detector draws."""

FACE = Shape((0.5, 0.57), (0.35, 0.46))
"""Brows to chin."""


class Canvas:
    """The regions of a span that a shape covers; all forgeries paint through this class."""

    def __init__(
        self, frames: Frames, boxes: Boxes, span: tuple[int, int], shape: Shape, rng: np.random.Generator
    ) -> None:
        """Draws how many frames (1 to 3) it takes to fade in and out; raises ValueError without a face.

        Where the clip begins or ends there is nothing to fade from, so there the strength is full.
        """
        self._frames, self._first = frames, span[0]
        self.steps = range(*span)
        self.regions = [Region.around(frames.shape[1:3], boxes[k], shape.bounds()) for k in self.steps]
        self.masks = [shape.mask(region) for region in self.regions]
        rise, fall = rng.integers(1, 4, size=2).tolist()
        self.strengths = ramp(
            len(self.steps), rise if span[0] > 0 else 1, fall if span[1] < len(frames) else 1
        )

    def base(self, k: int) -> Frames:
        """What the region of frame `k` shows now, a view."""
        return self.regions[k - self._first].of(self._frames[k])

    def match_rim(self, patches: Sequence[Patch]) -> list[Patch]:
        """Shift each patch's mean colour to the picture's in the rim of the mask, where they meet."""
        shifts = []
        for k, patch, mask in zip(self.steps, patches, self.masks, strict=True):
            rim = (mask > 0.02) & (mask < 0.8)
            shifts.append(
                (self.base(k)[rim].mean(axis=0) - patch[rim].mean(axis=0)) if rim.any() else 0 * patch[0, 0]
            )
        return [patch + shift for patch, shift in zip(patches, _steady(np.stack(shifts)), strict=True)]

    def match_tones(self, patches: Sequence[Patch]) -> list[Patch]:
        """Give each patch the mean and spread of luma and colour differences that the picture has under the mask."""
        maps = []
        for k, patch, mask in zip(self.steps, patches, self.masks, strict=True):
            old, old_spread = _tones(self.base(k), mask)
            new, new_spread = _tones(patch, mask)
            gain = np.clip(old_spread / np.maximum(new_spread, 1e-3), 0.6, 1.6)
            turn = np.linalg.solve(_YCBCR, gain[:, None] * _YCBCR)
            shift = np.linalg.solve(_YCBCR, old - gain * new)
            maps.append(np.concatenate([turn.T, shift[None]]))
        steady = _steady(np.stack(maps).reshape(len(maps), 12)).reshape(-1, 4, 3)
        return [patch @ turn[:3] + turn[3] for patch, turn in zip(patches, steady, strict=True)]

    def paint(self, patches: Sequence[Patch]) -> Frames:
        """A copy of the frames with the patches laid under the masks and the ramp."""
        out = self._frames.copy()
        for k, patch, region, mask, strength in zip(
            self.steps, patches, self.regions, self.masks, self.strengths, strict=True
        ):
            base = region.of(out[k])
            blended = base + (patch - base) * (mask * np.float32(strength))[..., None]
            base[...] = np.clip(blended + np.float32(0.5), 0, 255)
        return out


def ramp(length: int, rise: int, fall: int) -> NDArray[np.float64]:
    """Strength (length,) of each frame of a span: full after `rise` frames and until `fall` frames before its end."""
    at = np.arange(length)
    return np.minimum(1.0, np.minimum((at + 1) / rise, (length - at) / fall))


def _tones(
    patch: Patch | Frames, mask: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    weight = mask.ravel() / max(float(mask.sum()), 1e-6)
    tones = patch.reshape(-1, 3).astype(np.float32) @ _YCBCR.T
    mean = weight @ tones
    return mean, np.sqrt(weight @ np.square(tones - mean))


def _steady(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows (N, C) averaged over 5 frames, so that matched colours do not flicker."""
    padded = np.pad(values, ((2, 2), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 5, axis=0).mean(axis=-1).astype(np.float32)
