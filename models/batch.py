"""The model's input: two aligned feature sequences, what is valid of them, and one label for the whole video.

The mask convention of the whole package: a mask is True where media stood behind a step. Features are zero
wherever their mask is False, before and after every module, so that neither padding nor holes ever reach a
score.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data.labels import REAL


@dataclass(frozen=True)
class Batch:
    """Videos for RT-DeepLoc. There is no field for intervals: supervision is weak by construction.

    Shapes: `visual` (B, T, Cv) and `audio` (B, T, Ca) float, `visual_mask` and `audio_mask` (B, T) bool,
    `label` (B,) long in 0..3. A modality that a video lacks has a mask of False throughout.

    Raises ValueError when the shapes disagree.
    """

    visual: Tensor
    audio: Tensor
    visual_mask: Tensor
    audio_mask: Tensor
    label: Tensor

    def __post_init__(self) -> None:
        steps = self.visual_mask.shape
        shapes = {
            self.visual.shape[:2],
            self.audio.shape[:2],
            self.audio_mask.shape,
            (*self.label.shape, steps[1]),
        }
        if shapes != {steps}:
            raise ValueError(
                f"batch of unequal shapes: (videos, steps) is one of {sorted(map(tuple, shapes | {steps}))}"
            )

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`."""
        return Batch(**{name: tensor.to(device) for name, tensor in vars(self).items()})

    @property
    def seen_label(self) -> Tensor:
        """(B,) long: the class of what there is to judge.

        A forgery in a modality without a valid step leaves no trace in the input, so that no target may demand it.
        """
        sees, hears = self.visual_mask.any(dim=1), self.audio_mask.any(dim=1)
        return (self.visual_forged & sees) + 2 * (self.audio_forged & hears)

    @property
    def visual_forged(self) -> Tensor:
        """(B,) bool: the label says that the visual track is forged."""
        return self.label % 2 == 1

    @property
    def audio_forged(self) -> Tensor:
        """(B,) bool: the label says that the audio track is forged."""
        return self.label >= 2

    @property
    def authentic(self) -> Tensor:
        """(B,) bool: the label says that nothing is forged (y = 0 in the paper)."""
        return self.label == REAL
