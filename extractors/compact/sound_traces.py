"""Traces of sound editing: measures of each 20 ms step of speech, told relative to the rest of the recording.

A forged word differs little from speech in general and more from its own recording: in voice, room and phase.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.functional import create_dct, spectrogram

from data.audio import mel_filters
from data.labels import RATE
from extractors.windows import HOP, RECEPTIVE

MEASURES = {
    "level": (24, "dB in mel bands; Davis and Mermelstein (1980)"),
    "shape": (24, "dB in mel bands, less the step's level between 100 and 4000 Hz"),
    "cepstrum": (16, "dB, cosine transform of 40 mel bands; Davis and Mermelstein (1980)"),
    "top": (8, "dB per 500 Hz above 4 kHz, less the step's level: band limits of resampling"),
    "floor": (12, "dB, lowest level within 0.15 s: the room; Martin, minimum statistics (2001)"),
    "valley": (12, "dB between the harmonics: the 15 % quantile of a band's bins"),
    "flatness": (12, "dB, geometric over arithmetic mean of a band's power; Gray and Markel (1974)"),
    "crest": (12, "dB, highest bin over a band's mean: how sharp the harmonics are"),
    "delay": (12, "0..1, agreement of group delay within a band; Yegnanarayana and Murthy (1992)"),
    "dispersion": (12, "0..1, agreement of the phase's second difference in frequency"),
    "pulse_spread": (8, "deviation over mean of a band's envelope at 1 kHz, in 60 ms"),
    "pulse_skew": (8, "skewness of that envelope: pitch pulses stand out"),
    "pulse_beside": (7, "-1..1, correlation of neighbouring bands' envelopes: pulses fall together"),
    "pitch": (1, "semitones from the recording's median, by autocorrelation; Boersma (1993)"),
    "voicing": (1, "0..1, height of that peak"),
    "pitch_change": (1, "semitones in 40 ms"),
    "residual": (2, "log kurtosis and log crest of the prediction's residual; Janicki (2015)"),
    "nearest": (9, "log distance to the nearest 1, 5 %, all other passages of 20, 160, 320 ms; Foote (1999)"),
    "voice": (41, "cepstrum, pitch and shape as means over 0.5 s"),
    "break": (4, "dB between the means before and after: cepstrum (0.2, 0.5 s), shape, floor (0.3 s); Foote (2000)"),
}  # fmt: skip
"""How many values each measure has, their unit and meaning, and its source, in the order of `SoundTraces`."""

BANDS, SUBBANDS, PULSE_BANDS, ORDER = 24, 12, 8, 16
FFT, LONG, SHORT, TICK = 512, 1024, 128, 16  # samples: spectra of 32, 64 and 8 ms, the last each millisecond

_PER_STEP = 4  # main spectra in a step
_LAGS = (40, 266)  # samples of a pitch period: 400 to 60 Hz
_APART = 30  # steps from which on another passage is another one


RELATIVE = sum(count for count, _ in MEASURES.values())

ABSOLUTE = 134
"""How many of the measures are told as they are as well: those that do not depend on how loud a recording is."""


class Sound(NamedTuple):
    """Measures of each step: `relative` (B, T, 226) to its window, and `absolute` (B, T, 134).

    The former are in the order of `MEASURES`, the latter are shape, cepstrum, top, valley less level, flatness to
    pulse_beside, voicing and residual.
    """

    relative: Tensor
    absolute: Tensor


class SoundTraces(nn.Module):
    """Waveforms (B, N) float32, 16 kHz, to `MEASURES` (B, T, `dim`) float32, T = floor((N - 400) / 320) + 1.

    Step k is centred on sample 320k + 200. Level, floor and valley have their median over the window taken off; the
    others their median over its speech, and fade to zero where it pauses. There are no parameters.
    """

    mel: Tensor
    fine: Tensor
    cosines: Tensor
    sub: Tensor
    top: Tensor
    pulse: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.dim = RELATIVE
        for name, value in {
            "mel": torch.from_numpy(mel_filters(BANDS)).float(),
            "fine": torch.from_numpy(mel_filters(40)).float(),
            "cosines": create_dct(ORDER + 1, 40, "ortho")[:, 1:].T.contiguous(),
            "sub": _pick(_edges(SUBBANDS), FFT),
            "top": _pick(torch.arange(4000, 8001, 500), FFT),
            "pulse": _pick(_edges(PULSE_BANDS), SHORT),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, waves: Tensor) -> Sound:
        """Measures of windows (B, N) of at least 400 samples."""
        steps = (waves.shape[1] - RECEPTIVE) // HOP + 1
        spectra = _spectra(waves, FFT, HOP // _PER_STEP, steps * _PER_STEP)
        parts = (power := _power(spectra)).unflatten(2, (steps, _PER_STEP))
        mean = parts.mean(3)
        level = _db(mean[:, 3:129].sum(1, keepdim=True))
        loud = torch.sigmoid((level - torch.quantile(level, 0.95, 2, keepdim=True) + 25) / 4)
        always = torch.ones_like(loud)
        bands, bins = _db(self.mel @ mean), _db(mean)
        shape, cepstrum = bands - level, self.cosines @ _db(self.fine @ mean)
        floor = -F.max_pool1d(-_db(self.sub @ parts.amin(3)), 15, 1, 7)
        size = self.sub.sum(1)[:, None]
        band_mean = _db((self.sub @ mean) / size)
        groups = [bins[:, row > 0] for row in self.sub]
        valley = torch.stack([torch.quantile(group, 0.15, 1) for group in groups], 1)
        crest = torch.stack([group.amax(1) for group in groups], 1) - band_mean
        flatness = (self.sub @ bins) / size - band_mean
        pitch, voicing = _pitch(waves, steps)
        voiced = loud * torch.sigmoid((voicing - 0.5) / 0.07)
        tone = _centred(pitch, voiced)
        change = (tone - F.pad(tone, (2, 0), mode="replicate")[..., :-2]) * voiced
        sound, form = _centred(cepstrum, loud), _centred(shape, loud)
        residual = _residual(waves, mean)
        by_speech = [flatness, crest, *self._delays(spectra, power), *self._pulses(waves, steps)]
        heard = cepstrum - _median(cepstrum, loud)
        measures = [
            _centred(bands, always), form, sound, _centred(_db(self.top @ mean) - level, loud),
            _centred(floor, always), _centred(valley, always), *(_centred(x, loud) for x in by_speech),
            tone, _centred(voicing, loud), change, _centred(residual, loud),
            _centred(_nearest(heard[:, :12], loud), loud),
            _running(sound, loud), _running(tone, voiced), _running(form, loud),
            _break(heard, loud, 10), _break(heard, loud, 25), _break(shape - _median(shape, loud), loud, 15),
            _break(_centred(floor, always), always, 15),
        ]  # fmt: skip
        absolute = [
            shape, cepstrum, _db(self.top @ mean) - level, valley - level, *by_speech, voicing, residual
        ]  # fmt: skip
        return Sound(torch.cat(measures, 1).transpose(1, 2), torch.cat(absolute, 1).transpose(1, 2))

    def _delays(self, spectra: Tensor, power: Tensor) -> list[Tensor]:
        """Agreement (B, 12, T) of the phase's first and second differences in frequency, by band and step."""
        unit, weight = spectra / power.clamp(min=1e-12).sqrt(), power.sqrt()
        delay, pair = unit[:, 1:] * unit[:, :-1].conj(), (weight[:, 1:] * weight[:, :-1]).sqrt()
        bend = delay[:, 1:] * delay[:, :-1].conj()
        sides = _agreement(delay, pair, self.sub[:, 1:])
        return [sides, _agreement(bend, weight[:, 1:-1], self.sub[:, 1:-1])]

    def _pulses(self, waves: Tensor, steps: int) -> list[Tensor]:
        """Spread, skewness and neighbours' correlation of the bands' envelopes within three steps around each."""
        per = HOP // TICK

        def mean(x: Tensor) -> Tensor:
            return F.avg_pool1d(x, 3 * per, per)

        envelope = (self.pulse @ _power(_spectra(waves, SHORT, TICK, (steps + 2) * per, -per))).sqrt()
        m, square = mean(envelope), mean(envelope * envelope)
        variance = (square - m * m).clamp(min=0)
        third = mean(envelope**3) - 3 * m * square + 2 * m**3
        both = mean(envelope[:, 1:] * envelope[:, :-1]) - m[:, 1:] * m[:, :-1]
        beside = both / ((variance[:, 1:] * variance[:, :-1]).sqrt() + 1e-9)
        skew = third / (variance.sqrt() ** 3 + 1e-9)
        return [variance.sqrt() / (m + 1e-5), skew.clamp(-5, 5), beside.clamp(-1, 1)]


