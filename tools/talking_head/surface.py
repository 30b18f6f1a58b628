"""The face itself: a sculpted height map, the paint on it, and the light that falls on it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from talking_head.looks import EYE_X, PER_UNIT, Image, Looks, blur, bump, clouds, half_width, ramp, seam


def sculpt(x: Image, y: Image, looks: Looks, rng: np.random.Generator) -> Image:
    """The height map of the face, 0 at its outline."""
    ax = np.abs(x)
    w = np.maximum(half_width(y, looks), 1e-3)
    z = np.clip(1 - (ax / w) ** 2.3, 0, 1) ** (1 / 2.1)
    z *= np.interp(
        y,
        [-1.46, -1.3, -1.0, -0.4, 0.6, 1.15, 1.33, 1.42, 1.47],
        [0.0, 0.5, 0.8, 0.98, 0.98, 0.92, 0.78, 0.55, 0.2],
    )
    n = looks.nose
    ridge = np.interp(y, [-0.3, -0.12, 0.1, 0.5, 0.58, 0.68, 0.74], [0, 0.06, 0.13, 0.31, 0.31, 0.07, 0])
    z += blur(ridge, 2) * np.exp(-0.5 * (ax / np.interp(y, [-0.2, 0.5], [0.085, 0.125 * n])) ** 2)
    z += 0.06 * bump(x, y, 0, 0.53, 0.1 * n, 0.09) + 0.12 * bump(ax, y, 0.165 * n, 0.575, 0.065, 0.065)
    z -= 0.05 * bump(ax, y, 0.085 * n, 0.655, 0.04, 0.025)
    z -= 0.15 * bump(ax, y, EYE_X - 0.06, -0.03, 0.24, 0.15) - 0.09 * bump(ax, y, EYE_X, 0.0, 0.16, 0.11)
    z += (0.03 + 0.05 * (not looks.feminine)) * bump(ax, y, 0.38, -0.27, 0.3, 0.08)
    z += 0.07 * bump(ax, y, 0.6, 0.36, 0.22, 0.2) + 0.08 * bump(x, y, 0, 0.92, 0.36, 0.24)
    z += 0.09 * bump(x, y, 0, 1.3 * looks.length, 0.2, 0.12) - 0.05 * bump(x, y, 0, 1.14, 0.22, 0.05)
    z -= 0.018 * bump(x, y, 0, 0.78, 0.03, 0.07)
    fold = ax - np.interp(y, [0.5, 0.7, 1.0, 1.15], [0.22, 0.33, 0.46, 0.47])
    z -= (
        (0.008 + 0.035 * looks.age)
        * np.exp(-0.5 * (fold / 0.035) ** 2)
        * ramp(y, 0.5, 0.62)
        * ramp(y, 1.12, 0.95)
    )
    bag = y - 0.16 - 0.25 * (ax - EYE_X) ** 2
    z -= (
        (0.004 + 0.014 * looks.age)
        * np.exp(-0.5 * (bag / 0.025) ** 2)
        * bump(ax, y, EYE_X - 0.05, 0.15, 0.14, 0.2)
    )
    lines = np.sin(34 * (y + 0.06 * ax**2) + 0.3 * clouds(rng, x.shape, 60)) * bump(x, y, 0, -0.62, 0.5, 0.16)
    z += 0.005 * looks.age * lines
    s = seam(x, looks)
    inside = np.clip(1 - (x / (looks.mouth * 1.03)) ** 2, 0, 1)
    z += 0.05 * inside * np.exp(-0.5 * ((y - s + 0.05 * looks.lips) / 0.035) ** 2)
    z += 0.07 * inside * np.exp(-0.5 * ((y - s - 0.07 * looks.lips) / 0.05) ** 2)
    z -= 0.04 * inside**0.5 * np.exp(-0.5 * ((y - s) / 0.014) ** 2)
    z += 0.0006 * clouds(rng, x.shape, 4, 2) * (1 + looks.age)
    return np.where(ax < w, z, 0).astype(np.float32)


def light_up(
    z: Image, albedo: Image, looks: Looks, turn: float, gloss: NDArray, scale: float = PER_UNIT
) -> Image:
    """Light a height map: a soft key light with a cast shadow, a fill, the sky, skin-like wrap and a little shine.

    turn: radians by which the head is turned to the right of the image; scale: pixels per head unit.
    Returns linear RGB.
    """
    dx, dy = cv2.Sobel(z, -1, 1, 0, scale=scale / 8), cv2.Sobel(z, -1, 0, 1, scale=scale / 8)
    normal = np.dstack([-dx, -dy, np.ones_like(z)])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    azimuth, elevation = looks.light[0] - turn, looks.light[1]
    key = np.array(
        [np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    )
    shade = np.zeros_like(z)
    smooth_z = blur(z, 1.5)
    for k in range(1, 13):
        reach = 0.035 * k
        move = np.array([[1, 0, key[0] * reach * scale], [0, 1, key[1] * reach * scale]], np.float32)
        ahead = cv2.warpAffine(smooth_z, move, z.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        shade = np.maximum(shade, np.clip((ahead - smooth_z - key[2] * reach) / (0.02 + 0.12 * reach), 0, 1))
    lit = 1 - 0.75 * blur(shade, 3.5)
    hollow = np.exp(-2.2 * np.clip(blur(z, 9) - z, 0, 1)) * np.exp(-1.0 * np.clip(blur(z, 24) - z, 0, 1))
    facing = normal @ key
    out = np.zeros((*z.shape, 3), np.float32)
    fill = normal @ np.array([-np.sin(azimuth) * 0.8, -0.1, 0.6])
    sky = 0.62 - 0.38 * normal[..., 1]
    for c, wrap in enumerate((0.42, 0.26, 0.2)):  # red light travels furthest in skin
        direct = np.clip((facing + wrap) / (1 + wrap), 0, 1) ** 1.25 * lit ** (0.7 if c == 0 else 1.0)
        tint = 1 + looks.warmth * (1 - c)
        ambient = (
            (1 - looks.contrast)
            * (0.5 * np.clip(fill, 0, 1) + 0.5 * sky)
            * (1 - looks.warmth * (1 - c) * 0.5)
        )
        out[..., c] = (
            albedo[..., c] * (1.05 * direct * tint + 0.75 * ambient * hollow) * (0.55 + 0.45 * hollow)
        )
    half = key + np.array([0, 0, 1.0])
    shine = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1)
    shine = (0.05 * shine**9 + 0.09 * shine**38) * lit * gloss
    return out + shine[..., None].astype(np.float32)


def paint_skin(x: Image, y: Image, looks: Looks, rng: np.random.Generator) -> tuple[Image, Image]:
    """Albedo (linear RGB) and shine of the face with closed eyes and lips, brows and beard included."""
    ax = np.abs(x)
    shape = x.shape
    red = (
        bump(ax, y, 0.55, 0.45, 0.24, 0.2)
        + 0.9 * bump(x, y, 0, 0.55, 0.16, 0.12)
        + 0.4 * bump(x, y, 0, 1.3, 0.2, 0.15)
    )
    red = 0.8 * red + 0.12 * clouds(rng, shape, 30) + 0.07 * clouds(rng, shape, 6)
    albedo = looks.skin * (1 + red[..., None] * np.array([0.03, -0.13, -0.11]))
    albedo *= (1 + 0.03 * clouds(rng, shape, 40) + 0.022 * clouds(rng, shape, 3, 2))[..., None]
    dark = bump(ax, y, EYE_X - 0.08, 0.13, 0.17, 0.07) + 0.8 * bump(ax, y, EYE_X - 0.05, -0.08, 0.2, 0.09)
    albedo *= 1 - dark[..., None] * np.array([0.16, 0.2, 0.16])
    freckles = (
        ramp(clouds(rng, shape, 5, 1), 2.0, 3.0) * bump(ax, y, 0.4, 0.35, 0.35, 0.25) * rng.choice([0, 0.3])
    )
    for _ in range(int(rng.integers(0, 4))):
        freckles += 0.7 * bump(x, y, rng.uniform(-0.8, 0.8), rng.uniform(-0.6, 1.1), 0.016, 0.016)
    albedo *= 1 - freckles[..., None] * np.array([0.5, 0.65, 0.7])
    albedo *= 1 - 0.55 * bump(ax, y, EYE_X, -0.135, 0.15, 0.012)[..., None]  # the crease of the upper lid
    nostril = ramp(((ax - 0.09 * looks.nose) / 0.055) ** 2 + ((y - 0.65) / 0.026) ** 2, 1.5, 0.3)
    albedo *= 1 - 0.88 * nostril[..., None]

    s = seam(x, looks)
    inside = np.clip(1 - (x / looks.mouth) ** 2, 0, 1)
    bow = 0.095 * looks.lips * inside**0.75 * (1 - 0.22 * np.exp(-0.5 * (x / 0.045) ** 2))
    lower = 0.135 * looks.lips * inside**0.8
    lip = (
        ramp(y, s + lower + 0.02, s + lower - 0.02) * ramp(y, s - bow - 0.016, s - bow + 0.016) * (inside > 0)
    )
    rouge = (
        np.array([1.0, 0.5, 0.5]) if looks.feminine and rng.random() < 0.6 else np.array([0.92, 0.64, 0.62])
    )
    creases = 1 + 0.06 * clouds(rng, (4, shape[1]), 3, 2)[:1]
    lip_colour = looks.skin * rouge * creases[..., None]
    albedo = albedo * (1 - lip[..., None]) + lip_colour * lip[..., None]
    line = np.exp(-0.5 * ((y - s) / 0.012) ** 2) * ramp(ax, looks.mouth * 1.02, looks.mouth * 0.9)
    albedo *= 1 - 0.75 * line[..., None]

    strands = clouds(rng, shape, 3, 2)
    arch = -0.265 - 0.05 * np.sin(np.clip((ax - 0.16) / 0.55, 0, 1) * 2.6) + 0.05 * ramp(ax, 0.55, 0.75)
    thick = 0.042 * looks.brow * ramp(ax, 0.72, 0.3)
    brow = (
        np.exp(-0.5 * ((y - arch + 0.01 * strands) / np.maximum(thick, 0.006)) ** 2)
        * ramp(ax, 0.13, 0.2)
        * ramp(ax, 0.74, 0.6)
    )
    brow = np.clip(brow * (0.85 + 0.25 * strands), 0, 1) * 0.9
    region = ramp(y, 0.62 + 0.25 * ramp(ax, 0.8, 0.3), 0.98) * (1 - 0.85 * bump(x, y, 0, 1.07, 0.12, 0.05))
    region = np.maximum(region, 0.95 * bump(x, y, 0, 0.81, 0.24, 0.04) ** 0.7) + ramp(ax, 0.8, 0.92) * ramp(
        y, 0.1, 0.5
    )
    beard = np.clip(region, 0, 1) * (1 - lip) * (1 - ramp(y, 0.8, 0.6) * ramp(ax, 0.8, 0.7))
    cover = np.clip(brow + beard * looks.beard * np.clip(0.93 + 0.12 * strands, 0, 1), 0, 0.95)[..., None]
    albedo = (
        albedo * (1 - cover) + np.minimum(looks.hair * 0.8, 0.2) * (0.9 + 0.25 * strands[..., None]) * cover
    )
    oil = 0.55 + 0.6 * bump(x, y, 0, -0.6, 0.45, 0.25) + 0.7 * bump(x, y, 0, 0.4, 0.1, 0.25) + 0.9 * lip
    return np.clip(albedo, 0.004, 1).astype(np.float32), (oil * (1 - cover[..., 0])).astype(np.float32)
