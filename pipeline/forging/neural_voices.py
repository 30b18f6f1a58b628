"""Neural text to speech out of the folder that `tools/machine_voices.py` makes: hibari, Kokoro and Piper.

Each is one ONNX file, run by onnxruntime, and a table of phonemes; the program espeak-ng says how words are
pronounced. Sources: Kokoro-82M (https://huggingface.co/hexgrad/Kokoro-82M), hibari (https://github.com/MMWilliams/hibari),
Piper (Kim et al., "VITS", 2021; https://github.com/rhasspy/piper).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import UsageError
from data.files import file_sha256
from pipeline.forging.manipulations.signal import to_our_rate

RECORD = "voices.json"
"""What a folder of voices holds: package, licence and the SHA-256 of each file, by engine."""

MODEL, TABLE, STYLES = "model.onnx", "phonemes.json", "styles.safetensors"
"""Files of an engine: network, number of each phoneme, and, for Kokoro, its voices (voices, phonemes, 256)."""

TIMEOUT_S = 20.0
"""Longest time for the pronunciation of a clause, in seconds."""

HIBARI_HOP, HIBARI_FFT, HIBARI_RATE = 300, 1200, 24_000
LEAST_PITCH_HZ, TOP_HZ = 40.0, 11_000.0
"""hibari's frames count as voiced from this pitch on, and its pulses hold the harmonics below this frequency."""

PAD = 0.03
"""Silence left before and after a sentence, in seconds."""

Sound = NDArray[np.floating]
Speak = Callable[[str], Sound]
Session = Callable[[Mapping[str, NDArray[Any]]], list[NDArray[np.float32]]]

_FIX = "make the folder again with tools/machine_voices.py"

# espeak-ng's signs, diphthongs and affricates tied by ^, in the alphabet of Kokoro. Source: the fallback of misaki
# (https://github.com/hexgrad/misaki, Apache-2.0) for American English.
_KOKORO = (
    ("ʔˌn\u0329", "tᵊn"), ("ʔn\u0329", "tᵊn"), ("ʔn", "tᵊn"), ("a^ɪ", "I"), ("a^ʊ", "W"), ("d^ʒ", "ʤ"), ("e^ɪ", "A"),
    ("t^ʃ", "ʧ"), ("ɔ^ɪ", "Y"), ("ə^l", "ᵊl"), ("o^ʊ", "O"), ("ʲo", "jo"), ("ʲə", "jə"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"),
    ("ɪə", "iə"), ("e", "A"), ("ʲ", ""), ("ɚ", "əɹ"), ("r", "ɹ"), ("x", "k"), ("ç", "k"), ("ɐ", "ə"), ("ɬ", "l"),
    ("\u0303", ""), ("ʔ", "t"), ("ɾ", "T"), ("o", "ɔ"), ("ː", ""), ("^", ""),
)  # fmt: skip


@dataclass(frozen=True)
class NeuralVoice:
    """An engine that speaks text: its name in sidecars and settings, folder, digest of its files, and sample rate."""

    name: str
    folder: Path
    digest: str
    rate: int
    load: Callable[[Path, np.random.Generator], Speak]

    def speaker(self, rng: np.random.Generator) -> Speak:
        """A voice drawn from `rng`: text in, mono sound at 16 kHz out.

        The voice raises ValueError when the network cannot be run, OSError or SubprocessError when espeak-ng cannot.
        """
        say = self.load(self.folder, rng)
        return lambda text: to_our_rate(_trimmed(say(text), self.rate), self.rate)


@cache
def neural_voices(folder: str | None) -> tuple[NeuralVoice, ...]:
    """The engines whose files lie in `folder`; none without one.

    Raises UsageError when a file, the package onnxruntime or the program espeak-ng is not there, or when a file is
    another one than the folder's record says.
    """
    if not folder:
        return ()
    if find_spec("onnxruntime") is None:
        raise UsageError(
            "the package onnxruntime is not installed", fix="pip install '.[forge]' in the checkout"
        )
    if shutil.which("espeak-ng") is None:
        raise UsageError(
            "the program espeak-ng is not installed", fix="install it: it tells the voices how words sound"
        )
    root, voices = Path(folder), []
    for key, files in _record(root).items():
        name, rate, load = _ENGINES[key]
        needed = {MODEL, TABLE, *((STYLES,) if load is _kokoro else ())}
        for file in sorted(needed | files.keys()):
            path = root / key / file
            if file not in files or not path.is_file():
                raise UsageError("is not there", path, _FIX)
            if (sha256 := file_sha256(path)) != files[file]:
                raise UsageError(f"its SHA-256 is {sha256}, not {files[file]}", path, _FIX)
        voices.append(NeuralVoice(name, root / key, files[MODEL][:16], rate, load))
    return tuple(voices)


def _record(root: Path) -> dict[str, dict[str, str]]:
    """SHA-256 of each file by engine, in the order of `_ENGINES`."""
    path = root / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = {str(key): {str(a): str(b) for a, b in one["files"].items()} for key, one in content.items()}
    except FileNotFoundError:
        fix = "name a folder made by tools/machine_voices.py in synthesize.voices"
        raise UsageError("is not there", path, fix) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"cannot be read ({error})", path, _FIX) from error
    unknown = sorted(files.keys() - _ENGINES.keys())
    if unknown:
        raise UsageError(f"names an unknown engine '{unknown[0]}'", path, f"known are {', '.join(_ENGINES)}")
    return {key: files[key] for key in _ENGINES if key in files}


