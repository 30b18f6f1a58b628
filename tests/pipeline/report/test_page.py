"""The page of a clip: what it says is what the report says, and readers of any kind can use it."""

from __future__ import annotations

import base64
import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import report_factory as factory
from report_page import KINDS, Page, shown

from data.media import StreamCoverage
from data.text import percent, timecode
from data.timeline import Interval, TimeGrid
from pipeline.report.html import ASSETS
from pipeline.report.json import dumps, loads
from pipeline.report.model import Report, StepScores
from pipeline.report.page import finding, page_html
from pipeline.report.pictures import Pictures
from pipeline.report.rows import rows


def lane_names(page: Page) -> list[str]:
    return [each.attributes["data-lane"] for each in page.has("data-lane")]


# What the page says is what the report says


@pytest.mark.parametrize(
    ("label", "found", "sentence"),
    [
        ("real", 0, "No forgery found."),
        ("visual", 1, "The picture looks forged in 1 span."),
        ("audio", 2, "The sound looks forged in 2 spans."),
        ("both", 3, "Picture and sound look forged in 3 spans."),
        ("visual", 0, "The picture looks forged; no interval reached the threshold."),
    ],
)
def test_the_verdict_in_words(label: str, found: int, sentence: str) -> None:
    report = factory.build(label, [(k, k + 0.5, label, 0.7) for k in range(found)])
    assert finding(report) == sentence
    page = shown(report)
    assert page.one(id="finding").text == sentence
    shown_verdict = page.one(id="verdict").attributes
    assert (shown_verdict["data-verdict"], shown_verdict["data-label"]) == (report.verdict, label)
    assert "An indication, not proof." in page.one("p", **{"class": "note"}).text


def test_the_share_that_is_marked_counts_overlaps_once() -> None:
    report = factory.build("both", [(1.0, 2.0, "visual", 0.7), (1.5, 2.5, "audio", 0.7)], duration_s=6.0)
    assert "1.50 s of 6.00 s (25.0 %) are marked." in shown(report).one(id="verdict").words


def test_the_table_has_a_row_for_each_interval() -> None:
    report = factory.forged()
    page = shown(report)
    table = page.has("data-start")
    assert [(each.attributes["data-start"], each.attributes["data-end"]) for each in table] == [
        ("1.0", "1.6"),
        ("2.4", "3.0"),
        ("4.0", "4.8"),
    ]
    assert table[2].words == "300:00:04.000 – 00:00:04.8000.80 spicture and sound0.8500"


@pytest.mark.parametrize("report", KINDS.values(), ids=KINDS.keys())
def test_the_data_are_the_numbers_of_the_report(report: Report) -> None:
    written = json.loads(dumps(report))
    data = shown(report).data
    assert data["intervals"] == [
        [each["start_s"], each["end_s"], each["modality"], each["score"]] for each in written["intervals"]
    ]
    assert data["step_s"] == 0.04
    assert data["span_s"] == 6.0
    for name, track in written["coverage"].items():
        judged = written["assessment"][name]
        gaps = (track["gaps"] if track is not None else []) + (judged["gaps"] if judged is not None else [])
        assert data["gaps"][name] == sorted(gaps)
    for name, curve in data["curves"].items():
        assert curve["values"] == written["scores"][name]
    absent = {"visual", "audio", "joint", "visual_error", "audio_error"} - set(data["curves"])
    assert absent == {
        name
        for name, curve in written["scores"].items()
        if curve is None or (name == "joint" and (report.doubts or None in written["coverage"].values()))
    }


def test_a_report_read_back_makes_the_same_page() -> None:
    report = factory.gaps()
    assert page_html(loads(dumps(report)), None, None) == page_html(report, None, None)


def test_lanes_are_those_of_the_tracks_that_there_are() -> None:
    curves = ["visual", "audio", "joint", "visual_error", "audio_error"]
    marks = ["forged-visual", "forged-audio", "forged-both"]
    report = factory.forged()
    assert lane_names(shown(report)) == [*marks, *curves]
    assert lane_names(shown(report, factory.pictures(report))) == ["frames", *marks, *curves, "spectrogram"]
    assert lane_names(shown(factory.one_track("audio"))) == ["forged-audio", "audio", "audio_error"]
    assert lane_names(shown(factory.one_track("visual"))) == ["forged-visual", "visual", "visual_error"]


def test_without_a_script_curves_marks_and_thresholds_are_drawn() -> None:
    page = shown(factory.forged())
    drawings = page.all("svg", **{"class": "still"})
    assert len(drawings) == 8
    paths = [each.attributes["d"] for each in page.all("path")]
    assert len(paths) == 5
    assert all(drawn.count("L") == 149 for drawn in paths)
    # 6 s are 1000 wide: 1.0 to 1.6 s lie at 166.67, 100 wide.
    marks = page.all("rect", **{"class": "mark visual"})
    assert {(each.attributes["x"], each.attributes["width"]) for each in marks} == {("166.67", "100.00")}
    lines = page.all("line", **{"class": "threshold"})
    assert [each.attributes["y1"] for each in lines] == ["40.0", "50.0"] * 3  # onset 0.6 and offset 0.5


