"""wav2vec 2.0: 50 feature vectors per second of speech (Baevski et al. 2020; paper 4.1, "Wav2Vec for audio")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from configs.schema import AudioConfig
from data.errors import MemoryLimitError, WeightsError
from extractors.runtime import Precision, cache_digest, choose_dtype, inference, is_out_of_memory
from extractors.weights import weights_sha256

SCHEMA_VERSION = 1  # raise it whenever the same settings and weights begin to give other features

SAMPLE_RATE = 16_000
HOP = 320  # samples from one step to the next: 20 ms
RECEPTIVE = 400  # samples that one step of the convolutional encoder sees: 25 ms


@dataclass(frozen=True)
class AudioSteps:
    """Consecutive 50 Hz steps from step `first`: values (N, C) float32, valid (N,) bool.

    Step k sees samples ``[320k, 320k + 400)``. It is invalid when fewer than half of those that exist are valid;
    its vector is then zero.
    """

    first: int
    values: NDArray[np.float32]
    valid: NDArray[np.bool_]


def step_count(samples: int) -> int:
    """Steps T of a clip of L samples: ``floor((L - 400) / 320) + 1``; one for shorter clips, none for an empty one."""
    if samples <= 0:
        return 0
    return max(0, samples - RECEPTIVE) // HOP + 1


class Wav2Vec2:
    """A 16 kHz waveform to its last hidden states, in chunks on a grid that is anchored at sample 0.

    A chunk is `chunk_s` of steps with `context_s` more on both sides, which are computed and dropped. Each chunk runs
    alone, because models with a group-norm feature encoder (wav2vec2-base) change their values with padding and with
    longer neighbours. A clip of at most one chunk plus context is therefore computed in one piece, exactly as
    `transformers` does; a longer one depends on the chunk settings, which are part of `digest`.

    The waveform in [-1, 1] goes in as it is: the features that this work builds on were made without the zero-mean
    unit-variance scaling that some `preprocessor_config.json` ask for, so that file is not read.

    `dim` is the length C of a vector; `digest` names settings, weights and number format.

    Raises WeightsError when the folder holds no wav2vec 2.0 model with a 320-sample hop.
    """

    hop = HOP
    receptive = RECEPTIVE

    def __init__(
        self, config: AudioConfig, weights: Path, device: str = "cpu", dtype: Precision = "auto"
    ) -> None:
        self.config = config
        self.device = torch.device(device)
        self.dtype = choose_dtype(self.device, dtype)
        self._weights = weights
        model, self.dim = load_model(weights)
        self._model = model.to(self.device)
        self.digest = cache_digest(
            extractor="wav2vec2",
            schema=SCHEMA_VERSION,
            settings=config.model_dump(mode="json", exclude={"weights"}),
            weights=weights_sha256(weights),
            dtype=str(self.dtype),
        )
        self._core = max(1, round(config.chunk_s * SAMPLE_RATE / HOP))
        self._context = round(config.context_s * SAMPLE_RATE / HOP)

    def stream(
        self, batches: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]]
    ) -> Iterator[AudioSteps]:
        """Steps of a waveform that arrives in consecutive pieces: samples (N,) float32 and their validity (N,) bool.

        The result is the same, bit by bit, however the waveform is cut; at most one chunk with its context and one
        incoming piece are held in memory.

        Raises ValueError for pieces of other shapes, MemoryLimitError when a chunk does not fit into memory,
        WeightsError when the weights give values that are not finite.
        """
        samples, valid = np.empty(0, np.float32), np.empty(0, np.bool_)
        held_from = 0  # step at which the held samples begin
        core_first = 0
        for piece, flags in batches:
            if piece.ndim != 1 or piece.shape != flags.shape:
                raise ValueError(f"samples and flags must both be (N,), got {piece.shape} and {flags.shape}")
            samples = np.concatenate([samples, piece.astype(np.float32, copy=False)])
            valid = np.concatenate([valid, flags.astype(np.bool_, copy=False)])
            # One sample more than the chunk needs, so that a last, complete chunk is left for the end of the stream.
            while len(samples) > self._samples_through(core_first + self._core + self._context - held_from):
                core_stop = core_first + self._core
                window = self._samples_through(core_stop + self._context - held_from)
                yield self._chunk(samples[:window], valid[:window], held_from, core_first, core_stop)
                core_first = core_stop
                drop = max(0, core_first - self._context - held_from)
                samples, valid = samples[drop * HOP :], valid[drop * HOP :]
                held_from += drop
        total = held_from + step_count(len(samples))
        if total > core_first:
            yield self._chunk(samples, valid, held_from, core_first, total)

    def __call__(self, samples: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> AudioSteps:
        """All steps of a whole waveform (N,); `valid` (N,) defaults to all. See `stream`."""
        flags = valid if valid is not None else np.ones(len(samples), np.bool_)
        parts = list(self.stream([(samples, flags)]))
        if not parts:
            return AudioSteps(0, np.empty((0, self.dim), np.float32), np.empty(0, np.bool_))
        return AudioSteps(
            0, np.concatenate([p.values for p in parts]), np.concatenate([p.valid for p in parts])
        )

    @staticmethod
    def _samples_through(steps: int) -> int:
        """Samples that `steps` steps see."""
        return (steps - 1) * HOP + RECEPTIVE

    def _chunk(
        self,
        samples: NDArray[np.float32],
        valid: NDArray[np.bool_],
        first: int,
        core_first: int,
        core_stop: int,
    ) -> AudioSteps:
        """Steps ``core_first .. core_stop - 1`` from a window of samples whose first step is `first`."""
        core = slice(core_first - first, core_stop - first)
        flags = _step_validity(valid)[core]
        values = np.zeros((core_stop - core_first, self.dim), np.float32)
        if flags.any():
            values[flags] = self._forward(samples)[core][flags]
        return AudioSteps(core_first, values, flags)

    def _forward(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Last hidden states (T, C) of one window; windows below one receptive field are zero-padded to it."""
        padded = np.zeros(max(len(samples), RECEPTIVE), np.float32)
        padded[: len(samples)] = samples
        try:
            with inference(self.device, self.dtype):
                waveform = torch.from_numpy(padded)[None].to(self.device)
                hidden = self._model(waveform).last_hidden_state[0].float().cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            seconds = len(padded) / SAMPLE_RATE
            raise MemoryLimitError(
                f"not enough memory on {self.device} for {seconds:.0f} s of audio at once",
                fix="set a smaller audio.chunk_s, or use --device cpu",
            ) from error
        if not np.isfinite(hidden).all():
            raise WeightsError(
                "features are not finite", self._weights, "check the weights, or use dtype fp32"
            )
        return hidden


def _step_validity(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Per step, whether at least half of the samples that it sees are valid; (N,) samples to (T,) steps."""
    running = np.concatenate([[0], np.cumsum(valid, dtype=np.int64)])
    starts = np.arange(step_count(len(valid))) * HOP
    stops = np.minimum(starts + RECEPTIVE, len(valid))
    return (running[stops] - running[starts]) * 2 >= stops - starts


def load_model(folder: Path) -> tuple[torch.nn.Module, int]:
    """The pretrained encoder of a Hugging Face model folder, in evaluation mode, and its vector length C.

    Raises WeightsError when the folder is damaged or holds no wav2vec 2.0 model with a 320-sample hop.
    """
    from transformers import Wav2Vec2Config, Wav2Vec2Model
    from transformers.utils import logging as transformers_logging

    if not (folder / "config.json").is_file():
        raise WeightsError(
            "no wav2vec 2.0 folder: it has no config.json", folder, "name a Hugging Face model folder"
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
