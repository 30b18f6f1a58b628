"""What counts as found, and as the right person, in a long video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from scripts import loaded
from sidecar_factory import PLAIN

from data.manifest.sidecar import Appearance, EditedSegment

PANEL = replace(
    PLAIN,
    group="panel",
    label=1,
    segments=(EditedSegment(10.0, 11.0, "visual", "self_blend_face", person="ben"),),
    appearances=(
        Appearance("anna", 0.0, 40.0, (0.0, 0.0, 0.5, 1.0)),
        Appearance("ben", 0.0, 40.0, (0.5, 0.0, 0.5, 1.0)),
    ),
)
REPORT: dict[str, Any] = {
    "verdict": "forged",
    "input": {"duration_s": 40.0},
    "strongest": {"start_s": 20.0, "end_s": 21.0, "person": 1},
    "intervals": [
        {"start_s": 10.5, "end_s": 11.5, "person": 2},  # a tIoU of 1/3
        {"start_s": 20.0, "end_s": 21.0, "person": 1},
    ],
    "people": [
        {"number": 1, "track": [[[0.0, 0.2, 0.3, 0.1, 0.2]]]},
        {"number": 2, "track": [[[0.0, 0.2, 0.3, 0.1, 0.2], [11.0, 0.7, 0.3, 0.1, 0.2]]]},
    ],
}


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with loaded("benchmarks/long_videos.py") as module:
        yield module


def test_a_span_is_found_by_a_third_and_the_person_by_where_the_face_is(script: ModuleType) -> None:
    said = script.against(PANEL, REPORT)
    assert (said.found, said.strongest) == (True, False)
    assert (said.right, said.named) == (1, 1), "who is named elsewhere is no matter"


def test_another_face_than_the_forged_one_is_the_wrong_person(script: ModuleType) -> None:
    wrong = {**REPORT["intervals"][0], "person": 1}
    said = script.against(PANEL, {**REPORT, "intervals": [wrong]})
    assert (said.right, said.named) == (0, 1)


def test_a_row_counts_authentic_and_forged_videos_apart(script: ModuleType) -> None:
    authentic = replace(PANEL, label=0, segments=())
    rows = script.table([script.against(PANEL, REPORT), script.against(authentic, REPORT)]).splitlines()
    cells = [cell.strip() for cell in rows[-1].strip("|").split("|")]
    # Two intervals in 40 s of authentic video are 180 an hour.
    assert cells == ["panel", "1 of 1", "0 of 1", "180.0", "1 of 1", "0 of 1", "1 of 1", "0 of 1", "1 of 1"]
