"""Recordings in which people speak in turns, planned out of the clips of a set: a change of the speaker is no forgery.

Nothing is written: the sounds of the clips are joined where they are measured (`labelled.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from data.audio import FRAME_SAMPLES
from data.labels import RATE
from data.manifest.sidecar import Appearance, EditedSegment, SynthesizedClip

SHORTEST_S, LONGEST_S = 6.0, 20.0
"""Seconds that the clips of a recording last together, before the last one that it needs."""

FORGED = 0.5
"""Share of the recordings in which one clip is forged in part."""

MOST = 6
"""People in one recording at most."""

_PARTIAL = 0.8  # share of a clip below which what is forged counts as a part of it


class Turns(NamedTuple):
    """The row of a joined recording, and the clips that are heard in it, one after the other."""

    clip: SynthesizedClip
    parts: tuple[SynthesizedClip, ...]


def plan_turns(clips: Sequence[SynthesizedClip], count: int, seed: int) -> list[Turns]:
    """`count` recordings of two to `MOST` people each, every second one with a clip that is forged in part.

    None where fewer than two people speak in authentic clips.
    """
    rng = np.random.default_rng(seed)
    heard = [clip for clip in clips if clip.audio_samples >= FRAME_SAMPLES and not clip.appearances]
    authentic = [clip for clip in heard if not _forged_s(clip)]
    partial = [clip for clip in heard if 0 < _forged_s(clip) < _PARTIAL * _lasts_s(clip)]
    if len({clip.identity for clip in authentic}) < 2:
        return []
    planned: list[Turns] = []
    for _ in range(count):
        first = partial if partial and rng.random() < FORGED else authentic
        chosen = [first[rng.integers(len(first))]]
        wanted_s = rng.uniform(SHORTEST_S, LONGEST_S)
        for k in rng.permutation(len(authentic)):
            if len(chosen) > 1 and (sum(map(_lasts_s, chosen)) >= wanted_s or len(chosen) == MOST):
                break
            if all(authentic[k].identity != clip.identity for clip in chosen):
                chosen.append(authentic[k])
        planned.append(_joined([chosen[k] for k in rng.permutation(len(chosen))]))
    return planned


def whole_steps(clip: SynthesizedClip) -> int:
    """Samples of a clip that make whole steps of 40 ms."""
    return clip.audio_samples // FRAME_SAMPLES * FRAME_SAMPLES


def _forged_s(clip: SynthesizedClip) -> float:
    return sum(one.end_s - one.start_s for one in clip.segments if one.modality == "audio")


def _lasts_s(clip: SynthesizedClip) -> float:
    return clip.audio_samples / RATE


def _joined(parts: Sequence[SynthesizedClip]) -> Turns:
    """The row of `parts` one after the other; what was edited in them moves along and has the name of who speaks."""
    edges_s = (np.cumsum([0, *map(whole_steps, parts)]) / RATE).tolist()
    placed = [(clip, *span) for clip, span in zip(parts, pairwise(edges_s), strict=True)]

    def moved(edits: str) -> tuple[EditedSegment, ...]:
        return tuple(
            replace(one, start_s=one.start_s + start_s, end_s=one.end_s + start_s, person=clip.identity)
            for clip, start_s, _ in placed
            for one in getattr(clip, edits)
            if one.modality == "audio"
        )

    forged = moved("segments")
    row = SynthesizedClip(
        file="+".join(clip.file for clip in parts),
        identity="+".join(clip.identity for clip in parts),
        group="turns",
        split=parts[0].split,
        label=2 * bool(forged),
        segments=forged,
        shams=moved("shams"),
        original=None,
        source=" ".join(clip.file for clip in parts),
        source_start_s=0.0,
        video_frames=0,
        audio_samples=sum(map(whole_steps, parts)),
        size_bytes=sum(clip.size_bytes for clip in parts),
        appearances=tuple(
            Appearance(clip.identity, start_s, end_s, (0.0, 0.0, 1.0, 1.0)) for clip, start_s, end_s in placed
        ),
    )
    return Turns(row, tuple(parts))
