"""A headless Chromium for the tests of the pages; without one they are skipped. See install.sh.

Whatever else a test looks at, the page must have been silent: no console message, no error, no dialog, and no
request that leaves the machine.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import media_factory
import pytest
import report_factory as factory
from open_page import rewind

from data.files import write_text
from pipeline.report.page import page_html

LOCAL = ("file:", "data:", "blob:")

ARGUMENTS = (
    "--no-sandbox",  # containers run as root, where the sandbox does not start
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

CLIP_S = 6.0


def chromium() -> str | None:
    """The first Chromium on the PATH that answers; some systems have a stub that only says what to install."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found and subprocess.run([found, "--version"], capture_output=True).returncode == 0:
            return found
    return None


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One browser for all tests of a process; each test gets a context of its own from `visit`."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="browser tests need the extra `dev`")
    executable = chromium()
    if executable is None:
        pytest.skip("no Chromium on the PATH; tests/browser/install.sh installs one where it can")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield running
        running.close()


@dataclass
class Noise:
    """What a page did that a silent page does not."""

    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Requests that the page's own policy stopped, so that they were never sent."""
    provoked: bool = False
    """Set by a test that makes noise on purpose and looks at it itself."""

    def listen(self, context: Any) -> None:
        """Record from every page of the context."""
        context.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        context.on("dialog", self._dismiss)
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("requestfailed", self._fail)

    def _dismiss(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def _fail(self, request: Any) -> None:
        if request.failure == "csp":
            self.refused.append(request.url)

    @property
    def sent(self) -> list[str]:
        """Remote requests that left, answered or not."""
        return [url for url in self.remote if url not in self.refused]

    @property
    def remote(self) -> list[str]:
        """Requests for anything outside the machine's own files."""
        return [url for url in self.requests if not url.startswith(LOCAL)]

    def check(self) -> None:
        """Raises AssertionError when the page was not silent."""
        heard = [*self.console, *self.errors, *self.dialogs, *self.remote]
        assert not heard, f"the page was not silent: {heard}"


class Visits:
    """Opens pages from files in `folder`, each in a context of its own."""

    def __init__(self, browser: Any, folder: Path, noise: Noise) -> None:
        self.browser, self.folder, self.noise = browser, folder, noise
        self.contexts: list[Any] = []

    def __call__(
        self, html: str, name: str = "page.html", script: str = "", live: bool = True, **settings: Any
    ) -> Any:
        """The page, with `settings` of its context; `script` runs before its own, `live` waits for what that draws."""
        context = self.browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **settings})
        context.set_default_timeout(30_000)
        context.add_init_script(script)
        self.noise.listen(context)
        self.contexts.append(context)
        path = self.folder / name
        write_text(path, html)
        page = context.new_page()
        page.goto(path.as_uri())
        if live:
            page.wait_for_selector("html[data-ready], #filters:not([hidden])", state="attached")
        return page

    def close(self) -> None:
        """Close the pages and see that they were silent."""
        for context in self.contexts:
            context.close()
        if not self.noise.provoked:
            self.noise.check()


@pytest.fixture
def noise() -> Noise:
    """What the pages of `visit` did so far in this test."""
    return Noise()


@pytest.fixture
def visit(browser: Any, tmp_path: Path, noise: Noise) -> Iterator[Visits]:
    """Opens pages for one test."""
    visits = Visits(browser, tmp_path, noise)
    yield visits
    visits.close()


@pytest.fixture(scope="module")
def keep(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visits]:
    """Opens pages that the tests of a module share, because opening one takes longer than most tests."""
    visits = Visits(browser, tmp_path_factory.mktemp("pages"), Noise())
    yield visits
    visits.close()


@pytest.fixture(scope="module")
def opened(keep: Visits) -> Any:
    return keep(page_html(factory.forged(), factory.pictures(factory.forged()), None))


@pytest.fixture
def page(opened: Any) -> Any:
    """A forged report without a clip, as it opens; some modules have another page of this name."""
    return rewind(opened)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds that a browser plays, each picture with its number (`media_factory.read_number`)."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    media_factory.write(
        path, n=round(CLIP_S * 25), audio_seconds=CLIP_S, size=(192, 128), options={"g": "25"}
    )
    return path


@pytest.fixture(scope="session")
def violations() -> Callable[..., list[str]]:
    """What axe finds wrong with a page, by WCAG 2.2 A and AA and its own best practice, or by the rules named alone."""
    base = pytest.importorskip("axe_playwright_python.base", reason="axe needs the extra `dev`")
    levels = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

    def find(page: Any, *rules: str) -> list[str]:
        options = {"runOnly": list(rules) or levels, "resultTypes": ["violations"]}
        page.evaluate(f"() => {{ if (!window.axe) {{ {base.AXE_SCRIPT} }} }}")
        result = page.evaluate("options => axe.run(document, options)", options)
        assert result["passes"], "axe looked at nothing"
        return [
            f"{each['id']}: {node['html'][:120]} ({node['failureSummary']})"
            for each in result["violations"]
            for node in each["nodes"]
        ]

    return find
