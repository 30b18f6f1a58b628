"""Vocoders of our own: three makes of the size that was asked for, trainable in steps that can be resumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from speech_factory import voice
from torch.nn import functional

from data.errors import InputError, UsageError
from pipeline.forging.sources import Material, Source, Voice, spoken
from pipeline.forging.vocoders import speak
from pipeline.forging.vocoders.adversary import SpectralDistance, fooling_loss, judging_loss
from pipeline.forging.vocoders.networks import MAKES, SubbandVocoder
from pipeline.forging.vocoders.train import Schedule, read_speech, save_weights, train
from pipeline.media.encode import write_clip

SPEECH = [voice(1.5, seed) for seed in range(3)]
QUICK = Schedule(4, 2, batch=2, save_every=2)


@pytest.fixture(scope="module", autouse=True)
def _one_thread(training_thread: None) -> None:
    pass


@pytest.mark.parametrize("make", MAKES)
def test_a_vocoder_is_small_and_gives_back_as_many_samples(make: str) -> None:
    vocoder = MAKES[make]()
    assert sum(weight.numel() for weight in vocoder.parameters()) <= 2_000_000
    samples = torch.zeros(2, 20 * vocoder.hop)
    with torch.inference_mode():
        assert vocoder.copy(samples).shape == samples.shape


def test_the_makes_differ_in_hop_and_in_mel_spectrogram() -> None:
    vocoders = [make() for make in MAKES.values()]
    assert len({vocoder.hop for vocoder in vocoders}) == 3
    assert len({vocoder.bands for vocoder in vocoders}) == 3


def test_the_bank_of_bands_gives_back_what_its_mirror_takes_apart() -> None:
    bank = torch.from_numpy(SubbandVocoder._bank())
    samples = torch.from_numpy(voice(0.5, 0))[None, None]
    bands = functional.conv1d(samples, bank, stride=4, padding=31)
    back = functional.conv_transpose1d(bands, bank, stride=4, padding=31)[0, 0]
    error = (back[200:7000] / 4 - samples[0, 0, 200:7000]).square().mean() / samples[
        0, 0, 200:7000
    ].square().mean()
    assert error < 1e-3


@pytest.mark.parametrize("make", MAKES)
def test_training_brings_the_copy_nearer_to_the_recording(make: str, tmp_path: Path) -> None:
    distance = SpectralDistance()
    real = torch.from_numpy(np.stack([s[:16_000] for s in SPEECH]))
    heard = {}
    for steps in (1, 25):
        train(make, SPEECH, tmp_path / str(steps), Schedule(steps, 25, batch=2), seed=1)
        vocoder = MAKES[make]()
        vocoder.load_state_dict(
            {k: v.float() for k, v in load_file(tmp_path / str(steps) / f"{make}.safetensors").items()},
            strict=False,
        )
        with torch.inference_mode():
            n = 16_000 // vocoder.hop * vocoder.hop
            heard[steps] = float(distance.mel(real[:, :n], vocoder.copy(real[:, :n])))
    assert heard[25] < heard[1]


def test_training_that_was_interrupted_ends_where_it_would_have(tmp_path: Path) -> None:
    whole = load_file(train("subband", SPEECH, tmp_path / "whole", QUICK))
    train("subband", SPEECH, tmp_path / "parts", Schedule(2, 2, batch=2))
    parts = load_file(train("subband", SPEECH, tmp_path / "parts", QUICK))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_training_goes_on_from_weights_alone(tmp_path: Path) -> None:
    before = load_file(train("subband", SPEECH, tmp_path, QUICK, seed=1))
    (tmp_path / "subband.state.pt").unlink()
    after = load_file(train("subband", SPEECH, tmp_path, Schedule(1, 1, batch=2)))
    fresh = load_file(train("subband", SPEECH, tmp_path / "fresh", Schedule(1, 1, batch=2)))

    def apart(weights: dict[str, torch.Tensor]) -> float:
        return sum(float((weights[name] - before[name]).float().abs().sum()) for name in before)

    assert apart(after) < 0.1 * apart(fresh)


def test_a_damaged_state_and_an_unknown_make_are_told(tmp_path: Path) -> None:
    for damaged in ("istft.state.pt", "istft.safetensors"):
        (tmp_path / damaged).write_bytes(b"no state")
        with pytest.raises(InputError, match="cannot be gone on from"):
            train("istft", SPEECH, tmp_path, QUICK)
        (tmp_path / damaged).unlink()
    with pytest.raises(UsageError, match="no vocoder 'wavenet'"):
        train("wavenet", SPEECH, tmp_path, QUICK)


def test_only_speech_of_the_split_is_trained_on(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        write_clip(tmp_path / f"{name}.mp4", None, voice(1.0, seed))
    clips = (Source(tmp_path / "a.mp4", "a", "", "train", 1, 1.0, 0, 4),)
    voices = (Voice(tmp_path / "b.mp4", "b", "test"), Voice(tmp_path / "gone.mp4", "c", "train"))
    material = Material(tmp_path, clips, voices, {})
    assert spoken(material, "train") == [tmp_path / "gone.mp4", tmp_path / "a.mp4"]
    assert len(read_speech([tmp_path / "a.mp4", tmp_path / "b.mp4"])) == 2
    write_clip(tmp_path / "silence.mp4", None, np.zeros(16_000, np.float32))
    with pytest.raises(InputError, match="none of 1 recordings holds speech"):
        read_speech([tmp_path / "silence.mp4"])


def test_judges_are_content_when_they_tell_the_two_apart_and_fooled_when_they_do_not() -> None:
    one, zero = [(torch.ones(2, 3), [torch.ones(2, 3)])], [(torch.zeros(2, 3), [torch.ones(2, 3)])]
    assert float(judging_loss(one, zero)) == 0
    assert float(judging_loss(zero, one)) == 2
    assert float(fooling_loss(one, one)) == 0
    assert float(fooling_loss(one, zero)) == 1


def test_speech_is_said_again_in_time_and_at_its_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_weights(MAKES["istft"](), tmp_path / "istft.safetensors")
    monkeypatch.setattr(speak, "FOLDER", tmp_path)
    speak._vocoder.cache_clear()
    assert speak.trained_vocoders() == ("istft",)
    samples = voice(1.01, 0)
    assert speak.copy_speech(samples, "istft").shape == samples.shape
    with pytest.raises(ValueError, match="weights of the vocoder 'subband' are not there"):
        speak.copy_speech(samples, "subband")
    speak._vocoder.cache_clear()


@pytest.mark.parametrize("make", speak.trained_vocoders())
def test_the_shipped_weights_say_the_same_words(make: str) -> None:
    from pipeline.forging.fitting import fit_sound

    samples = voice(2.0, 5)
    fit = fit_sound(speak.copy_speech(samples, make), samples)
    assert abs(fit.lag) <= 160
    assert fit.likeness > 0.9
