"""Clips with made-up evidence: Gaussian scores, errors that last from step to step, one forged run, edges or none.

The simulation that the decision was designed with: 150 steps, runs of 5 to 40 steps with a mean of 16, AR(1) errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from configs.schema import LocalizeConfig
from data.labels import CLASSES
from data.timeline import Interval, TimeGrid
from pipeline.localization.decide import decided_proposals, decision_of
from pipeline.localization.scores import ClipScores, ForgedInterval, Window
from pipeline.training.decision import LabelledClip

STEPS = 150
SPAN = (60, 76)
"""Steps of a forged run."""


@dataclass(frozen=True)
class Hearing:
    """How well an extractor tells steps apart: AUC, correlation of the errors of neighbours, and height of its edges.

    `centre` and `spread` are the units in which it speaks.
    """

    auc: float = 0.83
    rho: float = 0.8
    edge: float = 0.0
    centre: float = -3.0
    spread: float = 2.0


def evidence(
    rng: np.random.Generator, hearing: Hearing, span: tuple[int, int] | None, steps: int = STEPS
) -> NDArray[np.float32]:
    """Evidence (T, 4) of a track that is forged in `span`."""
    noise = np.empty(steps)
    noise[0] = rng.normal()
    for k in range(1, steps):
        noise[k] = hearing.rho * noise[k - 1] + np.sqrt(1 - hearing.rho**2) * rng.normal()
    found = np.zeros((steps, 4), np.float32)
    if span is not None:
        noise[slice(*span)] += np.sqrt(2) * NormalDist().inv_cdf(hearing.auc)
    found[:, 0] = hearing.centre + hearing.spread * noise
    if hearing.edge:
        found[:, 1:3] = rng.normal(-4, 1, (steps, 2))
        if span is not None:
            found[span[0], 1] += hearing.edge
            found[span[1] - 1, 2] += hearing.edge
    return found


def scores_of(
    tracks: Mapping[str, NDArray[np.float32]],
    likely: tuple[float, float, float, float] = (0.25, 0.25, 0.25, 0.25),
    valid: Mapping[str, NDArray[np.bool_]] | None = None,
) -> ClipScores:
    """Scores of a clip with the evidence of `tracks`, and a model that knows nothing."""
    steps = len(next(iter(tracks.values())))
    flags = {name: np.full(steps, name in tracks) for name in ("visual", "audio")} | dict(valid or {})
    flags["joint"] = flags["visual"] | flags["audio"]
    half = np.full(steps, 0.5, np.float32)
    possible = np.array([True, "visual" in tracks, "audio" in tracks, len(tracks) == 2])
    shares = np.where(possible, likely, 0.0)
    probabilities = tuple((shares / shares.sum()).tolist())
    return ClipScores(
        grid=TimeGrid.at_rate(25, steps),
        visual=half if "visual" in tracks else None,
        audio=half if "audio" in tracks else None,
        joint=half,
        visual_error=None,
        audio_error=None,
        valid=flags,
        routed={name: np.zeros(steps, np.float32) for name in ("visual", "audio", "joint")},
        windows=(Window(0, steps, probabilities),),
        usable_s=dict.fromkeys(tracks, steps / 25),
        evidence=dict(tracks),
    )


def labelled_clips(
    n: int,
    visual: Hearing | None = Hearing(),
    audio: Hearing | None = Hearing(0.92),
    seed: int = 0,
    people: int | None = None,
    kinds: tuple[str, ...] = CLASSES,
) -> list[LabelledClip]:
    """`n` clips of the `kinds` in turn, of as many people, or `people`; a track without a hearing is absent."""
    rng = np.random.default_rng(seed)
    clips = []
    for k in range(n):
        kind = kinds[k % len(kinds)]
        tracks, forged = {}, {}
        for name, hearing in (("visual", visual), ("audio", audio)):
            span = None
            if kind in (name, "both"):
                length = int(np.clip(rng.gamma(4, 4), 5, 40))
                first = int(rng.integers(5, STEPS - length - 5))
                span = (first, first + length)
            forged[name] = (Interval(span[0] / 25, span[1] / 25),) if span is not None else ()
            if hearing is not None:
                tracks[name] = evidence(rng, hearing, span)
        person = f"p{k % (people or n)}"
        clips.append(LabelledClip(scores_of(tracks), CLASSES.index(kind), person, forged))
    return clips


def sure_clip(
    visual: bool | None, audio: bool | None, seed: int = 0, span: tuple[int, int] = SPAN
) -> ClipScores:
    """Scores of a clip with sure evidence: a track is forged in `span`, authentic, or absent."""
    rng = np.random.default_rng(seed)
    tracks = {
        name: evidence(rng, Hearing(0.99, 0.5, edge=5.0), span if forged else None)
        for name, forged in (("visual", visual), ("audio", audio))
        if forged is not None
    }
    return scores_of(tracks)


def proposed(scores: ClipScores, config: LocalizeConfig) -> tuple[ForgedInterval, ...]:
    """The ranked intervals of a clip."""
    return decided_proposals(scores, config, decision_of(scores, config))
