"""Whisper's encoder as a pre-trained ear: what a speech recognizer hears in each 20 ms of sound.

Its first blocks hear how a sound is made, its last ones which word it is (docs/decisions.md).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.labels import RATE
from extractors.compact.transformer import Block
from extractors.compact.weights import load_part, shape_of
from extractors.windows import step_count

WIDTH, BLOCKS = 384, 3
"""Width of Whisper tiny (Radford et al. 2022, arXiv:2212.04356), and the blocks that are kept of its four."""

BANDS, POSITIONS, HEAD = 80, 1500, 64
"""Mel bands, longest input in steps, and width of an attention head; of all sizes of Whisper."""

FFT, STRIDE = 400, 160  # spectra of 25 ms every 10 ms


class Ear(nn.Module):
    """Waveforms (B, N) float32, 16 kHz, of at most 30 s to states (B, T, 2 * width), T = floor((N - 400) / 320) + 1.

    Step k is centred on sample 320 k. The states are those after the first and the last block.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, width: int = WIDTH, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.dim = 2 * width
        self.conv1 = nn.Conv1d(BANDS, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.position = nn.Parameter(torch.zeros(POSITIONS, width), requires_grad=False)
        self.blocks = nn.ModuleList(Block(width, max(1, width // HEAD)) for _ in range(blocks))
        self.register_buffer("window", torch.hann_window(FFT, device="cpu"), persistent=False)
        self.register_buffer("filters", torch.from_numpy(slaney_filters()).float(), persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """States of windows (B, N) of at least 400 samples."""
        state = F.gelu(self.conv2(F.gelu(self.conv1(self._mel(waves))))).transpose(1, 2)
        state = state + self.position[: state.shape[1]]
        states = []
        for block in self.blocks:
            state = block(state)
            states.append(state)
        return torch.cat([states[0], states[-1]], dim=2)[:, : step_count(waves.shape[1])]

    def _mel(self, waves: Tensor) -> Tensor:
        """Logarithms (B, 80, N / 160) of mel bands, within 8 decades of the loudest, scaled as Whisper was trained."""
        power = self.power(waves)[..., :-1]
        bands = (self.filters @ power).clamp(min=1e-10).log10()
        top = bands.amax(dim=(1, 2), keepdim=True)
        return (torch.maximum(bands, top - 8) + 4) / 4

    def power(self, waves: Tensor) -> Tensor:
        """Power spectra (B, 201, N / 160 + 1) of 25 ms every 10 ms."""
        spectra = torch.stft(waves, FFT, STRIDE, window=self.window, return_complex=True)
        return spectra.abs().square()


def load_ear(tensors: dict[str, Tensor], weights: Path) -> Ear:
    """The ear of the tensors below ``ear.`` of `weights`. Raises WeightsError when there is none that fits."""
    position, blocks = shape_of(tensors, "ear.", weights)
    with torch.device("meta"):  # as for the eye: no random numbers that are made to be replaced
        ear = Ear(position[1], blocks)
    return load_part(ear, tensors, "ear.", weights)


def slaney_filters() -> np.ndarray:
    """Triangular mel filters (80, 201) of unit area, linear below 1 kHz: those of Slaney's Auditory Toolbox (1998)."""

    def mel(hz: np.ndarray) -> np.ndarray:
        return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1) / 1000) / np.log(6.4))

    def hz(mels: np.ndarray) -> np.ndarray:
        return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mels - 15)))

    edges = hz(np.linspace(0, mel(np.array(RATE / 2)), BANDS + 2))
    bins = np.fft.rfftfreq(FFT, 1 / RATE)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    filters: np.ndarray = (
        np.clip(np.minimum(rising, falling), 0, None) * (2 / (edges[2:] - edges[:-2]))[:, None]
    )
    return filters
