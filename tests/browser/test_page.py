"""The report's page in a browser: it loads alone and in silence, plays what is clicked, and obeys keys and wheel."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import media_factory
import numpy as np
import pytest
import report_factory as factory
from open_page import at, rewind, track

from pipeline.report.page import page_html

Visit = Callable[..., Any]

ALL_LANES = (
    "frames forged-visual forged-audio forged-both visual audio joint visual_error audio_error spectrogram"
)
REPORTS = {
    "forged": (factory.forged(), ALL_LANES),
    "authentic": (factory.authentic(), ALL_LANES),
    "undecided": (factory.undecided(), ALL_LANES),
    "gaps": (factory.gaps(), ALL_LANES),
    "picture only": (factory.one_track("visual"), "frames forged-visual visual visual_error"),
    "sound only": (factory.one_track("audio"), "forged-audio audio audio_error spectrogram"),
}
"""Reports and the lanes of their timeline: what was analysed, and only that."""

WATCH = """() => {
    const player = document.getElementById("player");
    window.heard = [];
    for (const type of ["seeked", "play", "pause"])
        player.addEventListener(type, () => window.heard.push([type, player.currentTime]));
}"""


@pytest.fixture(scope="module")
def playing(keep: Visit, clip: Path) -> Any:
    shutil.copy(clip, keep.folder)
    page = keep(page_html(factory.forged(), None, clip.name), "playing.html")
    page.evaluate(WATCH)
    return page


@pytest.fixture
def player(playing: Any) -> Any:
    """A forged report with a clip; `heard` is what the player did since, with the clip's time."""
    rewind(playing)
    playing.wait_for_function("() => !player.seeking")
    playing.evaluate("() => { window.heard = []; }")
    return playing


@pytest.mark.parametrize("kind", REPORTS)
def test_each_kind_of_report_loads_from_one_file_alone(visit: Visit, noise: Any, kind: str) -> None:
    report, lanes = REPORTS[kind]
    page = visit(page_html(report, factory.pictures(report), None))
    assert [url for url in noise.requests if not url.startswith(("data:", "blob:"))] == [page.url]
    assert "An indication, not proof." in page.inner_text("#verdict")
    assert page.get_attribute("#verdict", "data-verdict") == report.verdict
    assert page.locator("#intervals tbody tr").count() == len(report.intervals)
    assert page.locator("[data-interval]").count() == len(report.intervals)
    shown = page.evaluate(
        "() => [...document.querySelectorAll('[data-lane]')].map(lane => lane.dataset.lane)"
    )
    assert shown == lanes.split()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_verdict_is_seen_in_its_colour_and_the_line_beside_its_score(visit: Visit, scheme: str) -> None:
    makers = (factory.forged, factory.undecided, factory.authentic, factory.faceless, factory.abstained)
    inks, edges = [], []
    for make in makers:
        page = visit(page_html(make(), None, None), color_scheme=scheme)
        style = "(each, name) => getComputedStyle(each).getPropertyValue(name)"
        inks.append(page.locator("#finding").evaluate(style, "color"))
        edges.append(page.locator("#verdict").evaluate(style, "border-left-color"))
        assert page.locator("#decision").count() == (make is not factory.abstained)
        if make is factory.undecided:
            box, score, line = (
                page.locator(f"#decision {each}").bounding_box()
                for each in ("svg", "rect.score", "line.decides")
            )
            middle = line["x"] + line["width"] / 2
            assert score["x"] + score["width"] < middle
            assert (middle - box["x"]) / box["width"] == pytest.approx(0.62, abs=0.02)
    assert inks == edges
    red, amber, green, grey, none = (tuple(map(int, re.findall(r"\d+", ink))) for ink in inks)
    assert red[0] > 1.2 * max(red[1:])
    assert amber[0] > amber[1] > amber[2]
    assert green[1] > 1.2 * max(green[0], green[2])
    assert max(grey) - min(grey) < 40  # half of that clip was not assessable
    assert none == grey


