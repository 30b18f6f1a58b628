"""One row per file of a folder: the closing table, index.csv and index.html are built from the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields

from data.labels import NAMES
from data.text import printable
from pipeline.report.exports import csv_table
from pipeline.report.html import asset, page
from pipeline.report.model import NOTE, Report
from pipeline.report.rows import VERDICTS

FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The row of one file in a folder's index; rounded as written, None where nothing is known.

    `score` is 1 - P(real): what clips are ranked by, since it exists for every clip that could be judged and does not
    depend on where the threshold of intervals lies. `interval_score` is the highest score of an interval. `page` is
    the URL of the file's page relative to the folder's.
    """

    file: str
    verdict: str
    score: float | None = None
    interval_score: float | None = None
    intervals: int | None = None
    duration_s: float | None = None
    note: str = ""
    sha256: str = ""
    page: str | None = None

    @classmethod
    def of(cls, name: str, report: Report, page: str | None = None) -> Outcome:
        """The outcome of an analysed file."""
        duration_s = report.input.duration_s
        return cls(
            file=printable(name),
            verdict=report.label,
            score=round(1 - report.probabilities["real"], 4) if report.probabilities is not None else None,
            interval_score=max((round(found.score, 4) for found in report.intervals), default=None),
            intervals=len(report.intervals),
            duration_s=round(duration_s, 3) if duration_s is not None else None,
            note=_note(report),
            sha256=report.input.sha256,
            page=page,
        )

    @classmethod
    def failed(cls, name: str, reason: str) -> Outcome:
        """The outcome of a file that could not be analysed."""
        return cls(printable(name), FAILED, note=printable(reason))


def _note(report: Report) -> str:
    """Why the answer does not hold for all of the clip; empty where it does."""
    notes = [f"{NAMES[name]} not assessable" for name in report.doubts]
    if not notes:
        if report.complete:
            return ""
        decoded = all(track is None or track.fraction >= 1 for track in report.coverage.values())
        passed_over = any(track.evidence for track in report.input.not_analysed)
        return "not all tracks analysed" if decoded and passed_over else "partly decoded"
    # Without a score the reasons are what there is to say.
    return ", ".join(notes if report.probabilities is not None else map(printable, report.doubts.values()))


def ranked(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Highest score first, then files without an answer, failed ones at the end; equal ones by name."""

    def key(outcome: Outcome) -> tuple[float, bool, str]:
        return (
            (-outcome.score if outcome.score is not None else 1.0),
            outcome.verdict == FAILED,
            outcome.file,
        )

    return sorted(outcomes, key=key)


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """The closing table of a folder, one line per file."""
    width = max(len(outcome.file) for outcome in outcomes)
    wide = max(7, *(len(outcome.verdict) for outcome in outcomes))
    lines = ["", f"{'file':<{width}}  {'verdict':<{wide}}  intervals"]
    for outcome in outcomes:
        count = str(outcome.intervals) if outcome.intervals is not None else ""
        # The reason of a failure has been printed when it happened.
        note = outcome.note if outcome.verdict != FAILED else ""
        lines.append(f"{outcome.file:<{width}}  {outcome.verdict:<{wide}}  {count:>9}  {note}".rstrip())
    failed = sum(outcome.verdict == FAILED for outcome in outcomes)
    return [*lines, f"{len(outcomes) - failed} of {len(outcomes)} file(s) analysed"]


def index_csv(outcomes: Sequence[Outcome]) -> str:
    """A header and one line per file, in the order given; see `csv_table`."""
    header = [field.name for field in fields(Outcome) if field.name != "page"]
    return csv_table(header, (astuple(outcome)[: len(header)] for outcome in outcomes))


def index_html(outcomes: Sequence[Outcome]) -> str:
    """A page that lists the files in the order given; its script, if it may run, sorts and filters them."""
    return page(
        "index.html",
        asset("base.css") + asset("index.css"),
        asset("index.js"),
        outcomes=outcomes,
        failed=sum(outcome.verdict == FAILED for outcome in outcomes),
        words=VERDICTS | {FAILED: "could not be analysed"},
        note=NOTE,
    )
