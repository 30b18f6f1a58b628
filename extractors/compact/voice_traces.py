"""The compact sound features: what stands out in speech, step by step, against the rest of its recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from configs.schema import AudioConfig
from data.errors import WeightsError
from data.labels import RATE
from extractors.compact.sound_traces import SoundTraces
from extractors.compact.speech import speech_steps
from extractors.compact.trace_net import load_trace_net
from extractors.packing import Batcher, WindowSession
from extractors.runtime import extractor_digest, inference
from extractors.windows import HOP, Window, cut_windows

SCHEMA_VERSION = 1  # raise it whenever the same settings and weights begin to give other features

SMOOTH = 9
"""Steps over which measures are averaged before they are coded: 0.18 s."""

NEAR_S = 1.3
"""Steps within this distance of speech are judged with it: pauses within a sentence are part of it."""


class VoiceMeasures(nn.Module):
    """Waveforms (B, N) to the measures (B, T, D) of `SoundTraces`, averaged over `SMOOTH` steps. No parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.front = SoundTraces()
        self.dim = self.front.dim

    def forward(self, waves: Tensor) -> Tensor:
        """Measures (B, T, D) of windows (B, N) of at least 400 samples."""
        measures = self.front(waves).transpose(1, 2)
        return F.avg_pool1d(measures, SMOOTH, 1, SMOOTH // 2, count_include_pad=False).transpose(1, 2)


class VoiceTraces:
    """Waveforms to feature vectors (C,) of 20 ms steps; steps farther than 1.3 s from speech are invalid.

    Time, windows and their order are those of `extractors.paper.wav2vec2`. `dim` is C and `digest` names everything
    that shapes a value. Runs on the processor, whatever `device` is, in float32.

    Raises WeightsError when `weights` are damaged or were made for other measures.
    """

    uses_device = False

    def __init__(self, config: AudioConfig, weights: Path, device: str = "cpu") -> None:
        self.config, self.dtype = config, torch.float32
        self._front = VoiceMeasures().eval()
        self._net, self._weights = load_trace_net(weights, self._front.dim), weights
        self.dim = self._net.dim
        self.digest = self.digest_of(config, weights)
        self._core = max(1, round(config.chunk_s * RATE / HOP))
        self._context = round(config.context_s * RATE / HOP)

    @staticmethod
    def digest_of(config: AudioConfig, weights: Path, device: str = "cpu") -> str:
        """Name of everything that shapes a vector, without loading the network."""
        return extractor_digest("voice_traces", SCHEMA_VERSION, config, weights, exclude={"weights"})

    def session(self, fps: int) -> WindowSession:
        """See `extractors.base.Extractor`."""
        return WindowSession(self.windows, self.batcher(), fps)

    def windows(self, batches: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]]) -> Iterator[Window]:
        """Windows of one clip's waveform, for a `batcher`; steps of theirs without speech nearby are invalid."""
        for window in cut_windows(batches, self._core, self._context):
            spoken = near_speech(window.samples)[window.core_first - window.first :]
            yield replace(window, valid=window.valid & spoken[: len(window.valid)])

    def batcher(self) -> Batcher[Any]:
        """Something that runs windows of any clips, one at a time."""
        return Batcher(self.dim, lambda samples: 1, self._features)

    def _features(self, windows: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Vectors (T, C) of each window."""
        features: list[NDArray[np.float32]] = []
        for samples in windows:
            with inference():
                measures = self._front(torch.from_numpy(samples).unsqueeze(0))
                mask = torch.ones(measures.shape[:2], dtype=torch.bool)
                features.append(self._net(measures, mask).features[0].numpy())
            if not np.isfinite(features[-1]).all():
                raise WeightsError("features are not finite", self._weights, "train them again")
        return features


def near_speech(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which steps (T,) of a waveform (N,) lie within `NEAR_S` of speech."""
    return speech_steps(samples, NEAR_S)
