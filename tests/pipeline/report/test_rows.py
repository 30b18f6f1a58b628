"""The verdict in words: each form says the same, with the digits that show on which side of the line a score lies."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from report_factory import (
    PROMISE,
    abstained,
    authentic,
    build,
    concluded,
    faceless,
    finding,
    forged,
    gaps,
    one_track,
    undecided,
)

from data.media import Assessment, StreamCoverage
from pipeline.localization.scores import ForgedInterval, class_of
from pipeline.report.exports import export_text
from pipeline.report.json import dumps, loads
from pipeline.report.model import Report
from pipeline.report.rows import promise, reason, statement, summary, tone, verdict, written

SOUND = ForgedInterval(3.2, 4.1, "audio", 0.41)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (forged(), "picture and sound look forged"),
        (one_track("audio"), "the sound looks forged"),
        (undecided(), "undecided: the sound may be forged"),
        (
            concluded(undecided(), strongest=replace(SOUND, modality="both")),
            "undecided: picture and sound may be forged",
        ),
        (concluded(undecided(), strongest=None), "undecided: the clip may be forged"),
        (authentic(), "no forgery found"),
        (faceless(), "no forgery found in the sound; the picture is not assessable"),
        (abstained(), "not assessable: no face was found in the picture, and no speech was found in the sound"),
    ],
)  # fmt: skip
def test_the_verdict_in_words(report: Report, words: str) -> None:
    assert statement(report) == words


def test_the_reason_names_the_segment_the_score_and_the_line() -> None:
    assert reason(undecided()) == (
        "With its strongest segment, 3.20 to 4.10 s of the sound, the clip scores 0.41; "
        "clips are called forged from 0.62 on, and undecided from 0.40 on."
    )
    assert reason(concluded(authentic(), strongest=replace(SOUND, modality="both"))) == (
        "With its strongest segment, 3.20 to 4.10 s of picture and sound, the clip scores 0.15; "
        "clips are called forged from 0.62 on."
    )
    assert reason(concluded(authentic(), strongest=None, probability=0.1)) == (
        "The clip scores 0.10; clips are called forged from 0.62 on."
    )
    assert reason(abstained()).startswith(
        "There is no answer, because no face was found in the picture and no "
    )


@pytest.mark.parametrize(
    ("score", "shown", "number"),
    [
        (0.614, "scores 0.61; clips are called forged from 0.62 on", "0.61"),
        (0.617, "scores 0.617; clips are called forged from 0.620 on", "0.617"),
        (0.6196, "scores 0.6196; clips are called forged from 0.6200 on", "0.6196"),
        (0.61999, "scores 0.6199; clips are called forged from 0.6200 on", "0.6199"),
    ],
)
def test_a_score_below_the_line_is_never_shown_as_reaching_it(score: float, shown: str, number: str) -> None:
    report = concluded(authentic(), probability=score, floor=0.62)
    assert shown in reason(report)
    assert verdict(report) == f"no forgery found (probability of a forgery {number})"
    document = json.loads(dumps(report))
    assert document["probability"] < document["line"]
    assert document["reason"] == reason(report)
    assert dumps(loads(dumps(report))) == dumps(report)


def test_what_reaches_the_line_exactly_is_forged_in_every_digit() -> None:
    segment = ForgedInterval(
        1.0, 1.6, "visual", 0.3
    )  # of little strength in itself: the clip as a whole decides
    report = replace(
        build("visual"), finding=finding("forged", [segment], probability=0.620001, line=0.6200009)
    )
    assert written(report.finding).probability == 0.62
    assert loads(dumps(report)).verdict == "forged"


def test_a_promise_that_could_not_be_kept_says_what_was_asked_for() -> None:
    # 5 of 208 bound at 5.01 %: rounded up, never down.
    weak = replace(PROMISE, asked=0.01, bound=0.0501, alarms=5, population="clips of news and talks")
    assert promise(concluded(forged(), promise=weak)) == (
        "At this line at most 5.1 % of authentic clips of people it has not seen are called forged "
        "(95 % confidence; 5 of 208 authentic clips of 93 people were; measured on clips of news and talks; "
        "too few to promise the 1 % asked for)."
    )


def test_the_terminal_says_verdict_reason_and_promise() -> None:
    lines = summary(undecided(), "a.mp4")
    assert lines[:3] == [
        "a.mp4: undecided: the sound may be forged (probability of a forgery 0.41)",
        f"  {reason(undecided())}",
        f"  {promise(undecided())}",
    ]
    assert verdict(replace(undecided(), route="all")).endswith("(probability of a forgery 0.41, route all)")
    assert "  Only 41.6 % of the clip's picture and sound could be judged." in summary(faceless(), "a.mp4")


def test_half_of_a_clip_that_was_not_judged_takes_the_green_away() -> None:
    def judged(picture_s: float, sound_s: float) -> Report:
        return replace(
            authentic(), assessment={"visual": Assessment(picture_s), "audio": Assessment(sound_s)}
        )

    # Of 12 s of picture and sound together.
    assert (judged(6.0, 3.0).judged, tone(judged(6.0, 3.0))) == (0.75, "not_found")
    assert (judged(6.0, 0.0).judged, tone(judged(6.0, 0.0))) == (0.5, "limited")
    assert faceless().judged == pytest.approx(5 / 12)
    assert abstained().judged == 0
    # Before there was an assessment: what was decoded, 4.5 and 5.5 of 6 s.
    assert gaps().judged == pytest.approx(10 / 12)
    assert tone(concluded(faceless(), verdict="undecided")) == "undecided"


def test_a_track_that_was_passed_over_counts_as_not_judged() -> None:
    from data.media import OtherTrack

    alone = one_track("audio")
    assert alone.judged == 1
    passed_over = OtherTrack(1, "video", "h264", "it is not known")
    report = replace(alone, input=replace(alone.input, not_analysed=(passed_over,)))
    assert report.judged == 0.5
    assert replace(alone, coverage={"visual": None, "audio": StreamCoverage(0.0, 0.0)}).judged == 0


def test_exports_call_an_interval_forged_only_where_the_clip_is() -> None:
    spans = build("visual", [(1.0, 2.0, "visual", 0.7)]).intervals
    shown = replace(concluded(authentic(), intervals=spans), route="all")
    for form in ("vtt", "audacity", "edl", "otio"):
        text = export_text(shown, form)  # type: ignore[arg-type]
        assert "unconfirmed visual 0.70" in text
        assert "forged visual" not in text
    assert "  intervals of the branch that was asked for; they do not make the clip forged:" in summary(
        shown, "a"
    )
    assert "Verdict: no forgery found." in export_text(shown, "vtt")
    assert "* COMMENT: Verdict: no forgery found." in export_text(shown, "edl")
    assert export_text(shown, "csv").splitlines()[1].endswith(',"visual",0.7,"not_found",""')
    assert "Verdict: undecided." in export_text(undecided(), "vtt")
    assert "Verdict" not in export_text(forged(), "vtt")


def test_the_class_of_a_clip_is_the_one_of_its_segments() -> None:
    assert class_of(["visual", "visual"]) == "visual"
    assert class_of(["audio"]) == "audio"
    assert class_of(["visual", "audio"]) == class_of(["both"]) == class_of(["both", "visual"]) == "both"
