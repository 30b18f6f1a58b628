"""The fused trunk against the plain one on normalised pixels: direction, borders, odd sizes, every format."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from formats import FORMATS
from torch import Tensor, nn
from torch.nn import functional

from extractors.paper import onednn
from extractors.paper.fused_resnet import FusedTrunk, _max_pool
from extractors.paper.resnet import build_trunk

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
CPU = torch.device("cpu")
EACH_FORMAT = pytest.mark.parametrize("dtype", FORMATS)


def random_trunk(arch: Any) -> nn.Module:
    """A trunk whose running statistics and scales are not those of a fresh one."""
    torch.manual_seed(3)
    trunk = build_trunk(arch).eval()
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return trunk


def frames(height: int, width: int, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (count, height, width, 3), generator=generator, dtype=torch.uint8)


def plain(trunk: nn.Module, images: Tensor) -> Tensor:
    """What the trunk gives for normalised pixels, in float32."""
    pixels = (images.permute(0, 3, 1, 2).float() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(
        3, 1, 1
    )
    vectors: Tensor = trunk(pixels)
    return vectors


@EACH_FORMAT
@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
@torch.inference_mode()
def test_vectors_point_where_those_of_the_plain_trunk_do(arch: str, dtype: torch.dtype) -> None:
    trunk, images = random_trunk(arch), frames(64, 64)
    found = FusedTrunk(trunk, MEAN, STD, CPU, dtype)(images)
    assert found.dtype is torch.float32
    assert torch.cosine_similarity(found, plain(trunk, images)).min() >= 0.999


@pytest.mark.parametrize("size", [(64, 64), (33, 33), (34, 47), (47, 34), (8, 7)])
@torch.inference_mode()
def test_float32_is_the_plain_trunk_but_for_the_border_of_the_mean_colour(size: tuple[int, int]) -> None:
    trunk, images = random_trunk("resnet18"), frames(*size)
    expected = plain(trunk, images)
    found = FusedTrunk(trunk, MEAN, STD, CPU, torch.float32)(images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@EACH_FORMAT
@torch.inference_mode()
def test_separate_operations_agree_with_fused_ones(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    trunk, images = random_trunk("resnet18"), frames(48, 48)
    fused = FusedTrunk(trunk, MEAN, STD, CPU, dtype)(images)
    monkeypatch.setattr(onednn, "has_onednn", lambda dtype: False)
    separate = FusedTrunk(trunk, MEAN, STD, CPU, dtype)(images)
    if dtype == torch.float32:
        assert (separate - fused).abs().max() <= 1e-5 * separate.abs().max()
    assert torch.cosine_similarity(separate, fused).min() >= 0.999


@EACH_FORMAT
@torch.inference_mode()
def test_threads_do_not_change_a_bit(dtype: torch.dtype) -> None:
    trunk = FusedTrunk(random_trunk("resnet18"), MEAN, STD, CPU, dtype)
    images = frames(96, 96)
    alone = trunk(images)
    torch.set_num_threads(2)
    try:
        assert torch.equal(trunk(images), alone)
    finally:
        torch.set_num_threads(1)


@EACH_FORMAT
@torch.inference_mode()
def test_the_trunk_that_is_given_stays_as_it_was(dtype: torch.dtype) -> None:
    trunk = random_trunk("resnet18")
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}
    FusedTrunk(trunk, MEAN, STD, CPU, dtype)(frames(32, 32))
    assert all(torch.equal(tensor, before[name]) for name, tensor in trunk.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(8, 8), (9, 9), (5, 6), (6, 5), (1, 3), (2, 2)])
@torch.inference_mode()
def test_pooling_by_integers_is_max_pooling(dtype: torch.dtype, size: tuple[int, int]) -> None:
    maps = torch.randn(2, 8, *size).relu().to(dtype).contiguous(memory_format=torch.channels_last)
    assert torch.equal(_max_pool(maps), functional.max_pool2d(maps, 3, 2, 1))
