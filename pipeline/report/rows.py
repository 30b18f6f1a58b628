"""One row per forged interval, for every form of the report, and the text summary."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from data.labels import ABSTAINED, NAMES
from data.text import percent, printable, timecode
from pipeline.localization.scores import Finding, ForgedInterval
from pipeline.report.model import NOTE, Report
from pipeline.report.origin import credential_line

WORDS = {**NAMES, "both": " and ".join(NAMES.values())}
"""Names of the modalities in text for users."""

VERDICTS = {
    "forged": "forged",
    "undecided": "undecided",
    "not_found": "no forgery found",
    ABSTAINED: "not assessable",
}
"""Names of the verdicts in text for users."""

_LOOKS = {
    "visual": "the picture looks forged",
    "audio": "the sound looks forged",
    "both": "picture and sound look forged",
}


@dataclass(frozen=True)
class Row:
    """A forged interval, rounded to milliseconds and four digits as it is written; `file` is `printable`.

    `verdict` is that on the whole clip: intervals may be shown on request where that is not "forged". `person` is the
    number of the person whose picture is meant, where several people were seen.
    """

    file: str
    start: str
    end: str
    start_s: float
    end_s: float
    modality: str
    score: float
    verdict: str
    person: int | None = None


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
            verdict=report.verdict,
            person=(found.person or None) if report.several else None,
        )
        for found in in_order(report.intervals)
    )


def in_order(intervals: Iterable[ForgedInterval]) -> list[ForgedInterval]:
    """`intervals` in order of time."""
    return sorted(intervals, key=lambda each: (each.start_s, each.end_s, each.modality, each.person))


def statement(report: Report) -> str:
    """The verdict in words; where a track is not assessable it is about the other one, and says so.

    Without an answer it says why there is none.
    """
    if report.verdict == "not_assessable":
        return f"{VERDICTS[ABSTAINED]}: {', and '.join(_unanswered(report))}"
    doubts = report.doubts
    said = _said(report, next(iter(NAMES.keys() - doubts)) if doubts else None)
    return f"{said}; the {NAMES[next(iter(doubts))]} is not assessable" if doubts else said


def _said(report: Report, judged: str | None) -> str:
    """The verdict on a clip of which only the track `judged` could be judged, where one is named."""
    finding = report.finding
    if finding.verdict == "forged":
        return _LOOKS[finding.label]
    if finding.verdict == "undecided":
        where = WORDS[finding.strongest.modality] if finding.strongest is not None else "clip"
        return f"undecided: {'' if ' and ' in where else 'the '}{where} may be forged"
    return VERDICTS["not_found"] + (f" in the {NAMES[judged]}" if judged is not None else "")


def written(finding: Finding) -> Finding:
    """`finding` as all forms have it: seconds of three digits, scores of four; none reaches a line by rounding."""
    line, floor, likely = round(finding.line, 4), round(finding.floor, 4), finding.probability
    if likely is not None:
        score = round(likely, 4)
        for rounded, exact in ((line, finding.line), (floor, finding.floor)):
            if likely < exact and score >= rounded:
                score = round(rounded - 1e-4, 4)
        likely = score
    return replace(
        finding,
        probability=likely,
        line=line,
        floor=floor,
        strongest=_written(finding.strongest) if finding.strongest is not None else None,
        intervals=tuple(map(_written, finding.intervals)),
        people={number: round(share, 4) for number, share in finding.people.items()},
    )


def _written(interval: ForgedInterval) -> ForgedInterval:
    return replace(
        interval,
        start_s=round(float(interval.start_s), 3),
        end_s=round(float(interval.end_s), 3),
        score=round(float(interval.score), 4),
    )


def reason(report: Report) -> str:
    """Why the line from which clips are called forged was or was not crossed, in one sentence."""
    finding, digits = written(report.finding), _digits(report)
    if finding.probability is None:
        return f"There is no answer, because {' and '.join(_unanswered(report))}."
    scores = f"scores {finding.probability:.{digits}f}"
    called = f"clips are called forged from {finding.line:.{digits}f} on"
    if finding.verdict == "undecided":
        called += f", and undecided from {finding.floor:.{digits}f} on"
    segment = finding.strongest
    if segment is None:
        return f"The clip {scores}; {called}."
    track = f"{'' if segment.modality == 'both' else 'the '}{WORDS[segment.modality]}"
    whose = f" of person {segment.person}" if segment.person and report.several else ""
    span = f"{segment.start_s:.2f} to {segment.end_s:.2f} s of {track}{whose}"
    return f"With its strongest segment, {span}, the clip {scores}; {called}."


def _digits(report: Report) -> int:
    """Digits that it takes to see on which side of each line the score of the clip lies, at least two."""
    finding = written(report.finding)
    score, lines = finding.probability or 0.0, (finding.line, finding.floor)
    for digits in (2, 3):
        if all((score >= line) == (round(score, digits) >= round(line, digits)) for line in lines):
            return digits
    return 4


def promise(report: Report) -> str:
    """How often authentic clips are called forged at this line, in one sentence; empty where that was not measured."""
    stated = report.finding.promise
    if stated is None:
        return ""
    met = stated.bound <= stated.asked
    few = "" if met else f"; too few to promise the {_percent(stated.asked)} asked for"
    where = f"; measured on {printable(stated.population)}" if stated.population else ""
    return (
        f"At this line at most {_percent(stated.bound)} of authentic clips of people it has not seen are called forged "
        f"({_percent(stated.confidence)} confidence; {stated.alarms} of {stated.clips} authentic clips of "
        f"{stated.people} people were{where}{few})."
    )


def _percent(share: float) -> str:
    """A share in per cent with at most one digit, rounded up: no promise is made to look better than it is."""
    return f"{math.ceil(round(1000 * share, 6)) / 10:g} %"


def tone(report: Report) -> str:
    """The verdict, or "limited" where none was found and half of the clip or more could not be judged."""
    if report.verdict == "not_found" and report.judged <= 0.5:
        return "limited"
    return report.verdict


def called(row: Row) -> str:
    """What an export calls an interval: forged only where the clip is."""
    return "forged" if row.verdict == "forged" else "unconfirmed"


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
    """What an export has to say beside its intervals: the verdict where it is not "forged", tracks not assessable."""
    notes = [f"Not assessable: {printable(reason)}." for reason in report.doubts.values()]
    if report.verdict == "undecided" or (report.verdict == "not_found" and report.intervals):
        notes.insert(0, f"Verdict: {VERDICTS[report.verdict]}.")
    return notes


def verdict(report: Report) -> str:
    """One line: the finding and its probability, and the branch where one was asked for."""
    likely = written(report.finding).probability
    if likely is None:
        return statement(report)
    routed = f", route {report.route}" if report.route != "auto" else ""
    return f"{statement(report)} (probability of a forgery {likely:.{_digits(report)}f}{routed})"


def summary(report: Report, name: str) -> list[str]:
    """The report on the file `name` as a few lines for people, what was not analysed included."""
    lines = [f"{name}: {verdict(report)}"]
    if report.verdict != "not_assessable":
        lines.append(f"  {reason(report)}")
    if tone(report) == "limited":
        lines.append(f"  {reach(report)}")
    if promised := promise(report):
        lines.append(f"  {promised}")
    intervals = rows(report)
    if intervals and report.verdict != "forged":
        lines.append("  intervals of the branch that was asked for; they do not make the clip forged:")
    lines += [f"  {row.start} - {row.end}  {row.modality:<6}  {row.score:.2f}{_of(row)}" for row in intervals]
    if not intervals and report.verdict == "forged":
        lines.append("  no interval reached the threshold")
    lines.append("  analysed: " + ", ".join(_analysed(report)))
    if said := who(report):
        lines.append(f"  {said}")
    if abs(report.input.origin_s) >= 0.001:
        lines.append(
            f"  times count from the start of the clip, {report.input.origin_s:.3f} s on its own clock"
        )
    lines += [f"  warning: {warning}" for warning in report.warnings]
    if said := credential_line(report.declared):
        lines.append(f"  {said}")
    factor = report.clock.real_time_factor
    speed = f", {factor:.2f} s per second of media" if factor is not None else ""
    lines.append(f"  took {report.clock.elapsed_s:.1f} s on {report.provenance.device}{speed}")
    lines.append(f"  {NOTE}")
    return [printable(line) for line in lines]


def _of(row: Row) -> str:
    return f"  person {row.person}" if row.person is not None else ""


def who(report: Report) -> str:
    """How many people were seen, and which faces were not judged; empty where one person was seen and nobody else."""
    seen, parts = report.seen, []
    if report.several:
        parts.append(f"{len(seen.people)} people were seen")
        left = [str(person.number) for person in seen.people if person.number not in report.finding.people]
        if report.finding.people and left:
            parts.append(f"not judged, because seen too briefly: person {', '.join(left)}")
    if seen.more:
        parts.append(f"up to {seen.more} more face{'s' if seen.more > 1 else ''} at once not followed")
    if seen.small:
        parts.append(f"up to {seen.small} face{'s' if seen.small > 1 else ''} at once too small to be judged")
    said = "; ".join(parts)
    return said[:1].upper() + said[1:] + "." if said else ""


def reach(report: Report) -> str:
    """How much of the clip could be judged, in a sentence."""
    return f"Only {percent(report.judged)} of the clip's picture and sound could be judged."


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
