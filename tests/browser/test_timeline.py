"""The report's timeline in a browser: what is in view, by buttons, keys, wheel, drag and minimap."""

from __future__ import annotations

from typing import Any

import pytest
from open_page import at, track, view

STEP_S = 1 / 25


def test_buttons_zoom_about_the_playhead(page: Any) -> None:
    page.keyboard.press("]")
    before = page.locator("#playhead").bounding_box()["x"]
    assert page.locator("#zoom-out").is_disabled()
    page.click("#zoom-in")
    assert view(page) == pytest.approx((0.5, 3.5))  # half of 6 s, with 1.0 s at its sixth
    assert at(page) == 1.0
    assert page.locator("#playhead").bounding_box()["x"] == pytest.approx(before, abs=1)
    page.click("#zoom-out")
    assert view(page) == pytest.approx((0, 6))
    page.click("#zoom-in")
    page.click("#zoom-in")
    page.click("#zoom-reset")
    assert view(page) == (0, 6)


def test_keys_zoom_down_to_ten_steps(page: Any) -> None:
    page.keyboard.press("+")
    assert view(page) == pytest.approx((0, 3))
    page.keyboard.press("-")
    assert view(page) == pytest.approx((0, 6))
    for _ in range(8):
        page.keyboard.press("+")
    start_s, end_s = view(page)
    assert end_s - start_s == pytest.approx(10 * STEP_S)
    assert page.locator("#zoom-in").is_disabled()
    page.keyboard.press("0")
    assert view(page) == (0, 6)


def test_the_wheel_zooms_about_the_pointer(page: Any) -> None:
    page.keyboard.press("]")
    box = track(page, "joint").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    page.wait_for_function("() => Number(timeline.dataset.viewStart) > 0")
    start_s, end_s = view(page)
    assert end_s - start_s < 5
    assert (start_s + end_s) / 2 == pytest.approx(3.0, abs=0.02)
    assert at(page) == 1.0


def test_a_plain_wheel_scrolls_the_page_until_the_timeline_has_the_focus(page: Any) -> None:
    page.click("#zoom-in")
    assert view(page) == pytest.approx((0, 3))
    box = track(page, "visual").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 10)
    page.mouse.wheel(0, 60)
    page.wait_for_function("() => scrollY > 0")
    assert view(page) == pytest.approx((0, 3))
    page.focus("#timeline")
    page.mouse.wheel(0, 60)
    page.wait_for_function("() => timeline.dataset.viewEnd > 3.1")


def test_a_drag_pans_and_does_not_seek(page: Any) -> None:
    page.click("#zoom-in")
    assert view(page) == pytest.approx((0, 3))
    box = track(page, "joint").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 10, steps=4)
    page.mouse.up()
    assert view(page) == pytest.approx((1.5, 4.5), abs=0.02)  # half a window of 3 s
    assert at(page) == 0


def test_the_minimap_moves_the_view_by_keys_and_pointer(page: Any) -> None:
    page.click("#zoom-in")
    page.focus("#minimap")
    page.keyboard.press("PageDown")
    assert view(page) == pytest.approx((3, 6))
    page.keyboard.press("Home")
    assert view(page) == pytest.approx((0, 3))
    assert at(page) == 0
    box = page.locator("#minimap").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + 10)
    assert view(page) == pytest.approx((3, 6), abs=0.02)


def test_a_seek_out_of_view_brings_it_into_view(page: Any) -> None:
    for _ in range(3):
        page.click("#zoom-in")
    page.locator('[data-play="2"]').click()
    start_s, end_s = view(page)
    assert start_s <= 4.0 <= end_s
