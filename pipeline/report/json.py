"""The report as JSON: writing, where its numbers are rounded, and reading.

One top-level key per line. Apart from the line `clock` two runs on the same input, weights and settings write the
same bytes.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.errors import ForensicError, InputError
from data.media import Assessment, StreamCoverage
from data.people import Person, plain
from data.text import printable
from pipeline.localization.scores import ForgedInterval
from pipeline.report.earlier import VERSIONS, upgraded
from pipeline.report.model import ERROR_SCHEMA, NOTE, SCHEMA, Report
from pipeline.report.rows import reason, written

if TYPE_CHECKING:
    from pydantic import ValidationError

_OURS = tuple(each.partition("@")[0] for each in (SCHEMA, ERROR_SCHEMA))
_TIME_DIGITS, _SCORE_DIGITS = 3, 4
_BAD = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
_AGAIN = "write it again with `pipeline run`"


class ForeignError(InputError):
    """A JSON document that is neither an RT-DeepLoc report nor the entry of a failed file."""


@dataclass(frozen=True)
class ErrorEntry:
    """The entry that replaces the report of a file that could not be analysed."""

    name: str
    what: str
    fix: str
    exit_code: int


def dumps(report: Report) -> str:
    """The report as JSON text that ends with a newline; NaN steps become null."""
    return _lines(
        {
            "schema": SCHEMA,
            "note": NOTE,
            "input": _rounded(asdict(report.input)),
            **_finding(report),
            "route": report.route,
            "branches": list(report.branches),
            "probabilities": {name: _score(share) for name, share in report.probabilities.items()}
            if report.probabilities is not None
            else None,
            "complete": report.complete,
            "coverage": {name: _coverage(track) for name, track in report.coverage.items()},
            "assessment": {name: _assessment(track) for name, track in report.assessment.items()},
            "people": [_person(person, report) for person in report.seen.people],
            "faces": {"more": report.seen.more, "small": report.seen.small},
            "warnings": list(report.warnings),
            "scores": {
                "grid": {
                    "start": str(report.scores.grid.start),
                    "step": str(report.scores.grid.step),
                    "n": report.scores.grid.n,
                },
                **{name: _curve(values) for name, values in report.scores.curves().items()},
            },
            "thresholds": asdict(report.thresholds) if report.thresholds is not None else None,
            "declared": asdict(report.declared) if report.declared is not None else None,
            "provenance": asdict(report.provenance),
            "clock": _rounded(asdict(report.clock)),
        }
    )


def loads(text: str) -> Report:
    """The report that `dumps` wrote, with the rounded numbers.

    Unknown fields are skipped. Raises InputError when the text is not a report of a version that
    it knows, or names no possible file.
    """
    return _report(_document(text))


def find_reports(source: Path) -> tuple[list[Path], Path]:
    """JSON files that `source`, a file or a folder, stands for, relative to the folder returned with them.

    Raises InputError when there is nothing, or no JSON file in the folder.
    """
    if source.is_dir():
        files = sorted(path.relative_to(source) for path in source.rglob("*.json"))
        # Names that begin with a dot are half-written files.
        shown = [file for file in files if not file.name.startswith(".")]
        if not shown:
            raise InputError("contains no JSON file", source, "give a folder that `pipeline run` wrote")
        return shown, source
    if not source.exists():
        raise InputError("no such file or folder", source, "check the path")
    return [Path(source.name)], source.parent


def load(path: Path) -> Report | ErrorEntry:
    """What a JSON file of `pipeline run` holds: a report, or the entry of a file that could not be analysed.

    Raises InputError that names the file when it cannot be read or holds neither: ForeignError when it holds whole
    JSON that does not say that it is one of them.
    """
    try:
        document = _document(path.read_text(encoding="utf-8"))
        return _error(document) if document["schema"] == ERROR_SCHEMA else _report(document)
    except InputError as error:
        error.path = path
        raise
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", path, "check the file") from error
    except UnicodeDecodeError:
        raise InputError("not an RT-DeepLoc report (not UTF-8 text)", path, _AGAIN) from None


def _document(text: str) -> dict[str, Any]:
    problem = "not an RT-DeepLoc report"
    try:
        document = json.loads(text)
    except _BAD:
        raise InputError(problem, fix=_AGAIN) from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, str) or schema.partition("@")[0] not in _OURS:
        raise ForeignError(problem, fix=_AGAIN)
    return dict(document)


def _error(document: dict[str, Any]) -> ErrorEntry:
    from pydantic import ValidationError

    from pipeline.report.document import ErrorDocument

    try:
        entry = ErrorDocument.model_validate(document)
    except ValidationError as error:
        raise InputError(f"not an entry of a failed file ({_complaint(error)})", fix=_AGAIN) from None
    return ErrorEntry(entry.input.name, entry.error.what, entry.error.fix, entry.error.exit_code)


def _report(document: dict[str, Any]) -> Report:
    from pydantic import ValidationError

    from pipeline.report.document import ReportDocument

    try:
        version = document["schema"]
        if version in VERSIONS:
            document = upgraded(document)
        elif version != SCHEMA:
            raise ValueError(f"schema {version[:40]!r}, this version reads {SCHEMA} and those before it")
        return ReportDocument.model_validate(document).report()
    except _BAD as error:
        text = _complaint(error) if isinstance(error, ValidationError) else str(error)
        raise InputError(f"not an RT-DeepLoc report ({text or type(error).__name__})", fix=_AGAIN) from None


def _complaint(error: ValidationError) -> str:
    """The first thing that is wrong with a document, in a clause."""
    first = error.errors(include_url=False, include_input=False)[0]
    own = first.get("ctx", {}).get("error")
    if own is not None:
        return str(own)
    where = printable(".".join(map(str, first["loc"])))
    return f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}"


def error_text(name: str, error: ForensicError) -> str:
    """The entry that stands for the file `name`, which could not be analysed."""
    return _lines(
        {
            "schema": ERROR_SCHEMA,
            "input": {"name": name},
            "error": {"what": error.what, "fix": error.fix, "exit_code": error.exit_code},
        }
    )


def _lines(document: dict[str, Any]) -> str:
    parts = (f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in document.items())
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _finding(report: Report) -> dict[str, Any]:
    finding = written(report.finding)
    return {
        "verdict": finding.verdict,
        "reason": reason(report),
        "label": finding.label,
        "probability": finding.probability,
        "line": finding.line,
        "floor": finding.floor,
        "strongest": _segment(finding.strongest) if finding.strongest is not None else None,
        "promise": asdict(finding.promise) if finding.promise is not None else None,
        "intervals": [_segment(found) for found in finding.intervals],
    }


def _segment(interval: ForgedInterval) -> dict[str, Any]:
    return asdict(interval) | {"person": interval.person or None}


def _person(person: Person, report: Report) -> dict[str, Any]:
    likely = written(report.finding).people.get(person.number)
    return {
        "number": person.number,
        "first_s": _time(person.first_s),
        "last_s": _time(person.last_s),
        "seen_s": _time(person.seen_s),
        "judged": likely is not None,
        "probability": likely,
        "track": plain(person.track),
    }


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
        "units": track.units,
        "placed": track.placed,
        "dropped": track.dropped,
        "dropped_s": _time(track.dropped_s),
        "notes": list(track.notes),
    }


def _assessment(track: Assessment | None) -> dict[str, Any] | None:
    if track is None:
        return None
    return {
        "assessable": track.reason is None,
        "assessed_s": _time(track.assessed_s),
        "gaps": [[_time(gap.start_s), _time(gap.end_s)] for gap in track.gaps],
        "reason": track.reason,
    }
