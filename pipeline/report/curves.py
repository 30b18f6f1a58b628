"""Curves for a page: thinned without losing a peak, packed small, drawn as the path of an SVG. Pure functions."""

from __future__ import annotations

import base64
import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXACT_STEPS = 2500
"""Up to this many steps (100 s at 25 per second) a page carries every value as the JSON report writes it."""
MOST_POINTS = 100_000
"""Longer curves than this (67 minutes) are thinned before they are packed."""
CODES, MISSING = 254, 255
"""Packed values are 0..254 times a 254th of the curve's maximum, so that the maximum itself is exact."""

Curve = NDArray[np.float32]


def thin(values: Curve, most: int) -> tuple[Curve, float]:
    """At most `most` (at least 2) points of `values` (T,) and how many steps each stands for.

    Neighbouring steps make a bucket, and of each bucket the lowest and the highest value stay, in their order.
    A bucket without any number gives two NaN.
    """
    if len(values) <= most:
        return values, 1.0
    size = math.ceil(len(values) / (most // 2))
    buckets = math.ceil(len(values) / size)
    padded = np.full(buckets * size, np.nan, np.float32)
    padded[: len(values)] = values
    table = padded.reshape(buckets, size)
    some = np.isfinite(table)
    low = np.where(some, table, np.inf).argmin(axis=1)
    high = np.where(some, table, -np.inf).argmax(axis=1)
    rows = np.arange(buckets)
    pairs = np.stack([table[rows, np.minimum(low, high)], table[rows, np.maximum(low, high)]], axis=1)
    pairs[~some.any(axis=1)] = np.nan
    return pairs.reshape(-1), size / 2


def highest(values: Curve) -> float:
    """The largest number in `values`, 0 when there is none above it."""
    finite = values[np.isfinite(values)]
    return max(0.0, float(finite.max())) if len(finite) else 0.0


def packed(values: Curve) -> dict[str, Any]:
    """`values` (T,) in the form that the page's script reads: `steps` per point, and the points.

    Short curves are lists of numbers of four digits with None for NaN. Long ones are `codes`: bytes (see `CODES`),
    each as the difference to the one before modulo 256, deflated, in base 64; `unit` is what one code is worth.
    """
    points, steps = thin(values, MOST_POINTS)
    if len(values) <= EXACT_STEPS:
        exact = [round(value, 4) if math.isfinite(value) else None for value in values.tolist()]
        return {"steps": steps, "values": exact}
    top = highest(points)
    unit = top / CODES if top > 0 else 1.0
    finite = np.isfinite(points)
    codes = np.full(len(points), MISSING, np.uint8)
    codes[finite] = np.clip(np.rint(points[finite] / unit), 0, CODES).astype(np.uint8)
    deltas = np.diff(codes, prepend=np.uint8(0))
    return {
        "steps": steps,
        "unit": unit,
        "codes": base64.b64encode(zlib.compress(deltas.tobytes(), 9)).decode(),
    }


def path(
    values: Curve, first_s: float, step_s: float, span_s: float, top: float, *, width: int, height: int
) -> str:
    """`values` (T,) as the `d` of an SVG path in a box of `width` x `height` that spans 0 to `span_s` seconds.

    Points lie at the middle of their steps, `top` at the upper edge; NaN interrupts the line.
    """
    points, steps = thin(values, width)
    if span_s <= 0:
        return ""
    scale = height / top if top > 0 else 0.0
    centres = (first_s + (np.arange(len(points)) + 0.5) * steps * step_s) * (width / span_s)
    parts, pen_down = [], False
    for x, value in zip(centres.tolist(), points.tolist(), strict=True):
        if math.isfinite(value):
            parts.append(f"{'L' if pen_down else 'M'}{x:.1f} {height - value * scale:.1f}")
            if not pen_down:
                parts.append("h.1")  # a lone step would not be drawn
        pen_down = math.isfinite(value)
    return "".join(parts)
