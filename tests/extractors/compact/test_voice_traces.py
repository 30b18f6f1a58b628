"""Features of speech: the same however the sound arrives, and nothing where nobody speaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from extractor_factory import face_tensors, random_ear, voice_tensors, write_tensors
from numpy.typing import NDArray
from speech_factory import RATE, voice

from configs.schema import AudioConfig
from data.errors import UsageError, WeightsError
from data.labels import EVIDENCE
from extractors.compact.ear import POSITIONS
from extractors.compact.sound_traces import ABSOLUTE, RELATIVE, Sound, SoundTraces
from extractors.compact.speech import speech_steps
from extractors.compact.voice_traces import (
    NEAR_S,
    SMOOTH,
    VoiceMeasures,
    VoiceTraces,
    halved,
    near_speech,
    split,
)
from extractors.compact.weights import compressed
from extractors.windows import HOP, RECEPTIVE, AudioSteps, step_count

CONFIG = AudioConfig(network="voice_traces", chunk_s=2.0, context_s=1.0)
NOBODY_S = 4.0  # silence in the middle of the sound
Waves = NDArray[np.float32]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tensors(tmp_path_factory.mktemp("weights") / "voices.safetensors", voice_tensors())


@pytest.fixture(scope="module")
def extractor(weights: Path) -> VoiceTraces:
    return VoiceTraces(CONFIG, weights)


@pytest.fixture(scope="module")
def sound() -> Waves:
    """Five seconds of a voice, four of next to nothing, three of another voice."""
    quiet = 1e-4 * np.random.default_rng(0).standard_normal(round(NOBODY_S * RATE))
    return np.concatenate([voice(5.0, 0), quiet.astype(np.float32), voice(3.0, 1, 190.0)])


def heard(extractor: VoiceTraces, sound: Waves, lengths: list[int], tag: str = "clip") -> AudioSteps:
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
def features(extractor: VoiceTraces, sound: Waves) -> AudioSteps:
    return heard(extractor, sound, [len(sound)])


def pieces_of(total: int, length: int) -> list[int]:
    return [length] * (total // length) + [total % length]


@pytest.mark.parametrize("length", [777, 16_000, 50_001])
def test_a_sound_gives_the_same_bits_however_it_is_cut(
    length: int, extractor: VoiceTraces, sound: Waves, features: AudioSteps
) -> None:
    found = heard(extractor, sound, pieces_of(len(sound), length))
    assert np.array_equal(found.valid, features.valid)
    assert np.array_equal(found.values.view(np.uint32), features.values.view(np.uint32))


def test_windows_of_other_clips_in_between_change_nothing(
    extractor: VoiceTraces, sound: Waves, features: AudioSteps
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


def test_there_is_a_step_every_20_ms(extractor: VoiceTraces, sound: Waves, features: AudioSteps) -> None:
    assert features.values.shape == (step_count(len(sound)), extractor.dim)
    assert features.values.dtype == np.float32
    assert np.isfinite(features.values).all()


def test_two_steps_in_a_row_are_judged_as_one(features: AudioSteps) -> None:
    pairs = features.values[: len(features.values) // 2 * 2].reshape(-1, 2, features.values.shape[1])
    known = features.valid[: 2 * len(pairs)].reshape(-1, 2).all(axis=1)
    assert np.array_equal(pairs[known, 0], pairs[known, 1])
    assert not np.array_equal(pairs[known][1:, 0], pairs[known][:-1, 0])


def test_steps_far_from_speech_are_invalid_and_zero(features: AudioSteps) -> None:
    # Speech ends at 5 s and begins again at 9 s; what is within 1.3 s of it is judged with it.
    assert features.valid[:250].all()
    assert features.valid[460:].all()
    assert not features.valid[250 + 65 + 5 : 450 - 65 - 5].any()
    assert not features.values[~features.valid].any()


def test_evidence_is_the_last_four_columns_and_varies(extractor: VoiceTraces, features: AudioSteps) -> None:
    found = extractor.evidence(features.values)
    assert found.shape == (len(features.valid), len(EVIDENCE))
    assert np.array_equal(found, features.values[:, -4:])
    assert (found[features.valid].std(axis=0) > 0.05).all()


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


def test_near_speech_reaches_as_far_as_it_says() -> None:
    sound = np.zeros(9 * RATE, np.float32)
    sound[4 * RATE : 6 * RATE] = voice(2.0, 3)
    spoken, near = np.flatnonzero(speech_steps(sound, 0.0)), np.flatnonzero(near_speech(sound))
    assert NEAR_S == 1.3
    assert near.tolist() == list(range(spoken[0] - 65, spoken[-1] + 66))


def test_near_speech_stays_within_the_sound() -> None:
    assert near_speech(voice(2.0, 4)).all()
    assert near_speech(np.zeros(0, np.float32)).tolist() == []
    assert near_speech(np.zeros(RATE, np.float32)).tolist() == [False] * step_count(RATE)


def sounds_like(monkeypatch: pytest.MonkeyPatch, values: torch.Tensor, ear: torch.Tensor) -> VoiceMeasures:
    """Measures whose first relative one, absolute one and state of the ear are given, (T,) each 20 ms."""
    measures = VoiceMeasures(random_ear())
    monkeypatch.setattr(
        measures.front, "forward", lambda _: Sound(values[None, :, None], 2 * values[None, :, None])
    )
    monkeypatch.setattr(measures.ear, "forward", lambda _: ear[None, :, None])
    return measures


def test_measures_are_means_over_the_steps_around_and_what_the_ear_hears_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    impulse = torch.zeros(30)
    impulse[10] = 1
    found = sounds_like(monkeypatch, impulse, impulse)(torch.zeros(1, 1))[0].T
    # The impulse is a ninth at steps 6 to 14, which are the pairs 3 to 6 and half of the pair 7.
    assert SMOOTH == 9
    wanted = [0.0] * 3 + [1 / 9] * 4 + [1 / 18] + [0.0] * 7
    assert found[0].tolist() == pytest.approx(wanted)
    assert found[1].tolist() == pytest.approx([2 * value for value in wanted])
    assert found[2].tolist() == [0.0] * 5 + [0.5] + [0.0] * 9


def test_beyond_its_ends_a_sound_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = sounds_like(monkeypatch, torch.ones(31), torch.ones(31))(torch.zeros(1, 1))[0].T
    assert torch.allclose(found, torch.tensor([[1.0], [2.0], [1.0]]).expand(3, 16))


def test_measures_are_those_of_the_sound_and_of_the_ear() -> None:
    measures = VoiceMeasures(random_ear()).eval()
    waves = torch.from_numpy(voice(2.0, 0))[None]
    with torch.inference_mode():
        found, heard, sound = measures(waves), measures.ear(waves), SoundTraces()(waves)
    assert measures.dim == found.shape[2] == RELATIVE + ABSOLUTE + measures.ear.dim
    assert torch.allclose(found[:, 10, RELATIVE + ABSOLUTE :], heard[:, 20:22].mean(dim=1), atol=1e-5)
    around = sound.relative[:, 20 - 4 : 20 + 5].mean(dim=1) + sound.relative[:, 21 - 4 : 21 + 5].mean(dim=1)
    assert torch.allclose(found[:, 10, :RELATIVE], around / 2, atol=1e-3)
    around = sound.absolute[:, 20 - 4 : 20 + 5].mean(dim=1) + sound.absolute[:, 21 - 4 : 21 + 5].mean(dim=1)
    assert torch.allclose(found[:, 10, RELATIVE : RELATIVE + ABSOLUTE], around / 2, atol=1e-3)


@pytest.mark.parametrize("length", [RECEPTIVE, RECEPTIVE + HOP - 1, RECEPTIVE + HOP, RATE])
def test_measures_have_a_step_for_every_two_of_the_clock(length: int) -> None:
    measures = VoiceMeasures(random_ear()).eval()
    with torch.inference_mode():
        steps = -(-step_count(length) // 2)
        assert measures(torch.zeros(1, length)).shape == (1, steps, measures.dim)


def test_what_is_heard_is_split_by_hand() -> None:
    measures = torch.zeros(1, 4, RELATIVE + ABSOLUTE + 1)
    measures[0, :, 0], measures[0, :, RELATIVE] = 5.0, 6.0
    measures[0, :, -1] = torch.tensor([1.0, 3.0, 8.0, 100.0])
    valid = torch.tensor([[True, True, True, False]])
    relative, absolute = split(measures, valid)
    assert relative.shape == (1, 4, RELATIVE + 1)
    assert absolute.shape == (1, 4, ABSOLUTE + 1)
    assert relative[0, :, -1].tolist() == [-2, 0, 5, 97], "3 is the median of what is valid"
    assert absolute[0, :, -1].tolist() == [1, 3, 8, 100]
    assert relative[0, :, 0].tolist() == [5] * 4
    assert absolute[0, :, 0].tolist() == [6] * 4


def test_where_nothing_is_valid_nothing_is_taken_off() -> None:
    measures = torch.rand(1, 4, RELATIVE + ABSOLUTE + 2)
    relative, _ = split(measures, torch.zeros(1, 4, dtype=torch.bool))
    assert torch.equal(relative[..., RELATIVE:], measures[..., RELATIVE + ABSOLUTE :])


@pytest.mark.parametrize(
    ("flags", "wanted"), [([], []), ([1], [1]), ([0, 1, 0, 0, 1], [1, 0, 1]), ([1, 0, 0, 0], [1, 0])]
)
def test_flags_are_halved_by_hand(flags: list[int], wanted: list[int]) -> None:
    assert halved(np.array(flags, np.bool_)).tolist() == [bool(flag) for flag in wanted]


# --- weights and keys -----------------------------------------------------------------------------------------------


def only(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in tensors.items() if name.startswith(prefix)}


def without(prefix: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in voice_tensors().items() if not name.startswith(prefix)}


@pytest.mark.parametrize(
    ("tensors", "part"),
    [
        (face_tensors, "ear"),
        (lambda: without("ear."), "ear"),
        (lambda: without("ear.conv2"), "ear"),
        (lambda: without("net."), "net"),
        (lambda: without("net.whole.bias"), "net"),
        (lambda: without("net.") | only("net.", face_tensors()), "net"),
    ],
    ids=["faces", "no ear", "a part of the ear", "no net", "a part of the net", "another front"],
)
def test_weights_that_do_not_fit_are_refused(
    tensors: Callable[[], dict[str, torch.Tensor]], part: str, tmp_path: Path
) -> None:
    path = write_tensors(tmp_path / "voices.safetensors", tensors())
    with pytest.raises(WeightsError, match=rf"'{part}\.\*'") as error:
        VoiceTraces(CONFIG, path)
    assert error.value.path == path


def test_weights_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        VoiceTraces(CONFIG, tmp_path / "missing.safetensors")


@pytest.mark.parametrize("name", ["net.inside.bias", "ear.conv1.bias"])
def test_weights_that_give_no_numbers_are_named(name: str, tmp_path: Path) -> None:
    tensors = voice_tensors()
    tensors[name] = torch.full_like(tensors[name], torch.nan)
    broken = VoiceTraces(CONFIG, write_tensors(tmp_path / "voices.safetensors", tensors))
    with pytest.raises(WeightsError, match="not finite"):
        heard(broken, voice(1.0), [RATE])


def test_weights_stored_small_give_nearly_the_same(
    tmp_path: Path, sound: Waves, features: AudioSteps
) -> None:
    tensors = voice_tensors()
    small = write_tensors(tmp_path / "voices.safetensors", tensors | compressed(only("ear.", tensors)))
    found = heard(VoiceTraces(CONFIG, small), sound, [len(sound)])
    assert np.array_equal(found.valid, features.valid)
    assert found.values == pytest.approx(features.values, abs=0.1)


def test_windows_may_be_as_long_as_the_ear_hears_and_no_longer(weights: Path) -> None:
    assert POSITIONS == 1500
    longest = CONFIG.model_copy(update={"chunk_s": 20.0, "context_s": 5.0})
    sound = voice(31.0, 0)
    found = heard(VoiceTraces(longest, weights), sound, [len(sound)])
    assert found.values.shape[0] == step_count(len(sound))
    for changes in ({"chunk_s": 20.04}, {"context_s": 5.04}):
        with pytest.raises(UsageError, match="more than 30 s; choose shorter chunks"):
            VoiceTraces(longest.model_copy(update=changes), weights)


def test_the_digest_names_weights_and_the_windows(weights: Path, tmp_path: Path) -> None:
    plain = VoiceTraces.digest_of(CONFIG, weights)
    assert VoiceTraces(CONFIG, weights).digest == plain
    other = write_tensors(tmp_path / "voices.safetensors", voice_tensors(seed=1))
    assert VoiceTraces.digest_of(CONFIG, other) != plain
    for setting in ({"chunk_s": 3.0}, {"context_s": 0.5}):
        assert VoiceTraces.digest_of(CONFIG.model_copy(update=setting), weights) != plain
    assert VoiceTraces.digest_of(CONFIG.model_copy(update={"weights": "shipped:x"}), weights) == plain
