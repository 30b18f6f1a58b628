"""Strangers' text stays text in the page of a clip, and nothing in it can run or reach elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from dataclasses import replace

import pytest
import report_factory as factory
from report_page import KINDS, shown

from data.text import printable
from pipeline.report.model import Report
from pipeline.report.page import page_html

BIDI = re.compile("[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]")


@pytest.mark.parametrize("name", factory.HOSTILE.values(), ids=factory.HOSTILE.keys())
def test_hostile_text_adds_no_element_and_is_read_back(name: str) -> None:
    def with_text(text: str) -> Report:
        tame = factory.forged(text)
        return replace(
            tame,
            warnings=(f"could not read {text}",),
            input=replace(
                tame.input,
                container=text,
                video=replace(tame.input.video, codec=text, pixel_format=text),  # type: ignore[type-var]
                audio=replace(tame.input.audio, codec=text),  # type: ignore[type-var]
            ),
            provenance=replace(tame.provenance, versions={text: text}, weights={text: text}),
        )

    report = with_text(name)
    pictures = replace(factory.pictures(report), notes=(f"No frames: {name}.",))
    page, tame = shown(report, pictures, "clip.mp4"), shown(with_text("tame"), pictures, "clip.mp4")
    assert Counter(each.tag for each in page.elements) == Counter(each.tag for each in tame.elements)
    assert Counter(key for each in page.elements for key in each.attributes) == Counter(
        key for each in tame.elements for key in each.attributes
    )
    assert page.one("h1").text == printable(name)
    assert page.one("title").text == f"{printable(name)}: forensic report"
    assert [each.text for each in page.all("li") if "bdi" not in each.parents][-1] == (
        f"could not read {printable(name)}"
    )
    facts = {each.text for each in page.all("dd") if "mono" in each.attributes.get("class", "")}
    assert printable(name) in facts
    assert BIDI.search(page.html) is None
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", page.html)
    page.html.encode("utf-8")  # half a surrogate pair could not be written


def test_names_stand_in_isolation() -> None:
    page = shown(factory.forged("\u05e9\u05dc\u05d5\u05dd.mp4"))
    names = [each for each in page.elements if each.text == "\u05e9\u05dc\u05d5\u05dd.mp4"]
    assert {each.tag for each in names} == {"h1", "bdi", "dd"}
    assert "h1" in page.all("bdi")[0].parents


@pytest.mark.parametrize("report", KINDS.values(), ids=KINDS.keys())
def test_the_policy_lets_nothing_run_but_what_the_page_brings(report: Report) -> None:
    page = shown(report, factory.pictures(report), "clip%20%231.mp4")
    policy = dict(
        part.strip().split(" ", 1)
        for part in page.one("meta", http_equiv="Content-Security-Policy").attributes["content"].split(";")
    )

    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    (script,) = [each for each in page.all("script") if "type" not in each.attributes]
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == digest(page.one("style").text)
    assert policy["script-src"] == digest(script.text)
    assert policy["img-src"] == "data:"
    assert set(policy["media-src"].split()) == {"'self'", "data:", "file:"}
    assert "media-src" not in page_html(report, factory.pictures(report), None)
    assert policy["base-uri"] == policy["form-action"] == "'none'"
    # The policy comes before anything that it governs.
    assert page.html.index("Content-Security-Policy") < page.html.index("<style>")


@pytest.mark.parametrize("report", KINDS.values(), ids=KINDS.keys())
def test_nothing_points_elsewhere(report: Report) -> None:
    page = shown(report, factory.pictures(report, preview=b"mp4"), "clip.mp4")
    for element in page.elements:
        assert not [key for key in element.attributes if key.startswith("on") or key == "style"], element
        for key in ("src", "href", "action", "data", "poster", "srcset"):
            value = element.attributes.get(key, "#")
            assert value.startswith(("#", "data:image/", "data:video/mp4;")) or value in (
                "clip.mp4",
                "data:,",
            )
        assert element.tag not in ("iframe", "object", "embed", "form", "base")
    # A browser would ask for an icon if none, an empty one, were named.
    assert page.one("link").attributes == {"rel": "icon", "href": "data:,"}
    text = page.one("style").text
    assert re.findall(r"url\((.)", text) == ["#"] * text.count("url(")
    assert "@import" not in text


def test_the_player_takes_no_clip_of_another_machine() -> None:
    for media in (
        "http://evil.example/a.mp4",
        "//evil.example/a.mp4",
        "javascript:alert(1)",
        "file://host/a",
    ):
        with pytest.raises(ValueError, match="player takes"):
            page_html(factory.forged(), None, media)
    page = shown(factory.forged(), None, "../a%3Fb%23c.mp4")
    assert page.one("source").attributes["src"] == "../a%3Fb%23c.mp4"
    assert shown(factory.forged(), None, "file:///tmp/a.mp4").one("video")
