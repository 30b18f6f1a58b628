"""Reports without an answer, or with half of one: no form of them may read as a clean bill."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from report_factory import abstained, authentic, build, faceless, finding, forged, gaps
from report_page import shown

from data.errors import InputError
from pipeline.report.exports import export_text
from pipeline.report.folder import Outcome, index_csv, index_html, ranked, table
from pipeline.report.json import dumps, loads
from pipeline.report.model import Report
from pipeline.report.page import finding as sentence_of
from pipeline.report.rows import summary, verdict

NO_FACE = "no face was found in the picture"
NO_SPEECH = "no speech was found in the sound"


def with_label(label: str, **changes: Any) -> Report:
    """A report on the forged sound alone, the picture having no face."""
    shares = build(label).probabilities
    return replace(
        faceless(), finding=finding("forged", **{"label": label, "probabilities": shares, **changes})
    )


def test_no_answer_is_a_sentence_with_its_reasons() -> None:
    page = shown(abstained())
    assert page.one(id="finding").text == f"Not assessable: {NO_FACE}, and {NO_SPEECH}."
    assert page.one(id="verdict").attributes["data-label"] == "not_assessable"
    assert not page.all(id="decision")
    assert "probab" not in page.one("body").text.lower()
    words = page.one(id="verdict").words
    assert "This is no answer." in words
    assert f"Picture: not assessable: {NO_FACE}" in words
    assert f"Sound: not assessable: {NO_SPEECH}" in words
    assert "No forgery found" not in page.html
    assert [each.attributes["data-lane"] for each in page.has("data-lane")] == [
        "forged-visual", "forged-audio", "forged-both"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        (
            faceless(),
            "No forgery found in the sound; the picture is not assessable. "
            "Only 41.6 % of the clip's picture and sound could be judged.",
        ),
        (
            with_label("audio"),
            "The sound looks forged; the picture is not assessable. No interval reached the threshold.",
        ),
        (
            with_label("audio", intervals=build("audio", [(3.0, 4.0, "audio", 0.8)]).intervals),
            "The sound looks forged; the picture is not assessable. 1 span found.",
        ),
    ],
)  # fmt: skip
def test_half_an_answer_says_which_half(report: Report, sentence: str) -> None:
    assert sentence_of(report) == sentence
    assert verdict(report).startswith(sentence[0].lower() + sentence[1:].split(".")[0] + " (")
    words = shown(report).one(id="verdict").words
    assert "Not the whole clip was analysed." in words
    assert f"Picture: not assessable: {NO_FACE}" in words
    assert "100.0 % of 6.00 s analysed, 1 stretch not assessed" in words


def test_the_timeline_shows_what_was_not_assessed_as_a_gap() -> None:
    page = shown(faceless())
    data = json.loads(page.one(id="data").text)
    assert data["gaps"] == {"visual": [[0.0, 6.0]], "audio": [[1.0, 2.0]], "both": [[0.0, 6.0]]}
    assert "joint" not in data["curves"]
    cells = [each.words for each in page.all("td")]
    assert NO_FACE in cells
    assert "00:00:01.000 – 00:00:02.000" in cells
    assert "not decoded, or not assessed" in page.html


def test_where_all_was_assessed_the_page_has_no_word_of_it() -> None:
    for report in (authentic(), gaps(), forged()):
        assert "assess" not in re.sub(r"<(style|script)[^>]*>.*?</\1>", "", shown(report).html, flags=re.S)


def test_the_summary_says_it_too() -> None:
    lines = summary(abstained(), "a.mp4")
    assert lines[0] == f"a.mp4: not assessable: {NO_FACE}, and {NO_SPEECH}"
    assert lines[1] == "  analysed: picture not assessable, sound not assessable"
    assert lines[2:4] == [f"  warning: not assessable: {reason}" for reason in (NO_FACE, NO_SPEECH)]


def test_exports_that_can_say_so_do() -> None:
    assert f"Not assessable: {NO_FACE}. Not assessable: {NO_SPEECH}." in export_text(abstained(), "vtt")
    assert f"\n* COMMENT: Not assessable: {NO_FACE}.\n" in export_text(abstained(), "edl")
    assert NO_SPEECH in json.loads(export_text(abstained(), "otio"))["metadata"]["rt-deeploc"]["note"]
    assert export_text(abstained(), "csv").count("\n") == 1
    assert "assessable" not in export_text(forged(), "vtt") + export_text(forged(), "edl")


def test_a_strangers_reason_stays_one_line_and_no_markup() -> None:
    bad = "a\n000  AX <script>alert(1)</script>\u202e"
    whole = abstained()
    judged = whole.assessment["visual"]
    assert judged is not None
    report = replace(whole, assessment={**whole.assessment, "visual": replace(judged, reason=bad)})
    page = shown(report)
    assert "<script>alert" not in page.html
    assert "\u202e" not in page.html
    assert "\n000  AX" not in export_text(report, "edl") + export_text(report, "vtt")
    assert "\n" not in Outcome.of("a", report).note


def test_a_folder_lists_it_without_a_score_between_answers_and_failures() -> None:
    rows = [
        Outcome.failed("0.mp4", "is empty"),
        Outcome.of("a.mp4", abstained()),
        Outcome.of("b.mp4", faceless()),
        Outcome.of("c.mp4", forged()),
    ]
    order = ranked(rows)
    assert [row.file for row in order] == ["c.mp4", "b.mp4", "a.mp4", "0.mp4"]
    assert [row.note for row in order] == [
        "",
        "picture not assessable, only 41.6 % could be judged",
        f"{NO_FACE}, {NO_SPEECH}",
        "is empty",
    ]
    assert order[2].score is None
    assert "not assessable" in index_html(order)
    assert "not_assessable" in index_csv(order)
    assert (
        len(
            {
                line.index(mark)
                for line, mark in zip(table(order)[1:4], ("verdict", "forged", "no forgery"), strict=True)
            }
        )
        == 1
    )


def test_no_answer_survives_json() -> None:
    for report in (abstained(), faceless()):
        back = loads(dumps(report))
        assert dumps(back) == dumps(report)
        assert back.finding == report.finding
        assert back.assessment == report.assessment


def test_an_answer_needs_something_to_rest_on() -> None:
    document = json.loads(dumps(authentic()))
    document["assessment"] = json.loads(dumps(abstained()))["assessment"]
    with pytest.raises(InputError, match="an answer though no track is assessable"):
        loads(json.dumps(document))
