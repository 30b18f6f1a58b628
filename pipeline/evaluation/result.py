"""The result of an evaluation: one list of rows, which JSON, CSV and Markdown are made of."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.labels import CLASSES

_COUNTS = frozenset(("clips", "segments", "steps"))
_MILLISECONDS = "ms"


@dataclass(frozen=True)
class Row:
    """One number, with the bounds of its 95 % interval where there is one; NaN: none.

    A share in [0, 1], a count, or milliseconds where `metric` ends in "ms".
    """

    table: str
    group: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """How good predictions of one split are.

    `clips` by class, `segments` in them, `rows` of all tables, `confusion` (4, 4) with the truth in rows, `notes`
    on what did not go as it should, `bootstrap`: replicates, what was drawn, seed.
    """

    dataset: str
    split: str
    clips: Mapping[str, int]
    segments: int
    rows: tuple[Row, ...]
    confusion: NDArray[np.int64] | None
    notes: tuple[str, ...]
    bootstrap: Mapping[str, Any]

    def value(self, table: str, metric: str, group: str = "all") -> float:
        """One number. Raises KeyError for unknown names."""
        for row in self.rows:
            if (row.table, row.group, row.metric) == (table, group, metric):
                return row.value
        raise KeyError((table, group, metric))

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables in order."""
        return tuple(dict.fromkeys(row.table for row in self.rows))

    def to_json(self) -> str:
        """All of it as JSON: tables by name, group and metric; shares, not percent; null where there is no number."""
        tables: dict[str, dict[str, dict[str, Any]]] = {}
        for row in self.rows:
            entry = {"value": jsonable(row.value)}
            if row.low is not None:
                entry |= {"low": jsonable(row.low), "high": jsonable(row.high)}
            tables.setdefault(row.table, {}).setdefault(row.group, {})[row.metric] = entry
        document = {
            "dataset": self.dataset,
            "split": self.split,
            "clips": dict(self.clips),
            "segments": self.segments,
            "tables": tables,
            "confusion": self.confusion.tolist() if self.confusion is not None else None,
            "notes": list(self.notes),
            "bootstrap": dict(self.bootstrap),
        }
        return json.dumps(document, indent=1, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """One line per number: table, group, metric, value, low, high."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["table", "group", "metric", "value", "low", "high"])
        for row in self.rows:
            values = (row.value, row.low, row.high)
            cells = ["" if v is None or math.isnan(v) else f"{v:.6g}" for v in values]
            writer.writerow([row.table, row.group, row.metric, *cells])
        return buffer.getvalue()

    def markdown(self) -> str:
        """Tables for people, in percent, with intervals in brackets."""
        clips = ", ".join(f"{count} {name}" for name, count in self.clips.items())
        lines = [
            f"# {self.dataset}, {self.split}",
            "",
            f"{clips} clips; {self.segments} forged segments.",
            "",
        ]
        for note in self.notes:
            lines += [f"**Note:** {note}.", ""]
        for table in self.tables:
            rows = [row for row in self.rows if row.table == table]
            metrics = list(dict.fromkeys(row.metric for row in rows))
            cells = {(row.group, row.metric): _cell(row) for row in rows}
            body = [
                [group, *(cells.get((group, metric), "–") for metric in metrics)]
                for group in dict.fromkeys(row.group for row in rows)
            ]
            lines += [f"## {table}", "", *grid([["", *metrics], *body]), ""]
        if self.confusion is not None:
            body = [
                [name, *map(str, row)] for name, row in zip(CLASSES, self.confusion.tolist(), strict=True)
            ]
            lines += ["## true class (rows) by predicted class", "", *grid([["", *CLASSES], *body]), ""]
        if self.bootstrap["replicates"]:
            lines.append(
                f"Shares in percent; in brackets the 95 % interval of {self.bootstrap['replicates']} samples of the "
                f"{self.bootstrap['over']} (seed {self.bootstrap['seed']})."
            )
        else:
            lines.append("Shares in percent.")
        return "\n".join(lines) + "\n"


def _cell(row: Row) -> str:
    if row.metric in _COUNTS:
        return f"{row.value:,.0f}"
    if math.isnan(row.value):
        return "–"
    if row.metric.endswith(_MILLISECONDS):
        return f"{row.value:,.0f}"
    text = f"{100 * row.value:.2f}"
    if row.low is None or row.high is None or math.isnan(row.low):
        return text
    return f"{text} ({100 * row.low:.1f}–{100 * row.high:.1f})"


def grid(rows: list[list[str]]) -> list[str]:
    """A Markdown table, header first, that can be read as it is."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    padded = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))]
        padded.append(f"| {' | '.join(cells)} |")
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return [padded[0], rule, *padded[1:]]


def jsonable(value: float | None) -> float | None:
    """`value`, or None where it is no finite number: JSON has no other."""
    return value if value is not None and math.isfinite(value) else None
