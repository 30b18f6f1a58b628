"""The numpy autoencoder computes what PyTorch computes, and its shipped weights redraw faces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import nn

from pipeline.forging.manipulations.autoencoder import (
    DECODERS,
    SIDE,
    SLOPE,
    WEIGHTS,
    double,
    forward,
    halve,
    redraw,
    repeat,
    shuffle,
)


def channels_first(x: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def channels_last(x: torch.Tensor) -> NDArray[np.float32]:
    return x.numpy().transpose(0, 2, 3, 1)


@pytest.fixture
def x() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(2, 12, 20, 5)).astype(np.float32)


def test_halving_is_a_strided_convolution(x: NDArray[np.float32]) -> None:
    layer = nn.Conv2d(5, 7, 4, 2, 1)
    with torch.no_grad():
        assert layer.bias is not None
        expected = channels_last(layer(channels_first(x)))
        found = halve(x, layer.weight.numpy(), layer.bias.numpy())
    assert found.shape == (2, 6, 10, 7)
    assert np.abs(found - expected).max() < 1e-5


def test_doubling_is_a_transposed_convolution(x: NDArray[np.float32]) -> None:
    layer = nn.ConvTranspose2d(5, 3, 4, 2, 1)
    with torch.no_grad():
        assert layer.bias is not None
        expected = channels_last(layer(channels_first(x)))
        found = double(x, layer.weight.numpy(), layer.bias.numpy())
    assert found.shape == (2, 24, 40, 3)
    assert np.abs(found - expected).max() < 1e-5


def test_doubling_spreads_a_point_over_four_by_four_pixels() -> None:
    point = np.zeros((1, 3, 3, 1), np.float32)
    point[0, 1, 1] = 1
    weight = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    spread = double(point, weight, np.zeros(1, np.float32))[0, :, :, 0]
    # Input pixel 1 reaches output pixels 2 * 1 - 1 = 1 to 4.
    assert np.array_equal(spread[1:5, 1:5], weight[0, 0])
    assert spread.sum() == weight.sum()


def test_the_whole_network_with_its_shipped_weights() -> None:
    weights = {name: value.astype(np.float32) for name, value in load_file(WEIGHTS).items()}
    faces = np.random.default_rng(1).uniform(-0.5, 0.5, (2, SIDE, SIDE, 3)).astype(np.float32)
    y = channels_first(faces)
    as_torch = {name: torch.from_numpy(value) for name, value in weights.items()}

    def leaky(z: torch.Tensor) -> torch.Tensor:
        return nn.functional.leaky_relu(z, float(SLOPE))

    for k in range(3):
        y = leaky(nn.functional.conv2d(y, as_torch[f"down.{k}.weight"], as_torch[f"down.{k}.bias"], 2, 1))
    for name in ("code.in", "code.out"):
        y = leaky(nn.functional.conv2d(y, as_torch[f"{name}.weight"], as_torch[f"{name}.bias"]))
    for k in range(3):
        y = nn.functional.conv_transpose2d(y, as_torch[f"up.{k}.weight"], as_torch[f"up.{k}.bias"], 2, 1)
        y = leaky(y) if k < 2 else y
    assert np.abs(forward(faces, weights) - channels_last(y)).max() < 1e-5


def test_the_code_is_narrower_than_the_picture_and_the_file_small() -> None:
    code = load_file(WEIGHTS)["code.in.weight"].shape[0] * (SIDE // 8) ** 2
    assert code < SIDE * SIDE * 3 / 6
    assert WEIGHTS.stat().st_size < 1_000_000


def test_redrawing_keeps_large_shapes_and_smooths_small_ones() -> None:
    rng = np.random.default_rng(2)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    smooth = 140 + 40 * np.cos(3 * rows) * np.cos(3 * columns)
    faces = np.repeat(smooth[None, ..., None], 3, axis=-1).astype(np.float32)
    grainy = np.clip(faces + rng.normal(0, 12, faces.shape), 0, 255).astype(np.float32)
    drawn = redraw(grainy)
    assert drawn.shape == (1, SIDE, SIDE, 3)
    assert drawn.dtype == np.float32
    assert np.abs(drawn - faces)[:, 8:-8, 8:-8].mean() < 10
    grain = [float(np.diff(z, axis=2).std()) for z in (grainy, drawn)]
    assert grain[1] < 0.6 * grain[0]


def test_redrawing_one_face_or_many_is_the_same() -> None:
    faces = np.random.default_rng(3).uniform(0, 255, (3, SIDE, SIDE, 3)).astype(np.float32)
    assert np.array_equal(redraw(faces)[1], redraw(faces[1:2])[0])
    assert redraw(faces).min() >= 0
    assert redraw(faces).max() <= 255


def test_shuffling_is_a_convolution_laid_out_as_pixels(x: NDArray[np.float32]) -> None:
    layer = nn.Conv2d(5, 12, 3, 1, 1)
    with torch.no_grad():
        assert layer.bias is not None
        expected = channels_last(nn.functional.pixel_shuffle(layer(channels_first(x)), 2))
        found = shuffle(x, layer.weight.numpy(), layer.bias.numpy())
    assert found.shape == (2, 24, 40, 3)
    assert np.abs(found - expected).max() < 1e-5


def test_repeating_is_a_convolution_of_nearest_neighbours(x: NDArray[np.float32]) -> None:
    layer = nn.Conv2d(5, 3, 3, 1, 1)
    with torch.no_grad():
        assert layer.bias is not None
        expected = channels_last(layer(nn.functional.interpolate(channels_first(x), scale_factor=2)))
        found = repeat(x, layer.weight.numpy(), layer.bias.numpy())
    assert np.abs(found - expected).max() < 1e-5


def test_every_decoder_draws_its_own_face_from_its_shipped_weights() -> None:
    ramp = np.linspace(40, 200, SIDE, dtype=np.float32)
    face = np.broadcast_to(ramp[:, None, None], (1, SIDE, SIDE, 3)).copy()
    drawn = {decoder: redraw(face, decoder) for decoder in DECODERS}
    for picture in drawn.values():
        assert picture.shape == face.shape
        assert np.abs(picture - face).mean() < 40
    assert all(
        np.abs(drawn[a] - drawn[b]).max() > 2
        for a, b in zip(DECODERS, DECODERS[1:] + DECODERS[:1], strict=True)
    )
