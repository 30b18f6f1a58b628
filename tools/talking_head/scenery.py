"""Neck, clothes and the room; and the whole portrait put together."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from talking_head.hair import comb, wear_glasses
from talking_head.looks import (
    SIZE,
    Image,
    Looks,
    blur,
    bump,
    canvas,
    clouds,
    half_width,
    over,
    ramp,
    to_display,
)
from talking_head.surface import light_up, paint_skin, sculpt


@dataclass(frozen=True)
class Portrait:
    """The still layers of a person: canvases for the head, pictures of the rendered size for the rest."""

    looks: Looks
    height: Image  # of the face surface, head units
    skin: tuple[Image, Image]  # lit with the head turned left and right, RGBA
    front: Image  # hair and glasses before the face, RGBA
    back: Image  # hair behind the head, RGBA
    body: Image  # neck and clothes, RGBA
    room: Image  # RGB


def hsv(hue: float, saturation: float, value: float) -> NDArray:
    """A colour from OpenCV's 8-bit HSV (hue 0 to 180) as display RGB, 0 to 1."""
    pixel = np.array([[[hue, saturation, value]]]).astype(np.uint8)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0] / 255.0


def dress(looks: Looks, rng: np.random.Generator) -> Image:
    """Neck, shoulders and clothes at the frame's size, display RGBA."""
    px, py = np.meshgrid(np.arange(SIZE, dtype=np.float32), np.arange(SIZE, dtype=np.float32))
    x, y = (px - looks.centre[0]) / looks.unit, (py - looks.centre[1]) / looks.unit
    ax = np.abs(x)
    girth = 0.5 if looks.feminine else 0.64 + looks.jaw
    slope = float(rng.uniform(0.12, 0.3))
    neck_w = girth + 0.05 * ramp(y, 0.9, 1.3) + 0.55 * np.clip(y - 1.5, 0, 9) ** 1.6
    neck = ramp(ax, neck_w + 0.015, neck_w - 0.015) * ramp(y, 0.6, 0.8)
    top = 1.72 + slope * np.clip(ax - 0.5, 0, 9) + 0.6 * np.clip(ax - 1.75, 0, 9) ** 2
    trunk = ramp(y, top - 0.015, top + 0.015)
    kind = str(rng.choice(["crew", "vee", "shirt", "suit"]))
    throat = {"crew": 0.28, "vee": 0.75, "shirt": 0.55, "suit": 0.6}[kind]
    sharp = {"crew": 2.2, "vee": 1.0, "shirt": 1.1, "suit": 1.1}[kind]
    rim = 1.66 + throat * np.clip(1 - (ax / (girth + 0.14)) ** sharp, 0, 1)
    cloth = ramp(y, top - 0.1, top - 0.05) * ramp(y, rim - 0.012, rim + 0.012)

    z = 1.3 * np.sqrt(np.clip(1 - (x / 3.2) ** 2, 0.01, 1)) + 0.5 * ramp(y, top, top + 0.7)
    folds = clouds(rng, x.shape, 70, 2) + 0.6 * np.sin(5 * ax + 2 * y + clouds(rng, x.shape, 90))
    z_cloth = (z + 0.03 * blur(folds, 3) + 0.001 * clouds(rng, x.shape, 2, 1)).astype(np.float32)
    hue = rng.uniform(0, 179)
    tint = hsv(hue, rng.uniform(10, 140), rng.uniform(35, 225))
    main = tint**2.2
    paint = np.broadcast_to(main, (*x.shape, 3)).astype(np.float32)
    if kind == "crew" and rng.random() < 0.4:
        paint = over(paint, main * 0.45 + 0.08, 0.5 + 0.5 * np.sign(np.sin((y - 0.12 * ax**2) * 28)))
    if kind in ("shirt", "suit"):
        linen = np.array([0.72, 0.74, 0.78]) if kind == "suit" or rng.random() < 0.4 else main * 0.9 + 0.05
        collar_low = 1.92 + 0.75 * np.abs(ax - 0.5) - 0.1 * ax
        collar = ramp(y, collar_low + 0.34, collar_low + 0.32) * ramp(ax, girth + 0.3, girth + 0.27)
        shirt = (
            np.clip(ramp(ax, 0.62 - 0.42 * (y - 2.0), 0.59 - 0.42 * (y - 2.0)), 0, 1)
            if kind == "suit"
            else 1.0
        )
        paint = over(paint, linen, np.maximum(collar, shirt) * np.ones_like(x))
        edge = np.exp(-0.5 * ((y - collar_low - 0.33) / 0.025) ** 2) * (ax < girth + 0.3)
        edge += 0.8 * np.exp(-0.5 * (x / 0.014) ** 2) * (kind == "shirt") * (y > 2.15)
        paint *= 1 - 0.5 * np.clip(edge, 0, 1)[..., None]
        z_cloth += 0.06 * blur(collar * trunk, 2)
        if kind == "suit":
            z_cloth += 0.05 * blur(1 - np.asarray(shirt), 2)
            if rng.random() < 0.7:
                width = np.where(y < 2.3, 0.12 - 0.06 * ramp(y, 2.1, 2.3), 0.06 + 0.07 * (y - 2.3))
                tie = ramp(ax, width + 0.012, width - 0.012) * ramp(y, 2.08, 2.1)
                paint = over(paint, rng.uniform(0.01, 0.35, 3), tie)
                z_cloth += 0.05 * blur(tie, 3)
    paint *= (1 + 0.035 * clouds(rng, x.shape, 2, 1))[..., None]
    matt = np.zeros_like(x)
    cloth_lit = light_up(z_cloth.astype(np.float32), paint, looks, 0.0, matt, looks.unit)
    tube = np.sqrt(np.clip(1 - (ax / (neck_w + 0.02)) ** 2, 0.0, 1)) * girth
    tube += 0.05 * np.exp(-0.5 * ((ax - 0.1 - 0.3 * (2.0 - y)) / 0.07) ** 2) + 0.03 * bump(
        x, y, 0, 1.62, 0.1, 0.12
    )
    tube = tube * ramp(y, 2.4, 1.4) + 0.4 * ramp(y, 1.4, 2.4)
    flesh = looks.skin * (0.93 + 0.03 * clouds(rng, x.shape, 20))[..., None]
    flesh_lit = light_up(tube.astype(np.float32), flesh.astype(np.float32), looks, 0.0, matt, looks.unit)
    shadow = ramp(y, 1.95, 1.3 + 0.2 * ax) * 0.62 * np.exp(-0.5 * ((x + 0.25 * looks.light[0]) / 0.75) ** 2)
    rgb = flesh_lit * (1 - shadow)[..., None]
    rgb *= (1 - 0.35 * np.exp(-np.clip(rim - y, 0, 9) / 0.06) * (ax < girth + 0.1))[..., None]
    rgb = over(rgb, cloth_lit * 0.95, cloth)
    return np.dstack([to_display(rgb), np.maximum(neck, trunk)]).astype(np.float32)


