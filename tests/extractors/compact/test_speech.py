"""Speech is told from silence, noise, tones and music, wherever it lies and however loud it is."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from speech_factory import RATE, Wave, at, harmonics, loud, voice

from data.audio import speech_activity
from extractors.compact.speech import NEAR_S, speech_steps
from extractors.windows import step_count


def note(semitone: int, seconds: float, decay: float = 3.0) -> Wave:
    t = at(seconds)
    hz = 440 * 2 ** ((semitone - 69) / 12)
    return harmonics(2 * np.pi * hz * t, 8) * np.exp(-decay * t) * np.minimum(1, t / 0.01)


def chords(seed: int, length_s: float = 1.0, notes: tuple[int, ...] = (0, 4, 7)) -> Wave:
    """Eight seconds of chords on random roots."""
    rng = np.random.default_rng(seed)
    roots = rng.integers(45, 65, round(8 / length_s))
    return loud(np.concatenate([sum(note(int(root) + k, length_s) for k in notes) for root in roots]))


def coloured(seed: int, power: float) -> Wave:
    """Eight seconds of noise whose energy falls with frequency to that power."""
    wave = np.fft.rfft(np.random.default_rng(seed).standard_normal(8 * RATE))
    hz = np.fft.rfftfreq(8 * RATE, 1 / RATE)
    wave[1:] /= hz[1:] ** (power / 2)
    wave[0] = 0
    return loud(np.fft.irfft(wave, 8 * RATE))


T = at(8.0)
WAVER = (1 + np.sin(2 * np.pi * 4 * T)) / 2  # as often as syllables
NO_SPEECH = {
    "silence": np.zeros(8 * RATE, np.float32),
    "dither": (1e-5 * np.random.default_rng(0).standard_normal(8 * RATE)).astype(np.float32),
    "steady tone": loud(np.sin(2 * np.pi * 440 * T)),
    "beeps": loud(np.sin(2 * np.pi * 1000 * T) * (T % 1 < 0.3)),
    "wavering tone": loud(np.sin(2 * np.pi * 220 * T) * WAVER),
    "mains hum": loud(harmonics(2 * np.pi * 50 * T)),
    "wavering buzz": loud(harmonics(2 * np.pi * 120 * T) * WAVER),
    "white noise": coloured(1, 0),
    "wavering white noise": loud(coloured(1, 0) * WAVER),
    "pink noise": coloured(2, 1),
    "wavering pink noise": loud(coloured(2, 1) * WAVER),
    "brown noise": coloured(3, 2),
    "wavering brown noise": loud(coloured(3, 2) * WAVER),
    "bursts": loud(coloured(4, 0) * (T * 3 % 1 < 0.5)),
    "siren": loud(np.sin(2 * np.pi * np.cumsum(600 + 300 * np.sin(np.pi * T)) / RATE)),
    **{f"chords {seed}": chords(seed) for seed in range(4)},
    "seventh chords": chords(5, 2.0, (0, 3, 7, 10)),
    "melody": chords(6, 0.25, (12,)),
    "slow melody": chords(7, 0.5, (12,)),
}


@pytest.mark.parametrize("wave", NO_SPEECH.values(), ids=NO_SPEECH)
def test_what_nobody_says_is_no_speech(wave: Wave) -> None:
    assert speech_steps(wave).mean() < 0.05


def test_some_of_these_would_fool_an_ear_for_loudness_alone() -> None:
    for name in ("wavering tone", "wavering white noise", "slow melody"):
        assert speech_activity(NO_SPEECH[name]).mean() > 0.5


@pytest.mark.parametrize("gain", [1.0, 0.01, 5.0])
@pytest.mark.parametrize("base_hz", [95.0, 120.0, 210.0])
def test_a_voice_is_speech_however_loud(gain: float, base_hz: float) -> None:
    assert speech_steps((gain * voice(6.0, 1, base_hz)).astype(np.float32)).mean() > 0.8


def test_speech_among_noise_is_found_where_it_is() -> None:
    wave = 0.003 * np.random.default_rng(0).standard_normal(12 * RATE).astype(np.float32)
    wave[4 * RATE : 8 * RATE] += voice(4.0, 2)
    spoken = np.flatnonzero(speech_steps(wave)) / 50
    assert abs(spoken[0] - 4.0) < NEAR_S + 0.2
    assert abs(spoken[-1] - 8.0) < NEAR_S + 0.2


def test_speech_after_music_is_found_where_it_is() -> None:
    found = speech_steps(np.concatenate([chords(1), voice(6.0, 3)]))
    assert found[: 50 * 6].mean() < 0.05
    assert found[50 * 10 :].mean() > 0.8


def test_steps_next_to_speech_count_and_those_far_from_it_do_not() -> None:
    wave = np.concatenate([np.zeros(3 * RATE, np.float32), voice(3.0, 4), np.zeros(3 * RATE, np.float32)])
    found = speech_steps(wave)
    assert not found[: round(50 * 2.6)].any()
    assert not found[-round(50 * 2.5) :].any()
    assert found[160:290].all()


@pytest.mark.parametrize("length", [0, 1, 399, 400, 639, 640, 719, 720, 800, 16_000, 16_001])
def test_there_is_an_answer_for_each_step_of_the_network(length: int) -> None:
    found = speech_steps(voice(1.1)[:length])
    assert found.shape == (step_count(length),)
    assert found.dtype == bool


def test_a_window_of_twenty_seconds_is_decided_as_its_parts_are() -> None:
    wave = voice(20.0, 5)
    whole = speech_steps(wave)
    parts = np.concatenate(
        [speech_steps(wave[first : first + 4 * RATE]) for first in range(0, 20 * RATE, 4 * RATE)]
    )
    assert whole.mean() > 0.8
    assert parts.mean() > 0.8


@pytest.mark.media
def test_real_recordings_count_as_speech(media: Path) -> None:
    from decoded import probe

    from configs.schema import DecodeConfig
    from pipeline.media.decoder import Decoder

    with (media / "clips.csv").open() as table:
        files = [row["clip"] for row in csv.DictReader(table)][::12]
    for name in files:
        info = probe(media / name, DecodeConfig())
        with Decoder.audio(info, DecodeConfig()) as stream:
            wave = np.concatenate([batch.samples for batch in stream])
        found = speech_steps(wave)
        assert found.sum() >= min(50, 0.5 * len(found)), name
