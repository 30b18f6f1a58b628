"""Contact sheets show the frames that they name."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from forgery_sheets import LABEL, MOMENTS, TILE, sheet, write

from pipeline.forging.manipulations import FaceClip


def test_a_sheet_shows_authentic_frames_above_and_forged_ones_below(tmp_path: Path) -> None:
    shades = np.arange(0, 200, 4, dtype=np.uint8)
    frames = np.broadcast_to(shades[:, None, None, None], (50, 90, 120, 3)).copy()
    clip = FaceClip(frames, np.tile((40.0, 20.0, 40.0, 40.0), (50, 1)))
    forged = frames.copy()
    forged[20:44] += 50
    picture = sheet(clip, forged, (20, 44))
    assert picture.shape == (2 * (LABEL + TILE), len(MOMENTS) * TILE, 3)
    middles = picture[LABEL + TILE // 2 :: LABEL + TILE, TILE // 2 :: TILE, 0]
    at = [20 + moment for moment in MOMENTS]
    assert middles[0].tolist() == [4 * k for k in at]
    assert middles[1].tolist() == [4 * k + 50 * (20 <= k < 44) for k in at]
    write(tmp_path / "sheet.jpg", picture)
    assert (tmp_path / "sheet.jpg").stat().st_size > 1000
