"""The compact sound features: evidence of forgery in speech, step by step.

Measures of how the sound was made and a pre-trained ear go through one small network, which sees each step against its
own recording and as it is.
"""

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
from data.errors import UsageError, WeightsError
from data.labels import RATE
from extractors.compact.ear import POSITIONS, Ear, load_ear
from extractors.compact.evidence_net import DIM, EvidenceNet, evidence_of
from extractors.compact.sound_traces import ABSOLUTE, RELATIVE, SoundTraces
from extractors.compact.speech import speech_steps
from extractors.compact.weights import load_part, load_tensors
from extractors.packing import Batcher, WindowSession
from extractors.runtime import extractor_digest, inference
from extractors.windows import HOP, Window, cut_windows

SCHEMA_VERSION = 2  # raise it whenever the same settings and weights begin to give other features

SMOOTH = 9
"""Steps of 20 ms over which measures are averaged: 0.18 s."""

NEAR_S = 1.3
"""Steps within this distance of speech are judged with it: pauses within a sentence are part of it."""


class VoiceMeasures(nn.Module):
    """Waveforms (B, N) to measures (B, T, D) of steps of 40 ms: relative ones, absolute ones, then what the ear hears.

    T = ceil(S / 2) of S steps of 20 ms.
    """

    def __init__(self, ear: Ear) -> None:
        super().__init__()
        self.front, self.ear = SoundTraces(), ear
        self.dim = RELATIVE + ABSOLUTE + ear.dim

    def forward(self, waves: Tensor) -> Tensor:
        """Measures of windows (B, N) of at least 400 samples and at most 30 s."""
        sound = self.front(waves)
        smooth = F.avg_pool1d(
            torch.cat([sound.relative, sound.absolute], 2).transpose(1, 2),
            SMOOTH,
            1,
            SMOOTH // 2,
            count_include_pad=False,
        )
        steps = torch.cat([smooth, self.ear(waves).transpose(1, 2)], 1)
        return F.avg_pool1d(steps, 2, 2, ceil_mode=True).transpose(1, 2)


def split(measures: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """`VoiceMeasures` (B, T, D) against the median of the recording's `valid` (B, T) steps, and as they are.

    The relative measures have their median taken off already; what the ear hears has it taken off here.
    """
    heard = measures[..., RELATIVE + ABSOLUTE :]
    usual = heard.masked_fill(~valid.unsqueeze(-1), torch.nan).nanmedian(dim=1, keepdim=True).values
    relative = torch.cat([measures[..., :RELATIVE], heard - usual.nan_to_num()], dim=-1)
    return relative, measures[..., RELATIVE:]


class VoiceTraces:
    """Waveforms to feature vectors (C,) of 20 ms steps, evidence last; steps far from speech are invalid.

    Time, windows and their order are those of `extractors.paper.wav2vec2`; the network itself looks every 40 ms. Runs
    on the processor, whatever `device` is, in float32.

    Raises WeightsError when `weights` are damaged or were made for other measures, and UsageError when the windows of
    `config` are longer than the ear can hear at once.
    """

    uses_device = False

    def __init__(self, config: AudioConfig, weights: Path, device: str = "cpu") -> None:
        self.config, self.dtype, self.dim = config, torch.float32, DIM
        self._weights, tensors = weights, load_tensors(weights)
        ear = load_ear(tensors, weights)
        self._net = load_part(EvidenceNet(RELATIVE + ear.dim, ABSOLUTE + ear.dim), tensors, "net.", weights)
        self._measures = VoiceMeasures(ear).eval()
        self.digest = self.digest_of(config, weights)
        self._core = max(2, round(config.chunk_s * RATE / HOP) // 2 * 2)
        self._context = round(config.context_s * RATE / HOP) // 2 * 2
        if self._core + 2 * self._context > POSITIONS:
            what = f"audio.chunk_s and twice audio.context_s are more than {POSITIONS * HOP / RATE:g} s"
            raise UsageError(what, fix="choose shorter chunks; voice_traces hears no more at once")

    @staticmethod
    def digest_of(config: AudioConfig, weights: Path, device: str = "cpu") -> str:
        """Name of everything that shapes a vector, without loading the network."""
        return extractor_digest("voice_traces", SCHEMA_VERSION, config, weights, exclude={"weights"})

    def evidence(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """See `extractors.base.Extractor`."""
        return evidence_of(values)

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
            spoken = near_speech(samples)
            with inference():
                measures = self._measures(torch.from_numpy(samples).unsqueeze(0))
                valid = torch.from_numpy(halved(spoken)).unsqueeze(0)
                steps = self._net(*split(measures, valid), valid)
                features.append(steps.features()[0].repeat_interleave(2, dim=0)[: len(spoken)].numpy())
            if not np.isfinite(features[-1]).all():
                raise WeightsError("features are not finite", self._weights, "train them again")
        return features


def near_speech(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which steps (T,) of 20 ms of a waveform (N,) lie within `NEAR_S` of speech."""
    return speech_steps(samples, NEAR_S)


def halved(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Flags (T,) of steps of 20 ms as those of 40 ms, ceil(T / 2): set where either is."""
    found: NDArray[np.bool_] = np.pad(flags, (0, len(flags) % 2)).reshape(-1, 2).max(axis=1)
    return found
