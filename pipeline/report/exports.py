"""The forged intervals in the formats of other tools: spreadsheets, players, Audacity and editing systems.

All forms are built from the rows of `pipeline.report.rows`. Forms that count frames use 25 a second, the clock of the
analysis; spans are rounded outward to whole frames, so that nothing that was found is cut off.
"""

from __future__ import annotations

import csv
import html
import io
import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, fields
from fractions import Fraction
from typing import Any, Literal

from data.labels import FPS
from data.text import printable
from pipeline.report.model import NOTE, Report
from pipeline.report.rows import Row, called, caveats, rows

Form = Literal["csv", "vtt", "audacity", "edl", "otio"]


_FORMULA = {"=", "+", "-", "@", "\t", "\r", "\n"}
_CHANNELS = {"visual": "V", "audio": "A", "both": "B"}
_COLOURS = {"visual": "RED", "audio": "CYAN", "both": "MAGENTA"}
_TITLE_LENGTH = 70


def export_text(report: Report, form: Form, media: str | None = None) -> str:
    """The report's intervals in one form.

    `media` is the URL of the analysed file relative to the export; only "otio" uses it, and without it says that the
    media is missing.
    """
    if form == "otio":
        return _otio(report, media)
    return _WRITERS[form](report)


def suffix(form: Form) -> str:
    """What is added to the name of the input to name the export."""
    return ".labels.txt" if form == "audacity" else f".{form}"


def csv_table(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """CSV that is safe in spreadsheets.

    Text is quoted, because some locales split at other signs than the comma, and text that a spreadsheet would take
    for a formula gets an apostrophe in front (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_inert(cell) for cell in line] for line in lines)
    return text.getvalue()


def frames(row: Row) -> tuple[int, int]:
    """First frame of the row and the one after its last, at `FPS`, rounded outward."""
    first = math.floor(Fraction(str(row.start_s)) * FPS)
    return first, max(first + 1, math.ceil(Fraction(str(row.end_s)) * FPS))


def _label(row: Row) -> str:
    whose = f" person {row.person}" if row.person is not None else ""
    return f"{called(row)} {row.modality} {row.score:.2f}{whose}"


def _inert(cell: object) -> object:
    if cell is None:
        return ""
    if isinstance(cell, str) and unicodedata.normalize("NFKC", cell.strip(" ")[:1]) in _FORMULA:
        return f"'{cell}"
    return cell


def _csv(report: Report) -> str:
    return csv_table([field.name for field in fields(Row)], map(astuple, rows(report)))


def _vtt(report: Report) -> str:
    # `-->` ends a comment, and `<` and `&` begin markup: escaped, none of them is left.
    note = html.escape(" ".join([f"{printable(report.input.name)}: {NOTE}", *caveats(report)]), quote=False)
    cues = [
        f"{number}\n{row.start} --> {row.end}\n{_label(row)}\n" for number, row in enumerate(rows(report), 1)
    ]
    return "\n".join(["WEBVTT\n", f"NOTE {note}\n", *cues])


def _audacity(report: Report) -> str:
    return "".join(f"{row.start_s:.6f}\t{row.end_s:.6f}\t{_label(row)}\n" for row in rows(report))


def _edl(report: Report) -> str:
    lines = [f"TITLE: {printable(report.input.name)[:_TITLE_LENGTH]}", "FCM: NON-DROP FRAME"]
    lines += [f"* COMMENT: {caveat}" for caveat in caveats(report)]
    for number, row in enumerate(rows(report), 1):
        first, stop = frames(row)
        span = f"{_frame_code(first)} {_frame_code(stop)}"
        # The record time equals the source time: the events lie where the forged spans lie in the clip.
        lines += [
            "",
            f"{number:03d}  AX       {_CHANNELS[row.modality]:<5} C        {span} {span}",
            f"* FROM CLIP NAME: {row.file}",
            f"* LOC: {_frame_code(first)} {_COLOURS[row.modality]:<7} {_label(row)}",
            f"* COMMENT: {row.start} - {row.end} {called(row)} {row.modality}, score {row.score:.4f}. {NOTE}",
        ]
    return "\n".join(lines) + "\n"


def _frame_code(frame: int) -> str:
    seconds, rest = divmod(frame, FPS)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{rest:02d}"


def _otio(report: Report, media: str | None) -> str:
    intervals = rows(report)
    end_s = max(report.input.duration_s or 0.0, report.scores.grid.span.end_s)
    stop = max([math.ceil(Fraction(str(round(end_s, 3))) * FPS), *(frames(row)[1] for row in intervals)])
    tracks = [
        _track(report, kind, stop, media, [row for row in intervals if row.modality in (modality, "both")])
        for kind, modality, stream in (
            ("Video", "visual", report.input.video),
            ("Audio", "audio", report.input.audio),
        )
        if stream is not None
    ]
    stack = _item("Stack.1", "tracks", children=tracks)
    timeline = {
        "OTIO_SCHEMA": "Timeline.1",
        "name": printable(report.input.name),
        "global_start_time": None,
        "metadata": {
            "rt-deeploc": {"note": " ".join([NOTE, *caveats(report)]), "sha256": report.input.sha256}
        },
        "tracks": stack,
    }
    return json.dumps(timeline, indent=1) + "\n"


def _track(report: Report, kind: str, stop: int, media: str | None, intervals: list[Row]) -> dict[str, Any]:
    reference = {
        "OTIO_SCHEMA": "MissingReference.1" if media is None else "ExternalReference.1",
        "name": "",
        "available_range": _range(0, stop),
        "metadata": {},
        **({"target_url": media} if media is not None else {}),
    }
    clip = _item(
        "Clip.2",
        printable(report.input.name),
        source_range=_range(0, stop),
        markers=[_marker(row) for row in intervals],
        media_references={"DEFAULT_MEDIA": reference},
        active_media_reference_key="DEFAULT_MEDIA",
    )
    return _item("Track.1", kind, kind=kind, children=[clip])


def _marker(row: Row) -> dict[str, Any]:
    exact = {"start_s": row.start_s, "end_s": row.end_s, "modality": row.modality, "score": row.score}
    exact |= {"person": row.person} if row.person is not None else {}
    return {
        "OTIO_SCHEMA": "Marker.2",
        "name": _label(row),
        "color": _COLOURS[row.modality],
        "marked_range": _range(*frames(row)),
        "comment": NOTE,
        "metadata": {"rt-deeploc": exact},
    }


def _item(schema: str, name: str, **more: Any) -> dict[str, Any]:
    common: dict[str, Any] = {
        "source_range": None,
        "effects": [],
        "markers": [],
        "enabled": True,
        "metadata": {},
    }
    return {"OTIO_SCHEMA": schema, "name": name, **common, **more}


def _range(first: int, stop: int) -> dict[str, Any]:
    time = {"OTIO_SCHEMA": "RationalTime.1", "rate": float(FPS)}
    return {
        "OTIO_SCHEMA": "TimeRange.1",
        "start_time": {**time, "value": float(first)},
        "duration": {**time, "value": float(stop - first)},
    }


_WRITERS: dict[Form, Callable[[Report], str]] = {
    "csv": _csv,
    "vtt": _vtt,
    "audacity": _audacity,
    "edl": _edl,
}
