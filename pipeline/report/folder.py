"""One row per file of a folder: the closing table, index.csv and index.html are built from the same rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields

from data.labels import ABSTAINED, NAMES
from data.text import percent, printable
from pipeline.report.exports import csv_table
from pipeline.report.html import asset, page
from pipeline.report.model import NOTE, Report
from pipeline.report.rows import VERDICTS, WORDS, rows, tone

FAILED = "failed"

_WORDS = {**VERDICTS, FAILED: "could not be analysed"}
"""Verdicts of a folder in words, the most serious first; clips are ranked in this order."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The row of one file in a folder's index; rounded as written, None where nothing is known.

    `label` is what is forged. `score` is the probability that the clip is forged, if forged and authentic clips were
    equally frequent. `interval_score` is the highest score of an interval. `tone` is what the page colours the verdict
    by. `page` is the URL of the file's page relative to the folder's. `people` are the numbers of the people in the
    forged intervals, where several were seen.
    """

    file: str
    verdict: str
    label: str = ""
    score: float | None = None
    interval_score: float | None = None
    intervals: int | None = None
    duration_s: float | None = None
    note: str = ""
    people: str = ""
    sha256: str = ""
    tone: str = ""
    page: str | None = None

    @classmethod
    def of(cls, name: str, report: Report, page: str | None = None) -> Outcome:
        """The outcome of an analysed file."""
        duration_s, likely = report.input.duration_s, report.finding.probability
        return cls(
            file=printable(name),
            verdict=report.verdict,
            label=report.label,
            score=round(likely, 4) if likely is not None else None,
            interval_score=max((round(found.score, 4) for found in report.intervals), default=None),
            intervals=len(report.intervals),
            duration_s=round(duration_s, 3) if duration_s is not None else None,
            note=_note(report),
            people=", ".join(
                map(str, sorted({row.person for row in rows(report) if row.person is not None}))
            ),
            sha256=report.input.sha256,
            tone=tone(report),
            page=page,
        )

    @property
    def words(self) -> str:
        """The verdict in words, with what is forged."""
        forged = f": {WORDS[self.label]}" if self.label in WORDS else ""
        forged += f" of person {self.people}" if self.people and forged else ""
        return _WORDS[self.verdict] + forged

    @classmethod
    def failed(cls, name: str, reason: str) -> Outcome:
        """The outcome of a file that could not be analysed."""
        return cls(printable(name), FAILED, note=printable(reason), tone=FAILED)


def _note(report: Report) -> str:
    """Why the answer does not hold for all of the clip; empty where it does."""
    notes = [f"{NAMES[name]} not assessable" for name in report.doubts]
    if tone(report) == "limited":
        notes.append(f"only {percent(report.judged)} could be judged")
    if not notes:
        if report.complete:
            return ""
        decoded = all(track is None or track.fraction >= 1 for track in report.coverage.values())
        passed_over = any(track.evidence for track in report.input.not_analysed)
        return "not all tracks analysed" if decoded and passed_over else "partly decoded"
    # Without a score the reasons are what there is to say.
    return ", ".join(notes if report.verdict != ABSTAINED else map(printable, report.doubts.values()))


def ranked(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The most serious verdict first, of one verdict the highest score; equal ones by name."""
    order = list(_WORDS)

    def key(outcome: Outcome) -> tuple[int, float, str]:
        score = outcome.score if outcome.score is not None else -1.0
        return order.index(outcome.verdict), -score, outcome.file

    return sorted(outcomes, key=key)


def counts(outcomes: Iterable[Outcome]) -> list[tuple[str, str, int]]:
    """Every verdict, its words, and how many files have it."""
    having = Counter(outcome.verdict for outcome in outcomes)
    return [(verdict, words, having[verdict]) for verdict, words in _WORDS.items()]


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """The closing table of a folder, one line per file."""
    width = max(len(outcome.file) for outcome in outcomes)
    wide = max(7, *(len(outcome.words) for outcome in outcomes))
    lines = ["", f"{'file':<{width}}  {'verdict':<{wide}}  intervals"]
    for outcome in outcomes:
        count = str(outcome.intervals) if outcome.intervals is not None else ""
        # The reason of a failure has been printed when it happened.
        note = outcome.note if outcome.verdict != FAILED else ""
        lines.append(f"{outcome.file:<{width}}  {outcome.words:<{wide}}  {count:>9}  {note}".rstrip())
    failed = sum(outcome.verdict == FAILED for outcome in outcomes)
    verdicts = ", ".join(f"{n} {words}" for verdict, words, n in counts(outcomes) if n and verdict != FAILED)
    analysed = f"{len(outcomes) - failed} of {len(outcomes)} file(s) analysed"
    return [*lines, f"{analysed}: {verdicts}" if verdicts else analysed]


def index_csv(outcomes: Sequence[Outcome]) -> str:
    """A header and one line per file, in the order given; see `csv_table`."""
    header = [field.name for field in fields(Outcome) if field.name not in ("tone", "page")]
    return csv_table(header, (astuple(outcome)[: len(header)] for outcome in outcomes))


def index_html(outcomes: Sequence[Outcome]) -> str:
    """A page that lists the files in the order given; its script, if it may run, sorts and filters them."""
    return page(
        "index.html",
        asset("palette.css") + asset("base.css") + asset("index.css"),
        asset("index.js"),
        outcomes=outcomes,
        counts=counts(outcomes),
        order=list(_WORDS),
        note=NOTE,
    )
