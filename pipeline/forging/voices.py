"""Voices and codecs of this machine for forgeries of sound: text to speech, and FFmpeg's low-rate codecs."""

from __future__ import annotations

import io
import logging
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray

from data.audio import Samples
from data.labels import RATE
from pipeline.forging.manipulations.signal import to_our_rate
from pipeline.forging.neural_voices import neural_voices

ENGINES = ("espeak-ng", "flite")
"""Text-to-speech programs, in order of preference."""

TIMEOUT_S = 20.0
"""Longest time for one sentence, in seconds."""

SENTENCES = (
    "The meeting has been moved to the second week of March.",
    "We expect light rain in the morning and sunshine after lunch.",
    "She said that the results would be published before the summer.",
    "Nobody knew at the time how long the work would take.",
    "There are three ways to reach the station from here.",
    "He thanked the team for their patience and their help.",
    "The old bridge will stay closed until the end of the year.",
    "Most people agree that the new rules are easier to follow.",
    "I would like to add one more point before we finish.",
    "The museum opens at nine and closes late on Thursdays.",
    "Our neighbours planted two apple trees behind the house.",
    "They have been looking for a better answer since last autumn.",
    "You can find the full list of questions on the next page.",
    "The river was higher than anyone could remember.",
    "A small group of students asked for more time.",
    "In the evening the wind turned and the boats came home.",
    "The price of bread has hardly changed in ten years.",
    "Please leave your name and number after the tone.",
    "What matters now is that everybody hears the same story.",
    "The train to the coast leaves from platform four.",
    "It was a quiet day, and the shops were almost empty.",
    "His report describes the events in the order they happened.",
    "We will know more when the committee meets again.",
    "The garden looks best in the first days of June.",
)
"""Neutral English sentences that the machine voices read."""

_ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-029", "en-gb-x-rp")
_VARIANTS = ("", "+m1", "+m2", "+m3", "+m4", "+m7", "+f1", "+f2", "+f3", "+f4", "+f5")
_FLITE = {"kal": 105, "kal16": 105, "awb": 120, "rms": 105, "slt": 180}  # voice and its mean pitch in Hz
_LOG = logging.getLogger(__name__)


class Engine(Protocol):
    """Speaks text: `speaker` draws a voice, which takes text and gives mono sound at 16 kHz."""

    @property
    def name(self) -> str: ...

    def speaker(self, rng: np.random.Generator) -> Callable[[str], NDArray[np.floating]]: ...


@dataclass(frozen=True)
class Program:
    """An engine that is a program of this machine, by its name."""

    name: str

    def speaker(self, rng: np.random.Generator) -> Callable[[str], NDArray[np.floating]]:
        """A drawn voice of the program; see `Engine`. Raises OSError or SubprocessError when the program fails."""
        options = _espeak_voice(rng) if self.name == "espeak-ng" else _flite_voice(rng)
        return lambda text: _speak(self.name, options, text)


@dataclass(frozen=True)
class MachineSpeech:
    """Mono 16 kHz float32 samples (L,), and the name of the engine that spoke; both empty without one."""

    samples: Samples
    engine: str


SILENCE = MachineSpeech(np.zeros(0, np.float32), "")


def installed_engines() -> tuple[str, ...]:
    """Names of the text-to-speech programs that are installed."""
    return tuple(name for name in ENGINES if shutil.which(name) is not None)


def speech_engines(folder: str | None = None) -> tuple[Engine, ...]:
    """The programs that are installed, then the neural voices in `folder`. Raises UsageError as `neural_voices`."""
    return *(Program(name) for name in installed_engines()), *neural_voices(folder)


