"""Weights of the compact extractors with small random networks, whose evidence varies from step to step."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from extractors.compact.ear import Ear
from extractors.compact.evidence_net import EvidenceNet, LookHead
from extractors.compact.eye import SIDE, Eye
from extractors.compact.face_traces import MEASURES
from extractors.compact.sound_traces import ABSOLUTE, RELATIVE

SMALL = 64
"""Width of these ears and eyes: that of one attention head."""

LOUD = 3.0
"""How much the last layers say in place of what PyTorch's initial weights do, which is next to nothing."""


def shaken(network: nn.Module, seed: int = 0) -> nn.Module:
    """`network` in evaluation mode, every parameter moved at random: also those that begin as zeros or ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def random_ear(seed: int = 0, blocks: int = 2) -> Ear:
    """A small ear."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        ear = Ear(SMALL, blocks)
    shaken(ear, seed)
    return ear


def random_eye(seed: int = 0, layers: int = 2) -> Eye:
    """A small eye."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        eye = Eye(SMALL, layers)
    shaken(eye, seed)
    return eye


def random_net(relative: int, absolute: int, seed: int = 0, spread: float = 1.0) -> EvidenceNet:
    """A network over measures of deviation `spread`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = EvidenceNet(relative, absolute)
        net.relative.fit(spread * torch.randn(500, relative))
        net.absolute.fit(spread * torch.randn(500, absolute))
    _louder(net.inside, net.edges, net.whole)
    return net.eval()


def random_head(eye: Eye, seed: int = 0) -> LookHead:
    """A head over what `eye` sees of blurred noise."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = LookHead(eye.dim)
        blots = nn.functional.interpolate(256 * torch.rand(16, 3, 7, 7), (SIDE, SIDE), mode="bicubic")
        with torch.inference_mode():
            seen = eye(blots.clamp(0, 255).permute(0, 2, 3, 1))
        head.relative.fit(seen - seen.median(dim=0).values)
        head.absolute.fit(seen)
    _louder(head.relative.leave, head.absolute.leave)
    return head.eval()


def face_tensors(seed: int = 0) -> dict[str, Tensor]:
    """Weights of a small `FaceTraces`, by name."""
    eye = random_eye(seed)
    parts = {"net.": random_net(2 * MEASURES, MEASURES, seed), "head.": random_head(eye, seed), "eye.": eye}
    return _named(parts)


def voice_tensors(seed: int = 0) -> dict[str, Tensor]:
    """Weights of a small `VoiceTraces`, by name."""
    ear = random_ear(seed)
    return _named({"net.": random_net(RELATIVE + ear.dim, ABSOLUTE + ear.dim, seed, 5.0), "ear.": ear})


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> Path:
    """Writes a safetensors file and returns `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path


def small_parts(folder: Path) -> list[str]:
    """Settings of pre-training that name a small eye and ear, written to `folder`."""
    eye = write_tensors(folder / "faces.safetensors", face_tensors())
    ear = write_tensors(folder / "voices.safetensors", voice_tensors())
    return [f"pretrain.eye={eye}", f"pretrain.ear={ear}"]


def _louder(*layers: nn.Module) -> None:
    with torch.no_grad():
        for layer in layers:
            layer.weight.mul_(LOUD)  # type: ignore[operator]


def _named(parts: dict[str, nn.Module]) -> dict[str, Tensor]:
    return {
        prefix + name: value.contiguous()
        for prefix, part in parts.items()
        for name, value in part.state_dict().items()
    }
