"""Face tracks: steady boxes on a rendered head, none where there is no face."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.faces import track_face

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "authentic.mp4"


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    with av.open(str(SAMPLE)) as container:
        pictures = islice(container.decode(video=0), 50)
        return np.stack([picture.to_ndarray(format="rgb24") for picture in pictures])


def test_a_head_is_found_and_followed_smoothly(frames: NDArray[np.uint8]) -> None:
    boxes = track_face(frames)
    assert boxes is not None
    assert boxes.shape == (50, 4)
    centre = boxes[:, :2] + boxes[:, 2:] / 2
    assert np.abs(centre - 128).max() < 64, "the renderer centres the head"
    assert np.abs(np.diff(boxes, axis=0)).max() < 4


def test_boxes_move_with_the_picture(frames: NDArray[np.uint8]) -> None:
    boxes = track_face(frames)
    shifted = track_face(np.roll(frames, 16, axis=2))
    assert boxes is not None
    assert shifted is not None
    assert np.median(shifted[:, 0] - boxes[:, 0]) == pytest.approx(16, abs=3)


def test_no_face_is_found_in_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 128, 128, 3)).astype(np.uint8)
    assert track_face(noise) is None
