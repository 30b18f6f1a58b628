"""A wav2vec 2.0 model for inference in reduced precision: the layers that cost time are put in place of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from extractors.paper.onednn import Convolution, Linear, convolution

_BLOCK = 4096


def fuse_model(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """`model`, of `transformers`, changed in place: products in `dtype`, with weights that were converted once.

    As under autocast, sums and the residual stream are float32, and so are the normalisations within the encoder. The
    weight norm of the positional convolution is worked out once, and the feature encoder keeps a step's channels
    together, where layer normalisation wants them.
    """
    net: Any = model
    net.feature_extractor = _FeatureEncoder(net.feature_extractor, dtype)
    positional = net.encoder.pos_conv_embed
    parametrize.remove_parametrizations(positional.conv, "weight")
    # One channel a group is left as it is: oneDNN 3.12 never returns from it with 16 channels together in bfloat16.
    if positional.conv.in_channels > positional.conv.groups:
        positional.conv = _Convolution1d(positional.conv, dtype)
    for block in net.encoder.layers:
        feed = block.feed_forward
        if _is_gelu(feed.intermediate_act_fn):
            feed.intermediate_dense = Linear(feed.intermediate_dense, dtype, "gelu")
            feed.intermediate_act_fn = nn.Identity()
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, Linear(child, dtype))
    net.feature_projection.projection = nn.Sequential(net.feature_projection.projection, _Float())
    return model


class _FeatureEncoder(nn.Module):
    """The convolutions in front: waveform (B, N) to features (B, C, T), computed on (B, T, C) in memory."""

    def __init__(self, encoder: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        first, *others = encoder.conv_layers
        self.first = _FirstLayer(first, dtype)
        self.others = nn.ModuleList(_Layer(layer, dtype) for layer in others)

    def forward(self, waveform: Tensor) -> Tensor:
        maps = self.first(waveform)
        for layer in self.others:
            maps = layer(maps)
        return maps[:, :, 0]


class _Layer(nn.Module):
    """Convolution, normalisation over channels or none, and activation, of (B, C, 1, T)."""

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.conv = convolution(
            layer.conv.weight.to(dtype).unsqueeze(2), layer.conv.bias, (1, *layer.conv.stride)
        )
        self.after = _After(layer, dtype)

    def forward(self, maps: Tensor) -> Tensor:
        return self.after(self.conv, maps)


class _FirstLayer(nn.Module):
    """The layer that sees the waveform (B, N), whose samples are taken in groups of one stride as channels.

    Group normalisation with one group a channel (wav2vec2-base) is folded into the convolution of each window: the mean
    and the variance of its outputs follow from the mean and the covariance of the samples that it sees.
    """

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self._stride, self._kernel = layer.conv.stride[0], layer.conv.kernel_size[0]
        self._groups = -(-self._kernel // self._stride)
        self._weight: Tensor = layer.conv.weight.detach()[:, 0]  # (C, kernel)
        bias: Tensor | None = None if layer.conv.bias is None else layer.conv.bias.detach()
        norm = getattr(layer, "layer_norm", None)
        self.norm = norm if isinstance(norm, nn.GroupNorm) else None
        self._conv = self._convolution(self._weight, bias)
        self.after = _After(layer, dtype)

    def forward(self, waveform: Tensor) -> Tensor:
        if self.norm is None:
            return self.after(self._conv, self._grouped(waveform))
        parts = [self._normalised(window, self.norm) for window in waveform]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _normalised(self, window: Tensor, norm: nn.GroupNorm) -> Tensor:
        """Output (1, C, 1, T) for one window (N,): its own statistics make a convolution of its own."""
        # Normalisation takes a constant away, and rounding would feel it.
        centred = window - _moments(window[:, None])[0, 1].float()
        moments = _moments(centred.unfold(0, self._kernel, self._stride))
        mean = moments[-1, :-1]
        covariance = moments[:-1, :-1] - mean.outer(mean)
        weight = self._weight.double()
        variance = ((weight @ covariance) * weight).sum(1).clamp(min=0)
        scale = norm.weight / torch.sqrt(variance + norm.eps)
        conv = self._convolution(weight * scale[:, None], norm.bias - scale * (weight @ mean))
        return self.after(conv, self._grouped(centred[None]))

    def _grouped(self, waveform: Tensor) -> Tensor:
        """Samples (B, N), zeros behind the end, as (B, stride, 1, steps + groups - 1)."""
        steps = (waveform.shape[1] - self._kernel) // self._stride + 1
        needed = (steps + self._groups - 1) * self._stride
        samples = functional.pad(waveform.to(self._dtype), (0, needed - waveform.shape[1]))
        return samples.view(len(samples), 1, -1, self._stride).permute(0, 3, 1, 2)

    def _convolution(self, weight: Tensor, bias: Tensor | None) -> Convolution:
        padded = functional.pad(weight, (0, self._groups * self._stride - self._kernel)).to(self._dtype)
        grouped = padded.view(len(weight), self._groups, self._stride).transpose(1, 2).unsqueeze(2)
        return convolution(grouped, bias, (1, 1))


def _moments(rows: Tensor) -> Tensor:
    """Means (K + 1, K + 1) of the products of the columns of `rows` (N, K) and a last column of ones, in float64.

    Blocks of fixed size are summed up, since one long product is split by the number of threads.
    """
    ones = rows.new_ones(len(rows), 1)
    columns = functional.pad(torch.cat([rows, ones], 1).double(), (0, 0, 0, -len(rows) % _BLOCK))
    blocks = columns.view(-1, _BLOCK, columns.shape[1])
    return (blocks.transpose(1, 2) @ blocks).sum(0) / len(rows)


class _After(nn.Module):
    """What follows a convolution of the feature encoder."""

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        super().__init__()
        norm = getattr(layer, "layer_norm", None)
        self.norm = norm.to(dtype) if isinstance(norm, nn.LayerNorm) else None
        self.activation = layer.activation
        self.gelu = _is_gelu(layer.activation)

    def forward(self, conv: Convolution, maps: Tensor) -> Tensor:
        if self.norm is None and self.gelu:
            return conv(maps, "gelu")
        maps = conv(maps)
        if self.norm is not None:
            maps = self.norm(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return torch.ops.aten.gelu_(maps) if self.gelu else self.activation(maps)


class _Convolution1d(nn.Module):
    """A convolution along the steps of (B, C, T)."""

    def __init__(self, conv: nn.Conv1d, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        padding = (0, int(conv.padding[0]))
        self.conv = convolution(
            conv.weight.to(dtype).unsqueeze(2), conv.bias, (1, conv.stride[0]), padding, conv.groups
        )

    def forward(self, steps: Tensor) -> Tensor:
        maps = steps.to(self.dtype).transpose(1, 2).unsqueeze(1).permute(0, 3, 1, 2)
        return self.conv(maps)[:, :, 0]


class _Float(nn.Module):
    """To float32, in which the residual stream is kept."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float()


def _is_gelu(activation: nn.Module) -> bool:
    """Whether `activation` is the exact GELU, checked by what it does."""
    points = torch.linspace(-4, 4, 33)
    return torch.equal(activation(points), functional.gelu(points))
