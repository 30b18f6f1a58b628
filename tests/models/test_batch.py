"""Batches: label arithmetic, shape checks, weak supervision by construction."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from model_factory import random_batch

from data.labels import CLASSES
from models.batch import Batch


def test_label_is_modify_video_plus_twice_modify_audio() -> None:
    assert CLASSES == ("real", "visual", "audio", "both")
    batch = random_batch([0, 1, 2, 3], 2)
    assert batch.visual_forged.tolist() == [False, True, False, True]
    assert batch.audio_forged.tolist() == [False, False, True, True]
    assert batch.authentic.tolist() == [True, False, False, False]


def test_a_batch_has_no_place_for_intervals() -> None:
    assert {field.name for field in dataclasses.fields(Batch)} == {
        "visual",
        "audio",
        "visual_mask",
        "audio_mask",
        "label",
    }


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("visual", torch.zeros(2, 4, 6)),
        ("audio", torch.zeros(3, 3, 5)),
        ("audio_mask", torch.ones(2, 4, dtype=torch.bool)),
        ("label", torch.zeros(3, dtype=torch.long)),
    ],
)
def test_unequal_shapes_are_refused(name: str, wrong: torch.Tensor) -> None:
    batch = random_batch([0, 1], 3)
    with pytest.raises(ValueError, match="unequal shapes"):
        dataclasses.replace(batch, **{name: wrong})


def test_to_moves_every_tensor() -> None:
    moved = random_batch([0, 1], 3).to("meta")
    assert {tensor.device.type for tensor in vars(moved).values()} == {"meta"}