# --- networks -------------------------------------------------------------------------------------------------------


def open_session(path: Path, seed: int) -> Session:
    """The network at `path` on one thread, its noise drawn from `seed`; raises ValueError when it cannot be run."""
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # The noise of a network begins when its session does, so each voice needs a session of its own to repeat itself.
    runtime.set_seed(seed)
    session = _or_value_error(
        lambda: runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    )
    return lambda feeds: _or_value_error(lambda: session.run(None, dict(feeds)))


def _or_value_error(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # those of onnxruntime have no class of their own
        raise ValueError(f"onnxruntime: {error}") from error


def _hibari(folder: Path, rng: np.random.Generator) -> Speak:
    """One voice at a drawn speed, distilled from Kokoro: a spectrum for each 12.5 ms, made sound here."""
    seed, speed = _seed(rng), np.array([rng.uniform(0.85, 1.15)], np.float32)
    run, table = open_session(folder / MODEL, seed), _table(folder)
    noise = np.random.default_rng(seed)

    def speak(text: str) -> Sound:
        ids = [0, *_numbers(to_kokoro(pronounce(text)), table), 0]
        spectra = [part[0] for part in run({"ids": np.array([ids], np.int64), "speed": speed})]
        return hibari_sound(noise, *spectra)

    return speak


def _kokoro(folder: Path, rng: np.random.Generator) -> Speak:
    """A mixture of Kokoro's styles at a drawn speed: each draw is another voice."""
    from safetensors.numpy import load_file

    styles = load_file(folder / STYLES)["styles"]
    seed, speed = _seed(rng), np.array([rng.uniform(0.85, 1.15)], np.float32)
    mixture = rng.dirichlet(np.full(len(styles), 0.7))
    run, table = open_session(folder / MODEL, seed), _table(folder)

    def speak(text: str) -> Sound:
        numbers = _numbers(to_kokoro(pronounce(text)), table)[: styles.shape[1]]
        style = (mixture @ styles[:, len(numbers) - 1]).astype(np.float32)
        ids = np.array([[0, *numbers, 0]], np.int64)
        return run({"tokens": ids, "style": style[None], "speed": speed})[0].ravel()

    return speak


def _piper(folder: Path, rng: np.random.Generator) -> Speak:
    """Piper's man at a drawn speed, with drawn liveliness of sound and of rhythm."""
    seed = _seed(rng)
    scales = np.array([rng.uniform(0.5, 0.8), rng.uniform(0.87, 1.18), rng.uniform(0.6, 1.0)], np.float32)
    run, table = open_session(folder / MODEL, seed), _table(folder)

    def speak(text: str) -> Sound:
        numbers = _numbers(unicodedata.normalize("NFD", pronounce(text).replace("^", "")), table)
        # A blank after each sign, as in training.
        spaced = [number for sign in numbers for number in (sign, table["_"])]
        ids = np.array([[table["^"], table["_"], *spaced, table["$"]]], np.int64)
        return run({"input": ids, "input_lengths": np.array([ids.size]), "scales": scales})[0].ravel()

    return speak


_ENGINES: Mapping[str, tuple[str, int, Callable[[Path, np.random.Generator], Speak]]] = {
    "hibari": ("hibari", HIBARI_RATE, _hibari),
    "kokoro": ("Kokoro-82M", 24_000, _kokoro),
    # The name goes into every sidecar, and with it what the voice may be used for (docs/forgeries.md).
    "piper": ("Piper joe (research only)", 22_050, _piper),
}
"""Name, sample rate in Hz and loader, by folder."""


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 31))


def _table(folder: Path) -> dict[str, int]:
    numbers: dict[str, int] = json.loads((folder / TABLE).read_text(encoding="utf-8"))
    return numbers


