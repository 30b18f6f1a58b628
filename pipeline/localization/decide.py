"""From the scores of a clip to what is concluded of it: verdict, class, probability and intervals in one computation.

Each track is judged by itself, by its segments and by what the model says of it, and the tracks are joined last: one
that is absent or not assessable changes nothing about the other. Where a clip shows several people each of them has a
picture track, and is judged by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from configs.schema import DecisionConfig, LocalizeConfig, TrackDecision, TrackWeights
from data.labels import ABSTAINED, CLASSES, MODALITIES, REAL, Route
from data.timeline import Interval
from pipeline.localization.lines import lines_of
from pipeline.localization.localize import best_of_same, proposals
from pipeline.localization.routed import as_asked, by_class, likeliest, routed, thresholds_of, top
from pipeline.localization.scores import (
    ClipScores,
    Finding,
    ForgedInterval,
    Verdict,
    class_of,
)
from pipeline.localization.segments import SAME, Segment, Track, prepare, segments
from pipeline.localization.stretches import corrected

_LEAST = 1e-3  # probabilities closer to 0 or 1 say no more

FEATURES = ("bias", "best", "mean", "top", "whole", "share", "curve", "video")
"""Features of a track, each with a weight in `TrackWeights`."""

OF_THE_MODEL = ("curve", "video")
"""Those that RT-DeepLoc gives; the others are the extractors' evidence."""


@dataclass(frozen=True)
class JudgedTrack:
    """One track of a clip: `segments`, likeliest first, its FEATURES (8,), and `log_odds` that it is forged.

    Of a file of several stretches these are the strongest one's; `stretches` are all of them, strongest first, with
    `log_odds` that are corrected for how many there are (`pipeline.localization.stretches`).
    """

    segments: tuple[Segment, ...]
    features: NDArray[np.float64]
    log_odds: float
    stretches: tuple[JudgedTrack, ...] = ()


@dataclass(frozen=True)
class Decision:
    """The judged tracks of a clip by name, and the probabilities of CLASSES at even odds beforehand.

    `people` are the picture tracks by person; the track "visual" of several is what they say together, see `of_people`.
    """

    tracks: Mapping[str, JudgedTrack]
    probabilities: tuple[float, ...]
    people: Mapping[int, JudgedTrack] = field(default_factory=dict)

    @property
    def forged(self) -> float:
        """P(forged)."""
        return 1 - self.probabilities[REAL]


def decide(scores: ClipScores, config: LocalizeConfig, route: Route = "auto") -> Finding:
    """What is concluded of a clip.

    With `config.decision`, and evidence in a track, by the segments; else by the class probabilities, as `localize`
    routes. A finding without a decision on segments carries no promise. A `route` other than "auto" shows the
    intervals of a branch whatever the verdict.
    """
    decision = decision_of(scores, config)
    if not scores.windows:
        line, floor, _ = lines_of(config.decision)
        thresholds = thresholds_of(config) if config.decision is None else None
        finding = Finding("not_assessable", ABSTAINED, None, line, floor, (), thresholds=thresholds)
    elif config.decision is None or decision is None:
        finding = routed(scores, config)
    else:
        finding = _by_segments(scores, config.decision, decision)
    return finding if route == "auto" else as_asked(finding, scores, config, route)


def decision_of(scores: ClipScores, config: LocalizeConfig) -> Decision | None:
    """The decision on segments; None where the settings hold none, or the clip gives it nothing to decide by."""
    return judge(scores, config.decision) if config.decision is not None and scores.windows else None


def _by_segments(scores: ClipScores, config: DecisionConfig, decision: Decision) -> Finding:
    """The finding of a decision on segments."""
    line, floor, promise = lines_of(config)
    ranked = _segments(scores, config, decision)
    probability = decision.forged
    verdict: Verdict = (
        "forged" if probability >= line else "undecided" if probability >= floor else "not_found"
    )
    intervals: tuple[ForgedInterval, ...] = ()
    if verdict == "forged":
        # The strongest segment is named even where the other evidence of its track decides.
        named = [
            one
            for k, one in enumerate(ranked)
            if one.interval.score >= line and (one.log_odds >= 0 or k == 0)
        ]
        intervals = _joined(_apart([one.interval for one in named or ranked[:1]]), scores)
    forged_class = (
        class_of(each.modality for each in intervals)
        if intervals
        else CLASSES[likeliest(decision.probabilities)]
    )
    return Finding(
        verdict=verdict,
        label=forged_class if verdict == "forged" else CLASSES[REAL],
        probability=probability,
        line=line,
        floor=floor,
        intervals=intervals,
        strongest=ranked[0].interval if ranked else None,
        promise=promise,
        probabilities=by_class(decision.probabilities),
        people={n: _calibrated(track.log_odds, config) for n, track in decision.people.items()},
        branches=tuple(decision.tracks),
    )


