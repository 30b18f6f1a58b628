"""Pages for everyone: a screen reader, keys alone, a phone, paper, no script, and names that mean harm."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import report_factory as factory

from pipeline.report.folder import Outcome, index_html
from pipeline.report.page import page_html
from pipeline.report.rows import printable

Visit = Callable[..., Any]
Violations = Callable[[Any], list[str]]

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


def full(report: Any, media: str | None = None) -> str:
    return page_html(report, factory.pictures(report), media)


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


def settle(page: Any) -> None:
    """Waits for the script of whichever page it is."""
    page.wait_for_function(
        "() => 'ready' in document.documentElement.dataset || document.querySelector('#filters:not([hidden])')"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", PAGES)
def test_axe_finds_no_violation(visit: Visit, violations: Violations, kind: str, scheme: str) -> None:
    page = visit(PAGES[kind](), color_scheme=scheme)
    settle(page)
    if kind != "index":
        page.click("#keys summary")
        page.keyboard.press("]")
    assert violations(page) == []


def test_light_and_dark_differ(visit: Visit) -> None:
    def ground(scheme: str) -> str:
        page = visit(PAGES["authentic"](), color_scheme=scheme)
        return str(page.evaluate("() => getComputedStyle(document.body).backgroundColor"))

    light, dark = (sum(map(int, re.findall(r"\d+", ground(scheme)))) for scheme in ("light", "dark"))
    assert light > 600 > 150 > dark


@pytest.mark.parametrize("kind", PAGES)
def test_a_phone_needs_no_sideways_scroll_and_has_targets_for_fingers(visit: Visit, kind: str) -> None:
    page = visit(PAGES[kind](), **PHONE)
    settle(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, summary, select, input:not([type=checkbox]), [role=slider]")]
            .filter(each => each.checkVisibility())
            .map(each => [each.id || each.textContent, each.getBoundingClientRect()])
            .filter(([, box]) => box.width < 24 || box.height < 24).map(([name]) => name)"""
    )
    assert small == []


def test_a_finger_seeks_and_plays(visit: Visit) -> None:
    page = visit(PAGES["forged"](), **PHONE)
    settle(page)
    page.locator('[data-interval="1"]').tap()
    page.wait_for_function("() => player.currentTime >= 2.4")


def test_paper_has_the_curves_and_no_controls(visit: Visit) -> None:
    page = visit(full(factory.forged()))
    settle(page)
    page.click("#zoom-in")
    page.emulate_media(media="print")
    for gone in ("#controls", "#keys", ".skip", "#readout", "#playhead", "#minimap", "[data-play]"):
        assert page.locator(gone).first.is_hidden(), gone
    for kept in ("#verdict", "#probabilities", "#intervals", "#coverage", "#provenance", "#frames-1 img"):
        assert page.locator(kept).first.is_visible(), kept
    paths = page.locator('[data-lane="visual"] svg path, [data-lane="visual_error"] svg path')
    assert paths.count() == 2
    for path in paths.all():
        box = path.bounding_box()
        assert path.is_visible()
        assert box["width"] > 300
        assert box["height"] > 10
    assert page.pdf().startswith(b"%PDF-")


def test_without_a_script_the_answer_is_there(visit: Visit) -> None:
    page = visit(full(factory.forged()), java_script_enabled=False)
    assert "Picture and sound look forged in 3 spans." in page.inner_text("#verdict")
    assert page.locator("#intervals tbody tr").count() == 3
    assert "00:00:02.400" in page.inner_text("#intervals tbody tr:nth-child(2)")
    assert page.locator("#controls").is_hidden()  # nothing is offered that would not work
    assert page.locator("[data-play]").count() == 0
    drawn = page.locator('[data-lane="joint"] svg path')
    assert drawn.is_visible()
    assert drawn.bounding_box()["width"] > 800
    assert page.locator("svg .mark.both").first.is_visible()


