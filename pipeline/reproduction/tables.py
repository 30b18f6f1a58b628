"""Ours beside the paper's figures: means over seeds, differences, Markdown, CSV and JSON from one list of lines."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.evaluation.result import grid
from pipeline.reproduction.published import AVERAGES, BUDGETS, IOUS, Published

PAPER_RULES, HONEST_RULES = "paper", "honest"
PROTOCOLS = (PAPER_RULES, HONEST_RULES)

DIFFERS = "sets differ"
_NONE = "–"


@dataclass(frozen=True)
class Spread:
    """One number in percent, measured once for each seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Standard deviation of a sample (n - 1); None for one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + (f" ± {self.std:.2f}" if self.std is not None else "")


@dataclass(frozen=True)
class Line:
    """One method: `published` by column, and `ours` by protocol and column; either may be empty."""

    method: str
    supervision: str
    published: Mapping[str, float] = field(default_factory=dict)
    ours: Mapping[str, Mapping[str, Spread]] = field(default_factory=dict)

    def difference(self, column: str) -> float | None:
        """Ours under the paper's rules less what is published, in points; None where one of them is missing."""
        spread = self.ours.get(PAPER_RULES, {}).get(column)
        return (
            spread.mean - self.published[column] if spread is not None and column in self.published else None
        )

    @property
    def seeds(self) -> int:
        """How many runs stand behind ours."""
        return max((len(one.values) for by in self.ours.values() for one in by.values()), default=0)


def measured(documents: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dict[str, dict[str, Spread]]:
    """Values by protocol and column from evaluations as JSON, one for each seed; those without a number are left out.

    An evaluation without one of the tables, which `pipeline evaluate` writes by default, raises KeyError.
    """
    spreads: dict[str, dict[str, Spread]] = {}
    for protocol in PROTOCOLS if documents else ():
        rows = [document["tables"][f"localization, {protocol}"]["all"] for document in documents]
        for column in columns:
            values = [row[column]["value"] for row in rows]
            shares = tuple(100 * value for value in values if value is not None)
            if shares:
                spreads.setdefault(protocol, {})[column] = Spread(shares)
    return spreads


def lines(
    rows: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
    published: Sequence[Published],
    columns: Sequence[str],
    fully: Collection[str] = (),
) -> tuple[Line, ...]:
    """Ours joined to the paper's rows by name, in the paper's order where it has rows that we have not.

    What only we have then stands before the paper's last row, its own method; those in `fully` are fully supervised.
    """
    ours = {name: measured(documents, columns) for name, documents in rows}
    printed = {row.method: row for row in published}
    if printed.keys() <= ours.keys():
        order = list(ours)
    else:
        *names, last = printed
        order = [*names, *(name for name in ours if name not in printed), last]
    return tuple(
        Line(
            name,
            printed[name].supervision if name in printed else "fully" if name in fully else "weakly",
            printed[name].values if name in printed else {},
            ours.get(name, {}),
        )
        for name in order
    )


@dataclass(frozen=True)
class Table:
    """One of the paper's tables beside ours.

    `columns` beyond the averages get a part of their own. `comparable`: our clips are the paper's, so that a
    difference means something. `facts` say how the numbers came about.
    """

    name: str
    title: str
    section: str
    lines: tuple[Line, ...]
    columns: tuple[str, ...]
    comparable: bool
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """Averages as ours | paper | difference, then every column, then how the numbers came about."""
        parts = [f"# {self.title}", "", f"The paper's section {self.section}. In percent.", ""]
        for note in self.notes:
            parts += [f"**Note:** {note}.", ""]
        parts += [*grid([*self._averages()]), ""]
        for heading, chosen in (("mAP at IoU", (*IOUS, "mAP")), ("AR at proposals", (*BUDGETS, "mAR"))):
            if set(chosen) <= set(self.columns):
                parts += [f"## {heading}", "", *grid([*self._details(chosen)]), ""]
        if self.facts:
            parts += ["## How", "", *(f"- {name}: {_words(value)}" for name, value in self.facts.items()), ""]
        return "\n".join(parts)

    def to_csv(self) -> str:
        """One line per method, protocol and column; empty where there is nothing."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(_FIELDS)
        for cell in self._cells():
            writer.writerow(
                [f"{v:.4f}" if isinstance(v, float) else "" if v is None else v for v in cell.values()]
            )
        return buffer.getvalue()

    def to_json(self) -> str:
        """All of it, with the value of each seed."""
        document = {
            "table": self.name,
            "title": self.title,
            "section": self.section,
            "unit": "percent",
            "comparable": self.comparable,
            "notes": list(self.notes),
            "facts": dict(self.facts),
            "lines": [
                {
                    "method": line.method,
                    "supervision": line.supervision,
                    "published": dict(line.published),
                    "ours": {
                        protocol: {column: list(one.values) for column, one in by.items()}
                        for protocol, by in line.ours.items()
                    },
                }
                for line in self.lines
            ],
            "cells": list(self._cells()),
        }
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def _averages(self) -> Iterator[list[str]]:
        header = ["method", "trained"]
        for column in AVERAGES:
            header += [f"{column}: ours", "paper", "difference", "honest rules"]
        yield header
        for line in self.lines:
            row = [line.method, line.supervision]
            for column in AVERAGES:
                row += [
                    self._own(line, PAPER_RULES, column),
                    _number(line.published.get(column)),
                    self._gap(line, column),
                    self._own(line, HONEST_RULES, column),
                ]
            yield row

    def _details(self, columns: Sequence[str]) -> Iterator[list[str]]:
        yield ["method", "whose", *columns]
        for line in self.lines:
            if line.ours:
                yield [line.method, "ours", *(self._own(line, PAPER_RULES, c) for c in columns)]
            if line.published:
                whose = "paper" if line.ours else "paper, not re-run"
                yield [line.method, whose, *(_number(line.published.get(c)) for c in columns)]
            if line.ours and line.published and self.comparable:
                yield [line.method, "difference", *(self._gap(line, c) for c in columns)]
            if line.ours:
                yield [
                    line.method,
                    "ours, honest rules",
                    *(self._own(line, HONEST_RULES, c) for c in columns),
                ]

    def _own(self, line: Line, protocol: str, column: str) -> str:
        spread = line.ours.get(protocol, {}).get(column)
        return str(spread) if spread is not None else "not re-run" if not line.ours else _NONE

    def _gap(self, line: Line, column: str) -> str:
        difference = line.difference(column)
        if difference is None:
            return _NONE
        return f"{difference:+.2f}" if self.comparable else DIFFERS

    def _cells(self) -> Iterator[dict[str, Any]]:
        for line in self.lines:
            for protocol in PROTOCOLS:
                for column in self.columns:
                    spread = line.ours.get(protocol, {}).get(column)
                    fits = protocol == PAPER_RULES
                    values = (
                        line.method,
                        line.supervision,
                        protocol,
                        column,
                        spread.mean if spread is not None else None,
                        spread.std if spread is not None else None,
                        len(spread.values) if spread is not None else 0,
                        line.published.get(column) if fits else None,
                        line.difference(column) if fits and self.comparable else None,
                    )
                    if spread is not None or values[7] is not None:
                        yield dict(zip(_FIELDS, values, strict=True))


_FIELDS = ("method", "supervision", "protocol", "column", "ours", "std", "seeds", "paper", "difference")


def _number(value: float | None) -> str:
    return _NONE if value is None or math.isnan(value) else f"{value:.2f}"


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return f"{value:,.1f}" if isinstance(value, float) else str(value)
