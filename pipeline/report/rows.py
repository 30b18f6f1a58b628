"""One row per forged interval, for every form of the report, and the text summary."""

from __future__ import annotations

from dataclasses import dataclass

from data.labels import ABSTAINED, NAMES
from data.text import percent, printable, timecode
from pipeline.report.model import NOTE, Report

VERDICTS = {
    "real": "no forgery found",
    "visual": "the picture looks forged",
    "audio": "the sound looks forged",
    "both": "picture and sound look forged",
    ABSTAINED: "not assessable",
}


@dataclass(frozen=True)
class Row:
    """A forged interval, rounded to milliseconds and four digits as it is written; `file` is `printable`."""

    file: str
    start: str
    end: str
    start_s: float
    end_s: float
    modality: str
    score: float


def rows(report: Report) -> tuple[Row, ...]:
    """The report's intervals in order of time."""
    return tuple(
        Row(
            file=printable(report.input.name),
            start=timecode(found.start_s),
            end=timecode(found.end_s),
            start_s=round(found.start_s, 3),
            end_s=round(found.end_s, 3),
            modality=found.modality,
            score=round(found.score, 4),
        )
        for found in sorted(report.intervals, key=lambda found: (found.start_s, found.end_s, found.modality))
    )


def statement(report: Report) -> str:
    """The verdict in words; where a track is not assessable it is about the other one, and says so.

    Without an answer it says why there is none.
    """
    doubts = report.doubts
    if report.probabilities is None:
        return f"{VERDICTS[ABSTAINED]}: {', and '.join(_unanswered(report))}"
    if not doubts:
        return VERDICTS[report.label]
    (doubted,) = doubts
    (judged,) = NAMES.keys() - doubts
    said = f"no forgery found in the {NAMES[judged]}" if report.label == "real" else VERDICTS[report.label]
    return f"{said}; the {NAMES[doubted]} is not assessable"


def _unanswered(report: Report) -> list[str]:
    reasons = []
    for name, track in NAMES.items():
        coverage = report.coverage[name]
        if name in report.doubts:
            reasons.append(printable(report.doubts[name]))
        elif coverage is None:
            reasons.append(
                f"the {track} could not be analysed"
                if report.input.has_other(name)
                else f"there is no {track}"
            )
        else:
            reasons.append(f"nothing of the {track} could be decoded")
    return reasons


def caveats(report: Report) -> list[str]:
    """A line for each track that is not assessable, for exports without intervals."""
    return [f"Not assessable: {printable(reason)}." for reason in report.doubts.values()]


def verdict(report: Report) -> str:
    """One line: the finding, its probability and the branch that was asked for intervals."""
    if report.probabilities is None:
        return statement(report)
    share = report.probabilities[report.label]
    routed = f"{report.route} -> {', '.join(report.branches)}" if report.branches else report.route
    return f"{statement(report)} ({report.label} {share:.2f}, route {routed})"


def summary(report: Report, name: str) -> list[str]:
    """The report on the file `name` as a few lines for people, what was not analysed included."""
    lines = [f"{name}: {verdict(report)}"]
    found = rows(report)
    lines += [f"  {row.start} - {row.end}  {row.modality:<6}  {row.score:.2f}" for row in found]
    if not found and report.label not in ("real", ABSTAINED):
        lines.append("  no interval reached the threshold")
    lines.append("  analysed: " + ", ".join(_analysed(report)))
    if abs(report.input.origin_s) >= 0.001:
        lines.append(
            f"  times count from the start of the clip, {report.input.origin_s:.3f} s on its own clock"
        )
    lines += [f"  warning: {warning}" for warning in report.warnings]
    factor = report.clock.real_time_factor
    speed = f", {factor:.2f} s per second of media" if factor is not None else ""
    lines.append(f"  took {report.clock.elapsed_s:.1f} s on {report.provenance.device}{speed}")
    lines.append(f"  {NOTE}")
    return [printable(line) for line in lines]


def _analysed(report: Report) -> list[str]:
    parts = []
    for track, name in NAMES.items():
        coverage = report.coverage[track]
        if coverage is None:
            parts.append(f"{name} not analysed" if report.input.has_other(track) else f"{name} not present")
        elif track in report.doubts:
            parts.append(f"{name} not assessable")
        else:
            gaps = f" with {len(coverage.gaps)} gap(s)" if coverage.gaps else ""
            parts.append(f"{name} {percent(coverage.fraction)} of {coverage.expected_s:.2f} s{gaps}")
    return parts