def _spectra(waves: Tensor, size: int, hop: int, count: int, skip: int = 0) -> Tensor:
    """Hann spectra (B, size / 2 + 1, count) each `hop` samples, evenly about the steps' centres, after `skip` hops."""
    first = (RECEPTIVE - HOP + hop) // 2 + skip * hop - size // 2
    padded = F.pad(waves, (LONG, LONG + HOP))[:, LONG + first :][:, : size + (count - 1) * hop]
    window = torch.hann_window(size, device=waves.device)
    spectra: Tensor = spectrogram(padded, 0, window, size, hop, size, None, False, center=False)
    return spectra


def _power(spectra: Tensor) -> Tensor:
    return spectra.real.square() + spectra.imag.square()


def _db(power: Tensor) -> Tensor:
    return 10 * torch.log10(power + 1e-6)  # that is about 100 dB below a full sine in one bin


def _agreement(products: Tensor, weight: Tensor, bands: Tensor) -> Tensor:
    """Length (B, bands, T) of the weighted mean of unit `products` over each band and step."""
    parts = torch.stack([products.real * weight, products.imag * weight, weight])
    real, imaginary, total = (bands @ parts).unflatten(3, (-1, _PER_STEP)).sum(4)
    return torch.hypot(real, imaginary) / (total + 1e-9)


