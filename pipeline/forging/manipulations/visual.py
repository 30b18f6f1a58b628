"""Visual forgeries of a face, each named after the attack it imitates; all paint through one `Canvas`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.forging.manipulations.autoencoder import AREA, DECODERS, SIDE, redraw
from pipeline.forging.manipulations.blend import FACE, LIPS, LOWER_FACE, Canvas, Shape
from pipeline.forging.manipulations.geometry import Boxes, Frames, Region, fetch, fetch_bent, sharpen, upright

MIN_DONOR = 8
"""Fewest frames of another moment, or of another person, that a forgery takes a face from."""

MIN_LIKENESS = 0.2
"""Least correlation of two faces, seen small, that `swap_identity` takes for the same pose and light."""

MAX_BEND = 0.07
"""Farthest that `reenact_face` moves a pixel, in widths (heights) of the face box."""


@dataclass(frozen=True)
class FaceClip:
    """Another person's clip: frames (N, H, W, 3) and the face boxes (N, 4) in them."""

    frames: Frames
    boxes: Boxes


class VisualForgery(Protocol):
    """Forges `frames` (N, H, W, 3) uint8 inside `span`, given face `boxes` (N, 4) as x, y, width, height.

    `other` is a clip of another person, or None. Raises ValueError when the material is lacking.
    """

    __name__: str

    def __call__(
        self,
        frames: Frames,
        boxes: Boxes,
        span: tuple[int, int],
        rng: np.random.Generator,
        other: FaceClip | None = None,
    ) -> Frames: ...


def replace_lower_face(
    frames: Frames,
    boxes: Boxes,
    span: tuple[int, int],
    rng: np.random.Generator,
    other: FaceClip | None = None,
) -> Frames:
    """The mouth of another moment of the same person, as a lip-sync attack puts other words into it.

    Of a few moments the one is taken that fits best around the patch. It keeps its own motion. Raises ValueError
    when the clip holds no other moment of `MIN_DONOR` frames, or no face.
    """
    canvas = Canvas(frames, boxes, span, LOWER_FACE.drawn(rng), rng)
    drafts = [_moment(len(frames), span, rng) for _ in range(6)]
    picked = min(drafts, key=lambda moment: _misfit(canvas, frames, boxes, moment))
    patches = [
        fetch(frames[donor], boxes[donor], region.u, region.v)
        for donor, region in zip(picked, canvas.regions, strict=True)
    ]
    return canvas.paint(canvas.match_rim(patches))


def resynthesize_lower_face(
    frames: Frames,
    boxes: Boxes,
    span: tuple[int, int],
    rng: np.random.Generator,
    other: FaceClip | None = None,
) -> Frames:
    """The mouth as a generator of low resolution redraws it: less detail, other colour and sharpness, a faint flicker.

    Lip-sync generators draw the whole face at 96 px; here it has 48 to 96 px. Source: Prajwal et al., "A lip sync
    expert is all you need" (2020).
    """
    canvas = Canvas(frames, boxes, span, LOWER_FACE.drawn(rng), rng)
    side = int(rng.integers(48, 97))
    gain = rng.uniform(0.96, 1.04) * rng.uniform(0.975, 1.025, size=3)
    gain = gain * rng.normal(1, 0.006, size=(len(canvas.steps), 1))
    sharpness = rng.uniform(0.2, 1.2)
    patches = []
    for k, region, tint in zip(canvas.steps, canvas.regions, gain.astype(np.float32), strict=True):
        small, box = upright(frames[k], boxes[k], (0.0, 0.4, 1.0, 1.2), (round(0.8 * side), side))
        patches.append(sharpen(fetch(small, box, region.u, region.v), sharpness) * tint)
    return canvas.paint(patches)


