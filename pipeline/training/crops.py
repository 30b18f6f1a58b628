"""What the networks of compact are trained on: crops of clips with their relative and absolute measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.schema import PretrainConfig
from extractors.compact.energies import CHANNELS, SIDE
from pipeline.training.labelled import LabelledSteps

_BESIDE = 0.4  # how much of an edge the steps beside it are

Split = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Measures (B, T, D) and validity (B, T) to relative and absolute ones."""

Mirror = Callable[[NDArray[np.float16], bool, bool], NDArray[np.float16]]


class Prepared(NamedTuple):
    """A clip with its `relative` (T, D) and `absolute` (T, E) measures.

    They are relative to the whole clip, as they are when it is analysed.
    """

    steps: LabelledSteps
    relative: NDArray[np.float16]
    absolute: NDArray[np.float16]

    @property
    def kind(self) -> str:
        """What was done to the clip."""
        return self.steps.kind


def prepare(clip: LabelledSteps, split: Split) -> Prepared:
    """`clip` with its measures as `split` tells them."""
    measures = torch.from_numpy(clip.measured.measures).float().unsqueeze(0)
    parts = split(measures, torch.from_numpy(clip.measured.valid).unsqueeze(0))
    relative, absolute = (part[0].numpy().astype(np.float16) for part in parts)
    return Prepared(clip, relative, absolute)


class Target(NamedTuple):
    """What the network is to say of the steps of some crops (B, T), and how much each step counts.

    `forged` is 1 in forged steps; `edges` (B, T, 2) are 1 in their first and last ones and `_BESIDE` next to these.
    `weight` is 0 for invalid steps; `partial` is `weight`, but 0 in clips that are forged from end to end.
    """

    forged: Tensor
    edges: Tensor
    weight: Tensor
    partial: Tensor


def cut(
    clip: Prepared, length: int, mirror: Mirror | None, settings: PretrainConfig, rng: np.random.Generator
) -> tuple[Tensor, ...]:
    """`length` steps of a clip, around an edited one if it was edited in part: measures, validity, and a `Target`'s."""
    steps, relative, absolute = clip
    valid, forged, sham = steps.measured.valid, steps.forged, steps.sham
    last = max(0, len(valid) - length)
    edited = np.flatnonzero(forged | sham)
    first = int(rng.integers(last + 1))
    if len(edited) and not steps.whole:
        first = int(np.clip(rng.choice(edited) - rng.integers(length), 0, last))
    part = slice(first, first + length)
    weight = np.where(forged, 1.0, np.where(sham, settings.sham_weight, settings.authentic_weight)) * valid
    columns = [
        valid.astype(np.float32),
        forged.astype(np.float32),
        edges(forged),
        weight,
        weight * (not steps.whole),
    ]
    rows = [relative[part], absolute[part], *(column[part] for column in columns)]
    if mirror is not None:
        across, backwards = (bool(turned) for turned in rng.random(2) < 0.5)
        rows[:2] = (mirror(row, across, backwards) for row in rows[:2])
        if backwards:
            rows[2:] = (row[::-1] for row in rows[2:])
            rows[4] = rows[4][:, ::-1]  # what began ends
    shown, *target = (_padded(row, length) for row in rows[2:])
    return _padded(rows[0], length), _padded(rows[1], length), shown > 0, *target


def _padded(values: NDArray[np.floating], length: int) -> Tensor:
    """`values` (N, ...) as float32, with zeros behind them up to `length`."""
    rest = [(0, length - len(values)), *[(0, 0)] * (values.ndim - 1)]
    return torch.from_numpy(np.pad(values.astype(np.float32), rest))


def edges(forged: NDArray[np.bool_]) -> NDArray[np.float32]:
    """How much each step (T,) is the first of a forged span, and how much the last: (T, 2) in [0, 1].

    The clip's own ends are no edges.
    """
    found = np.zeros((len(forged), 2), np.float32)
    found[1:, 0] = forged[1:] & ~forged[:-1]
    found[:-1, 1] = forged[:-1] & ~forged[1:]
    beside = _BESIDE * np.maximum(np.pad(found, ((1, 0), (0, 0)))[:-1], np.pad(found, ((0, 1), (0, 0)))[1:])
    return np.maximum(found, beside)


def mirrored(measures: NDArray[np.float16], across: bool, backwards: bool) -> NDArray[np.float16]:
    """Measures (T, D) of faces as those of the mirrored picture, or of the clip played backwards."""
    cells = measures.reshape(len(measures), -1, len(CHANNELS), SIDE, SIDE)
    if across:
        cells = cells[..., ::-1]
    if backwards:
        turned = [_TURNED.get(name, name) for name in CHANNELS]
        cells = cells[::-1][:, :, [CHANNELS.index(name) for name in turned]]
    return cells.reshape(measures.shape)


_TURNED = {name: name.replace("before", "after") for name in CHANNELS if name.endswith("_before")}
_TURNED |= {after: before for before, after in _TURNED.items()}
