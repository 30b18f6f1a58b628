"""Masks, ramps, matched colours and resampling of the visual forgeries, with numbers worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.forging.manipulations.blend import FACE, LOWER_FACE, Canvas, Shape, ramp
from pipeline.forging.manipulations.geometry import MIN_SIDE, Region, fetch, fetch_bent, sharpen, upright

SPAN = (20, 32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def moving() -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """48 frames of smooth colours that pass through the picture, and the box of a face in it."""
    rows, columns = np.mgrid[:105, :120]
    waves = [
        np.sin(rows / (9 + c) + np.arange(48)[:, None, None] / 9) + np.cos(columns / (7 + c))
        for c in range(3)
    ]
    frames = (120 + 30 * np.stack(waves, axis=-1)).astype(np.uint8)
    return frames, np.tile((28.0, 20.0, 64.0, 64.0), (48, 1))


def region(size: tuple[int, int] = (100, 100), shape: Shape = LOWER_FACE) -> Region:
    return Region.around(size, np.array([0.0, 0.0, 100.0, 100.0]), shape.bounds())


def test_a_mask_is_full_inside_half_in_its_rim_and_nothing_beyond() -> None:
    shape = Shape((0.5, 0.5), (0.2, 0.4), feather=0.35)
    place = replace(region(shape=shape), u=np.array([0.5, 0.66, 0.695, 0.73, 0.9]), v=np.array([0.5]))
    # Radii 0, 0.8, 0.975, 1.15, 2: the rim runs from 1.15 - 0.35 = 0.8 to 1.15, and is one half in its middle.
    assert shape.mask(place)[0] == pytest.approx([1, 1, 0.5, 0, 0], abs=1e-5)
    place = replace(place, u=np.array([0.7]), v=np.array([0.5]))
    # Radius 1: (1.15 - 1) / 0.35 = 3 / 7, smoothed 3 t^2 - 2 t^3 = 27 / 49 - 54 / 343 = 135 / 343.
    assert shape.mask(place)[0, 0] == pytest.approx(135 / 343, abs=1e-5)


def test_waves_move_the_rim_by_their_amplitude() -> None:
    shape = Shape((0.5, 0.5), (0.2, 0.2), feather=0.35, waves=(0.1, 0.0))
    place = replace(region(shape=shape), u=np.array([0.5 + 0.2 * 1.075]), v=np.array([0.5]))
    assert shape.mask(place)[0, 0] == pytest.approx(
        0.5, abs=1e-5
    )  # at angle 0 the rim moves out by 0.1 radii
    place = replace(place, u=np.array([0.5]), v=np.array([0.5 + 0.2 * 0.875]))
    assert shape.mask(place)[0, 0] == pytest.approx(0.5, abs=1e-5)  # at 90 degrees, cos 2a = -1, in by 0.1
    assert shape.bounds() == pytest.approx((0.25, 0.25, 0.75, 0.75))  # 0.5 -+ 0.2 (1.15 + 0.1)


@pytest.mark.parametrize("shape", [FACE, LOWER_FACE])
@pytest.mark.parametrize("seed", range(5))
def test_a_drawn_mask_ends_inside_its_bounds(shape: Shape, seed: int) -> None:
    drawn = shape.drawn(rng(seed), waviness=0.05)
    place = Region.around((400, 400), np.array([100.0, 100.0, 200.0, 200.0]), drawn.bounds())
    mask = drawn.mask(place)
    assert mask.max() == 1
    for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]):
        assert edge.max() == 0


def test_a_ramp_is_full_between_its_ends() -> None:
    assert ramp(7, 3, 2).tolist() == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1, 0.5])
    assert ramp(3, 1, 1).tolist() == [1, 1, 1]
    assert ramp(1, 3, 3).tolist() == pytest.approx([1 / 3])
    rises = {round(float(Canvas(*_flat(), (1, 8), FACE, rng(seed)).strengths[0]), 3) for seed in range(20)}
    assert rises == {1.0, 0.5, 0.333}


def test_nothing_fades_where_the_clip_begins_or_ends() -> None:
    for seed in range(8):
        assert Canvas(*_flat(), (0, 9), FACE, rng(seed)).strengths.tolist() == [1.0] * 9


def _flat() -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    return np.full((9, 100, 100, 3), 100, np.uint8), np.tile((20.0, 20.0, 60.0, 60.0), (9, 1))


def test_matching_the_rim_takes_an_even_cast_away() -> None:
    frames, boxes = _flat()
    canvas = Canvas(frames, boxes, (0, 9), FACE, rng())
    patches = [np.full((*mask.shape, 3), (130, 80, 100), np.float32) for mask in canvas.masks]
    assert np.array_equal(canvas.paint(canvas.match_rim(patches)), frames)


def test_matching_tones_gives_the_mean_and_the_spread_of_the_picture(
    moving: tuple[NDArray[np.uint8], NDArray[np.float64]],
) -> None:
    canvas = Canvas(*moving, SPAN, FACE, rng())
    patches = [(0.7 * canvas.base(k) + [40, 10, -5]).astype(np.float32) for k in canvas.steps]
    matched = canvas.match_tones(patches)
    error = [
        float(np.abs(canvas.base(k) - patch).mean()) for k, patch in zip(canvas.steps, matched, strict=True)
    ]
    # 1 / 0.7 is within the bound of 1.6, so the affine change of colours is undone all but for its smoothing.
    assert max(error) < 1


def test_matched_colours_do_not_flicker(moving: tuple[NDArray[np.uint8], NDArray[np.float64]]) -> None:
    canvas = Canvas(*moving, SPAN, FACE, rng())
    flicker = rng(1).normal(0, 10, len(canvas.steps))
    flat = [np.full((*mask.shape, 3), 100, np.float32) for mask in canvas.masks]
    shifted = [patch + np.float32(jump) for patch, jump in zip(flat, flicker, strict=True)]
    kept = [float(patch.mean()) for patch in canvas.match_rim(shifted)]
    assert np.abs(np.diff(kept)).mean() > 0.5 * np.abs(np.diff(flicker)).mean(), (
        "a flicker of the source stays"
    )
    # The picture's rim itself drifts; averaged over 5 frames, no single frame's difference comes through whole.
    targets = [
        canvas.base(k)[(m > 0.02) & (m < 0.8)].mean() for k, m in zip(canvas.steps, canvas.masks, strict=True)
    ]
    steady = [float(patch.mean()) for patch in canvas.match_rim(flat)]
    assert steady[5] == pytest.approx(np.mean(targets[3:8]), abs=0.05)


# Resampling, by hand


def test_fetching_at_pixel_centres_copies() -> None:
    picture = rng().integers(0, 256, (12, 15, 3)).astype(np.uint8)
    u, v = (np.arange(15) + 0.5) / 15, (np.arange(12) + 0.5) / 12
    box = np.array([0.0, 0.0, 15.0, 12.0])
    assert np.array_equal(fetch(picture, box, u, v), picture)
    assert np.abs(fetch(picture, box, 1 - u, v) - picture[:, ::-1]).max() < 1e-3
    bent = fetch_bent(picture, box, np.broadcast_to(u, (12, 15)), np.broadcast_to(v[:, None], (12, 15)))
    assert np.abs(bent - picture).max() < 1e-3


def test_cubic_convolution_half_way_between_pixels() -> None:
    picture = np.zeros((1, 8, 1), np.float32)
    picture[0, 3] = 16
    box = np.array([0.0, 0.0, 8.0, 1.0])
    # Keys' kernel at distances 1/2 and 3/2 is 9/16 and -1/16.
    values = fetch(picture, box, np.array([3.0, 4.0, 2.0]) / 8, np.array([0.5]))[0, :, 0]
    assert values == pytest.approx([9, 9, -1])


def test_beyond_the_picture_its_edge_goes_on() -> None:
    picture = np.full((6, 6, 3), 50, np.uint8)
    picture[:, 0] = 200
    far = fetch(picture, np.array([0.0, 0.0, 6.0, 6.0]), np.array([-2.0, -1.9]), np.array([0.5, 0.6]))
    assert np.allclose(far, 200, atol=1e-3)


def test_a_coarse_grid_averages_instead_of_skipping() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    small, box = upright(stripes, np.array([0.0, 0.0, 64.0, 64.0]), (0.0, 0.0, 1.0, 1.0), (8, 8))
    assert np.abs(small[:, 1:-1] - 100).max() < 8
    assert box.tolist() == [0, 0, 8, 8]


def test_an_upright_face_leads_back_to_where_it_was() -> None:
    rows, columns = np.mgrid[:80, :90]
    picture = np.stack([2 * rows, 2 * columns, rows + columns], axis=-1).astype(np.uint8)
    face = np.array([20.3, 10.6, 40.0, 50.0])
    view, box = upright(picture, face, (-0.1, 0.0, 1.1, 1.2), (90, 70))
    place = Region.around((80, 90), face, (0.1, 0.2, 0.9, 1.0))
    assert np.abs(fetch(view, box, place.u, place.v) - place.of(picture)).max() < 0.5


def test_a_region_of_too_few_pixels_is_refused() -> None:
    box = np.array([100.0 - MIN_SIDE, 10.0, 50.0, 50.0])
    assert Region.around((100, 100), box, (0.0, 0.0, 1.0, 1.0)).columns == slice(92, 100)
    with pytest.raises(ValueError, match="lies outside the picture"):
        Region.around((100, 100), box + np.array([1.0, 0, 0, 0]), (0.0, 0.0, 1.0, 1.0))


def test_sharpening_and_blurring_of_a_single_point() -> None:
    point = np.zeros((3, 3, 1), np.float32)
    point[1, 1] = 100
    assert sharpen(point, 1.0)[1, 1, 0] == pytest.approx(180)  # 100 + 0.8 (100 - 0)
    assert sharpen(point, -1.0)[1, 1, 0] == pytest.approx(20)
    assert sharpen(point, -1.0)[0, 1, 0] == pytest.approx(20)  # a neighbour gets 0.8 * 100 / 4
