"""The decision on segments, fitted to clips whose forged spans are known, with lines that keep a rate of false alarms.

Few numbers, all by Newton's method, nothing drawn: a logistic model of segments and one of whole tracks, for picture
and sound each, and two numbers that calibrate the clip. Lines are chosen on clips of people whom the numbers were not
fitted to: people are dealt into folds, and each fold is judged by what the others say.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.schema import CertifiedLine, DecisionConfig, SegmentWeights, TrackDecision, TrackWeights
from data.hook import Hook, silent
from data.labels import CLASSES, EVIDENCE, MODALITIES, REAL
from data.manifest import Sample
from data.manifest.sidecar import SynthesizedClip
from data.timeline import Interval
from pipeline.evaluation.metrics import auc, certified_line, even_weights, promised
from pipeline.evaluation.result import jsonable
from pipeline.localization import decide, segments
from pipeline.localization.scores import ClipScores
from pipeline.training.choice import choice, standardised

RATES = (0.01, 0.05, 0.2)
"""Shares of authentic clips that may be called forged, for which lines are looked for."""

CONFIDENCE = 0.95

FOLDS = 5

LEAST = 8
"""Forged and authentic clips that a track needs, else it has no decision."""

_SAME_SPAN = 0.5
"""tIoU with a forged span from which on a candidate may stand for it."""

_AS_NEAR = 0.1
"""Candidates whose tIoU is that of the nearest one but for so much stand for it too."""

_DIGITS = 4

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LabelledClip:
    """Scores of a clip of a `split` with its `label` 0..3, who is in it, what is forged of each track, and whether it
    was edited harmlessly.

    Scores without windows are no model's: what it would say is taken to be what it says of others in the mean.
    """

    scores: ClipScores
    label: int
    person: str
    forged: Mapping[str, tuple[Interval, ...]]
    harmless: bool = False
    split: str = ""

    def is_forged(self, name: str) -> bool:
        """Whether the track, "visual" or "audio", is forged."""
        return CLASSES[self.label] in (name, "both")


@dataclass(frozen=True, eq=False)
class FittedDecision:
    """A decision, and how it judges people whom it was not fitted to.

    `likely` (N,) is P(forged) of each clip that gives evidence, in order, NaN where no fit was possible without its
    person; `judges` (N,) are the decisions that say so, None there. `auc` tells forged from authentic clips, `recall`
    is the share of forged clips that reach the line of each certified rate, `harmless` the same count of authentic
    clips that were edited harmlessly: alarms, clips and bound.
    """

    config: DecisionConfig
    likely: Floats
    judges: Sequence[DecisionConfig | None]
    clips: int
    people: int
    auc: float
    recall: Mapping[float, float]
    harmless: Mapping[float, tuple[int, int, float]]

    def record(self) -> dict[str, Any]:
        """What is stored with the model, as plain values."""
        return {
            "supervision": "interval labels were used to fit it",
            "clips": self.clips,
            "people": self.people,
            "auc_of_unseen_people": jsonable(self.auc),
            "lines": [
                {
                    **line.model_dump(mode="json"),
                    "recall": jsonable(self.recall[line.rate]),
                    "harmless": dict(zip(("alarms", "clips", "bound"), self.harmless[line.rate], strict=True))
                    if line.rate in self.harmless
                    else None,
                }
                for line in self.config.lines
            ],
        }


def labelled(
    sample: Sample, label: int, scores: ClipScores, recipe: SynthesizedClip | None, dataset: str
) -> LabelledClip:
    """`scores` of `sample` with its `label`, and what its metadata and, where there is one, its sidecar say.

    Without a sidecar nobody knows which track a forged interval is of: it counts for each track that is forged. Nor who
    is in a clip: clips of one authentic recording count as one person's.
    """
    spans: dict[str, tuple[Interval, ...]] = {}
    for name in MODALITIES:
        if recipe is not None:
            spans[name] = tuple(Interval(s.start_s, s.end_s) for s in recipe.segments if s.modality == name)
        else:
            spans[name] = sample.fake_periods if CLASSES[label] in (name, "both") else ()
    person = (
        recipe.identity if recipe is not None else f"{dataset}/{(sample.original or sample.file).as_posix()}"
    )
    harmless = recipe is not None and bool(recipe.shams)
    return LabelledClip(scores, label, person, spans, harmless, sample.split)


def fit_decision(
    clips: Sequence[LabelledClip],
    population: str,
    rates: Sequence[float] = RATES,
    confidence: float = CONFIDENCE,
    hook: Hook = silent,
    start: DecisionConfig | None = None,
) -> FittedDecision | None:
    """The decision that `clips` teach, with the lines that they certify; None where no track has enough of them.

    What is not fitted is that of `start`. It is fitted to whole clips; lines are certified on what a run says of them,
    which judges each shot and each person apart. A clip whose judged tracks give no evidence is left out. A line is
    never below 1/2: what is likelier authentic is not called forged. Where the default rate cannot be certified, `line`
    is that which so many of these clips reach.
    """
    clips = [clip for clip in clips if clip.scores.evidence]
    ready = _prepared(clips)
    start = start if start is not None else DecisionConfig()
    config = _fit(clips, ready, np.ones(len(clips), np.bool_), start)
    if config is None:
        return None
    likely = np.full(len(clips), np.nan)
    judges: list[DecisionConfig | None] = [None] * len(clips)
    folds = _folds(clips)
    for fold in range(FOLDS):
        hook("fit the decision", fold, FOLDS)
        others = _fit(clips, ready, folds != fold, start)
        for k in np.flatnonzero(folds == fold).tolist() if others is not None else ():
            if others is not None and (forged := _forged(ready, k, others, clips)) is not None:
                likely[k], judges[k] = forged, others
    hook("fit the decision", FOLDS, FOLDS)
    judged = ~np.isnan(likely)
    forged = np.array([clip.label != REAL for clip in clips]) & judged
    authentic = judged & ~forged
    people = np.array([clip.person for clip in clips])
    harmless = authentic & np.array([clip.harmless for clip in clips])
    lines, recall, edited = [], {}, {}
    for rate in rates:
        found_line = certified_line(likely[authentic], people[authentic].tolist(), rate, confidence)
        if found_line is None:
            continue
        line = max(0.5, _rounded_up(found_line.line))
        certified = promised(likely[authentic], people[authentic].tolist(), line, confidence)
        lines.append(
            CertifiedLine(
                rate=rate,
                line=line,
                bound=certified.bound,
                alarms=certified.alarms,
                clips=certified.clips,
                people=certified.people,
            )
        )
        recall[rate] = float((likely[forged] >= line).mean()) if forged.any() else math.nan
        if harmless.any():
            alone = promised(likely[harmless], people[harmless].tolist(), line, confidence)
            edited[rate] = (alone.alarms, alone.clips, alone.bound)
    usual = float(np.quantile(likely[authentic], 1 - config.max_alarms)) if authentic.any() else 0.5
    config = config.model_copy(
        update={
            "line": min(1.0, max(0.5, _rounded_up(usual))),
            "confidence": confidence,
            "population": population,
            "lines": tuple(lines),
        }
    )
    value = auc(likely[judged], forged[judged])
    return FittedDecision(
        config, likely, judges, int(judged.sum()), len(set(people[judged])), value, recall, edited
    )


def _rounded_up(value: float) -> float:
    scale = 10**_DIGITS
    return math.ceil(value * scale) / scale if math.isfinite(value) else 0.0


def _folds(clips: Sequence[LabelledClip]) -> NDArray[np.int64]:
    """The fold of each clip: people with the same kinds of clips are dealt out evenly, in an order without meaning."""
    kinds: dict[str, set[int]] = {}
    for clip in clips:
        kinds.setdefault(clip.person, set()).add(clip.label)
    order = sorted(kinds, key=lambda name: (sorted(kinds[name]), hashlib.sha256(name.encode()).hexdigest()))
    fold = {name: k % FOLDS for k, name in enumerate(order)}
    return np.array([fold[clip.person] for clip in clips], np.int64)


@dataclass(frozen=True)
class _Ready:
    """One track of a clip, prepared once for all fits: candidates (N, 2), their features, and their tIoU (N,) with what
    is forged."""

    track: segments.Track
    spans: NDArray[np.int64]
    rows: Floats
    alike: Floats


@dataclass(frozen=True)
class _ReadyTracks:
    """The normalisation of a track, and the track in each clip that has it, by the clip's number.

    `usual` are the means of `decide.OF_THE_MODEL` over clips that a model scored.
    """

    decision: TrackDecision
    clips: Mapping[int, _Ready]
    usual: Mapping[str, float]

    def row(
        self, clips: Sequence[LabelledClip], k: int, name: str, ranked: tuple[segments.Segment, ...]
    ) -> Floats:
        """`decide.FEATURES` of the track in clip `k` with its segments `ranked`."""
        scores = clips[k].scores
        row = decide.track_features(scores, name, self.clips[k].track, ranked)
        for feature, value in self.usual.items() if not scores.windows else ():
            row[decide.FEATURES.index(feature)] = value
        return row


def _prepared(clips: Sequence[LabelledClip]) -> dict[str, _ReadyTracks]:
    """The tracks of all clips. The two numbers of their normalisation are the median and spread of authentic ones."""
    tracks: dict[str, _ReadyTracks] = {}
    for name in MODALITIES:
        held = [
            k
            for k, clip in enumerate(clips)
            if name in clip.scores.evidence and clip.scores.valid[name].any()
        ]
        authentic = [
            clips[k].scores.evidence[name][clips[k].scores.valid[name], EVIDENCE.index("inside")]
            for k in held
            if not clips[k].is_forged(name)
        ]
        if not authentic:
            continue
        inside = np.concatenate(authentic).astype(np.float64)
        centre = float(np.median(inside))
        spread = 1.4826 * float(
            np.median(np.abs(inside - centre))
        )  # of a normal density, its standard deviation
        decision = TrackDecision(centre=_short(centre), scale=max(1e-3, _short(spread)))
        told = [decide.of_the_model(clips[k].scores, name) for k in held if clips[k].scores.windows]
        usual = {
            feature: float(np.mean([one[feature] for one in told])) if told else 0.0
            for feature in decide.OF_THE_MODEL
        }
        tracks[name] = _ReadyTracks(decision, {k: _ready(clips[k], name, decision) for k in held}, usual)
    return tracks


def _ready(clip: LabelledClip, name: str, decision: TrackDecision) -> _Ready:
    track = segments.prepare(clip.scores.evidence[name], clip.scores.valid[name], decision)
    spans = segments.candidates(track)
    alike = np.zeros(len(spans))
    for span in _steps(clip, name):
        alike = np.maximum(alike, segments.overlap(spans, span))
    return _Ready(track, spans, segments.features(track, spans), alike)


def _segments(ready: _Ready, weights: SegmentWeights) -> tuple[segments.Segment, ...]:
    return segments.ranked(ready.track, ready.spans, ready.rows @ segments.vector(weights))


def _forged(
    ready: Mapping[str, _ReadyTracks], k: int, config: DecisionConfig, clips: Sequence[LabelledClip]
) -> float | None:
    """P(forged) of clip `k` as a run says it; None where it has no track that is judged."""
    scores = clips[k].scores
    apart = len(scores.people) > 1 or any(len(scores.stretches_of(name)) > 1 for name in MODALITIES)
    if apart and scores.windows:
        decision = decide.judge(scores, config)
        return decision.forged if decision is not None else None
    tracks = _judged(ready, k, config, clips)
    return 1 - decide.class_probabilities(tracks, config)[REAL] if tracks else None


def _judged(
    ready: Mapping[str, _ReadyTracks], k: int, config: DecisionConfig, clips: Sequence[LabelledClip]
) -> dict[str, decide.JudgedTrack]:
    """What `decide.judge` says of the tracks of clip `k`, were it one stretch with one person."""
    judged = {}
    for name, weights in (("visual", config.visual), ("audio", config.audio)):
        if weights is not None and name in ready and k in ready[name].clips:
            one = ready[name].clips[k]
            ranked = _segments(one, weights.segment)
            row = ready[name].row(clips, k, name, ranked)
            judged[name] = decide.JudgedTrack(ranked, row, float(row @ decide.vector(weights.track)))
    return judged


def _fit(
    clips: Sequence[LabelledClip],
    ready: Mapping[str, _ReadyTracks],
    chosen: NDArray[np.bool_],
    start: DecisionConfig,
) -> DecisionConfig | None:
    """The decision that the `chosen` (N,) of `clips` teach, without lines; what is not fitted is that of `start`."""
    tracks = {name: _fit_track(clips, name, tracks, chosen) for name, tracks in ready.items()}
    config = start.model_copy(update={"visual": tracks.get("visual"), "audio": tracks.get("audio")})
    rows, labels = [], []
    for k in np.flatnonzero(chosen).tolist():
        if judged := _judged(ready, k, config, clips):
            real = decide.class_probabilities(judged, config)[REAL]
            rows.append([1.0, math.log(max(1 - real, 1e-12) / max(real, 1e-12))])
            labels.append(float(clips[k].label != REAL))
    if not labels:
        return None
    forged, prior = np.array(labels), np.array([0.0, 1.0])
    bias, slope = choice(np.array(rows), forged, even_weights(forged > 0), prior, prior)
    return config.model_copy(update={"bias": _short(bias), "slope": max(0.05, _short(slope))})


def _fit_track(
    clips: Sequence[LabelledClip], name: str, ready: _ReadyTracks, chosen: NDArray[np.bool_]
) -> TrackDecision | None:
    """The decision on one track; None where fewer than `LEAST` of the clips have it forged, or authentic."""
    held = [k for k in ready.clips if chosen[k]]
    forged = np.array([clips[k].is_forged(name) for k in held], np.bool_)
    if min(forged.sum(), (~forged).sum()) < LEAST:
        return None
    weights = _fit_segments([ready.clips[k] for k in held], forged)
    rows = np.stack([ready.row(clips, k, name, _segments(ready.clips[k], weights)) for k in held])
    fitted = standardised(rows, forged.astype(np.float64), even_weights(forged))
    best = decide.FEATURES.index("best")
    if fitted[best] < 0:
        # A stronger segment never makes a track more authentic.
        rows[:, best] = 0.0
        fitted = standardised(rows, forged.astype(np.float64), even_weights(forged))
    named = {feature: _short(value) for feature, value in zip(decide.FEATURES, fitted, strict=True)}
    return ready.decision.model_copy(update={"segment": weights, "track": TrackWeights(**named)})


def _fit_segments(ready: Sequence[_Ready], forged: NDArray[np.bool_]) -> SegmentWeights:
    """Weights under which the candidates of a track (N,) that are what was forged are likelier than all others, and
    than that there is none. A track in which no candidate is near what was forged teaches nothing."""
    rows, targets, flags = [], [], []
    for one, edited in zip(ready, forged.tolist(), strict=True):
        target = np.zeros(len(one.spans))
        nearest = one.alike.max(initial=0.0)
        if edited and nearest >= _SAME_SPAN:
            target[one.alike >= max(_SAME_SPAN, nearest - _AS_NEAR)] = 1.0
            target /= target.sum()
        if len(target) and edited == bool(target.any()):
            rows.append(one.rows)
            targets.append(target)
            flags.append(edited)
    if not rows:
        return SegmentWeights()
    sizes = [len(target) for target in targets]
    fitted = standardised(
        np.concatenate(rows), np.concatenate(targets), even_weights(np.array(flags, np.bool_)), sizes
    )
    return SegmentWeights(**{k: _short(v) for k, v in zip(segments.FEATURES, fitted, strict=True)})


def _steps(clip: LabelledClip, name: str) -> NDArray[np.int64]:
    """Forged spans of a track in steps (N, 2), those of at least one."""
    grid = clip.scores.grid
    spans = np.array([[p.start_s, p.end_s] for p in clip.forged[name]], np.float64).reshape(-1, 2)
    steps = np.round((spans - float(grid.start)) / float(grid.step)).astype(np.int64).clip(0, grid.n)
    return steps[steps[:, 1] > steps[:, 0]]


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}") + 0.0
