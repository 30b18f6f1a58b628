"""Fused operations: the same as one step after the other, and as PyTorch's own layers, for any shape."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from formats import FORMATS
from torch import Tensor
from torch.nn import functional

from extractors.paper import onednn
from extractors.paper.onednn import Convolution, Linear, convolution

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2**-7}
EACH_FORMAT = pytest.mark.parametrize("dtype", FORMATS)


@pytest.fixture(params=["fused", "separate"])
def way(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "separate":
        monkeypatch.setattr(onednn, "has_onednn", lambda dtype: False)
    return str(request.param)


def maps(channels: int, height: int, width: int, dtype: torch.dtype, seed: int = 1) -> Tensor:
    """Random channels-last maps of two pictures."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(2, channels, height, width, generator=generator)
    return made.to(dtype).contiguous(memory_format=torch.channels_last)


def layer(dtype: torch.dtype, groups: int = 1) -> tuple[Convolution, Tensor, Tensor]:
    torch.manual_seed(2)
    weight, bias = (torch.randn(24, 16 // groups, 3, 3) / 12).to(dtype), torch.randn(24)
    return convolution(weight, bias, (2, 1), (1, 0), groups), weight.float(), bias


def close(found: Tensor, expected: Tensor) -> bool:
    tolerance = TOLERANCE[found.dtype]
    return torch.allclose(found.float(), expected, rtol=tolerance, atol=tolerance)


@EACH_FORMAT
@pytest.mark.parametrize("after", ["none", "relu", "gelu"])
@pytest.mark.parametrize("groups", [1, 4])
@torch.inference_mode()
def test_a_convolution_takes_bias_and_activation_along(
    way: str, dtype: torch.dtype, after: Any, groups: int
) -> None:
    conv, weight, bias = layer(dtype, groups)
    x = maps(16, 9, 8, dtype)
    expected = functional.conv2d(x.float(), weight, bias, (2, 1), (1, 0), groups=groups)
    activation = {"none": lambda y: y, "relu": functional.relu, "gelu": functional.gelu}[after]
    found = conv(x, after)
    assert found.dtype is dtype
    assert close(found, activation(expected))


@EACH_FORMAT
@torch.inference_mode()
def test_a_convolution_is_added_in_place_and_rectified(way: str, dtype: torch.dtype) -> None:
    conv, weight, bias = layer(dtype)
    x, rest = maps(16, 9, 8, dtype), maps(24, 5, 6, dtype, seed=3)
    expected = functional.relu(rest.float() + functional.conv2d(x.float(), weight, bias, (2, 1), (1, 0)))
    found = conv.onto(rest, x)
    assert close(found, expected)
    assert torch.equal(found, rest)


@EACH_FORMAT
@torch.inference_mode()
def test_the_shapes_before_do_not_change_a_bit(dtype: torch.dtype) -> None:
    x, other = maps(16, 9, 8, dtype), maps(16, 30, 3, dtype)
    conv, _, _ = layer(dtype)
    first = conv(x)
    conv(other)
    assert torch.equal(conv(x), first)
    fresh, _, _ = layer(dtype)
    fresh(other)
    assert torch.equal(fresh(x), first)


@pytest.mark.bf16
@torch.inference_mode()
def test_a_sum_is_rounded_once_when_it_is_fused() -> None:
    # 1 + 2**-8 lies between two bfloat16 numbers: rounded before 2**-8 is added it is 1, and 1 + 2**-8 again 1.
    # Float32 has no such case to show: its sums are made in the format that they are kept in.
    conv = convolution(torch.full((16, 16, 1, 1), 2.0**-8).bfloat16(), None, (1, 1))
    x = torch.zeros(1, 16, 4, 4).bfloat16().contiguous(memory_format=torch.channels_last)
    x[:, 0], x[:, 1] = 256.0, 1.0  # 1 + 2**-8
    rest = torch.full((1, 16, 4, 4), 2.0**-8).bfloat16().contiguous(memory_format=torch.channels_last)
    assert torch.all(conv.onto(rest, x) == 1 + 2.0**-7)


@EACH_FORMAT
@pytest.mark.parametrize("after", ["none", "gelu"])
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_a_linear_layer_takes_its_activation_along(
    way: str, dtype: torch.dtype, after: Any, bias: bool
) -> None:
    torch.manual_seed(4)
    plain = torch.nn.Linear(20, 12, bias=bias)
    x = torch.randn(2, 7, 20)
    expected = plain(x.to(dtype).float())
    found = Linear(plain, dtype, after)(x)
    assert found.dtype is dtype
    assert close(found, functional.gelu(expected) if after == "gelu" else expected)


@EACH_FORMAT
@torch.inference_mode()
def test_threads_do_not_change_a_bit(dtype: torch.dtype) -> None:
    conv, _, _ = layer(dtype)
    x = maps(16, 40, 40, dtype)
    alone = conv(x)
    torch.set_num_threads(2)
    try:
        assert torch.equal(conv(x), alone)
    finally:
        torch.set_num_threads(1)


@pytest.mark.bf16
@pytest.mark.parametrize(("value", "runs"), [("1", False), ("yes", False), ("0", True), ("", True)])
def test_a_setting_turns_the_kernels_of_bfloat16_off_and_no_others(
    monkeypatch: pytest.MonkeyPatch, value: str, runs: bool
) -> None:
    monkeypatch.setenv(onednn.NO_BF16, value)
    assert onednn.has_onednn(torch.bfloat16) is runs
    assert onednn.has_onednn(torch.float32)


def test_operators_that_fail_on_this_processor_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError(
            "mkldnn_reorder_linear_weight: bf16 path needs the cpu support avx_ne_convert or avx512bw"
        )

    monkeypatch.setattr(onednn, "_ordered", refuse)
    onednn._operators_run.cache_clear()
    try:
        assert not onednn.has_onednn(torch.float32)
        plain, x = torch.nn.Linear(4, 3), torch.ones(2, 4)
        with torch.inference_mode():
            assert torch.allclose(Linear(plain, torch.float32)(x), plain(x))
    finally:
        onednn._operators_run.cache_clear()


@pytest.mark.parametrize("after", ["none", "gelu"])
def test_a_grouped_convolution_that_gives_noise_runs_in_float32(
    after: onednn.After, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(1)
    weight, maps = (
        torch.randn(shape, generator=generator).bfloat16() for shape in ((8, 2, 1, 3), (1, 8, 1, 9))
    )
    maps = maps.contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(onednn, "_agree", lambda *_: False)
    with torch.inference_mode():
        conv = onednn.convolution(weight, None, (1, 1), (0, 1), 4)
        exact = onednn.convolution(weight.float(), None, (1, 1), (0, 1), 4)
        found, wanted = conv(maps, after), exact(maps.float(), after)
        assert found.dtype == torch.bfloat16
        assert torch.allclose(found.float(), wanted, atol=0.02, rtol=0.01)
        summed = conv.onto(maps.clone(), maps)
        assert torch.allclose(summed.float(), exact.onto(maps.float(), maps.float()), atol=0.02, rtol=0.01)


def test_noise_is_told_from_rounding() -> None:
    weight = torch.randn((8, 2, 1, 3), generator=torch.Generator().manual_seed(1)).bfloat16()

    def exact(maps: torch.Tensor, after: onednn.After = "none") -> torch.Tensor:
        return torch.nn.functional.conv2d(maps, weight.float(), None, 1, (0, 1), 1, 4)

    def noise(maps: torch.Tensor, after: onednn.After = "none") -> torch.Tensor:
        return torch.randn(maps.shape, generator=torch.Generator().manual_seed(2))

    def rounded(maps: torch.Tensor, after: onednn.After = "none") -> torch.Tensor:
        return exact(maps.float()).bfloat16()

    assert onednn._agree(rounded, exact, weight, 4)  # type: ignore[arg-type]
    assert not onednn._agree(noise, exact, weight, 4)  # type: ignore[arg-type]