def test_the_strongest_segment_below_the_line_is_framed_where_it_lies(visit: Visit) -> None:
    page = visit(page_html(factory.undecided(), None, None))
    amber = page.evaluate("() => getComputedStyle(document.documentElement).getPropertyValue('--undecided')")
    count = """([lane, hex]) => {
        const canvas = document.querySelector(`[data-lane="${lane}"] canvas`), wide = canvas.width;
        const ink = [1, 3, 5].map(k => parseInt(hex.trim().slice(k, k + 2), 16));
        const pixels = canvas.getContext("2d").getImageData(0, 0, wide, canvas.height).data;
        const columns = new Set();
        for (let k = 0; k < pixels.length; k += 4)
            if (ink.every((value, c) => Math.abs(pixels[k + c] - value) < 12) && pixels[k + 3] > 200)
                columns.add(k / 4 % wide / wide);
        return [columns.size, Math.min(...columns), Math.max(...columns)];
    }"""
    found, first, last = page.evaluate(count, ["audio", amber])
    assert found > 40
    assert 6 * first == pytest.approx(3.2, abs=0.05)
    assert 6 * last == pytest.approx(4.1, abs=0.05)
    assert page.evaluate(count, ["visual", amber])[0] == 0


def test_nothing_injected_can_run_or_reach_the_network(visit: Visit, noise: Any) -> None:
    page = visit(page_html(factory.forged(), None, None))
    noise.provoked = True  # the browser complains about each refusal
    page.evaluate(
        """async () => {
            window.refused = new Set();
            document.addEventListener("securitypolicyviolation", event => refused.add(event.effectiveDirective));
            await fetch("https://elsewhere.example/").catch(() => 0);
            const add = (tag, values) => document.body.append(Object.assign(document.createElement(tag), values));
            add("script", { textContent: "window.ran = true" });
            add("script", { src: "https://elsewhere.example/a.js" });
            add("img", { src: "https://elsewhere.example/a.png" });
            add("iframe", { src: "https://elsewhere.example/" });
            add("style", { textContent: "body { background: url(https://elsewhere.example/b.png) }" });
        }"""
    )
    for directive in ("connect-src", "img-src", "script-src-elem", "style-src-elem", "frame-src"):
        page.wait_for_function("directive => refused.has(directive)", arg=directive)
    assert page.evaluate("() => window.ran") is None
    assert noise.sent == []


@pytest.mark.parametrize(
    ("where", "start_s", "end_s"),
    [
        ('[data-interval="0"]', 1.0, 1.6),
        ('[data-play="1"]', 2.4, 3.0),
        ("#intervals tbody tr:nth-child(3) th", 4.0, 4.8),
    ],
)
def test_a_click_on_an_interval_plays_it_from_its_start_to_its_end(
    player: Any, where: str, start_s: float, end_s: float
) -> None:
    page = player
    page.click(where)
    page.wait_for_function("() => window.heard.some(([type]) => type === 'pause')")
    page.wait_for_function("() => window.heard.at(-1)[0] === 'seeked'")
    heard = page.evaluate("() => window.heard")
    assert next(time for kind, time in heard if kind == "seeked") == pytest.approx(start_s, abs=0.05)
    assert "play" in [kind for kind, _ in heard]
    # However late a busy machine notices the end, the clip ends up there.
    assert page.evaluate("() => player.currentTime") == pytest.approx(end_s, abs=0.001)
    assert at(page) == pytest.approx(end_s, abs=0.001)


