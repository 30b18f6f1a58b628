"""The compact picture features: what stands out in a face, step by step, against the rest of its clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from configs.schema import VisualConfig
from data.errors import WeightsError
from data.timeline import runs
from extractors.base import PerClip, Piece, Steps
from extractors.compact.energies import CHANNELS, SIDE, face_energies
from extractors.compact.faces import follow_faces
from extractors.compact.trace_net import load_trace_net
from extractors.runtime import extractor_digest, inference

SCHEMA_VERSION = 1  # raise it whenever the same settings and weights begin to give other features

MEASURES = len(CHANNELS) * SIDE * SIDE

BLOCK, BLOCKS = 5, 11
"""Steps whose mean enters the running median as one, and how many of these it is taken over: 2.2 s."""

_CHUNK = 125  # frames in which faces are looked for at once; 44 MB of 16:9 pictures with a short side of 256
_LONGEST = 4  # times the shorter side; of longer pictures the middle is looked at, so that memory is bounded
_CORE, _CONTEXT = 250, 125  # steps that a pass of the network keeps, and that it sees on either side


class FaceTraces(PerClip):
    """Frames of the clock to feature vectors (C,) of the face in them; a frame without a face is an invalid step.

    `dim` is C and `digest` names everything that shapes a value. Runs on the processor, whatever `device` is, in
    float32.

    Raises WeightsError when `weights` are damaged or were made for other measures.
    """

    def __init__(self, config: VisualConfig, weights: Path, device: str = "cpu") -> None:
        self.config, self.dtype = config, torch.float32
        self._net, self._weights = load_trace_net(weights, 2 * MEASURES), weights
        self.dim = self._net.dim
        self.digest = self.digest_of(config, weights)

    @staticmethod
    def digest_of(config: VisualConfig, weights: Path, device: str = "cpu") -> str:
        """Name of everything that shapes a vector, without loading the network."""
        shaping = {"network", "short_side", "crop"}
        return extractor_digest("face_traces", SCHEMA_VERSION, config, weights, include=shaping)

    def stream(self, pieces: Iterable[Piece]) -> Iterator[Steps]:
        """Vectors (N, C) float16 and their validity (N,) of one clip that arrives in consecutive pieces.

        A piece is RGB frames (N, H, W, 3) uint8 and their validity (N,). The result is the same, bit by bit, however
        the clip is cut; memory does not grow with it.

        Raises WeightsError when the weights give values that are not finite.
        """
        for measures, valid, core in _windows(measure(pieces)):
            with inference():
                mask = torch.from_numpy(valid).unsqueeze(0)
                left = relative(torch.from_numpy(measures).float().unsqueeze(0), mask)
                vectors = self._net(left, mask).features[0, core].numpy().astype(np.float16)
            if not np.isfinite(vectors).all():
                raise WeightsError("features are not finite", self._weights, "train them again")
            yield vectors, valid[core]


def relative(measures: Tensor, valid: Tensor) -> Tensor:
    """`measures` (B, T, D) less their median over the sequence, beside them less a running one: (B, T, 2 D).

    The sequence is the whole clip, or in longer ones what a pass of the network sees: 15 to 20 s.

    Steps that `valid` (B, T) denies count for nothing and are zero.
    """
    seen = measures.masked_fill(~valid.unsqueeze(-1), torch.nan)
    whole = seen.nanmedian(dim=1, keepdim=True).values
    batch, steps, channels = seen.shape
    padded = F.pad(seen, (0, 0, 0, -steps % BLOCK), value=torch.nan)
    means = padded.view(batch, -1, BLOCK, channels).nanmean(dim=2)
    around = F.pad(means, (0, 0, BLOCKS // 2, BLOCKS // 2), value=torch.nan).unfold(1, BLOCKS, 1)
    running = around.nanmedian(dim=-1).values.repeat_interleave(BLOCK, dim=1)[:, :steps]
    return torch.cat([seen - whole, seen - running], dim=-1).nan_to_num()


def measure(pieces: Iterable[Piece]) -> Iterator[Steps]:
    """Measures (N, `MEASURES`) float16 of the face in each frame of `pieces`, and whether it has one (N,).

    For pieces see `FaceTraces.stream`. A missing frame counts as a repetition where its neighbours are measured, one
    before the first picture as a repetition of that.
    """
    frames: list[NDArray[np.uint8]] = []
    valid: list[bool] = []
    before: NDArray[np.uint8] | None = None
    begun = False
    for images, flags in pieces:
        for image, flag in zip(images, flags.tolist(), strict=True):
            if flag and not begun:
                # What stands before the first picture is black and no neighbour of it.
                begun, before, frames = True, None, [_middle(image)] * len(frames)
            frames.append(_middle(image) if flag or not frames else frames[-1])
            valid.append(flag)
            if len(frames) > _CHUNK:
                yield _measure(before, frames, np.array(valid[:_CHUNK]))
                before = frames[_CHUNK - 1]
                del frames[:_CHUNK], valid[:_CHUNK]
    if frames:
        yield _measure(before, [*frames, frames[-1]], np.array(valid))


def _middle(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`image` (H, W, 3), or its middle where a side is more than `_LONGEST` times the other."""
    side = _LONGEST * min(image.shape[:2])
    top, left = (max(0, (length - side) // 2) for length in image.shape[:2])
    middle = image[top : top + side, left : left + side]
    return image if middle.shape == image.shape else middle.copy()  # a view would hold all of it


def _measure(
    before: NDArray[np.uint8] | None, frames: list[NDArray[np.uint8]], valid: NDArray[np.bool_]
) -> Steps:
    """Measures of all `frames` but the last one, which is a neighbour like `before`."""
    boxes, seen = follow_faces(np.stack(frames[:-1]))
    measures = np.zeros((len(valid), MEASURES), np.float16)
    around = [before if before is not None else frames[0], *frames]
    for first, stop in runs(seen.tolist()):
        energies = face_energies(around[first : stop + 2], boxes[first:stop])
        measures[first:stop] = energies.reshape(stop - first, -1)
    return measures, seen & valid


def _windows(parts: Iterable[Steps]) -> Iterator[tuple[NDArray[np.float16], NDArray[np.bool_], slice]]:
    """Stretches that overlap, each with the part of it that is its own; together these are all steps."""
    values, valid = np.empty((0, MEASURES), np.float16), np.empty(0, np.bool_)
    lead = 0  # steps held that were handed out before
    for part in chain(parts, [None]):
        if part is not None:
            values, valid = np.concatenate([values, part[0]]), np.concatenate([valid, part[1]])
        while len(valid) > lead and (part is None or len(valid) >= lead + _CORE + _CONTEXT):
            stop = min(len(valid), lead + _CORE)
            seen = min(len(valid), lead + _CORE + _CONTEXT)
            yield values[:seen], valid[:seen], slice(lead, stop)
            drop = max(0, stop - _CONTEXT)
            values, valid, lead = values[drop:], valid[drop:], stop - drop
