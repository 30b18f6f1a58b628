"""Pictures of the rendered head of examples/, for what looks at faces."""

from __future__ import annotations

from functools import cache
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "machine_voice.mp4"
TURN = 50  # frames that are decoded; the head then goes back through them


@cache
def head(side: int = 256) -> NDArray[np.uint8]:
    """The first `TURN` frames (TURN, side, side, 3) of the sample."""
    with av.open(str(SAMPLE)) as container:
        pictures = [picture.to_ndarray(format="rgb24") for picture in islice(container.decode(video=0), TURN)]
    if side != pictures[0].shape[0]:
        pictures = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in pictures]
    return np.stack(pictures)


def long_head(frames: int, side: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    """Any number of frames (frames, side, side, 3), no two alike: back and forth, under noise of a camera."""
    there = np.arange(frames) % (2 * TURN - 2)
    images = head(side)[np.minimum(there, 2 * TURN - 2 - there)].astype(np.int16)
    noise = np.random.default_rng(seed).integers(-3, 4, images.shape, dtype=np.int16)
    return np.clip(images + noise, 0, 255).astype(np.uint8)
