"""A talking head out of one frame follows the face, keeps speaking, and stands still around it."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest
from head_factory import long_head

from extractors.compact.faces import track_face
from extractors.compact.landmarks import POINTS
from pipeline.forging.manipulations.animate import (
    _bent,
    _meshes,
    _oddness,
    _rigid,
    animate_still,
    denoise_frames,
)
from pipeline.forging.manipulations.visual import FaceClip

SPAN, REST = (6, 30), slice(8, 28)  # and the part of it behind the fade
PATH = np.round(8 * np.sin(np.arange(36) / 5)).astype(int)  # pixels that the head goes sideways


@cache
def walker() -> FaceClip:
    """A head that speaks and goes from side to side, with the grain of a camera."""
    frames = np.stack([np.roll(f, x, axis=1) for f, x in zip(long_head(36, side=160), PATH, strict=True)])
    boxes = track_face(frames)
    assert boxes is not None
    return FaceClip(frames, boxes)


@cache
def animated(seed: int) -> np.ndarray:
    return animate_still(walker().frames, walker().boxes, SPAN, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(2))
def test_every_frame_of_the_span_changes_and_no_other(seed: int) -> None:
    before = walker().frames.copy()
    changed = (animated(seed) != before).any(axis=(1, 2, 3))
    assert np.flatnonzero(changed).tolist() == list(range(*SPAN))
    assert np.array_equal(walker().frames, before), "the input was written to"


def test_a_seed_repeats_and_another_seed_differs() -> None:
    again = animate_still(walker().frames, walker().boxes, SPAN, np.random.default_rng(0))
    assert np.array_equal(animated(0), again)
    assert not np.array_equal(animated(0), animated(1))


@pytest.mark.parametrize("seed", range(2))
def test_the_face_follows_the_real_one(seed: int) -> None:
    real, made = (_meshes(frames[REST], walker().boxes[REST]) for frames in (walker().frames, animated(seed)))
    assert np.ptp(real.mean(axis=1)[:, 0]) > 10, "the head moves"
    assert np.abs(made.mean(axis=1) - real.mean(axis=1)).max() < 1.0
    assert np.abs(made - real).mean() < 0.1 * np.ptp(real.mean(axis=1)[:, 0])


@pytest.mark.parametrize("seed", range(2))
def test_what_is_around_the_face_keeps_the_grain_of_one_frame(seed: int) -> None:
    corner = np.s_[REST, :16, :16]
    grain = [
        np.diff(frames[corner].astype(float), axis=0).std() for frames in (walker().frames, animated(seed))
    ]
    assert grain[1] < 0.4 * grain[0]


def test_the_mouth_speaks_as_the_real_one() -> None:
    still = FaceClip(long_head(36, side=160), np.tile(walker().boxes[0] - [PATH[0], 0, 0, 0], (36, 1)))
    made = animate_still(still.frames, still.boxes, (0, 36), np.random.default_rng(0))
    across, down = _meshes(still.frames[:1], still.boxes[:1])[0, 13].round().astype(int)
    lips = np.s_[:, down - 6 : down + 10, across - 10 : across + 10]
    real, forged = (
        (frames[lips] - frames[lips].mean(axis=0)).mean(axis=3).ravel() for frames in (still.frames, made)
    )
    assert np.corrcoef(real, forged)[0, 1] > 0.8


def test_a_whole_clip_is_forged_without_a_fade() -> None:
    """The first frame shows the grain of the still, not half of its own."""
    clip = walker()
    made = animate_still(clip.frames, clip.boxes, (0, 36), np.random.default_rng(0)).astype(float)
    corner = np.s_[:16, :16]
    assert (
        np.abs(made[0][corner] - made[1][corner]).mean()
        < 0.5 * np.abs(clip.frames[0][corner] - made[1][corner]).mean()
    )


def test_a_blink_is_not_what_is_animated() -> None:
    """Frames whose eyes are gone, as skin covers them, stand out however still the head is."""
    frames = long_head(36, side=160)
    boxes = np.tile(walker().boxes[0] - [PATH[0], 0, 0, 0], (36, 1))
    meshes = _meshes(frames, boxes)
    for eye in ((33, 133), (362, 263)):
        across, down = meshes[0, list(eye)].mean(axis=0).round().astype(int)
        frames[4:9, down - 4 : down + 5, across - 7 : across + 8] = frames[0, down + 12, across]
    assert set(np.argsort(_oddness(frames, meshes))[-5:]) == set(range(4, 9))


def test_without_a_face_there_is_nothing_to_animate() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (9, 120, 120, 3), np.uint8)
    with pytest.raises(ValueError, match="found in 0 of 4 frames"):
        animate_still(frames, np.tile((30.0, 30.0, 60.0, 60.0), (9, 1)), (2, 6), np.random.default_rng(0))


def test_a_few_frames_without_a_face_are_bridged() -> None:
    frames = walker().frames[:11].copy()
    frames[5] = 0
    bridged = _meshes(frames, walker().boxes[:11])
    assert np.abs(bridged[5] - _meshes(walker().frames[:11], walker().boxes[:11])[5]).max() < 3


# What bends


def mesh(x: float = 100.0, y: float = 80.0, side: float = 60.0) -> np.ndarray:
    """Points spread over a square around x, y."""
    return np.array([x, y]) + side * np.random.default_rng(3).uniform(-0.5, 0.5, (POINTS, 2))


def test_turn_zoom_and_move_by_hand() -> None:
    """A quarter turn (x, y) -> (-y, x), twice as large, then 3 right and 1 down."""
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    turn, move = _rigid(points, np.array([[3.0, 1.0], [3.0, 3.0], [1.0, 1.0]]))
    assert turn == pytest.approx(np.array([[0.0, -2.0], [2.0, 0.0]]))
    assert move == pytest.approx([3.0, 1.0])


def test_a_face_that_does_not_move_leaves_the_picture_alone() -> None:
    still = np.random.default_rng(0).integers(0, 255, (150, 210, 3), np.uint8)
    assert np.array_equal(_bent(still, mesh(), mesh()), still)


def test_a_face_that_moves_by_eight_pixels_takes_its_picture_along() -> None:
    """A ramp of one level a pixel: what is fetched 8 px farther left is 8 levels darker, far away nearly the same."""
    still = np.broadcast_to(np.arange(400, dtype=np.float64)[None, :, None] / 2, (300, 400, 3)).astype(
        np.uint8
    )
    still = np.ascontiguousarray(still)
    moved = _bent(still, mesh(100), mesh(108)).astype(int)
    assert moved[80, 108, 0] == pytest.approx(100 // 2, abs=1)
    assert moved[290, 390, 0] == pytest.approx(390 // 2, abs=1)


@pytest.mark.parametrize("far", [-50, 30, 50])
def test_nothing_folds_over_however_far_the_head_goes(far: int) -> None:
    still = np.ascontiguousarray(
        np.broadcast_to((np.arange(200) + 20).astype(np.uint8)[None, :, None], (160, 200, 3))
    )
    bent = _bent(still, mesh(), mesh(100 + far)).astype(int)[:, 20:-20, 0]
    inner = bent[:, max(0, far) : bent.shape[1] + min(0, far)]
    assert (np.diff(inner, axis=1) >= -1).all()


def test_a_sham_of_smoothing_moves_nothing() -> None:
    frames = walker().frames
    for seed in range(8):
        smooth = denoise_frames(frames, walker().boxes, SPAN, np.random.default_rng(seed))
        assert np.array_equal(smooth[: SPAN[0]], frames[: SPAN[0]])
        assert np.array_equal(smooth[SPAN[1] :], frames[SPAN[1] :])
        for made, real in zip(smooth[REST], frames[REST], strict=True):
            seen = [cv2.resize(f, (40, 40), interpolation=cv2.INTER_AREA).astype(int) for f in (made, real)]
            assert np.abs(seen[0] - seen[1]).mean() < 2
