"""Convolutions and linear layers for inference: one operation each, on weights that were brought into order once.

On a processor they are the operators that PyTorch's own compiler puts in the place of a layer and its activation
(`torch.ops.mkldnn`, in PyTorch since 2.0), so nothing has to be compiled. Sums are float32 and are rounded once. On
other devices, and where oneDNN cannot run them, the same steps run one after the other.
"""

from __future__ import annotations

import functools
import os
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

After = Literal["none", "relu", "gelu"]

NO_BF16 = "RT_DEEPLOC_NO_BF16"
"""Environment variable: with 1 the processor's bfloat16 kernels are not used, so that features equal those of a
machine without them."""


_ALIKE = 0.99  # cosine from which on a kernel is right: bfloat16 costs 0.00001, wrong ones have none at all


class Convolution(Protocol):
    """A convolution of channels-last maps with what follows it."""

    def __call__(self, maps: Tensor, after: After = "none") -> Tensor:
        """`after` of the convolution of `maps` (N, C, H, W)."""
        ...

    def onto(self, rest: Tensor, maps: Tensor) -> Tensor:
        """ReLU of `rest` plus the convolution of `maps`; `rest` is overwritten."""
        ...


def convolution(
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...] = (0, 0),
    groups: int = 1,
) -> Convolution:
    """The convolution with `weight` (O, C / groups, KH, KW), in its number format and on its device."""
    on_cpu = weight.device.type == "cpu"
    make = _Fused if on_cpu and has_onednn(weight.dtype) else _Separate
    ordered = weight.detach().contiguous(memory_format=torch.channels_last)
    made = make(ordered, bias, stride, padding, groups)
    if on_cpu and groups > 1 and weight.dtype == torch.bfloat16:
        exact = make(ordered.float(), bias.float() if bias is not None else None, stride, padding, groups)
        if not _agree(made, exact, weight, groups):
            return _InFloat32(exact)
    return made


def _agree(made: Convolution, exact: Convolution, weight: Tensor, groups: int) -> bool:
    """Whether a grouped convolution in bfloat16 gives what that in float32 does.

    On some processors with AVX-512, oneDNN gives noise for groups of a few channels and long kernels (PyTorch 2.14).
    """
    _, channels, height, width = weight.shape
    maps = torch.randn(1, channels * groups, height, 2 * width, generator=torch.Generator().manual_seed(0))
    maps = maps.bfloat16().contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        there, wanted = made(maps).float(), exact(maps.float())
    alike = functional.cosine_similarity(there.reshape(1, -1), wanted.reshape(1, -1))
    return bool(alike > _ALIKE) or not bool(wanted.any())


def has_onednn(dtype: torch.dtype) -> bool:
    """Whether the operators of oneDNN run on this processor in `dtype`.

    Each was run once to find out: flags of the processor do not tell, since builds of PyTorch and settings of oneDNN
    differ. No for bfloat16 where the environment variable RT_DEEPLOC_NO_BF16 is set.
    """
    if dtype == torch.bfloat16 and os.environ.get(NO_BF16, "0") not in ("", "0"):
        return False
    return torch.backends.mkldnn.is_available() and _operators_run(dtype)


@functools.cache
def _operators_run(dtype: torch.dtype) -> bool:
    maps = torch.ones(1, 16, 4, 4, dtype=dtype).contiguous(memory_format=torch.channels_last)
    layer = nn.Linear(16, 16).requires_grad_(False).to(dtype)
    try:
        with torch.inference_mode():
            conv = _Fused(maps.new_ones(16, 16, 1, 1), None, (1, 1), (0, 0), 1)
            # 16 channels of ones, and the map itself: small whole numbers, exact in every format.
            sums = conv.onto(maps.clone(), maps)
            conv(maps, "gelu")
            _fused_linear(maps.new_ones(1, 16), _ordered(layer.weight), layer.bias, "gelu")
    except (RuntimeError, AttributeError):  # not for this processor, or not in this build of PyTorch
        return False
    return bool((sums == 17).all())


class Linear(nn.Module):
    """A linear layer of the weights of `layer` in `dtype`, which also is the format of what it gives."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype, after: Literal["none", "gelu"] = "none") -> None:
        super().__init__()
        self._dtype, self._after = dtype, after
        weight = layer.weight.detach().to(dtype)
        self._fused = weight.device.type == "cpu" and has_onednn(dtype)
        self._weight = _ordered(weight) if self._fused else weight
        self._bias = None if layer.bias is None else layer.bias.detach().to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self._dtype)
        if self._fused:
            return _fused_linear(x, self._weight, self._bias, self._after)
        out = functional.linear(x, self._weight, self._bias)
        return functional.gelu(out) if self._after == "gelu" else out


def _ordered(weight: Tensor) -> Tensor:
    reordered: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
    return reordered


def _fused_linear(x: Tensor, weight: Tensor, bias: Tensor | None, after: Literal["none", "gelu"]) -> Tensor:
    kind = "none" if after == "gelu" else ""  # of GELU: the exact one
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], kind)
    return out


class _InFloat32:
    """A convolution in float32 of maps in another format, which also is that of what it gives."""

    def __init__(self, exact: Convolution) -> None:
        self._exact = exact

    def __call__(self, maps: Tensor, after: After = "none") -> Tensor:
        return self._exact(maps.float(), after).to(maps.dtype)

    def onto(self, rest: Tensor, maps: Tensor) -> Tensor:
        return rest.copy_(self._exact.onto(rest.float(), maps.float()))


class _Separate:
    """Convolution, addition and activation, one after the other."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        groups: int,
    ) -> None:
        self._weight, self._bias = weight, None if bias is None else bias.detach().to(weight.dtype)
        self._stride, self._padding, self._groups = stride, padding, groups

    def __call__(self, maps: Tensor, after: After = "none") -> Tensor:
        out = functional.conv2d(
            maps, self._weight, self._bias, self._stride, self._padding, groups=self._groups
        )
        if after == "relu":
            return out.relu_()
        return functional.gelu(out) if after == "gelu" else out

    def onto(self, rest: Tensor, maps: Tensor) -> Tensor:
        return rest.add_(self(maps)).relu_()


class _Fused:
    """One operation, on weights in the order that it wants for the shape at hand."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        groups: int,
    ) -> None:
        self._weight, self._packed = weight, weight
        self._shape: torch.Size | None = None  # of the input that `_packed` is meant for
        self._bias = None if bias is None else bias.detach().float()
        self._geometry = (list(padding), list(stride), [1, 1], groups)

    def __call__(self, maps: Tensor, after: After = "none") -> Tensor:
        self._pack(maps.shape)
        kind = "none" if after == "gelu" else ""  # of GELU: the exact one
        return torch.ops.mkldnn._convolution_pointwise(
            maps, self._packed, self._bias, *self._geometry, after, [], kind
        )

    def onto(self, rest: Tensor, maps: Tensor) -> Tensor:
        self._pack(maps.shape)
        bias = None if self._bias is None else self._bias.to(maps.dtype)  # this operator takes no other
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            rest, maps, self._packed, bias, *self._geometry, "add", 1.0, "relu", [], ""
        )

    def _pack(self, shape: torch.Size) -> None:
        # For another shape the order would be wrong: not the result, but up to twelve times the time.
        if shape != self._shape:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                self._weight, *self._geometry, list(shape)
            )
            self._shape = shape