def _numbers(phonemes: str, table: Mapping[str, int]) -> list[int]:
    numbers = [table[sign] for sign in phonemes if sign in table]
    if not numbers:
        raise ValueError("the text has no phoneme that the voice knows")
    return numbers


def _trimmed(sound: Sound, rate: int) -> Sound:
    if not np.isfinite(sound).all():
        raise ValueError("the sound is not finite")
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    if len(loud) == 0:
        raise ValueError("it said nothing")
    pad = round(PAD * rate)
    return sound[max(0, loud[0] - pad) : loud[-1] + pad]


# --- pronunciation --------------------------------------------------------------------------------------------------


def pronounce(text: str) -> str:
    """`text` in the signs of espeak-ng's American English, diphthongs and affricates tied by ``^``, marks kept.

    Raises OSError or SubprocessError when the program fails.
    """
    parts = [part.strip() for part in re.findall(r"[^,.;:!?]+|[,.;:!?]", text)]
    said = "".join(part if part in ",.;:!?" else f" {_clause(part)}" for part in parts if part)
    return said.strip()


@cache
def _clause(words: str) -> str:
    command = [shutil.which("espeak-ng") or "espeak-ng", "-q", "--ipa", "--tie=^", "-v", "en-us", words]
    said = subprocess.run(
        command,
        check=True,
        capture_output=True,
        timeout=TIMEOUT_S,
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
    )
    return " ".join(said.stdout.split())


def to_kokoro(phonemes: str) -> str:
    """What `pronounce` says, in the alphabet of Kokoro and hibari."""
    for theirs, ours in _KOKORO:
        phonemes = phonemes.replace(theirs, ours)
    return re.sub("(\\S)\u0329", r"ᵊ\1", phonemes)


# --- hibari's sound -------------------------------------------------------------------------------------------------


def hibari_sound(
    rng: np.random.Generator,
    harmonic: Sound,
    turn: Sound,
    noise: Sound,
    free: Sound,
    phase: Sound,
    pitch_hz: Sound,
) -> Sound:
    """Sound (300 F,) at 24 kHz out of hibari's spectra (601, F) and pitch (F,).

    Pulses of that pitch under the log magnitudes `harmonic` and phases pi tanh(`turn`), noise under `noise`, and a part
    of magnitude `free` and phase `phase`. Source: `hibari/dsp.py` of hibari-tts 0.2.1, Apache-2.0.
    """
    # Torch takes seconds to import, and most sets need none of it.
    import torch

    window = torch.hann_window(HIBARI_FFT)
    frames = len(pitch_hz)
    source = torch.stft(
        torch.from_numpy(pulses(pitch_hz)),
        HIBARI_FFT,
        HIBARI_HOP,
        window=window / HIBARI_HOP,
        return_complex=True,
    ).numpy()[:, :frames]
    hiss = rng.standard_normal((2, *noise.shape), dtype=np.float32)
    spectrum = (
        source * _magnitude(harmonic) * np.exp(1j * np.pi * np.tanh(turn))
        + (hiss[0] + 1j * hiss[1]) * _magnitude(noise)
        + _magnitude(free) * np.exp(1j * phase)
    )
    spoken: Sound = torch.istft(
        torch.from_numpy(spectrum.astype(np.complex64)),
        HIBARI_FFT,
        HIBARI_HOP,
        window=window,
        length=frames * HIBARI_HOP,
    ).numpy()
    return spoken


def _magnitude(log: Sound) -> Sound:
    return np.exp(np.minimum(log, 7.0))


def pulses(pitch_hz: Sound) -> NDArray[np.float32]:
    """Cosines of all harmonics below 11 kHz (300 F,) of a pitch (F,) per frame, at amplitude 1; nothing where unvoiced.

    With t the phase, sum over h of cos(h t) = sin((H + 1/2) t) / (2 sin(t / 2)) - 1/2.
    """
    length = len(pitch_hz) * HIBARI_HOP
    middles = (np.arange(len(pitch_hz)) + 0.5) * HIBARI_HOP - 0.5
    pitch = np.interp(np.arange(length), middles, pitch_hz)
    voiced = pitch > LEAST_PITCH_HZ
    pitch = np.maximum(pitch, LEAST_PITCH_HZ)
    phase = 2 * np.pi * (np.cumsum(pitch) / HIBARI_RATE % 1)
    order, below = np.floor(TOP_HZ / pitch) + 0.5, 2 * np.sin(phase / 2)
    at_peak = np.abs(below) <= 2e-3
    kernel = np.where(at_peak, order, np.sin(order * phase) / np.where(at_peak, 1, below))
    # Zero at the peaks would be 0 / 0: the limit is H + 1/2.
    return np.where(voiced, kernel - 0.5, 0).astype(np.float32)
