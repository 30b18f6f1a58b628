"""Face boxes through a clip from the frontal-face cascade that OpenCV carries inside its package."""

from __future__ import annotations

from pathlib import Path

import cv2
import cv2.data
import numpy as np
from numpy.typing import NDArray

DETECT_EVERY = 6
"""Frames between two detections; boxes in between are interpolated."""

DETECT_SIDE = 160
"""Pixels of the shorter side at which faces are looked for; more finds no more of them in a head-centred clip."""

MIN_FOUND = 0.4
"""Share of the tried frames in which a face must be found for the clip to count as a face clip."""


def track_face(frames: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """The largest face through `frames` (N, H, W, 3) uint8 as boxes (N, 4) of x, y, width, height in pixels.

    Boxes are a running median of 5 detections, linear in between. None says that there is no usable face.
    Source: https://docs.opencv.org/4.x/db/d28/tutorial_cascade_classifier.html
    """
    cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"))
    tried = range(0, len(frames), DETECT_EVERY)
    found: list[tuple[int, NDArray[np.float64]]] = []
    for k in tried:
        grey = cv2.cvtColor(frames[k], cv2.COLOR_RGB2GRAY)
        scale = min(1.0, DETECT_SIDE / min(grey.shape))
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        least = max(24, min(grey.shape) // 5)
        faces = cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=4, minSize=(least, least))
        if len(faces):
            found.append((k, np.asarray(max(faces, key=lambda box: box[2] * box[3]), np.float64) / scale))
    if not found or len(found) < MIN_FOUND * len(tried):
        return None
    at = np.array([k for k, _ in found], np.float64)
    boxes = np.stack([box for _, box in found])
    padded = np.pad(boxes, ((2, 2), (0, 0)), mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5, axis=0), axis=-1)
    steps = np.arange(len(frames))
    return np.stack([np.interp(steps, at, smooth[:, i]) for i in range(4)], axis=1)
