"""Small convolutional autoencoders of faces in plain numpy, with weights that lie beside this file.

Their decoders are of different make, since each leaves its own texture: transposed convolutions, convolutions whose
channels are laid out as pixels (pixel shuffle), and repeated pixels with a convolution after them (nearest).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

AREA = (-0.02, -0.08, 1.02, 1.2)
"""The part u0, v0, u1, v1 of a face box that the network sees."""

SIDE = 80
"""Pixels of the square that the network draws."""

WEIGHTS = Path(__file__).with_name("autoencoder.safetensors")
"""Of the decoder of transposed convolutions; those of the others are named after them."""

DECODERS = ("transposed", "shuffle", "nearest")
"""Makes of the decoder."""

SLOPE = np.float32(0.1)
"""Of the leaky rectifiers."""


def redraw(faces: NDArray[np.float32], decoder: str = "transposed") -> NDArray[np.float32]:
    """Faces (N, SIDE, SIDE, 3) of 0 to 255 through the network with this `decoder` and back."""
    weights = _weights(decoder)
    drawn = [forward(face[None] / np.float32(255) - np.float32(0.5), weights, decoder)[0] for face in faces]
    return np.clip((np.stack(drawn) + np.float32(0.5)) * np.float32(255), 0, 255)


def forward(
    x: NDArray[np.float32], weights: dict[str, NDArray[np.float32]], decoder: str = "transposed"
) -> NDArray[np.float32]:
    """The network on x (N, H, W, 3): layers `down.K` halve the sides, `code` narrows, layers `up.K` double them.

    Weights are named as in PyTorch's `Conv2d` (out, in, 4, 4) and, for the transposed decoder, `ConvTranspose2d`
    (in, out, 4, 4), stride 2, padding 1; for the others `Conv2d` (out, in, 3, 3), padding 1; `code.in` and `code.out`
    are 1 x 1.
    """
    rise = {"transposed": double, "shuffle": shuffle, "nearest": repeat}[decoder]
    depth = sum(name.startswith("down.") and name.endswith("weight") for name in weights)
    for k in range(depth):
        x = _leaky(halve(x, weights[f"down.{k}.weight"], weights[f"down.{k}.bias"]))
    for name in ("code.in", "code.out"):
        x = _leaky(x @ weights[f"{name}.weight"][:, :, 0, 0].T + weights[f"{name}.bias"])
    for k in range(depth):
        x = rise(x, weights[f"up.{k}.weight"], weights[f"up.{k}.bias"])
        x = _leaky(x) if k < depth - 1 else x
    return x


def weights_of(decoder: str) -> Path:
    """Where the weights of the network with this decoder lie."""
    return WEIGHTS if decoder == DECODERS[0] else WEIGHTS.with_name(f"autoencoder_{decoder}.safetensors")


def halve(
    x: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A convolution of 4 x 4, stride 2 and padding 1 of x (N, H, W, C) with H, W even, as one matrix product."""
    n, height, width, channels = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (4, 4), axis=(1, 2))[:, ::2, ::2]
    columns = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 16 * channels)
    kernel = weight.transpose(2, 3, 1, 0).reshape(16 * channels, -1)
    return (columns @ kernel + bias).reshape(n, height // 2, width // 2, -1)


def double(
    x: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A transposed convolution of 4 x 4, stride 2 and padding 1 of x (N, H, W, C), as one product and overlap-add."""
    n, height, width, channels = x.shape
    kernel = weight.transpose(0, 2, 3, 1).reshape(channels, -1)
    spread = (x.reshape(-1, channels) @ kernel).reshape(n, height, width, 4, 4, -1)
    out = np.zeros((n, 2 * height + 2, 2 * width + 2, weight.shape[1]), np.float32)
    for row in range(4):
        for column in range(4):
            out[:, row : row + 2 * height : 2, column : column + 2 * width : 2] += spread[
                :, :, :, row, column
            ]
    return out[:, 1:-1, 1:-1] + bias


def shuffle(
    x: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A convolution of 3 x 3 to (N, H, W, 4 C), laid out as (N, 2 H, 2 W, C) in the order of `torch.pixel_shuffle`.

    Source: Shi et al., "Real-time single image and video super-resolution" (2016).
    """
    n, height, width, _ = x.shape
    tiles = _convolve(x, weight, bias).reshape(n, height, width, -1, 2, 2)
    return tiles.transpose(0, 1, 4, 2, 5, 3).reshape(n, 2 * height, 2 * width, -1)


def repeat(
    x: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Every pixel of x (N, H, W, C) four times, then a convolution of 3 x 3."""
    return _convolve(x.repeat(2, axis=1).repeat(2, axis=2), weight, bias)


def _convolve(
    x: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float32]:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    columns = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 9 * x.shape[3])
    kernel = weight.transpose(2, 3, 1, 0).reshape(9 * x.shape[3], -1)
    return (columns @ kernel + bias).reshape(*x.shape[:3], -1)


def _leaky(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.maximum(x, SLOPE * x)


@cache
def _weights(decoder: str) -> dict[str, NDArray[np.float32]]:
    return {name: value.astype(np.float32) for name, value in load_file(weights_of(decoder)).items()}
