"""The networks of the compact extractors as ONNX files, for programs that have no PyTorch."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data.errors import UsageError
from data.files import replacing
from data.labels import RATE
from extractors.compact.ear import FFT, STRIDE, Ear, load_ear
from extractors.compact.evidence_net import EvidenceNet, LookHead
from extractors.compact.eye import SIDE, load_eye
from extractors.compact.face_traces import MEASURES
from extractors.compact.sound_traces import ABSOLUTE, RELATIVE
from extractors.compact.weights import load_part, load_tensors

OPSET = 20
_STEPS = 50


class _ExactEar(Ear):
    """An ear whose spectra are taken in float64: runtimes take them less exactly in float32 than PyTorch does."""

    def power(self, waves: Tensor) -> Tensor:
        """Power spectra, in float32."""
        window = self.window.double()
        spectra = torch.stft(waves.double(), FFT, STRIDE, window=window, return_complex=True)
        return torch.view_as_real(spectra).square().sum(dim=-1).float()


@dataclass(frozen=True)
class Exported:
    """A network, its inputs by name with an example of each, its outputs, and the axes that may be of any size."""

    network: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    free: tuple[int, ...]


def picture_networks(weights: Path) -> dict[str, Exported]:
    """Networks of `FaceTraces` by the name of their file. Raises WeightsError when `weights` hold others."""
    tensors = load_tensors(weights)
    eye = load_eye(tensors, weights)
    head = load_part(LookHead(eye.dim), tensors, "head.", weights)
    net = load_part(EvidenceNet(2 * MEASURES, MEASURES), tensors, "net.", weights)
    seen = torch.zeros(2, eye.dim)
    return {
        "eye": Exported(eye, {"faces": torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8)}, ("seen",), (0,)),
        "look": Exported(head, {"relative": seen, "absolute": seen.clone()}, ("evidence",), (0,)),
        "picture": _evidence(net, 2 * MEASURES, MEASURES),
    }


def sound_networks(weights: Path) -> dict[str, Exported]:
    """Networks of `VoiceTraces` by the name of their file. Raises WeightsError when `weights` hold others."""
    tensors = load_tensors(weights)
    ear = load_ear(tensors, weights)
    exact = _ExactEar(ear.dim // 2, len(ear.blocks))
    exact.load_state_dict(ear.state_dict())
    net = load_part(EvidenceNet(RELATIVE + ear.dim, ABSOLUTE + ear.dim), tensors, "net.", weights)
    return {
        # One recording at a time, as the extractor gives them to it.
        "ear": Exported(exact.eval(), {"waves": torch.zeros(1, RATE)}, ("states",), (1,)),
        "sound": _evidence(net, RELATIVE + ear.dim, ABSOLUTE + ear.dim),
    }


def _evidence(net: EvidenceNet, relative: int, absolute: int) -> Exported:
    inputs = {
        "relative": torch.zeros(2, _STEPS, relative),
        "absolute": torch.zeros(2, _STEPS, absolute),
        "valid": torch.ones(2, _STEPS, dtype=torch.bool),
    }
    return Exported(net, inputs, ("states", "evidence"), (0, 1))


def write_onnx(exported: Exported, path: Path) -> None:
    """Write the network to `path`, in float32.

    Raises UsageError when the packages that this needs are missing, or the file cannot be written.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        problem = f"needs {' and '.join(missing)}"
        raise UsageError(problem, path, "install the extra: pip install '.[onnx]' in the checkout")
    free: dict[int, Any] = dict.fromkeys(exported.free, torch.export.Dim.DYNAMIC)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own insides
        torch.onnx.export(
            exported.network,
            tuple(exported.inputs.values()),
            temporary,
            input_names=list(exported.inputs),
            output_names=list(exported.outputs),
            dynamic_shapes=tuple(dict(free) for _ in exported.inputs),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
