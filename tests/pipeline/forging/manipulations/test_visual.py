"""Visual forgeries change what they say they change, inside their span and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.forging.manipulations.visual import (
    MAX_BEND,
    MIN_DONOR,
    FaceClip,
    VisualForgery,
    autoencode_face,
    freeze_frames,
    reenact_face,
    replace_lower_face,
    resynthesize_lower_face,
    self_blend_face,
    swap_identity,
    touch_up_face,
)

FORGERIES = (
    replace_lower_face,
    resynthesize_lower_face,
    reenact_face,
    self_blend_face,
    swap_identity,
    freeze_frames,
    autoencode_face,
)
ALL = (*FORGERIES, touch_up_face)
SPAN = (20, 32)
BOX = (28.0, 20.0, 64.0, 64.0)


def clip(
    seed: int = 1, n: int = 48, size: tuple[int, int] = (105, 120), box: tuple[float, ...] = BOX
) -> FaceClip:
    """A face of blobs (two eyes, a mouth that opens and shuts) over smooth noise, with grain of its own per frame."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]].astype(float)
    ground = np.kron(rng.uniform(60, 120, (8, 8, 3)), np.ones((16, 16, 1)))[: size[0], : size[1]]
    frames = np.empty((n, *size, 3), np.uint8)
    x, y, width, height = box
    skin, tint = rng.uniform(110, 160), rng.uniform(-25, 25, size=3)
    for k in range(n):
        u, v = (columns - x) / width, (rows - y) / height
        face = np.exp(-((np.hypot((u - 0.5) / 0.5, (v - 0.5) / 0.6)) ** 6))
        light = skin + 30 * (v - 0.5)
        for eye in (0.3, 0.7):
            light = light - 90 * np.exp(-np.square((u - eye) / 0.08) - np.square((v - 0.38) / 0.05))
        opening = 0.03 + 0.03 * np.sin(k + seed)
        light = light - 80 * np.exp(-np.square((u - 0.5) / 0.16) - np.square((v - 0.8) / opening))
        picture = ground * (1 - face[..., None]) + (light[..., None] + tint) * face[..., None]
        frames[k] = np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255)
    return FaceClip(frames, np.tile(np.array(box), (n, 1)))


@pytest.fixture(scope="module")
def one() -> FaceClip:
    return clip(1)


@pytest.fixture(scope="module")
def other() -> FaceClip:
    return clip(2, n=40)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# What holds for all of them


