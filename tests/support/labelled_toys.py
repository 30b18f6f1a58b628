"""Labelled steps that are drawn, in which what is forged is easy to tell."""

from __future__ import annotations

import numpy as np

from extractors.compact.face_traces import MEASURES
from extractors.compact.sound_traces import ABSOLUTE, RELATIVE
from pipeline.training.labelled import LabelledSteps, Measured

RNG = np.random.default_rng


def toy(kind: str, seed: int, clips: int = 10) -> list[LabelledSteps]:
    """Clips of sound in which what is forged has three relative measures raised, and a harmless edit a fourth.

    `kind` is "span", "sham", "authentic", or "whole": then absolute measures are raised from end to end.
    """
    rng, found = RNG(seed), []
    for _ in range(clips):
        measures = np.zeros((80, RELATIVE + ABSOLUTE + 2))
        for first in (0, RELATIVE, RELATIVE + ABSOLUTE):  # the others say nothing
            measures[:, first : first + 4] = rng.standard_normal(measures[:, first : first + 4].shape)
        forged, sham = np.zeros(80, np.bool_), np.zeros(80, np.bool_)
        if kind == "span":
            forged[20:35] = True
            measures[20:35, :3] += 6
        if kind in ("span", "sham"):
            sham[50:65] = True
            measures[50:65, 3] += 6
        if kind == "whole":
            forged[:] = True
            measures[:, RELATIVE : RELATIVE + 4] += 6
        nothing = np.zeros(0, np.int64), np.zeros((0, 0), np.float16)
        measured = Measured(measures.astype(np.float16), np.ones(80, np.bool_), *nothing)
        found.append(LabelledSteps(kind, measured, forged, sham))
    return found


def looked(kind: str, seed: int, clips: int = 12) -> list[LabelledSteps]:
    """Clips of faces of which six are looked at: a forged one has one number raised, a wholly forged clip another."""
    rng, found = RNG(seed), []
    for _ in range(clips):
        forged = np.zeros(30, np.bool_)
        forged[{"span": slice(0, 10), "whole": slice(0, 30)}.get(kind, slice(0, 0))] = True
        looks = np.array([2, 7, 12, 17, 22, 27])
        seen = rng.standard_normal((6, 8))
        if kind == "span":
            seen[:2, 0] += 5
        if kind == "whole":
            seen[:, 1] += 5
        measured = Measured(
            rng.standard_normal((30, MEASURES)).astype(np.float16),
            np.ones(30, np.bool_),
            looks,
            seen.astype(np.float16),
        )
        found.append(LabelledSteps(kind, measured, forged, np.zeros(30, np.bool_)))
    return found