def reenact_face(
    frames: Frames,
    boxes: Boxes,
    span: tuple[int, int],
    rng: np.random.Generator,
    other: FaceClip | None = None,
) -> Frames:
    """The face bent by a smooth field that moves on its own: jaw, lips and head, as expression transfer bends it.

    No pixel moves farther than `MAX_BEND`. Source: Siarohin et al., "First order motion model for image animation"
    (2019), whose generator warps by such a field and samples linearly.
    """
    canvas = Canvas(frames, boxes, span, FACE.drawn(rng), rng)
    n = len(canvas.steps)
    jaw = rng.uniform(0.035, 0.06) * _curve(n, (4, 9), rng)
    lips = rng.uniform(0.05, 0.15) * _curve(n, (5, 12), rng)
    turn = rng.uniform(0.0, 0.035) * _curve(n, (15, 40), rng)
    nod = rng.uniform(0.0, 0.02) * _curve(n, (15, 40), rng)
    patches = []
    for i, (k, region) in enumerate(zip(canvas.steps, canvas.regions, strict=True)):
        across, down = _bend(region, jaw[i], lips[i], turn[i], nod[i])
        bent = fetch_bent(frames[k], boxes[k], region.u[None, :] - across, region.v[:, None] - down)
        patches.append(bent)
    return canvas.paint(patches)


def self_blend_face(
    frames: Frames,
    boxes: Boxes,
    span: tuple[int, int],
    rng: np.random.Generator,
    other: FaceClip | None = None,
) -> Frames:
    """The face over itself, moved, tinted and sharpened or softened: only the traces that every face swap leaves.

    The whole face, its lower half, or the lips alone.
    Source: Shiohara and Yamasaki, "Detecting deepfakes with self-blended images" (2022); here one draw holds for the
    whole span, as a forger's pipeline would.
    """
    shape = _region(rng).drawn(rng, waviness=0.05)
    canvas = Canvas(frames, boxes, span, shape, rng)
    zoom, move = rng.uniform(0.95, 1.05, size=2), rng.uniform(-0.03, 0.03, size=2)
    swirl = rng.uniform(-0.012, 0.012, size=(5, 5, 2))
    turn = np.eye(3) * rng.uniform(0.9, 1.1) + rng.uniform(-0.03, 0.03, size=(3, 3))
    shift = rng.uniform(-6, 6) + rng.uniform(-5, 5, size=3)
    sharpness = rng.uniform(-0.9, 1.2)
    ratio = float(rng.choice([0.6, 0.8, 1.0, 1.0]))
    whole = np.array([0.0, 0.0, 5.0, 5.0])
    patches = []
    for k, region in zip(canvas.steps, canvas.regions, strict=True):
        bend = fetch(swirl, whole, region.u, region.v)
        u = 0.5 + (region.u[None, :] - 0.5) * zoom[0] + move[0] + bend[..., 0]
        v = 0.5 + (region.v[:, None] - 0.5) * zoom[1] + 0.5 * move[1] + bend[..., 1]
        copy = sharpen(fetch_bent(frames[k], boxes[k], u, v), sharpness)
        copy = 128 + (copy - 128) @ turn.astype(np.float32) + shift.astype(np.float32)
        patches.append(canvas.base(k) + np.float32(ratio) * (copy - canvas.base(k)))
    return canvas.paint(patches)