def _median(x: Tensor, weight: Tensor) -> Tensor:
    """Median (B, D, 1) over the steps of `x` (B, D, T), weighted by `weight` (B, 1, T)."""
    values, order = x.sort(2)
    below = weight.expand_as(x).gather(2, order).cumsum(2)
    at = (below < 0.5 * below[..., -1:]).sum(2, keepdim=True).clamp(max=x.shape[2] - 1)
    return values.gather(2, at)


def _centred(x: Tensor, weight: Tensor) -> Tensor:
    return (x - _median(x, weight)) * weight


def _running(x: Tensor, weight: Tensor, run: int = 25) -> Tensor:
    """Mean over `run` steps of `x`, which holds its `weight` already; towards zero where there is little of it."""
    both = F.avg_pool1d(torch.cat([x, weight], 1), run, 1, run // 2, count_include_pad=False)
    return both[:, :-1] / (both[:, -1:] + 0.1)


def _break(x: Tensor, weight: Tensor, run: int) -> Tensor:
    """Root mean square difference (B, 1, T) between the weighted means over the `run` steps before and after."""
    both = F.avg_pool1d(F.pad(torch.cat([x * weight, weight], 1), (run, run)), run, 1)
    mean, sure = both[:, :-1] / (both[:, -1:] + 1e-3), both[:, -1:]
    least = torch.minimum(sure[..., : -run - 1], sure[..., run + 1 :])
    far = (mean[..., : -run - 1] - mean[..., run + 1 :]).square().mean(1, keepdim=True).sqrt()
    return far * least / (least + 0.1)


def _nearest(x: Tensor, loud: Tensor) -> Tensor:
    """Log distances (B, 9, T) to the most similar passages at least 0.6 s away."""
    steps = x.shape[2]
    scale = ((x * x * loud).sum(2, keepdim=True) / (loud.sum(2, keepdim=True) + 1e-3)).sqrt() + 0.1
    points = (x / scale).transpose(1, 2)
    total = (torch.cdist(points, points).square() / x.shape[1]).clamp(max=8) + 4.0 * (loud < 0.3)
    index = torch.arange(steps, device=x.device)
    same = (index[:, None] - index).abs() < _APART
    size, distances = 1, []
    for width in (1, 8, 16):
        while size < width:  # sums along the diagonals
            total = total + F.pad(total, (0, size, 0, size), value=8.0 * size)[:, size:, size:]
            size *= 2
        half = size // 2
        far = F.pad(total / size, (half, 0, half, 0), value=8.0)[:, :steps, :steps].masked_fill(same, 12.0)
        few = far.topk(max(1, steps // 20), 2, largest=False).values
        distances += [few[..., 0], few.mean(2), far.clamp(max=8).mean(2)]
    return torch.stack(distances, 1).clamp(min=1e-3).log()


def _pitch(waves: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Pitch in semitones and voicing, both (B, 1, T)."""
    power = _power(_spectra(waves, LONG, HOP, steps))
    power[:, 100:] = 0  # up to 1.5 kHz
    correlation = torch.fft.irfft(power, dim=1)
    window = torch.hann_window(LONG, device=waves.device)
    own = torch.fft.irfft(_power(torch.fft.rfft(window, 2 * LONG)))
    lags = torch.arange(*_LAGS, device=waves.device)
    height = correlation[:, lags] / (own[lags] / own[0])[:, None] / (correlation[:, :1] + 1e-6)
    # The multiples of a period score about as high as the period itself.
    best = (height - 0.0006 * (lags[:, None] - _LAGS[0])).argmax(1, keepdim=True)
    return 12 * torch.log2(RATE / lags[best]), height.gather(1, best).clamp(0, 1)


def _residual(waves: Tensor, mean: Tensor) -> Tensor:
    """Log kurtosis and log crest (B, 2, T) of what linear prediction leaves of 40 ms around each step."""
    batch, _, steps = mean.shape
    lags = torch.arange(ORDER + 1, device=waves.device)
    smooth = torch.exp(-0.5 * (2 * torch.pi * 40 / RATE * lags) ** 2)[:, None]
    r = torch.fft.irfft(mean, dim=1)[:, : ORDER + 1] * smooth
    error, taps = r[:, :1] * 1.0001 + 1e-7, r[:, :0]
    for i in range(ORDER):  # Levinson and Durbin
        k = (r[:, i + 1 : i + 2] - (taps * r[:, 1 : i + 1].flip(1)).sum(1, keepdim=True)) / error
        k = k.clamp(-0.9999, 0.9999)
        taps, error = torch.cat([taps - k * taps.flip(1), k], 1), error * (1 - k * k)
    around = F.pad(waves, (120 + ORDER, 120 + HOP)).unfold(1, 240 + RECEPTIVE + ORDER, HOP)[:, :steps]
    kernels = torch.cat([-taps.flip(1), torch.ones_like(r[:, :1])], 1).transpose(1, 2)
    flat = around.reshape(1, batch * steps, -1), kernels.reshape(batch * steps, 1, -1)
    rest = F.conv1d(*flat, groups=batch * steps).view(batch, steps, -1)
    rest = rest / (rest.square().mean(2, keepdim=True) + 1e-10).sqrt()
    return torch.log(torch.stack([rest.pow(4).mean(2), rest.abs().amax(2)], 1) + 0.1)


def _edges(bands: int) -> Tensor:
    """Borders (bands + 1,) in Hz of bands of equal width on the mel scale from 150 to 7900 Hz."""
    low, high = (2595 * torch.log10(torch.tensor(1 + f / 700)).item() for f in (150, 7900))
    return 700 * (10 ** ((low + (high - low) * torch.arange(bands + 1) / bands) / 2595) - 1)


def _pick(edges: Tensor, size: int) -> Tensor:
    """Ones (bands, size / 2 + 1) where a bin of a spectrum of `size` samples lies between two `edges` in Hz."""
    bins = torch.arange(size // 2 + 1) * RATE / size
    return ((bins >= edges[:-1, None]) & (bins < edges[1:, None])).float()
