"""What can be assessed of a clip: without a face or speech the tool abstains."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from configs.schema import LocalizeConfig
from data.labels import NAMES
from data.media import Assessment, MediaInfo, StreamCoverage
from data.text import percent
from data.timeline import Interval, TimeGrid, complement, runs, total_s

SUBJECT = {"visual": "face", "audio": "speech"}
"""What each track is judged by."""

_LACK = {"visual": "no face, or one too briefly,", "audio": "no speech, or too little,"}

SLIVER_S = 0.2
"""Shorter spans are not reported: the borders of steps and of decoding gaps do not meet exactly."""


def assessable(valid: NDArray[np.bool_], step: Fraction, config: LocalizeConfig) -> bool:
    """Whether a track whose steps of `step` seconds are `valid` (T,) holds enough to be judged."""
    least_s = min(config.min_assessed_s, config.min_assessed_share * len(valid) * float(step))
    # 25 steps of 1/25 s are one second, which floats need not agree on.
    return bool(valid.any()) and float(valid.sum() * step) >= least_s - float(step) / 1000


def assess(
    valid: Mapping[str, NDArray[np.bool_]],
    usable_s: Mapping[str, float],
    grid: TimeGrid,
    info: MediaInfo,
    coverage: Mapping[str, StreamCoverage | None],
) -> dict[str, Assessment | None]:
    """What could be assessed of each track; None for one that is absent or could not be decoded.

    `valid` has the steps (T,) of `grid` that were judged, none in a track that is not assessable; `usable_s` the
    seconds of each track in which there was something to judge, were they too few as well.
    """
    starts_s = {
        "visual": info.video.start_s if info.video is not None else 0.0,
        "audio": info.audio.start_s if info.audio is not None else 0.0,
    }
    assessed: dict[str, Assessment | None] = dict.fromkeys(coverage)
    for name, track in coverage.items():
        if track is None or name not in usable_s:
            continue
        start_s = max(0.0, starts_s[name])
        decoded = complement(track.gaps, Interval(start_s, start_s + track.expected_s))
        judged = (grid.interval(first, stop) for first, stop in runs(valid[name].tolist()))
        unjudged = complement(judged, Interval(start_s, start_s + track.expected_s))
        gaps = tuple(
            Interval(max(a.start_s, b.start_s), min(a.end_s, b.end_s))
            for a in unjudged
            for b in decoded
            if a.overlap_s(b) >= SLIVER_S
        )
        if valid[name].any():
            assessed[name] = Assessment(float(valid[name].sum() * grid.step), gaps, None)
        else:
            reason = _reason(name, usable_s[name], track.decoded_s)
            assessed[name] = Assessment(usable_s[name], decoded, reason)
    return assessed


def caution(
    assessment: Mapping[str, Assessment | None],
    coverage: Mapping[str, StreamCoverage | None],
    config: LocalizeConfig,
) -> tuple[str, ...]:
    """Warnings about what was decoded but not assessed."""
    warnings = []
    for name, track in assessment.items():
        decoded = coverage[name]
        if track is None or decoded is None:
            continue
        if track.reason is not None:
            warnings.append(f"not assessable: {track.reason}")
            continue
        share = total_s(track.gaps) / decoded.decoded_s if decoded.decoded_s > 0 else 0.0
        if share > config.warn_unassessed:
            lack = f"{_LACK[name]} in {percent(min(1.0, share))} of the {NAMES[name]}"
            warnings.append(f"{lack}: not assessed there")
    return tuple(warnings)


def _reason(name: str, usable_s: float, decoded_s: float) -> str:
    track, subject = NAMES[name], SUBJECT[name]
    if usable_s == 0:
        return f"no {subject} was found in the {track}"
    if usable_s > decoded_s - SLIVER_S:
        return f"only {usable_s:.2f} s of the {track} could be decoded"
    return f"only {usable_s:.2f} s of the {track} {'show a face' if name == 'visual' else 'hold speech'}"
