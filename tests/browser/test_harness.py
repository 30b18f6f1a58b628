"""The tests of the pages hear and see what they claim to: a page with each fault is caught."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import media_factory
import numpy as np
import pytest

Visit = Callable[..., Any]
Violations = Callable[..., list[str]]

BARE = '<!DOCTYPE html><html lang="en"><head><title>t</title></head><body><main><h1>h</h1>{}</main></body></html>'


def test_every_kind_of_noise_is_heard(visit: Visit, noise: Any) -> None:
    noise.provoked = True
    visit(
        BARE.format(
            """<img alt="" src="https://pictures.example/a.png">
            <script>console.warn('odd'); console.error('bad'); alert('hello')</script>
            <script>fetch('https://elsewhere.example/').catch(() => 0)</script>
            <script>nothing.at.all</script>"""
        ),
        live=False,
    )
    assert {"warning: odd", "error: bad"} <= set(noise.console)
    assert noise.dialogs == ["hello"]
    assert noise.sent == ["https://pictures.example/a.png", "https://elsewhere.example/"]
    assert "nothing is not defined" in noise.errors[0]
    with pytest.raises(AssertionError, match="not silent"):
        noise.check()


def test_axe_sees_faults(visit: Visit, violations: Violations) -> None:
    faults = {
        "button-name": "<button></button>",
        "color-contrast": '<p style="color:#bbb;background:#fff">faint</p>',
        "image-alt": '<img src="data:,">',
        "heading-order": "<h3>too deep</h3>",
        "target-size": '<a href="#a" style="font-size:9px">a</a><a href="#b" style="font-size:9px">b</a>',
    }
    found = violations(visit(BARE.format("".join(faults.values())), live=False))
    assert {line.split(":")[0] for line in found} >= set(faults)


def test_axe_finds_nothing_where_nothing_is_wrong(visit: Visit, violations: Violations) -> None:
    assert violations(visit(BARE.format("<p>plain</p>"), live=False)) == []


def test_the_clip_plays_and_shows_the_picture_of_its_time(visit: Visit, clip: Path) -> None:
    page = visit(BARE.format(f'<video src="{clip.as_uri()}" muted style="width:192px"></video>'), live=False)
    # What was asked for before the clip is known can be forgotten on a busy machine, so ask then, and again.
    page.wait_for_function("document.querySelector('video').readyState > 0")
    # Neither "seeked" nor the frame callback means that the picture is on the page: on a busy machine it comes later.
    read, until, asked = None, time.monotonic() + 20, 0
    while read != 75 and time.monotonic() < until:  # step 75 begins at 3.00 s
        if asked % 20 == 0:
            page.evaluate(f"document.querySelector('video').currentTime = 3.0201 + {asked} / 1e5")
        asked += 1
        shown = page.locator("video").screenshot()
        read = media_factory.read_number(cv2.imdecode(np.frombuffer(shown, np.uint8), cv2.IMREAD_COLOR))
    assert read == 75
