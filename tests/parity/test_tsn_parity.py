"""Our TSN against mmaction2's own recognizer: same random weights, same frames, same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs.schema import VisualConfig
from extractors.resnet import load_trunk
from extractors.tsn import TSN

pytestmark = pytest.mark.mmaction

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
DEPTHS = {"resnet18": 18, "resnet50": 50}
CROP = 96


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (5, CROP, CROP, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=sorted(DEPTHS))
def oracle(request: Any, mmaction_models: Any, tmp_path_factory: Any) -> tuple[str, Any, Path]:
    """Architecture, mmaction2's recognizer with random weights, and its checkpoint as OpenMMLab publishes them."""
    from mmengine.runner import save_checkpoint

    torch.manual_seed(11)
    channels = 2048 if request.param == "resnet50" else 512
    recognizer = mmaction_models.build(
        {
            "type": "Recognizer2D",
            "backbone": {"type": "ResNet", "depth": DEPTHS[request.param], "norm_eval": False},
            "cls_head": {"type": "TSNHead", "num_classes": 200, "in_channels": channels},
            "data_preprocessor": {
                "type": "ActionDataPreprocessor",
                "mean": MEAN,
                "std": STD,
                "format_shape": "NCHW",
            },
        }
    )
    for module in recognizer.modules():  # fresh running statistics would make normalisation a mere scaling
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
    recognizer.eval()
    path = tmp_path_factory.mktemp("openmmlab") / f"{request.param}.pth"
    save_checkpoint(
        {"state_dict": recognizer.state_dict(), "meta": {"epoch": 50, "config": "a text"}}, str(path)
    )
    return request.param, recognizer, path


def mmaction_input(recognizer: Any, frames: np.ndarray) -> torch.Tensor:
    """Normalised pixels (N, 3, H, W) as mmaction2's own preprocessing gives them."""
    clip = torch.from_numpy(frames).permute(0, 3, 1, 2)  # (segments, 3, H, W), as its FormatShape gives
    return recognizer.data_preprocessor({"inputs": [clip], "data_samples": [None]})["inputs"]


def mmaction_features(recognizer: Any, frames: np.ndarray) -> torch.Tensor:
    """Pooled features (N, C) through mmaction2's own preprocessing and feature path."""
    with torch.inference_mode():
        maps, _ = recognizer.extract_feat(mmaction_input(recognizer, frames), stage="backbone")
        return recognizer.cls_head.avg_pool(maps)[..., 0, 0]


def test_trunk_equals_mmaction_bit_by_bit(oracle: tuple[str, Any, Path], frames: np.ndarray) -> None:
    arch, recognizer, path = oracle
    expected = mmaction_features(recognizer, frames)
    with torch.inference_mode():
        found = load_trunk(arch, path)(mmaction_input(recognizer, frames)[0])
    assert expected.std() > 1e-2  # the comparison is of real activations, not of zeros
    assert (found - expected).abs().max().item() == 0.0


def test_extractor_equals_mmaction_to_half_precision(
    oracle: tuple[str, Any, Path], frames: np.ndarray
) -> None:
    # Beyond float16 storage (half a unit in the last place) the extractor folds both normalisations into convolutions,
    # which moves float32 sums by a few parts in a million of the largest activation.
    arch, recognizer, path = oracle
    expected = mmaction_features(recognizer, frames).numpy()
    found = TSN(VisualConfig(arch=arch, short_side=CROP, crop=CROP), path, dtype="fp32")(frames)
    half_ulp = np.spacing(np.abs(expected).astype(np.float16)).astype(np.float64) / 2
    assert found.shape == expected.shape
    assert np.all(np.abs(found.astype(np.float64) - expected) <= half_ulp + 1e-5 * np.abs(expected).max())


def test_bfloat16_points_where_mmaction_does(oracle: tuple[str, Any, Path], frames: np.ndarray) -> None:
    arch, recognizer, path = oracle
    found = TSN(VisualConfig(arch=arch, short_side=CROP, crop=CROP), path, dtype="bf16")(frames)
    expected = mmaction_features(recognizer, frames)
    assert torch.cosine_similarity(torch.from_numpy(found).float(), expected).min() >= 0.999
