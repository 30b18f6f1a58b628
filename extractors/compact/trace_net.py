"""A small network over measures of each step, shared by picture and sound: a code of the measures, then time.

What people and cameras differ in is the same through a clip; the fronts take it away. What is left is coded piecewise
linearly, and whole measures are hidden at random in training: so the few people that there are to learn from do not
become what is learned (docs/decisions.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from data.errors import WeightsError
from data.labels import EVIDENCE

BINS = 4
"""Pieces of the code of a measure."""

WIDTH = 64
DILATIONS = (1, 2, 4, 8)
"""Of the convolutions of 5 steps; together they see 30 steps to either side."""

_OUTER = 0.02  # quantile of the training material at which the code begins, and ends likewise


def evidence_of(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Log-odds (N, 4) of `data.labels.EVIDENCE` from feature vectors (N, C) of a `TraceNet`, whose tail is its logits.

    Inside a forged span: all forged classes together against authentic. Of edges and of whole clips the network says
    nothing: 0.
    """
    logits = values[:, WIDTH:].astype(np.float32)
    found = np.zeros((len(values), len(EVIDENCE)), np.float32)
    found[:, 0] = np.logaddexp.reduce(logits[:, 1:], axis=1) - logits[:, 0]
    return found


class Traces(NamedTuple):
    """`features` (B, T, C) for RT-DeepLoc, and `logits` (B, T, classes) of the pre-training: authentic first."""

    features: Tensor
    logits: Tensor


class TraceNet(nn.Module):
    """Measures (B, T, D) of a stretch of a clip to `Traces` of its steps.

    A measure becomes `BINS` numbers, each rising from -1/2 to 1/2 between two quantiles of the training material, so
    that one layer can tell large from small in it (Gorishniy et al. 2022, arXiv:2203.05556). Features are the last
    hidden layer and the logits.
    """

    def __init__(self, measures: int, classes: int, hidden: float = 0.6, dropout: float = 0.3) -> None:
        super().__init__()
        self.hidden = hidden
        self.register_buffer("edges", torch.arange(BINS + 1.0).repeat(measures, 1))
        self.edges: Tensor
        self.enter = nn.Linear(measures * BINS, WIDTH)
        self.layers = nn.ModuleList(_Layer(dilation, dropout) for dilation in DILATIONS)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(WIDTH, classes)

    @property
    def dim(self) -> int:
        """Length C of a feature vector."""
        return WIDTH + self.head.out_features

    def fit(self, samples: Tensor) -> None:
        """Lay the code's edges along `samples` (N, D) of the training material."""
        edges = torch.quantile(samples, torch.linspace(_OUTER, 1 - _OUTER, BINS + 1), dim=0).T
        # Measures that hardly vary would get pieces of no width.
        least = 1e-3 * (1 + edges[:, -1:] - edges[:, :1])
        self.edges.copy_(edges + least * torch.arange(BINS + 1))

    def forward(self, measures: Tensor, valid: Tensor) -> Traces:
        """Traces of `measures` (B, T, D), of which `valid` (B, T) says what may be looked at."""
        edges, weight = self.edges, self.enter.weight
        if self.training:
            # Hiding a measure is leaving its columns out, which also saves their product.
            kept = torch.randperm(len(edges))[: max(1, round(len(edges) * (1 - self.hidden)))]
            measures, edges = measures[..., kept], edges[kept]
            weight = weight.view(WIDTH, -1, BINS)[:, kept].flatten(1) * (len(self.edges) / len(kept))
        low = edges[:, :-1]
        code = ((measures.unsqueeze(-1) - low) / (edges[:, 1:] - low)).clamp(0, 1) - 0.5
        shown = valid.unsqueeze(1)
        state = F.linear(code.flatten(2), weight, self.enter.bias).transpose(1, 2) * shown
        for layer in self.layers:
            state = state + layer(state, shown) * shown
        last = F.gelu(self.norm(state)).transpose(1, 2)
        logits = self.head(self.drop(last))
        return Traces(torch.cat([last, logits], dim=-1) * valid.unsqueeze(-1), logits)


class _Layer(nn.Module):
    def __init__(self, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH)
        self.drop = nn.Dropout(dropout)
        self.conv = nn.Conv1d(WIDTH, WIDTH, 5, padding=2 * dilation, dilation=dilation)

    def forward(self, state: Tensor, shown: Tensor) -> Tensor:
        out: Tensor = self.conv(self.drop(F.gelu(self.norm(state))) * shown)
        return out


def load_trace_net(weights: Path, measures: int) -> TraceNet:
    """The network of a safetensors file, in evaluation mode.

    Raises WeightsError when the file is damaged or was made for another front than one of `measures` numbers.
    """
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(weights).items()}
        net = TraceNet(measures, len(tensors["head.bias"]))
        net.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise WeightsError(f"cannot be loaded as a TraceNet: {reason}", weights, "train it again") from error
    return net.eval()
