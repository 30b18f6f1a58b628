"""Energies of detail and of change, and the cells that follow a face, against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from extractors.compact.energies import CHANNELS, face_cells, face_energies

BOX = np.array([[24.0, 20.0, 20.0, 20.0]])


def grey(level: int, side: int = 64) -> NDArray[np.uint8]:
    return np.full((side, side, 3), level, np.uint8)


def by_name(*frames: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    (energies,) = face_energies(frames, BOX)
    return dict(zip(CHANNELS, energies, strict=True))


def test_a_still_grey_picture_has_tones_alone() -> None:
    cells = by_name(grey(90), grey(90), grey(90))
    assert all(cell.shape == (6, 6) for cell in cells.values())
    assert np.allclose(cells.pop("y"), 90)
    # Grey has no colour difference: both lie in the middle.
    assert np.allclose(cells.pop("cr"), 128)
    assert np.allclose(cells.pop("cb"), 128)
    assert all(np.allclose(cell, 0, atol=1e-3) for cell in cells.values())


def test_change_is_measured_to_both_neighbours() -> None:
    cells = by_name(grey(90), grey(93), grey(100))
    assert np.allclose(cells["luma_before"], np.log2(1 + 4 * 3))
    assert np.allclose(cells["luma_after"], np.log2(1 + 4 * 7))
    assert np.allclose(cells["smooth_before"], np.log2(1 + 4 * 3), atol=1e-3)
    assert np.allclose(cells["smooth_after"], np.log2(1 + 4 * 7), atol=1e-3)
    # 2 * 93 - 90 - 100 = -4
    assert np.allclose(cells["bend"], np.log2(1 + 4 * 4), atol=1e-3)
    assert np.allclose(cells["chroma_before"], 0)


def test_detail_lies_across_or_down() -> None:
    stripes = grey(0)
    stripes[:, ::2] = 10  # second difference across: 10 + 10 - 0 or 0 + 0 - 20, always 20
    cells = by_name(stripes, stripes, stripes)
    assert np.allclose(cells["across"], np.log2(1 + 4 * 20))
    assert np.allclose(cells["down"], 0)


def test_cells_follow_the_face() -> None:
    # A map that grows by 1 a cell to the right: the grid of a box 40 px wide at x = 20 spans px 16 to 64,
    # that is 4 to 16 in cells of 4 px, and each of 6 columns 2 of them.
    maps = np.tile(np.arange(32, dtype=np.float32)[None, :, None], (32, 1, 2))
    cells = face_cells(maps, np.array([20.0, 20.0, 40.0, 40.0]))
    assert cells.shape == (2, 6, 6)
    # A column from 4 to 6 holds the cells 4 and 5, in the mean 4.5.
    assert cells[0, 0] == pytest.approx([4.5, 6.5, 8.5, 10.5, 12.5, 14.5], abs=0.02)


def test_beyond_the_picture_its_edge_goes_on() -> None:
    maps = np.tile(np.arange(16, dtype=np.float32)[None, :, None], (16, 1, 1))
    assert np.allclose(face_cells(maps, np.array([-100.0, 0.0, 60.0, 60.0])), 0)


@pytest.mark.parametrize("box", [(-30, -30, 20, 20), (60, 60, 30, 30), (10, 10, 200, 200), (3, 5, 1, 1)])
def test_boxes_at_the_rim_or_beyond_give_numbers(box: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (70, 66, 3), dtype=np.uint8) for _ in range(3)]
    assert np.isfinite(face_energies(frames, np.array([box], np.float64))).all()


def test_what_is_measured_does_not_depend_on_the_frames_measured_with_it() -> None:
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 255, (96, 120, 3), dtype=np.uint8) for _ in range(7)]
    boxes = np.array([[20 + 5 * k, 30 - 3 * k, 30 + k, 30 + k] for k in range(5)], np.float64)
    together = face_energies(frames, boxes)
    for k in range(5):
        assert np.array_equal(face_energies(frames[k : k + 3], boxes[k : k + 1])[0], together[k])
