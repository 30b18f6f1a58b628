"""Trunks: sizes, the three file formats, and refusal of files that are none."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from data.errors import WeightsError
from extractors.paper.resnet import build_trunk, fuse_batch_norm, load_trunk, trunk_dim


def randomised(trunk: torch.nn.Module, seed: int = 3) -> torch.nn.Module:
    """Statistics as after training: fresh ones would make normalisation a mere scaling."""
    torch.manual_seed(seed)
    for module in trunk.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
    return trunk.eval()


def openmmlab_name(name: str) -> str:
    """The name that OpenMMLab's ConvModule gives to a torchvision tensor, piece by piece."""
    parts = name.split(".")
    if "downsample" in parts:
        at = parts.index("downsample") + 1
        parts[at] = {"0": "conv", "1": "bn"}[parts[at]]
    else:
        kind, number = parts[-2][:-1], parts[-2][-1]
        parts[-2:-1] = [f"conv{number}", kind]
    return "backbone." + ".".join(parts)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("arch", "dim"), [("resnet18", 512), ("resnet50", 2048)])
def test_trunk_gives_one_vector_per_image(arch: Any, dim: int, images: torch.Tensor) -> None:
    with torch.inference_mode():
        assert build_trunk(arch).eval()(images).shape == (2, dim)
    assert trunk_dim(arch) == dim


def test_safetensors_round_trip_is_exact(tmp_path: Path, images: torch.Tensor) -> None:
    trunk = randomised(build_trunk("resnet18"))
    save_file(trunk.state_dict(), tmp_path / "tsn.safetensors")
    loaded = load_trunk("resnet18", tmp_path / "tsn.safetensors")
    assert not loaded.training
    with torch.inference_mode():
        assert torch.equal(loaded(images), trunk(images))


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_openmmlab_checkpoint_loads_by_renaming(arch: Any, tmp_path: Path, images: torch.Tensor) -> None:
    trunk = randomised(build_trunk(arch))
    state = {openmmlab_name(name): tensor for name, tensor in trunk.state_dict().items()}
    assert "backbone.conv1.conv.weight" in state
    assert "backbone.layer2.0.downsample.bn.running_var" in state
    state |= {"cls_head.fc_cls.weight": torch.zeros(200, 8), "cls_head.fc_cls.bias": torch.zeros(200)}
    torch.save({"meta": {"epoch": 50}, "state_dict": state}, tmp_path / "tsn.pth")
    with torch.inference_mode():
        assert torch.equal(load_trunk(arch, tmp_path / "tsn.pth")(images), trunk(images))


def test_torchvision_state_dict_loads_without_its_classifier(tmp_path: Path, images: torch.Tensor) -> None:
    torch.manual_seed(0)
    whole = resnet18().eval()
    torch.save(whole.state_dict(), tmp_path / "resnet18.pth")
    pooled: list[torch.Tensor] = []
    whole.avgpool.register_forward_hook(lambda _m, _i, output: pooled.append(output.flatten(1)))
    with torch.inference_mode():
        whole(images)
        assert torch.equal(load_trunk("resnet18", tmp_path / "resnet18.pth")(images), pooled[0])


def test_fusing_batch_norm_keeps_the_function_and_the_original(images: torch.Tensor) -> None:
    trunk = randomised(build_trunk("resnet50"))
    fused = fuse_batch_norm(trunk)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in trunk.modules()) == 53
    with torch.inference_mode():
        expected = trunk(images)
        torch.testing.assert_close(fused(images), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(build_trunk("resnet18").state_dict(), tmp_path / "tsn.safetensors")
    with pytest.raises(WeightsError, match=r"not weights of a resnet50: lacks layer1\.0\.conv3") as caught:
        load_trunk("resnet50", tmp_path / "tsn.safetensors")
    assert "visual.arch" in str(caught.value)


def test_tensors_of_another_shape_are_refused(tmp_path: Path) -> None:
    state = build_trunk("resnet18").state_dict()
    state["conv1.weight"] = torch.zeros(64, 10, 7, 7)  # a flow network: ten channels
    save_file(state, tmp_path / "tsn.safetensors")
    with pytest.raises(
        WeightsError, match=r"conv1\.weight of shape \(64, 10, 7, 7\) instead of \(64, 3, 7, 7\)"
    ):
        load_trunk("resnet18", tmp_path / "tsn.safetensors")


@pytest.mark.parametrize("name", ["tsn.safetensors", "tsn.pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x00" * 64])
def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        load_trunk("resnet18", tmp_path / name)


def test_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tsn.pth"
    torch.save(build_trunk("resnet18").state_dict(), path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(WeightsError, match="not a readable checkpoint"):
        load_trunk("resnet18", path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.pth: no such weights file"):
        load_trunk("resnet18", tmp_path / "absent.pth")


@pytest.mark.parametrize("content", [{"state_dict": {}}, {"state_dict": {"conv1.weight": 3}}, [1, 2]])
def test_checkpoint_without_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(WeightsError):
        load_trunk("resnet18", tmp_path / "odd.pth")


class Payload:
    """Unpickled by a careless reader, it creates a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_that_would_run_code_is_refused(tmp_path: Path, zipped: bool) -> None:
    path, target = tmp_path / "evil.pth", tmp_path / "created"
    if zipped:
        torch.save({"state_dict": Payload(target)}, path)
    else:
        path.write_bytes(pickle.dumps({"state_dict": Payload(target)}, protocol=2))
    with pytest.raises(WeightsError, match="refused"):
        load_trunk("resnet18", path)
    assert not target.exists()


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    state = build_trunk("resnet18").state_dict()
    state["layer1.0.bn1.running_var"][0] = float("inf")
    save_file(state, tmp_path / "broken.safetensors")
    with pytest.raises(WeightsError, match=r"layer1\.0\.bn1\.running_var are not finite"):
        load_trunk("resnet18", tmp_path / "broken.safetensors")
