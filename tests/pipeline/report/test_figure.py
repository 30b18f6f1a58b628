"""The figure for a paper shows the report's curves, and the same report gives the same file."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import cv2
import numpy as np
import pytest
from report_factory import authentic, concluded, forged, gaps, hostile, one_track

from data.errors import UsageError
from data.timeline import TimeGrid
from pipeline.report.figure import figure

pytest.importorskip("matplotlib", reason="figures need the extra `figures`")

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawn() -> bytes:
    """The SVG of `forged`, made once."""
    return figure(forged(), "svg")


def groups(svg: bytes, name: str) -> list[ET.Element]:
    """Groups that matplotlib names so, such as one per line or shaded span."""
    return [group for group in ET.fromstring(svg).iter(f"{SVG}g") if group.get("id", "").startswith(name)]


def colours(svg: bytes) -> set[str]:
    """Colours of lines and areas, in lower case."""
    styles = [element.get("style", "") for element in ET.fromstring(svg).iter()]
    return {part.split(":")[1].strip() for style in styles for part in style.split(";") if "#" in part}


def test_the_same_report_gives_the_same_bytes(drawn: bytes) -> None:
    assert figure(forged(), "svg") == drawn


def test_a_png_is_a_picture_of_2100_by_1080() -> None:
    png = figure(forged(), "png")
    assert figure(forged(), "png") == png
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (1080, 2100, 3)  # 7.0 by 3.6 inches at 300 dots
    # The blue of the visual curve (0, 114, 178) is there, as BGR.
    assert (np.abs(image.astype(int) - (178, 114, 0)).max(axis=2) < 8).sum() > 500


def test_an_svg_needs_no_fonts_and_holds_no_date(drawn: bytes) -> None:
    root = ET.fromstring(drawn)
    assert root.tag == f"{SVG}svg"
    assert not list(root.iter(f"{SVG}text"))
    assert b"<dc:date>" not in drawn
    assert not list(root.iter(f"{SVG}image"))


def test_each_interval_is_shaded_in_both_panels() -> None:
    # Two panels and the figure itself have a patch of background each, spines come in pairs of two per panel.
    shaded = len(groups(figure(forged(), "svg"), "patch_")) - len(
        groups(figure(authentic(), "svg"), "patch_")
    )
    assert shaded == 2 * len(forged().intervals)
    assert {"#56b4e9", "#66c2a5", "#cc79a7"} <= colours(figure(forged(), "svg"))
    assert not {"#56b4e9", "#66c2a5"} & colours(figure(authentic(), "svg"))


def test_a_track_that_the_clip_lacks_has_no_curve() -> None:
    assert "#0072b2" in colours(figure(one_track("visual"), "svg"))
    assert "#0072b2" not in colours(figure(one_track("audio"), "svg"))


def test_thresholds_are_where_the_report_says(drawn: bytes) -> None:
    low = concluded(forged(), thresholds=replace(forged().finding.thresholds, onset=0.3))
    assert figure(low, "svg") != drawn


def test_steps_without_media_leave_holes() -> None:
    holes = gaps()
    assert holes.scores.visual is not None
    filled = replace(holes, scores=replace(holes.scores, visual=np.nan_to_num(holes.scores.visual, nan=0.2)))
    assert figure(holes, "svg") != figure(filled, "svg")


def test_names_do_not_reach_the_figure(drawn: bytes) -> None:
    assert figure(hostile()[0], "svg") == drawn


def test_a_clip_without_a_step_is_drawn_too() -> None:
    empty = np.zeros(0, np.float32)
    scores = replace(
        authentic().scores,
        grid=TimeGrid.at_rate(25, 0),
        **dict.fromkeys(authentic().scores.curves(), empty),
    )
    assert figure(authentic(scores=scores), "svg").startswith(b"<?xml")


def test_what_people_set_in_matplotlib_changes_nothing(drawn: bytes) -> None:
    import matplotlib

    with matplotlib.rc_context({"lines.linewidth": 9, "text.usetex": True, "axes.facecolor": "red"}):
        assert figure(forged(), "svg") == drawn


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"figures need matplotlib.*\.\[figures\]"):
        figure(forged(), "svg")
