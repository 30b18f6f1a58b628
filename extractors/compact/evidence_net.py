"""A small network over measures of each step, shared by picture and sound: evidence of forgery, relative and absolute.

One trunk sees how a step differs from the rest of its clip: it finds forged spans. The other sees the step as it is: it
tells a clip that is forged from end to end, which has nothing to differ from (docs/decisions.md).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from data.labels import EVIDENCE

WIDTH = 64
DILATIONS = (1, 2, 4)
"""Of the convolutions of 5 steps that tell inside and whole; together they see 14 steps to either side."""

DIM = 2 * WIDTH + len(EVIDENCE)

HIDDEN = 0.5
"""Share of the measures that are hidden in each pass of training, so that none is relied on."""

_DROPOUT = 0.2
_FAR = 5.0  # standard deviations beyond which a measure counts as that far


class Steps(NamedTuple):
    """What the network says of each step: last states (B, T, 128) and log-odds (B, T, 4) in the order of EVIDENCE."""

    states: Tensor
    evidence: Tensor

    def features(self) -> Tensor:
        """Vectors (B, T, `DIM`) of the steps: evidence last."""
        return torch.cat([self.states, self.evidence], dim=-1)


class EvidenceNet(nn.Module):
    """Measures of a stretch of a clip to `Steps`."""

    def __init__(self, relative: int, absolute: int) -> None:
        super().__init__()
        self.relative, self.absolute = _Trunk(relative), _Trunk(absolute)
        # Onset and offset see two steps to either side: what sees more blurs an edge.
        self.edges = nn.Conv1d(WIDTH, 2, 5, padding=2)
        self.edge_norm, self.drop = nn.BatchNorm1d(WIDTH), nn.Dropout(_DROPOUT)
        self.inside, self.whole = nn.Linear(WIDTH, 1), nn.Linear(WIDTH, 1)

    def forward(self, relative: Tensor, absolute: Tensor, valid: Tensor) -> Steps:
        """`Steps` of measures, relative (B, T, D) and absolute (B, T, E), where `valid` (B, T)."""
        entered, inner = self.relative(relative, valid)
        _, outer = self.absolute(absolute, valid)
        edges = self.edges(self.drop(F.gelu(self.edge_norm(entered)))).transpose(1, 2)
        evidence = torch.cat([self.inside(inner), edges, self.whole(outer)], dim=-1)
        shown = valid.unsqueeze(-1)
        return Steps(torch.cat([inner, outer], dim=-1) * shown, evidence * shown)


class _Standardised(nn.Module):
    """A network over inputs (..., D) that are told in deviations from the mean of the training material."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("deviation", torch.ones(inputs))

    def fit(self, samples: Tensor) -> None:
        """Take mean and deviation from `samples` (N, D) of the training material."""
        self.mean.copy_(samples.mean(dim=0))
        self.deviation.copy_(samples.std(dim=0) + 1e-3)

    def standardised(self, inputs: Tensor) -> Tensor:
        """`inputs` (..., D) in deviations from the mean, none farther than `_FAR`."""
        return ((inputs - self.mean) / self.deviation).clamp(-_FAR, _FAR)


class _Trunk(_Standardised):
    """Measures (B, T, D) to their first states (B, 64, T) and their last ones (B, T, 64)."""

    def __init__(self, measures: int) -> None:
        super().__init__(measures)
        self.enter = nn.Linear(measures, WIDTH)
        self.convs = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 5, padding=2 * d, dilation=d) for d in DILATIONS)
        self.norms = nn.ModuleList(nn.BatchNorm1d(WIDTH) for _ in DILATIONS)
        self.drop = nn.Dropout(_DROPOUT)

    def forward(self, measures: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.standardised(measures)
        if self.training:
            kept = torch.rand(len(seen), 1, seen.shape[2], device=seen.device) > HIDDEN
            seen = seen * kept / (1 - HIDDEN)
        shown = valid.unsqueeze(1)
        entered = state = self.enter(seen).transpose(1, 2) * shown
        for conv, norm in zip(self.convs, self.norms, strict=True):
            state = state + conv(self.drop(F.gelu(norm(state))) * shown) * shown
        return entered, F.gelu(state).transpose(1, 2)


class LookHead(nn.Module):
    """What the eye saw of faces, relative (K, D) and absolute (K, D), to log-odds (K, 2) of inside and whole."""

    def __init__(self, seen: int) -> None:
        super().__init__()
        self.relative, self.absolute = Probe(seen), _Perceptron(seen)

    def forward(self, relative: Tensor, absolute: Tensor) -> Tensor:
        """Log-odds of each face by itself."""
        return torch.stack([self.relative(relative), self.absolute(absolute)], dim=-1)

    @staticmethod
    def split(seen: Tensor, due: Tensor) -> tuple[Tensor, Tensor]:
        """`seen` (K, D) of one clip against the median of what was seen where a look was `due` (K,), and as it is."""
        usual = seen[due] if due.any() else seen
        return seen - usual.median(dim=0).values, seen


class Probe(_Standardised):
    """Inputs (K, D) through one line to log-odds (K,)."""

    def __init__(self, inputs: int) -> None:
        super().__init__(inputs)
        self.leave = nn.Linear(inputs, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        leaving: Tensor = self.leave(self.standardised(inputs))
        return leaving.squeeze(-1)


class _Perceptron(_Standardised):
    """Inputs (K, D), half of them hidden in training, through one hidden layer to log-odds (K,)."""

    def __init__(self, inputs: int) -> None:
        super().__init__(inputs)
        self.enter, self.leave, self.drop = nn.Linear(inputs, WIDTH), nn.Linear(WIDTH, 1), nn.Dropout(0.3)

    def forward(self, inputs: Tensor) -> Tensor:
        seen = self.standardised(inputs)
        if self.training:
            seen = seen * (torch.rand_like(seen) > HIDDEN) / (1 - HIDDEN)
        leaving: Tensor = self.leave(self.drop(F.gelu(self.enter(seen))))
        return leaving.squeeze(-1)


def evidence_of(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """The evidence (N, 4) in feature vectors (N, `DIM`), in the order of EVIDENCE."""
    return values[:, -len(EVIDENCE) :].astype(np.float32)
