"""Discriminators of waveforms and the losses that train the vocoders."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.transforms import MelSpectrogram

from data.labels import RATE
from pipeline.forging.vocoders.networks import FLOOR, SLOPE

Verdict = tuple[Tensor, list[Tensor]]
"""Scores of a judge, and what its layers saw."""


class _PeriodJudge(nn.Module):
    """Looks at every `period`-th sample. Source: Kong et al., "HiFi-GAN" (2020)."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period
        widths = (1, 16, 32, 64)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)) for a, b in pairwise(widths))
        self.leave = nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0))

    def forward(self, samples: Tensor) -> Verdict:
        length = samples.shape[1] // self.period * self.period
        x = samples[:, None, :length].reshape(len(samples), 1, -1, self.period)
        return _judge(self.layers, self.leave, x)


class _ScaleJudge(nn.Module):
    """Looks at the samples averaged over `scale`. Source: Kumar et al., "MelGAN" (2019)."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.layers = nn.ModuleList(
            (
                nn.Conv1d(1, 16, 15, 2, padding=7),
                nn.Conv1d(16, 32, 21, 4, padding=10, groups=4),
                nn.Conv1d(32, 64, 21, 4, padding=10, groups=8),
                nn.Conv1d(64, 64, 5, padding=2),
            )
        )
        self.leave = nn.Conv1d(64, 1, 3, padding=1)

    def forward(self, samples: Tensor) -> Verdict:
        x = functional.avg_pool1d(samples[:, None], self.scale) if self.scale > 1 else samples[:, None]
        return _judge(self.layers, self.leave, x)


def _judge(layers: nn.ModuleList, leave: nn.Module, x: Tensor) -> Verdict:
    seen = []
    for layer in layers:
        x = functional.leaky_relu(layer(x), SLOPE)
        seen.append(x)
    return leave(x), seen


class Judges(nn.Module):
    """Judges of three periods and two scales."""

    def __init__(self) -> None:
        super().__init__()
        self.judges = nn.ModuleList((*map(_PeriodJudge, (2, 3, 5)), *map(_ScaleJudge, (1, 2))))

    def forward(self, samples: Tensor) -> list[Verdict]:
        """The verdicts on `samples` (N, L)."""
        return [judge(samples) for judge in self.judges]


def judging_loss(real: list[Verdict], made: list[Verdict]) -> Tensor:
    """Least squares of the judges: 1 for recordings, 0 for what was made."""
    pairs = zip(real, made, strict=True)
    return torch.stack([(r - 1).square().mean() + m.square().mean() for (r, _), (m, _) in pairs]).sum()


def fooling_loss(real: list[Verdict], made: list[Verdict]) -> Tensor:
    """How far the judges are from taking `made` for recordings, and how differently their layers see the two."""
    fooled = torch.stack([(verdict - 1).square().mean() for verdict, _ in made]).sum()
    seen = [
        (a.detach() - b).abs().mean()
        for (_, heard), (_, spoken) in zip(real, made, strict=True)
        for a, b in zip(heard, spoken, strict=True)
    ]
    return fooled + 2 * torch.stack(seen).sum()


class SpectralDistance(nn.Module):
    """Distance of two batches of samples (N, L): log mel energies, and spectra at three resolutions.

    Source: Yamamoto et al., "Parallel WaveGAN" (2020), multi-resolution STFT loss.
    """

    SIZES = (256, 512, 1024)

    def __init__(self) -> None:
        super().__init__()
        self._mel = MelSpectrogram(RATE, 1024, hop_length=256, n_mels=80, power=1.0, norm="slaney")

    def mel(self, real: Tensor, made: Tensor) -> Tensor:
        """Mean absolute difference of the log mel energies (80 bands, 64 ms window), in nepers."""
        spoken, wanted = (torch.log(self._mel(x).clamp_min(FLOOR)) for x in (made, real))
        return functional.l1_loss(spoken, wanted)

    def forward(self, real: Tensor, made: Tensor) -> Tensor:
        total = 2 * self.mel(real, made)
        for size in self.SIZES:
            window = torch.hann_window(size)
            wanted, spoken = (
                torch.stft(x, size, size // 4, window=window, return_complex=True).abs().clamp_min(1e-4)
                for x in (real, made)
            )
            total = total + torch.linalg.norm(wanted - spoken) / torch.linalg.norm(wanted)
            total = total + functional.l1_loss(spoken.log(), wanted.log())
        return total