def judge(scores: ClipScores, config: DecisionConfig) -> Decision | None:
    """The decision on the tracks that were judged and give evidence; None where there is none."""
    tracks: dict[str, JudgedTrack] = {}
    people: dict[int, JudgedTrack] = {}
    for name, track in config.tracks().items():
        if name not in scores.evidence:
            continue
        if name == "visual" and len(scores.people) > 1:
            people = of_people(
                {n: judge_track(each, name, track, config.stretches) for n, each in scores.people.items()}
            )
            tracks[name] = _together(people)
        else:
            tracks[name] = judge_track(scores, name, track, config.stretches)
            if name == "visual":
                people = dict.fromkeys(scores.people, tracks[name])
    return Decision(tracks, class_probabilities(tracks, config), people) if tracks else None


def of_people(tracks: Mapping[int, JudgedTrack]) -> dict[int, JudgedTrack]:
    """The picture tracks of N people, each with 1/N of its odds: who is forged could be any of them.

    So more people make no alarm likelier: where a track of an authentic person reaches odds x in at most a share 1/x
    of all clips, one of N reaches N x in at most 1/x of them.
    """
    shared = math.log(len(tracks))

    def share(track: JudgedTrack) -> JudgedTrack:
        stretches = tuple(map(share, track.stretches))
        return replace(track, log_odds=track.log_odds - shared, stretches=stretches)

    return {n: share(track) for n, track in tracks.items()}


def _together(people: Mapping[int, JudgedTrack]) -> JudgedTrack:
    """What picture tracks say together whose odds are those of `of_people`: the sum of these."""
    best = max(people.values(), key=lambda track: track.log_odds)
    odds = sum(math.exp(track.log_odds - best.log_odds) for track in people.values())
    return replace(best, log_odds=best.log_odds + math.log(odds))


def judge_track(scores: ClipScores, name: str, config: TrackDecision, correction: float = 0.0) -> JudgedTrack:
    """The decision on one track, "visual" or "audio", that was judged and gives evidence: each stretch as a clip.

    `correction` is `DecisionConfig.stretches`.
    """
    parts = scores.stretches_of(name)
    if len(parts) == 1:
        return _judge_stretch(scores, name, config)
    judged = [
        _judge_stretch(scores.crop(first, stop), name, config, first)
        for first, stop in parts
        if scores.valid[name][first:stop].any()
    ]
    odds = corrected(np.array([one.log_odds for one in judged]), correction)
    judged = [replace(one, log_odds=value) for one, value in zip(judged, odds.tolist(), strict=True)]
    judged.sort(key=lambda one: -one.log_odds)
    return replace(judged[0], stretches=tuple(judged))


def _judge_stretch(scores: ClipScores, name: str, config: TrackDecision, offset: int = 0) -> JudgedTrack:
    """The decision on a track that is one stretch, whose first step is step `offset` of the file."""
    # A picture changes from frame to frame, sound at any moment.
    track = prepare(scores.evidence[name], scores.valid[name], config, between=name == "audio")
    ranked = segments(track, config.segment)
    row = track_features(scores, name, track, ranked)
    placed = tuple(_later(one, offset) for one in ranked)
    return JudgedTrack(placed, row, float(row @ vector(config.track)))


def _later(one: Segment, steps: int) -> Segment:
    moved = {name: getattr(one, name) + steps for name in ("first", "stop", "begins", "ends")}
    return replace(one, **moved)


def track_features(
    scores: ClipScores, name: str, track: Track, ranked: tuple[Segment, ...]
) -> NDArray[np.float64]:
    """FEATURES (8,) of a track whose segments are `ranked`, likeliest first."""
    inside = track.inside[scores.valid[name]]
    values = {
        "bias": 1.0,
        "best": ranked[0].log_odds if ranked else 0.0,
        "mean": ranked[0].mean if ranked else 0.0,
        "top": top(inside),
        "whole": float(track.whole[-1] / max(1, len(inside))),
        "share": float((inside > 0).mean()),
        **of_the_model(scores, name),
    }
    return np.array([values[name] for name in FEATURES])


def of_the_model(scores: ClipScores, name: str) -> dict[str, float]:
    """OF_THE_MODEL of a track: log-odds of its highest steps, and of the clip; zero where no model scored it."""
    if not scores.windows:
        return dict.fromkeys(OF_THE_MODEL, 0.0)
    curve = getattr(scores, name)[scores.valid[name]].astype(np.float64)
    high = float(np.clip(top(curve), _LEAST, 1 - _LEAST))
    return dict(zip(OF_THE_MODEL, (math.log(high / (1 - high)), _video(scores, name)), strict=True))


def vector(weights: TrackWeights) -> NDArray[np.float64]:
    """`weights` in the order of FEATURES."""
    return np.array([getattr(weights, name) for name in FEATURES])


def _video(scores: ClipScores, name: str) -> float:
    """ln P(track forged) / P(real) by the model, in the window where it is highest."""
    with_track = [k for k, label in enumerate(CLASSES) if label in (name, "both")]
    odds = [
        max(_LEAST, sum(window.uncalibrated[k] for k in with_track)) / max(_LEAST, window.uncalibrated[REAL])
        for window in scores.windows
    ]
    return math.log(max(odds))


