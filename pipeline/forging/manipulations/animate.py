"""A talking head out of one frame: the picture bent so that its face follows the face of every other frame."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from extractors.compact.landmarks import EYES, POINTS, Face, FaceFinder
from pipeline.forging.manipulations.autoencoder import AREA, DECODERS, SIDE, redraw
from pipeline.forging.manipulations.blend import Canvas, Shape, ramp
from pipeline.forging.manipulations.geometry import Boxes, Frames, Patch, fetch, sharpen, upright
from pipeline.forging.manipulations.visual import FaceClip

Points = NDArray[np.float64]

MIN_FACES = 0.8
"""Share of the frames in which the mesh of the face must be found."""

_SURE = 0.5  # of a mesh, under which the face is looked for again
_LOOK = 2.0  # side of the picture that the face is looked for in, over the side of its box
_EYES_SIDE = 48, 16  # pixels of the picture of both eyes that tells a blink
_GRID = 8  # pixels between the places whose motion is worked out; linear in between
_REACH = 0.22  # width of the bell about each point, in widths of the face
_LOOSE = 0.15  # how much less than fully the points are followed: a mesh trembles
_HEAD = 0.9  # distance from its middle, in widths of the face, within which all moves as the head does
_STILL = 2.2  # distance beyond which only this share of the head's motion is left:
_DRIFT = 0.06
_MOUTH = Shape((0.5, 0.83), (0.27, 0.19))  # lips and chin, whose motion no bending makes
_SEEN = (0.0, 0.4, 1.0, 1.2)  # of the face box: what is drawn smaller for the mouth

# Of the mesh: the outline, both eyes with their lids, brows, nose, corners and rims of the mouth, cheeks.
_OUTLINE = (10, 297, 284, 389, 454, 361, 397, 379, 400, 152, 176, 150, 172, 132, 234, 162, 54, 67)
_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_REST = (70, 105, 107, 336, 334, 300, 168, 6, 4, 98, 327, 2, 61, 291, 0, 17, 50, 280, 205, 425)
_CONTROL = np.array([*_OUTLINE, *_EYES, *_REST])


def animate_still(
    frames: Frames,
    boxes: Boxes,
    span: tuple[int, int],
    rng: np.random.Generator,
    other: FaceClip | None = None,
) -> Frames:
    """One frame of the span in place of all, bent so that its face moves as the real one does; the mouth is redrawn.

    Imitates talking heads that are generated from a single picture: what is not the face hardly moves, its grain is
    frozen, the mouth comes out of a small decoder, and the picture may be as smooth as that of a generator. Raises
    ValueError where the mesh of a face is found in less than `MIN_FACES` of the span.
    Source: Siarohin et al., "First order motion model for image animation" (2019).
    """
    first, stop = span
    meshes = _meshes(frames[first:stop], boxes[first:stop])
    # As whoever chooses a picture to animate: the face not turned away, the eyes open.
    usual = np.argsort(_oddness(frames[first:stop], meshes), kind="stable")
    still = int(rng.choice(usual[: max(1, len(usual) // 3)]))
    out = frames.copy()
    for k, mesh in enumerate(meshes, start=first):
        out[k] = _bent(frames[first + still], meshes[still], mesh)
    canvas = Canvas(out, boxes, span, _MOUTH.drawn(rng), rng)
    out = canvas.paint(canvas.match_rim(_mouths(frames, boxes, canvas, rng)))
    _finish(out[first:stop], rng)
    rise, fall = (1 if first == 0 else 2), (1 if stop == len(frames) else 2)
    for k, strength in zip(range(*span), ramp(stop - first, rise, fall), strict=True):
        if strength < 1:
            out[k] = cv2.addWeighted(out[k], strength, frames[k], 1 - strength, 0)
    return out


def denoise_frames(
    frames: Frames,
    boxes: Boxes,
    span: tuple[int, int],
    rng: np.random.Generator,
    other: FaceClip | None = None,
) -> Frames:
    """A sham: the whole picture smoothed and drawn smaller as `animate_still` leaves it, and nothing else.

    Authentic clips get it, so that a lack of grain alone is no evidence.
    """
    out = frames.copy()
    _finish(out[slice(*span)], rng)
    return out


def _mouths(frames: Frames, boxes: Boxes, canvas: Canvas, rng: np.random.Generator) -> list[Patch]:
    """The mouth of each real frame, drawn again at a lower resolution, in part by a decoder."""
    side, sharpness = int(rng.integers(96, 193)), rng.uniform(0.2, 1.0)
    decoder, share = DECODERS[int(rng.integers(len(DECODERS)))], np.float32(rng.uniform(0.0, 0.5))
    views = [upright(frames[k], boxes[k], AREA, (SIDE, SIDE)) for k in canvas.steps]
    drawn = redraw(np.stack([view for view, _ in views]), decoder)
    patches = []
    for k, region, face, (_, box) in zip(canvas.steps, canvas.regions, drawn, views, strict=True):
        small, there = upright(frames[k], boxes[k], _SEEN, (round(0.8 * side), side))
        mouth = fetch(small, there, region.u, region.v)
        mouth += share * (fetch(face, box, region.u, region.v) - mouth)
        patches.append(sharpen(mouth, sharpness))
    return patches


def _finish(frames: Frames, rng: np.random.Generator) -> None:
    """Render `frames` smaller and smooth them, each drawn or not, in place: generated pictures have no grain."""
    height, width = frames.shape[1:3]
    scale = rng.uniform(200, 400) / min(height, width) if rng.random() < 0.5 else 1.0
    size = max(2, round(width * scale)), max(2, round(height * scale))
    strength = rng.uniform(4, 14) if rng.random() < 0.6 else 0.0
    for k, image in enumerate(frames):
        if strength:
            image = cv2.bilateralFilter(image, 5, strength, 2.0)
        if scale < 1:
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
        frames[k] = image


def _oddness(frames: Frames, meshes: Points) -> NDArray[np.float64]:
    """How far each of `frames` (N, H, W, 3) is from the usual one, in the place of the face and the look of the eyes.

    The mesh hardly knows a blink: it is seen.
    """
    there = np.array([[_EYES_SIDE[0] * 0.25, _EYES_SIDE[1] / 2], [_EYES_SIDE[0] * 0.75, _EYES_SIDE[1] / 2]])
    looks = []
    for frame, mesh in zip(frames, meshes, strict=True):
        turn, move = _rigid(_eyes(mesh), there)
        look = cv2.warpAffine(
            frame, np.column_stack([turn, move]), _EYES_SIDE, borderMode=cv2.BORDER_REPLICATE
        )
        looks.append(look.mean(axis=2))
    odd = [np.abs(x - np.median(x, axis=0)).mean(axis=(1, 2)) for x in (meshes, np.stack(looks))]
    return np.sum([one / max(float(np.median(one)), 1e-6) for one in odd], axis=0)


def _bent(still: Frames, start: Points, end: Points) -> Frames:
    """`still` (H, W, 3) with its face moved from the mesh `start` to `end` (468, 2).

    The head moves as a whole, the less the farther from it; about each point a smooth bell adds what it moves beyond.
    """
    height, width = still.shape[:2]
    columns, rows = np.meshgrid(*(np.arange(0, n + _GRID, _GRID) for n in (width, height)))
    places = np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float64)
    source, target = start[_CONTROL], end[_CONTROL]
    turn, move = _rigid(target, source)
    middle, side = target.mean(axis=0), float(np.ptp(target[:, 0]))

    def head(at: Points) -> Points:
        shift = at @ turn.T + move - at
        # So far that nothing folds over, however far the head goes.
        end = max(_STILL, _HEAD + 2.0 * float(np.abs(move + middle @ turn.T - middle).max()) / side)
        share = np.clip((end - np.linalg.norm(at - middle, axis=1) / side) / (end - _HEAD), 0, 1)
        share = share * share * (3 - 2 * share)
        near = shift.clip(-side, side)
        return near * (_DRIFT + (1 - _DRIFT) * share)[:, None]

    beyond = source - target - head(target)
    bell = np.exp(-_squares(target, target) / (_REACH * side) ** 2)
    weights = np.linalg.solve(bell + _LOOSE * np.eye(len(target)), beyond)
    shifts = head(places) + np.exp(-_squares(places, target) / (_REACH * side) ** 2) @ weights
    coarse = (places + shifts).reshape(*columns.shape, 2).astype(np.float32)
    # Grid places lie on pixels 0, 8, 16...: an affine map samples between them exactly.
    fine = np.array([[1 / _GRID, 0, 0], [0, 1 / _GRID, 0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    at = cv2.warpAffine(coarse, fine, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    bent: Frames = cv2.remap(still, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return bent


def _rigid(start: Points, end: Points) -> tuple[Points, Points]:
    """The turn and zoom (2, 2) and the move (2,) that take points `start` (N, 2) to `end` with the least squares."""
    a, b = start - start.mean(axis=0), end - end.mean(axis=0)
    size = float(np.square(a).sum())
    cosine, sine = float((a * b).sum()) / size, float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / size
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return turn, end.mean(axis=0) - turn @ start.mean(axis=0)


def _squares(a: Points, b: Points) -> Points:
    """Squared distances (N, M) of points `a` (N, 2) from points `b` (M, 2)."""
    squares: Points = np.square(a[:, None, 0] - b[None, :, 0]) + np.square(a[:, None, 1] - b[None, :, 1])
    return squares


def _meshes(frames: Frames, boxes: Boxes) -> Points:
    """The mesh of the boxed face in every frame (N, 468, 2), steadied over 3 frames.

    Raises ValueError where it is not found in `MIN_FACES` of them.
    """
    finder, face = _finder(), None
    points_of: dict[int, Points] = {}
    for k, (frame, box) in enumerate(zip(frames, boxes, strict=True)):
        for attempt in (face, None):
            seen = attempt or _look(finder, frame, box)
            points, sure = finder.mesh(frame, seen) if seen is not None else (np.zeros((POINTS, 2)), 0.0)
            face = _around(points, sure) if sure > _SURE else None
            if face is not None and _inside(points, box):
                points_of[k] = points
                break
    if len(points_of) < max(1, MIN_FACES * len(frames)):
        raise ValueError(f"the points of a face are found in {len(points_of)} of {len(frames)} frames")
    at = np.array(sorted(points_of))
    flat = np.stack([points_of[k] for k in at]).reshape(len(at), -1)
    every = np.stack([np.interp(np.arange(len(frames)), at, column) for column in flat.T], axis=1)
    padded = np.pad(every, ((1, 1), (0, 0)), mode="edge")
    steady = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    return steady.reshape(-1, POINTS, 2)


def _look(finder: FaceFinder, frame: Frames, box: NDArray[np.float64]) -> Face | None:
    """The face at `box`, looked for in the part of the frame around it: the network misses small ones."""
    middle, reach = box[:2] + box[2:] / 2, _LOOK * float(box[2:].max()) / 2
    left, top = np.maximum(middle - reach, 0).astype(int)
    right, bottom = np.minimum(middle + reach, frame.shape[1::-1]).astype(int)
    if min(right - left, bottom - top) < 8:
        raise ValueError(f"the face box {box.round(1).tolist()} lies outside the picture {frame.shape[:2]}")
    corner = np.array([left, top], np.float64)
    faces = finder.faces(np.ascontiguousarray(frame[top:bottom, left:right]))
    if not faces:
        return None
    nearest = min(faces, key=lambda f: float(np.abs(f.box[:2] + f.box[2:] / 2 + corner - middle).sum()))
    return Face(nearest.box + np.append(corner, [0, 0]), nearest.eyes + corner, nearest.score)


def _around(points: Points, sure: float) -> Face:
    """Where to look for the mesh in the next frame: a face moves little in between."""
    low, high = points.min(axis=0), points.max(axis=0)
    return Face(np.concatenate([low, high - low]), _eyes(points), sure)


def _eyes(points: Points) -> Points:
    """The middles (2, 2) of both eyes of a mesh."""
    return np.stack([points[list(eye)].mean(axis=0) for eye in EYES])


def _inside(points: Points, box: NDArray[np.float64]) -> bool:
    return bool((np.abs(points.mean(axis=0) - box[:2] - box[2:] / 2) < 0.5 * box[2:]).all())


@cache
def _finder() -> FaceFinder:
    return FaceFinder()
