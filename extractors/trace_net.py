"""What stands out within a clip: measures less their own medians, coded, and a small network over time.

The picture and the sound have a front of measures each, and share this network. What people and cameras differ in is
the same through a clip; taken away, what a step differs in from its own clip remains.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from data.errors import WeightsError

BLOCK = 5
"""Steps whose mean enters the running median as one."""

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
"""Of the training material: edges of the bins of the code."""


class Traces(NamedTuple):
    """`features` (B, T, C) for RT-DeepLoc, and `logits` (B, T, classes) of their pre-training: authentic first."""

    features: Tensor
    logits: Tensor


def relative(measures: Tensor, valid: Tensor, blocks: int) -> Tensor:
    """`measures` (B, T, D) less their median over the sequence, then less a running one: (B, T, 2 D).

    The running median is over the means of `blocks` blocks of `BLOCK` steps. Steps that `valid` (B, T) denies count for
    nothing and are zero.
    """
    known = measures.masked_fill(~valid.unsqueeze(-1), torch.nan)
    whole = known.nanmedian(dim=1, keepdim=True).values
    batch, steps, channels = known.shape
    padded = F.pad(known, (0, 0, 0, -steps % BLOCK), value=torch.nan)
    means = padded.view(batch, -1, BLOCK, channels).nanmean(dim=2)
    half = blocks // 2
    around = F.pad(means, (0, 0, half, half), value=torch.nan).unfold(1, 2 * half + 1, 1)
    running = around.nanmedian(dim=-1).values.repeat_interleave(BLOCK, dim=1)[:, :steps]
    return torch.cat([known - whole, known - running], dim=-1).nan_to_num()


class TraceNet(nn.Module):
    """Measures (B, T, D) of a stretch of a clip to features of its steps.

    What is left of the measures after `relative` is coded piecewise linearly, so that one layer can tell large from
    small in each of them (Gorishniy et al. 2022, arXiv:2203.05556); dilated convolutions over time follow.
    """

    def __init__(
        self,
        measures: int,
        classes: int,
        width: int = 64,
        dilations: tuple[int, ...] = (1, 2, 4),
        blocks: int = 11,
        input_dropout: float = 0.6,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.blocks, bins = blocks, len(QUANTILES) - 1
        self.register_buffer("low", torch.zeros(bins, 2 * measures))
        self.register_buffer("span", torch.ones(bins, 2 * measures))
        self.low: Tensor
        self.span: Tensor
        self.drop = nn.Dropout(input_dropout)
        self.enter = nn.Linear(2 * measures * bins, width)
        self.layers = nn.ModuleList(_Layer(width, dilation, dropout) for dilation in dilations)
        self.head = nn.Linear(width, classes)

    def fit(self, samples: Tensor) -> None:
        """Lay the bins of the code along `samples` (N, 2 D) of `relative`."""
        edges = torch.quantile(samples, torch.tensor(QUANTILES), dim=0)
        self.low.copy_(edges[:-1])
        self.span.copy_((edges[1:] - edges[:-1]).clamp(min=1e-2))

    def forward(self, measures: Tensor, valid: Tensor) -> Traces:
        """Features and logits of `measures` (B, T, D), of which `valid` (B, T) says what may be looked at."""
        left = relative(measures, valid, self.blocks)
        code = torch.cat([((left - a) / w).clamp(0, 1) for a, w in zip(self.low, self.span, strict=True)], -1)
        shown = valid.unsqueeze(-1)
        hidden = F.gelu(self.enter(self.drop(code))) * shown
        for layer in self.layers:
            hidden = hidden + layer(hidden) * shown
        return Traces(hidden, self.head(hidden))


class _Layer(nn.Module):
    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(F.gelu(self.conv(self.norm(x).transpose(1, 2)))).transpose(1, 2)


def load_trace_net(weights: Path, measures: int) -> TraceNet:
    """The network of a safetensors file, in evaluation mode; its sizes are those of the tensors.

    Raises WeightsError when the file is damaged or was made for another front than one of `measures` numbers.
    """
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(weights).items()}
        net = TraceNet(measures, len(tensors["head.weight"]), len(tensors["enter.weight"]))
        net.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise WeightsError(f"cannot be loaded as a TraceNet: {reason}", weights, "train it again") from error
    return net.eval()
