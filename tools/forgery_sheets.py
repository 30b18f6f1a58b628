"""Show each visual manipulation on a rendered head: `python tools/forgery_sheets.py` writes docs/forgeries/*.jpg.

Upper row: six authentic frames around the span. Lower row: the same frames forged. Nobody in them exists.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from render import render_clip

from extractors.compact.faces import track_face
from pipeline.forging.manipulations import VISUAL, FaceClip, touch_up_face

SPAN = (40, 64)
MOMENTS = (-1, 0, 2, 12, 23, 24)  # frames after the span's start: the first and the last lie outside
TILE, LABEL = 192, 22
DRAW = 5  # a draw of the manipulations' parameters that is neither their mildest nor their strongest


def person(seed: int) -> FaceClip:
    """Four seconds of an invented person and the face in them."""
    frames, _, _ = render_clip(seed, 1, 4.0, engine="formant")
    boxes = track_face(frames)
    if boxes is None:
        raise SystemExit(f"no face found in the rendered head of seed {seed}")
    return FaceClip(frames, boxes)


def sheet(clip: FaceClip, forged: NDArray[np.uint8], span: tuple[int, int]) -> NDArray[np.uint8]:
    """The face of `clip` at six moments above, of `forged` below, each frame with its number."""
    x, y, width, height = clip.boxes.mean(axis=0)
    side = 1.5 * max(width, height)
    corner = np.array([x + width / 2, y + 0.55 * height]) - side / 2
    left, top = np.clip(corner, 0, np.array(clip.frames.shape[2:0:-1]) - side).astype(int)
    window = np.s_[top : top + int(side), left : left + int(side)]
    rows = []
    for title, frames in (("authentic", clip.frames), ("forged", forged)):
        tiles = []
        for k in (span[0] + moment for moment in MOMENTS):
            inside = span[0] <= k < span[1]
            tiles.append(_tile(frames[k][window], f"{title if inside else 'outside the span'}, frame {k}"))
        rows.append(np.hstack(tiles))
    return np.vstack(rows)


def _tile(picture: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    strip = np.full((LABEL, TILE, 3), 255, np.uint8)
    cv2.putText(strip, text, (3, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([strip, cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_CUBIC)])


def write(path: Path, picture: NDArray[np.uint8]) -> None:
    """Save RGB as JPEG."""
    cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parents[1] / "docs" / "forgeries"
    )
    out = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    clip, other = person(7001), person(7002)
    manipulations: list[Any] = [*VISUAL, touch_up_face]
    for forge in manipulations:
        forged = forge(clip.frames, clip.boxes, SPAN, np.random.default_rng(DRAW), other)
        write(out / f"{forge.__name__}.jpg", sheet(clip, forged, SPAN))
        print(out / f"{forge.__name__}.jpg")


if __name__ == "__main__":
    main()