def furnish(looks: Looks, rng: np.random.Generator) -> Image:
    """The room behind the person, out of focus, display RGB."""
    hue = rng.uniform(0, 179)
    tint = hsv(hue, rng.uniform(5, 85), rng.uniform(60, 215))
    wall = tint + np.zeros((SIZE, SIZE, 3))
    px, py = np.meshgrid(np.linspace(-1, 1, SIZE), np.linspace(-1, 1, SIZE))
    angle = rng.uniform(0, 6.28)
    wall *= (1 + 0.3 * (px * np.cos(angle) + py * np.sin(angle)) - 0.15 * (px**2 + py**2))[..., None]
    kind = str(rng.choice(["studio", "shelf", "office", "lights"], p=[0.3, 0.25, 0.3, 0.15]))
    picture = np.ascontiguousarray(wall, np.float32)
    if kind == "shelf":
        for row in range(-1, 6):
            base, at = int((row + rng.uniform(0.8, 0.95)) * SIZE / 4.5), -10
            while at < SIZE:
                width, tall = int(rng.integers(7, 24)), int(rng.uniform(0.45, 0.85) * SIZE / 4.5)
                book = (rng.uniform(0.1, 0.7) + rng.uniform(-0.12, 0.2, 3)).tolist()
                cv2.rectangle(picture, (at, base - tall), (at + width, base), book, -1)
                at += width + int(rng.choice([1, 1, 2, 30]))
            cv2.rectangle(picture, (0, base), (SIZE, base + 7), (wall[0, 0] * 0.5).tolist(), -1)
    elif kind == "office":
        for _ in range(int(rng.integers(3, 8))):
            a = rng.integers(-60, SIZE, 2)
            size = rng.integers(40, 190, 2)
            shade = np.clip(
                wall[SIZE // 2, SIZE // 2] * rng.uniform(0.35, 1.5) + rng.normal(0, 0.06, 3), 0, 1
            )
            cv2.rectangle(picture, a.tolist(), (a + size).tolist(), shade.tolist(), -1)
            cv2.rectangle(picture, a.tolist(), (a + size).tolist(), (shade * 0.5).tolist(), 3)
    elif kind == "lights":
        picture *= 0.35
        for _ in range(int(rng.integers(15, 40))):
            spot = np.zeros_like(picture)
            at = rng.integers(0, SIZE, 2).tolist()
            cv2.circle(
                spot,
                at,
                int(rng.integers(8, 26)),
                (rng.uniform(0.2, 1, 3) * rng.uniform(0.15, 0.5)).tolist(),
                -1,
            )
            picture += spot
    soft = blur(picture, float(rng.uniform(3.5, 9)) * (1 if kind != "lights" else 0.5))
    soft += 0.004 * clouds(rng, (SIZE, SIZE), 6)[..., None]
    return (255 * np.clip(soft, 0, 1)).astype(np.float32)


def make_portrait(looks: Looks, rng: np.random.Generator) -> Portrait:
    """Paint all still layers of a person."""
    x, y = canvas()
    ax = np.abs(x)
    height = sculpt(x, y, looks, rng)
    albedo, gloss = paint_skin(x, y, looks, rng)
    front, back = comb(x, y, looks, rng)
    ear = ((ax - 1.0) / 0.13) ** 2 + ((y - 0.14 - 0.3 * (ax - 1)) / 0.27) ** 2
    ridge = np.exp(-0.5 * ((np.sqrt(ear) - 0.8) / 0.16) ** 2) - 0.8 * bump(ax, y, 0.99, 0.14, 0.05, 0.12)
    w = half_width(y, looks)
    face = ramp(ax, w + 0.012, w - 0.012)
    relief = np.maximum(height, (0.09 * blur(ridge, 1.2) + 0.05) * (ear < 1.3))
    albedo *= 1 - 0.3 * (bump(ax, y, 0.98, 0.14, 0.05, 0.13) * (1 - face))[..., None]
    shadow = 0.5 * blur(np.roll(front[..., 3], 5, axis=0), 4) * (1 - 0.5 * (looks.style == "bald"))
    alpha = np.maximum(face, ramp(ear, 1.1, 0.9))
    sides: list[Image] = []
    for turn in (-0.2, 0.2):
        lit = light_up(relief, albedo, looks, turn, gloss) * (1 - shadow)[..., None]
        sides.append(np.dstack([to_display(lit), alpha]).astype(np.float32))
    if looks.glasses:
        front = wear_glasses(front, x, y, rng)
    front = front.astype(np.float32)
    return Portrait(
        looks, blur(height, 2.0), (sides[0], sides[1]), front, back, dress(looks, rng), furnish(looks, rng)
    )
