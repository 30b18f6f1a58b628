"""Networks that are exported to ONNX say what PyTorch says, whatever the length."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extractor_factory import face_tensors, voice_tensors, write_tensors
from torch import Tensor

from data.errors import UsageError
from extractors.compact.ear import load_ear
from extractors.compact.export import Exported, picture_networks, sound_networks, write_onnx
from extractors.compact.weights import load_tensors

onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, which is not installed")
pytest.importorskip("onnxscript", reason="needs onnxscript, which is not installed")

SIZES = {
    "eye": ((3,), (1,)),
    "look": ((5,), (1,)),
    "picture": ((1, 80), (3, 31)),
    "sound": ((1, 80), (3, 31)),
}
"""Sizes of the free axes for which outputs are compared; none is that of the example."""
SIZES["ear"] = ((16_000 * 4,), (16_000 * 2 + 123,))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """Small random networks of both extractors."""
    folder = tmp_path_factory.mktemp("weights")
    return {
        **picture_networks(write_tensors(folder / "face.safetensors", face_tensors())),
        **sound_networks(write_tensors(folder / "voice.safetensors", voice_tensors())),
    }


def drawn(exported: Exported, sizes: tuple[int, ...], generator: torch.Generator) -> list[Tensor]:
    """Inputs whose free axes have `sizes`."""
    found = []
    for example in exported.inputs.values():
        shape = list(example.shape)
        for axis, size in zip(exported.free, sizes, strict=True):
            shape[axis] = size
        if example.dtype == torch.uint8:
            found.append(torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8))
        elif example.dtype == torch.bool:
            found.append(torch.rand(shape, generator=generator) > 0.3)
        else:
            found.append(torch.randn(shape, generator=generator) * (0.1 if len(shape) == 2 else 1.0))
    return found


@pytest.mark.parametrize("name", SIZES)
def test_onnx_says_what_torch_says(name: str, networks: dict[str, Exported], tmp_path: Path) -> None:
    exported, path = networks[name], tmp_path / f"{name}.onnx"
    voice = write_tensors(tmp_path / "voice.safetensors", voice_tensors())
    ear = load_ear(load_tensors(voice), voice)  # what is exported takes its spectra in float64
    write_onnx(exported, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == list(exported.inputs)
    generator = torch.Generator().manual_seed(0)
    for sizes in SIZES[name]:
        inputs = drawn(exported, sizes, generator)
        with torch.inference_mode():
            answer = (ear if name == "ear" else exported.network)(*inputs)
        expected = [answer] if isinstance(answer, Tensor) else list(answer)
        fed = dict(zip(exported.inputs, (value.numpy() for value in inputs), strict=True))
        found = session.run(list(exported.outputs), fed)
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert theirs.std() > 1e-3  # there is something to differ in
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-4)


def test_without_the_packages_the_extra_is_named(
    networks: dict[str, Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs onnx and onnxscript.*\.\[onnx\]"):
        write_onnx(networks["look"], tmp_path / "look.onnx")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_all_networks_of_a_folder(cli: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    write_tensors(folder / "face_traces.safetensors", face_tensors())
    write_tensors(folder / "voice_traces.safetensors", voice_tensors())
    (folder / "config.yaml").write_text(
        "preset: compact\n"
        "visual: {network: face_traces, weights: 'shipped:face_traces.safetensors'}\n"
        "audio: {network: voice_traces, weights: 'shipped:voice_traces.safetensors'}\n"
    )
    answer = cli("weights", "export", "--weights", folder, "--onnx", "networks")
    assert answer.code == 0, answer.err
    names = sorted(path.name for path in Path("networks").iterdir())
    assert names == ["ear.onnx", "eye.onnx", "look.onnx", "picture.onnx", "sound.onnx"]
    assert [Path(line).name for line in answer.out.splitlines()] == [
        "eye.onnx",
        "look.onnx",
        "picture.onnx",
        "ear.onnx",
        "sound.onnx",
    ]


def test_networks_of_other_extractors_are_refused(cli: Callable[..., Any], tiny_bundle: Path) -> None:
    answer = cli("weights", "export", "--weights", tiny_bundle, "--onnx", "networks")
    assert answer.code == 2
    assert "other extractors" in answer.err
