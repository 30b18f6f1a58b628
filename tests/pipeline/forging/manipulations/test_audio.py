"""Each forgery of sound changes its span as it says, as a careful forger would, and nothing else."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
from voice_factory import decibels, pitch_of, rms, voice

from data.audio import Samples, stft
from pipeline.forging.manipulations.audio import (
    CONTEXT,
    AudioForgery,
    Voices,
    rearrange_speech,
    recode_speech,
    resynthesize_speech,
    resynthesize_world,
    say_again,
    shift_voice,
    speak_text,
    splice_speaker,
    touch_up_speech,
)
from pipeline.forging.manipulations.signal import FADE, speech_level

SPAN = (12_800, 38_400)  # 0.8 to 2.4 s: two words with a pause before each
FADED_IN = slice(SPAN[0] + FADE[1], SPAN[1] - FADE[1])
WORD = slice(16_500, 24_500)  # within the first word of the span
NOISE = 0.001

WORLD = pytest.param(
    resynthesize_world, marks=pytest.mark.skipif(find_spec("pyworld") is None, reason="needs pyworld")
)
FOREIGN = (splice_speaker, speak_text)
SAME_WORDS = (resynthesize_speech, WORLD, shift_voice, recode_speech, touch_up_speech)
ALL = (*SAME_WORDS, *FOREIGN, rearrange_speech)

each = pytest.mark.parametrize("forgery", ALL, ids=lambda f: f.__name__)


def coarse(samples: Samples, rng: np.random.Generator) -> Samples:
    """Stands in for a codec: amplitudes in steps."""
    step = 0.01 * (1 + rng.random())
    return (step * np.round(samples / step)).astype(np.float32)


def recording(noise: float = NOISE) -> Samples:
    """Six seconds of a voice of 120 Hz in a room, 20 dB louder than a noise of 0.01. Nobody can write to it."""
    sound = voice(6, 120, seed=1, noise=noise)
    sound.setflags(write=False)
    return sound


SPEECH = recording()
VOICES = Voices(voice(5, 200, seed=2, level=0.03), voice(5, 260, seed=3, level=0.3), coarse)
NOBODY = Voices(np.zeros(0, np.float32), np.zeros(0, np.float32), None)


def forge(forgery: AudioForgery, speech: Samples = SPEECH, voices: Voices = VOICES, seed: int = 0) -> Samples:
    return forgery(speech, SPAN, np.random.default_rng(seed), voices)


@cache
def forged_by(forgery: AudioForgery, seed: int = 0) -> Samples:
    """SPEECH with one forgery, made once for all tests that only look at it."""
    return forge(forgery, seed=seed)


def floor(samples: Samples) -> float:
    """RMS of the quietest tenth of the 20 ms frames."""
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320).astype(np.float64)
    power = np.sort(np.square(frames).mean(axis=1))
    return float(np.sqrt(power[: len(power) // 10].mean()))


@each
def test_the_span_changes_and_no_sample_outside(forgery: AudioForgery) -> None:
    forged = forged_by(forgery)
    assert np.array_equal(forged[: SPAN[0]], SPEECH[: SPAN[0]])
    assert np.array_equal(forged[SPAN[1] :], SPEECH[SPAN[1] :])
    assert (forged[FADED_IN] != SPEECH[FADED_IN]).mean() > 0.99
    assert forged.shape == SPEECH.shape
    assert forged.dtype == np.float32
    assert np.abs(forged).max() <= 1


@each
def test_the_same_seed_gives_the_same_samples(forgery: AudioForgery) -> None:
    assert np.array_equal(forge(forgery), forged_by(forgery))
    assert not np.array_equal(forged_by(forgery, 1), forged_by(forgery))


@each
@pytest.mark.parametrize("span", [(0, 12_800), (83_200, 96_000), (32_000, 38_400)])
def test_a_span_may_touch_the_ends_of_the_recording_and_be_short(
    forgery: AudioForgery, span: tuple[int, int]
) -> None:
    forged = forgery(SPEECH, span, np.random.default_rng(0), VOICES)
    changed = np.flatnonzero(forged != SPEECH)
    assert span[0] <= changed[0] <= span[0] + 80
    assert span[1] - 80 <= changed[-1] < span[1]


@each
def test_loudness_is_that_of_the_original_words(forgery: AudioForgery) -> None:
    # Speech that grows louder by 12 dB in the span only: the level of the whole recording would be wrong.
    louder = SPEECH * np.where((np.arange(len(SPEECH)) // 12_800) % 3 == 1, 1.0, 0.25).astype(np.float32)
    for sound, forged in ((SPEECH, forged_by(forgery)), (louder, forge(forgery, louder))):
        inner = slice(SPAN[0], SPAN[1])
        assert abs(decibels(speech_level(forged[inner]) / speech_level(sound[inner]))) < 1


@each
def test_borders_do_not_click(forgery: AudioForgery) -> None:
    span = (10_240, 33_280)  # both borders lie within words
    forged = forgery(SPEECH, span, np.random.default_rng(0), VOICES)
    bend, usual = np.abs(np.diff(forged, 2)), np.abs(np.diff(SPEECH, 2))
    # At a border the fade has weight 0, and over three samples a slope of at most 3 / 2 * (pi / FADE[0])² = 0.0006 a
    # sample; it enters a second difference twice, times the distance of two sounds, at most 1.
    for border in span:
        assert bend[border - 3 : border + 2].max() <= usual[border - 160 : border + 160].max() + 2 * 0.0006
    # Within the fades both sounds are heard, at most the square root of two times as loud; the slope is at most
    # pi / 2 / FADE[0] = 0.0098 a sample.
    inner = forged[span[0] + FADE[1] : span[1] - FADE[1]]
    steps = np.abs(np.diff(SPEECH)).max() + np.abs(np.diff(inner)).max()
    bound = 1.42 * (usual.max() + np.abs(np.diff(inner, 2)).max()) + 2 * 0.0098 * steps
    assert bend[span[0] : span[0] + FADE[1]].max() <= bound


@each
def test_the_room_goes_on_through_the_span(forgery: AudioForgery) -> None:
    noisy = recording(3 * NOISE)
    for speech, forged in ((SPEECH, forged_by(forgery)), (noisy, forge(forgery, noisy))):
        outside = np.concatenate([speech[: SPAN[0]], speech[SPAN[1] :]])
        assert abs(decibels(floor(forged[FADED_IN]) / floor(outside))) < 3


@pytest.mark.parametrize("forgery", FOREIGN, ids=lambda f: f.__name__)
def test_a_donors_noisier_room_is_taken_out(forgery: AudioForgery) -> None:
    noisy = voice(5, 200, seed=2, level=0.1, noise=5 * NOISE)  # 14 dB above the recording's
    forged = forge(forgery, voices=Voices(noisy, noisy, None))
    assert abs(decibels(floor(forged[FADED_IN]) / NOISE)) < 4


@pytest.mark.parametrize("forgery", SAME_WORDS, ids=lambda f: f.__name__)
def test_the_same_words_keep_their_rhythm(forgery: AudioForgery) -> None:
    forged = forged_by(forgery)
    levels = [
        np.log(np.square(x[slice(*SPAN)].reshape(-1, 640), dtype=np.float64).mean(axis=1))
        for x in (SPEECH, forged)
    ]
    assert np.corrcoef(levels)[0, 1] > 0.75


@pytest.mark.parametrize("forgery", [resynthesize_speech, WORLD, recode_speech, touch_up_speech])
def test_resynthesis_keeps_the_pitch(forgery: AudioForgery) -> None:
    for seed in range(2):
        forged = forged_by(forgery, seed)
        assert pitch_of(forged[WORD]) == pytest.approx(pitch_of(SPEECH[WORD]), rel=0.05)


@pytest.mark.parametrize("forgery", [resynthesize_speech, WORLD])
def test_vocoders_give_other_waves(forgery: AudioForgery) -> None:
    forged = forged_by(forgery)
    assert abs(np.corrcoef(forged[WORD], SPEECH[WORD])[0, 1]) < 0.9


def test_a_shifted_voice_has_another_pitch() -> None:
    ratios = [pitch_of(forged_by(shift_voice, seed)[WORD]) / pitch_of(SPEECH[WORD]) for seed in range(6)]
    semitones = 12 * np.log2(ratios)
    assert (np.abs(semitones) > 1.2).all()
    assert (np.abs(semitones) < 4.3).all()
    assert semitones.min() < 0 < semitones.max()


@pytest.mark.parametrize(("forgery", "pitch_hz"), [(splice_speaker, 200), (speak_text, 260)])
def test_other_words_are_the_donors(forgery: AudioForgery, pitch_hz: float) -> None:
    forged = forged_by(forgery)
    assert pitch_of(forged[WORD], low_hz=150) == pytest.approx(pitch_hz, rel=0.05)


def test_the_donors_words_pause_where_the_original_does() -> None:
    # The donor's words start 0.3 s later than the recording's: a blind cut would be heard in the pause of the span.
    late = np.concatenate([np.zeros(4800, np.float32), VOICES.other])
    pause = slice(SPAN[0] + 13_400, SPAN[0] + 15_400)
    for seed in range(5):
        forged = forge(splice_speaker, voices=replace(VOICES, other=late), seed=seed)
        assert rms(forged[pause]) < 0.1 * rms(forged[WORD])


def test_rearranged_words_come_from_elsewhere_in_the_recording() -> None:
    # Only the end of the recording has the voice of 180 Hz; the span is in the voice of 120 Hz.
    speech = np.concatenate([voice(2.4, 120, noise=NOISE), voice(4, 180, noise=NOISE)])
    pitches = []
    for seed in range(6):
        forged = forge(rearrange_speech, speech, NOBODY, seed)
        pitches.append(pitch_of(forged[WORD], low_hz=150))
    # Retuned by 3 to 8 % either way.
    assert all(180 * 0.9 < pitch < 180 * 1.1 for pitch in pitches)
    assert max(pitches) - min(pitches) > 180 * 0.06


def test_the_codec_hears_the_surroundings_too() -> None:
    heard: list[Samples] = []

    def listen(samples: Samples, rng: np.random.Generator) -> Samples:
        heard.append(samples)
        return coarse(samples, rng)

    forge(recode_speech, voices=replace(VOICES, recode=listen))
    assert np.array_equal(heard[0], SPEECH[SPAN[0] - CONTEXT : SPAN[1] + CONTEXT])


def test_a_sham_changes_samples_but_not_what_is_said() -> None:
    original = 10 * np.log10(np.square(np.abs(stft(SPEECH[WORD]))) + 1e-9)
    spoken = original > 10 * np.log10(192 * NOISE**2) + 20  # 192 is the energy of the window

    def spectral_distance(forged: Samples) -> float:
        changed = 10 * np.log10(np.square(np.abs(stft(forged[WORD]))) + 1e-9)
        return float(np.sqrt(np.square(changed - original)[spoken].mean()))

    sham, forged = forged_by(touch_up_speech), forged_by(resynthesize_speech)
    assert spectral_distance(sham) < 2
    assert spectral_distance(forged) > 4
    assert np.corrcoef(sham[WORD], SPEECH[WORD])[0, 1] > 0.995
    # In the pause the room's sound is another, at the same level.
    pause = slice(26_000, 28_400)
    assert np.corrcoef(sham[pause], SPEECH[pause])[0, 1] < 0.97
    assert abs(decibels(rms(sham[pause]) / rms(SPEECH[pause]))) < 1


@each
def test_silence_has_no_words_to_forge(forgery: AudioForgery) -> None:
    with pytest.raises(ValueError, match=r"silent|holds no speech"):
        forge(forgery, np.zeros(64_000, np.float32))


@pytest.mark.parametrize(
    ("forgery", "voices", "message"),
    [
        (splice_speaker, Voices(np.zeros(0), np.ones(9), None), "the other speaker has 0 samples"),
        (splice_speaker, Voices(np.zeros(99_000), np.ones(9), None), "the other speaker holds no speech"),
        (speak_text, Voices(voice(4), voice(1), None), "the machine voice has 16000 samples"),
        (recode_speech, Voices(voice(4), voice(4), None), "no codec"),
    ],
)
def test_missing_material_is_said(forgery: AudioForgery, voices: Voices, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        forge(forgery, voices=voices)


def test_rearranging_needs_other_speech() -> None:
    with pytest.raises(ValueError, match="the rest of the recording holds no speech"):
        forge(rearrange_speech, SPEECH[: SPAN[1] + 6400])


def test_world_says_when_its_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyworld", None)
    with pytest.raises(ValueError, match="pyworld is not installed"):
        forge(resynthesize_world)


def test_a_whole_recording_said_again_gets_no_room_laid_under_it() -> None:
    """Its pauses are as silent as the words that came in; a span of it has the room of the rest."""
    noisy = voice(2.0, 120) + np.random.default_rng(0).normal(0, NOISE, 32_000).astype(np.float32)
    words = np.where(np.abs(voice(2.0, 120)) > 0.01, noisy, 0)
    quiet = np.convolve(np.abs(words), np.ones(1600), "same") == 0
    assert quiet.sum() > 1000
    whole = say_again(noisy, words, (0, len(noisy)), np.random.default_rng(1))
    part = say_again(noisy, words[:-1600], (0, len(noisy) - 1600), np.random.default_rng(1))
    assert np.abs(whole[quiet]).max() == 0
    assert rms(part[:-1600][quiet[:-1600]]) > 0.2 * NOISE
