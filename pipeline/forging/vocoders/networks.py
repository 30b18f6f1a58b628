"""Three small generators of different make, each with its own hop and mel spectrogram."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.transforms import MelSpectrogram

from data.labels import RATE

SLOPE = 0.1
"""Of the leaky rectifiers."""

FLOOR = 1e-5
"""Of the mel energies before their logarithm."""


class Vocoder(nn.Module):
    """A mel spectrogram of its own, and a generator `forward` (N, bands, T) -> (N, at least (T - 1) * hop)."""

    def __init__(self, fft: int, hop: int, bands: int, top_hz: float) -> None:
        super().__init__()
        self.hop, self.bands = hop, bands
        self._mel = MelSpectrogram(
            RATE,
            fft,
            hop_length=hop,
            f_max=top_hz,
            n_mels=bands,
            power=1.0,
            norm="slaney",
            mel_scale="slaney",
        )

    def mel(self, samples: Tensor) -> Tensor:
        """Log mel energies (N, bands, L // hop + 1) of `samples` (N, L)."""
        energies: Tensor = self._mel(samples)
        return torch.log(energies.clamp_min(FLOOR))

    def forward(self, mel: Tensor) -> Tensor:
        """Samples of the log mel energies."""
        raise NotImplementedError

    def copy(self, samples: Tensor) -> Tensor:
        """`samples` (N, L), L a multiple of the hop, through the mel spectrogram and back."""
        spoken: Tensor = self(self.mel(samples))
        return spoken[:, : samples.shape[1]]

    def weights(self) -> dict[str, Tensor]:
        """The trained tensors by name, without the constants of the mel spectrogram."""
        return {name: value for name, value in self.state_dict().items() if "_mel." not in name}


class _Residual(nn.Module):
    """Dilated convolutions with a way around each."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=d, padding=d * (kernel // 2)) for d in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(functional.leaky_relu(x, SLOPE))
        return x


class _Parallel(nn.ModuleList):
    """The mean of what several blocks make of the same input."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([block(x) for block in self]).mean(dim=0)


class TransposedVocoder(Vocoder):
    """Transposed convolutions with residual blocks of several widths after each, 16 ms hop.

    Source: Kong et al., "HiFi-GAN" (2020), one convolution a residual step and fewer channels.
    """

    def __init__(self) -> None:
        super().__init__(fft=1024, hop=256, bands=80, top_hz=8000)
        self.enter = nn.Conv1d(self.bands, 160, 7, padding=3)
        channels = (160, 80, 40, 20)
        self.rise = nn.ModuleList(
            nn.ConvTranspose1d(a, b, 2 * r, r, padding=r // 2)
            for a, b, r in zip(channels, channels[1:], (8, 8, 4), strict=False)
        )
        self.blocks = nn.ModuleList(
            _Parallel((_Residual(c, 3, (1, 3)), _Residual(c, 7, (1, 3)))) for c in channels[1:]
        )
        self.leave = nn.Conv1d(channels[-1], 1, 7, padding=3)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.enter(mel)
        for rise, blocks in zip(self.rise, self.blocks, strict=True):
            x = blocks(rise(functional.leaky_relu(x, SLOPE)))
        return torch.tanh(self.leave(functional.leaky_relu(x, SLOPE)))[:, 0]


class _ConvNext(nn.Module):
    """Depthwise convolution, norm, and a widened layer, with a way around. Source: Liu et al. (2022)."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.across = nn.Conv1d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.widen, self.narrow = nn.Linear(channels, inner), nn.Linear(inner, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.across(x).transpose(1, 2))
        y = self.scale * self.narrow(functional.gelu(self.widen(y)))
        return x + y.transpose(1, 2)


class InverseStftVocoder(Vocoder):
    """Magnitude and phase at the rate of the mel spectrogram, then one inverse STFT, 12.5 ms hop.

    Source: Siuzdak, "Vocos" (2023), a narrower trunk.
    """

    def __init__(self) -> None:
        super().__init__(fft=800, hop=200, bands=100, top_hz=8000)
        self.fft = 800
        self.enter = nn.Conv1d(self.bands, 192, 7, padding=3)
        self.blocks = nn.Sequential(*(_ConvNext(192, 512) for _ in range(6)))
        self.norm = nn.LayerNorm(192)
        self.leave = nn.Linear(192, 2 * (self.fft // 2 + 1))
        self.register_buffer("window", torch.hann_window(self.fft), persistent=False)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.norm(self.blocks(self.enter(mel)).transpose(1, 2))
        level, phase = self.leave(x).transpose(1, 2).chunk(2, dim=1)
        spectrum = torch.polar(torch.exp(level.clamp(max=5.0)), phase)
        assert isinstance(self.window, Tensor)
        return torch.istft(spectrum, self.fft, self.hop, window=self.window)


class SubbandVocoder(Vocoder):
    """Convolutions whose channels become steps, up to a quarter of the rate, then a bank of four bands; 10 ms hop.

    Source: Yang et al., "Multi-band MelGAN" (2020), with the sub-pixel convolutions of Shi et al. (2016) in place of
    transposed ones.
    """

    BANDS, TAPS, CUTOFF, BETA = 4, 62, 0.142, 9.0

    def __init__(self) -> None:
        super().__init__(fft=512, hop=160, bands=64, top_hz=7600)
        self.enter = nn.Conv1d(self.bands, 160, 7, padding=3)
        self.rise = nn.ModuleList(
            nn.Conv1d(a, b * times, 3, padding=1) for a, b, times in ((160, 96, 5), (96, 48, 8))
        )
        self.blocks = nn.ModuleList((_Residual(96, 3, (1, 3, 9)), _Residual(48, 3, (1, 3, 9))))
        self.leave = nn.Conv1d(48, self.BANDS, 7, padding=3)
        self.register_buffer("bank", torch.from_numpy(self._bank()), persistent=False)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.enter(mel)
        for rise, block, times in zip(self.rise, self.blocks, (5, 8), strict=True):
            # Steps that only repeat a frame would be alike wherever the sound is steady, and make no wave of it.
            x = rise(functional.leaky_relu(x, SLOPE)).unflatten(1, (-1, times))
            x = block(x.transpose(2, 3).flatten(2))
        bands = torch.tanh(self.leave(functional.leaky_relu(x, SLOPE)))
        assert isinstance(self.bank, Tensor)
        spoken = functional.conv_transpose1d(bands, self.bank, stride=self.BANDS, padding=self.TAPS // 2)
        return functional.pad(spoken[:, 0], (0, self.BANDS - 1))

    @classmethod
    def _bank(cls) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Cosine-modulated synthesis filters (4, 1, taps + 1). Source: Nguyen, "Near-perfect-reconstruction" (1994)."""
        time = np.arange(cls.TAPS + 1) - cls.TAPS / 2
        low = cls.CUTOFF * np.sinc(cls.CUTOFF * time) * np.kaiser(cls.TAPS + 1, cls.BETA)
        band = np.arange(cls.BANDS)[:, None]
        turn = (2 * band + 1) * np.pi / (2 * cls.BANDS) * time - (-1.0) ** band * np.pi / 4
        return (2 * cls.BANDS * low * np.cos(turn))[:, None].astype(np.float32)


MAKES: dict[str, Callable[[], Vocoder]] = {
    "transposed": TransposedVocoder,
    "istft": InverseStftVocoder,
    "subband": SubbandVocoder,
}
"""The generators by name."""
