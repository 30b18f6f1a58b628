"""Shots: cuts and fades are found, motion, a strobe and a still picture are none, and no frame is lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from extractors.compact.shots import SHORTEST, by_shot

Frames = NDArray[np.uint8]


def take(seed: int, length: int) -> Frames:
    """A scene of its own through which the camera moves slowly."""
    rng = np.random.default_rng(seed)
    scene = cv2.resize(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8), (240, 180))
    return np.stack([scene[k // 4 : k // 4 + 96, k // 3 : k // 3 + 128] for k in range(length)])


def lengths(frames: Frames, valid: NDArray[np.bool_] | None = None, piece: int = 1000) -> list[int]:
    flags = valid if valid is not None else np.ones(len(frames), np.bool_)

    def pieces() -> Iterator[tuple[Frames, NDArray[np.bool_]]]:
        for first in range(0, len(frames), piece):
            yield frames[first : first + piece], flags[first : first + piece]

    shots = [list(shot) for shot in by_shot(pieces())]
    images = [image for shot in shots for image, _ in shot]
    assert np.array_equal(np.concatenate(images), frames), "every frame, in order"
    assert [bool(flag[0]) for shot in shots for _, flag in shot] == flags.tolist()
    return [len(shot) for shot in shots]


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_cuts_part_shots_however_the_clip_arrives(piece: int) -> None:
    frames = np.concatenate([take(1, 40), take(2, 30), take(3, 50)])
    assert lengths(frames, piece=piece) == [40, 30, 50]


def test_whoever_imports_pyscenedetect_afterwards_gets_it_whole() -> None:
    code = (
        "import sys, extractors.compact.shots as shots; alone = 'scenedetect' not in sys.modules; import scenedetect;"
        "print(alone, scenedetect.detect.__name__, scenedetect.AdaptiveDetector is shots.AdaptiveDetector)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True detect True\n", done.stderr


def test_pyscenedetect_that_is_there_already_is_left_alone() -> None:
    code = (
        "import sys, scenedetect; before = sys.modules['scenedetect']; import extractors.compact.shots;"
        "print(sys.modules['scenedetect'] is before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_a_take_is_one_shot() -> None:
    assert lengths(take(1, 200)) == [200]


def test_a_still_picture_is_one_shot() -> None:
    assert lengths(np.repeat(take(1, 1), 100, axis=0)) == [100]


def test_a_slide_show_has_a_shot_for_each_slide() -> None:
    slides = [np.repeat(take(seed, 1), 50, axis=0) for seed in range(4)]
    assert lengths(np.concatenate(slides)) == [50, 50, 50, 50]


def test_a_strobe_is_no_cut() -> None:
    frames = np.concatenate([take(k % 2, 1) for k in range(100)])
    assert lengths(frames) == [100]


def test_a_cut_every_frame_makes_no_shot_shorter_than_the_shortest() -> None:
    assert min(lengths(np.concatenate([take(seed, 1) for seed in range(100)]))) >= SHORTEST


def test_a_shot_that_fades_in_begins_where_it_leaves_black() -> None:
    ramp = np.clip(np.abs(np.arange(-60, 60)) - 10, 0, 40) / 40
    frames = np.concatenate([take(1, 60), take(2, 60)])
    faded = (frames * ramp[:, None, None, None]).astype(np.uint8)
    found = lengths(faded)
    assert 40 <= found[-1] <= 50, "the second take from where it can be seen"
    assert sum(found) == 120


def test_a_clip_that_is_one_fade_is_one_shot() -> None:
    frames = take(1, 100)
    assert lengths((frames * np.linspace(1, 0, 100)[:, None, None, None]).astype(np.uint8)) == [100]


def test_missing_frames_belong_to_the_shot_before_them_and_are_no_cut() -> None:
    frames = np.concatenate([take(1, 40), take(2, 40)])
    valid = np.ones(80, np.bool_)
    valid[[0, 20, 21, 38, 39]] = False
    frames[~valid] = 0
    assert lengths(frames, valid) == [40, 40]


def test_nothing_has_no_shot() -> None:
    assert list(by_shot([])) == []
