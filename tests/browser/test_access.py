"""Pages for everyone: a screen reader, keys alone, a phone, paper, no script, and names that mean harm."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_factory as factory

from data.text import printable
from pipeline.report.folder import Outcome, index_html
from pipeline.report.page import page_html

Visit = Callable[..., Any]
Violations = Callable[..., list[str]]

HOSTILE = list(factory.HOSTILE.values())
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}

MOVING = """() => [...document.querySelectorAll("*")].filter(each => {
    const style = getComputedStyle(each);
    if (!style.display) return false;  // it is never drawn and has no style, as a source of a video in newer Chromium
    return style.transitionDuration !== "0s" || style.animationName !== "none" || style.scrollBehavior === "smooth";
}).map(each => each.outerHTML.slice(0, 80))"""


def full(report: Any, media: str | None = None) -> str:
    return page_html(report, factory.pictures(report, most=1), media)


def index() -> str:
    outcomes = [
        Outcome.of("a/forged.mp4", factory.forged(), "a/forged.mp4.html"),
        Outcome.of("authentic.mp4", factory.authentic(), "authentic.mp4.html"),
        Outcome.of("gaps.mp4", factory.gaps(), "gaps.mp4.html"),
        Outcome.failed("broken.mp4", "the file is empty"),
    ]
    return index_html(outcomes)


PAGES: dict[str, Callable[[], str]] = {
    "forged": lambda: full(factory.forged(), "clip.mp4"),
    "authentic": lambda: full(factory.authentic(), "clip.mp4"),
    "no media, gaps": lambda: page_html(factory.gaps(), None, None),
    "index": index,
}


@pytest.fixture(autouse=True)
def _a_clip_beside_the_page(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "clip.mp4").symlink_to(clip)


@pytest.mark.parametrize("kind", PAGES)
def test_axe_finds_no_violation_in_light_or_dark_and_nothing_moves(
    visit: Visit, violations: Violations, kind: str
) -> None:
    page = visit(
        PAGES[kind](), reduced_motion="reduce"
    )  # a colour on its way to another has neither's contrast
    if kind != "index":
        page.click("#keys summary")
        page.keyboard.press("]")
    grounds = []
    for scheme, rules in (
        ("light", ()),
        ("dark", ("color-contrast",)),
    ):  # what else could depend on the scheme?
        page.emulate_media(color_scheme=scheme)
        assert violations(page, *rules) == [], scheme
        ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(map(int, re.findall(r"\d+", ground))))
    assert grounds[0] > 600 > 150 > grounds[1]
    assert page.evaluate(MOVING) == []


@pytest.mark.parametrize("kind", ["forged", "index"])
def test_a_phone_needs_no_sideways_scroll_and_has_targets_for_fingers(visit: Visit, kind: str) -> None:
    page = visit(PAGES[kind](), **PHONE)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, summary, select, input:not([type=checkbox]), [role=slider]")]
            .filter(each => each.checkVisibility())
            .map(each => [each.id || each.textContent, each.getBoundingClientRect()])
            .filter(([, box]) => box.width < 24 || box.height < 24).map(([name]) => name)"""
    )
    assert small == []
    if kind == "forged":
        page.locator('[data-interval="1"]').tap()
        page.wait_for_function("() => player.currentTime >= 2.4")


def test_paper_has_the_curves_and_no_controls(visit: Visit) -> None:
    page = visit(full(factory.forged()))
    page.click("#zoom-in")
    page.emulate_media(media="print")
    for gone in ("#controls", "#keys", ".skip", "#readout", "#playhead", "#minimap", "[data-play]"):
        assert page.locator(gone).first.is_hidden(), gone
    for kept in ("#verdict", "#decision", "#intervals", "#coverage", "#provenance", "#frames-1 img"):
        assert page.locator(kept).first.is_visible(), kept
    paths = page.locator('[data-lane="visual"] svg path, [data-lane="visual_error"] svg path')
    assert paths.count() == 2
    for path in paths.all():
        box = path.bounding_box()
        assert path.is_visible()
        assert box["width"] > 300
        assert box["height"] > 10
    assert page.pdf().startswith(b"%PDF-")


