"""Traces of sound editing: about 300 measures per 20 ms step of speech, each relative to the rest of the window.

A forged word differs little from speech in general, and more from the rest of its recording: in voice, room, phase.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.forgery.signal import mel_filters
from extractors.windows import HOP, RECEPTIVE, SAMPLE_RATE

FFT = 512
"""Samples of the main spectrum: 32 ms, four a step."""

LONG = 1024
"""Samples of the spectrum that hears pitch: 64 ms, one a step."""

SHORT, TICK = 128, 16
"""Window and step, in samples, of the spectra whose levels follow single pitch pulses: 8 and 1 ms."""

BANDS, SUBBANDS, PULSE_BANDS, ORDER = 24, 12, 8, 16
"""Bands of levels, of phase and peakiness, of pulse envelopes; predictor taps and cepstral coefficients."""

_PER_STEP = 4  # main spectra per step
_LAGS = (40, 266)  # samples of a pitch period: 400 to 60 Hz
_TINY = 1e-6  # power that counts as silence: about -100 dB of full scale in one bin


def measure_names() -> tuple[str, ...]:
    """Name of each of the measures of `SoundTraces`, in their order."""
    sizes = {
        "level": BANDS, "shape": BANDS, "cepstrum": ORDER, "top": 8, "floor": SUBBANDS, "valley": SUBBANDS,
        "flatness": SUBBANDS, "crest": SUBBANDS, "chirp": SUBBANDS, "delay": SUBBANDS, "dispersion": SUBBANDS,
        "mixed": SUBBANDS, "pulse_spread": PULSE_BANDS, "pulse_skew": PULSE_BANDS, "pulse_beside": PULSE_BANDS - 1,
        "pulse_total": PULSE_BANDS, "pitch": 1, "voicing": 1, "pitch_change": 1, "harmonicity": PULSE_BANDS,
        "reflection": ORDER, "prediction": 1, "residual": 2, "nearest": 9, "voice": ORDER + 1 + BANDS, "break": 4,
    }  # fmt: skip
    return tuple(f"{name}_{k}" for name, n in sizes.items() for k in range(n))


class SoundTraces(nn.Module):
    """Waveforms (B, N) float32 at 16 kHz to measures (B, T, D) float32, T = floor((N - 400) / 320) + 1.

    Step k is centred on sample 320k + 200. D is `dim`. There are no parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dim = len(measure_names())
        bins = torch.arange(FFT // 2 + 1)
        for name, value in {
            "mel": torch.tensor(mel_filters(BANDS)).float(),
            "fine": torch.tensor(mel_filters(40)).float(),
            "dct": _dct(40, ORDER),
            "sub": _pick(_edges(SUBBANDS), bins * SAMPLE_RATE / FFT),
            "top": _pick([*range(4000, 8001, 500)], bins * SAMPLE_RATE / FFT),
            "pulse": _pick(_edges(PULSE_BANDS), torch.arange(SHORT // 2 + 1) * SAMPLE_RATE / SHORT),
            "long": _pick(_edges(PULSE_BANDS), torch.arange(LONG // 2 + 1) * SAMPLE_RATE / LONG),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """Measures (B, T, D) of windows (B, N)."""
        steps = (waves.shape[1] - RECEPTIVE) // HOP + 1
        z = _spectra(waves, FFT, HOP // _PER_STEP, steps * _PER_STEP)
        power = z.real.square() + z.imag.square()
        mean = power.unflatten(2, (steps, _PER_STEP)).mean(3)
        level = _db(mean[:, 3:129].sum(1, keepdim=True))
        loud = torch.sigmoid((level - torch.quantile(level, 0.95, 2, keepdim=True) + 25) / 4)
        plain: list[Tensor] = []
        gated: list[Tensor] = []
        bands, fine = _db(self.mel @ mean), _db(self.fine @ mean)
        cepstrum = self.dct @ fine
        tops = _db(self.top @ mean) - level
        quiet = _db(self.sub @ power.unflatten(2, (steps, _PER_STEP)).amin(3))
        floor = -F.max_pool1d(-quiet, 15, 1, 7)
        logs = _db(mean)
        each = self.sub.sum(1)[:, None]
        average = (self.sub @ logs) / each
        total = _db((self.sub @ mean) / each)
        parts = [logs[:, row > 0] for row in self.sub]
        valley = torch.stack([torch.quantile(p, 0.15, 1) for p in parts], 1)
        peak = torch.stack([p.amax(1) for p in parts], 1)
        phase = self._phase(z, power, steps)
        pulses = self._pulses(waves, steps)
        pitch, voicing, harmonicity = self._pitch(waves, steps)
        reflection, gain, residual = _predict(waves, mean, steps)
        voiced = loud * torch.sigmoid((voicing - 0.5) / 0.07)
        pitch = (pitch - _middle(pitch, voiced)) * voiced
        change = (pitch - F.pad(pitch, (2, 0), mode="replicate")[..., :-2]) * voiced
        cep = (cepstrum - _middle(cepstrum, loud))
        shape = bands - level
        plain = [bands - _middle(bands, torch.ones_like(loud))]
        gated = [shape, cepstrum, tops]
        first = [_centred(x, loud) for x in gated]
        second = [floor - _middle(floor, torch.ones_like(loud)), valley - _middle(valley, torch.ones_like(loud))]
        third = [_centred(x, loud) for x in (average - total, peak - total, *phase, *pulses)]
        fourth = [pitch, _centred(voicing, loud), change, _centred(harmonicity, voiced)]
        fifth = [_centred(x, loud) for x in (reflection, gain, residual)]
        near = _nearest(cep[:, :12], loud)
        run = 25
        voice = torch.cat(
            [_running(first[1], None, loud, run), _running(pitch, None, voiced, run), _running(first[0], None, loud, run)], 1)
        breaks = torch.cat([_break(cep, loud, 10), _break(cep, loud, 25), _break(shape, loud, 15), _break(floor, torch.ones_like(loud), 15)], 1)
        found = torch.cat([*plain, *first, *second, *third, *fourth, *fifth, near, voice, breaks], 1)
        return found.transpose(1, 2)

    def _phase(self, z: Tensor, power: Tensor, steps: int) -> list[Tensor]:
        unit = z / power.clamp(min=1e-12).sqrt()
        def pool(product: Tensor, weight: Tensor, sub: Tensor) -> Tensor:
            def group(x: Tensor) -> Tensor:
                return (sub @ x).unflatten(2, (steps, _PER_STEP)).sum(3)
            re, im = group(product.real * weight), group(product.imag * weight)
            return (re.square() + im.square()).sqrt() / (group(weight) + 1e-9)
        weight = power.sqrt()
        step = F.pad(unit[..., 1:] * unit[..., :-1].conj(), (1, 1))
        chirp = step[..., 1:] * step[..., :-1].conj()
        delay = unit[:, 1:] * unit[:, :-1].conj()
        bend = delay[:, 1:] * delay[:, :-1].conj()
        mixed = step[:, 1:, 1:] * step[:, :-1, 1:].conj()
        both = (weight[:, 1:] * weight[:, :-1]).sqrt()
        return [
            pool(chirp, weight, self.sub),
            pool(delay, both, self.sub[:, 1:]),
            pool(bend, weight[:, 1:-1], self.sub[:, 1:-1]),
            pool(mixed, both, self.sub[:, 1:]),
        ]

    def _pulses(self, waves: Tensor, steps: int) -> list[Tensor]:
        per = HOP // TICK
        wide = 3 * per
        z = _spectra(waves, SHORT, TICK, steps * per + 2 * per, -per)
        env = (self.pulse @ (z.real.square() + z.imag.square())).sqrt()
        whole = env.sum(1, keepdim=True)
        def mean(x: Tensor) -> Tensor:
            return F.avg_pool1d(x, wide, per)
        m = mean(env)
        v = (mean(env * env) - m * m).clamp(min=0)
        third = mean(env**3) - 3 * m * mean(env * env) + 2 * m**3
        spread = v.sqrt() / (m + 1e-5)
        skew = third / (v.sqrt() ** 3 + 1e-9)
        beside = (mean(env[:, 1:] * env[:, :-1]) - m[:, 1:] * m[:, :-1]) / ((v[:, 1:] * v[:, :-1]).sqrt() + 1e-9)
        mw = mean(whole)
        vw = (mean(whole * whole) - mw * mw).clamp(min=0)
        total = (mean(env * whole) - m * mw) / ((v * vw).sqrt() + 1e-9)
        return [spread, skew.clamp(-5, 5), beside.clamp(-1, 1), total.clamp(-1, 1)]

    def _pitch(self, waves: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        z = _spectra(waves, LONG, HOP, steps)
        power = z.real.square() + z.imag.square()
        heard = power.clone()
        heard[:, 100:] = 0  # up to 1.5 kHz
        acf = torch.fft.irfft(heard, dim=1)
        window = torch.hann_window(LONG, device=waves.device)
        own = torch.fft.irfft(torch.fft.rfft(window, 2 * LONG).abs().square())[: LONG]
        lags = torch.arange(*_LAGS, device=waves.device)
        r = acf[:, lags] / (own[lags] / own[0])[:, None] / (acf[:, :1] + 1e-6)
        # short periods first: a period's multiples score as high
        score = r - 0.0006 * (lags[:, None] - _LAGS[0])
        at = score.argmax(1, keepdim=True)
        lag = lags[at]
        pitch = 12 * torch.log2(SAMPLE_RATE / lag)
        freq = torch.arange(LONG // 2 + 1, device=waves.device)[:, None] * (2 * torch.pi / LONG)
        agree = torch.cos(freq * lag)
        per = (self.long @ (power * agree)) / (self.long @ power + 1e-6)
        return pitch, r.gather(1, at).clamp(0, 1), per


def _spectra(waves: Tensor, size: int, hop: int, count: int, start: int = 0) -> Tensor:
    """Hann spectra (B, size / 2 + 1, count), the first centred on the first hop of step `start` / (HOP / hop)."""
    centre = RECEPTIVE // 2 - HOP // 2 + hop // 2 + start * hop
    padded = F.pad(waves, (LONG, LONG + HOP))[:, LONG + centre - size // 2 :]
    window = torch.hann_window(size, device=waves.device)
    frames = padded.unfold(1, size, hop)[:, :count] * window
    return torch.fft.rfft(frames, dim=2).transpose(1, 2)


def _db(power: Tensor) -> Tensor:
    return 10 * torch.log10(power + _TINY)


def _middle(x: Tensor, weight: Tensor) -> Tensor:
    """Weighted median (B, D, 1) over the steps of `x` (B, D, T) by `weight` (B, 1, T)."""
    value, order = x.sort(2)
    run = weight.expand_as(x).gather(2, order).cumsum(2)
    at = (run < 0.5 * run[..., -1:]).sum(2, keepdim=True).clamp(max=x.shape[2] - 1)
    return value.gather(2, at)


def _centred(x: Tensor, weight: Tensor) -> Tensor:
    return (x - _middle(x, weight)) * weight


def _running(x: Tensor, _: None, weight: Tensor, run: int) -> Tensor:
    """Mean over `run` steps of gated `x` (it holds its weight already)."""
    w = F.avg_pool1d(weight, run, 1, run // 2, count_include_pad=False)
    return F.avg_pool1d(x, run, 1, run // 2, count_include_pad=False) / (w + 0.1)


def _break(x: Tensor, weight: Tensor, run: int) -> Tensor:
    """Root mean square difference (B, 1, T) of the weighted means of the `run` steps before and after."""
    t = x.shape[2]
    w = F.pad(weight, (run, run))
    num = F.avg_pool1d(F.pad(x * weight, (run, run)), run, 1)
    den = F.avg_pool1d(w, run, 1)
    mean = num / (den + 1e-3)
    before, after = mean[..., :t], mean[..., run + 1 : run + 1 + t] if mean.shape[2] >= run + 1 + t else mean[..., -t:]
    sure = torch.minimum(den[..., :t], den[..., -t:])
    return (before - after).square().mean(1, keepdim=True).sqrt() * sure / (sure + 0.1)


def _nearest(x: Tensor, loud: Tensor) -> Tensor:
    """How like the most similar other passages are: (B, 9, T)."""
    t = x.shape[2]
    scale = ((x * x * loud).sum(2, keepdim=True) / (loud.sum(2, keepdim=True) + 1e-3)).sqrt() + 0.1
    y = (x / scale).transpose(1, 2)
    far = torch.cdist(y, y).square() / x.shape[1]
    far = far.clamp(max=8)
    silent = (loud[:, 0] < 0.3).to(far)
    far = far + 4 * silent[:, None, :]
    index = torch.arange(t, device=x.device)
    near = (index[:, None] - index).abs() < 30
    found = []
    size, sums = 1, far
    for width in (1, 8, 16):
        while size < width:
            sums = sums + F.pad(sums, (0, size, 0, size), value=8.0 * size)[:, size:, size:]
            size *= 2
        half = size // 2
        d = F.pad(sums / size, (half, 0, half, 0), value=8.0)[:, :t, :t].masked_fill(near, 12.0)
        k = max(1, t // 20)
        low = d.topk(k, 2, largest=False).values
        found += [low[..., 0], low.mean(2), d.clamp(max=8).mean(2)]
    out = torch.stack(found, 1).clamp(min=1e-3).log()
    return _centred(out, loud)


def _predict(waves: Tensor, mean: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    r = torch.fft.irfft(mean, dim=1)[:, : ORDER + 1]
    r = r * torch.exp(-0.5 * (2 * torch.pi * 40 / SAMPLE_RATE * torch.arange(ORDER + 1, device=waves.device)) ** 2)[:, None]
    error = r[:, 0] * 1.0001 + 1e-7
    start = error
    taps = torch.zeros_like(r[:, 1:])
    ks = []
    for i in range(ORDER):
        acc = r[:, i + 1] - (taps[:, :i] * r[:, 1 : i + 1].flip(1)).sum(1)
        k = (acc / error).clamp(-0.9999, 0.9999)
        new = taps.clone()
        new[:, i] = k
        new[:, :i] = taps[:, :i] - k[:, None] * taps[:, :i].flip(1)
        taps, error = new, error * (1 - k * k)
        ks.append(k)
    area = torch.atanh(torch.stack(ks, 1))
    gain = 10 * torch.log10(start / error.clamp(min=1e-12))[:, None]
    size = RECEPTIVE + 240
    frames = F.pad(waves, (120 + ORDER, 120 + HOP)).unfold(1, size + ORDER, HOP)[:, :steps]
    kernel = torch.cat([-taps.transpose(1, 2).flip(2), torch.ones_like(taps[:, :1].transpose(1, 2))], 2)
    b = frames.shape[0]
    res = F.conv1d(frames.reshape(1, b * steps, -1), kernel.reshape(b * steps, 1, -1), groups=b * steps).view(b, steps, -1)
    var = res.square().mean(2) + 1e-10
    kurt = torch.log(res.pow(4).mean(2) / var**2 + 0.1)
    peak = torch.log(res.abs().amax(2) / var.sqrt() + 0.1)
    return area, gain, torch.stack([kurt, peak], 1)


def _edges(bands: int) -> list[float]:
    top = 2595 * torch.log10(torch.tensor(1 + 7900 / 700)).item()
    low = 2595 * torch.log10(torch.tensor(1 + 150 / 700)).item()
    return [700 * (10 ** ((low + (top - low) * k / bands) / 2595) - 1) for k in range(bands + 1)]


def _pick(edges: list[float] | list[int], centres: Tensor) -> Tensor:
    return torch.stack([((centres >= a) & (centres < b)).float() for a, b in zip(edges[:-1], edges[1:], strict=True)])


def _dct(bands: int, count: int) -> Tensor:
    n = torch.arange(bands) + 0.5
    k = torch.arange(1, count + 1)[:, None]
    return torch.cos(torch.pi / bands * n * k) * (2 / bands) ** 0.5
