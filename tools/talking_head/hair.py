"""What sits on the head: hair before and behind the face, and glasses."""

from __future__ import annotations

import numpy as np

from talking_head.looks import EYE_X, Image, Looks, clouds, half_width, over, ramp, to_display
from talking_head.surface import light_up


def strands(x: Image, y: Image, part: float, rng: np.random.Generator) -> Image:
    """Hair strands that fall from a point on the crown, then straight down: mean 0, standard deviation about 1."""
    along = np.arctan2(x - part, np.minimum(y, 0.1) + 1.6) + 0.035 * clouds(rng, x.shape, 60, 2)
    out = np.zeros_like(x)
    for per_radian, weight in ((9, 0.7), (26, 0.8), (60, 0.8)):
        row = rng.standard_normal(int(7 * per_radian))
        shift = 0.8 * clouds(rng, x.shape, 90, 1)
        out += weight * np.interp(along * per_radian + shift, np.arange(len(row)) - len(row) / 2, row)
    return (out / 1.3).astype(np.float32)


def comb(x: Image, y: Image, looks: Looks, rng: np.random.Generator) -> tuple[Image, Image]:
    """Hair before and behind the face, as display RGBA canvases."""
    ax = np.abs(x)
    part = {"parted": 0.5, "long": 0.12, "short": 0.15}.get(looks.style, 0.0) * float(rng.choice([-1, 1]))
    flow = strands(x, y, part, rng)
    volume = {"bald": 0.0, "bun": 0.05, "short": 0.08, "parted": 0.12, "fringe": 0.12, "long": 0.14}[
        looks.style
    ]
    volume *= float(rng.uniform(0.8, 1.4))
    outer = half_width(y, looks, volume) + 0.012 * flow
    cap = ramp(ax, outer + 0.02, outer - 0.02) * ramp(y, 0.32, 0.12)
    across = x if part < 0 else -x
    centred = np.abs(x - part * np.clip(1 - ax, 0, 1))
    along, edge = {  # heights of the hairline at distances from the middle or from the parting
        "bald": (ax, {0: -1.0, 0.5: -0.95, 0.78: -0.7, 0.9: -0.1}),
        "bun": (ax, {0: -0.98, 0.4: -0.93, 0.7: -0.68, 0.85: -0.35, 0.96: 0.05}),
        "short": (ax, {0: -0.86, 0.45: -0.9, 0.68: -0.78, 0.8: -0.45, 0.9: -0.1, 0.95: 0.25}),
        "parted": (
            across,
            {-0.95: 0.2, -0.85: -0.3, -0.5: -1.0, 0.2: -0.72, 0.7: -0.55, 0.85: -0.3, 0.95: 0.2},
        ),
        "fringe": (ax, {0: -0.4, 0.4: -0.42, 0.75: -0.36, 0.84: 0.2, 0.9: 1.2}),
        "long": (centred, {0: -1.1, 0.1: -0.98, 0.45: -0.82, 0.75: -0.42, 0.86: 0.2, 0.93: 1.3}),
    }[looks.style]
    hairline = np.interp(along, list(edge), list(edge.values()))
    hairline = hairline + 0.035 * flow * (1.6 if looks.style == "fringe" else 1.0)
    soft = 0.1 if looks.style in ("short", "bald") else 0.05
    front = cap * ramp(y, hairline + soft / 2, hairline - soft)
    back = np.zeros_like(x)
    if looks.style in ("long", "fringe"):
        ends = float(rng.uniform(0.9, 2.4))
        fall = 1.0 + 0.2 * np.sin(np.clip((y + 0.6) / 2.4, 0, 1) * 3) + volume + 0.03 * flow
        inner = np.interp(y, [-0.4, 0.3, 1.2, 2.2], [0.93, 0.86, 0.8, 0.9]) + 0.03 * flow
        bottom = ends + 0.12 * flow
        mane = ramp(ax, fall + 0.03, fall - 0.02) * ramp(y, bottom + 0.1, bottom - 0.1)
        locks = ramp(ax, inner - 0.03, inner + 0.04) * mane
        front = np.maximum(front, locks * ramp(y, -0.7, -0.3))
        back = mane * ramp(y, -1.0, -0.6)
    if looks.style == "bun" and rng.random() < 0.6:
        back = ramp((x / 0.42) ** 2 + ((y + 1.62) / 0.3) ** 2 + 0.05 * flow, 1.05, 0.85)
    front *= 0.55 if looks.style == "bald" else 1.0

    dome = (
        np.sqrt(np.clip(1 - (x / 1.35) ** 2 - (np.minimum(y + 0.2, 0) / 1.75) ** 2, 0.02, 1)) + 0.012 * flow
    )
    grey = np.ones((*x.shape, 3), np.float32)
    flat = light_up(dome.astype(np.float32), grey, looks, 0.0, np.zeros_like(x))
    height = -0.75 - 0.3 * looks.light[1] + 0.35 * ax**2 + 0.05 * flow
    sheen = np.exp(-0.5 * ((y - height) / 0.16) ** 2) + 0.5 * np.exp(-0.5 * ((y - height - 1.3) / 0.3) ** 2)
    colour = looks.hair * flat * np.clip(0.85 + 0.38 * flow, 0.15, 2)[..., None]
    colour += (
        (sheen * np.clip(0.5 + 0.6 * flow, 0, 2) * 0.09)[..., None]
        * (looks.hair / looks.hair.max() + 0.6)
        * flat
    )
    deep = 1 - 0.45 * np.exp(-np.clip(hairline - y, 0, 9) / 0.12) * (y < 0.2)
    front_rgba = np.dstack([to_display(colour * deep[..., None]), front])
    return front_rgba, np.dstack([to_display(colour * 0.45), back]).astype(np.float32)


def wear_glasses(front: Image, x: Image, y: Image, rng: np.random.Generator) -> Image:
    """Add a pair of glasses to the layer before the face."""
    ax = np.abs(x)
    half, tall, power = rng.uniform(0.3, 0.36), rng.uniform(0.2, 0.27), rng.uniform(2.2, 4.5)
    rim = (np.abs((ax - EYE_X - 0.02) / half) ** power + np.abs((y - 0.04) / tall) ** power) ** (1 / power)
    width = rng.uniform(0.04, 0.09)
    frame = ramp(np.abs(rim - 1), width + 0.05, width - 0.02)
    frame = np.maximum(frame, ramp(np.abs(y + 0.04 - 0.5 * ax**2), 0.035, 0.015) * (ax < EYE_X - half + 0.06))
    frame = np.maximum(frame, ramp(np.abs(y + 0.03), 0.035, 0.015) * (ax > EYE_X + half) * (ax < 1.0))
    lens = (rim < 1) * (0.04 + 0.12 * np.exp(-0.5 * ((x * 0.7 - y - 0.3) / 0.06) ** 2))
    tone = np.array(rng.choice([[22, 20, 22], [60, 36, 24], [95, 92, 90]]), np.float32)
    rgb = over(front[..., :3], np.full(3, 225.0), lens * (1 - front[..., 3]))
    alpha = np.maximum(front[..., 3], lens)
    rgb = over(rgb, tone, frame * (1 - front[..., 3]))
    return np.dstack([rgb, np.maximum(alpha, frame)]).astype(np.float32)
