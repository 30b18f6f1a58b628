"""Predictions of any detector, in the formats of LAV-DF and AV-Deepfake1M, read with care and written.

``predictions.json``: ``{"file": [[confidence, start_s, end_s], ...], ...}``; ``prediction.txt``: one ``file;score``
a line. Files are named relative to the data set's root or, as AV-Deepfake1M's challenge has it, to their part of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.files import replacing
from data.timeline import TimeGrid

_SPACE = re.compile(r"[ \t\n\r]*")
_SHOWN = 3


@dataclass(frozen=True)
class StepCurves:
    """Scores of each step of `grid`: curves (T,) by branch, NaN where nothing was decoded."""

    grid: TimeGrid
    curves: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class VideoPrediction:
    """The prediction for one clip; None for what the detector does not give.

    `file`: name relative to the data set's root; `proposals` (P, 3): score, start and end in seconds, in file order;
    `score`: how likely the clip is forged; `probabilities` of the four classes. `unread`: the clip could not be
    analysed, and counts as classified authentic. `abstained`: nothing of it was assessable.
    """

    file: str
    proposals: NDArray[np.float64] | None = None
    score: float | None = None
    probabilities: tuple[float, ...] | None = None
    steps: StepCurves | None = None
    unread: bool = False
    abstained: bool = False


@dataclass(frozen=True)
class Rules:
    """What a server asks of a submission beyond numbers that are finite.

    `padded`: its reader fails on an empty list. `positive`: no confidence below 0. `shares`: video scores lie in
    [0, 1]. `lengths_s`: by file name, the time after which no proposal may end.
    """

    padded: bool = False
    positive: bool = False
    shares: bool = False
    lengths_s: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Faults:
    """What is wrong with a file of predictions: all is counted, the first few are shown."""

    path: Path
    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, fault: str) -> None:
        """Count a fault."""
        self.count += 1
        if len(self.shown) < _SHOWN:
            self.shown.append(fault)

    def raise_if_any(self) -> None:
        """Raises InputError with the first faults when there are any."""
        if self.count:
            first = "; ".join(self.shown)
            problem = f"{self.count} fault(s), first: {first}" if self.count > 1 else f"1 fault: {first}"
            raise InputError(problem, self.path, "correct the file; nothing was scored")


def read_proposals(path: Path, files: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Proposals (P, 3) of each of `files` in the order of `path`, its entries read one at a time.

    An empty list says that nothing was found.

    Raises InputError with the first faults when `path` is no such JSON, names a clip that is not among `files` or
    twice, lacks one, or holds a score or time that is no finite number, a negative time or a reversed span.
    """
    return parse_proposals(path, read_text(path), files)


def parse_proposals(
    origin: Path, text: str, files: Sequence[str], rules: Rules = Rules()
) -> dict[str, NDArray[np.float64]]:
    """As `read_proposals`, from `text` that was read from `origin`, which errors name; `rules` ask for more."""
    return _read(origin, files, _entries(origin, text), partial(_proposals, rules))


def read_scores(path: Path, files: Sequence[str]) -> dict[str, float]:
    """How likely each of `files` is forged, from lines ``file;score``.

    Raises InputError with the first faults when a line is malformed, a score is no finite number, or the names are
    not those of `files`, each once.
    """
    return parse_scores(path, read_text(path), files)


def parse_scores(origin: Path, text: str, files: Sequence[str], rules: Rules = Rules()) -> dict[str, float]:
    """As `read_scores`, from `text` that was read from `origin`, which errors name; `rules` ask for more."""
    return _read(origin, files, _lines(origin, text), partial(_score, rules))


def write_proposals(path: Path, predictions: Iterable[VideoPrediction], short: bool = False) -> None:
    """Write ``predictions.json``, a line per clip, with all digits; `short` names clips within their part.

    Raises UsageError when it cannot be written.
    """
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        separator = "{\n"
        for prediction in predictions:
            rows = prediction.proposals.tolist() if prediction.proposals is not None else []
            file.write(f"{separator}{json.dumps(file_name(prediction.file, short))}: {json.dumps(rows)}")
            separator = ",\n"
        file.write("\n}\n" if separator != "{\n" else "{}\n")