def swap_identity(
    frames: Frames,
    boxes: Boxes,
    span: tuple[int, int],
    rng: np.random.Generator,
    other: FaceClip | None = None,
) -> Frames:
    """The face of `other` in this one's place, in this one's tones, with its own motion, as a face swap puts it.

    Of a few moments, mirrored or not, the one is taken whose pose and light are most alike. Raises ValueError when
    `other` is None or shorter than `MIN_DONOR` frames, when no moment is at all alike, or without a face.
    """
    if other is None or len(other.frames) < MIN_DONOR:
        raise ValueError(f"no clip of another person of at least {MIN_DONOR} frames")
    canvas = Canvas(frames, boxes, span, FACE.drawn(rng), rng)
    n = len(canvas.steps)
    probes = sorted({0, n // 2, n - 1})
    here = [_look(frames[span[0] + i], boxes[span[0] + i]) for i in probes]
    likeness, walk, mirrored = -1.0, np.zeros(0, np.int64), False
    for _ in range(6):
        draft = _walk(0, len(other.frames), n, rng)
        there = [_look(other.frames[draft[i]], other.boxes[draft[i]]) for i in probes]
        for mirror in (False, True):
            alike = float(
                np.mean([(a * (b[:, ::-1] if mirror else b)).sum() for a, b in zip(here, there, strict=True)])
            )
            if alike > likeness:
                likeness, walk, mirrored = alike, draft, mirror
    if likeness < MIN_LIKENESS:
        raise ValueError(f"the other person never looks the same way (likeness {likeness:.2f})")
    patches = [
        fetch(other.frames[k], other.boxes[k], 1 - region.u if mirrored else region.u, region.v)
        for k, region in zip(walk, canvas.regions, strict=True)
    ]
    return canvas.paint(canvas.match_tones(patches))


def freeze_frames(
    frames: Frames,
    boxes: Boxes,
    span: tuple[int, int],
    rng: np.random.Generator,
    other: FaceClip | None = None,
) -> Frames:
    """One moment held, or two faded into each other, in the face or in the whole picture: a cut that hides words.

    Held or faded are the frames next to the span; a held face still follows the head. Raises ValueError when the
    span leaves no frame of the clip.
    """
    first, stop = span
    before, after = first - 1, stop
    if before < 0 and after >= len(frames):
        raise ValueError(f"span {span} leaves no frame of {len(frames)} to hold")
    before, after = (before if before >= 0 else after), (after if after < len(frames) else before)
    faded = np.linspace(0, 1, stop - first + 2)[1:-1] if rng.random() < 0.5 else np.zeros(stop - first)
    if rng.random() < 0.5:
        out = frames.copy()
        out[first:stop] = [
            np.clip((1 - share) * frames[before] + share * frames[after] + 0.5, 0, 255) for share in faded
        ]
        return out
    canvas = Canvas(frames, boxes, span, FACE.drawn(rng), rng)
    patches = []
    for share, region in zip(faded.astype(np.float32), canvas.regions, strict=True):
        start, end = (fetch(frames[k], boxes[k], region.u, region.v) for k in (before, after))
        patches.append(start + share * (end - start))
    return canvas.paint(canvas.match_rim(patches))


def autoencode_face(
    frames: Frames,
    boxes: Boxes,
    span: tuple[int, int],
    rng: np.random.Generator,
    other: FaceClip | None = None,
) -> Frames:
    """The face or its lower half as a small learned autoencoder redraws it, with the texture that its decoder leaves.

    One of three decoders of different make is drawn.
    The first face swaps were of this kind and size; see `pipeline.forging.manipulations.autoencoder`.
    """
    shape = (FACE if rng.random() < 0.6 else LOWER_FACE).drawn(rng)
    canvas = Canvas(frames, boxes, span, shape, rng)
    sharpness = rng.uniform(0.0, 1.0)
    decoder = DECODERS[int(rng.integers(len(DECODERS)))]
    views = [upright(frames[k], boxes[k], AREA, (SIDE, SIDE)) for k in canvas.steps]
    drawn = redraw(np.stack([view for view, _ in views]), decoder)
    patches = [
        sharpen(fetch(face, box, region.u, region.v), sharpness)
        for face, (_, box), region in zip(drawn, views, canvas.regions, strict=True)
    ]
    return canvas.paint(canvas.match_tones(patches))


def touch_up_face(
    frames: Frames,
    boxes: Boxes,
    span: tuple[int, int],
    rng: np.random.Generator,
    other: FaceClip | None = None,
) -> Frames:
    """A sham: the same masks, ramps, resampling and colour matching as the forgeries, but the content that was there.

    Authentic clips get it, so that traces of blending alone are no evidence.
    """
    shape = (FACE if rng.random() < 0.6 else LOWER_FACE).drawn(rng)
    canvas = Canvas(frames, boxes, span, shape, rng)
    oversize, nudge = rng.uniform(1.0, 1.3), rng.uniform(-0.5, 0.5, size=2)
    bounds = shape.bounds()
    patches = []
    for k, region in zip(canvas.steps, canvas.regions, strict=True):
        moved = boxes[k] + [*nudge, 0, 0]
        extent = oversize * moved[[3, 2]] * [bounds[3] - bounds[1], bounds[2] - bounds[0]]
        view, box = upright(frames[k], moved, bounds, (round(extent[0]), round(extent[1])))
        back = nudge / moved[2:]
        patches.append(fetch(view, box, region.u - back[0], region.v - back[1]))
    matched = canvas.match_tones(patches) if rng.random() < 0.5 else canvas.match_rim(patches)
    return canvas.paint(matched)


def _region(rng: np.random.Generator) -> Shape:
    return (FACE, LOWER_FACE, LIPS)[int(rng.choice(3, p=(0.4, 0.35, 0.25)))]


def _walk(low: int, high: int, length: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Back and forth through frames low..high-1 from a drawn start, so that motion never jumps."""
    there_and_back = np.concatenate([np.arange(low, high), np.arange(high - 2, low, -1)])
    return there_and_back[(int(rng.integers(high - low)) + np.arange(length)) % len(there_and_back)]


def _moment(n: int, span: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int64]:
    # A donor close to the span would show nearly the same mouth, hence nothing forged.
    margin = 5
    sides = [(0, span[0] - margin), (span[1] + margin, n)]
    usable = [(low, high) for low, high in sides if high - low >= MIN_DONOR]
    if not usable:
        raise ValueError(f"no other moment of {MIN_DONOR} frames outside {span} in a clip of {n}")
    low, high = usable[int(rng.integers(len(usable)))]
    return _walk(low, high, span[1] - span[0], rng)


def _misfit(canvas: Canvas, frames: Frames, boxes: Boxes, moment: NDArray[np.int64]) -> float:
    """How far the rim of the patch would be from the picture, in three frames of the span."""
    total = 0.0
    for i in {0, len(moment) // 2, len(moment) - 1}:
        region, mask = canvas.regions[i], canvas.masks[i]
        patch = fetch(frames[moment[i]], boxes[moment[i]], region.u, region.v)
        gap = (patch - canvas.base(canvas.steps[i]))[(mask > 0.02) & (mask < 0.8)]
        total += float(np.abs(gap - gap.mean(axis=0)).mean())
    return total


def _look(frame: Frames, box: NDArray[np.float64]) -> NDArray[np.float32]:
    """The face as 20 x 20 luma of mean 0 and norm 1: its pose and light, too small for who it is."""
    small = upright(frame, box, (0.1, 0.1, 0.9, 1.05), (20, 20))[0].mean(axis=2)
    centred = small - small.mean()
    return centred / max(float(np.linalg.norm(centred)), 1e-3)


def _curve(n: int, period: tuple[float, float], rng: np.random.Generator) -> NDArray[np.float64]:
    """A smooth course (n,) that peaks at 1 or -1: three waves whose periods, in frames, are drawn from `period`."""
    periods, phases = rng.uniform(*period, size=(3, 1)), rng.uniform(0, 2 * np.pi, size=(3, 1))
    course = np.sin(2 * np.pi * np.arange(n) / periods + phases).sum(axis=0)
    return course / np.abs(course).max()


def _bend(
    region: Region, jaw: float, lips: float, turn: float, nod: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far (h, w) the picture moves across and down, in units of the face box.

    The jaw takes the lower lip with it and leaves the upper lip; lips widen about their middle; a turn moves the
    nose most, since it is nearest.
    """
    u, v = region.u[None, :], region.v[:, None]
    side = np.exp(-np.square((u - 0.5) / 0.24))
    falls = np.clip((v - 0.74) / 0.12, 0, 1) * np.clip((1.12 - v) / 0.16, 0, 1)
    mouth = side * np.exp(-np.square((v - 0.8) / 0.12))
    depth = np.clip(1 - np.square((u - 0.5) / 0.42) - np.square((v - 0.56) / 0.5), 0, None)
    across = lips * (u - 0.5) * mouth + turn * depth
    return np.clip(across, -MAX_BEND, MAX_BEND), np.clip(
        jaw * side * falls + nod * depth, -MAX_BEND, MAX_BEND
    )