def test_a_seek_shows_the_picture_of_that_time_and_not_the_one_before(player: Any) -> None:
    page = player
    for presses, step in ((1, 25), (2, 60)):  # intervals begin at 1.00 and 2.40 s: steps 25 and 60
        page.keyboard.press("]")
        page.wait_for_function(
            "n => window.heard.filter(([type]) => type === 'seeked').length >= n", arg=presses
        )
        page.evaluate("() => { player.controls = false; }")
        shot = cv2.imdecode(np.frombuffer(page.locator("#player").screenshot(), np.uint8), cv2.IMREAD_COLOR)
        height, width = shot.shape[:2]
        left = (width - height * 192 // 128) // 2  # the clip is 192 x 128, black on both sides
        assert media_factory.read_number(shot[:, left : width - left]) == step


def test_keys_move_the_clip_by_steps_seconds_and_intervals(player: Any) -> None:
    page = player
    for key, expected_s in (
        ("]", 1.0),
        ("]", 2.4),
        ("ArrowRight", 2.44),
        ("ArrowRight", 2.48),
        ("ArrowLeft", 2.44),
        ("[", 2.4),
        ("[", 1.0),
        ("Shift+ArrowRight", 2.0),
        ("Shift+ArrowLeft", 1.0),
        ("Shift+ArrowLeft", 0.0),
        ("ArrowLeft", 0.0),
        ("End", 6.0),
        ("]", 4.0),
        ("Home", 0.0),
    ):
        page.keyboard.press(key)
        assert at(page) == pytest.approx(expected_s, abs=0.001), key
        assert page.evaluate("() => player.currentTime") == pytest.approx(expected_s, abs=0.05), key
        assert page.inner_text("#time") == f"00:00:{expected_s:06.3f}"


def test_space_plays_and_pauses(player: Any) -> None:
    page = player
    page.keyboard.press(" ")
    page.wait_for_function("() => !player.paused && player.currentTime > 0.05")
    # The text says what the button does; a pressed "Pause" would be heard as paused.
    assert (page.inner_text("#play"), page.get_attribute("#play", "aria-pressed")) == ("Pause", None)
    page.keyboard.press(" ")
    # The button follows the player's event, which comes after the fact.
    page.wait_for_function("() => player.paused && document.getElementById('play').innerText === 'Play'")
    page.wait_for_function("() => Math.abs(player.currentTime - Number(timeline.dataset.time)) < 0.05")


def test_the_playhead_follows_the_players_own_controls(player: Any) -> None:
    page = player
    page.evaluate("() => { player.currentTime = 3.5; }")
    page.wait_for_function("() => Math.abs(Number(timeline.dataset.time) - 3.5) < 0.001")


@pytest.mark.parametrize("target_s", [5.0, 0.2])
def test_who_seeks_out_of_an_interval_that_plays_is_not_brought_back(player: Any, target_s: float) -> None:
    page = player
    page.locator('[data-play="2"]').click()  # 4.0 to 4.8 s
    page.wait_for_function("() => !player.paused && player.currentTime > 4.05")
    page.evaluate("target => { window.heard = []; player.currentTime = target; }", target_s)
    page.wait_for_function("target => player.currentTime > target + 0.3", arg=target_s)
    assert "pause" not in [kind for kind, _ in page.evaluate("() => window.heard")]
    # Nor is the end of the interval kept for later.
    page.evaluate("() => { window.heard = []; player.currentTime = 4.7; }")
    page.wait_for_function("() => player.currentTime > 5")
    assert "pause" not in [kind for kind, _ in page.evaluate("() => window.heard")]
    page.evaluate("() => player.pause()")


def test_a_seek_inside_the_interval_keeps_its_end(player: Any) -> None:
    page = player
    page.locator('[data-play="2"]').click()
    page.wait_for_function("() => !player.paused && player.currentTime > 4.02")
    page.evaluate("() => { player.currentTime = 4.5; }")
    page.wait_for_function("() => window.heard.some(([type]) => type === 'pause')")
    page.wait_for_function("() => Math.abs(player.currentTime - 4.8) < 0.001")


def test_without_a_clip_the_timeline_works_and_says_so(page: Any) -> None:
    assert page.locator("#no-player").is_visible()
    assert page.locator("#play").is_disabled()
    page.locator('[data-play="2"]').click()
    assert at(page) == 4.0
    assert "Interval 3 of 3" in page.inner_text("#status")


def test_a_clip_that_is_not_there_is_said_to_be_missing(visit: Visit, noise: Any) -> None:
    page = visit(page_html(factory.forged(), None, "gone.mp4"))
    page.wait_for_selector("#no-player:visible")
    assert not page.locator("#player").is_visible()
    page.keyboard.press("]")
    assert at(page) == 1.0
    noise.provoked = True
    assert (noise.errors, noise.dialogs, noise.remote) == ([], [], [])


@pytest.mark.parametrize("media", [None, "gone.mp4"])
def test_the_embedded_preview_plays_where_the_clip_does_not(
    visit: Visit, noise: Any, clip: Path, media: str | None
) -> None:
    report = factory.forged()
    page = visit(page_html(report, factory.pictures(report, preview=clip.read_bytes()), media))
    page.wait_for_selector("#preview-note:visible")
    page.locator('[data-play="0"]').click()
    page.wait_for_function("() => player.currentTime >= 0.95 && player.duration > 5.9")
    assert page.evaluate("() => player.currentSrc.startsWith('data:')")
    noise.provoked = media is not None  # a browser reports the missing file
    assert (noise.errors, noise.remote) == ([], [])


def test_marks_lie_where_the_intervals_are(page: Any) -> None:
    report = factory.forged()
    for k, found in enumerate(report.intervals):
        lane = track(page, f"forged-{found.modality}").bounding_box()
        mark = page.locator(f'[data-interval="{k}"]').bounding_box()
        assert (mark["x"] - lane["x"]) / lane["width"] == pytest.approx(found.start_s / 6, abs=0.003)
        assert mark["width"] / lane["width"] == pytest.approx((found.end_s - found.start_s) / 6, abs=0.003)


def test_a_click_beside_the_marks_seeks_there(page: Any) -> None:
    lane = track(page, "joint")
    width = lane.bounding_box()["width"]
    lane.click(position={"x": width / 3, "y": 10})
    assert at(page) == pytest.approx(2.0, abs=6 / width * 2)


def test_the_readout_gives_the_reports_own_values(page: Any) -> None:
    report = factory.forged()
    page.keyboard.press("]")
    curves = report.scores.curves()
    for name, label in (("visual", "picture score"), ("audio_error", "sound reconstruction error")):
        values = curves[name]
        assert values is not None
        assert f"{label} {values[25]:.2f}" in page.inner_text("#readout")


def test_the_readout_follows_the_pointer_and_returns(visit: Visit) -> None:
    page = visit(page_html(factory.gaps(), None, None))
    lane = track(page, "visual")
    width = lane.bounding_box()["width"]
    lane.hover(position={"x": width * 2.5 / 6, "y": 10})  # inside the picture's gap
    assert page.inner_text("#readout").startswith("00:00:02.")
    assert "picture score none" in page.inner_text("#readout")
    page.mouse.move(5, 5)
    assert page.inner_text("#readout").startswith("00:00:00.000")


def test_the_question_mark_opens_the_keys(page: Any) -> None:
    assert page.get_attribute("#keys", "open") is None
    page.keyboard.press("?")
    assert page.get_attribute("#keys", "open") is not None
    assert page.evaluate("() => document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("?")
    assert page.get_attribute("#keys", "open") is None


def test_keys_are_left_to_those_who_need_them(page: Any) -> None:
    page.keyboard.press("Control+]")
    page.keyboard.press("Alt+ArrowRight")
    assert at(page) == 0
    page.keyboard.press("?")
    page.focus("#shortcuts")
    page.keyboard.press("]")  # a control has the focus: its keys are its own
    assert at(page) == 0
    page.keyboard.press(" ")
    assert not page.is_checked("#shortcuts")
    page.focus("#timeline")
    page.keyboard.press("]")  # switched off
    assert at(page) == 0
    page.check("#shortcuts")
    page.focus("#timeline")
    page.keyboard.press("]")
    assert at(page) == 1.0


def test_stills_are_the_reports_and_seek(page: Any) -> None:
    pictures = factory.pictures(factory.forged())
    assert page.locator("figure[data-place]").count() == 15
    first = next(still for still in pictures.stills if still.interval == 1 and still.place == "start")
    source = page.locator('#frames-2 figure[data-place="start"] img').get_attribute("src")
    assert base64.b64decode(source.split(",")[1]) == first.jpeg
    page.locator('#frames-2 figure[data-place="start"] img').click()
    assert at(page) == 2.4