def test_each_curve_is_told_in_words() -> None:
    report = factory.gaps()
    values = report.scores.visual
    assert values is not None
    step = int(np.nanargmax(values))
    labels = [each.attributes["aria-label"] for each in shown(report).all("svg", role="img")]
    assert labels[0] == f"Picture score: highest {np.nanmax(values):.2f} at {timecode((step + 0.5) / 25)}"
    assert len(labels) == 5


def test_gaps_are_drawn_said_and_listed() -> None:
    page = shown(factory.gaps())
    assert "Not the whole clip was analysed." in page.one(id="verdict").text
    assert "Picture: 75.0 % of 6.00 s analysed, 2 gaps not analysed" in page.one(id="verdict").words
    assert "3 damaged piece(s) of the picture were left out" in page.one(id="warnings").text
    assert "00:00:02.000 – 00:00:03.000, 00:00:05.500 – 00:00:06.000" in page.one(id="coverage").words
    gaps = page.all("rect", **{"class": "gap"})
    assert ("333.33", "166.67") in {(each.attributes["x"], each.attributes["width"]) for each in gaps}
    broken = [each.attributes["d"].count("M") for each in page.all("path")]
    assert broken == [2, 2, 2, 2, 2]  # each curve has one hole; the picture's second gap is its end
    whole = shown(factory.forged())
    assert "Not the whole clip" not in whole.html
    assert whole.all("rect", **{"class": "gap"}) == []


def test_a_lane_of_both_tracks_hatches_their_gaps_once() -> None:
    # The picture lacks 2.0 to 3.0 and 5.5 to 6.0 s, the sound 2.5 to 3.2 s: together 2.0 to 3.2 s.
    report = factory.gaps()
    sound = StreamCoverage(6.0, 5.3, (Interval(2.5, 3.2),))
    page = shown(replace(report, coverage={**report.coverage, "audio": sound}))
    assert page.data["gaps"] == {
        "visual": [[2.0, 3.0], [5.5, 6.0]],
        "audio": [[2.5, 3.2]],
        "both": [[2.0, 3.2], [5.5, 6.0]],
    }
    drawn = [
        (each.attributes["x"], each.attributes["width"]) for each in page.all("rect", **{"class": "gap"})
    ]
    assert drawn.count(("333.33", "200.00")) == 2  # the marks of both and the joint curve
    assert len(drawn) == 3 * 2 + 3 * 1 + 2 * 2


def test_a_page_of_a_folder_leads_back_to_its_index() -> None:
    link = Page(page_html(factory.forged(), None, None, "../index.html")).one(id="index")
    assert (link.attributes["href"], link.text) == ("../index.html", "All clips of the folder")
    assert shown(factory.forged()).all(id="index") == []


def test_a_missing_track_is_said() -> None:
    page = shown(factory.one_track("audio"))
    assert "Picture: no such track, not analysed" in page.one(id="verdict").words
    assert "picturenot present or not decodable, so not analysed" in page.one(id="coverage").words
    titles = [each.text for each in page.all("h3")]
    assert "Sound track" in titles
    assert "Picture track" not in titles


def test_the_provenance_is_complete() -> None:
    report = factory.forged()
    text = shown(report).one(id="provenance").text
    facts, made = report.input, report.provenance
    assert facts.video is not None
    assert facts.audio is not None
    for each in (
        facts.sha256,
        facts.container,
        facts.video.codec,
        facts.video.pixel_format,
        facts.audio.codec,
        "123,456 bytes",
        "256 × 256 pixels",
        "16,000 Hz",
        made.preset,
        made.config_digest,
        *made.weights.values(),
        *made.versions,
        *made.versions.values(),
        "cpu, float32",
        "onset 0.6, offset 0.5",
        "auto, branches: joint",
        report.clock.started_at,
        "rt-deeploc/report@3",
    ):
        assert each in text


def test_all_is_said_only_of_all() -> None:
    assert [percent(share) for share in (1.0, 0.9999, 0.5, 0.0)] == ["100.0 %", "99.9 %", "50.0 %", "0.0 %"]


# Player and pictures


def test_without_a_clip_the_page_says_so() -> None:
    page = shown(factory.forged())
    assert page.all("video") == []
    notice = page.one(id="no-player")
    assert "hidden" not in notice.attributes
    assert "neither the clip nor a preview" in notice.text
    assert page.all("img") == []
    assert "This report contains no pictures of the clip." in page.html


