"""From what was found in a clip to the report on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from configs.schema import LocalizeConfig
from data.labels import CLASSES, MODALITIES, REAL
from data.media import Assessment, MediaInfo, StreamCoverage
from pipeline.localization.assess import caution
from pipeline.localization.decide import judge, step_curves
from pipeline.localization.scores import MODALITY, ClipScores, Finding, Route
from pipeline.report.model import (
    InputFacts,
    Provenance,
    Report,
    RunClock,
    StepScores,
    Thresholds,
    class_of,
)


def build_report(
    info: MediaInfo,
    coverage: Mapping[str, StreamCoverage | None],
    warnings: tuple[str, ...],
    complete: bool,
    scores: ClipScores,
    assessment: Mapping[str, Assessment | None],
    finding: Finding,
    route: Route,
    config: LocalizeConfig,
    provenance: Provenance,
    clock: RunClock,
) -> Report:
    """The report on one clip.

    `coverage`, `warnings` and `complete` are those of the extraction; to these come the warnings about what was
    decoded and yet not judged, and a clip of which a track could not be judged is not complete.
    """
    if finding.verdict == "forged" and finding.intervals and route == "auto":
        # Windows of several classes may have intervals: the clip's class is the one that these show.
        finding = replace(finding, label=class_of(found.modality for found in finding.intervals))
    return Report(
        input=InputFacts.of(info),
        finding=finding,
        route=route,
        branches=_branches(scores, route),
        probabilities=_probabilities(scores, finding, config),
        coverage=coverage,
        warnings=(*warnings, *caution(assessment, coverage, config)),
        complete=complete and all(track is None or track.reason is None for track in assessment.values()),
        scores=_step_scores(scores, config),
        # Only of intervals that these made: a decision on segments chooses otherwise.
        thresholds=Thresholds(config.onset, config.offset)
        if config.decision is None or route != "auto"
        else None,
        provenance=provenance,
        clock=clock,
        assessment=assessment,
    )


def _probabilities(scores: ClipScores, finding: Finding, config: LocalizeConfig) -> dict[str, float] | None:
    """The probabilities of CLASSES that the finding rests on."""
    if finding.probability is None:
        return None
    decision = judge(scores, config.decision) if config.decision is not None else None
    if decision is not None:
        return dict(zip(CLASSES, decision.probabilities, strict=True))
    judged = [name for name in MODALITIES if scores.valid[name].any()]
    if len(judged) == 1:
        # Its own branch decided (`decide`).
        return dict.fromkeys(CLASSES, 0.0) | {
            CLASSES[REAL]: 1 - finding.probability,
            judged[0]: finding.probability,
        }
    shares = scores.video_probabilities
    return dict(zip(CLASSES, shares, strict=True)) if shares is not None else None


def _branches(scores: ClipScores, route: Route) -> tuple[str, ...]:
    """The branches that the intervals come from."""
    if not scores.windows:
        return ()
    if route == "auto":
        predicted = {window.predicted for window in scores.windows}
        return tuple(branch for branch, label in MODALITY.items() if label in predicted)
    return tuple(MODALITY) if route == "all" else (route,)


def _step_scores(scores: ClipScores, config: LocalizeConfig) -> StepScores:
    """The curves that bear on the verdict, NaN where nothing was judged."""
    curves = step_curves(scores, config)

    def judged(curve: NDArray[np.float32], branch: str) -> NDArray[np.float32]:
        return np.where(scores.valid[branch], curve, np.float32(np.nan))

    def optional(curve: NDArray[np.float32] | None, branch: str) -> NDArray[np.float32] | None:
        return judged(curve, branch) if curve is not None else None

    return StepScores(
        grid=scores.grid,
        visual=optional(curves["visual"], "visual"),
        audio=optional(curves["audio"], "audio"),
        joint=judged(curves["joint"] if curves["joint"] is not None else scores.joint, "joint"),
        visual_error=optional(scores.visual_error, "visual"),
        audio_error=optional(scores.audio_error, "audio"),
    )
