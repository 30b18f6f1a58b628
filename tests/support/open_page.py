"""Reads and resets the page of a report that is open in a browser."""

from __future__ import annotations

from typing import Any


def at(page: Any) -> float:
    """Where the playhead says that it is, seconds."""
    return float(page.get_attribute("#timeline", "data-time"))


def view(page: Any) -> tuple[float, float]:
    """Seconds of the timeline in view, once they are drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    box = page.locator("#timeline")
    return float(box.get_attribute("data-view-start")), float(box.get_attribute("data-view-end"))


def track(page: Any, lane: str) -> Any:
    """The drawing area of a lane, which spans the time in view; the mouse only reaches what is on the screen."""
    area = page.locator(f'[data-lane="{lane}"]')
    area.scroll_into_view_if_needed()
    return area


def rewind(page: Any) -> Any:
    """The page as it opens: at its start, the whole clip in view, nothing opened."""
    page.evaluate("() => { scrollTo(0, 0); document.activeElement.blur(); }")
    page.mouse.move(2, 2)
    page.evaluate("() => { keys.open = false; shortcuts.checked = true; if (window.player) player.pause(); }")
    page.keyboard.press("0")
    page.keyboard.press("Home")
    assert (view(page), at(page)) == ((0, 6), 0)
    return page
