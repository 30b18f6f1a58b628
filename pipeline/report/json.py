"""The report as JSON: writing, the only place where its numbers are rounded, and reading.

One top-level key per line. Apart from the line `clock` two runs on the same input, weights and settings write the
same bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from data.errors import ForensicError, InputError
from data.labels import ABSTAINED
from data.media import Assessment, StreamCoverage
from data.timeline import Interval, TimeGrid
from pipeline.localization.scores import ForgedInterval
from pipeline.report.model import (
    NOTE,
    READABLE,
    SCHEMA,
    InputFacts,
    Provenance,
    Report,
    RunClock,
    StepScores,
    Thresholds,
)

ERROR_SCHEMA = "rt-deeploc/error@1"
"""Name and version of the entry that stands for a file that could not be analysed."""

_OURS = tuple(each.partition("@")[0] for each in (SCHEMA, ERROR_SCHEMA))
_TIME_DIGITS, _SCORE_DIGITS = 3, 4
_LARGEST = 1e12
_NAME_BYTES = 255
_FRACTION = re.compile(r"-?[0-9]{1,12}(/[0-9]{1,12})?")
_BAD = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)
_AGAIN = "write it again with `pipeline run`"

_Class = Literal["real", "visual", "audio", "both"]
_Label = Literal[_Class, "not_assessable"]
_Branch = Literal["visual", "audio", "joint"]


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
            "label": report.label,
            "route": report.route,
            "branches": list(report.branches),
            "complete": report.complete,
            "probabilities": {name: _score(value) for name, value in report.probabilities.items()}
            if report.probabilities is not None
            else None,
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
            "assessment": {name: _assessment(track) for name, track in report.assessment.items()},
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
    what = "not an RT-DeepLoc report"
    try:
        document = json.loads(text)
    except _BAD:
        raise InputError(what, fix=_AGAIN) from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, str) or schema.partition("@")[0] not in _OURS:
        raise ForeignError(what, fix=_AGAIN)
    return dict(document)


def _name(name: Any) -> str:
    """`name` if a file can have it, wherever it comes from; ValueError if not."""
    if type(name) is not str or name in ("", ".", "..") or not {"/", "\0"}.isdisjoint(name):
        raise ValueError("input.name is not a file name")
    # Lone surrogates stand for bytes that are no UTF-8; others cannot be encoded, which is a ValueError too.
    if len(name.encode("utf-8", "surrogateescape")) > _NAME_BYTES:
        raise ValueError(f"input.name is longer than {_NAME_BYTES} bytes")
    return name


def _error(document: dict[str, Any]) -> ErrorEntry:
    try:
        return _fit({**document["error"], "name": _name(document["input"]["name"])}, ErrorEntry)
    except _BAD as error:
        raise InputError(f"not an entry of a failed file ({error})", fix=_AGAIN) from None


def _report(document: dict[str, Any]) -> Report:
    try:
        if document["schema"] not in READABLE:
            raise ValueError(f"schema {str(document['schema'])[:40]!r}, this version reads {SCHEMA}")
        grid = document["scores"]["grid"]
        if not all(_FRACTION.fullmatch(grid[name]) for name in ("start", "step")):
            raise ValueError("scores.grid needs fractions")
        curves: dict[str, Any] = {
            field.name: _read_curve(document["scores"][field.name])
            for field in fields(StepScores)
            if field.name != "grid"
        }
        if curves["joint"] is None:
            raise ValueError("scores.joint is missing")
        label = _fit(document["label"], _Label)
        shares = _fit(document["probabilities"], Mapping[_Class, float] | None)
        if (shares is None) != (label == ABSTAINED):
            raise ValueError(
                "probabilities must be given exactly when there is a label other than not_assessable"
            )
        if shares is not None and shares.keys() != set(get_args(_Class)):
            raise ValueError("probabilities are incomplete")
        _name(document["input"]["name"])
        coverage = document["coverage"]
        intervals = tuple(_fit(found, ForgedInterval) for found in document["intervals"])
        if intervals and label == ABSTAINED:
            raise ValueError("intervals without an answer")
        # The first version had none.
        judged = document.get("assessment", {})
        assessment = {name: _read_assessment(judged.get(name)) for name in ("visual", "audio")}
        if label != ABSTAINED and all(
            one is not None and one.reason is not None for one in assessment.values()
        ):
            raise ValueError("an answer though no track is assessable")
        for found in intervals:
            _fit(found.modality, Literal["visual", "audio", "both"])
            if not (0 <= found.start_s <= found.end_s and 0 <= found.score <= 1):
                raise ValueError(f"no interval: {found}")
        return Report(
            input=_fit(document["input"], InputFacts),
            label=label,
            route=_fit(document["route"], Literal["auto", _Branch, "all"]),
            branches=_fit(document["branches"], tuple[_Branch, ...]),
            complete=_fit(document["complete"], bool),
            probabilities=shares,
            intervals=intervals,
            coverage={name: _read_coverage(coverage[name]) for name in ("visual", "audio")},
            warnings=_fit(document["warnings"], tuple[str, ...]),
            scores=StepScores(
                grid=TimeGrid(Fraction(grid["start"]), Fraction(grid["step"]), _fit(grid["n"], int)),
                **curves,
            ),
            # The first reports of this schema had none.
            thresholds=_fit(document.get("thresholds"), Thresholds | None),
            provenance=_fit(document["provenance"], Provenance),
            clock=_fit(document["clock"], RunClock),
            assessment=assessment,
        )
    except _BAD as error:
        raise InputError(
            f"not an RT-DeepLoc report ({str(error) or type(error).__name__})", fix=_AGAIN
        ) from None


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
    # Not value by value: an hour has 90,000 steps.
    if not set(map(type, values)) <= {float, int, NoneType}:
        raise ValueError("a curve contains a value that is not a number")
    curve = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    if np.any(np.abs(curve) > _LARGEST):
        raise ValueError("a curve contains a number that is too large")
    return curve.astype(np.float32)


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


def _read_coverage(track: dict[str, Any] | None) -> StreamCoverage | None:
    if track is None:
        return None
    return StreamCoverage(
        expected_s=_fit(track["expected_s"], float),
        decoded_s=_fit(track["decoded_s"], float),
        gaps=_read_spans(track["gaps"]),
        errors=_fit(track["errors"], int),
        # The first reports had no account.
        units=_fit(track.get("units", 0), int),
        placed=_fit(track.get("placed", 0), int),
        dropped=_fit(track.get("dropped", 0), int),
        dropped_s=_fit(track.get("dropped_s", 0.0), float),
        notes=_fit(track.get("notes", []), tuple[str, ...]),
    )


def _assessment(track: Assessment | None) -> dict[str, Any] | None:
    if track is None:
        return None
    return {
        "assessable": track.reason is None,
        "assessed_s": _time(track.assessed_s),
        "gaps": [[_time(gap.start_s), _time(gap.end_s)] for gap in track.gaps],
        "reason": track.reason,
    }


def _read_assessment(track: dict[str, Any] | None) -> Assessment | None:
    if track is None:
        return None
    return Assessment(
        _fit(track["assessed_s"], float), _read_spans(track["gaps"]), _fit(track["reason"], str | None)
    )


def _read_spans(spans: list[list[float]]) -> tuple[Interval, ...]:
    return tuple(Interval(_fit(start_s, float), _fit(end_s, float)) for start_s, end_s in spans)


def _fit(value: Any, kind: Any) -> Any:
    """`value` of a JSON document as `kind`, the type of a field; ValueError if it does not fit."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal and value in parts:
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_fit(part, parts[0]) for part in value)
    if origin is Mapping and isinstance(value, dict):
        return {_fit(key, parts[0]): _fit(part, parts[1]) for key, part in value.items()}
    if origin is UnionType:
        return None if value is None else _fit(value, parts[0])
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
        # Fields of a later program are passed over, as the schema promises; none may be missing.
        hints = get_type_hints(kind)
        needed = {field.name for field in fields(kind) if field.default is MISSING}
        if missing := needed - value.keys():
            raise ValueError(f"{kind.__name__} lacks {', '.join(sorted(missing))}")
        return kind(**{name: _fit(value[name], part) for name, part in hints.items() if name in value})
    if kind is float and type(value) in (int, float) and abs(value) <= _LARGEST:
        return float(value)
    if kind in (str, int, bool) and type(value) is kind:
        return value
    raise ValueError(f"{str(value)[:40]!r} where {getattr(kind, '__name__', kind)} is expected")
