"""Faces and the 468 points of their mesh, by two small networks of MediaPipe, run by OpenCV.

Source: https://google.github.io/mediapipe (Apache-2.0): BlazeFace for short range (Bazarevsky et al. 2019,
arXiv:1907.05047) and Face Mesh (Kartynnik et al. 2019, arXiv:1907.06724).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Points = NDArray[np.float64]

MODELS = Path(__file__).parent / "models"

POINTS = 468
"""Points of the mesh."""

EYES, MOUTH = ((33, 133), (362, 263)), (13, 14)
"""Corners of either eye (the left one in the picture first), and the middles of the inner lips, in the mesh."""

_SIDE, _MESH_SIDE = 128, 192  # pixels that the networks see
_LEAST_SCORE = 0.5
_SAME = 0.3  # overlap from which on two boxes are one face
_ASKED = 0.2  # overlap from which on a face is the one that was asked for: boxes may be widened, or between two frames
_RAISED = 1.5  # side of what the mesh sees, over the longer side of a face box
_LARGEST_LOGIT = 80.0


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a frame: `box` (4,) x, y, width, height in px from brow to chin; `eyes` (2, 2) x, y, left one first."""

    box: Points
    eyes: Points
    score: float


class FaceFinder:
    """BlazeFace and Face Mesh, on one thread of the processor. It may not be shared by threads."""

    def __init__(self) -> None:
        self._detector = cv2.dnn.readNetFromTFLite(str(MODELS / "blazeface_short.tflite"))
        self._mesh = cv2.dnn.readNetFromTFLite(str(MODELS / "face_mesh.tflite"))
        self._names = self._detector.getUnconnectedOutLayersNames()
        self._mesh_names = self._mesh.getUnconnectedOutLayersNames()
        self._anchors = _anchors()

    def faces(self, frame: Frame) -> list[Face]:
        """Faces in `frame` (H, W, 3) RGB, best first; those smaller than a twentieth of the longer side are missed."""
        height, width = frame.shape[:2]
        scale = _SIDE / max(height, width)
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        board = np.zeros((_SIDE, _SIDE, 3), np.uint8)
        y, x = (_SIDE - small.shape[0]) // 2, (_SIDE - small.shape[1]) // 2
        board[y : y + small.shape[0], x : x + small.shape[1]] = small
        self._detector.setInput(cv2.dnn.blobFromImage(board, 1 / 127.5, mean=(127.5, 127.5, 127.5)))
        outputs = [
            np.asarray(out).reshape(len(self._anchors), -1) for out in self._detector.forward(self._names)
        ]
        raw, logits = sorted(outputs, key=lambda out: -out.shape[1])
        scores = 1 / (1 + np.exp(-logits[:, 0].clip(-_LARGEST_LOGIT, _LARGEST_LOGIT)))
        faces: list[Face] = []
        for k in np.argsort(-scores):
            if scores[k] < _LEAST_SCORE:
                break
            values = raw[k].reshape(-1, 2).astype(np.float64)
            centre, size = values[0] + self._anchors[k] * _SIDE, values[1]
            eyes = values[2:4] + self._anchors[k] * _SIDE
            corner = (centre - size / 2 - (x, y)) / scale
            box = np.concatenate([corner, size / scale])
            if all(overlap(box, other.box) < _SAME for other in faces):
                faces.append(Face(box, (eyes - (x, y)) / scale, float(scores[k])))
        return faces

    def mesh_in(self, frame: Frame, box: Points) -> Points | None:
        """The mesh (468, 2) of the face in `frame` that overlaps most with `box` (4,), None where none is sure."""
        best = max(self.faces(frame), key=lambda face: overlap(face.box, box), default=None)
        if best is None or overlap(best.box, box) < _ASKED:
            return None
        mesh, sure = self.mesh(frame, best)
        return mesh if sure >= _LEAST_SCORE else None

    def mesh(self, frame: Frame, face: Face) -> tuple[Points, float]:
        """The mesh (468, 2) of `face` in px, and how sure it is that there is one, in [0, 1]."""
        turn = face.eyes[1] - face.eyes[0]
        angle = np.arctan2(turn[1], turn[0])
        side = _RAISED * max(face.box[2:]) / _MESH_SIDE
        cos, sin = np.cos(angle) * side, np.sin(angle) * side
        centre = face.box[:2] + face.box[2:] / 2
        back = np.array([[cos, -sin], [sin, cos]])
        shift = centre - back @ np.full(2, (_MESH_SIDE - 1) / 2)
        crop = cv2.warpAffine(
            frame,
            np.column_stack([back, shift]),
            (_MESH_SIDE, _MESH_SIDE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        self._mesh.setInput(cv2.dnn.blobFromImage(crop, 1 / 255.0))
        outputs = [np.asarray(out).ravel() for out in self._mesh.forward(self._mesh_names)]
        points, flag = sorted(outputs, key=lambda out: -out.size)[:2]
        inside = points.reshape(POINTS, 3)[:, :2].astype(np.float64)
        return inside @ back.T + shift, float(
            1 / (1 + np.exp(-np.clip(flag[0], -_LARGEST_LOGIT, _LARGEST_LOGIT)))
        )


def _anchors() -> Points:
    """Centres (896, 2) in [0, 1] of the detector's anchors: two a cell of 8 px, six a cell of 16 px."""
    parts = []
    for cells, each in ((16, 2), (8, 6)):
        at = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
        parts.append(np.repeat(grid, each, axis=0))
    return np.concatenate(parts)


def overlap(a: Points, b: Points) -> float:
    """Intersection over union of two boxes (x, y, width, height)."""
    corner = np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.clip(corner, 0, None)))
    union = float(a[2] * a[3] + b[2] * b[3]) - shared
    return shared / union if union > 0 else 0.0
