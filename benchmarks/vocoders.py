"""How far each vocoder's copy of speech lies from the recording: `python benchmarks/vocoders.py --speech DIR`.

Mean absolute difference of log mel energies (80 bands, 64 ms window) in dB over the recordings of a split, beside the
copy of 32 rounds of Griffin and Lim from such a spectrogram, and the recording after MP3 at 32 kbit/s.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from configs.loader import load_dataset
from configs.schema import DecodeConfig
from data.audio import Samples, mel_filters, stft
from pipeline.forging.manipulations.signal import griffin_lim
from pipeline.forging.sources import find_material, spoken
from pipeline.forging.vocoders.adversary import SpectralDistance
from pipeline.forging.vocoders.speak import copy_speech, trained_vocoders
from pipeline.forging.vocoders.train import read_speech
from pipeline.forging.voices import CODECS, round_trip

DB_PER_NEPER = 20 / np.log(10)


def main() -> None:
    """Print a line for each vocoder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--speech", type=Path, required=True, help="folder as that of `pipeline vocoder --input`"
    )
    parser.add_argument("--split", default="test")
    parser.add_argument("--count", type=int, default=20, help="recordings, the first of the split")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    material = find_material(asked.speech, load_dataset("genuine").synthesize, 0, DecodeConfig())
    speech = [samples[:64_000] for samples in read_speech(spoken(material, asked.split)[: asked.count])]
    mp3 = next(codec for codec in CODECS if codec.name == "libmp3lame")
    copies: dict[str, Callable[[Samples], Samples]] = {
        **{make: partial(copy_speech, make=make) for make in trained_vocoders()},
        "Griffin-Lim": rough,
        "MP3, 32 kbit/s": lambda samples: round_trip(samples, mp3, 32_000),
    }
    distance = SpectralDistance()
    for name, copy in copies.items():
        distances = [
            distance.mel(*(torch.from_numpy(x)[None] for x in (samples, copy(samples)))) for samples in speech
        ]
        print(f"{name:<16} {DB_PER_NEPER * float(np.mean(distances)):5.2f} dB over {len(speech)} recordings")


def rough(samples: Samples) -> Samples:
    """Phase by 32 rounds of Griffin and Lim from 80 mel bands."""
    filters = mel_filters(80)
    power = filters.T @ ((filters @ np.square(np.abs(stft(samples)))) / filters.sum(axis=1, keepdims=True))
    return griffin_lim(np.sqrt(power), len(samples), 32, np.random.default_rng(0)).astype(np.float32)


if __name__ == "__main__":
    main()
