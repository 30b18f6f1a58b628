"""The report on one clip as one self-contained HTML file: no network, readable without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from data.labels import NAMES
from data.people import Person, plain
from data.text import percent, timecode
from data.timeline import Interval, merge, total_s
from pipeline.localization.scores import ForgedInterval
from pipeline.report import curves
from pipeline.report.html import asset, page
from pipeline.report.model import NOTE, Report
from pipeline.report.origin import DECLARED_NOTE, STATUS_WORDS, manifest_rows
from pipeline.report.pictures import Pictures, Still
from pipeline.report.provenance import provenance
from pipeline.report.rows import (
    WORDS,
    Row,
    in_order,
    promise,
    reach,
    reason,
    rows,
    statement,
    tone,
    who,
    written,
)

_INKS = {"undecided": "undecided", "not_found": "neutral"}
"""Colour of the frame around the strongest segment: none of a warning where nothing was found."""

WIDTH, HEIGHT = 1000, 100
"""Size of a lane's drawing in its own units."""

_CURVES = (
    ("visual", "Picture score", "visual"),
    ("audio", "Sound score", "audio"),
    ("joint", "Joint score", "both"),
    ("visual_error", "Picture reconstruction error", "visual"),
    ("audio_error", "Sound reconstruction error", "audio"),
)
"""Name, label, and modality of the marks and gaps behind it."""

_TRACKS = {"visual": ("visual",), "audio": ("audio",), "both": ("visual", "audio")}
"""The tracks whose gaps concern a lane of that modality."""


@dataclass(frozen=True)
class Lane:
    """One row of the timeline: a drawing of `kind` "frames", "marks", "curve" or "spectrogram".

    `modality` says which marks and gaps lie behind it.
    """

    name: str
    kind: str
    label: str
    hint: str = ""
    described: str = ""
    modality: str = ""
    path: str = ""
    top: float = 1.0
    lines: tuple[float, ...] = ()


def page_html(report: Report, pictures: Pictures | None, media: str | None, index: str | None = None) -> str:
    """The page as text, the same for the same arguments.

    `media` is the URL of the clip relative to the page, or a file: URL; None leaves the clip out of the player.
    `index` is the URL of the folder's page that this one belongs to.
    Raises ValueError when `media` leads to another machine.
    """
    if media is not None:
        _check_local(media)
    shown = pictures if pictures is not None else Pictures()
    report = _as_written(report)
    intervals, span_s = rows(report), report.span_s
    return page(
        "report.html",
        asset("palette.css") + asset("base.css") + asset("report.css"),
        asset("report.js"),
        media=media is not None or shown.preview is not None,
        report=report,
        note=NOTE,
        rows=intervals,
        finding=finding(report),
        reason=reason(report) if report.verdict != "not_assessable" else "",
        promise=promise(report),
        tone=tone(report),
        strongest=_below(report),
        ink=_INKS.get(report.verdict, ""),
        extent=_extent(report),
        span_s=span_s,
        words=WORDS,
        tracks=[(name, word, report.coverage[name], report.assessment[name]) for name, word in NAMES.items()],
        abstained=report.verdict == "not_assessable",
        thresholds=report.drawn_thresholds,
        judges=any(track is not None and track.gaps for track in report.assessment.values()),
        gaps=_gaps(report),
        lanes=_lanes(report, shown, span_s),
        width=WIDTH,
        height=HEIGHT,
        url=media,
        index=index,
        pictures=shown,
        strip=[still for still in shown.stills if still.place == "strip"],
        people=_people(report, shown.stills),
        who=who(report),
        groups=_groups(intervals, shown.stills),
        declared=report.declared,
        declared_note=DECLARED_NOTE,
        status_words=STATUS_WORDS,
        manifests=[manifest_rows(each) for each in report.declared.credentials.manifests]
        if report.declared is not None
        else [],
        provenance=provenance(report),
        data=_data(report, intervals, span_s),
    )


def finding(report: Report) -> str:
    """The verdict as a sentence with the number of intervals; show `NOTE` beside it."""
    said, n = statement(report), len(report.intervals)
    verdict = said[0].upper() + said[1:]
    spans = f"{n} span{'s' if n != 1 else ''}"
    if report.verdict != "forged":
        shown = f"; {spans} shown as requested" if n else ""
        return f"{verdict}{shown}." + (f" {reach(report)}" if tone(report) == "limited" else "")
    if report.doubts:
        return f"{verdict}. {spans} found." if n else f"{verdict}. No interval reached the threshold."
    return f"{verdict} in {spans}." if n else f"{verdict}; no interval reached the threshold."


def _as_written(report: Report) -> Report:
    """`report` with the digits that its JSON has, so that a page made again from that is the same."""
    rounded: dict[str, Any] = {
        name: np.round(values.astype(np.float64), 4).astype(np.float32)
        for name, values in report.scores.curves().items()
        if values is not None
    }
    return replace(report, finding=written(report.finding), scores=replace(report.scores, **rounded))


def _check_local(media: str) -> None:
    parts = urlsplit(media)
    if parts.scheme not in ("", "file") or parts.netloc:
        raise ValueError(f"the player takes a relative or file: URL, not {media!r}")


