"""Features of speech: the same however the sound arrives, and nothing where nobody speaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from speech_factory import RATE, voice
from trace_factory import random_net, write_random_net

from configs.schema import AudioConfig
from data.errors import WeightsError
from extractors.compact.speech import speech_steps
from extractors.compact.voice_traces import (
    SMOOTH,
    VoiceMeasures,
    VoiceTraces,
    near_speech,
)
from extractors.windows import HOP, RECEPTIVE, AudioSteps, step_count

CONFIG = AudioConfig(network="voice_traces", chunk_s=2.0, context_s=1.0)
MEASURES = VoiceMeasures().dim
NOBODY_S = 4.0  # silence in the middle of the sound
Sound = NDArray[np.float32]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_net(tmp_path_factory.mktemp("weights") / "voices.safetensors", MEASURES, spread=5.0)


@pytest.fixture(scope="module")
def extractor(weights: Path) -> VoiceTraces:
    return VoiceTraces(CONFIG, weights)


@pytest.fixture(scope="module")
def sound() -> Sound:
    """Five seconds of a voice, four of next to nothing, three of another voice."""
    quiet = 1e-4 * np.random.default_rng(0).standard_normal(round(NOBODY_S * RATE))
    return np.concatenate([voice(5.0, 0), quiet.astype(np.float32), voice(3.0, 1, 190.0)])


def heard(extractor: VoiceTraces, sound: Sound, lengths: list[int], tag: str = "clip") -> AudioSteps:
    """All steps of a sound that arrives in pieces of these `lengths`, all of it valid."""
    assert sum(lengths) == len(sound)
    pieces = np.split(sound, np.cumsum(lengths)[:-1])
    batcher, steps = extractor.batcher(), []
    for window in extractor.windows((piece, np.ones(len(piece), np.bool_)) for piece in pieces):
        steps += batcher.push(tag, window)
    steps += batcher.flush()
    assert [done.first for _, done in steps] == np.cumsum(
        [0, *(len(done.valid) for _, done in steps)][:-1]
    ).tolist()
    return AudioSteps(
        0,
        np.concatenate([done.values for _, done in steps]),
        np.concatenate([done.valid for _, done in steps]),
    )


@pytest.fixture(scope="module")
def features(extractor: VoiceTraces, sound: Sound) -> AudioSteps:
    return heard(extractor, sound, [len(sound)])


def split(total: int, length: int) -> list[int]:
    return [length] * (total // length) + [total % length]


@pytest.mark.parametrize("length", [777, 16_000, 50_001])
def test_a_sound_gives_the_same_bits_however_it_is_cut(
    length: int, extractor: VoiceTraces, sound: Sound, features: AudioSteps
) -> None:
    found = heard(extractor, sound, split(len(sound), length))
    assert np.array_equal(found.valid, features.valid)
    assert np.array_equal(found.values.view(np.uint32), features.values.view(np.uint32))


def test_windows_of_other_clips_in_between_change_nothing(
    extractor: VoiceTraces, sound: Sound, features: AudioSteps
) -> None:
    other = voice(5.0, 7, 210.0)
    batcher, found = extractor.batcher(), []
    clips = [
        extractor.windows(iter([(waves, np.ones(len(waves), np.bool_))])) for waves in (sound, other, sound)
    ]
    for windows in zip(*clips, strict=False):
        for tag, window in enumerate(windows):
            found += batcher.push(tag, window)
    found += batcher.flush()
    for tag in (0, 2):
        values = np.concatenate([done.values for owner, done in found if owner == tag])
        assert np.array_equal(values, features.values[: len(values)])


def test_there_is_a_step_every_20_ms(extractor: VoiceTraces, sound: Sound, features: AudioSteps) -> None:
    assert features.values.shape == (step_count(len(sound)), extractor.dim)
    assert features.values.dtype == np.float32
    assert np.isfinite(features.values).all()


def test_steps_far_from_speech_are_invalid_and_zero(features: AudioSteps) -> None:
    # Speech ends at 5 s and begins again at 9 s; a step within a second and the 0.3 s of the detector counts as speech.
    assert features.valid[:250].all()
    assert features.valid[460:].all()
    assert not features.valid[250 + 50 + 25 : 450 - 50 - 25].any()
    assert not features.values[~features.valid].any()


def test_a_recording_without_speech_is_all_invalid(extractor: VoiceTraces) -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal(6 * RATE)).astype(np.float32)
    found = heard(extractor, noise, [len(noise)])
    assert len(found.valid) == step_count(len(noise))
    assert not found.valid.any()
    assert not found.values.any()


def test_what_could_not_be_decoded_is_invalid_in_the_middle_of_speech(extractor: VoiceTraces) -> None:
    sound, known = voice(4.0, 2), np.ones(4 * RATE, np.bool_)
    sound[RATE : RATE + 3200], known[RATE : RATE + 3200] = 0, False
    steps = list(extractor.windows(iter([(sound, known)])))
    valid = np.concatenate([window.valid for window in steps])
    assert not valid[50:60].any()
    assert valid[:49].all()
    assert valid[61:].all()


@pytest.mark.parametrize("length", [0, 1, 399, 400, 720, 5000])
def test_a_short_sound_has_the_steps_of_its_length(extractor: VoiceTraces, length: int) -> None:
    windows = list(extractor.windows(iter([(voice(1.0)[:length], np.ones(length, np.bool_))])))
    assert sum(len(window.valid) for window in windows) == step_count(length)


def test_near_speech_reaches_a_second_beyond_it() -> None:
    sound = np.zeros(8 * RATE, np.float32)
    sound[3 * RATE : 5 * RATE] = voice(2.0, 3)
    spoken, near = np.flatnonzero(speech_steps(sound)), np.flatnonzero(near_speech(sound))
    assert near.tolist() == list(range(spoken[0] - 50, spoken[-1] + 51))


def test_near_speech_stays_within_the_sound() -> None:
    assert near_speech(voice(2.0, 4)).all()
    assert near_speech(np.zeros(0, np.float32)).tolist() == []
    assert near_speech(np.zeros(RATE, np.float32)).tolist() == [False] * step_count(RATE)


def test_measures_are_means_over_the_steps_around(monkeypatch: pytest.MonkeyPatch) -> None:
    # One measure that is 1 at step 10: it is a ninth at the nine steps around it, and more where the clip ends.
    front = VoiceMeasures()
    impulse = torch.zeros(1, 30, 1)
    impulse[0, 10] = 1
    monkeypatch.setattr(front.front, "forward", lambda waves: impulse)
    found = front(torch.zeros(1, 1))[0, :, 0]
    assert SMOOTH == 9
    assert found.tolist() == pytest.approx([0.0] * 6 + [1 / 9] * 9 + [0.0] * 15)
    monkeypatch.setattr(front.front, "forward", lambda waves: torch.ones(1, 30, 1))
    assert torch.allclose(front(torch.zeros(1, 1)), torch.ones(1, 30, 1)), "beyond its ends there is nothing"


def test_measures_have_a_step_for_every_step_of_the_clock() -> None:
    for length in (RECEPTIVE, RECEPTIVE + HOP - 1, RECEPTIVE + HOP, RATE):
        assert VoiceMeasures()(torch.zeros(1, length)).shape == (1, step_count(length), MEASURES)


def test_weights_of_another_front_are_refused(tmp_path: Path) -> None:
    path = write_random_net(tmp_path / "faces.safetensors", 12)
    with pytest.raises(WeightsError, match="cannot be loaded as a TraceNet") as error:
        VoiceTraces(CONFIG, path)
    assert error.value.path == path


def test_weights_that_give_no_numbers_are_named(tmp_path: Path) -> None:
    net = random_net(MEASURES, 8)
    net.head.bias.data[0] = torch.nan
    save_file(net.state_dict(), tmp_path / "voices.safetensors")
    with pytest.raises(WeightsError, match="not finite"):
        heard(VoiceTraces(CONFIG, tmp_path / "voices.safetensors"), voice(1.0), [RATE])


def test_the_digest_names_weights_and_the_windows(weights: Path, tmp_path: Path) -> None:
    plain = VoiceTraces.digest_of(CONFIG, weights)
    assert VoiceTraces(CONFIG, weights).digest == plain
    other = write_random_net(tmp_path / "voices.safetensors", MEASURES, seed=1)
    assert VoiceTraces.digest_of(CONFIG, other) != plain
    for setting in ({"chunk_s": 3.0}, {"context_s": 0.5}):
        assert VoiceTraces.digest_of(CONFIG.model_copy(update=setting), weights) != plain
    assert VoiceTraces.digest_of(CONFIG.model_copy(update={"weights": "shipped:x"}), weights) == plain
