"""One line of a table of measurements."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Row(NamedTuple):
    """What was measured, the number with its unit ("x": times what it is compared with), and what that is."""

    what: str
    value: float
    unit: str
    against: str


def markdown(rows: Iterable[Row]) -> str:
    """The table."""
    lines = ["| what | | against |", "| --- | --- | --- |"]
    lines += [f"| {row.what} | {number(row.value)} {row.unit} | {row.against} |" for row in rows]
    return "\n".join(lines)


def number(value: float) -> str:
    """Three significant digits, or five decimals where it is nearly one, as cosines are."""
    if 0.99 < value < 1.01 and value != 1:
        return f"{value:.5f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
