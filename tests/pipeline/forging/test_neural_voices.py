"""Neural voices get what their networks expect, repeat themselves, and a folder that is not whole is told."""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx_factory import FLOAT, INT64, model
from safetensors.numpy import save

from configs.loader import load_dataset
from data.audio import speech_activity
from data.errors import UsageError
from data.labels import RATE
from pipeline.forging import neural_voices as module
from pipeline.forging.neural_voices import (
    HIBARI_HOP,
    HIBARI_RATE,
    NeuralVoice,
    hibari_sound,
    neural_voices,
    pronounce,
    pulses,
    to_kokoro,
)
from pipeline.forging.voices import SILENCE, speech_engines, synthetic_speech

REAL = os.environ.get("RT_DEEPLOC_VOICES", "")
SIGNS = {"_": 0, "^": 1, "$": 2, " ": 3, "a": 4, "b": 5, ",": 6, ".": 7, "I": 8, "ɪ": 9}
INPUTS = (("tokens", INT64, 2), ("style", FLOAT, 2), ("speed", FLOAT, 1))
NOISE = model("RandomNormalLike", ["style"], INPUTS)
"""A network in place of Kokoro's, whose sound is noise."""

Feeds = Mapping[str, NDArray[Any]]


def write_folder(root: Path, *keys: str, network: bytes = NOISE) -> Path:
    """A folder of voices whose networks are all `network`, with three styles for 12 phonemes."""
    styles = np.zeros((3, 12, 256), np.float32)
    styles[:, :, 0] = np.arange(12)
    styles[:, :, 1:4] = np.eye(3)[:, None]
    record = {}
    for key in keys:
        files = {"model.onnx": network, "phonemes.json": json.dumps(SIGNS).encode()}
        if key == "kokoro":
            files["styles.safetensors"] = save({"styles": styles})
        (root / key).mkdir(parents=True)
        for name, content in files.items():
            (root / key / name).write_bytes(content)
        record[key] = {"files": {name: sha256(content).hexdigest() for name, content in files.items()}}
    (root / "voices.json").write_text(json.dumps(record))
    return root


@pytest.fixture(autouse=True)
def _each_folder_is_read_anew() -> Iterator[None]:
    neural_voices.cache_clear()
    module._clause.cache_clear()
    yield
    neural_voices.cache_clear()
    module._clause.cache_clear()