def class_probabilities(tracks: Mapping[str, JudgedTrack], config: DecisionConfig) -> tuple[float, ...]:
    """Probabilities of CLASSES from what each track says, for a clip as likely forged as authentic.

    A forged clip is forged in one of the tracks, in the other, or in both, each as likely: its odds are the mean of
    theirs, and those of both tracks their product. A track that says nothing, at odds of 1, or is not there, leaves no
    class more likely than the other track makes it. `slope` and `bias` of `config` calibrate the odds.
    """
    log_odds = {name: track.log_odds for name, track in tracks.items()}
    parts = {CLASSES.index(name): value for name, value in log_odds.items()}
    if len(log_odds) > 1:
        parts[CLASSES.index("both")] = sum(log_odds.values())
    highest = max(parts.values())
    shares = {k: math.exp(value - highest) for k, value in parts.items()}
    joined = highest + math.log(sum(shares.values()) / len(shares))
    forged = _calibrated(joined, config)
    probabilities = [0.0] * len(CLASSES)
    probabilities[REAL] = 1 - forged
    for k, share in shares.items():
        probabilities[k] = forged * share / sum(shares.values())
    return tuple(probabilities)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else 1 - 1 / (1 + math.exp(value))


@dataclass(frozen=True)
class _Scored:
    """A segment as an interval, whose score is the P(forged) of its track, had that no stronger one."""

    interval: ForgedInterval
    log_odds: float


def _segments(scores: ClipScores, config: DecisionConfig, decision: Decision) -> list[_Scored]:
    """The segments of all tracks, strongest first."""
    ranked = []
    for name, person, track in _tracks_of(decision):
        best = config.tracks()[name].track.best
        for stretch in track.stretches or (track,):
            for segment in stretch.segments:
                lost = max(0.0, best) * (stretch.segments[0].log_odds - segment.log_odds)
                score = _calibrated(stretch.log_odds - lost, config)
                span = scores.grid.interval(segment.begins, segment.ends)
                interval = ForgedInterval(span.start_s, span.end_s, name, score, person)
                ranked.append(_Scored(interval, segment.log_odds))
    ranked.sort(key=lambda one: (-one.interval.score, -one.log_odds, one.interval))
    return ranked


def _tracks_of(decision: Decision) -> list[tuple[str, int, JudgedTrack]]:
    """Name, person and track of all that has segments of its own."""
    tracks = [
        (name, 0, track) for name, track in decision.tracks.items() if name != "visual" or not decision.people
    ]
    return [("visual", number, track) for number, track in decision.people.items()] + tracks


def _calibrated(log_odds: float, config: DecisionConfig) -> float:
    """P(forged) of a track."""
    return _sigmoid(config.slope * log_odds + config.bias)


def _apart(intervals: list[ForgedInterval]) -> list[ForgedInterval]:
    """`intervals`, strongest first, without those of which a stronger one of the same track and person holds the larger
    part, or which hold that of a stronger one: they show the same."""
    distinct: list[ForgedInterval] = []
    for one in intervals:
        span = Interval(one.start_s, one.end_s)
        others = [
            Interval(o.start_s, o.end_s)
            for o in distinct
            if (o.modality, o.person) == (one.modality, one.person)
        ]
        if all(span.overlap_s(o) <= min(span.duration_s, o.duration_s) / 2 for o in others):
            distinct.append(one)
    return distinct


def _joined(intervals: list[ForgedInterval], scores: ClipScores) -> tuple[ForgedInterval, ...]:
    """`intervals`, strongest first, in order of time: one of each track that are the same span become one of both.

    It has the bounds and the score of the stronger; where a track was not judged all along it, they stay two.
    """
    joined: list[ForgedInterval] = []
    for one in intervals:
        span = Interval(one.start_s, one.end_s)
        same = [
            k
            for k, other in enumerate(joined)
            if {one.modality, other.modality} == set(MODALITIES)
            and span.tiou(Interval(other.start_s, other.end_s)) > SAME
            and _judged_throughout(other, scores.people.get(max(one.person, other.person), scores))
        ]
        if same:
            person = max(joined[same[0]].person, one.person)
            joined[same[0]] = replace(joined[same[0]], modality="both", person=person)
        else:
            joined.append(one)
    return tuple(sorted(joined))


def _judged_throughout(interval: ForgedInterval, scores: ClipScores) -> bool:
    grid = scores.grid
    first, stop = (
        round((at - float(grid.start)) / float(grid.step)) for at in (interval.start_s, interval.end_s)
    )
    return all(bool(scores.valid[name][first:stop].all()) for name in MODALITIES)


def decided_proposals(
    scores: ClipScores, config: LocalizeConfig, decision: Decision | None
) -> tuple[ForgedInterval, ...]:
    """Ranked intervals for evaluation, best first: the segments of `decision_of`, or `proposals` without one.

    The score is P(forged) of the clip, times that of the track with the segment, times that of the segment. Of two that
    overlap by more than `SAME` the better one stays: the tracks may see the same.
    """
    if config.decision is None or decision is None:
        return proposals(scores, config)
    ranked = [
        replace(one.interval, score=decision.forged * one.interval.score * _sigmoid(one.log_odds))
        for one in _segments(scores, config.decision, decision)
    ]
    return best_of_same(sorted(ranked, key=lambda one: (-one.score, one)))
