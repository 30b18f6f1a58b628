"""Figures 3 and 4 hold what they claim: as many curves, points and shaded true intervals as there are."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.errors import UsageError
from data.manifest import Sample
from data.timeline import Interval, TimeGrid
from pipeline.localization.scores import ClipScores, Window
from pipeline.reproduction.figures import Discrepancies, discrepancies, draw_discrepancies, draw_sensitivity
from pipeline.reproduction.tables import Line, Spread

pytest.importorskip("matplotlib", reason="figures need the extra `figures`")

SVG = "{http://www.w3.org/2000/svg}"
STEPS = 25
FORGED = {
    1: (Interval(0.2, 0.4),),
    2: (Interval(0.2, 0.4), Interval(0.6, 0.8)),
    3: (Interval(0.2, 0.4),),
    0: (),
}


def sample(number: int, label: int | None) -> Sample:
    return Sample(Path(f"test/{number:06d}.mp4"), label, "test", FORGED[label or 0], 1.0)


def scores(one: Sample, inside: float = 3.0, sound: bool = True) -> ClipScores:
    """Errors of 1 everywhere and of `inside` in the forged steps of the tracks that are forged."""
    grid, nothing = TimeGrid.at_rate(25, STEPS), np.zeros(STEPS, np.float32)
    errors = {}
    for name, bit in (("visual", 1), ("audio", 2)):
        errors[name] = np.ones(STEPS, np.float32)
        for period in one.fake_periods:
            if one.label and one.label & bit:
                errors[name][round(period.start_s * 25) : round(period.end_s * 25)] = inside
    valid = {name: np.ones(STEPS, np.bool_) for name in ("visual", "audio", "joint")}
    valid["visual"][20] = False
    errors["visual"][20] = 99  # never decoded
    audio_error = errors["audio"] if sound else None
    window = (Window(0, STEPS, (0.25,) * 4),)
    return ClipScores(grid, nothing, nothing, nothing, errors["visual"], audio_error, valid, {}, window)


def found(inside: float = 3.0) -> Discrepancies:
    """Two clips of each class, authentic ones first; one that could not be read comes before all."""
    clips = [sample(k, label) for k, label in enumerate((1, 0, 1, 2, 3, 0, 2, 3))]
    return discrepancies([(sample(99, 1), None), *((one, scores(one, inside)) for one in clips)])


def marks(svg: bytes, name: str) -> list[ET.Element]:
    return [group for group in ET.fromstring(svg).iter() if group.get("id", "").startswith(name)]


# --- Figure 4 -----------------------------------------------------------------------------------------------------


def test_the_first_readable_clip_of_each_class_is_shown_in_the_papers_order() -> None:
    shown = found().shown
    assert [clip.label for clip in shown] == ["audio", "both", "visual", "real"]
    assert [clip.file for clip in shown] == [f"test/{k:06d}.mp4" for k in (3, 4, 0, 1)]


def test_a_clip_without_one_of_the_tracks_is_not_shown() -> None:
    silent, whole = sample(0, 1), sample(1, 1)
    mixed = discrepancies([(silent, scores(silent, sound=False)), (whole, scores(whole))])
    assert [clip.file for clip in mixed.shown] == ["test/000001.mp4"]
    assert mixed.clips == {"visual": 2}  # but it counts: its picture was judged


@pytest.mark.parametrize(("inside", "expected"), [(3.0, 1.0), (0.5, 0.0), (1.0, 0.5)])
def test_the_auc_says_whether_errors_rise_where_it_is_forged(inside: float, expected: float) -> None:
    result = found(inside)
    assert result.auc == {"visual": pytest.approx(expected), "audio": pytest.approx(expected)}
    assert result.clips == {"visual": 2, "audio": 2}


def test_without_forged_clips_there_is_no_auc() -> None:
    authentic = sample(0, 0)
    result = discrepancies([(authentic, scores(authentic)), (sample(1, None), scores(sample(1, None)))])
    assert (result.auc, len(result.shown)) == ({}, 1)
    assert draw_discrepancies(result)["svg"]
    assert draw_discrepancies(discrepancies([]))["svg"]


def test_a_clip_in_which_nothing_can_be_judged_is_passed_over() -> None:
    one = sample(0, 1)
    empty = replace(scores(one), visual_error=None, audio_error=None, windows=())
    assert discrepancies([(one, empty), (one, scores(one))]).clips == {"visual": 1}


def test_a_method_that_reconstructs_nothing_is_refused() -> None:
    one = sample(0, 1)
    plain = scores(one)
    bare = ClipScores(**(vars(plain) | {"visual_error": None, "audio_error": None}))
    with pytest.raises(UsageError, match="reconstructs nothing"):
        discrepancies([(one, bare)])


def test_every_curve_and_every_true_interval_is_drawn() -> None:
    svg = draw_discrepancies(found())["svg"]
    assert len(marks(svg, "error-visual")) == len(marks(svg, "error-audio")) == 4
    assert len(marks(svg, "true-interval")) == 2 + 1 + 1 + 0  # audio, both, visual, authentic
    assert draw_discrepancies(found())["svg"] == svg
    assert draw_discrepancies(found(2.0))["svg"] != svg


def test_the_shade_lies_where_the_truth_is() -> None:
    one = sample(0, 1)
    svg = draw_discrepancies(discrepancies([(one, scores(one))]))["svg"]

    def x(name: str) -> list[float]:
        path = next(iter(marks(svg, name)[0].iter(f"{SVG}path"))).get("d", "").split()
        return [float(path[k + 1]) for k, word in enumerate(path) if word in ("M", "L")]

    curve, shade = x("error-visual-visual"), x("true-interval-visual-0")
    # The curve runs from the centre of the first step, 0.02 s, to that of the last, 0.98 s.
    per_s = (max(curve) - min(curve)) / 0.96
    start_s, end_s = (0.02 + (edge - min(curve)) / per_s for edge in (min(shade), max(shade)))
    assert (start_s, end_s) == (pytest.approx(0.2, abs=1e-3), pytest.approx(0.4, abs=1e-3))


def test_the_table_holds_the_curves_as_drawn() -> None:
    rows = list(csv.DictReader(io.StringIO(found().to_csv())))
    assert len(rows) == 4 * STEPS
    visual = [row for row in rows if row["class"] == "visual"]
    assert [row["time_s"] for row in visual[:2]] == ["0.020", "0.060"]
    assert [k for k, row in enumerate(visual) if row["forged"] == "1"] == [5, 6, 7, 8, 9]  # 0.22 to 0.38 s
    # The largest visual error that was decoded is 3.
    assert (visual[5]["visual"], visual[0]["visual"], visual[20]["visual"]) == ("1.00000", "0.33333", "")


def test_the_caption_names_the_clips_and_what_holds_for_all() -> None:
    text = found().markdown("Figure 4")
    assert "- (a) audio only: test/000003.mp4, forged 0.20–0.40 s, 0.60–0.80 s\n" in text
    assert "- (d) authentic: test/000001.mp4\n" in text
    assert "In 2 clips whose audio track alone is forged" in text
    assert "AUC of 1.000" in text


def test_a_png_shows_blue_green_and_grey() -> None:
    image = cv2.imdecode(np.frombuffer(draw_discrepancies(found())["png"], np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (1200, 2100, 3)  # 7 by 4 inches at 300 dots
    for colour in ((178, 114, 0), (115, 158, 0)):  # BGR
        assert (np.abs(image.astype(int) - colour).max(axis=2) < 8).sum() > 300


# --- Figure 3 -----------------------------------------------------------------------------------------------------


def point(value: float, *values: float, published: dict[str, float] | None = None) -> tuple[float, Line]:
    ours = {"paper": {"mAP": Spread(values), "mAR": Spread(values)}} if values else {}
    return value, Line(f"K = {value}", "weakly", published or {}, ours)


def test_figure_3_has_two_curves_a_panel_and_the_printed_points() -> None:
    k = [point(5, 60, 62), point(10, 70, 71, published={"mAP": 72.87, "mAR": 84.03}), point(15)]
    files = draw_sensitivity({"K": k, "ρ": [point(0.5, 50), point(0.75, 60)]})
    svg = files["svg"]

    def points(name: str) -> list[int]:
        return [len(list(group.iter(f"{SVG}use"))) for group in marks(svg, name)]

    for column in ("mAP", "mAR"):
        assert points(f"ours-{column}-") == [2, 2]  # the value without a run has none
        assert points(f"paper-{column}-") == [1, 0]
    image = cv2.imdecode(np.frombuffer(files["png"], np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (840, 2100, 3)
