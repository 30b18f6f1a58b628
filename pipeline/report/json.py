"""The report as JSON: the only place where its numbers are rounded, and the way back.

One top-level key per line. Apart from the line `clock` two runs on the same input, weights and settings write the
same bytes.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import ForensicError, InputError
from data.files import replacing
from data.media import AudioStream, StreamCoverage, VideoStream
from data.timeline import Interval, TimeGrid
from pipeline.localize import ForgedInterval
from pipeline.report.model import NOTE, SCHEMA, InputFacts, Provenance, Report, RunClock, StepScores, Thresholds

ERROR_SCHEMA = "rt-deeploc/error@1"
"""Name and version of the entry that stands for a file that could not be analysed."""

_TIME_DIGITS, _SCORE_DIGITS = 3, 4


def dumps(report: Report) -> str:
    """The report as JSON text that ends with a newline; NaN steps become null."""
    return _lines(
        {
            "schema": SCHEMA,
            "note": NOTE,
            "input": _rounded(asdict(report.input)),
            "label": report.label,
            "route": report.route,
            "branches": list(report.branches),
            "complete": report.complete,
            "probabilities": {name: _score(value) for name, value in report.probabilities.items()},
            "intervals": [
                {
                    "start_s": _time(found.start_s),
                    "end_s": _time(found.end_s),
                    "modality": found.modality,
                    "score": _score(found.score),
                }
                for found in report.intervals
            ],
            "coverage": {name: _coverage(track) for name, track in report.coverage.items()},
            "warnings": list(report.warnings),
            "scores": {
                "grid": {
                    "start": str(report.scores.grid.start),
                    "step": str(report.scores.grid.step),
                    "n": report.scores.grid.n,
                },
                **{name: _curve(values) for name, values in report.scores.curves().items()},
            },
            "thresholds": asdict(report.thresholds),
            "provenance": asdict(report.provenance),
            "clock": _rounded(asdict(report.clock)),
        }
    )


def loads(text: str) -> Report:
    """The report that `dumps` wrote, with the rounded numbers.

    Raises InputError when the text is not a report of this schema version.
    """
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']}, this version reads {SCHEMA}")
        facts, grid = dict(document["input"]), document["scores"]["grid"]
        curves: dict[str, Any] = {
            name: _read_curve(values) for name, values in document["scores"].items() if name != "grid"
        }
        video, audio = facts.pop("video"), facts.pop("audio")
        return Report(
            input=InputFacts(
                **facts,
                video=VideoStream(**video) if video is not None else None,
                audio=AudioStream(**audio) if audio is not None else None,
            ),
            label=document["label"],
            route=document["route"],
            branches=tuple(document["branches"]),
            complete=document["complete"],
            probabilities=document["probabilities"],
            intervals=tuple(ForgedInterval(**found) for found in document["intervals"]),
            coverage={name: _read_coverage(track) for name, track in document["coverage"].items()},
            warnings=tuple(document["warnings"]),
            scores=StepScores(
                grid=TimeGrid(Fraction(grid["start"]), Fraction(grid["step"]), grid["n"]),
                **curves,
            ),
            thresholds=Thresholds(**document["thresholds"]),
            provenance=Provenance(**document["provenance"]),
            clock=RunClock(**document["clock"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise InputError(f"not a report ({error})", fix="write it again with `pipeline run`") from None


def error_text(name: str, error: ForensicError) -> str:
    """The entry that stands for the file `name`, which could not be analysed."""
    return _lines(
        {
            "schema": ERROR_SCHEMA,
            "input": {"name": name},
            "error": {"what": error.what, "fix": error.fix, "exit_code": error.exit_code},
        }
    )


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, with its folders.

    Raises UsageError when the place cannot be written.
    """
    with replacing(path) as temporary:
        # A file name may hold bytes that are no Unicode; JSON escapes them, CSV cannot.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def _lines(document: dict[str, Any]) -> str:
    parts = (f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in document.items())
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _time(time_s: float) -> float:
    return round(float(time_s), _TIME_DIGITS)


def _score(value: float) -> float:
    return round(float(value), _SCORE_DIGITS)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return _time(value) if isinstance(value, float) else value


def _curve(values: NDArray[np.float32] | None) -> list[float | None] | None:
    if values is None:
        return None
    return [_score(value) if math.isfinite(value) else None for value in values.tolist()]


def _read_curve(values: list[float | None] | None) -> NDArray[np.float32] | None:
    if values is None:
        return None
    return np.array([math.nan if value is None else value for value in values], dtype=np.float32)


def _coverage(track: StreamCoverage | None) -> dict[str, Any] | None:
    if track is None:
        return None
    written = StreamCoverage(_time(track.expected_s), _time(track.decoded_s))
    return {
        "expected_s": written.expected_s,
        "decoded_s": written.decoded_s,
        "fraction": _score(written.fraction),
        "gaps": [[_time(gap.start_s), _time(gap.end_s)] for gap in track.gaps],
        "errors": track.errors,
    }


def _read_coverage(track: dict[str, Any] | None) -> StreamCoverage | None:
    if track is None:
        return None
    return StreamCoverage(
        expected_s=track["expected_s"],
        decoded_s=track["decoded_s"],
        gaps=tuple(Interval(start_s, end_s) for start_s, end_s in track["gaps"]),
        errors=track["errors"],
    )