def test_the_clip_comes_before_the_preview() -> None:
    page = shown(factory.forged(), Pictures(preview=b"\x00mp4\xff"), "clip.mp4")
    clip, preview = page.all("source")
    assert clip.attributes["src"] == "clip.mp4"
    kind, content = preview.attributes["src"].split(",")
    assert kind == "data:video/mp4;base64"
    assert base64.b64decode(content) == b"\x00mp4\xff"
    assert "hidden" in page.one(id="no-player").attributes
    assert len(shown(factory.forged(), Pictures(preview=b"x"), None).all("source")) == 1


def test_each_still_has_its_picture_its_place_and_its_time() -> None:
    report = factory.forged()
    pictures = factory.pictures(report)
    page = shown(report, pictures)
    figures = page.all("figure")
    images = [each for each in page.all("img") if "figure" in each.parents]
    stills = [still for still in pictures.stills if still.interval is not None]
    assert len(figures) == len(images) == len(stills) == 15
    for still, figure, image in zip(stills, figures, images, strict=True):
        assert figure.attributes["data-place"] == still.place
        assert timecode(still.time_s) in figure.text
        assert timecode(still.time_s) in image.attributes["alt"]
        assert base64.b64decode(image.attributes["src"].split(",")[1]) == still.jpeg
        assert image.attributes["width"] == "64"
    headings = [each.text for each in page.all("h3") if each.attributes.get("id", "").startswith("frames")]
    assert headings[1] == "2. Sound, 00:00:02.400 – 00:00:03.000"
    assert page.one(id="frames-2").tag == "article"


def test_intervals_without_stills_are_counted() -> None:
    report = factory.hour()
    assert "Shown for 6 of 24 intervals" in shown(report, factory.pictures(report, most=6)).html
    assert "Shown for" not in shown(report, factory.pictures(report, most=24)).html


def test_what_could_not_be_had_is_said() -> None:
    page = shown(factory.forged(), Pictures(notes=("No frames: the decoder died on it.",)))
    assert "No frames: the decoder died on it." in [each.text for each in page.all("p")]


# Form


@pytest.mark.parametrize("report", KINDS.values(), ids=KINDS.keys())
def test_the_page_is_well_formed_for_readers(report: Report) -> None:
    page = shown(report, factory.pictures(report), "clip.mp4")
    ids = [each.attributes["id"] for each in page.has("id")]
    assert len(ids) == len(set(ids))
    for key in ("aria-labelledby", "aria-controls", "for"):
        assert {each.attributes[key] for each in page.has(key)} <= set(ids)
    assert {each.attributes["href"][1:] for each in page.all("a")} <= set(ids)
    levels = [int(each.tag[1]) for each in page.elements if re.fullmatch("h[1-6]", each.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all("alt" in each.attributes for each in page.all("img"))
    assert page.one("html").attributes["lang"] == "en"
    assert {each.tag for each in page.elements} >= {"header", "main", "footer"}
    assert page.one(role="status")


def test_an_empty_clip_has_a_page() -> None:
    none = np.zeros(0, np.float32)
    report = factory.authentic()
    empty = replace(
        report,
        input=replace(report.input, duration_s=None),
        coverage={"visual": None, "audio": None},
        scores=StepScores(TimeGrid.at_rate(25, 0), None, None, none, None, None),
    )
    assert lane_names(shown(empty)) == []


def test_the_same_report_makes_the_same_bytes() -> None:
    report = factory.forged()
    pictures = factory.pictures(report)
    assert page_html(report, pictures, "a.mp4") == page_html(report, pictures, "a.mp4")


def test_pages_are_small() -> None:
    assert len(page_html(factory.forged(), None, None)) < 100_000
    hour = page_html(factory.hour(), factory.pictures(factory.hour(), most=24), None)
    assert len(hour) < 710_000
    data = Page(hour).data
    assert len(data["intervals"]) == len(rows(factory.hour())) == 24
    assert data["curves"]["visual_error"]["top"] == 80.0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme: str) -> None:
    css = (ASSETS / "palette.css").read_text()
    light, dark = (css[css.index(start) :] for start in (":root {", "@media (prefers-color-scheme: dark)"))
    block = (light if scheme == "light" else dark).split("}")[0]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))

    def luminance(name: str) -> float:
        channels = (int(colours[name][k : k + 2], 16) / 255 for k in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    # WCAG 2.2: 4.5 for text, 3 for what a graphic says.
    for ground in ("bg", "surface", "sunken"):
        read = ("text", "muted", "accent", "forged", "undecided", "clear", "neutral")
        assert min(contrast(name, ground) for name in read) >= 4.5
        assert min(contrast(name, ground) for name in ("visual", "audio", "both", "strong-line")) >= 3
    assert contrast("on-accent", "accent") >= 4.5
    assert contrast("warn", "warn-bg") >= 4.5
