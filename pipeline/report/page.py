"""The report on one clip as one HTML file that needs nothing else: no network, no script to be read."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from data.media import StreamCoverage
from data.text import printable
from data.timeline import Interval, total_s
from pipeline.report import curves
from pipeline.report.model import NOTE, Report
from pipeline.report.pictures import Pictures, Still
from pipeline.report.provenance import provenance
from pipeline.report.rows import VERDICTS, Row, rows, timecode

if TYPE_CHECKING:
    from jinja2 import Environment

ASSETS = Path(__file__).parent / "assets"

WORDS = {"visual": "picture", "audio": "sound", "both": "picture and sound"}
"""What people call a modality."""
CLASSES = {"real": "real", "visual": "picture forged", "audio": "sound forged", "both": "both forged"}

WIDTH, HEIGHT = 1000, 100
"""Size of a lane's drawing in its own units."""

_CURVES = (
    ("visual", "Picture score", "visual", ("visual",)),
    ("audio", "Sound score", "audio", ("audio",)),
    ("joint", "Joint score", "both", ("visual", "audio")),
    ("visual_error", "Picture reconstruction error", "visual", ("visual",)),
    ("audio_error", "Sound reconstruction error", "audio", ("audio",)),
)
"""Name, label, modality of the marks behind it, and the tracks whose gaps concern it."""


@dataclass(frozen=True)
class Lane:
    """One row of the timeline: a drawing of `kind` "frames", "marks", "curve" or "spectrogram"."""

    name: str
    kind: str
    label: str
    hint: str = ""
    described: str = ""
    modality: str = ""
    tracks: tuple[str, ...] = ()
    path: str = ""
    top: float = 1.0
    lines: tuple[float, ...] = ()


def page_html(report: Report, pictures: Pictures | None, media: str | None) -> str:
    """The page as text, the same for the same arguments.

    `media` is the URL of the clip relative to the page, or a file: URL; None leaves the clip out of the player.
    Raises ValueError when `media` leads to another machine.
    """
    if media is not None:
        _check_local(media)
    shown = pictures if pictures is not None else Pictures()
    report = _as_written(report)
    found, span_s = rows(report), report.span_s
    style = _asset("base.css") + _asset("report.css")
    script = _asset("report.js")
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            note=NOTE,
            rows=found,
            finding=finding(report),
            extent=_extent(report),
            span_s=span_s,
            classes=CLASSES,
            words=WORDS,
            tracks=[(name, word, report.coverage[name]) for name, word in _tracks()],
            lanes=_lanes(report, shown, span_s),
            width=WIDTH,
            height=HEIGHT,
            media=media,
            pictures=shown,
            strip=[still for still in shown.stills if still.interval is None],
            groups=_groups(found, shown.stills),
            provenance=provenance(report),
            data=_data(report, found, span_s),
            style=style,
            script=script,
            policy=_policy(style, script),
        )
    )


def finding(report: Report) -> str:
    """The verdict as a sentence with the number of spans; `NOTE` belongs beside it."""
    verdict, n = VERDICTS[report.label].capitalize(), len(report.intervals)
    spans = f"{n} span{'s' if n != 1 else ''}"
    if report.label == "real":
        return f"{verdict} in the clip as a whole; {spans} shown as asked." if n else f"{verdict}."
    return f"{verdict} in {spans}." if n else f"{verdict}; no single span stands out."


def percent(share: float) -> str:
    """A share as per cent with one digit, rounded down: 100 % is said only of all."""
    return f"{math.floor(1000 * share) / 10:.1f} %"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "printable": printable,
        "timecode": timecode,
        "percent": percent,
        "base64": lambda content: base64.b64encode(content).decode(),
    }
    return environment


@lru_cache(maxsize=8)
def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _as_written(report: Report) -> Report:
    """`report` with the digits that its JSON has, so that a page made again from that is the same."""
    rounded: dict[str, Any] = {
        name: np.round(values.astype(np.float64), 4).astype(np.float32)
        for name, values in report.scores.curves().items()
        if values is not None
    }
    return replace(report, scores=replace(report.scores, **rounded))


def _policy(style: str, script: str) -> str:
    """A policy under which nothing but our own style and script runs and nothing is fetched from elsewhere."""

    def hashed(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; img-src data:; media-src 'self' data: blob: file:; style-src {hashed(style)}; "
        f"script-src {hashed(script)}; base-uri 'none'; form-action 'none'"
    )


def _check_local(media: str) -> None:
    parts = urlsplit(media)
    if parts.scheme not in ("", "file") or parts.netloc:
        raise ValueError(f"the player takes a relative or file: URL, not {media!r}")


def _tracks() -> tuple[tuple[str, str], ...]:
    return (("visual", "picture"), ("audio", "sound"))


def _extent(report: Report) -> str:
    """How much of the clip the intervals cover."""
    span_s = report.span_s
    if not report.intervals or span_s <= 0:
        return ""
    marked_s = total_s(Interval(found.start_s, found.end_s) for found in report.intervals)
    return f"{marked_s:.2f} s of {span_s:.2f} s ({percent(min(1.0, marked_s / span_s))}) are marked."


def _lanes(report: Report, pictures: Pictures, span_s: float) -> list[Lane]:
    lanes = []
    if any(still.interval is None for still in pictures.stills):
        lanes.append(Lane("frames", "frames", "Frames", tracks=("visual",)))
    present = {name for name, track in report.coverage.items() if track is not None}
    for modality, tracks in (("visual", ("visual",)), ("audio", ("audio",)), ("both", ("visual", "audio"))):
        if set(tracks) <= present or any(found.modality == modality for found in report.intervals):
            label = f"Forged: {'both' if modality == 'both' else WORDS[modality]}"
            lanes.append(Lane(f"forged-{modality}", "marks", label, modality=modality, tracks=tracks))
    lanes += _curve_lanes(report, span_s)
    if pictures.spectrogram is not None:
        hint = "0 to 8 kHz"
        lanes.append(
            Lane("spectrogram", "spectrogram", "Sound spectrogram", hint, "", "audio", tracks=("audio",))
        )
    return lanes


def _curve_lanes(report: Report, span_s: float) -> list[Lane]:
    grid, lanes = report.scores.grid, []
    marks = (report.thresholds.onset, report.thresholds.offset)
    for name, label, modality, tracks in _CURVES:
        values = report.scores.curves()[name]
        if values is None or (name == "joint" and None in report.coverage.values()):
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
                tracks,
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


def _groups(found: Sequence[Row], stills: Sequence[Still]) -> list[Group]:
    groups = []
    for k, row in enumerate(found):
        own = tuple(still for still in stills if still.interval == k)
        if own:
            groups.append(Group(k + 1, row, own))
    return groups


def _data(report: Report, found: Sequence[Row], span_s: float) -> dict[str, Any]:
    """What the script needs; names and other strangers' text are not in it."""
    lanes = {lane.name: lane for lane in _curve_lanes(report, span_s)}
    return {
        "span_s": span_s,
        "start_s": float(report.scores.grid.start),
        "step_s": float(report.scores.grid.step),
        "intervals": [[row.start_s, row.end_s, row.modality, row.score] for row in found],
        "gaps": {name: _gaps(track) for name, track in report.coverage.items()},
        "curves": {
            name: {"top": lanes[name].top, **curves.packed(values)}
            for name, values in report.scores.curves().items()
            if values is not None and name in lanes
        },
    }


def _gaps(track: StreamCoverage | None) -> list[list[float]]:
    return [[round(gap.start_s, 3), round(gap.end_s, 3)] for gap in track.gaps] if track is not None else []
