"""mmaction2 1.2.0 made importable, and its recognizer with random weights: for the tests here and for benchmarks."""

from __future__ import annotations

import sys
import types
from typing import Any

import torch

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def registry() -> Any:
    """mmaction2's model registry.

    Its wheel forgets the subpackage `mmaction.models.localizers.drn`, which nothing here needs: an empty stand-in is
    put in its place before the import.
    """
    package = types.ModuleType("mmaction.models.localizers.drn")
    module = types.ModuleType("mmaction.models.localizers.drn.drn")
    package.__path__ = []
    module.DRN = type("DRN", (), {})  # type: ignore[attr-defined]
    sys.modules.update({package.__name__: package, module.__name__: module})
    import mmaction.models  # noqa: F401 - registers the models
    from mmaction.registry import MODELS
    from mmengine.registry import init_default_scope

    init_default_scope("mmaction")
    return MODELS


def random_recognizer(models: Any, depth: int) -> Any:
    """A TSN recognizer of `depth` layers with random weights and statistics, in evaluation mode."""
    torch.manual_seed(11)
    recognizer = models.build(
        {
            "type": "Recognizer2D",
            "backbone": {"type": "ResNet", "depth": depth, "norm_eval": False},
            "cls_head": {
                "type": "TSNHead",
                "num_classes": 200,
                "in_channels": 2048 if depth >= 50 else 512,
            },
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
    return recognizer.eval()


def save(recognizer: Any, path: Any) -> None:
    """Writes the checkpoint as OpenMMLab publishes them."""
    from mmengine.runner import save_checkpoint

    save_checkpoint(
        {"state_dict": recognizer.state_dict(), "meta": {"epoch": 50, "config": "a text"}}, str(path)
    )


def normalised(recognizer: Any, frames: torch.Tensor) -> torch.Tensor:
    """Normalised pixels (1, N, 3, H, W) of frames (N, H, W, 3), as mmaction2's own preprocessing gives them."""
    clip = frames.permute(0, 3, 1, 2)  # (segments, 3, H, W), as its FormatShape gives
    return recognizer.data_preprocessor({"inputs": [clip], "data_samples": [None]})["inputs"]


def features(recognizer: Any, frames: torch.Tensor) -> torch.Tensor:
    """Pooled features (N, C) through mmaction2's own preprocessing and feature path."""
    with torch.inference_mode():
        maps, _ = recognizer.extract_feat(normalised(recognizer, frames), stage="backbone")
        return recognizer.cls_head.avg_pool(maps)[..., 0, 0]
