"""Faces through a stretch of frames: detected every few frames, linked by overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from extractors.compact.landmarks import FaceFinder, overlap

DETECT_EVERY = 6
"""Frames between two detections; boxes in between are interpolated."""

GROWN, RAISED = 1.157, 0.158
"""How much larger than the detector's boxes ours are, and how far up, in heights: theirs begin at the brow.
Medians of the differences to OpenCV's frontal-face cascade on 243 frames of 37 clips."""

LEAST = 32
"""Pixels of the smallest face that is looked at."""

MIN_FOUND = 0.4
"""Share of the tried frames in which one face must be found for the clip to count as a face clip."""

MIN_OVERLAP = 0.3
"""Least intersection over union of a face with the same face when it was last seen."""

MIN_SEEN = 3
"""Detections that make a face; fewer are taken for an error of the detector."""

REACH = 25
"""Frames that a face may go undetected, as when it turns away, and still be followed."""

MOST = 8
"""Faces that are followed at once: those that cover most pixels."""

Box = NDArray[np.float64]


class Followed(NamedTuple):
    """One face through N frames: boxes (N, 4) of x, y, width, height in px, zero where it is not `seen` (N,)."""

    boxes: NDArray[np.float64]
    seen: NDArray[np.bool_]


class Faces(NamedTuple):
    """The faces in N frames.

    `leading` is one face a frame, that of `each` which covers most pixels in all. Of `each` there are at most `MOST`,
    in this order; `more` were followed no further, and `small` is how many at once were smaller than `LEAST`.
    """

    leading: Followed
    each: tuple[Followed, ...]
    more: int = 0
    small: int = 0


def track_face(frames: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """The face seen largest and longest in `frames` (N, H, W, 3) uint8, as boxes (N, 4) of x, y, width, height in px.

    Never jumps to another person: detections are linked by their overlap, misses are bridged. Boxes are a running
    median of 3 detections, averaged with their neighbours (1 : 2 : 1), linear in between. None says that no face is
    seen in `MIN_FOUND` of the tried frames. Boxes reach from mid-forehead to chin.
    """
    tried = range(0, len(frames), DETECT_EVERY)
    detections = _detections(frames)
    track = longest_track({k: found[_large(found)] for k, found in detections.items()})
    if track is None or len(track) < MIN_FOUND * len(tried):
        return None
    return _between(track, np.arange(len(frames)))


def follow_faces(frames: NDArray[np.uint8], finder: FaceFinder | None = None) -> Faces:
    """All faces in `frames` (N, H, W, 3), and one a frame.

    Where several are seen that one leads that covers most pixels in all, and after a cut another; boxes are as
    those of `track_face`. A frame farther than `REACH` from any detection of its face has none.
    """
    detections = _detections(frames, finder)
    least = min(MIN_SEEN, math.ceil(len(frames) / DETECT_EVERY))
    large = {k: found[_large(found)] for k, found in detections.items()}
    tracks = [track for track in linked_tracks(large) if len(track) >= least]
    tracks.sort(key=_covered, reverse=True)
    each = tuple(_followed(track, len(frames)) for track in tracks)
    leading = Followed(np.zeros((len(frames), 4)), np.zeros(len(frames), np.bool_))
    for boxes, seen in each[:MOST]:
        new = seen & ~leading.seen
        leading.boxes[new], leading.seen[new] = boxes[new], True
    small = max((int((~_large(found)).sum()) for found in detections.values()), default=0)
    return Faces(leading, each[:MOST], len(each[MOST:]), small)


def _followed(track: dict[int, Box], length: int) -> Followed:
    boxes, seen = np.zeros((length, 4)), np.zeros(length, np.bool_)
    at = np.array(sorted(track))
    steps = np.arange(max(0, at[0] - DETECT_EVERY + 1), min(length, at[-1] + DETECT_EVERY))
    steps = steps[np.abs(steps[:, None] - at).min(axis=1) <= REACH]
    boxes[steps], seen[steps] = _between(track, steps), True
    return Followed(boxes, seen)


def _between(track: dict[int, Box], steps: NDArray[np.int64]) -> NDArray[np.float64]:
    at = np.array(sorted(track), np.float64)
    steady = smooth(np.stack([track[k] for k in sorted(track)]))
    return np.stack([np.interp(steps, at, steady[:, i]) for i in range(4)], axis=1)


@dataclass
class _Track:
    seen: dict[int, Box] = field(default_factory=dict)
    last: Box = field(default_factory=lambda: np.zeros(4))


def longest_track(detections: dict[int, NDArray[np.float64]]) -> dict[int, Box] | None:
    """Of boxes (F, 4) by frame, those of one face: the one whose boxes cover most pixels in all; None without any."""
    return max(linked_tracks(detections), key=_covered, default=None)


def linked_tracks(detections: dict[int, NDArray[np.float64]]) -> list[dict[int, Box]]:
    """Boxes (F, 4) by frame, as boxes by frame of each face: linked to where the face was last seen, by overlap."""
    tracks: list[_Track] = []
    for k in sorted(detections):
        pairs = [
            (overlap(box, track.last), i, j)
            for i, box in enumerate(detections[k])
            for j, track in enumerate(tracks)
        ]
        linked: dict[int, int] = {}
        for share, i, j in sorted(pairs, reverse=True):
            if share >= MIN_OVERLAP and i not in linked and j not in linked.values():
                linked[i] = j
        for i, box in enumerate(detections[k]):
            if i not in linked:
                linked[i] = len(tracks)
                tracks.append(_Track())
            track = tracks[linked[i]]
            track.seen[k] = track.last = box
    return [track.seen for track in tracks]


def _covered(track: dict[int, Box]) -> float:
    return sum(box[2] * box[3] for box in track.values())


def smooth(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes (D, 4) without single outliers (a median of 3) and without jitter (weights 1/4, 1/2, 1/4)."""
    padded = np.pad(boxes, ((1, 1), (0, 0)), mode="edge")
    steady = np.pad(np.median([padded[:-2], padded[1:-1], padded[2:]], axis=0), ((1, 1), (0, 0)), mode="edge")
    return (steady[:-2] + 2 * steady[1:-1] + steady[2:]) / 4


def _detections(
    frames: NDArray[np.uint8], finder: FaceFinder | None = None
) -> dict[int, NDArray[np.float64]]:
    # Who looks at stretch after stretch brings one along: to load it takes longer than to look at a frame.
    finder = finder if finder is not None else FaceFinder()
    return {k: _detect(finder, frames[k]) for k in range(0, len(frames), DETECT_EVERY)}


def _detect(finder: FaceFinder, frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Boxes (F, 4) of the faces in `frame`, from mid-forehead to chin."""
    boxes = np.array([face.box for face in finder.faces(frame)]).reshape(-1, 4)
    size = boxes[:, 2:] * GROWN
    middle = boxes[:, :2] + boxes[:, 2:] * (0.5, 0.5 - RAISED)
    grown: NDArray[np.float64] = np.concatenate([middle - size / 2, size], axis=1)
    return grown


def _large(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which boxes (F, 4) are large enough to be looked at."""
    large: NDArray[np.bool_] = boxes[:, 2:].min(axis=1) >= LEAST
    return large
