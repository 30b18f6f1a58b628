"""The verdict on the page of a clip: colour, sentence, line, segment and promise say one thing."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import report_factory as factory
from report_page import KINDS, shown

from pipeline.report.html import ASSETS
from pipeline.report.model import Report

VERDICTS = {
    "forged": (factory.forged(), "forged", "scores 0.95; clips are called forged from 0.62 on."),
    "undecided": (factory.undecided(), "undecided", "forged from 0.62 on, and undecided from 0.40 on."),
    "not_found": (factory.authentic(), "not_found", "scores 0.15; clips are called forged from 0.62 on."),
    "limited": (factory.faceless(), "not_found", "scores 0.15; clips are called forged from 0.62 on."),
    "not_assessable": (factory.abstained(), "not_assessable", ""),
}
"""By colour: a report, its verdict, and how the sentence ends that says why."""


@pytest.mark.parametrize("tone", VERDICTS)
def test_each_verdict_has_its_colour_and_says_why(tone: str) -> None:
    report, verdict, why = VERDICTS[tone]
    page = shown(report)
    section = page.one(id="verdict").attributes
    assert (section["data-verdict"], section["data-tone"]) == (verdict, tone)
    assert section["class"].split() == ["card", "verdict", tone]
    for_reason = page.all(id="reason")
    assert [each.text.endswith(why) for each in for_reason] == ([True] if why else [])
    css = (ASSETS / "base.css").read_text()
    (rule,) = re.findall(
        rf"^(?:\.\w+, )*\.{tone}(?:, \.[\w.]+)* {{ --tone: var\((--\w+)\); }}", css, flags=re.M
    )
    colours = {"forged": "--forged", "undecided": "--undecided", "not_found": "--clear"}
    assert rule == colours.get(tone, "--neutral")


def test_the_score_stands_beside_the_line_that_decides() -> None:
    page = shown(factory.undecided())
    assert page.one(id="decision").words == (
        "What decides Score: probability of a forgery0.4100 Undecided from0.4000 Forged from0.6200 "
        "The probability holds for a clip that is as likely forged as not, before anything is known of it."
    )
    score = page.one("rect", **{"class": "score"}).attributes["width"]
    line = page.one("line", **{"class": "decides"}).attributes["x1"]
    zones = [each for each in page.all("rect") if each.attributes.get("class", "").startswith("zone")]
    assert (score, line) == ("41.00", "62.00")
    assert [(z.attributes.get("x", "0"), z.attributes["width"]) for z in zones] == [
        ("0", "40.00"), ("40.00", "22.00"), ("62.00", "38.00"),
    ]  # fmt: skip


def test_a_segment_below_the_line_is_marked_where_it_lies() -> None:
    page = shown(factory.undecided())
    (mark,) = page.all("rect", **{"class": "strongest undecided"})[:1]
    # 3.2 to 4.1 of 6 s are 533.33 to 683.33 of 1000.
    assert (mark.attributes["x"], mark.attributes["width"]) == ("533.33", "150.00")
    assert len(page.all("rect", **{"class": "strongest undecided"})) == 2  # sound score and sound error
    assert page.data["strongest"] == [3.2, 4.1, "audio", "undecided", 0]
    assert "</span>strongest segment" in page.html
    assert shown(factory.authentic()).data["strongest"] == [2.0, 2.6, "visual", "neutral", 0]
    forged = shown(factory.forged())
    assert forged.data["strongest"] is None
    assert "</span>strongest segment" not in forged.html


def test_thresholds_are_drawn_only_where_they_made_intervals() -> None:
    assert shown(factory.authentic()).all("line", **{"class": "threshold"}) == []
    assert shown(factory.undecided()).all("line", **{"class": "threshold"}) == []
    assert "counts if it reaches" not in shown(factory.authentic()).html


def test_the_promise_is_one_sentence_and_absent_where_nothing_was_promised() -> None:
    assert shown(factory.forged()).one(id="promise").text == (
        "At this line at most 5 % of authentic clips of people it has not seen are called forged "
        "(95 % confidence; 3 of 208 authentic clips of 93 people were)."
    )
    assert shown(factory.concluded(factory.forged(), promise=None)).all(id="promise") == []


def test_intervals_that_were_asked_for_do_not_call_a_clip_forged() -> None:
    spans = factory.build("visual", [(1.0, 2.0, "visual", 0.7)]).intervals
    report = replace(factory.concluded(factory.authentic(), intervals=spans), route="all")
    page = shown(report)
    assert page.one(id="finding").text == "No forgery found; 1 span shown as requested."
    assert "1 unconfirmed interval in order of time" in page.html
    assert "Unconfirmed: picture" in page.html
    assert "Forged: " not in page.html
    assert page.one(id="verdict").attributes["data-tone"] == "not_found"


def test_the_classes_of_the_model_stand_with_the_provenance_in_plain_words() -> None:
    shares = {"real": 0.125, "visual": 0.5, "audio": 0.25, "both": 0.125}
    page = shown(factory.concluded(factory.forged(), probabilities=shares))
    text = page.one(id="provenance").words
    assert "Class probabilities" in text
    assert "no forgery0.1250picture forged0.5000sound forged0.2500picture and sound forged0.1250" in text
    assert "0.1250" not in page.one(id="verdict").words


@pytest.mark.parametrize("report", KINDS.values(), ids=KINDS.keys())
def test_people_read_plain_words_in_place_of_keys(report: Report) -> None:
    words = re.sub(r"<(style|script)[^>]*>.*?</\1>", "", shown(report).html, flags=re.S)
    text = re.sub(r"<[^>]+>", " ", words)
    assert not re.search(r"\b(real|both|visual|audio|not_found|not_assessable)\b(?! forged)", text)
