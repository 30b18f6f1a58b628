"""wav2vec 2.0: 50 feature vectors per second of speech (Baevski et al. 2020; paper 4.1, "Wav2Vec for audio")."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from configs.schema import AudioConfig
from data.errors import MemoryLimitError, WeightsError
from data.labels import RATE
from extractors.packing import Batcher, WindowSession
from extractors.paper.fused_wav2vec2 import fuse_model
from extractors.paper.precision import Precision, choose_dtype
from extractors.paper.replay import Replay
from extractors.runtime import extractor_digest, inference, is_out_of_memory
from extractors.windows import HOP, RECEPTIVE, AudioSteps, Window, cut_windows, samples_through
from extractors.windows import step_count as step_count  # part of this module's interface

SCHEMA_VERSION = 2  # raise it whenever the same settings and weights begin to give other features

_CUDA_BATCH = 4  # windows of a full chunk in one pass; not measured, no such device was at hand

log = logging.getLogger(__name__)


class Wav2Vec2:
    """A 16 kHz waveform to its last hidden states, in chunks on a grid that is anchored at sample 0.

    A chunk is `chunk_s` of steps with `context_s` more on both sides, which are computed and dropped. No chunk is
    padded in time, because models with a group-norm feature encoder (wav2vec2-base) change their values with
    padding. A clip of at most one chunk plus context is therefore computed in one piece, exactly as
    `transformers` does; a longer one depends on the chunk settings, which are part of `digest`.

    The waveform in [-1, 1] goes in as it is: the features that this work builds on were made without the zero-mean
    unit-variance scaling that some `preprocessor_config.json` ask for, so that file is not read.

    `dim` is the length C of a vector; `digest` names settings, weights and number format.

    Raises WeightsError when the folder contains no wav2vec 2.0 model with a 320-sample hop.
    """

    hop = HOP
    receptive = RECEPTIVE
    uses_device = True

    def __init__(
        self, config: AudioConfig, weights: Path, device: str = "cpu", dtype: Precision = "auto"
    ) -> None:
        self.config = config
        self.device = torch.device(device)
        self.dtype = choose_dtype(self.device, dtype)
        self._weights = weights
        model, self.dim = load_model(weights)
        model = model.to(self.device)
        self._model = model if self.dtype == torch.float32 else fuse_model(model, self.dtype)
        self._replay = Replay(self._states) if self.device.type == "cuda" else None
        self.digest = self.digest_of(config, weights, device, dtype)
        self._together = self.device.type == "cuda"
        self._batch = _CUDA_BATCH
        self._core = max(1, round(config.chunk_s * RATE / HOP))
        self._context = round(config.context_s * RATE / HOP)

    @staticmethod
    def digest_of(config: AudioConfig, weights: Path, device: str = "cpu", dtype: Precision = "auto") -> str:
        """Name of everything that shapes a vector, without loading the network. Raises as the class does."""
        number = str(choose_dtype(torch.device(device), dtype))
        # Without the name of the network, which is said already: so keys are those from before there was a choice.
        return extractor_digest(
            "wav2vec2", SCHEMA_VERSION, config, weights, exclude={"network", "weights"}, dtype=number
        )

    def evidence(self, values: NDArray[np.floating]) -> None:
        """See `extractors.base.Extractor`: the vectors hold none."""

    def session(self, fps: int) -> WindowSession:
        """See `extractors.base.Extractor`."""
        return WindowSession(self.windows, self.batcher(), fps)

    def windows(self, batches: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]]) -> Iterator[Window]:
        """Windows of one clip's waveform, for a `batcher`. See `cut_windows`."""
        return cut_windows(batches, self._core, self._context)

    def batcher(self) -> Batcher[Any]:
        """Something that runs windows of any clips. See `Batcher`."""
        return Batcher(self.dim, self._pass_size, self._hidden)

    def stream(
        self, batches: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]]
    ) -> Iterator[AudioSteps]:
        """Steps of a waveform that arrives in consecutive pieces: samples (N,) float32 and their validity (N,) bool.

        The result is the same, bit by bit, however the waveform is cut; a few windows and one incoming piece are held
        in memory.

        Raises ValueError for pieces of other shapes, MemoryLimitError when a chunk does not fit into memory,
        WeightsError when the weights give values that are not finite.
        """
        batcher: Batcher[None] = self.batcher()
        for window in self.windows(batches):
            for _, steps in batcher.push(None, window):
                yield steps
        for _, steps in batcher.flush():
            yield steps

    def __call__(self, samples: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> AudioSteps:
        """All steps of a whole waveform (N,); `valid` (N,) defaults to all. See `stream`."""
        flags = valid if valid is not None else np.ones(len(samples), np.bool_)
        parts = list(self.stream([(samples, flags)]))
        if not parts:
            return AudioSteps(0, np.empty((0, self.dim), np.float32), np.empty(0, np.bool_))
        return AudioSteps(
            0, np.concatenate([p.values for p in parts]), np.concatenate([p.valid for p in parts])
        )

    def _pass_size(self, samples: int) -> int:
        """How many windows of `samples` samples make up a pass: a function of the length and the device alone.

        On CUDA, windows of a full chunk run together. Other lengths hardly meet their like, and padding them with empty
        windows would cost more than it saves. On a processor one window keeps all units busy.
        """
        return self._batch if self._together and self._is_full(samples) else 1

    def _is_full(self, samples: int) -> bool:
        """Whether `samples` is the length of a full window, at a clip's beginning or in its middle."""
        full = (self._core + self._context, self._core + 2 * self._context)
        return samples in map(samples_through, full)

    def _hidden(self, windows: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Last hidden states (T, C) of each of some windows of one length."""
        states: list[NDArray[np.float32]] = []
        while len(states) < len(windows):
            size = self._pass_size(len(windows[0]))
            some = windows[len(states) : len(states) + size]
            batch = np.zeros((size, len(some[0])), np.float32)
            batch[: len(some)] = some
            try:
                states.extend(self._forward(batch)[: len(some)])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink_batch(size, batch.shape[1] / RATE, error)
        if not all(np.isfinite(hidden).all() for hidden in states):
            raise WeightsError(
                "features are not finite", self._weights, "check the weights, or use dtype fp32"
            )
        return states

    def _forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Last hidden states (B, T, C) of a batch of windows (B, N)."""
        # Recordings of all the lengths that last windows have would fill the memory.
        full = self._is_full(batch.shape[1])
        network = self._replay if self._replay is not None and full else self._states
        with inference():
            hidden: NDArray[np.float32] = network(torch.from_numpy(batch).to(self.device)).cpu().numpy()
        return hidden

    def _states(self, waveforms: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self._model(waveforms).last_hidden_state
        return states.float()

    def _shrink_batch(self, size: int, seconds: float, error: BaseException) -> None:
        if size == 1:
            raise MemoryLimitError(
                f"not enough memory on {self.device} for {seconds:.0f} s of audio at once",
                fix="set a smaller audio.chunk_s, or use --device cpu",
            ) from error
        self._batch //= 2
        if self._replay is not None:
            self._replay.forget()
            torch.cuda.empty_cache()
        log.warning("memory ran out on %s; continuing with %d windows at once", self.device, self._batch)


def load_model(folder: Path) -> tuple[torch.nn.Module, int]:
    """The pretrained encoder of a Hugging Face model folder, in evaluation mode, and its vector length C.

    Raises WeightsError when the folder is damaged or contains no wav2vec 2.0 model with a 320-sample hop.
    """
    from transformers import Wav2Vec2Config, Wav2Vec2Model
    from transformers.utils import logging as transformers_logging

    if not (folder / "config.json").is_file():
        raise WeightsError(
            "not a wav2vec 2.0 folder: it has no config.json", folder, "name a Hugging Face model folder"
        )
    bar_wanted = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        settings = Wav2Vec2Config.from_pretrained(folder, local_files_only=True)
        if settings.model_type != "wav2vec2":
            raise ValueError(f"a {settings.model_type} model")
        model, report = Wav2Vec2Model.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
    except Exception as error:  # a damaged folder fails in many ways inside transformers
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"cannot be loaded as wav2vec 2.0: {reason}", folder, "fetch or copy it again"
        ) from error
    finally:
        if bar_wanted:
            transformers_logging.enable_progress_bar()
    # `masked_spec_embed` is used in training only, and some checkpoints leave it out.
    missing = [name for name in report["missing_keys"] if name != "masked_spec_embed"]
    if missing:
        raise WeightsError(
            f"lacks {len(missing)} tensors, first {missing[0]}", folder, "fetch or copy it again"
        )
    hop, receptive = _geometry(settings)
    if (hop, receptive) != (HOP, RECEPTIVE):
        raise WeightsError(
            f"has a hop of {hop} and a field of {receptive} samples instead of {HOP} and {RECEPTIVE}", folder
        )
    return model.eval(), settings.hidden_size


def _geometry(settings: object) -> tuple[int, int]:
    """Hop and receptive field, in samples, of the convolutional encoder that `settings` describe."""
    hop, receptive = 1, 1
    for kernel, stride in zip(settings.conv_kernel, settings.conv_stride, strict=True):  # type: ignore[attr-defined]
        receptive += (kernel - 1) * hop
        hop *= stride
    return hop, receptive
