"""Synthetic speech at 16 kHz, by espeak-ng or a small source-filter synthesiser of our own, in a small room."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SAMPLE_RATE = 16000
FPS = 25
HOP = 80  # samples between two settings of the formant filter: 5 ms
WINDOW = 320  # a Hann window of four hops adds up to the constant 2
NFFT = 1024  # leaves 44 ms for the filter to ring out

# Our own sentences, with their sounds for the built-in synthesiser ("/" parts words).
SENTENCES: tuple[tuple[str, str], ...] = (
    (
        "The morning train left the station on time.",
        "DH AH / M AO R N IH NG / T R EY N / L EH F T / DH AH / S T EY SH AH N / AO N / T AY M",
    ),
    (
        "We keep the old maps in a wooden box.",
        "W IY / K IY P / DH IY / OW L D / M AE P S / IH N / AH / W UH D AH N / B AA K S",
    ),
    (
        "Nobody saw the river rise during the night.",
        "N OW B AA D IY / S AO / DH AH / R IH V ER / R AY Z / D UH R IH NG / DH AH / N AY T",
    ),
    (
        "Please bring two cups of tea to the garden.",
        "P L IY Z / B R IH NG / T UW / K AH P S / AH V / T IY / T UW / DH AH / G AA R D AH N",
    ),
    (
        "My neighbour paints every door a different blue.",
        "M AY / N EY B ER / P EY N T S / EH V R IY / D AO R / AH / D IH F R AH N T / B L UW",
    ),
    (
        "A small bakery opened near the market hall.",
        "AH / S M AO L / B EY K ER IY / OW P AH N D / N IY R / DH AH / M AA R K AH T / HH AO L",
    ),
    (
        "They measured the bridge again after the storm.",
        "DH EY / M EH ZH ER D / DH AH / B R IH JH / AH G EH N / AE F T ER / DH AH / S T AO R M",
    ),
    (
        "The library will stay open through the winter.",
        "DH AH / L AY B R EH R IY / W IH L / S T EY / OW P AH N / TH R UW / DH AH / W IH N T ER",
    ),
)

# Sound -> F1, F2, F3 (Hz), voicing, noise level, noise centre (Hz), length (s). Vowel formants: the averages of
# Peterson and Barney (1952), https://doi.org/10.1121/1.1906875; the consonants are set by ear.
SOUNDS: dict[str, tuple[float, float, float, float, float, float, float]] = {
    "AA": (730, 1090, 2440, 1.0, 0.0, 1000, 0.11),
    "AE": (660, 1720, 2410, 1.0, 0.0, 1000, 0.11),
    "AH": (640, 1190, 2390, 0.9, 0.0, 1000, 0.07),
    "AO": (570, 840, 2410, 1.0, 0.0, 1000, 0.11),
    "EH": (530, 1840, 2480, 1.0, 0.0, 1000, 0.09),
    "ER": (490, 1350, 1690, 0.9, 0.0, 1000, 0.10),
    "IH": (390, 1990, 2550, 0.9, 0.0, 1000, 0.07),
    "IY": (270, 2290, 3010, 0.9, 0.0, 1000, 0.10),
    "UH": (440, 1020, 2240, 0.9, 0.0, 1000, 0.08),
    "UW": (300, 870, 2240, 0.9, 0.0, 1000, 0.10),
    "M": (250, 1000, 2200, 0.35, 0.0, 1000, 0.07),
    "N": (250, 1500, 2500, 0.35, 0.0, 1000, 0.06),
    "NG": (250, 2000, 2600, 0.35, 0.0, 1000, 0.07),
    "L": (360, 1200, 2700, 0.55, 0.0, 1000, 0.06),
    "R": (420, 1300, 1600, 0.6, 0.0, 1000, 0.06),
    "W": (300, 700, 2200, 0.5, 0.0, 1000, 0.06),
    "V": (300, 1100, 2300, 0.3, 0.1, 4000, 0.06),
    "DH": (300, 1400, 2500, 0.3, 0.08, 5000, 0.04),
    "Z": (300, 1600, 2600, 0.25, 0.25, 5500, 0.07),
    "ZH": (300, 1700, 2500, 0.25, 0.25, 3200, 0.07),
    "S": (300, 1600, 2600, 0.0, 0.5, 5800, 0.09),
    "SH": (300, 1700, 2500, 0.0, 0.5, 3300, 0.09),
    "F": (300, 1100, 2300, 0.0, 0.2, 4500, 0.08),
    "TH": (300, 1400, 2500, 0.0, 0.15, 5500, 0.07),
    "HH": (600, 1500, 2500, 0.0, 0.2, 1800, 0.06),
    "-": (300, 1300, 2500, 0.0, 0.0, 1000, 0.045),  # the closure before a stop's burst
    "B": (300, 900, 2300, 0.3, 0.2, 900, 0.02),
    "D": (300, 1700, 2600, 0.3, 0.25, 4000, 0.02),
    "G": (300, 1900, 2300, 0.3, 0.25, 2200, 0.025),
    "P": (300, 900, 2300, 0.0, 0.3, 1200, 0.03),
    "T": (300, 1700, 2600, 0.0, 0.45, 4500, 0.035),
    "K": (300, 1900, 2300, 0.0, 0.4, 2300, 0.035),
}
PAIRS = {"AY": "AA IH", "EY": "EH IY", "OW": "AO UW", "CH": "- T SH", "JH": "- D ZH"}


@dataclass(frozen=True)
class Voice:
    """A speaker: espeak-ng variant, pitch in Hz, speed as a factor of normal, vocal-tract factor on all formants."""

    variant: str
    pitch_hz: float
    speed: float
    tract: float


def random_voice(rng: np.random.Generator, feminine: bool) -> Voice:
    """A voice for one identity."""
    number = int(rng.integers(1, 5 if feminine else 8))
    pitch_hz = float(rng.uniform(165, 240) if feminine else rng.uniform(85, 145))
    tract = float(rng.uniform(1.05, 1.17) if feminine else rng.uniform(0.92, 1.04))
    return Voice(f"{'f' if feminine else 'm'}{number}", pitch_hz, float(rng.uniform(0.88, 1.12)), tract)


def resample(samples: Floats, rate: int) -> Floats:
    """Samples at `rate` Hz as samples at 16 kHz, by cutting or padding the spectrum."""
    n = round(len(samples) * SAMPLE_RATE / rate)
    spectrum = np.fft.rfft(samples)
    return (np.fft.irfft(spectrum, n) * (n / max(len(samples), 1))).astype(np.float32)


def smooth(track: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """A track under a Hann kernel of `width` steps, its ends held."""
    kernel = np.hanning(width + 2)[1:-1]
    padded = np.pad(track, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def formant_speech(sounds: str, voice: Voice, rng: np.random.Generator) -> Floats:
    """Speech from a string of sounds: a pulse train and noise through time-varying resonators (after Klatt 1980,
    https://doi.org/10.1121/1.383940), filtered block by block in the frequency domain; peak about 1."""
    for name, parts in PAIRS.items():
        sounds = " ".join(parts if sound == name else sound for sound in sounds.split())
    rows: list[tuple[float, ...]] = []
    for sound in sounds.replace("/", "").split():
        for piece in ("-", sound) if sound in "PTKBDG" else (sound,):
            length_s = SOUNDS[piece][-1] * float(rng.uniform(0.85, 1.2)) / voice.speed
            rows += [SOUNDS[piece][:-1]] * max(1, round(length_s * SAMPLE_RATE / HOP))
    rows += [SOUNDS["-"][:-1]] * 8
    control = np.array(rows, np.float64).T
    control = np.stack([smooth(track, 11 if k < 3 else 5) for k, track in enumerate(control)])
    steps = control.shape[1]

    at = np.arange(steps * HOP + WINDOW)
    fall = np.interp(at, [0, at[-1]], [1.12, 0.82])  # declination over a sentence
    wobble = 1 + 0.05 * np.sin(2 * np.pi * at / SAMPLE_RATE * rng.uniform(1.5, 3) + rng.uniform(0, 6))
    pitch = voice.pitch_hz * fall * wobble * (1 + 0.01 * rng.standard_normal(len(at)))
    phase = np.cumsum(pitch / SAMPLE_RATE)
    pulses = np.diff(np.floor(phase), prepend=0.0)
    breath = rng.standard_normal(len(at))

    f = np.fft.rfftfreq(NFFT, 1 / SAMPLE_RATE)
    s = 1j * f
    tilt = 1 / ((1 + s / 300) * (1 + s / 2500)) * (s / (s + 60))  # the glottal slope; no direct current
    window = np.hanning(WINDOW + 1)[:-1] / 2
    out = np.zeros(steps * HOP + NFFT)
    for k in range(steps):
        f1, f2, f3, voicing, hiss, centre = control[:, k]
        tract = np.ones(len(f), complex)
        for peak, width in ((f1, 70.0), (f2, 90.0), (f3, 130.0), (3500.0, 250.0), (4500.0, 300.0)):
            peak *= voice.tract
            tract *= (peak**2) / ((s + width / 2) ** 2 + peak**2)
        noise_band = np.exp(-0.5 * ((f - centre) / (0.25 * centre + 250)) ** 2)
        cut = slice(k * HOP, k * HOP + WINDOW)
        voiced = np.fft.rfft(pulses[cut] * window, NFFT) * tilt * tract * voicing
        hissed = (
            np.fft.rfft(breath[cut] * window, NFFT) * (noise_band * hiss + 0.004 * voicing * tract) * 0.12
        )
        out[k * HOP : k * HOP + NFFT] += np.fft.irfft(voiced + hissed, NFFT)
    return (out / max(float(np.abs(out).max()), 1e-9)).astype(np.float32)


def espeak_speech(text: str, voice: Voice) -> Floats:
    """A sentence spoken by espeak-ng, peak about 1. Raises CalledProcessError or OSError when it fails."""
    low, high = (140.0, 260.0) if voice.variant.startswith("f") else (70.0, 160.0)
    pitch = round(float(np.interp(voice.pitch_hz, [low, high], [20, 75])))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "speech.wav")
        call = [
            "espeak-ng",
            "-v",
            f"en-gb+{voice.variant}",
            "-p",
            str(pitch),
            "-s",
            str(round(160 * voice.speed)),
        ]
        subprocess.run([*call, "-w", str(path), text], check=True, capture_output=True)
        with wave.open(str(path)) as spoken:
            rate = spoken.getframerate()
            samples = np.frombuffer(spoken.readframes(spoken.getnframes()), np.int16).astype(np.float32)
    return resample(samples / max(float(np.abs(samples).max()), 1.0), rate)


