"""From what was found in a clip to the report on it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from configs.schema import LocalizeConfig
from data.declared import Declared
from data.labels import Route
from data.media import Assessment, MediaInfo, StreamCoverage
from data.people import Seen
from pipeline.localization.assess import caution
from pipeline.localization.curves import step_curves
from pipeline.localization.scores import ClipScores, Finding
from pipeline.report.model import (
    InputFacts,
    Provenance,
    Report,
    RunClock,
    StepScores,
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
    seen: Seen,
    declared: Declared | None = None,
) -> Report:
    """The report on one clip.

    `coverage`, `warnings` and `complete` are those of the extraction; to these come the warnings about what was
    decoded and yet not judged, and a clip of which a track could not be judged is not complete.
    """
    return Report(
        input=InputFacts.of(info),
        finding=finding,
        route=route,
        coverage=coverage,
        warnings=(*warnings, *caution(assessment, coverage, config)),
        complete=complete and all(track is None or track.reason is None for track in assessment.values()),
        scores=_step_scores(scores, config),
        provenance=provenance,
        clock=clock,
        assessment=assessment,
        seen=seen,
        declared=declared,
    )


def _step_scores(scores: ClipScores, config: LocalizeConfig) -> StepScores:
    """The curves that bear on the verdict, NaN where nothing was judged."""
    curves = step_curves(scores, config)

    def judged(curve: NDArray[np.float32], branch: str) -> NDArray[np.float32]:
        return np.where(scores.valid[branch], curve, np.float32(np.nan))

    def optional(curve: NDArray[np.float32] | None, branch: str) -> NDArray[np.float32] | None:
        return judged(curve, branch) if curve is not None else None

    return StepScores(
        grid=scores.grid,
        visual=optional(curves.visual, "visual"),
        audio=optional(curves.audio, "audio"),
        joint=judged(curves.joint, "joint"),
        visual_error=optional(scores.visual_error, "visual"),
        audio_error=optional(scores.audio_error, "audio"),
    )
