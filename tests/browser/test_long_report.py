"""An hour is 90,000 steps: its page stays small, draws little, and loses no peak at any zoom.

Nothing here is timed. What is counted is what time goes into: bytes, elements, and strokes per picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import report_factory as factory

from pipeline.report.page import page_html

Visit = Callable[..., Any]

STEP_S = 1 / 25
CURVES = ("visual", "audio", "joint", "visual_error", "audio_error")

COUNT = """
window.strokes = 0;
for (const name of ["lineTo", "moveTo", "rect", "fillRect", "strokeRect", "fillText", "drawImage"]) {
    const draw = CanvasRenderingContext2D.prototype[name];
    CanvasRenderingContext2D.prototype[name] = function (...values) {
        window.strokes++;
        return draw.apply(this, values);
    };
}
"""

# `heights(lane, times, reach)`: how far up the curve is drawn within `reach` pixels of each time, as a share of the
# lane from its upper edge. `descend(time)`: to the narrowest view as a user does, by a click into the ruler and +,
# over and over; `each` is called at every zoom.
TOOLS = """
window.drawn = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
window.heights = (lane, times, reach) => {
    const canvas = document.querySelector(`[data-lane="${lane}"] canvas`), { width, height } = canvas;
    const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const pixels = copy.getImageData(0, 0, width, height).data, { viewStart, viewEnd } = timeline.dataset;
    const ink = getComputedStyle(canvas.parentNode.querySelector("path")).stroke.match(/\\d+/g).map(Number);
    const inked = at => pixels[at + 3] > 150 && ink.every((value, k) => Math.abs(value - pixels[at + k]) < 40);
    return times.map(time => {
        const centre = Math.round((time - viewStart) / (viewEnd - viewStart) * width - 0.5);
        for (let y = 0; y < height; y++)
            for (let x = Math.max(0, centre - reach); x <= Math.min(width - 1, centre + reach); x++)
                if (inked(4 * (y * width + x))) return y / height;
        return 1;
    });
};
window.descend = async (time, each) => {
    const ruler = document.querySelector(".ruler .track"), views = [];
    for (let k = 0; k < 20; k++) {
        await drawn();
        const start = Number(timeline.dataset.viewStart), end = Number(timeline.dataset.viewEnd);
        views.push(await each(start, end));
        if (document.getElementById("zoom-in").disabled) break;
        const box = ruler.getBoundingClientRect(), clientX = box.left + (time - start) / (end - start) * box.width;
        for (const type of ["pointerdown", "pointerup"])
            ruler.dispatchEvent(new PointerEvent(type, { clientX, clientY: box.top + 5, pointerId: 1, bubbles: true }));
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "+", bubbles: true }));
    }
    return views;
};
"""

PEAKS = """async ([time, peaks, lanes]) => descend(time, (start, end) => {
    const inside = peaks.filter(peak => start <= peak && peak < end);
    return [start, end, inside.length, Math.max(...lanes.flatMap(lane => heights(lane, inside, 2)))];
})"""


def centre_s(step: int) -> float:
    return (step + 0.5) * STEP_S


@pytest.fixture(scope="module")
def text() -> str:
    report = factory.hour()
    return page_html(report, factory.pictures(report), None)


@pytest.fixture(scope="module")
def opened(keep: Visit, text: str) -> Any:
    return keep(text, script=COUNT + TOOLS)


@pytest.fixture
def page(opened: Any) -> Any:
    """The page at its beginning, the whole hour in view."""
    opened.keyboard.press("0")
    opened.keyboard.press("Home")
    opened.evaluate("() => drawn()")
    return opened


def test_the_page_is_small(page: Any, text: str) -> None:
    assert len(text.encode()) < 1_000_000
    assert page.evaluate("() => document.querySelectorAll('*').length") < 5_000


def test_a_picture_takes_strokes_by_its_width_and_not_by_its_hours(page: Any) -> None:
    counts = page.evaluate(
        """() => {
            window.strokes = 0;
            return descend(1800, () => { const count = window.strokes; window.strokes = 0; return count; });
        }"""
    )
    assert len(counts) >= 13  # 3600 s halved to 0.44 s and less
    # Two ends of a line for each column of pixels, in five curves and the overview; a few hundred for marks and ticks.
    width = page.locator('[data-lane="joint"]').bounding_box()["width"]
    assert max(counts) < (len(CURVES) + 1) * 2 * width + 600
    # At the narrowest view the overview is what is left: the curves have ten steps each.
    assert counts[-1] < 3 * width


def test_no_peak_is_lost_at_any_zoom(page: Any) -> None:
    peaks = [centre_s(each) for each in factory.HOUR_PEAKS]
    for step in (0, 61_250, 89_999):
        assert step in factory.HOUR_PEAKS
        page.keyboard.press("0")
        views = page.evaluate(PEAKS, [centre_s(step), peaks, CURVES])
        assert tuple(views[0][:3]) == (0, 3600, len(peaks))
        assert views[-1][1] - views[-1][0] == pytest.approx(0.4)
        for start_s, end_s, inside, lowest in views:
            assert inside >= 1
            # A peak reaches the edge (but for the curve's margin); all other steps stay below 84 % of the height.
            assert lowest < 0.1, f"a peak is lost between {start_s} and {end_s} s"
    # What is found at peaks is found nowhere else.
    page.keyboard.press("0")
    quiet = [centre_s(step) for step in (500, 12_000, 50_000)]
    lowest = page.evaluate(
        "async ([times]) => { await drawn(); return heights('visual_error', times, 2); }", [quiet]
    )
    assert min(lowest) > 0.5


def test_two_seconds_show_every_step_at_its_height(page: Any) -> None:
    values = factory.hour().scores.audio
    assert values is not None
    start_s, end_s, heights = page.evaluate(
        """async ([time, centres]) => (await descend(time, (start, end) =>
            [start, end, end - start < 2.5 ? heights("audio", centres.filter(t => start < t && t < end), 0) : null]
        )).find(([start, end]) => end - start < 2.5)""",
        [2475.0, [centre_s(step) for step in range(61_800, 61_950)]],
    )
    assert end_s - start_s == pytest.approx(3600 / 2**11)  # 1.76 s
    steps = [step for step in range(61_800, 61_950) if start_s < centre_s(step) < end_s]
    assert len(steps) == len(heights) >= 43
    lane = page.locator('[data-lane="audio"] canvas').bounding_box()["height"]
    # A margin of 3 pixels above and below; the mark of a step reaches 2 pixels above its value.
    expected = (3 + (lane - 6) * (1 - values[steps])) / lane
    assert np.ptp(expected) > 0.5  # an interval begins inside
    np.testing.assert_allclose(heights, expected, atol=4 / lane)


def test_the_readout_of_a_step_is_its_value(page: Any) -> None:
    values = factory.hour().scores.visual
    assert values is not None
    page.keyboard.press("]")  # the first interval begins at 75.00 s, step 1875
    for step in (1875, 1876, 1877):
        shown = float(page.inner_text("#readout").split("picture score ")[1].split(",")[0])
        assert shown == pytest.approx(values[step], abs=0.5 / 254 + 0.005)
        page.keyboard.press("ArrowRight")