def write_scores(path: Path, predictions: Iterable[VideoPrediction], short: bool = False) -> None:
    """Write ``prediction.txt``; clips without a score have no line; `short` names clips within their part.

    Raises UsageError when it cannot be written.
    """
    with (
        replacing(path) as temporary,
        open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        for prediction in predictions:
            if prediction.score is not None:
                file.write(f"{file_name(prediction.file, short)};{prediction.score!r}\n")


def read_predictions(
    files: Sequence[str], proposals: Path | None, scores: Path | None
) -> tuple[VideoPrediction, ...]:
    """Predictions for `files`, in their order, from either file or both.

    Raises InputError as `read_proposals` and `read_scores` do.
    """
    proposed = read_proposals(proposals, files) if proposals is not None else {}
    scored = read_scores(scores, files) if scores is not None else {}
    return tuple(VideoPrediction(file, proposed.get(file), scored.get(file)) for file in files)


def _read(
    path: Path,
    files: Sequence[str],
    entries: Iterator[tuple[str, str, Any]],
    convert: Callable[[str, str, Any, Faults], Any],
) -> dict[str, Any]:
    names, faults, values = known_names(files), Faults(path), dict[str, Any]()
    for place, name, value in entries:
        file, row = names.get(name), f"{place}{name!r}"
        if file is None:
            faults.add(f"{row} is not in this split")
        elif file in values:
            faults.add(f"{row} occurs more than once")
        else:
            values[file] = convert(file, row, value, faults)
    for file in files:
        if file not in values:
            faults.add(f"{file!r} is missing (write an empty list where nothing was found)")
    faults.raise_if_any()
    return values


def known_names(files: Sequence[str]) -> dict[str, str]:
    """Every way to name each file; the name within its part only where that is unambiguous."""
    short: dict[str, str | None] = {}
    for file in files:
        name = file_name(file, short=True)
        short[name] = file if name not in short else None
    return {name: file for name, file in short.items() if file is not None} | {file: file for file in files}


def file_name(file: str, short: bool) -> str:
    """`file`, a name relative to the data set's root; with `short` relative to its part of the set."""
    parts = PurePosixPath(file).parts
    return "/".join(parts[1:]) if short and len(parts) > 1 else file


def _proposals(rules: Rules, file: str, row: str, value: Any, faults: Faults) -> NDArray[np.float64]:
    empty = np.zeros((0, 3))
    if not isinstance(value, list):
        faults.add(f"{row} has {shortened(value)} where a list of proposals should be")
        return empty
    if not value and rules.padded:
        faults.add(f"{row} has an empty list, on which the server's reader fails: write [[0, 0, 0]]")
    for number, one in enumerate(value):
        if type(one) is not list or len(one) != 3 or not all(type(x) in (int, float) for x in one):
            faults.add(f"{row} #{number} {shortened(one)} is not [confidence, start, end]")
            return empty
    try:
        rows = np.array(value, np.float64).reshape(-1, 3)
    except OverflowError:
        faults.add(f"{row} has a number too large for a float")
        return empty
    last_s = rules.lengths_s.get(file, math.inf)
    wrong = (
        ~np.isfinite(rows).all(axis=1) | (rows[:, 1] < 0) | (rows[:, 2] < rows[:, 1]) | (rows[:, 2] > last_s)
    )
    wrong |= (rows[:, 0] < 0) & rules.positive
    for number in np.flatnonzero(wrong).tolist():
        faults.add(f"{row} #{number} {shortened(rows[number].tolist())} {_fault(rows[number], last_s)}")
    return rows


def _fault(row: NDArray[np.float64], last_s: float) -> str:
    if not math.isfinite(row[0]):
        return "has a score that is not a number"
    if not np.isfinite(row).all():
        return "has a time that is not a number"
    if row[1] < 0:
        return "starts before 0"
    if row[2] < row[1]:
        return "ends before it starts"
    return f"ends after its clip does, at {last_s:g} s" if row[2] > last_s else "has a score below 0"


def _score(rules: Rules, file: str, row: str, value: Any, faults: Faults) -> float:
    return number(value, row, faults, rules.shares)


def number(value: Any, row: str, faults: Faults, share: bool = False) -> float:
    """`value` as a finite number, with `share` one in [0, 1]; otherwise NaN or the number, and a fault of `row`."""
    try:
        parsed = float(value)
    except (TypeError, ValueError):
        parsed = math.nan
    if not math.isfinite(parsed):
        faults.add(f"{row} has the score {shortened(value)}, which is not a number")
    elif share and not 0 <= parsed <= 1:
        faults.add(f"{row} has the score {shortened(value)}, which is not between 0 and 1")
    return parsed


def _lines(path: Path, text: str) -> Iterator[tuple[str, str, str]]:
    for count, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            name, separator, score = line.rpartition(";")
            if not separator:
                raise InputError(f"line {count} is not of the form file;score: {shortened(line)}", path)
            yield f"line {count}, ", name.strip(), score.strip()


def _entries(path: Path, text: str) -> Iterator[tuple[str, str, Any]]:
    """Keys and values of the JSON object in `path`, one at a time: as a whole it would take many times its size."""
    decode = json.JSONDecoder().raw_decode
    at, count = _skip(text, 0), 0
    if text[at : at + 1] != "{":
        raise InputError('is not of the form {"file": [[confidence, start, end], ...], ...}', path)
    at = _skip(text, at + 1)
    while count or text[at : at + 1] != "}":
        try:
            name, at = decode(text, at)
            at = _skip(text, at)
            if not isinstance(name, str) or text[at : at + 1] != ":":
                raise ValueError
            value, at = decode(text, _skip(text, at + 1))
        except (ValueError, RecursionError):
            line = text.count("\n", 0, at) + 1
            problem = f"is cut off or damaged after {count} entries, near line {line}"
            raise InputError(problem, path, "write it again as JSON") from None
        yield "", name, value
        count, at = count + 1, _skip(text, at)
        if text[at : at + 1] != ",":
            break
        at = _skip(text, at + 1)
    if text[at : at + 1] != "}" or _skip(text, at + 1) != len(text):
        raise InputError(f"is cut off or damaged after {count} entries", path, "write it again as JSON")


def read_text(path: Path) -> str:
    """The text of `path`. Raises InputError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")  # PowerShell begins files with a mark
    except (OSError, ValueError) as error:
        raise InputError(f"not readable as text ({error})", path, "check the path") from None


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space is not None else at


def shortened(value: Any) -> str:
    """`value` as Python writes it, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
