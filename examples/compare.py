"""Compare the reports of `pipeline run` with the truth beside the samples, as a table.

    python examples/compare.py demo-out examples/truth.json

The truth is ``{file: {"label": ..., "intervals": [[start_s, end_s, modality], ...]}}``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from data.timeline import Interval

HEADER = ("file", "true class", "found class", "true interval", "best found interval", "tIoU")


def main(reports: Path, truth: Path) -> int:
    """Print the table; the exit code says whether every sample has a report."""
    rows, missing = [HEADER], 0
    for name, expected in sorted(json.loads(truth.read_text(encoding="utf-8")).items()):
        path = reports / f"{name}.json"
        report = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if "label" not in report:
            missing += 1
        rows += compare(name, expected, report)
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 1 if missing else 0


def compare(name: str, expected: dict[str, Any], report: dict[str, Any]) -> list[tuple[str, ...]]:
    """Rows of one sample: one for each true interval, then one for each found interval that meets none of them.

    An interval is compared by time alone; its modality is shown. tIoU is intersection over union of two spans.
    """
    classes = (name, expected["label"], report.get("label", "no report"))
    true = [(Interval(start_s, end_s), modality) for start_s, end_s, modality in expected["intervals"]]
    intervals = [
        (Interval(row["start_s"], row["end_s"]), f"{row['modality']} {row['score']:.2f}")
        for row in report.get("intervals", [])
    ]
    rows: list[tuple[str, ...]] = []
    for span, modality in true:
        best = max(intervals, key=lambda candidate: candidate[0].tiou(span), default=None)
        if best is None or best[0].overlap_s(span) == 0:
            rows.append((*classes, show(span, modality), "missed", "0.00"))
        else:
            rows.append((*classes, show(span, modality), show(*best), f"{best[0].tiou(span):.2f}"))
    for span, note in intervals:
        if not any(span.overlap_s(other) > 0 for other, _ in true):
            rows.append((*classes, "none", show(span, note), "0.00"))
    return rows or [(*classes, "none", "none", "-")]


def show(span: Interval, note: str) -> str:
    """``1.20 - 2.00 s (note)``."""
    return f"{span.start_s:.2f} - {span.end_s:.2f} s ({note})"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/compare.py REPORTS TRUTH")
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
