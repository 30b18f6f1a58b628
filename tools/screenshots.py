"""Make the pictures of the README and of docs/gallery.md from the samples, in a headless Chromium.

    python tools/screenshots.py                      # the samples in examples/, into docs/screenshots
    python tools/screenshots.py --reports DIR        # pages that `pipeline run --input examples --out DIR` left

It needs the extra `dev` and a Chromium on the PATH.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

MOST_BYTES = 250_000
"""A repository is cloned by people who never look at its pictures."""

DESK: dict[str, Any] = {"viewport": {"width": 1200, "height": 900}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 1.5,
    "color_scheme": "dark",
    "is_mobile": True,
    "has_touch": True,
}
SHOTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "forged": ("forged_visual.mp4.html", DESK, ".legend"),
    "voice": ("machine_voice.mp4.html", DESK, ".legend"),
    "folder": ("index.html", DESK, "main"),
    "phone-dark": ("forged_visual.mp4.html", PHONE, ""),
}
"""Name of the picture, the page below the folder of reports, how it is looked at, and what the picture ends with.

Without an end it is what fits on the screen, from the controls on.
"""

SECTIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "declared": ("forged_visual.mp4.html", DESK, "#declared"),
}
"""Name of the picture, the page, how it is looked at, and the one part of it that is shown."""

MARGIN = 24
"""Pixels below the end."""

SEEK = """() => {
    player.controls = false;
    const rows = [...document.querySelectorAll("#intervals tbody tr")];
    const score = row => Number(row.lastElementChild.previousElementSibling.textContent);
    const best = rows.reduce((one, other) => score(other) > score(one) ? other : one, rows[0]);
    if (best) document.querySelector(`#frames-${best.rowIndex} [data-place="middle"] img`).click();
}"""


def main(reports: Path | None, out: Path) -> int:
    """Save one PNG for each of `SHOTS` and `SECTIONS`; the exit code is 1 where there is no Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("no Chromium on the PATH", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        if reports is None:
            reports = Path(folder)
            pipeline = Path(sys.executable).with_name("pipeline")
            subprocess.run([pipeline, "run", "--input", ROOT / "examples", "--out", reports], check=True)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium,
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            )
            for path in (*shoot(browser, reports, out), shoot_server(browser, out)):
                print(path)
            browser.close()
    return 0


def shoot(browser: Any, reports: Path, out: Path) -> Iterator[Path]:
    """Save each page with its clip in the middle of the best interval, and give the file."""
    out.mkdir(parents=True, exist_ok=True)
    for name, (page_name, settings, end) in SHOTS.items():
        context = browser.new_context(**settings)
        page = context.new_page()
        page.goto((reports / page_name).resolve().as_uri())
        page.wait_for_selector("html[data-ready], #filters:not([hidden])", state="attached")
        if page.locator("#player").count():
            page.evaluate(SEEK)
            page.wait_for_function("() => !player.seeking && player.readyState >= 2")
        if end:
            page.evaluate("() => scrollTo(0, 0)")
            box = page.locator(end).bounding_box()
            clip = {
                "x": 0,
                "y": 0,
                "width": settings["viewport"]["width"],
                "height": box["y"] + box["height"] + MARGIN,
            }
            shot = page.screenshot(full_page=True, clip=clip)
        else:
            page.evaluate("() => controls.scrollIntoView()")
            shot = page.screenshot()
        context.close()
        yield _saved(out, name, shot)
    for name, (page_name, settings, part) in SECTIONS.items():
        context = browser.new_context(**settings)
        page = context.new_page()
        page.goto((reports / page_name).resolve().as_uri())
        shot = page.locator(part).screenshot()
        context.close()
        yield _saved(out, name, shot)


def _saved(out: Path, name: str, shot: bytes) -> Path:
    path = out / f"{name}.png"
    path.write_bytes(small(shot))
    return path


def shoot_server(browser: Any, out: Path) -> Path:
    """Save the page of `pipeline serve` with the samples and a file that is none, and give the file."""
    pipeline = Path(sys.executable).with_name("pipeline")
    with tempfile.TemporaryDirectory() as folder:
        command = [str(pipeline), "serve", "--port", "0", "--data", folder]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            context = browser.new_context(viewport={"width": 1000, "height": 720})
            page = context.new_page()
            page.goto(server.stdout.readline().removeprefix("open ").strip())
            page.set_input_files("#choose", [ROOT / "LICENSE", *sorted((ROOT / "examples").glob("*.mp4"))])
            page.wait_for_function(
                "() => list.children.length > 3 &&"
                " !document.querySelector('[data-state=queued], [data-state=running]')",
                timeout=300_000,
            )
            shot = page.screenshot(full_page=True)
            context.close()
        finally:
            server.terminate()
            server.wait()
    path = out / "server.png"
    path.write_bytes(small(shot))
    return path


def small(png: bytes) -> bytes:
    """The picture in at most `MOST_BYTES`, with 256 colours where it takes that.

    Raises ValueError when even that is too large.
    """
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    palette = image.quantize(256)
    for each in (image, image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG), palette):
        packed = io.BytesIO()
        each.save(packed, "PNG", optimize=True)
        if packed.tell() <= MOST_BYTES:
            return packed.getvalue()
    raise ValueError(f"{packed.tell()} bytes are more than {MOST_BYTES}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reports", type=Path, help="pages that are there already")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "screenshots")
    arguments = parser.parse_args()
    raise SystemExit(main(arguments.reports, arguments.out))