def _extent(report: Report) -> str:
    """How much of the clip the intervals cover."""
    span_s = report.span_s
    if not report.intervals or span_s <= 0:
        return ""
    marked_s = total_s(Interval(found.start_s, found.end_s) for found in report.intervals)
    return f"{marked_s:.2f} s of {span_s:.2f} s ({percent(min(1.0, marked_s / span_s))}) are marked."


def _below(report: Report) -> ForgedInterval | None:
    """The strongest segment where it did not make the clip forged: else it is marked with the intervals."""
    return report.finding.strongest if report.verdict != "forged" else None


def _lanes(report: Report, pictures: Pictures, span_s: float) -> list[Lane]:
    lanes = []
    if any(still.place == "strip" for still in pictures.stills):
        lanes.append(Lane("frames", "frames", "Frames"))
    present = {name for name, track in report.coverage.items() if track is not None}
    for modality, tracks in _TRACKS.items():
        if set(tracks) <= present or any(found.modality == modality for found in report.intervals):
            marked = "Forged" if report.verdict == "forged" or not report.intervals else "Unconfirmed"
            label = f"{marked}: {WORDS[modality]}"
            lanes.append(Lane(f"forged-{modality}", "marks", label, modality=modality))
    lanes += _curve_lanes(report, span_s)
    if pictures.spectrogram is not None:
        hint = "0 to 8 kHz"
        lanes.append(Lane("spectrogram", "spectrogram", "Sound spectrogram", hint, "", "audio"))
    return lanes


def _curve_lanes(report: Report, span_s: float) -> list[Lane]:
    grid, lanes = report.scores.grid, []
    at = report.drawn_thresholds
    marks = (at.onset, at.offset) if at is not None else ()
    for name, label, modality in _CURVES:
        values = report.scores.curves()[name]
        alone = report.doubts or None in report.coverage.values()
        if values is None or (name == "joint" and alone):
            continue
        score = not name.endswith("error")
        highest = curves.highest(values)
        top = 1.0 if score else highest
        drawn = curves.path(
            values, float(grid.start), float(grid.step), span_s, top, width=WIDTH, height=HEIGHT
        )
        if np.isfinite(values).any():
            at_s = grid.centre_s(int(np.nanargmax(values)))
            described = f"{label}: highest {highest:.2f} at {timecode(at_s)}"
        else:
            described = f"{label}: no step with media"
        lanes.append(
            Lane(
                name,
                "curve",
                label,
                f"0 to {top:.3g}",
                described,
                modality,
                drawn,
                top,
                marks if score else (),
            )
        )
    return lanes


@dataclass(frozen=True)
class Group:
    """The stills of one interval in order of time."""

    number: int
    row: Row
    stills: tuple[Still, ...]


def _groups(intervals: Sequence[Row], stills: Sequence[Still]) -> list[Group]:
    groups = []
    for k, row in enumerate(intervals):
        own = tuple(still for still in stills if still.interval == k)
        if own:
            groups.append(Group(k + 1, row, own))
    return groups


@dataclass(frozen=True)
class PersonRow:
    """A person of the clip: when seen, how likely forged (None where not judged), forged intervals, and the face."""

    person: Person
    probability: float | None
    intervals: int
    still: Still | None


def _people(report: Report, stills: Sequence[Still]) -> list[PersonRow]:
    faces = {still.person: still for still in stills if still.person}
    return [
        PersonRow(
            person,
            report.finding.people.get(person.number),
            sum(found.person == person.number for found in report.intervals),
            faces.get(person.number),
        )
        for person in report.seen.people
    ]


def _boxes(report: Report, below: ForgedInterval | None) -> dict[int, list[list[list[float]]]]:
    """Key frames of the faces that intervals are about, by person."""
    meant = {found.person for found in (*report.intervals, *([below] if below is not None else []))}
    return {person.number: plain(person.track) for person in report.seen.people if person.number in meant}


def _data(report: Report, intervals: Sequence[Row], span_s: float) -> dict[str, Any]:
    """What the script needs; names and other strangers' text are not in it."""
    lanes = {lane.name: lane for lane in _curve_lanes(report, span_s)}
    below = _below(report)
    return {
        "span_s": span_s,
        "start_s": float(report.scores.grid.start),
        "step_s": float(report.scores.grid.step),
        "intervals": [[row.start_s, row.end_s, row.modality, row.score] for row in intervals],
        "strongest": [below.start_s, below.end_s, below.modality, _INKS[report.verdict], below.person]
        if below is not None
        else None,
        "people": [each.person for each in in_order(report.intervals)],
        "boxes": _boxes(report, below),
        "several": report.several,
        "words": WORDS,
        "gaps": _gaps(report),
        "curves": {
            name: {"top": lanes[name].top, **curves.packed(values)}
            for name, values in report.scores.curves().items()
            if values is not None and name in lanes
        },
    }


def _gaps(report: Report) -> dict[str, list[list[float]]]:
    """What was not decoded or not judged of the tracks of each modality, in seconds; gaps that overlap are one."""
    of = {
        name: [
            gap
            for track in (report.coverage[name], report.assessment[name])
            for gap in (track.gaps if track is not None else ())
        ]
        for name in NAMES
    }
    return {
        modality: [
            [round(gap.start_s, 3), round(gap.end_s, 3)]
            for gap in merge(g for name in names for g in of[name])
        ]
        for modality, names in _TRACKS.items()
    }
