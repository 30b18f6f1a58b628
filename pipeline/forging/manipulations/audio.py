"""Audio forgeries of speech: other words, other voices and machine voices, blended into the recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data.audio import FFT, FRAME_SAMPLES, Samples, apply_gain, mel_filters, speech_activity, stft
from data.labels import RATE
from pipeline.forging.manipulations.signal import (
    background,
    channel_gain,
    griffin_lim,
    join,
    long_term,
    noise_like,
    quiet_spectrum,
    quieten,
    read_at,
    revoice,
    speech_level,
    tilt_gain,
)

Span = tuple[int, int]
Recode = Callable[[Samples, np.random.Generator], Samples]

CONTEXT = RATE // 4
"""Samples either side of a span that a vocoder or codec hears too, so that it does not start cold at the border."""


@dataclass(frozen=True)
class Voices:
    """Material of a forger: speech of another person, machine speech, codecs, vocoders; empty or None where missing.

    `engine` names what spoke the machine speech.
    """

    other: Samples
    synthetic: Samples
    recode: Recode | None
    neural: Recode | None = None
    vocode: Callable[[Samples, str], Samples] | None = None
    engine: str = ""


class AudioForgery(Protocol):
    """Forges mono 16 kHz `samples` (L,) float32 inside `span`, using `voices`; its name is that of its family."""

    __name__: str

    def __call__(self, samples: Samples, span: Span, rng: np.random.Generator, voices: Voices) -> Samples: ...


def resynthesize_speech(samples: Samples, span: Span, rng: np.random.Generator, voices: Voices) -> Samples:
    """The same words out of a vocoder: mel spectrogram and Griffin-Lim phase, as the first neural voices did.

    Imitates speech synthesis conditioned on mel spectrograms (Tacotron, 2017). Raises ValueError on silence.
    """
    context, inner = context_of(samples, span)
    filters = mel_filters(80)
    mel = filters @ np.square(np.abs(stft(context)))
    # Within a band the energy lies as it does in the recording on average; a trained vocoder knows that as well.
    usual = long_term(samples) + 1e-10
    power = usual[:, None] * (filters.T @ (mel / (filters @ usual)[:, None])) / filters.sum(axis=0)[:, None]
    spoken = griffin_lim(np.sqrt(power), len(context), int(rng.integers(8, 33)), rng)
    return say_again(samples, spoken[inner], span, rng)


def resynthesize_world(samples: Samples, span: Span, rng: np.random.Generator, voices: Voices) -> Samples:
    """The same words out of the WORLD vocoder, whose envelope is first coded as coarsely as acoustic models code it.

    Imitates statistical speech synthesis and voice conversion. Source: Morise et al., "WORLD" (2016). Raises
    ValueError without the package `pyworld`, and on silence.
    """
    world = _pyworld()
    context, inner = context_of(samples, span)
    heard = context.astype(np.float64)
    pitch, times = world.harvest(heard, RATE)
    envelope = world.cheaptrick(heard, pitch, times, RATE)
    noisiness = world.d4c(heard, pitch, times, RATE)
    coded = world.code_spectral_envelope(envelope, RATE, int(rng.integers(24, 61)))
    envelope = world.decode_spectral_envelope(coded, RATE, 2 * (envelope.shape[1] - 1))
    return say_again(samples, world.synthesize(pitch, envelope, noisiness, RATE)[inner], span, rng)


def splice_speaker(samples: Samples, span: Span, rng: np.random.Generator, voices: Voices) -> Samples:
    """Words of another speaker in place of these.

    Imitates a dubbed word or a voice clone of poor likeness. Raises ValueError when the other speaker has no speech
    of that length, and on silence.
    """
    return _say_instead(samples, voices.other, "the other speaker", span, rng)


def speak_text(samples: Samples, span: Span, rng: np.random.Generator, voices: Voices) -> Samples:
    """Words of a text-to-speech voice in place of these.

    Imitates inserted machine speech, or, from end to end, a machine that reads another text. Raises ValueError when no
    synthetic speech of that length is available, and on silence.
    """
    return _say_instead(samples, voices.synthetic, "the machine voice", span, rng)


def shift_voice(samples: Samples, span: Span, rng: np.random.Generator, voices: Voices) -> Samples:
    """The same words at another pitch, with other resonances and an uneven tempo that ends in time.

    Imitates voice changers and crude voice conversion. Raises ValueError on silence.
    """
    context, inner = context_of(samples, span)
    pitch = 2.0 ** (float(rng.choice([-1, 1]) * rng.uniform(1.5, 4.0)) / 12)
    formant = 2.0 ** (float(rng.uniform(-2.0, 2.0)) / 12)
    tempo = float(rng.choice([-1, 1]) * rng.uniform(0.05, 0.15))
    positions = np.arange(len(context), dtype=np.float64)
    length = span[1] - span[0]
    positions[inner] += tempo * length / (2 * np.pi) * np.sin(2 * np.pi * np.arange(length) / length)
    moved = revoice(context, positions, pitch, formant)
    return say_again(samples, apply_gain(moved, channel_gain(moved, context))[inner], span, rng)


def recode_speech(samples: Samples, span: Span, rng: np.random.Generator, voices: Voices) -> Samples:
    """The same words after a speech codec of low rate.

    Imitates words taken from a telephone call or a messenger. Raises ValueError without a codec, and on silence.
    """
    if voices.recode is None:
        raise ValueError("no codec available")
    context, inner = context_of(samples, span)
    return say_again(samples, voices.recode(context, rng)[inner], span, rng)


def rearrange_speech(samples: Samples, span: Span, rng: np.random.Generator, voices: Voices) -> Samples:
    """Other words of the same speaker, cut from elsewhere in the recording and slightly retuned to fit.

    Imitates cut-and-paste editing. Raises ValueError when the recording holds no other speech of that length, and
    on silence.
    """
    original, length = samples[slice(*span)], span[1] - span[0]
    tempo = 1 + float(rng.choice([-1, 1]) * rng.uniform(0.03, 0.08))
    words = _choose(
        samples, int(np.ceil(length * tempo)) + 1, "the rest of the recording", original, rng, span
    )
    retuned = read_at(words, np.arange(length) * tempo, min(1.0, 1 / tempo))
    return say_again(samples, apply_gain(retuned, channel_gain(retuned, words)), span, rng)


def touch_up_speech(samples: Samples, span: Span, rng: np.random.Generator, voices: Voices) -> Samples:
    """A sham: the same words cut out, resampled and back, part of the room replaced by room tone, and joined again.

    Leaves every trace of editing that the forgeries leave, and no forged content. Raises ValueError on silence.
    """
    context, inner = context_of(samples, span)
    ratio = float(rng.uniform(1.02, 1.12))
    finer = read_at(context, np.arange(int(len(context) * ratio)) / ratio)
    words = read_at(finer, np.arange(len(context)) * ratio)
    room = background(samples)
    words = quieten(words, room, room * rng.uniform(0.3, 0.9))
    return say_again(samples, words[inner], span, rng)


def denoise_speech(samples: Samples, span: Span, rng: np.random.Generator, voices: Voices) -> Samples:
    """A sham: the same words with the room taken from under them, as a noise suppressor does.

    Raises ValueError on silence.
    """
    context, inner = context_of(samples, span)
    room = background(samples)
    words = quieten(context, room, room * rng.uniform(0.0, 0.2))
    return _put_back(samples, words[inner], span, rng)


def enhance_speech(samples: Samples, span: Span, rng: np.random.Generator, voices: Voices) -> Samples:
    """A sham: the same words compressed and brightened, as a voice enhancer does.

    Raises ValueError on silence.
    """
    context, inner = context_of(samples, span)
    hertz = np.linspace(0, RATE / 2, FFT // 2 + 1)
    presence_db = rng.uniform(2, 6) * np.exp(
        -np.square(np.log2(np.maximum(hertz, 1) / rng.uniform(2000, 4500)))
    )
    bright = apply_gain(context, 10 ** ((presence_db - rng.uniform(0, 9) * (hertz < 90)) / 20))
    power = np.convolve(np.square(bright), np.full(RATE // 50, 50 / RATE), "same")
    over = np.maximum(power / max(_level(samples, span) ** 2, 1e-12), 0.1)
    return _put_back(samples, (bright * over ** -(0.5 - 0.5 / rng.uniform(1.5, 3.0)))[inner], span, rng)


SHAMS: tuple[AudioForgery, ...] = (touch_up_speech, denoise_speech, enhance_speech)
"""All edits of sound that forge nothing."""


def _put_back(samples: Samples, words: NDArray[np.floating], span: Span, rng: np.random.Generator) -> Samples:
    """Join words as loud as they were, with nothing laid under them."""
    return join(samples, words * (_level(samples, span) / max(speech_level(words), 1e-9)), span, rng)


def say_again(samples: Samples, words: NDArray[np.floating], span: Span, rng: np.random.Generator) -> Samples:
    """Join words made of the recording itself; the room tone that the process lost is laid under them.

    A whole recording said again has no room to fit into, so it gets none.
    """
    level = _level(samples, span)
    words = words * (level / max(speech_level(words), 1e-9))
    if span == (0, len(samples)):
        return join(samples, words, span, rng)
    room, left = background(samples), quiet_spectrum(words)
    # A short span has few quiet frames, so its floor is uncertain: only what is clearly lacking is added.
    lost = np.where(left < 0.6 * room, room - left, 0)
    return join(samples, words + noise_like(lost, len(words), rng), span, rng)


def _say_instead(
    samples: Samples, donor: Samples, owner: str, span: Span, rng: np.random.Generator
) -> Samples:
    """Join a donor's words: equalized and levelled like the recording, in its room instead of the donor's.

    Words in place of the whole recording have nothing around that they must be like, so they are levelled alone.
    """
    level = _level(samples, span)
    words = _choose(donor, span[1] - span[0], owner, samples[slice(*span)], rng)
    if span == (0, len(samples)):
        return join(samples, words * (level / max(speech_level(words), 1e-9)), span, rng)
    gain = tilt_gain(donor, samples) * channel_gain(donor, samples)
    fitted, noise = apply_gain(words, gain), background(donor) * gain**2
    room = background(samples)
    tone = noise_like(room, len(words), rng)
    # The level of the original includes its room: the words alone are quieter by that much.
    wanted = np.sqrt(max(level**2 - float(np.square(tone).mean()), 0.25 * level**2))
    scale = wanted / max(speech_level(fitted), 1e-9)
    fitted, noise = fitted * scale, noise * scale**2
    lacking = np.clip(room - noise, 0, None)
    mixed = quieten(fitted, noise, room) + noise_like(lacking, len(words), rng)
    return join(samples, mixed * (level / max(speech_level(mixed), 1e-9)), span, rng)


def context_of(samples: Samples, span: Span) -> tuple[Samples, slice]:
    """The samples of `span` with up to `CONTEXT` on either side, and where the span lies in them."""
    first, stop = span
    start = max(0, first - CONTEXT)
    return samples[start : stop + CONTEXT], slice(first - start, stop - start)


def _level(samples: Samples, span: Span) -> float:
    level = speech_level(samples[span[0] : span[1]])
    if level < 1e-4:
        raise ValueError(f"samples {span} are silent: there are no words to forge")
    return level


def _choose(
    speech: Samples,
    length: int,
    owner: str,
    like: Samples,
    rng: np.random.Generator,
    avoid: Span | None = None,
) -> Samples:
    """Speech (length,) out of `speech`, not out of the span `avoid`, that speaks and pauses much as `like` does."""
    active = speech_activity(speech)
    n = -(-length // FRAME_SAMPLES)
    if len(active) < n:
        raise ValueError(f"{owner} has {len(speech)} samples, the span needs {length}")
    starts = np.flatnonzero(np.convolve(active, np.ones(n), "valid") >= 0.6 * n)
    if avoid is not None:
        at = starts * FRAME_SAMPLES
        starts = starts[(at + length <= avoid[0]) | (at >= avoid[1])]
    if len(starts) == 0:
        raise ValueError(f"{owner} holds no speech of {length} samples")
    # Words that pause where the original pauses begin and end at its own borders, and keep its share of silence.
    windows = np.lib.stride_tricks.sliding_window_view(_contour(speech), n)[starts]
    wanted = _contour(np.resize(like, n * FRAME_SAMPLES))
    far = np.abs(windows - wanted).mean(axis=1)
    fitting = starts[np.argsort(far, kind="stable")[: max(1, len(starts) // 8)]]
    first = int(rng.choice(fitting)) * FRAME_SAMPLES
    return speech[first : first + length]


def _contour(samples: Samples) -> NDArray[np.float64]:
    """Level of each frame in dB below the loud frames, at most 40."""
    n = len(samples) // FRAME_SAMPLES
    power = np.square(samples[: n * FRAME_SAMPLES].reshape(n, FRAME_SAMPLES), dtype=np.float64).mean(axis=1)
    level_db = 10 * np.log10(power + 1e-10)
    return np.clip(level_db - np.percentile(level_db, 95), -40, 0)


def _pyworld() -> ModuleType:
    try:
        import pyworld
    except ImportError as error:
        raise ValueError("the package pyworld is not installed") from error
    return pyworld
