"""The box on the player: around the face of whom the interval is about, while it plays, and nowhere else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import report_factory as factory

from pipeline.report.page import page_html

Visit = Callable[..., Any]


@pytest.fixture
def page(visit: Any, clip: Path) -> Any:
    shutil.copy(clip, visit.folder)
    return visit(page_html(factory.panel(), factory.pictures(factory.panel()), clip.name))


def seek(page: Any, time_s: float) -> None:
    page.evaluate("t => { player.currentTime = t; }", time_s)
    page.wait_for_function("t => !player.seeking && Math.abs(timeline.dataset.time - t) < 0.01", arg=time_s)


def test_the_box_lies_on_the_forged_face_and_says_whose_it_is(page: Any) -> None:
    page.wait_for_function("() => player.videoWidth > 0")
    seek(page, 2.5)
    mark = page.locator("#faces [data-person]")
    assert mark.count() == 1
    assert (mark.get_attribute("data-person"), mark.inner_text()) == ("2", "person 2")
    box, screen = mark.bounding_box(), page.locator("#player").bounding_box()
    # The clip is 192 x 128: it fills the player's height and stands in its middle.
    height = screen["height"]
    width = height * 192 / 128
    left = screen["x"] + (screen["width"] - width) / 2
    x = 0.6 + 0.1 * 2.52 / 6
    expected = (left + x * width, screen["y"] + 0.3 * height, 0.2 * width, 0.5 * height)
    assert (box["x"], box["y"], box["width"], box["height"]) == pytest.approx(expected, abs=2)


def test_outside_the_interval_there_is_no_box(page: Any) -> None:
    page.wait_for_function("() => player.videoWidth > 0")
    for time_s, count in ((1.9, 0), (2.04, 1), (2.96, 1), (3.04, 0)):
        seek(page, time_s)
        assert page.locator("#faces [data-person]").count() == count


def test_the_box_follows_while_the_clip_plays(page: Any) -> None:
    page.wait_for_function("() => player.videoWidth > 0")
    page.click('[data-play="0"]')
    page.wait_for_function("() => !player.paused && document.querySelector('#faces [data-person]')")
    first = page.locator("#faces [data-person]").bounding_box()["x"]
    page.wait_for_function(
        "x => { const mark = document.querySelector('#faces [data-person]');"
        " return mark && mark.getBoundingClientRect().x > x + 1; }",
        arg=first,
    )


def test_the_page_of_several_people_is_accessible(page: Any, violations: Callable[..., list[str]]) -> None:
    assert violations(page) == []
