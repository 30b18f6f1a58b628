"""Shortcuts in a data set: trivial classifiers that see everything but the forgery.

A detector trained on a data set learns the easiest cue. Known data sets had such shortcuts: forged clips that
begin with silence, another encoder, another bit rate. Here a linear classifier gets facts of the file and statistics of
what lies outside the edited spans, and must find chance level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from data.audio import FRAME_SAMPLES
from data.errors import InputError
from data.hook import Hook, silent
from data.labels import FPS, RATE
from data.manifest.sidecar import EditedSegment, SynthesizedClip, read_sidecar
from pipeline.evaluation import metrics
from pipeline.media.whole import DECODE, read_frames, read_sound

FEATURES = (
    "file size",
    "duration",
    "bit rate",
    "frames",
    "sound longer than picture",
    "keyframes",
    "mean packet, picture",
    "packet spread, picture",
    "mean packet, sound",
    "mean luma",
    "luma contrast",
    "sharpness",
    "loudness",
    "noise floor",
    "leading silence",
    "treble",
)
"""What the classifiers may look at; packets, luma, sharpness and sound outside the edited spans only."""

FOLDS = 5
RIDGE = 0.1
"""Penalty of the linear classifier, per clip, on standardised features."""

MARGIN = 2
"""Frames around an edited span that count as part of it: codecs look ahead and behind."""


@dataclass(frozen=True)
class Shortcut:
    """How well one classifier separates forged from authentic clips: AUC, and the 95 % range of chance."""

    features: str
    auc: float
    low: float
    high: float

    @property
    def chance(self) -> bool:
        """Whether the AUC is no better than chance."""
        return self.auc <= self.high


def has_outside(clip: SynthesizedClip) -> bool:
    """Whether something of each track lies outside the edits; a clip generated from end to end has no such part."""
    lengths = {"visual": clip.video_frames / FPS, "audio": clip.audio_samples / RATE}
    return not any(
        edit.end_s - edit.start_s > lengths[edit.modality] - 2 * MARGIN / FPS
        for edit in clip.segments + clip.shams
    )


def find_shortcuts(root: Path, seed: int = 0, hook: Hook = silent) -> tuple[Shortcut, ...]:
    """What trivial classifiers find in a data set that `pipeline synthesize` made: all features, and the best feature.

    Clips that were generated from end to end are left out: nothing of them is outside the forgery.

    Raises InputError when there is no sidecar, or too few clips or people to say anything.
    """
    clips = [clip for clip in read_sidecar(root) if has_outside(clip)]
    table = np.zeros((len(clips), len(FEATURES)))
    for k, clip in enumerate(clips):
        table[k] = clip_features(root / clip.file, clip.segments + clip.shams)
        hook("measure", k + 1, len(clips))
    labels = np.array([clip.label > 0 for clip in clips])
    people = np.array([clip.identity for clip in clips])
    if len(set(people)) < 4 or min(labels.sum(), (~labels).sum()) < 8:
        raise InputError("too few clips or people for a test", root, "synthesize a larger data set")
    return measure_features(table, labels, people, seed)


def clip_features(path: Path, edits: Sequence[EditedSegment]) -> NDArray[np.float64]:
    """The numbers named in FEATURES for one clip whose `edits` are left out of account."""
    with av.open(str(path)) as container:
        packets = [
            (p.stream.type, p.size, float(p.pts * p.time_base), p.is_keyframe)
            for p in container.demux()
            if p.pts is not None
        ]
        duration_s = float(container.duration or 0) / 1e6
    frames, samples = read_frames(path, DECODE), read_sound(path, DECODE)
    n = len(frames) if frames is not None else len(samples) // FRAME_SAMPLES if samples is not None else 0
    untouched = {name: _outside(edits, name, n) for name in ("visual", "audio")}
    size = path.stat().st_size
    luma = _per_frame(frames, untouched["visual"])
    level = _levels(samples, untouched["audio"])
    video = [p for p in packets if p[0] == "video"]
    outside = [p[1] for p in video if _at(untouched["visual"], p[2])]
    sound = [p[1] for p in packets if p[0] == "audio" and _at(untouched["audio"], p[2])]
    return np.array(
        [
            size,
            duration_s,
            size / max(duration_s, 1e-3),
            n,
            (len(samples) / FRAME_SAMPLES if samples is not None else n) - n,
            sum(p[3] for p in video),
            _mean(outside),
            float(np.std(outside)) if outside else 0.0,
            _mean(sound),
            *luma,
            *level,
        ]
    )


def measure_features(
    table: NDArray[np.float64],
    labels: NDArray[np.bool_],
    people: NDArray[np.str_],
    seed: int = 0,
    draws: int = 1000,
) -> tuple[Shortcut, ...]:
    """What trivial classifiers find in `table` (N, F): a linear one on all of it, people held out; the best feature;
    and the best feature among clips of one person, which gains nothing by people of whom no clip is forged.

    The spread of chance comes from `draws` shuffles of the `labels` (N,) within each person; for the best feature it
    is the spread of the best, since whoever looks at many features finds one that fits.
    """
    rng = np.random.default_rng(seed)
    ranks = table.argsort(axis=0, kind="stable").argsort(axis=0) / max(1, len(table) - 1) - 0.5
    # Ranks and their squares beside the values: a shortcut need not be linear in the number that shows it.
    inputs = np.concatenate([_standard(table), _standard(ranks), _standard(ranks**2)], axis=1)
    answers = np.stack([labels, *(_shuffled(labels, people, rng) for _ in range(draws))], axis=1)
    together = auc(_held_out_scores(inputs, answers, people, rng), answers)
    alone = np.stack(
        [auc(np.repeat(ranks[:, [k]], draws + 1, axis=1), answers) for k in range(ranks.shape[1])]
    )
    either_way = 0.5 + np.abs(alone - 0.5)
    within = 0.5 + np.abs(_within_people(table, answers, people) - 0.5)
    best, best_within = int(either_way[:, 0].argmax()), int(within[:, 0].argmax())
    return (
        _finding("all features", together),
        _finding(f"best feature: {FEATURES[best]}", either_way.max(axis=0)),
        _finding(f"best feature within people: {FEATURES[best_within]}", within.max(axis=0)),
    )


def auc(scores: NDArray[np.float64], answers: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Area under the ROC curve of each column of `scores` (N, D) for that of `answers` (N, D); ties count half.

    Source: Mann and Whitney, "On a test of whether one of two random variables is stochastically larger" (1947).
    """
    return np.array([metrics.auc(scores[:, d], answers[:, d]) for d in range(scores.shape[1])])


