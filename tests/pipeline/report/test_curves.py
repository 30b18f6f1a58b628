"""Curves for a page: no peak is lost, no gap is bridged, and what is packed can be read back."""

from __future__ import annotations

import base64
import re
import zlib
from typing import Any

import numpy as np
import pytest
import report_factory as factory
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.report.curves import EXACT_STEPS, MOST_POINTS, highest, packed, path, thin

NAN = float("nan")


def curve(*values: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(values, np.float32)


def unpacked(form: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What the page's script makes of a packed curve, in other words."""
    if "values" in form:
        return np.array([NAN if value is None else value for value in form["values"]])
    deltas = zlib.decompress(base64.b64decode(form["codes"]))
    codes, points = 0, []
    for delta in deltas:
        codes = (codes + delta) % 256
        points.append(NAN if codes == 255 else codes * form["unit"])
    return np.array(points)


def test_a_bucket_leaves_its_lowest_and_highest_value_in_their_order() -> None:
    # Four points of eight steps: buckets of four, [0 5 1 2] and [9 3 4 -]; in the second the high comes first.
    points, steps = thin(curve(0, 5, 1, 2, 9, 3, 4, NAN), 4)
    assert (points.tolist(), steps) == ([0, 5, 9, 3], 2.0)


def test_a_short_curve_stays_as_it_is() -> None:
    values = curve(1, NAN, 3)
    assert thin(values, 3)[0] is values
    assert thin(values, 3)[1] == 1.0


def test_a_bucket_without_numbers_stays_without() -> None:
    points, _ = thin(curve(1, 2, NAN, NAN, NAN, NAN, 3, 4), 8 - 1)
    # 7 points allow three buckets of three steps: [1 2 -], [- - -], [3 4].
    np.testing.assert_array_equal(points, curve(1, 2, NAN, NAN, 3, 4))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.just(NAN), st.floats(0, 1, width=32)), min_size=1, max_size=300),
    st.integers(2, 40),
)
def test_extremes_survive_near_their_place(values: list[float], most: int) -> None:
    whole = np.array(values, np.float32)
    points, steps = thin(whole, most)
    assert len(points) <= most
    if np.isnan(whole).all():
        assert np.isnan(points).all()
        return
    assert np.nanmax(points) == np.nanmax(whole)
    assert np.nanmin(points) == np.nanmin(whole)
    was = (int(np.nanargmax(whole)) + 0.5) / steps
    places = np.flatnonzero(points == np.nanmax(whole)) + 0.5
    assert np.abs(places - was).min() <= 2  # within its bucket of two points


def test_an_hour_keeps_each_step_and_each_peak() -> None:
    for name, values in factory.hour().scores.curves().items():
        assert values is not None
        form = packed(values)
        points = unpacked(form)
        assert form["steps"] == 1.0
        assert len(points) == 90_000
        # 254 codes up to the maximum: no step is off by more than half a code, and the maximum by nothing.
        np.testing.assert_allclose(points, values, atol=float(values.max()) / 254 / 2 + 1e-6, err_msg=name)
        np.testing.assert_allclose(points[list(factory.HOUR_PEAKS)], values.max(), rtol=1e-6)


def test_a_day_is_thinned_and_keeps_its_peak() -> None:
    values = np.full(24 * 3600 * 25, 0.1, np.float32)
    values[1_234_567] = 0.97
    form = packed(values)
    points = unpacked(form)
    assert len(points) <= MOST_POINTS
    assert points.max() == pytest.approx(0.97)
    assert int(points.argmax()) * form["steps"] == pytest.approx(1_234_567, abs=2 * form["steps"])


def test_a_short_curve_is_carried_digit_by_digit() -> None:
    values = curve(0.12344, NAN, 1, 0)
    assert packed(values) == {"steps": 1.0, "values": [0.1234, None, 1.0, 0.0]}
    assert "values" in packed(np.zeros(EXACT_STEPS, np.float32))
    assert "codes" in packed(np.zeros(EXACT_STEPS + 1, np.float32))


def test_gaps_of_a_long_curve_stay_gaps() -> None:
    values = np.linspace(0, 1, EXACT_STEPS + 500).astype(np.float32)
    values[100:200] = NAN
    np.testing.assert_array_equal(np.isnan(unpacked(packed(values))), np.isnan(values))
    assert np.isnan(unpacked(packed(np.full(EXACT_STEPS + 1, NAN, np.float32)))).all()
    assert (unpacked(packed(np.zeros(EXACT_STEPS + 1, np.float32))) == 0).all()


@pytest.mark.parametrize(
    ("values", "top"), [((0.5, 2.0, NAN), 2.0), ((NAN,), 0.0), ((), 0.0), ((-1.0,), 0.0)]
)
def test_the_highest_number(values: tuple[float, ...], top: float) -> None:
    assert highest(curve(*values)) == top


def test_a_path_has_its_points_at_the_middle_of_the_steps() -> None:
    # Four steps of 0.5 s in 4 s and a box of 1000: centres at 0.25, 0.75, (gap), 1.75 s; y = 100 * (1 - v / 2).
    drawn = path(curve(0, 1, NAN, 2), 0.0, 0.5, 4.0, 2.0, width=1000, height=100)
    assert drawn == "M62.5 100.0h.1L187.5 50.0M437.5 0.0h.1"


def test_a_path_of_nothing_is_empty() -> None:
    assert path(curve(), 0.0, 0.04, 6.0, 1.0, width=1000, height=100) == ""
    assert path(curve(NAN, NAN), 0.0, 0.04, 6.0, 1.0, width=1000, height=100) == ""
    assert path(curve(1), 0.0, 0.04, 0.0, 1.0, width=1000, height=100) == ""


def test_a_long_path_is_short_text_and_reaches_its_peaks() -> None:
    values = factory.hour().scores.visual
    assert values is not None
    drawn = path(values, 0.0, 0.04, 3600.0, 1.0, width=1000, height=100)
    assert len(drawn) < 16_000
    places = [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", drawn)]
    reached = np.array([x for x, y in places if y == 0.0])
    for step in factory.HOUR_PEAKS:
        assert np.abs(reached - step * 0.04 / 3.6).min() < 2  # a bucket is two units wide
