"""Train the face autoencoder of the forger: `python tools/train_autoencoder.py --clips DIR [--steps 1650]`.

Takes the faces of the first half of the people in DIR (named by its clips.csv), in the order of the SHA-256 of
"0:IDENTITY", and writes the weights as float16 to where the forger looks for them.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from configs.schema import DecodeConfig
from data.errors import ForensicError
from extractors.compact.faces import track_face
from pipeline.forging.manipulations.autoencoder import AREA, DECODERS, SIDE, SLOPE, weights_of
from pipeline.forging.manipulations.geometry import upright
from pipeline.media.whole import read_frames

WIDTHS, CODE = (3, 24, 48, 96), 24
EVERY = 5  # frames between two faces of a clip: neighbours teach nothing new
BATCH = 32


class Autoencoder(nn.Module):
    """Three strided convolutions, a narrow code of 10 x 10 x 24, and the same way back."""

    def __init__(self, decoder: str = DECODERS[0]) -> None:
        super().__init__()
        self.decoder = decoder
        pairs = list(pairwise(WIDTHS))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairs)
        self.code = nn.ModuleDict(
            {"in": nn.Conv2d(WIDTHS[-1], CODE, 1), "out": nn.Conv2d(CODE, WIDTHS[-1], 1)}
        )
        make = {
            "transposed": lambda b, a: nn.ConvTranspose2d(b, a, 4, 2, 1),
            "shuffle": lambda b, a: nn.Conv2d(b, 4 * a, 3, 1, 1),
            "nearest": lambda b, a: nn.Conv2d(b, a, 3, 1, 1),
        }[decoder]
        self.up = nn.ModuleList(make(b, a) for a, b in reversed(pairs))

    def forward(self, x: Tensor) -> Tensor:
        """Faces (N, 3, SIDE, SIDE) of -0.5 to 0.5, and the same again."""
        for layer in (*self.down, *self.code.values()):
            x = nn.functional.leaky_relu(layer(x), float(SLOPE))
        for layer in self.up[:-1]:
            x = nn.functional.leaky_relu(self.rise(layer, x), float(SLOPE))
        return self.rise(self.up[-1], x)

    def rise(self, layer: nn.Module, x: Tensor) -> Tensor:
        """`x` at twice the size."""
        if self.decoder == "nearest":
            x = nn.functional.interpolate(x, scale_factor=2, mode="nearest")
        x = layer(x)
        return nn.functional.pixel_shuffle(x, 2) if self.decoder == "shuffle" else x


def first_half(folder: Path) -> list[Path]:
    """Clips of the first half of the people, in the order of the hashes of their names."""
    with open(folder / "clips.csv", newline="", encoding="utf-8") as table:
        rows = [(row["clip"], row["identity"]) for row in csv.DictReader(table)]
    people = sorted({person for _, person in rows}, key=lambda p: hashlib.sha256(f"0:{p}".encode()).digest())
    chosen = set(people[: len(people) // 2])
    print(f"{len(chosen)} of {len(people)} people: {' '.join(sorted(chosen))}")
    return [folder / clip for clip, person in rows if person in chosen]


def faces(clips: list[Path]) -> NDArray[np.uint8]:
    """Normalised faces (N, SIDE, SIDE, 3) of the clips."""
    crops = []
    for clip in clips:
        try:
            frames = read_frames(clip, DecodeConfig())
        except ForensicError as error:
            print(error)
            continue
        boxes = track_face(frames) if frames is not None else None
        if frames is None or boxes is None:
            continue
        for k in range(0, len(frames), EVERY):
            crops.append(np.clip(upright(frames[k], boxes[k], AREA, (SIDE, SIDE))[0] + 0.5, 0, 255))
    return np.stack(crops).astype(np.uint8)


def batch(pictures: Tensor, chance: torch.Generator) -> Tensor:
    """A random batch, half of it mirrored, each face a little moved and lit otherwise."""
    x = pictures[torch.randint(len(pictures), (BATCH,), generator=chance)].permute(0, 3, 1, 2) / 255
    x = torch.where(torch.rand(BATCH, 1, 1, 1, generator=chance) < 0.5, x.flip(3), x)
    x = x.roll(tuple(torch.randint(-4, 5, (2,), generator=chance).tolist()), (2, 3))
    light = 0.8 + 0.4 * torch.rand(BATCH, 3, 1, 1, generator=chance)
    return (x * light).clamp(0, 1) - 0.5


def stills(folder: Path) -> NDArray[np.uint8]:
    """Normalised faces of pictures that show 1.8 times the box of one face each."""
    crops = []
    for path in sorted(folder.glob("*.jpg")):
        picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        height, width = picture.shape[:2]
        side = max(height, width) / 1.8
        box = np.array([(width - side) / 2, (height - side) / 2, side, side])
        crops.append(np.clip(upright(picture, box, AREA, (SIDE, SIDE))[0] + 0.5, 0, 255))
    return np.stack(crops).astype(np.uint8)


def train(pictures: Tensor, steps: int, decoder: str) -> Autoencoder:
    """Mean absolute error of the colours and of their gradients, which keeps edges, for `steps` batches."""
    torch.manual_seed(0)
    chance = torch.Generator().manual_seed(0)
    network = Autoencoder(decoder).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters())
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * step / steps))
        x = batch(pictures, chance).contiguous(memory_format=torch.channels_last)
        error = network(x) - x
        loss = error.abs().mean() + error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if step % 200 == 199:
            print(f"{step + 1}: {255 * error.detach().abs().mean().item():.2f} of 255", flush=True)
    return network


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--clips", type=Path, help="folder of authentic clips with its clips.csv")
    source.add_argument("--stills", type=Path, help="folder of pictures, 1.8 times the box of a face each")
    parser.add_argument("--decoder", choices=DECODERS, default=DECODERS[0])
    parser.add_argument("--steps", type=int, default=1650)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    pictures = faces(first_half(chosen.clips)) if chosen.clips else stills(chosen.stills)
    print(f"{len(pictures)} faces")
    network = train(torch.from_numpy(pictures), chosen.steps, chosen.decoder)
    weights = {
        name: value.detach().numpy().astype(np.float16) for name, value in network.state_dict().items()
    }
    path = weights_of(chosen.decoder)
    save_file({name: np.ascontiguousarray(value) for name, value in weights.items()}, path)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
