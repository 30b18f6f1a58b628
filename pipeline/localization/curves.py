"""The curves of a clip that bear on its verdict, step by step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.schema import LocalizeConfig
from data.labels import EVIDENCE
from pipeline.localization.scores import BranchCurves, ClipScores, Curve, Evidence


def step_curves(scores: ClipScores, config: LocalizeConfig) -> BranchCurves:
    """How likely each step is forged, as it bears on the verdict.

    With a decision on segments: by the evidence of a track that it weighs that the step lies inside a forged span, or
    the clip is generated from end to end; of several people the likeliest, and the likelier of the tracks as joint.
    Without one: the curves of the model.
    """
    weighed = config.decision.tracks() if config.decision is not None else {}
    tracks = {name: _track_curve(scores, name) for name in scores.evidence if name in weighed}
    if "visual" in tracks and len(scores.people) > 1:
        people = scores.people.values()
        tracks["visual"] = np.maximum.reduce(
            [_track_curve(each, "visual") * each.valid["visual"] for each in people]
        )
    if not tracks:
        return BranchCurves(scores.visual, scores.audio, scores.joint)
    joint = np.maximum.reduce([curve * scores.valid[name] for name, curve in tracks.items()])
    return BranchCurves(tracks.get("visual"), tracks.get("audio"), joint)


def _track_curve(scores: ClipScores, name: str) -> Curve:
    parts = [
        _step_curve(scores.evidence[name][first:stop], scores.valid[name][first:stop])
        for first, stop in scores.stretches_of(name)
    ]
    return np.concatenate(parts)


def _step_curve(evidence: Evidence, valid: NDArray[np.bool_]) -> Curve:
    """1 - (1 - p)(1 - q): p (T,) that a step lies inside a forged span, q that all of the track is generated."""
    inside = evidence[:, EVIDENCE.index("inside")].astype(np.float64)
    whole = evidence[valid, EVIDENCE.index("whole")].mean(dtype=np.float64) if valid.any() else -np.inf
    spared = 1 / (1 + np.exp(inside)) / (1 + np.exp(whole))
    curve: Curve = (1 - spared).astype(np.float32)
    return curve
