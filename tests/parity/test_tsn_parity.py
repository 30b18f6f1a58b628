"""Our TSN against mmaction2's own recognizer: same random weights, same frames, same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from openmmlab import features, normalised, random_recognizer, save

from configs.schema import VisualConfig
from extractors.paper.resnet import load_trunk
from extractors.paper.tsn import TSN

pytestmark = pytest.mark.mmaction

DEPTHS = {"resnet18": 18, "resnet50": 50}
CROP = 96


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (5, CROP, CROP, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=sorted(DEPTHS))
def oracle(request: Any, mmaction_models: Any, tmp_path_factory: Any) -> tuple[str, Any, Path]:
    """Architecture, mmaction2's recognizer with random weights, and its checkpoint as OpenMMLab publishes them."""
    recognizer = random_recognizer(mmaction_models, DEPTHS[request.param])
    path = tmp_path_factory.mktemp("openmmlab") / f"{request.param}.pth"
    save(recognizer, path)
    return request.param, recognizer, path


def test_trunk_equals_mmaction_bit_by_bit(oracle: tuple[str, Any, Path], frames: np.ndarray) -> None:
    arch, recognizer, path = oracle
    expected = features(recognizer, torch.from_numpy(frames))
    with torch.inference_mode():
        found = load_trunk(arch, path)(normalised(recognizer, torch.from_numpy(frames))[0])
    assert expected.std() > 1e-2  # the comparison is of real activations, not of zeros
    assert (found - expected).abs().max().item() == 0.0


def test_extractor_equals_mmaction_to_half_precision(
    oracle: tuple[str, Any, Path], frames: np.ndarray
) -> None:
    # Beyond float16 storage (half a unit in the last place) the extractor folds both normalisations into convolutions,
    # which moves float32 sums by a few parts in a million of the largest activation.
    arch, recognizer, path = oracle
    expected = features(recognizer, torch.from_numpy(frames)).numpy()
    found = TSN(VisualConfig(arch=arch, short_side=CROP, crop=CROP), path, dtype="fp32")(frames)
    half_ulp = np.spacing(np.abs(expected).astype(np.float16)).astype(np.float64) / 2
    assert found.shape == expected.shape
    assert np.all(np.abs(found.astype(np.float64) - expected) <= half_ulp + 1e-5 * np.abs(expected).max())


def test_bfloat16_points_where_mmaction_does(oracle: tuple[str, Any, Path], frames: np.ndarray) -> None:
    arch, recognizer, path = oracle
    found = TSN(VisualConfig(arch=arch, short_side=CROP, crop=CROP), path, dtype="bf16")(frames)
    expected = features(recognizer, torch.from_numpy(frames))
    assert torch.cosine_similarity(torch.from_numpy(found).float(), expected).min() >= 0.999