def _within_people(
    values: NDArray[np.float64], answers: NDArray[np.bool_], people: NDArray[np.str_]
) -> NDArray[np.float64]:
    """`auc` (F, D) of each column of `values` (N, F) over pairs of clips of one person; 0.5 where there are none."""
    won, pairs = np.zeros((values.shape[1], answers.shape[1])), np.zeros(answers.shape[1])
    for name in np.unique(people):
        own = people == name
        forged, other = answers[own].astype(np.float64), ~answers[own]
        pairs += forged.sum(axis=0) * other.sum(axis=0)
        above = (np.sign(values[own][:, None] - values[own][None]) + 1) / 2  # 1/2 where both are the same
        won += np.einsum("ijf,id,jd->fd", above, forged, other, optimize=True)
    return np.where(pairs > 0, won / np.maximum(pairs, 1), 0.5)


def _finding(name: str, values: NDArray[np.float64]) -> Shortcut:
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return Shortcut(name, float(values[0]), float(low), float(high))


def _held_out_scores(
    inputs: NDArray[np.float64],
    answers: NDArray[np.bool_],
    people: NDArray[np.str_],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Ridge regression's scores (N, D) for each column of `answers`, of people that it was not fitted to."""
    names = rng.permutation(np.unique(people))
    fold = {name: k % FOLDS for k, name in enumerate(names)}
    folds = np.array([fold[name] for name in people])
    scores = np.zeros(answers.shape)
    for k in range(min(FOLDS, len(names))):
        held = folds == k
        fitted, wanted = inputs[~held], answers[~held] - answers[~held].mean(axis=0)
        gram = fitted.T @ fitted + RIDGE * len(fitted) * np.eye(inputs.shape[1])
        scores[held] = inputs[held] @ np.linalg.solve(gram, fitted.T @ wanted)
    return scores


def _shuffled(
    labels: NDArray[np.bool_], people: NDArray[np.str_], rng: np.random.Generator
) -> NDArray[np.bool_]:
    shuffled = labels.copy()
    for name in np.unique(people):
        own = np.flatnonzero(people == name)
        shuffled[own] = labels[rng.permutation(own)]
    return shuffled


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9)


def _outside(edits: Sequence[EditedSegment], modality: str, n: int) -> NDArray[np.bool_]:
    outside = np.ones(n, bool)
    for edit in edits:
        if edit.modality == modality:
            outside[max(0, round(edit.start_s * FPS) - MARGIN) : round(edit.end_s * FPS) + MARGIN] = False
    return outside


def _at(chosen: NDArray[np.bool_], time_s: float) -> bool:
    k = int(time_s * FPS)
    return 0 <= k < len(chosen) and bool(chosen[k])


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _per_frame(frames: NDArray[np.uint8] | None, chosen: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Mean luma, its spread, and sharpness (mean step between neighbouring pixels) of the kept frames."""
    if frames is None or not chosen.any():
        return 0.0, 0.0, 0.0
    luma = frames[chosen][::5].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return float(luma.mean()), float(luma.std()), float(np.abs(np.diff(luma, axis=2)).mean())


def _levels(
    samples: NDArray[np.float32] | None, chosen: NDArray[np.bool_]
) -> tuple[float, float, float, float]:
    """Loudness and noise floor in dB, leading silence in frames, and treble: dB of the differenced signal."""
    n = min(len(chosen), len(samples) // FRAME_SAMPLES) if samples is not None else 0
    if samples is None or not chosen[:n].any():
        return 0.0, 0.0, 0.0, 0.0
    frames = samples[: n * FRAME_SAMPLES].reshape(n, -1).astype(np.float64)
    level = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-10)
    steps = 10 * np.log10(np.square(np.diff(frames, axis=1)).mean(axis=1) + 1e-10)
    outside = chosen[:n]
    loud = np.flatnonzero(level > level.max() - 40)
    return (
        float(level[outside].mean()),
        float(np.percentile(level[outside], 5)),
        float(loud[0]),
        float((steps - level)[outside].mean()),
    )
