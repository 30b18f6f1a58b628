"""Where the shots of a clip begin: what is measured in one shot says nothing about the next."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby

import cv2
import numpy as np
from numpy.typing import NDArray

from data.labels import FPS
from extractors.base import Piece


@contextmanager
def _modules_alone(package: str) -> Iterator[None]:
    """Within it, modules of `package` load without the package's own `__init__`, which loads all of them.

    That of PySceneDetect takes 0.15 s: it loads PyAV, and looks for FFmpeg by starting it. Whoever imports the package
    afterwards gets it whole.
    """
    spec = None if package in sys.modules else importlib.util.find_spec(package)
    if spec is None:
        yield  # there already, or missing, which the import within says
        return
    sys.modules[package] = importlib.util.module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules[package]


with warnings.catch_warnings(), _modules_alone("scenedetect"):
    # PySceneDetect brings a progress bar, which we never show, and which asks a notebook for widgets.
    warnings.filterwarnings("ignore", message="IProgress not found")
    from scenedetect.common import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector, ThresholdDetector

SHORTEST = 13
"""Frames from one cut to the next at least, half a second: faster changes are flashes or part of a montage."""

_AHEAD = 2  # frames that the detector of cuts must see after one
_SIDE = 160  # pixels of the shorter side that is looked at; the detectors' thresholds hold for any size
_BLACK = 12  # mean brightness below which a picture has faded to black


class ShotFinder:
    """Finds cuts and fades through black in frames as they come, by PySceneDetect's detectors with their defaults.

    A cut stands out among its neighbours (`AdaptiveDetector`), so that motion and a strobe are none. A shot that fades
    in begins where it leaves black. Cross-fades are not found.
    """

    def __init__(self) -> None:
        self._cuts = AdaptiveDetector(min_scene_len=SHORTEST, window_width=_AHEAD)
        self._fades = ThresholdDetector(threshold=_BLACK, min_scene_len=SHORTEST, fade_bias=1.0)
        self._frame, self._last = 0, 0

    def push(self, image: NDArray[np.uint8]) -> int | None:
        """The number of the frame with which a shot begins, if the next frame `image` (H, W, 3) shows that one does.

        It is at most `_AHEAD` frames back.
        """
        at = FrameTimecode(self._frame, float(FPS))
        shrink = _SIDE / min(image.shape[:2])
        small = (
            cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
            if shrink < 1
            else image
        )
        cuts = (*self._cuts.process_frame(at, small), *self._fades.process_frame(at, small))
        self._frame += 1
        begins = [cut.frame_num for cut in cuts if cut.frame_num >= self._last + SHORTEST]
        if not begins:
            return None
        self._last = max(begins)
        return self._last


def by_shot(pieces: Iterable[Piece]) -> Iterator[Iterator[Piece]]:
    """The shots of a clip that arrives in pieces, each as pieces of its own.

    They are to be taken before the next shot. Nothing is left out, and a clip without a cut is one shot. Missing frames
    belong to the shot before them. Memory does not grow with the clip.
    """
    for _, frames in groupby(_numbered(pieces), key=lambda one: one[0]):
        yield ((image[None], np.array([flag])) for _, image, flag in frames)


def _numbered(pieces: Iterable[Piece]) -> Iterator[tuple[int, NDArray[np.uint8], bool]]:
    """The number of the shot, the frame and its validity, in order."""
    finder, shot, seen = ShotFinder(), 0, 0
    waiting: deque[tuple[int | None, NDArray[np.uint8], bool]] = (
        deque()
    )  # with the number among frames that exist
    for images, flags in pieces:
        for image, flag in zip(images, flags.tolist(), strict=True):
            begins = finder.push(image) if flag else None
            waiting.append((seen if flag else None, image, flag))
            seen += flag
            while waiting and (begins is not None or _settled(waiting, seen)):
                number, first, there = waiting[0]
                if begins is not None and number == begins:
                    shot, begins = shot + 1, None
                    continue
                waiting.popleft()
                yield shot, first, there
    for _, image, flag in waiting:
        yield shot, image, flag


def _settled(waiting: deque[tuple[int | None, NDArray[np.uint8], bool]], seen: int) -> bool:
    """Whether no frame to come can show any more that a shot begins with the first of those `waiting`."""
    number = waiting[0][0]
    return number is None or number < seen - _AHEAD
