"""Findings by the most probable class of RT-DeepLoc, as versions 1 and 2 of the report have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from data.labels import ABSTAINED, CLASSES
from pipeline.localization.scores import Finding, ForgedInterval, class_of
from pipeline.report.model import NOTE, SCHEMA

VERSIONS = ("rt-deeploc/report@1", "rt-deeploc/report@2")
"""Before the second there was always an answer, right or wrong."""

LINE = 0.5


def finding_by_class(
    label: str, shares: Mapping[str, float] | None, intervals: Sequence[ForgedInterval], route: str
) -> Finding:
    """The finding of a clip whose most probable class is `label`; `shares` are the class probabilities.

    Its probability is that of its forged class against "real" alone, so that it reaches the line exactly where the
    class does. With the `route` "auto" the class is the one that the intervals show.
    """
    if shares is None:
        return Finding("not_assessable", ABSTAINED, None, LINE, LINE, ())
    likely = max(shares[name] for name in shares if name != "real")
    whole = likely + shares["real"]
    probability = likely / whole if whole > 0 else 0.0
    if label == "real":
        return Finding("not_found", label, min(probability, LINE - 1e-4), LINE, LINE, tuple(intervals))
    return Finding(
        "forged",
        class_of(each.modality for each in intervals) if intervals and route == "auto" else label,
        max(probability, LINE),
        LINE,
        LINE,
        tuple(intervals),
        max(intervals, key=lambda each: each.score, default=None),
    )


def upgraded(document: dict[str, Any]) -> dict[str, Any]:
    """A document of an earlier version, in plain values, with the fields that version 3 brought.

    Raises ValueError, LookupError or TypeError where it lacks what these are made of.
    """
    shares, label = document["probabilities"], document["label"]
    if (shares is None) != (label == ABSTAINED):
        raise ValueError(
            "probabilities must be given exactly when there is a label other than not_assessable"
        )
    if label not in (*CLASSES, ABSTAINED):
        raise ValueError(f"label {str(label)[:40]!r} is not known")
    intervals = [
        ForgedInterval(each["start_s"], each["end_s"], each["modality"], each["score"])
        for each in document["intervals"]
    ]
    finding = finding_by_class(label, shares, intervals, document["route"])
    strongest = finding.strongest
    return {
        "note": NOTE,
        "assessment": {"visual": None, "audio": None},
        **document,
        "schema": SCHEMA,
        "verdict": finding.verdict,
        "reason": "",
        "label": finding.label,
        "probability": finding.probability,
        "line": finding.line,
        "floor": finding.floor,
        "strongest": document["intervals"][intervals.index(strongest)] if strongest is not None else None,
        "promise": None,
        "probabilities": shares,
    }
