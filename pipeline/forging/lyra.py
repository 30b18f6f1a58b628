"""Lyra V2, a neural speech codec, when its models and the package `ai-edge-litert` are there.

Source: https://github.com/google/lyra (Apache-2.0), SoundStream (Zeghidour et al., 2021) at 16 kHz.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.audio import Samples
from data.errors import UsageError
from pipeline.forging.manipulations.audio import Recode

HOP = 320
"""Samples of a frame: 20 ms."""

QUANTISERS = (16, 30, 46)
"""Residual quantisers of the three rates, 3.2, 6 and 9.2 kbit/s, of 4 bits each."""


@cache
def neural_codec(folder: str | None) -> Recode | None:
    """The codec whose models lie in `folder`; None without one.

    Raises UsageError when the models or the package are not there.
    """
    return Lyra(Path(folder)) if folder else None


class Lyra:
    """Speech through the encoder, the quantiser at a drawn rate, and the decoder."""

    def __init__(self, folder: Path) -> None:
        try:
            interpreter = import_module("ai_edge_litert.interpreter").Interpreter
        except ImportError as error:
            fix = "pip install '.[forge]' in the checkout"
            raise UsageError("the package ai-edge-litert is not installed", fix=fix) from error
        names = ("soundstream_encoder", "quantizer", "lyragan")
        for name in names:
            if not (folder / f"{name}.tflite").is_file():
                raise UsageError(
                    f"{name}.tflite is not there", folder, "name Lyra's model folder in synthesize.lyra"
                )
        paths = [str(folder / f"{name}.tflite") for name in names]
        self._encoder, self._quantiser, self._decoder = (interpreter(path, num_threads=1) for path in paths)

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        """`samples` (L,), mono 16 kHz, as they come out of the codec, in time, (L,)."""
        count = int(rng.choice(QUANTISERS))
        for part in (self._encoder, self._decoder):
            part.allocate_tensors()
            part.reset_all_variables()
        padded = np.pad(samples, (0, -len(samples) % HOP + 2 * HOP)).astype(np.float32)
        spoken = np.concatenate([self._frame(block, count) for block in padded.reshape(-1, HOP)])
        return spoken[: len(samples)]

    def _frame(self, block: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        features = _run(self._encoder, block[None])
        encode, decode = (self._quantiser.get_signature_runner(name) for name in ("encode", "decode"))
        shape = features.reshape(1, 1, -1)
        indices = encode(input_frames=shape, num_quantizers=np.array(count, np.int32))["output_0"]
        lossy = decode(encoding_indices=indices)["output_0"]
        return _run(self._decoder, lossy.reshape(features.shape)).ravel()


def _run(interpreter: Any, value: NDArray[np.float32]) -> NDArray[np.float32]:
    there = interpreter.get_input_details()[0]
    interpreter.set_tensor(there["index"], value.reshape(there["shape"]).astype(np.float32))
    interpreter.invoke()
    out: NDArray[np.float32] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return out
