"""Speech through a trained vocoder and back."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from data.audio import Samples
from pipeline.forging.vocoders.networks import MAKES, Vocoder

FOLDER = Path(__file__).parent
"""Where the weights lie, a file for each make."""


def trained_vocoders() -> tuple[str, ...]:
    """Names of the vocoders whose weights are there."""
    return tuple(make for make in MAKES if (FOLDER / f"{make}.safetensors").is_file())


def copy_speech(samples: Samples, make: str) -> Samples:
    """`samples` (L,), mono 16 kHz, as the vocoder called `make` says them again, (L,).

    Raises ValueError when its weights are not there.
    """
    vocoder = _vocoder(make)
    padded = np.pad(samples, (0, -len(samples) % vocoder.hop + vocoder.hop))
    # Trained at this level.
    scale = np.float32(0.7 / max(float(np.abs(samples).max()), 1e-3))
    with torch.inference_mode():
        spoken = vocoder.copy(torch.from_numpy(padded * scale)[None])[0].numpy()
    return (spoken[: len(samples)] / scale).astype(np.float32)


def read_vocoder(make: str, path: Path) -> Vocoder:
    """The vocoder called `make` with the weights at `path`; raises ValueError when they are another network's."""
    vocoder = MAKES[make]()
    state = {name: value.float() for name, value in load_file(path).items()}
    lacking = vocoder.load_state_dict(state, strict=False)
    if lacking.unexpected_keys or lacking.missing_keys != [n for n in lacking.missing_keys if "_mel." in n]:
        raise ValueError(f"{path} holds the weights of another network")
    return vocoder


@cache
def _vocoder(make: str) -> Vocoder:
    path = FOLDER / f"{make}.safetensors"
    if not path.is_file():
        raise ValueError(f"the weights of the vocoder '{make}' are not there")
    return read_vocoder(make, path).eval()