def test_without_a_script_the_answer_and_its_curves_are_there(visit: Visit) -> None:
    report = factory.forged()
    joint = report.scores.joint.copy()
    joint[60] = 1.0
    report = replace(report, scores=replace(report.scores, joint=joint))
    page = visit(full(report), live=False, java_script_enabled=False)
    assert "Picture and sound look forged in 3 spans." in page.inner_text("#verdict")
    assert page.locator("#intervals tbody tr").count() == 3
    assert "00:00:02.400" in page.inner_text("#intervals tbody tr:nth-child(2)")
    assert page.locator("#controls").is_hidden()  # nothing is offered that would not work
    assert page.locator("[data-play]").count() == 0
    assert page.locator("svg .mark.both").first.is_visible()
    drawn = page.locator('[data-lane="joint"] svg path')
    assert drawn.is_visible()
    assert drawn.bounding_box()["width"] > 800
    points = re.findall(r"[ML]([\d.]+) ([\d.]+)", drawn.get_attribute("d"))
    highest = min(points, key=lambda point: float(point[1]))
    # The middle of step 60 of 150, in a drawing 1000 wide and 100 tall: (60 + 0.5) / 150 * 1000 = 403.3.
    assert (float(highest[0]), float(highest[1])) == pytest.approx((403.3, 0.0), abs=0.1)


def test_without_a_script_the_index_is_whole(visit: Visit) -> None:
    page = visit(index(), live=False, java_script_enabled=False)
    assert page.locator("tbody tr").count() == 4
    assert page.locator("#filters").is_hidden()


def test_tab_visits_everything_in_reading_order_and_shows_where_it_is(visit: Visit) -> None:
    page = visit(page_html(factory.forged(), None, None))
    visited = []
    for _ in range(40):
        page.keyboard.press("Tab")
        name, ring = page.evaluate(
            """() => {
                const here = document.activeElement, style = getComputedStyle(here);
                const interval = here.dataset.play && `play ${here.dataset.play}`;
                const name = here.id || interval || here.className || here.tagName;
                return [name, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];
            }"""
        )
        if name == "BODY":
            break
        assert ring, f"{name} does not show that it has the focus"
        visited.append(name)
        if name == "skip":
            assert page.locator(".skip").is_visible()
            page.keyboard.press("Enter")
            assert page.url.endswith("#main")
    # `play` is disabled without a clip, and nothing can be zoomed out at first.
    assert visited == [
        *("skip", "previous", "next", "zoom-in", "timeline", "minimap", "playhead", "SUMMARY"),
        *("scroll", "play 0", "play 1", "play 2", "scroll"),
    ]


def test_a_reader_hears_the_position_and_the_intervals(visit: Visit) -> None:
    page = visit(page_html(factory.forged(), None, None))
    page.focus("#playhead")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#playhead", "aria-valuetext") == "00:00:00.040"
    assert page.get_attribute("#playhead", "aria-valuenow") == "0.040"
    assert page.get_attribute("#status", "role") == "status"
    page.keyboard.press("]")
    assert page.inner_text("#status") == (
        "Interval 1 of 3, picture, 00:00:01.000 to 00:00:01.600, score 0.91"
    )
    described = page.get_attribute('[data-lane="visual_error"] svg', "aria-label")
    assert re.fullmatch(r"Picture reconstruction error: highest \d+\.\d\d at 00:00:0\d\.\d{3}", described)


def test_hostile_names_are_only_text(visit: Visit) -> None:
    """One name made of all: were any part of it markup, the rest would be cut off or elements would be added."""
    benign = factory.forged("clip.mp4", warnings=("plain",) * len(HOSTILE))
    elements = visit(page_html(benign, None, None)).evaluate("() => document.querySelectorAll('*').length")
    for names in (HOSTILE, HOSTILE[::-1]):
        whole = " ".join(names)
        facts = replace(benign.input, name=whole, container=whole)
        page = visit(page_html(replace(benign, input=facts, warnings=tuple(names)), None, None))
        found = page.evaluate(
            """() => {
                const texts = selector => [...document.querySelectorAll(selector)].map(each => each.textContent);
                return [document.querySelectorAll("*").length, texts("h1"), texts("#warnings li"), texts("dd")];
            }"""
        )
        assert found[:2] == [elements, [printable(whole)]]
        assert found[2] == [printable(name) for name in names]
        assert found[3].count(printable(whole)) == 2  # the name and the container
        assert page.title() == " ".join(f"{printable(whole)}: forensic report".split())


def test_hostile_names_in_an_index_are_only_text(visit: Visit) -> None:
    reports = factory.hostile()
    page = visit(
        index_html(
            [
                *(Outcome.of(report.input.name, report, "page.html") for report in reports),
                *(Outcome.failed(name, f"could not read {name}") for name in factory.HOSTILE.values()),
            ]
        )
    )
    names = [printable(name) for name in factory.HOSTILE.values()]
    shown = page.evaluate("() => [...document.querySelectorAll('tbody th')].map(each => each.textContent)")
    assert sorted(shown) == sorted(names * 2)
    assert page.evaluate("() => document.querySelectorAll('script').length") == 1
    assert page.evaluate("() => document.querySelectorAll('img, svg, iframe, tbody script').length") == 0
