"""The looks of one invented person, drawn from a seed, and the brushes that every layer is painted with.

The head is painted once, from the front, on a canvas in head units: 1 is half the width of the face, x to the right,
y down, the eyes at y = 0, the chin near y = 1.45. A height map beside it lets frames turn the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.floating[Any]]

PER_UNIT = 96  # canvas pixels per head unit
LEFT, RIGHT, TOP, BOTTOM = -1.8, 1.8, -2.1, 2.9
SIZE = 384  # rendered at 1.5 times the delivered size, for clean edges

EYE_X, EYE_HALF = 0.42, 0.205
SKIN = np.array(  # linear-light RGB, from pale to dark
    [[0.80, 0.54, 0.43], [0.70, 0.44, 0.31], [0.53, 0.29, 0.18], [0.32, 0.155, 0.09], [0.14, 0.06, 0.035]]
)
HAIR = np.array(  # black, brown, chestnut, blond, red, grey
    [
        [0.012, 0.010, 0.009],
        [0.045, 0.024, 0.014],
        [0.12, 0.06, 0.03],
        [0.33, 0.20, 0.09],
        [0.25, 0.08, 0.03],
        [0.34, 0.33, 0.32],
    ]
)
IRIS = np.array([[70, 44, 28], [96, 66, 38], [88, 104, 70], [86, 116, 138], [110, 128, 140]], np.float32)


def ramp(value: NDArray, low: float | NDArray, high: float | NDArray) -> Image:
    """Smooth step from 0 at `low` to 1 at `high`; the other way round when low > high."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def bump(x: NDArray, y: NDArray, cx: float, cy: float, sx: float, sy: float) -> Image:
    """A Gaussian hill of height 1."""
    return np.exp(-0.5 * (((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2)).astype(np.float32)


def blur(image: NDArray, sigma: float) -> Image:
    """Gaussian blur, sigma in pixels."""
    return cv2.GaussianBlur(np.asarray(image, np.float32), (0, 0), sigma)


def clouds(rng: np.random.Generator, shape: tuple[int, int], cell: float, octaves: int = 3) -> Image:
    """Smooth noise with features of about `cell` pixels and finer, mean 0, standard deviation 1."""
    out = np.zeros(shape, np.float32)
    for k in range(octaves):
        step = max(cell / 2**k, 1.0)
        small = rng.standard_normal((int(shape[0] / step) + 2, int(shape[1] / step) + 2)).astype(np.float32)
        out += cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC) * 0.6**k
    return (out - out.mean()) / max(float(out.std()), 1e-6)


def over(below: NDArray, colour: NDArray, cover: NDArray) -> Image:
    """Paint a colour over an image where `cover` (0 to 1) says so."""
    cover = cover[..., None]
    return (below * (1 - cover) + colour * cover).astype(np.float32)


def to_display(linear: NDArray) -> Image:
    """Linear light as display values, 0 to 255."""
    return (255 * np.clip(linear, 0, 1) ** (1 / 2.2)).astype(np.float32)


@dataclass(frozen=True)
class Looks:
    """The parameters of one person's appearance; lengths in head units, colours linear unless said otherwise."""

    feminine: bool
    skin: NDArray
    hair: NDArray
    iris: NDArray  # display values
    style: str  # short, parted, fringe, long, bun, bald
    beard: float  # 0 none, to 1 full
    age: float  # 0 young, to 1 old
    glasses: bool
    jaw: float
    length: float
    nose: float
    lips: float
    mouth: float  # half width
    brow: float
    eye: float  # height of the open eye against its half width
    light: tuple[float, float]  # azimuth, elevation of the key light, radians
    contrast: float
    warmth: float
    unit: float  # pixels of the rendered frame per head unit
    centre: tuple[float, float]  # where the point between the eyes rests, rendered pixels


def random_looks(rng: np.random.Generator) -> Looks:
    """Draw a person."""
    feminine = bool(rng.random() < 0.5)
    tone = float(rng.uniform(0, len(SKIN) - 1))
    skin = np.array([np.interp(tone, range(len(SKIN)), SKIN[:, c]) for c in range(3)])
    age = float(rng.random() ** 1.5)
    dark_only = tone > 2.2
    colour = 5 if rng.random() < age * 0.5 else int(rng.integers(0, 2 if dark_only else 5))
    styles = ["long", "long", "bun", "fringe", "parted"] if feminine else ["short", "short", "parted", "bald"]
    return Looks(
        feminine=feminine,
        skin=skin * rng.uniform(0.93, 1.05, 3),
        hair=HAIR[colour] * rng.uniform(0.75, 1.25),
        iris=IRIS[int(rng.integers(0, 2 if dark_only else 5))] * rng.uniform(0.85, 1.1),
        style=str(rng.choice(styles)),
        beard=0.0 if feminine else float(rng.choice([0.0, 0.12, 0.3, 0.85], p=[0.35, 0.3, 0.15, 0.2])),
        age=age,
        glasses=bool(rng.random() < 0.22),
        jaw=float(rng.uniform(-0.07, 0.0) if feminine else rng.uniform(-0.02, 0.07)),
        length=float(rng.uniform(0.95, 1.06)),
        nose=float(rng.uniform(0.82, 1.2)),
        lips=float(rng.uniform(0.95, 1.35) if feminine else rng.uniform(0.65, 1.05)),
        mouth=float(rng.uniform(0.31, 0.39)),
        brow=float(rng.uniform(0.6, 0.9) if feminine else rng.uniform(0.9, 1.4)),
        eye=float(rng.uniform(0.50, 0.66)),
        light=(float(rng.uniform(-0.9, 0.9)), float(rng.uniform(0.15, 0.75))),
        contrast=float(rng.uniform(0.35, 0.8)),
        warmth=float(rng.uniform(-0.08, 0.1)),
        unit=float(rng.uniform(0.185, 0.215)) * SIZE,
        centre=(SIZE * float(rng.uniform(0.47, 0.53)), SIZE * float(rng.uniform(0.41, 0.46))),
    )


def seam(x: NDArray, looks: Looks) -> Image:
    """Height y of the line where the lips meet."""
    return (0.95 - 0.01 * (x / looks.mouth) ** 2 + 0.01 * np.cos(9 * x)).astype(np.float32)


def canvas() -> tuple[Image, Image]:
    """x and y of every canvas pixel, head units."""
    xs = np.arange(LEFT, RIGHT, 1 / PER_UNIT, dtype=np.float32)
    ys = np.arange(TOP, BOTTOM, 1 / PER_UNIT, dtype=np.float32)
    x, y = np.meshgrid(xs, ys)
    return x, y


def half_width(y: NDArray, looks: Looks, grow: float = 0.0) -> Image:
    """Half the width of the head at height y, negative above the crown and below the chin."""
    line = np.arange(TOP, BOTTOM, 0.01)
    ys = np.array(
        [-1.45, -1.43, -1.36, -1.24, -1.05, -0.8, -0.45, 0, 0.4, 0.75, 1.0, 1.2, 1.33, 1.4, 1.44, 1.46]
    )
    ws = np.array(
        [0.0, 0.2, 0.42, 0.62, 0.8, 0.93, 0.985, 0.975, 0.93, 0.83, 0.7, 0.54, 0.4, 0.29, 0.19, 0.0]
    )
    ws = ws + looks.jaw * np.exp(-0.5 * ((ys - 1.05) / 0.25) ** 2) * (ws > 0)
    ys = np.where(ys > 0, ys * looks.length, ys) + np.sign(ys) * grow * (np.abs(ys) > 1.2)
    widths = np.interp(line, ys, ws + grow * np.clip(2 * ws, 0, 1), left=-0.1, right=-0.1)
    widths = np.convolve(np.pad(widths, 4, mode="edge"), np.ones(9) / 9, "valid")
    return np.interp(y, line, widths).astype(np.float32)


def canvas_pixels(x: NDArray, y: NDArray) -> tuple[Image, Image]:
    """Head units as canvas pixels, for cv2.remap."""
    return ((x - LEFT) * PER_UNIT).astype(np.float32), ((y - TOP) * PER_UNIT).astype(np.float32)