@pytest.fixture(autouse=True)
def _runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether onnxruntime is installed matters to few tests."""
    monkeypatch.setattr(module, "find_spec", lambda name: name)


@pytest.fixture
def espeak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An espeak-ng that says "ab a^ɪ" to everything, on two lines."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = folder / "espeak-ng"
    path.write_text('#!/bin/sh\nprintf " ab\\n a^ɪ\\n"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Feeds]:
    """What networks are given, which all answer with a second of a tone of 300 Hz at 24 kHz."""
    feeds: list[Feeds] = []
    tone = np.sin(2 * np.pi * 300 * np.arange(24_000) / 24_000).astype(np.float32)

    def session(path: Path, seed: int) -> Callable[[Feeds], list[NDArray[np.float32]]]:
        assert path.name == "model.onnx"
        return lambda given: feeds.append(given) or [tone[None]]  # type: ignore[func-returns-value]

    monkeypatch.setattr(module, "open_session", session)
    return feeds


def voice_of(folder: Path, key: str) -> NeuralVoice:
    (voice,) = neural_voices(str(write_folder(folder, key)))
    return voice


# --- pronunciation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("həlˈo^ʊ ðˈɛɹ.", "həlˈO ðˈɛɹ."),  # the example of hibari's authors
        ("t^ʃˈɔ^ɪs", "ʧˈYs"),
        ("bɹˈɪd^ʒ, hˈɜːd", "bɹˈɪʤ, hˈɜɹd"),
        ("bˈʌʔn̩ lˈɪɾə^l", "bˈʌtᵊn lˈɪTᵊl"),
        ("mˈa^ʊntɪn fˈa^ɪ^ɚ", "mˈWntɪn fˈIəɹ"),
        ("dˈe^ɪ dˈoːɹ bˈɛɾɚ", "dˈA dˈɔɹ bˈɛTəɹ"),
        ("ɹˈɪðm̩", "ɹˈɪðᵊm"),
    ],
)
def test_signs_become_those_of_kokoro(theirs: str, ours: str) -> None:
    assert to_kokoro(theirs) == ours


@pytest.mark.usefixtures("espeak")
def test_marks_are_kept_between_clauses() -> None:
    assert pronounce("One, two: three.") == "ab a^ɪ, ab a^ɪ: ab a^ɪ."


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng")
def test_a_sentence_is_pronounced_clause_by_clause() -> None:
    said = pronounce("It was a choice, they say.")
    assert said.count(",") == said.count(".") == 1
    assert "t^ʃˈɔ^ɪs," in said
    assert to_kokoro(said).endswith("sˈA.")


# --- networks -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("espeak")
def test_kokoro_speaks_in_a_mixture_of_styles(tmp_path: Path, asked: list[Feeds]) -> None:
    voice = voice_of(tmp_path, "kokoro")
    for seed in (0, 1):
        assert len(voice.speaker(np.random.default_rng(seed))("Yes.")) == pytest.approx(RATE, rel=0.01)
    first, second = asked
    assert first["tokens"].tolist() == [[0, 4, 5, 3, 8, 7, 0]]  # "ab I."
    assert first["tokens"].dtype == np.int64
    style = first["style"]
    assert (style.shape, style.dtype) == ((1, 256), np.float32)
    assert style[0, 0] == 4  # the style of five phonemes
    assert style[0, 1:4].sum() == pytest.approx(1)
    assert (style[0, 1:4] > 0).all()
    assert not np.allclose(style, second["style"])
    assert 0.85 <= first["speed"].item() <= 1.15


@pytest.mark.usefixtures("espeak")
def test_piper_gets_a_blank_after_each_sign(tmp_path: Path, asked: list[Feeds]) -> None:
    spoken = voice_of(tmp_path, "piper").speaker(np.random.default_rng(0))("Yes.")
    (given,) = asked
    # ^ _ a _ b _ space _ a _ ɪ _ . _ $
    assert given["input"].tolist() == [[1, 0, 4, 0, 5, 0, 3, 0, 4, 0, 9, 0, 7, 0, 2]]
    assert given["input_lengths"].tolist() == [15]
    assert (given["scales"].shape, given["scales"].dtype) == ((3,), np.float32)
    # 24,000 samples are more than a second at Piper's 22,050 Hz, and the tone is lower.
    assert len(spoken) / RATE == pytest.approx(24_000 / 22_050, rel=0.01)
    assert np.abs(np.fft.rfft(spoken[:RATE])).argmax() == pytest.approx(300 * 22_050 / 24_000, abs=1.5)


@pytest.mark.usefixtures("espeak")
def test_hibari_speaks_out_of_spectra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = 80
    spectra = [np.full((1, 601, frames), level, np.float32) for level in (4.0, 0.0, -9.0, -9.0, 0.0)]
    given: list[Feeds] = []
    answer = [*spectra, np.full((1, frames), 200, np.float32)]
    monkeypatch.setattr(
        module, "open_session", lambda path, seed: lambda feeds: given.append(feeds) or answer
    )
    voice = voice_of(tmp_path, "hibari")
    spoken, again = (voice.speaker(np.random.default_rng(0))("Yes.") for _ in range(2))
    assert given[0]["ids"].tolist() == [[0, 4, 5, 3, 8, 7, 0]]
    assert len(spoken) == pytest.approx(frames * 200, rel=0.05)
    assert np.array_equal(spoken, again)
    power = np.abs(np.fft.rfft(spoken[:8000])) ** 2  # bins of 2 Hz
    assert power[100::100].sum() > 0.9 * power.sum(), "harmonics of 200 Hz"


def test_pulses_are_the_sum_of_all_harmonics() -> None:
    pitch = 130.0
    found = pulses(np.full(6, pitch))
    phase = 2 * np.pi * np.cumsum(np.full(6 * HIBARI_HOP, pitch)) / HIBARI_RATE
    wanted = sum(np.cos(h * phase) for h in range(1, int(11_000 / pitch) + 1))
    assert np.abs(found - wanted).max() < 1e-2
    assert not pulses(np.array([0.0, 30.0, 39.0])).any()


def test_spectra_of_one_give_the_pulses_back() -> None:
    frames = 20
    pitch = np.linspace(110, 180, frames)
    one, none = np.zeros((601, frames), np.float32), np.full((601, frames), -40, np.float32)
    found = hibari_sound(np.random.default_rng(0), one, one, none, none, one, pitch)
    inner = slice(1200, -1200)
    # The magnitude is that of a harmonic, which an inverse transform spreads over a hop.
    assert np.abs(HIBARI_HOP * found - pulses(pitch))[inner].max() < 1e-2
    turned = hibari_sound(np.random.default_rng(0), one, one + 20, none, none, one, pitch)
    assert np.abs(found + turned)[inner].max() < 1e-4, "a turn by pi"


@pytest.mark.usefixtures("espeak")
def test_a_network_on_onnxruntime_repeats_itself(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    voice = voice_of(tmp_path, "kokoro")
    first, again, other = (voice.speaker(np.random.default_rng(seed))("Yes.") for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[:99], other[:99])
    # Within a voice the noise goes on.
    speak = voice.speaker(np.random.default_rng(1))
    assert not np.array_equal(speak("Yes.")[:99], speak("Yes.")[:99])


@pytest.mark.usefixtures("espeak")
@pytest.mark.parametrize(
    "network", [b"no network", model("RandomNormalLike", ["other"], [("other", FLOAT, 2)])]
)
def test_a_network_that_cannot_be_run_is_reported_and_gives_nothing(
    network: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("onnxruntime")
    engines = neural_voices(str(write_folder(tmp_path, "kokoro", network=network)))
    with caplog.at_level(logging.WARNING):
        assert synthetic_speech(np.random.default_rng(0), RATE, engines) is SILENCE
    assert "text-to-speech with Kokoro-82M failed: onnxruntime" in caplog.text


@pytest.mark.usefixtures("espeak")
@pytest.mark.parametrize(
    ("answer", "reason"), [(np.nan, "the sound is not finite"), (0.001, "it said nothing")]
)
def test_a_sound_that_is_none_is_reported(
    answer: float,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sound = np.full((1, 1000), answer, np.float32)
    monkeypatch.setattr(module, "open_session", lambda path, seed: lambda feeds: [sound])
    with caplog.at_level(logging.WARNING):
        engines = neural_voices(str(write_folder(tmp_path, "piper")))
        assert synthetic_speech(np.random.default_rng(0), RATE, engines) is SILENCE
    assert reason in caplog.text


# --- folders --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("espeak")
def test_engines_of_a_folder_stand_behind_the_programs(tmp_path: Path) -> None:
    folder = str(write_folder(tmp_path / "voices", "piper", "hibari"))
    assert [engine.name for engine in speech_engines(folder)] == [
        "espeak-ng",
        "hibari",
        "Piper joe (research only)",
    ]
    assert [engine.name for engine in speech_engines()] == ["espeak-ng"]
    assert neural_voices(None) == ()
    assert {voice.digest for voice in neural_voices(folder)} == {sha256(NOISE).hexdigest()[:16]}


def remove(*names: str) -> Callable[[Path], None]:
    return lambda folder: folder.joinpath(*names).unlink()


def write(text: str, *names: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        folder.joinpath(*names).write_text(text)

    return damage


@pytest.mark.usefixtures("espeak")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("voices.json"), r"voices\.json: is not there.*synthesize\.voices"),
        (write("{", "voices.json"), r"voices\.json: cannot be read"),
        (write('["hibari"]', "voices.json"), r"voices\.json: cannot be read"),
        (write('{"hibari": {}}', "voices.json"), r"voices\.json: cannot be read"),
        (write('{"festival": {"files": {}}}', "voices.json"), "names an unknown engine 'festival'.*hibari"),
        (write('{"kokoro": {"files": {}}}', "voices.json"), r"model\.onnx: is not there"),
        (remove("kokoro", "styles.safetensors"), r"styles\.safetensors: is not there"),
        (remove("kokoro", "phonemes.json"), r"phonemes\.json: is not there.*machine_voices"),
        (write("else", "kokoro", "model.onnx"), rf"model\.onnx: its SHA-256 is {sha256(b'else').hexdigest()}, not"),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_whole_is_refused(
    damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    damage(write_folder(tmp_path, "kokoro"))
    with pytest.raises(UsageError, match=rf"(?s){message}"):
        neural_voices(str(tmp_path))


@pytest.mark.usefixtures("espeak")
def test_without_onnxruntime_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"onnxruntime is not installed.*\.\[forge\]"):
        neural_voices(str(write_folder(tmp_path, "piper")))


def test_without_espeak_its_need_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"espeak-ng is not installed.*how words sound"):
        neural_voices(str(write_folder(tmp_path, "piper")))


@pytest.mark.parametrize("preset", ["benchmark_heldout", "benchmark_cross", "extractors"])
def test_presets_keep_one_voice_out_of_training(preset: str) -> None:
    config = load_dataset(preset).synthesize
    assert {name: config.split_of_generator(name) for name, _, _ in module._ENGINES.values()} == {
        "hibari": "train",
        "Kokoro-82M": "train",
        "Piper joe (research only)": "test",
    }


def test_no_machine_speaks_in_what_is_called_known() -> None:
    manipulations = load_dataset("benchmark_known").synthesize.manipulations
    assert manipulations
    assert "speak_text" not in manipulations


@pytest.mark.skipif(not REAL, reason="needs RT_DEEPLOC_VOICES, a folder of tools/machine_voices.py")
@pytest.mark.parametrize("key", ["hibari", "kokoro", "piper"])
def test_a_real_voice_speaks_and_repeats_itself(key: str) -> None:
    pytest.importorskip("onnxruntime")
    engines = [voice for voice in neural_voices(REAL) if voice.folder.name == key]
    if not engines:
        pytest.skip(f"no {key} there")
    first, again = (synthetic_speech(np.random.default_rng(0), 2 * RATE, engines) for _ in range(2))
    assert first.engine == engines[0].name
    assert speech_activity(first.samples).mean() > 0.6
    assert np.array_equal(first.samples, again.samples)