def test_without_a_script_the_index_is_whole(visit: Visit) -> None:
    page = visit(index(), java_script_enabled=False)
    assert page.locator("tbody tr").count() == 4
    assert page.locator("#filters").is_hidden()


def test_the_static_curve_lies_where_the_live_one_does(visit: Visit) -> None:
    """The highest point of the joint score, found in the SVG of a page without a script."""
    report = factory.authentic()
    values = report.scores.joint.copy()
    values[100] = 1.0
    page = visit(
        page_html(factory.build("real", scores=factory.replace(report.scores, joint=values)), None, None),
        java_script_enabled=False,
    )
    points = re.findall(r"[ML]([\d.]+) ([\d.]+)", page.get_attribute('[data-lane="joint"] svg path', "d"))
    highest = min(points, key=lambda point: float(point[1]))
    # The middle of step 100 of 150, in a drawing 1000 wide and 100 tall: (100 + 0.5) / 150 * 1000 = 670.
    assert (float(highest[0]), float(highest[1])) == pytest.approx((670.0, 0.0), abs=0.1)


def test_motion_is_left_out_for_those_who_ask(visit: Visit) -> None:
    page = visit(PAGES["forged"](), reduced_motion="reduce")
    settle(page)
    moving = page.evaluate(
        """() => [...document.querySelectorAll("*")].filter(each => {
            const style = getComputedStyle(each);
            return style.transitionDuration !== "0s" || style.animationName !== "none"
                || style.scrollBehavior === "smooth";
        }).map(each => each.outerHTML.slice(0, 80))"""
    )
    assert moving == []


def test_tab_visits_everything_in_reading_order_and_shows_where_it_is(visit: Visit) -> None:
    page = visit(page_html(factory.forged(), None, None))
    settle(page)
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
    # `play` is disabled without a clip, and nothing can be zoomed out at first.
    assert visited == [
        *("skip", "previous", "next", "zoom-in", "timeline", "minimap", "playhead", "SUMMARY"),
        *("scroll", "play 0", "play 1", "play 2", "scroll"),
    ]


def test_the_skip_link_leads_past_the_header(visit: Visit) -> None:
    page = visit(PAGES["authentic"]())
    page.keyboard.press("Tab")
    assert page.locator(".skip").is_visible()
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")


def test_a_reader_hears_the_position_and_the_intervals(visit: Visit) -> None:
    page = visit(page_html(factory.forged(), None, None))
    settle(page)
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


def test_hostile_names_are_only_text(visit: Visit, noise: Any) -> None:
    """One page after the other in the same tab: same elements, the name as its title, nothing run, nothing asked."""
    benign = factory.forged("clip.mp4", warnings=("could not read clip.mp4",))
    page = visit(page_html(benign, None, None))
    count = "() => document.querySelectorAll('*').length"
    settle(page)
    elements = page.evaluate(count)
    folder = page.url.rsplit("/", 1)[0]
    for report in factory.hostile():
        name = printable(report.input.name)
        visit_path = Path(folder.removeprefix("file://")) / "page.html"
        visit_path.write_text(page_html(report, None, None), encoding="utf-8")
        page.goto(f"{folder}/page.html")
        settle(page)
        assert page.title() == re.sub(r"\s+", " ", f"{name}: forensic report"), name
        assert page.locator("h1").evaluate("each => each.textContent") == name
        assert page.evaluate(count) == elements, name
        assert page.locator("#warnings li").first.evaluate("each => each.textContent") == (
            f"could not read {name}"
        )
        assert page.locator("#provenance").get_by_text("Container", exact=True).count() == 1
    noise.check()


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
    settle(page)
    names = [printable(name) for name in factory.HOSTILE.values()]
    shown = page.evaluate("() => [...document.querySelectorAll('tbody th')].map(each => each.textContent)")
    assert sorted(shown) == sorted(names * 2)
    assert page.evaluate("() => document.querySelectorAll('script').length") == 1
    assert page.evaluate("() => document.querySelectorAll('img, svg, iframe, tbody script').length") == 0