def speak(voice: Voice, frames: int, rng: np.random.Generator, engine: str = "auto") -> Floats:
    """Dry speech of exactly `frames` video frames (640 samples each): sentences with pauses between them.

    engine: "espeak", "formant" or "auto" (espeak-ng where it is installed).
    """
    total = frames * SAMPLE_RATE // FPS
    use_espeak = engine == "espeak" or (engine == "auto" and shutil.which("espeak-ng") is not None)
    out = np.zeros(total, np.float32)
    at = min(round(float(rng.uniform(0.1, 0.5)) * SAMPLE_RATE), total // 4)
    order = [int(k) for k in rng.permutation(len(SENTENCES))]
    turn = 0
    while turn == 0 or at < total - SAMPLE_RATE // 2:
        text, sounds = SENTENCES[order[turn % len(order)]]
        speech = espeak_speech(text, voice) if use_espeak else formant_speech(sounds, voice, rng)
        fit = speech[: total - at]
        out[at : at + len(fit)] += fit
        at += len(fit) + round(float(rng.uniform(0.1, 0.5)) * SAMPLE_RATE)
        turn += 1
    fade = min(SAMPLE_RATE // 20, total)
    out[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return out


def in_room(dry: Floats, rng: np.random.Generator) -> Floats:
    """Speech as a microphone in a small room hears it: decaying reflections, hum and coloured noise; peak below 1."""
    n = int(SAMPLE_RATE * rng.uniform(0.12, 0.35))
    tail = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n)
    tail *= rng.uniform(0.15, 0.5) / np.sqrt((tail**2).sum())
    tail[0] = 1.0  # the direct sound comes first, so the lips stay in time
    size = len(dry) + n
    wet = np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(tail, size), size)[: len(dry)]
    f = np.fft.rfftfreq(len(dry), 1 / SAMPLE_RATE)
    spectrum = np.fft.rfft(rng.standard_normal(len(dry))) / np.sqrt(1 + (f / rng.uniform(100, 800)) ** 2)
    noise = np.fft.irfft(spectrum, len(dry))
    hum = np.sin(2 * np.pi * 50 * np.arange(len(dry)) / SAMPLE_RATE) * rng.uniform(0, 0.5)
    level = 10 ** (rng.uniform(-50, -36) / 20)
    out = wet / max(float(np.abs(wet).max()), 1e-9) + level * (noise / noise.std() + hum)
    return (out * rng.uniform(0.35, 0.85) / float(np.abs(out).max())).astype(np.float32)


def envelope(dry: Floats) -> Floats:
    """Root mean square of each video frame's 640 samples, (N,)."""
    per_frame = dry.reshape(-1, SAMPLE_RATE // FPS)
    return np.sqrt((per_frame.astype(np.float64) ** 2).mean(axis=1)).astype(np.float32)


def mouth_tracks(dry: Floats) -> tuple[Floats, Floats]:
    """How far the lips are open (0 to 1) and spread (-1 rounded to 1 wide) at each video frame, from the dry speech.

    Openness follows the energy around F1, more for a high F1 (open vowels); spread follows where F2 lies.
    """
    step = SAMPLE_RATE // FPS
    padded = np.pad(dry, step // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * step)[::step] * np.hanning(2 * step)
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2
    f = np.fft.rfftfreq(2 * step, 1 / SAMPLE_RATE)

    def band(low: float, high: float) -> NDArray[np.float64]:
        return power[:, (f >= low) & (f < high)].sum(axis=1) + 1e-9

    f1 = (f >= 200) & (f < 1100)
    level = np.sqrt(band(200, 3000))
    loud = np.clip(level / np.quantile(level, 0.92), 0, 1.1)
    height = np.clip(((power[:, f1] * f[f1]).sum(axis=1) / band(200, 1100) - 320) / 330, 0, 1)
    opening = np.where(loud < 0.03, 0.0, loud**0.7 * (0.6 + 0.4 * height))
    brightness = np.log10(band(1600, 3200) / band(650, 1300))
    spread = np.clip(0.9 * (brightness + 0.2), -1, 1) * np.clip(3 * loud, 0, 1)
    kernel = np.array([0.2, 0.6, 0.2])
    opening, spread = (np.convolve(np.pad(t, 1, mode="edge"), kernel, "valid") for t in (opening, spread))
    return opening.astype(np.float32), spread.astype(np.float32)