@pytest.mark.parametrize("forgery", ALL, ids=lambda f: f.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_every_frame_of_the_span_changes_and_no_other(
    forgery: VisualForgery, seed: int, one: FaceClip, other: FaceClip
) -> None:
    before = one.frames.copy()
    forged = forgery(one.frames, one.boxes, SPAN, rng(seed), other)
    changed = np.flatnonzero((forged != one.frames).any(axis=(1, 2, 3)))
    assert changed.tolist() == list(range(*SPAN))
    assert np.array_equal(one.frames, before), "the input was written to"
    assert forged.shape == one.frames.shape
    assert forged.dtype == np.uint8


@pytest.mark.parametrize("forgery", ALL, ids=lambda f: f.__name__)
def test_a_seed_repeats_and_another_seed_differs(
    forgery: VisualForgery, one: FaceClip, other: FaceClip
) -> None:
    runs = [forgery(one.frames, one.boxes, SPAN, rng(seed), other) for seed in (3, 3, 4)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


@pytest.mark.parametrize("forgery", ALL, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "box", [(-20.0, 10.0, 64.0, 64.0), (80.0, 60.0, 64.0, 64.0), (30.5, -15.25, 63.0, 61.0)]
)
def test_a_face_partly_outside_the_picture_is_forged_too(
    forgery: VisualForgery, box: tuple[float, ...]
) -> None:
    cut = clip(1, n=30, size=(101, 119), box=box)
    forged = forgery(cut.frames, cut.boxes, (10, 14), rng(1), clip(1, n=20))
    assert (forged[10:14] != cut.frames[10:14]).any(axis=(1, 2, 3)).all()
    assert np.array_equal(forged[:10], cut.frames[:10])


@pytest.mark.parametrize("forgery", ALL, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "span", [(0, 6), (42, 48), (20, 21)], ids=["first frames", "last frames", "one frame"]
)
def test_spans_at_the_borders_of_the_clip(
    forgery: VisualForgery, span: tuple[int, int], one: FaceClip, other: FaceClip
) -> None:
    forged = forgery(one.frames, one.boxes, span, rng(2), other)
    changed = np.flatnonzero((forged != one.frames).any(axis=(1, 2, 3)))
    assert changed.tolist() == list(range(*span))


@pytest.mark.parametrize("forgery", [f for f in ALL if f is not freeze_frames], ids=lambda f: f.__name__)
def test_a_box_outside_the_picture_is_no_face(forgery: VisualForgery, one: FaceClip, other: FaceClip) -> None:
    away = one.boxes + np.array([500.0, 0, 0, 0])
    with pytest.raises(ValueError, match="lies outside the picture"):
        forgery(one.frames, away, SPAN, rng(), other)


@pytest.mark.parametrize(
    "forgery", [f for f in FORGERIES if f is not freeze_frames], ids=lambda f: f.__name__
)
def test_nothing_changes_far_from_the_face(forgery: VisualForgery, one: FaceClip, other: FaceClip) -> None:
    forged = forgery(one.frames, one.boxes, SPAN, rng(), other)
    rows, columns = np.nonzero((forged != one.frames).any(axis=(0, 3)))
    x, y, width, height = BOX
    assert y <= rows.min()
    assert rows.max() <= y + 1.2 * height
    assert x <= columns.min()
    assert columns.max() <= x + width


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda f: f.__name__)
def test_a_forgery_can_be_seen_where_a_touch_up_cannot(
    forgery: VisualForgery, one: FaceClip, other: FaceClip
) -> None:
    mouth = np.s_[SPAN[0] + 3 : SPAN[1] - 3, 60:84, 48:72]  # the middle of the lower face

    def change(function: VisualForgery, seed: int) -> float:
        forged = function(one.frames, one.boxes, SPAN, rng(seed), other)
        return float(np.abs(forged[mouth].astype(float) - one.frames[mouth]).mean())

    sham = max(change(touch_up_face, seed) for seed in range(4))
    assert 0 < sham < 1.5  # the grain has a mean absolute value of 1.6 itself
    assert np.median([change(forgery, seed) for seed in range(4)]) > 1.5 * sham


# Each one's signature


@pytest.mark.parametrize("forgery", [replace_lower_face, resynthesize_lower_face])
def test_lip_sync_leaves_the_eyes_alone(forgery: VisualForgery, one: FaceClip) -> None:
    forged = forgery(one.frames, one.boxes, SPAN, rng())
    rows = np.nonzero((forged != one.frames).any(axis=(0, 2, 3)))[0]
    assert rows.min() >= BOX[1] + 0.45 * BOX[3]


def test_a_replaced_mouth_comes_from_another_moment() -> None:
    # Only frames 0..29 have a checkerboard; matched colours move its mean but keep its contrast.
    frames = np.full((60, 72, 80, 3), 120, np.uint8)
    frames[:30] = (90 + 60 * (np.add.outer(np.arange(72) // 2, np.arange(80) // 2) % 2))[None, ..., None]
    boxes = np.tile((16.0, 12.0, 40.0, 44.0), (60, 1))
    forged = replace_lower_face(frames, boxes, (36, 60), rng())
    assert forged[44, 42:50, 30:42, 1].std() > 20
    assert frames[44, 42:50, 30:42, 1].std() == 0


def test_a_replaced_mouth_follows_a_moving_face() -> None:
    frames = np.full((60, 72, 100, 3), 100, np.uint8)
    boxes = np.tile((16.0, 12.0, 40.0, 44.0), (60, 1))
    boxes[36:, 0] += 20
    frames[:36, 40:52, 30:42] = 220  # a bright mouth before the face moves
    row = replace_lower_face(frames, boxes, (38, 60), rng())[44, 46, :, 0].astype(float)
    bright = np.flatnonzero(row > 0.5 * (row.max() + np.median(row)))
    assert abs(bright.mean() - (35.5 + 20)) < 1.5


def test_replacement_needs_another_moment(one: FaceClip) -> None:
    n = MIN_DONOR + 4
    with pytest.raises(ValueError, match="no other moment"):
        replace_lower_face(one.frames[:n], one.boxes[:n], (2, n - 2), rng())


def test_resynthesis_removes_fine_detail() -> None:
    # A face of 400 px in its box, so that 48 to 96 px is a real reduction.
    frames = rng(2).integers(60, 190, (4, 440, 480, 3)).astype(np.uint8)
    forged = resynthesize_lower_face(frames, np.tile((40.0, 10.0, 400.0, 400.0), (4, 1)), (0, 4), rng())
    mouth = np.s_[1:3, 300:340, 220:260]
    detail = [np.abs(np.diff(x[mouth].astype(float), axis=2)).mean() for x in (frames, forged)]
    assert detail[1] < 0.4 * detail[0]


def test_reenactment_moves_the_mouth_up_and_down_but_never_far() -> None:
    # A ramp of colour tells where each pixel came from: 2 levels a row, 1 a column.
    rows, columns = np.mgrid[:105, :120]
    picture = np.stack([2 * rows, columns, 0 * rows], axis=-1).astype(np.uint8)
    frames = np.repeat(picture[None], 40, axis=0)
    forged = reenact_face(frames, np.tile(BOX, (40, 1)), (0, 40), rng(3)).astype(float)
    down, across = (frames[..., 0] - forged[..., 0]) / 2, frames[..., 1] - forged[..., 1]
    assert np.abs(down).max() <= MAX_BEND * BOX[3] + 0.5
    assert np.abs(across).max() <= MAX_BEND * BOX[2] + 1
    jaw = down[3:-3, round(BOX[1] + 0.9 * BOX[3]), round(BOX[0] + 0.5 * BOX[2])]
    assert np.ptp(jaw) > 0.03 * BOX[3]
    assert (np.diff(np.sign(jaw)) != 0).sum() >= 4, "a mouth opens and shuts several times in 1.4 s"
    assert np.abs(np.diff(jaw)).max() < 0.06 * BOX[3], "but does not jump"


def test_a_self_blend_is_the_same_all_through_the_span() -> None:
    still = np.repeat(clip(1, n=1).frames, 30, axis=0)
    forged = self_blend_face(still, np.tile(BOX, (30, 1)), (5, 25), rng(1))
    inner = forged[8:22]
    assert np.array_equal(inner, np.repeat(inner[:1], len(inner), axis=0))
    assert np.abs(inner[0].astype(float) - still[0]).max() > 5


def test_a_swap_brings_the_others_structure_in_this_ones_tones(one: FaceClip) -> None:
    marked = clip(2, n=40)
    frames = marked.frames.astype(float)
    frames[:, 50:54, 44:76] -= 60  # a moustache that only the other person has
    frames[..., 2] += 40
    donor = replace(marked, frames=np.clip(frames, 0, 255).astype(np.uint8))
    forged = swap_identity(one.frames, one.boxes, SPAN, rng(), donor)[26].astype(float)

    def moustache(picture: NDArray[np.floating]) -> float:
        return float(picture[57:60, 50:70].mean() - picture[51:53, 50:70].mean())

    assert moustache(forged) > 30
    assert abs(moustache(one.frames[26].astype(float))) < 12
    cheeks = np.s_[40:60, 40:80]
    gap = forged[cheeks].mean(axis=(0, 1)) - one.frames[26][cheeks].mean(axis=(0, 1))
    foreign = donor.frames[26][cheeks].mean(axis=(0, 1)) - one.frames[26][cheeks].mean(axis=(0, 1))
    assert np.ptp(gap) < 0.5 * np.ptp(foreign), "the blue cast stays behind"


def test_a_swap_mirrors_a_face_that_looks_the_other_way() -> None:
    frames = clip(1, n=40).frames
    shade = np.linspace(0.5, 1.0, 120)[None, None, :, None]
    lit = (frames * shade).astype(np.uint8)
    mirrored = FaceClip(lit[:, :, ::-1].copy(), np.tile((28.0, 20.0, 64.0, 64.0), (40, 1)))
    forged = swap_identity(lit, np.tile(BOX, (40, 1)), (10, 20), rng(), mirrored)[15].astype(float)
    assert forged[60:70, 70:78].mean() > 1.1 * forged[60:70, 42:50].mean(), (
        "the light still comes from the right"
    )


@pytest.mark.parametrize("donor", [None, clip(2, n=MIN_DONOR - 1)], ids=["nobody", "too short"])
def test_a_swap_needs_somebody_else(donor: FaceClip | None, one: FaceClip) -> None:
    with pytest.raises(ValueError, match="no clip of another person"):
        swap_identity(one.frames, one.boxes, SPAN, rng(), donor)


def test_a_swap_refuses_a_face_that_is_not_alike(one: FaceClip, other: FaceClip) -> None:
    with pytest.raises(ValueError, match="never looks the same way"):
        swap_identity(one.frames, one.boxes, SPAN, rng(), replace(other, frames=255 - other.frames))


def test_a_freeze_holds_or_fades_the_frames_beside_the_span(one: FaceClip) -> None:
    first, stop = SPAN
    held = faded = 0
    for seed in range(24):
        forged = freeze_frames(one.frames, one.boxes, SPAN, rng(seed))
        inner = forged[first:stop]
        if np.array_equal(inner, np.repeat(one.frames[first - 1 : first], stop - first, axis=0)):
            held += 1
        half = (one.frames[first - 1].astype(float) + one.frames[stop]) / 2
        if np.abs(inner[5:7].mean(axis=0) - half).max() <= 1:
            faded += 1
    assert held >= 2
    assert faded >= 2
    assert held + faded < 24, "some freeze only the face"


def test_a_frozen_face_follows_the_head_over_a_live_background() -> None:
    frames = np.zeros((40, 90, 140, 3), np.uint8)
    boxes = np.zeros((40, 4))
    for k in range(40):
        frames[k] = 60 + 2 * k  # the room grows lighter
        boxes[k] = (10 + k, 10, 60, 60)
        frames[k, 50:58, 30 + k : 50 + k] = 60 + 2 * k + (80 if k < 16 else 0)  # teeth show until frame 15
    faces = [freeze_frames(frames, boxes, (16, 30), rng(seed)) for seed in range(16)]
    live = [forged for forged in faces if np.array_equal(forged[:, 0, 0], frames[:, 0, 0])]
    assert 4 <= len(live) <= 12
    held = max(live, key=lambda forged: float(forged[25, 54, 65, 0]))
    assert held[25, 54, 30 + 25 + 10, 0] > frames[25, 54, 0, 0] + 50, "teeth where the mouth is now"


def test_a_freeze_needs_a_frame_outside_the_span(one: FaceClip) -> None:
    with pytest.raises(ValueError, match="leaves no frame"):
        freeze_frames(one.frames, one.boxes, (0, 48), rng())


@pytest.mark.parametrize("seed", [1, 2, 3, 6])  # those that draw the whole face
def test_an_autoencoded_face_keeps_its_tones_and_loses_its_grain(seed: int, one: FaceClip) -> None:
    forged = autoencode_face(one.frames, one.boxes, SPAN, rng(seed))
    cheeks = np.s_[23:29, 44:60, 40:80]
    assert forged[cheeks].mean() == pytest.approx(one.frames[cheeks].mean(), abs=4)
    grain = [float(np.diff(x[cheeks].astype(float), axis=0).std()) for x in (one.frames, forged)]
    assert grain[1] < 0.6 * grain[0]
