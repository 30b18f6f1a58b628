"""Splices a generator's output into a span as every other manipulation does; and shams that are put back alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data.audio import Samples
from pipeline.forging.manipulations.audio import Voices, say_again
from pipeline.forging.manipulations.blend import FACE, Canvas, ramp
from pipeline.forging.manipulations.geometry import Boxes, Frames, fetch
from pipeline.forging.manipulations.visual import FaceClip

WHOLE = 0.4
"""Share of the spans in which the whole picture is put in, where there is a face that could be put in alone."""


class FrameSplice:
    """The frames of `fake` (N, H, W, 3), which run in time with the clip, in its place; named after the generator."""

    def __init__(self, name: str, fake: Frames) -> None:
        self.__name__ = name
        self._fake = fake

    def __call__(
        self,
        frames: Frames,
        boxes: Boxes,
        span: tuple[int, int],
        rng: np.random.Generator,
        other: FaceClip | None = None,
    ) -> Frames:
        return put_in(frames, self._fake, boxes, span, rng)


class SoundSplice:
    """The samples of `fake` (L,), which run in time with the recording, in its place; named after the generator."""

    def __init__(self, name: str, fake: Samples) -> None:
        self.__name__ = name
        self._fake = fake

    def __call__(
        self, samples: Samples, span: tuple[int, int], rng: np.random.Generator, voices: Voices
    ) -> Samples:
        words = self._fake[span[0] : span[1]]
        if len(words) < span[1] - span[0] or not np.abs(words).max() > 1e-4:
            raise ValueError(f"the generator says nothing in samples {span}")
        return say_again(samples, words, span, rng)


class PutBack:
    """A sham: the span goes through a codec and is put back as a generator's output is."""

    __name__ = "put_back_frames"

    def __init__(self, recode: Callable[[Frames, np.random.Generator], Frames]) -> None:
        self._recode = recode

    def __call__(
        self,
        frames: Frames,
        boxes: Boxes,
        span: tuple[int, int],
        rng: np.random.Generator,
        other: FaceClip | None = None,
    ) -> Frames:
        copy = frames.copy()
        copy[slice(*span)] = self._recode(frames[slice(*span)], rng)
        return put_in(frames, copy, boxes, span, rng)


def put_in(
    frames: Frames, new: Frames, boxes: Boxes, span: tuple[int, int], rng: np.random.Generator
) -> Frames:
    """`frames` with those of `new` in `span`: the whole picture, or the face under a soft mask.

    Without `boxes` (0, 4) it is always the whole picture.

    Raises ValueError when `new` is too short, or the face lies outside the picture.
    """
    if len(new) < span[1]:
        raise ValueError(f"{len(new)} frames do not reach to {span[1]}")
    if not len(boxes) or rng.random() < WHOLE:
        out = frames.copy()
        rise, fall = rng.integers(1, 3, size=2).tolist()
        for k, strength in zip(range(*span), ramp(span[1] - span[0], rise, fall), strict=True):
            mixed = frames[k] + strength * (new[k].astype(np.float32) - frames[k])
            out[k] = np.clip(mixed + 0.5, 0, 255)
        return out
    canvas = Canvas(frames, boxes, span, FACE.drawn(rng), rng)
    patches: list[NDArray[np.float32]] = [
        fetch(new[k], boxes[k], region.u, region.v)
        for k, region in zip(canvas.steps, canvas.regions, strict=True)
    ]
    return canvas.paint(canvas.match_rim(patches))
