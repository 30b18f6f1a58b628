"""Faces and their meshes on the rendered head: where they are, however the picture is turned, cut or scaled."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from head_factory import head
from numpy.typing import NDArray

from extractors.compact.landmarks import (
    EYES,
    MOUTH,
    POINTS,
    Face,
    FaceFinder,
    Points,
    _anchors,
    overlap,
)

IRISES = np.array([[115.5, 113.5], [161.0, 113.0]])
"""Middles of the eyes in the first picture of the head, of 256 px, read off it."""


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    return head()[0]


@pytest.fixture(scope="module")
def face(finder: FaceFinder, picture: NDArray[np.uint8]) -> Face:
    (found,) = finder.faces(picture)
    return found


def middles(mesh: Points) -> Points:
    """Eyes and mouth (3, 2) of a mesh."""
    return np.stack([mesh[list(corners)].mean(axis=0) for corners in (*EYES, MOUTH)])


def test_anchors_lie_in_the_middles_of_cells() -> None:
    anchors = _anchors()
    assert anchors.shape == (896, 2)
    # 16 x 16 cells of 8 px with two each, row by row; then 8 x 8 of 16 px with six.
    assert (anchors[:5] * 128).tolist() == [[4, 4], [4, 4], [12, 4], [12, 4], [20, 4]]
    assert (anchors[32] * 128).tolist() == [4, 12]
    assert (anchors[512:519] * 128).tolist() == [[8, 8]] * 6 + [[24, 8]]
    assert (anchors[-1] * 128).tolist() == [120, 120]


def test_a_face_is_found_where_it_is(face: Face) -> None:
    assert face.score > 0.9
    assert face.eyes == pytest.approx(IRISES, abs=3)
    left, top = face.box[:2]
    right, bottom = face.box[:2] + face.box[2:]
    assert left < 100 < 178 < right, "it reaches across the face"
    assert 76 < top < 110, "from the forehead or the brows"
    assert 175 < bottom < 200, "to the chin"


@pytest.mark.parametrize("scale", [0.25, 0.5, 2.0])
def test_boxes_and_eyes_scale_with_the_picture(
    scale: float, finder: FaceFinder, picture: NDArray[np.uint8], face: Face
) -> None:
    (found,) = finder.faces(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    assert found.box / scale == pytest.approx(face.box, abs=5)
    assert found.eyes / scale == pytest.approx(face.eyes, abs=3)


@pytest.mark.parametrize("pad", [((0, 0), (150, 30)), ((40, 200), (0, 0))])
def test_pictures_that_are_no_squares_are_seen_whole(
    pad: tuple[tuple[int, int], tuple[int, int]],
    finder: FaceFinder,
    picture: NDArray[np.uint8],
    face: Face,
) -> None:
    (found,) = finder.faces(np.pad(picture, (*pad, (0, 0)), constant_values=90))
    shift = np.array([pad[1][0], pad[0][0]])
    assert found.box[:2] - shift == pytest.approx(face.box[:2], abs=6)
    assert found.eyes - shift == pytest.approx(face.eyes, abs=6)


def test_two_people_are_two_faces(finder: FaceFinder, picture: NDArray[np.uint8]) -> None:
    small = cv2.resize(picture, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    both = np.full((256, 256 + 192, 3), 90, np.uint8)
    both[:, :256], both[:192, 256:] = picture, small
    found = finder.faces(both)
    assert len(found) == 2
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    at = sorted(found, key=lambda one: one.box[0])
    assert at[0].eyes == pytest.approx(IRISES, abs=6)
    assert at[1].eyes == pytest.approx(IRISES * 0.75 + (256, 0), abs=6)


@pytest.mark.parametrize("shade", [0, 90, 255])
def test_a_wall_has_no_face(shade: int, finder: FaceFinder) -> None:
    wall = np.full((120, 160, 3), shade, np.uint8)
    assert finder.faces(wall) == []
    assert finder.mesh_in(wall, np.array([10.0, 10, 50, 50])) is None


def test_a_mesh_lies_on_the_face(finder: FaceFinder, picture: NDArray[np.uint8], face: Face) -> None:
    mesh, sure = finder.mesh(picture, face)
    assert mesh.shape == (POINTS, 2)
    assert sure > 0.9
    eyes = middles(mesh)[:2]
    assert eyes == pytest.approx(IRISES, abs=4), "the left one in the picture first"
    assert middles(mesh)[2] == pytest.approx((138, 163), abs=4)
    inside = (mesh > face.box[:2] - 20) & (mesh < face.box[:2] + face.box[2:] + 20)
    assert inside.all()


@pytest.mark.parametrize("degrees", [-25, 15, 30])
def test_a_mesh_turns_with_the_face(
    degrees: float, finder: FaceFinder, picture: NDArray[np.uint8], face: Face
) -> None:
    turn = cv2.getRotationMatrix2D((138, 130), degrees, 1.0)
    turned = cv2.warpAffine(picture, turn, (256, 256), borderMode=cv2.BORDER_REPLICATE)
    mesh = finder.mesh_in(turned, face.box)
    assert mesh is not None
    upright, _ = finder.mesh(picture, face)
    assert middles(mesh) == pytest.approx(middles(upright) @ turn[:, :2].T + turn[:, 2], abs=4)


def test_of_several_faces_the_mesh_is_that_of_the_one_in_the_box(
    finder: FaceFinder, picture: NDArray[np.uint8]
) -> None:
    both = np.concatenate([picture, picture], axis=1)
    for shift in (0, 256):
        mesh = finder.mesh_in(both, np.array([83.0 + shift, 86, 106, 106]))
        assert mesh is not None
        assert middles(mesh)[:2] == pytest.approx(IRISES + np.array([shift, 0]), abs=4)


def test_where_a_face_is_missed_the_mesh_is_not_that_of_another(
    finder: FaceFinder, picture: NDArray[np.uint8]
) -> None:
    alone = np.concatenate([picture, np.full_like(picture, 90)], axis=1)
    assert finder.mesh_in(alone, np.array([83.0, 86, 106, 106])) is not None
    assert finder.mesh_in(alone, np.array([83.0 + 256, 86, 106, 106])) is None


def test_the_same_picture_has_the_same_face_to_the_bit(picture: NDArray[np.uint8], face: Face) -> None:
    other = FaceFinder()
    other.faces(picture[:, ::-1])  # what was seen before does not matter
    (found,) = other.faces(picture)
    assert np.array_equal(found.box, face.box)
    assert np.array_equal(found.eyes, face.eyes)


def box(x: float, y: float, side: float) -> Points:
    return np.array([x, y, side, side])


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (box(0, 0, 10), 1.0),
        (box(5, 0, 10), 1 / 3),  # 50 shared of 150
        (box(5, 5, 10), 25 / 175),
        (box(10, 0, 10), 0.0),  # they only touch
        (box(2, 2, 5), 0.25),  # 25 of 100
        (np.zeros(4), 0.0),
    ],
)
def test_overlap_is_intersection_over_union(other: NDArray[np.float64], expected: float) -> None:
    assert overlap(box(0, 0, 10), other) == pytest.approx(expected)
    assert overlap(other, box(0, 0, 10)) == pytest.approx(expected)


def test_two_boxes_without_area_do_not_overlap() -> None:
    assert overlap(np.zeros(4), np.zeros(4)) == 0.0
