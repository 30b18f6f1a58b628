"""Readers of made-up features, and a model that gives its windows scripted scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from model_factory import AUDIO_DIM, VISUAL_DIM, tiny_model

from configs.schema import LocalizeConfig
from data.features import Features
from data.timeline import TimeGrid
from models.batch import Batch
from models.method import Scores
from pipeline.localization.score import score_clip

SMALL = LocalizeConfig(window=4, overlap=2)


@dataclass
class Reader:
    """Features in memory with the interface of the store's reader; remembers what was read."""

    values: np.ndarray
    valid: np.ndarray | None = None
    rate: int = 25
    reads: list[tuple[int, int]] = field(default_factory=list)
    cuts: tuple[int, ...] = ()

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def dim(self) -> int:
        return self.values.shape[1]

    @property
    def grid(self) -> TimeGrid:
        return TimeGrid.at_rate(self.rate, self.n)

    def flags(self) -> np.ndarray:
        return self.valid if self.valid is not None else np.ones(self.n, bool)

    def read(self, first: int, stop: int) -> Features:
        assert 0 <= first < stop <= self.n
        self.reads.append((first, stop))
        return Features(
            self.values[first:stop].astype(np.float16), self.flags()[first:stop], self.grid.crop(first, stop)
        )


def visual_reader(n: int, seed: int = 0) -> Reader:
    return Reader(np.random.default_rng(seed).normal(size=(n, VISUAL_DIM)))


def audio_reader(n: int, seed: int = 1) -> Reader:
    return Reader(np.random.default_rng(seed).normal(size=(n, AUDIO_DIM)))


class ScriptedModel:
    """Gives window after window a constant score and given class probabilities, masked like the real model."""

    def __init__(self, script: Sequence[tuple[float, Sequence[float]]]) -> None:
        self.config = tiny_model().config
        self.script = list(script)
        self.batches: list[Batch] = []

    def score(self, batch: Batch) -> Scores:
        value, probabilities = self.script[len(self.batches)]
        self.batches.append(batch)
        either = batch.visual_mask | batch.audio_mask
        return Scores(
            video_probabilities=torch.tensor([probabilities]),
            visual=batch.visual_mask * value,
            audio=batch.audio_mask * (value / 2),
            joint=either * (value / 4),
            visual_error=batch.visual_mask * (value * 10),
            audio_error=batch.audio_mask * (value * 20),
        )


def run(model: Any, visual: Any, audio: Any, config: LocalizeConfig = SMALL, **options: Any) -> Any:
    return score_clip(model, visual, audio, config, **options)


REAL, VISUAL, BOTH = (0.7, 0.1, 0.1, 0.1), (0.2, 0.6, 0.1, 0.1), (0.1, 0.1, 0.2, 0.6)
