"""Moving pictures: head motion, blinks and gaze, and the frames of a portrait that speaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from talking_head.looks import EYE_HALF, EYE_X, SIZE, Image, canvas_pixels, ramp, seam
from talking_head.scenery import Portrait

FPS = 25
DELIVERED = 256
NECK = 1.5  # the head rolls about a point this far below the eyes, head units


@dataclass(frozen=True)
class Motion:
    """What moves, one value per frame: angles in radians, shifts in head units, lids and lips 0 (closed) to 1."""

    yaw: Image
    pitch: Image
    roll: Image
    shift: Image  # (N, 2)
    lids: Image
    gaze: Image  # (N, 2), in half widths of the eye
    brows: Image
    opening: Image
    spread: Image


def drift(rng: np.random.Generator, n: int, slowest_s: float, fastest_s: float) -> Image:
    """A smooth aimless movement of about -1 to 1."""
    t = np.arange(n) / FPS
    out = np.zeros(n)
    for _ in range(5):
        out += rng.normal() * np.sin(2 * np.pi * t / rng.uniform(fastest_s, slowest_s) + rng.uniform(0, 6.28))
    return (out / 2.2).astype(np.float32)


def move(opening: Image, spread: Image, rng: np.random.Generator) -> Motion:
    """Movements for a clip whose lips are given: the head sways, nods with the voice, blinks and looks about."""
    n = len(opening)
    stress = np.convolve(np.pad(opening, 4, mode="edge"), np.hanning(11)[1:-1] / 5, "valid")[:n]
    lids = np.ones(n)
    at = int(rng.integers(5, 60))
    while at < n:
        for k, value in enumerate((0.45, 0.0, 0.1, 0.5, 0.85)):
            if at + k < n:
                lids[at + k] = value
        at += int(rng.uniform(1.5, 5) * FPS)
    gaze = np.zeros((n, 2))
    at = 0
    while at < n:
        until = at + int(rng.uniform(0.4, 2.0) * FPS)
        gaze[at:until] = rng.normal(0, (0.09, 0.04))
        at = until
    yaw = rng.uniform(-0.1, 0.1) + rng.uniform(0.03, 0.1) * drift(rng, n, 5, 1.5)
    pitch = rng.uniform(-0.05, 0.05) + rng.uniform(0.02, 0.05) * drift(rng, n, 4, 1.0) + 0.03 * (stress - 0.4)
    return Motion(
        yaw=np.clip(yaw, -0.24, 0.24).astype(np.float32),
        pitch=np.clip(pitch, -0.14, 0.14).astype(np.float32),
        roll=(rng.uniform(-0.03, 0.03) + rng.uniform(0.01, 0.05) * drift(rng, n, 6, 2)).astype(np.float32),
        shift=np.stack([0.05 * drift(rng, n, 6, 2), 0.03 * drift(rng, n, 5, 1.5)], axis=1),
        lids=lids.astype(np.float32),
        gaze=(gaze - np.stack([0.6 * yaw, -0.4 * pitch], axis=1)).astype(np.float32),
        brows=np.clip(0.5 * drift(rng, n, 3, 0.8) + 0.5 * (stress - 0.5), -0.5, 1).astype(np.float32),
        opening=opening,
        spread=spread,
    )


def blend(below: Image, above: Image) -> None:
    """Lay an RGBA layer over an RGB picture, in place."""
    alpha = above[..., 3:]
    below += (above[..., :3] - below) * alpha


def sample(layer: Image, x: Image, y: Image) -> Image:
    """Look a canvas layer up at head coordinates; nothing outside."""
    px, py = canvas_pixels(x, y)
    return cv2.remap(
        layer, px, py, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0, 0)
    )


def paint_eyes(
    picture: Image, x: Image, y: Image, face: Portrait, lids: float, gaze: NDArray, light: float
) -> None:
    """Paint the eyeballs between the lids, and the lashes, at face coordinates x, y, in place."""
    looks = face.looks
    pixel = 1.2 / looks.unit
    for side in (-1, 1):
        e = (x - side * EYE_X) * side / EYE_HALF  # -1 at the inner corner, 1 at the outer
        rows, cols = np.nonzero((np.abs(e) < 1.35) & (np.abs(y) < 0.24))
        if len(rows) == 0:
            continue
        box = np.s_[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
        e, v = e[box], y[box] + 0.02 * e[box]
        arch = np.clip(1 - e**2, 0, 1)
        rest = 0.3 * looks.eye * EYE_HALF * arch**0.8
        upper = rest - (rest + looks.eye * EYE_HALF * arch**0.6 * (1 - 0.12 * e)) * lids
        gap = np.minimum(v - upper, rest - v)
        white = np.clip(0.5 + gap / pixel, 0, 1) * (np.abs(e) < 1)
        ball = np.hypot(e * EYE_HALF - gaze[0] * EYE_HALF * side, v - gaze[1] * EYE_HALF + 0.012)
        radius = 0.098
        shade = (0.62 + 0.38 * ramp(v - upper, 0.0, 0.09)) * (1 - 0.28 * np.abs(e) ** 3) * light
        colour = np.array([214, 205, 198], np.float32) * shade[..., None]
        colour += np.array([20, -8, -8]) * bump_corner(e)[..., None]
        ray = 0.82 + 0.5 * ramp(ball, 0.02, radius) - 0.55 * ramp(ball, radius * 0.78, radius)
        iris = np.clip(0.5 + (radius - ball) / pixel, 0, 1)[..., None]
        colour += (looks.iris * (ray * (0.55 + 0.45 * shade))[..., None] - colour) * iris
        colour += (12 - colour) * np.clip(0.5 + (0.04 - ball) / pixel, 0, 1)[..., None]
        gx, gy = gaze[0] * EYE_HALF + 0.035 * np.sign(looks.light[0]), gaze[1] * EYE_HALF - 0.045
        glint = np.clip(1.3 - np.hypot(e * EYE_HALF * side - gx, v - gy) / 0.02, 0, 1)[..., None]
        colour += (245 * light - colour) * glint * 0.9
        patch = picture[box]
        patch += (colour - patch) * white[..., None]
        thick = (0.016 + 0.016 * (e + 1) / 2) * (1.35 if looks.feminine else 0.9)
        lash = np.exp(-0.5 * ((v - upper + 0.004) / thick) ** 2) * ramp(np.abs(e), 1.12, 0.95)
        lash = np.maximum(lash, 0.35 * np.exp(-0.5 * ((v - rest) / 0.012) ** 2) * ramp(np.abs(e), 1.05, 0.8))
        patch += (np.array([24, 17, 15]) - patch) * (0.85 * lash)[..., None]


def bump_corner(e: Image) -> Image:
    """The pink corner of the eye, towards the nose."""
    return ramp(e, -0.7, -0.95)


def paint_mouth(
    picture: Image, x: Image, y: Image, upper: Image, lower: Image, face: Portrait, jaw: float, light: float
) -> None:
    """Paint the inside of the mouth between the lips' edges (heights `upper` and `lower`), in place."""
    pixel = 1.2 / face.looks.unit
    hole = np.clip(0.5 + np.minimum(y - upper, lower - y) / pixel, 0, 1) * (lower - upper > 0.004)
    if not hole.any():
        return
    rows, cols = np.nonzero(hole)
    box = np.s_[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
    x, y, upper, lower, hole = x[box], y[box], upper[box], lower[box], hole[box]
    reach = np.clip(1 - (x / (face.looks.mouth * 0.92)) ** 2, 0, 1)
    colour = np.array([52, 20, 20], np.float32) * (0.35 + 0.65 * reach)[..., None]
    tongue = ramp((x / 0.2) ** 2 + ((y - lower - 0.01) / (0.05 + 0.35 * jaw)) ** 2, 1.1, 0.4)
    colour = colour + (np.array([150, 74, 74]) * light * 0.8 - colour) * tongue[..., None] * 0.8
    line = 0.94 + 0.018 * (x / 0.3) ** 2  # the upper teeth keep still, the lower ones follow the jaw
    gaps = 1 - 0.35 * np.exp(-0.5 * ((np.abs(np.mod(x / 0.085, 1) - 0.5) - 0.5) / 0.07) ** 2)
    low = line + 0.9 * jaw
    for rows_of_teeth in (ramp(y, line + 0.045, line + 0.03), ramp(y, low + 0.03, low + 0.05)):
        bright = light * gaps * (0.3 + 0.7 * reach) * (0.62 + 0.38 * ramp(y - upper, 0, 0.06))
        cover = rows_of_teeth * ramp(np.abs(x), 0.31, 0.24)
        colour = colour + (np.array([226, 216, 202]) * bright[..., None] - colour) * cover[..., None]
    colour *= (0.45 + 0.55 * ramp(np.minimum(y - upper, lower - y), -0.01, 0.04))[..., None]
    patch = picture[box]
    patch += (colour - patch) * hole[..., None]


def render(face: Portrait, motion: Motion, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """The frames of a clip, (256, 256, 3) uint8 RGB each."""
    looks = face.looks
    px, py = np.meshgrid(np.arange(SIZE, dtype=np.float32), np.arange(SIZE, dtype=np.float32))
    gx, gy = (px - looks.centre[0]) / looks.unit, (py - looks.centre[1]) / looks.unit
    light = 0.55 + 0.45 * np.clip(1 - looks.contrast * 0.5 + 0.2 * np.cos(looks.light[0]), 0, 1)
    grain = np.float32(rng.uniform(1.0, 3.2))
    white = (rng.uniform(0.9, 1.06) * (1 + rng.normal(0, [0.02, 0.0, 0.03]))).astype(np.float32)
    reach = 1.65 * looks.unit  # nothing of the head lies further out to the sides than this
    box = np.s_[:, max(0, int(looks.centre[0] - reach)) : int(looks.centre[0] + reach)]
    gx, gy = gx[box], gy[box]
    for k in range(len(motion.yaw)):
        yaw, pitch, roll = float(motion.yaw[k]), float(motion.pitch[k]), float(motion.roll[k])
        right, down = float(motion.shift[k, 0]), float(motion.shift[k, 1])
        hx, hy = gx - right, gy - down - NECK
        hx, hy = hx * cos(roll) + hy * sin(roll), hy * cos(roll) - hx * sin(roll) + NECK

        def unturn(z: Image | float, hx: Image, hy: Image, yaw: float, pitch: float) -> tuple[Image, Image]:
            x = (hx - z * sin(yaw)) / cos(yaw)
            return x, (hy - 0.3 + (z * cos(yaw) - x * sin(yaw)) * sin(pitch)) / cos(pitch) + 0.3

        pose = (hx, hy, yaw, pitch)
        x, y = unturn(0.5, *pose)
        for _ in range(4):  # find the point of the surface that is seen here
            x, y = unturn(sample(face.height, x, y) - 0.35, *pose)

        opening, spread = float(motion.opening[k]), float(motion.spread[k])
        wide = 1 + 0.1 * spread * (0.3 + opening) - 0.06 * opening
        near = np.exp(-0.5 * ((x / 0.5) ** 2 + ((y - 0.95) / 0.3) ** 2))
        mx = x * (1 + (1 / wide - 1) * near)
        s = seam(mx, looks)
        arch = np.clip(1 - (mx / (looks.mouth * 0.94)) ** 2, 0, 1) ** (0.75 + 0.25 * spread)
        lift, drop, jaw = 0.035 * opening * arch, 0.2 * opening * arch, 0.13 * opening
        above, below = y - (s - lift), y - (s + drop)
        hold = np.exp(-np.clip(below, 0, 9) / 0.13)
        follow = jaw * ramp(below, -0.05, 0.3) * ramp(np.abs(x), 1.2, 0.75)
        upper_lip = -lift * np.exp(-np.clip(-above, 0, 9) / 0.12)
        lower_lip = drop * hold + follow * (1 - hold)
        stretch = np.where(below > 0, lower_lip, np.where(above < 0, upper_lip, 0))
        frown = 0.05 * float(motion.brows[k]) * np.exp(-0.5 * (((y + 0.3) / 0.14) ** 2))

        turned = min(max(0.5 + yaw / 0.4, 0.0), 1.0)
        skin = cv2.addWeighted(face.skin[0], 1 - turned, face.skin[1], turned, 0)
        picture = face.room.copy()
        head = picture[box]
        blend(head, sample(face.back, *unturn(-0.5, *pose)))
        sway = np.array([[1, 0, 0.35 * right * looks.unit], [0, 1, 0.5 * down * looks.unit]])
        blend(picture, cv2.warpAffine(face.body, sway, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE))
        blend(head, sample(skin, mx, y - stretch + frown))
        paint_eyes(head, x, y, face, float(motion.lids[k]), motion.gaze[k], light)
        paint_mouth(head, mx, y, s - lift, s + drop, face, jaw, light)
        blend(head, sample(face.front, x, y))

        small = cv2.resize(picture, (DELIVERED, DELIVERED), interpolation=cv2.INTER_AREA)
        noise = rng.standard_normal((DELIVERED, DELIVERED, 3), np.float32) * grain
        noise = 0.6 * noise + 0.8 * cv2.blur(noise, (2, 2))
        yield np.clip(small * white + noise, 0, 255).astype(np.uint8)
