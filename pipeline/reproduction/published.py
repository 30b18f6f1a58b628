"""What the paper prints, in percent: Tables 1 to 3 and the two points of Figure 3 that its text gives.

Errata: the four rows without a name at the end of Table 1's LAV-DF block repeat those of AV-Deepfake1M and are left
out; the ticks of Table 3 are garbled, and the rows are named after section 4.5.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Supervision = Literal["fully", "weakly"]

IOUS = tuple(f"AP@{k / 10:g}" for k in range(1, 8))
BUDGETS = ("AR@20", "AR@10", "AR@5", "AR@2")
COLUMNS = (*IOUS, "mAP", *BUDGETS, "mAR")
"""Columns of Tables 1 and 2, by the names that `pipeline.evaluation.metrics` gives them."""

AVERAGES = ("mAP", "mAR")
"""Columns of Table 3 and of Figure 3."""


@dataclass(frozen=True)
class Published:
    """One row: what the method was trained with, and its values in percent by column."""

    method: str
    supervision: Supervision
    values: Mapping[str, float]


def _row(supervision: Supervision, method: str, values: str) -> Published:
    numbers = [float(value) for value in values.split()]
    return Published(method, supervision, dict(zip(COLUMNS, numbers, strict=True)))


def _averages(method: str, ap: float, ar: float) -> Published:
    return Published(method, "weakly", {"mAP": ap, "mAR": ar})


TABLE_1: Mapping[Literal["lavdf", "avdeepfake1m"], tuple[Published, ...]] = {
    "lavdf": (
        _row("fully", "ActionFormer", "97.97 97.69 97.27 96.78 96.28 95.51 94.61 96.59 99.17 99.02 98.41 95.95 98.14"),
        _row("fully", "TriDet", "94.99 94.74 94.35 93.83 93.19 92.20 90.67 93.42 97.12 96.93 96.31 93.68 96.01"),
        _row("fully", "UMMAFormer", "97.69 97.57 97.37 97.11 96.70 95.96 94.90 96.76 98.63 98.53 98.22 95.14 97.63"),
        _row("fully", "MFMS", "98.00 97.91 97.78 97.63 97.31 96.69 95.79 97.30 98.94 98.86 98.62 95.61 98.01"),
        _row("weakly", "CoLA", "31.25 25.93 19.42 13.35 8.59 5.23 2.71 15.21 41.19 41.18 40.84 37.79 40.25"),
        _row("weakly", "FuSTAL", "31.55 25.40 19.16 13.48 8.91 5.58 2.95 15.29 39.07 39.05 38.75 36.09 38.24"),
        _row("weakly", "SAL", "12.72 3.86 1.78 1.04 0.58 0.26 0.09 2.90 15.56 15.53 15.47 14.55 15.28"),
        _row("weakly", "LOCO", "62.40 55.09 50.78 45.18 36.84 31.65 28.02 44.28 52.31 52.31 52.31 52.19 52.28"),
        _row("weakly", "RT-DeepLoc", "90.14 86.61 81.06 75.29 67.43 59.26 50.31 72.87 84.18 84.18 84.18 83.61 84.03"),
    ),
    "avdeepfake1m": (
        _row("fully", "ActionFormer", "67.30 67.27 67.24 67.16 67.02 66.65 65.45 66.87 83.09 82.91 82.56 78.70 81.82"),
        _row("fully", "TriDet", "55.68 55.60 55.43 55.14 54.69 53.82 51.73 54.58 74.89 74.17 72.85 67.95 72.47"),
        _row("fully", "UMMAFormer", "91.76 91.67 91.51 91.28 90.97 90.40 88.99 90.94 95.01 94.59 93.90 89.54 93.26"),
        _row("fully", "MFMS", "94.67 94.63 94.58 94.48 94.32 93.92 92.53 94.16 96.69 96.43 95.98 91.97 95.27"),
        _row("weakly", "CoLA", "3.22 1.09 0.39 0.14 0.05 0.02 0.01 0.70 20.71 19.95 16.13 8.17 16.24"),
        _row("weakly", "FuSTAL", "3.03 1.02 0.40 0.15 0.05 0.02 0.01 0.67 19.67 18.62 14.55 7.08 14.98"),
        _row("weakly", "LOCO", "1.25 0.30 0.10 0.03 0.01 0.00 0.00 0.24 10.40 10.11 8.48 3.99 8.25"),
        _row("weakly", "RT-DeepLoc", "48.94 45.21 41.94 37.87 29.41 19.20 7.68 32.89 49.00 48.95 48.62 47.03 48.40"),
    ),
}  # fmt: skip
"""Section 4.3."""

TABLE_2 = (
    _row("fully", "UMMAFormer", "13.93 13.56 13.13 12.76 12.42 12.14 11.83 12.82 32.35 31.98 31.54 30.43 31.58"),
    _row("fully", "MFMS", "13.48 12.66 12.01 11.52 11.04 10.59 10.06 11.62 35.38 32.86 30.51 27.49 31.56"),
    _row("weakly", "CoLA", "1.35 0.13 0.03 0.01 0.01 0.01 0.01 0.22 20.71 19.95 16.13 8.17 11.06"),
    _row("weakly", "LOCO", "0.27 0.04 0.01 0.00 0.00 0.00 0.00 0.05 5.95 5.95 5.72 3.54 5.29"),
    _row("weakly", "RT-DeepLoc", "21.81 20.36 18.39 16.63 14.88 13.47 11.06 16.66 82.41 82.41 82.39 77.55 81.19"),
)  # fmt: skip
"""Section 4.4: trained on AV-Deepfake1M, tested on LAV-DF. CoLA's AR@N are those of Table 1, its mean is not."""

TABLE_3 = (
    _averages("no FDN (hence no AICL, no MTLR)", 62.26, 81.75),
    _averages("FDN + AICL", 68.03, 82.71),
    _averages("FDN + MTLR", 69.70, 83.72),
    _averages("FDN + AICL + MTLR", 72.87, 84.03),
)
"""Section 4.5.1, on LAV-DF."""

FIGURE_3 = (_averages("K = 10", 72.87, 84.03), _averages("ρ = 0.75", 72.87, 84.03))
"""Section 4.5.2, on LAV-DF; the other points are curves without numbers."""
