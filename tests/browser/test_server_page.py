"""The page of `pipeline serve` in a browser: drop, watch, open, cancel and delete; for everybody, and in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_analyst import Server

from pipeline.server.jobs import Job, Jobs

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "data", most_bytes=50_000)
    yield running
    running.kill()


@pytest.fixture
def opened(browser: Any, server: Server, noise: Any) -> Iterator[Callable[..., Any]]:
    """Opens the page; at the end it must have asked nobody else, and have said nothing."""
    contexts = list[Any]()

    def visit(**settings: Any) -> Any:
        context = browser.new_context(**settings)
        context.set_default_timeout(30_000)
        noise.listen(context)
        contexts.append(context)
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/")
        return page

    yield visit
    for context in contexts:
        context.close()
    own = f"http://127.0.0.1:{server.port}/"
    assert [url for url in noise.requests if not url.startswith((own, "data:"))] == []
    # A refused upload is an answer; browsers note it in the console by themselves.
    assert [text for text in noise.console if "status of 413" not in text] == []
    assert (noise.errors, noise.dialogs) == ([], [])


def choose(page: Any, *names: str, size: int = 5) -> None:
    files = [{"name": name, "mimeType": "video/mp4", "buffer": b"x" * size} for name in names]
    page.set_input_files("#choose", files)


def row(page: Any, name: str) -> Any:
    return page.locator("#list li", has=page.get_by_text(name, exact=True))


def test_files_become_reports_that_open_and_go(opened: Callable[..., Any]) -> None:
    page = opened()
    assert page.get_by_text("None yet.").is_visible()
    choose(page, "one.mp4", "bad.txt")
    row(page, "one.mp4").get_by_text("no forgery found").wait_for()
    row(page, "bad.txt").get_by_text("bad.txt: nothing to see; give a video").wait_for()
    address = page.get_by_role("link", name="Open the report on one.mp4").get_attribute("href")
    assert page.request.get(
        address if address.startswith("http") else page.url.rstrip("/") + address
    ).text() == ("html of one.mp4")
    page.get_by_role("button", name="Delete one.mp4").click()
    row(page, "one.mp4").wait_for(state="detached")
    assert row(page, "bad.txt").is_visible()


def test_a_dropped_file_is_taken_and_a_running_one_cancelled(opened: Callable[..., Any]) -> None:
    page = opened()
    data = page.evaluate_handle(
        "() => { const data = new DataTransfer(); data.items.add(new File(['x'], 'slow.mp4')); return data; }"
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    page.get_by_role("progressbar", name="Progress of slow.mp4").wait_for()
    row(page, "slow.mp4").get_by_text("look 25 %").wait_for()
    page.get_by_role("button", name="Cancel slow.mp4").click()
    row(page, "slow.mp4").get_by_text("cancelled; upload it again").wait_for()


def test_what_is_refused_says_why_and_the_next_one_is_taken(opened: Callable[..., Any]) -> None:
    page = opened()
    choose(page, "large.mp4", size=60_000)
    page.get_by_text("large.mp4: the file is larger than 5e-05 GB").wait_for()
    choose(page, "small.mp4")
    row(page, "small.mp4").get_by_text("no forgery found").wait_for()


def test_a_file_that_misses_the_field_does_not_replace_the_page(opened: Callable[..., Any]) -> None:
    page = opened()
    for kind in ("dragover", "drop"):
        script = (
            f"document.body.dispatchEvent(new DragEvent('{kind}', {{ bubbles: true, cancelable: true }}))"
        )
        assert page.evaluate(script) is False  # the browser's own way is off


def test_any_number_of_older_ones_can_be_shown(opened: Callable[..., Any], tmp_path: Path) -> None:
    queue = Jobs(tmp_path / "data" / "jobs.sqlite")
    for k in range(560):
        queue.add(Job(Jobs.new_id(), f"{k}.mp4", 1, float(k), state="done", ended=4e9))
    page = opened()
    for there in (50, 150, 250, 350, 450, 550):
        page.locator("#list li").nth(there - 1).wait_for()
        page.get_by_role("button", name="Show older ones").click()
    page.locator("#list li").nth(559).wait_for()
    assert page.get_by_role("button", name="Show older ones").is_hidden()


def test_what_is_wrong_is_said_and_not_that_the_server_is_gone(opened: Callable[..., Any]) -> None:
    page = opened()
    problem = '{"detail": "a token is needed", "fix": "open the address"}'
    page.evaluate(
        "text => { window.fetch = async () => new Response(text, { status: 401 }); refresh(); }", problem
    )
    page.get_by_text("a token is needed; open the address").wait_for()
    page.evaluate("() => { window.fetch = async () => new Response('Oops', { status: 500 }); refresh(); }")
    page.get_by_text("the server answered with status 500").wait_for()
    page.evaluate(
        "() => { window.fetch = async () => { throw new TypeError('Failed to fetch'); }; refresh(); }"
    )
    page.get_by_text("The server does not answer.").wait_for()


def test_names_that_mean_harm_are_text(opened: Callable[..., Any]) -> None:
    page = opened()
    choose(page, "<img src=x onerror=alert(1)>.mp4")
    row(page, "<img src=x onerror=alert(1)>.mp4").get_by_text("no forgery found").wait_for()
    assert page.locator("#list img").count() == 0


@pytest.mark.parametrize("settings", [{}, PHONE, {"color_scheme": "dark"}], ids=["desk", "phone", "dark"])
def test_nobody_is_kept_out(
    opened: Callable[..., Any], violations: Callable[..., list[str]], settings: dict[str, Any]
) -> None:
    page = opened(**settings)
    choose(page, "one.mp4", "bad.txt", "slow.mp4")
    row(page, "one.mp4").get_by_text("no forgery found").wait_for()
    page.get_by_role("button", name="Cancel slow.mp4").wait_for()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_keyboard_reaches_everything(opened: Callable[..., Any]) -> None:
    page = opened()
    choose(page, "one.mp4")
    page.get_by_role("link", name="Open the report on one.mp4").wait_for()
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert reached[:3] == ["choose", "Open report", "Delete"]
    page.get_by_role("button", name="Delete one.mp4").focus()
    page.keyboard.press("Enter")
    page.get_by_text("None yet.").wait_for()