def synthetic_speech(
    rng: np.random.Generator, min_samples: int, engines: Sequence[Engine] | None = None
) -> MachineSpeech:
    """At least `min_samples` of machine speech in one voice of one of `engines`, drawn from `rng`.

    By default, of an installed program. Empty without an engine, or when the one drawn fails, which is logged. The same
    state of `rng` gives the same samples on one machine.
    """
    engines = speech_engines() if engines is None else engines
    if not engines:
        return SILENCE
    engine = engines[int(rng.integers(len(engines)))]
    parts: list[NDArray[np.floating]] = []
    try:
        speak = engine.speaker(rng)
        while sum(map(len, parts)) < max(min_samples, 1):
            spoken = speak(SENTENCES[int(rng.integers(len(SENTENCES)))])
            parts += [spoken, np.zeros(int(rng.integers(RATE // 10, RATE // 4)))]
    except (OSError, subprocess.SubprocessError, ValueError, EOFError, wave.Error) as error:
        _LOG.warning("text-to-speech with %s failed: %s", engine.name, error)
        return SILENCE
    speech = np.concatenate(parts)
    loudest = max(float(np.abs(speech).max()), 1e-9)
    return MachineSpeech((speech * (0.5 / loudest)).astype(np.float32), engine.name)


def _espeak_voice(rng: np.random.Generator) -> tuple[str, ...]:
    voice = str(rng.choice(_ACCENTS)) + str(rng.choice(_VARIANTS))
    return "-v", voice, "-p", str(int(rng.integers(30, 71))), "-s", str(int(rng.integers(140, 186)))


def _flite_voice(rng: np.random.Generator) -> tuple[str, ...]:
    voice = str(rng.choice(list(_FLITE)))
    pitch = _FLITE[voice] * rng.uniform(0.85, 1.2)
    speed = f"duration_stretch={rng.uniform(0.85, 1.2):.2f}"
    return "-voice", voice, "--setf", f"int_f0_target_mean={pitch:.0f}", "--setf", speed


def _speak(engine: str, options: tuple[str, ...], text: str) -> NDArray[np.floating]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        said = ("-w", str(path), text) if engine == "espeak-ng" else ("-t", text, "-o", str(path))
        program = shutil.which(engine) or engine
        subprocess.run(
            [program, *options, *said],
            check=True,
            capture_output=True,
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
        with wave.open(io.BytesIO(path.read_bytes())) as sound:
            rate = sound.getframerate()
            samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32768
    if len(samples) == 0:
        raise ValueError("it wrote no sound")
    return to_our_rate(samples, rate)


@dataclass(frozen=True)
class Codec:
    """A lossy codec: FFmpeg's name, sample rate in Hz, bit rates in bit/s, sample format of the encoder, options."""

    name: str
    rate: int
    bit_rates: tuple[int, ...]
    format: str
    options: tuple[tuple[str, str], ...] = ()


CODECS = (
    Codec("libopus", 16_000, (6_000, 8_000, 12_000), "s16", (("application", "voip"),)),
    Codec("libmp3lame", 16_000, (8_000, 16_000), "s16p"),
    Codec("aac", 16_000, (12_000, 16_000), "fltp"),
    Codec("libopencore_amrnb", 8_000, (4_750, 7_950, 12_200), "s16"),
    Codec("g723_1", 8_000, (6_300,), "s16"),
    Codec("pcm_mulaw", 8_000, (64_000,), "s16"),
)
"""Codecs of messengers, telephones and voice messages."""


def recode(samples: Samples, rng: np.random.Generator) -> Samples:
    """`samples` (L,), 16 kHz mono, after a round trip through a codec of low rate drawn from `rng`, words in place.

    Raises ValueError when this FFmpeg has none of `CODECS`.
    """
    codecs = _usable()
    if not codecs:
        raise ValueError("this FFmpeg has none of the codecs " + ", ".join(codec.name for codec in CODECS))
    codec = codecs[int(rng.integers(len(codecs)))]
    return round_trip(samples, codec, codec.bit_rates[int(rng.integers(len(codec.bit_rates)))])


def round_trip(samples: Samples, codec: Codec, bit_rate: int) -> Samples:
    """`samples` (L,) encoded and decoded again, without the delay of the codec."""
    delay = _delay(codec, bit_rate)
    heard = _code(np.pad(samples, (0, RATE // 4)), codec, bit_rate)
    heard = np.pad(heard, (max(-delay, 0), len(samples) + abs(delay)))[max(delay, 0) :]
    return np.clip(heard[: len(samples)], -1, 1).astype(np.float32)


@cache
def _usable() -> tuple[Codec, ...]:
    return tuple(codec for codec in CODECS if codec.name in av.codecs_available)


@cache
def _delay(codec: Codec, bit_rate: int) -> int:
    """Samples by which the round trip comes late: where a swept tone and its copy agree best."""
    time = np.arange(2 * RATE) / RATE
    # A sweep agrees with itself at one lag only; speech may agree a pitch period too late.
    probe = (0.3 * np.sin(2 * np.pi * (200 + 300 * time) * time)).astype(np.float32)
    heard = _code(np.pad(probe, (0, RATE // 4)), codec, bit_rate)
    size = 1 << 17
    likeness = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(probe, size)))
    lag = int(likeness.argmax())
    return lag - size if lag > size // 2 else lag


def _code(samples: NDArray[np.float32], codec: Codec, bit_rate: int) -> NDArray[np.float32]:
    encoder = av.CodecContext.create(codec.name, "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = codec.rate, "mono", codec.format
    encoder.bit_rate, encoder.time_base = bit_rate, Fraction(1, codec.rate)
    encoder.thread_count = 1
    encoder.options = dict(codec.options)
    encoder.open()
    shrink = av.AudioResampler(codec.format, "mono", codec.rate, frame_size=encoder.frame_size or None)
    sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), "fltp", "mono")
    sound.sample_rate, sound.pts, sound.time_base = RATE, 0, Fraction(1, RATE)
    packets = [
        packet
        for frame in (*shrink.resample(sound), *shrink.resample(None))
        for packet in encoder.encode(frame)
    ]
    packets += encoder.encode(None)
    decoder = av.CodecContext.create(encoder.codec.canonical_name, "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout, decoder.extradata = codec.rate, "mono", encoder.extradata
    decoder.thread_count = 1
    back = av.AudioResampler("fltp", "mono", RATE)
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + list(decoder.decode(None))
    heard = [part.to_ndarray()[0] for frame in (*frames, None) for part in back.resample(frame)]
    return np.concatenate(heard) if heard else np.zeros(0, np.float32)
