"""The table of the demo: what was found against what is true."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import loaded


@pytest.fixture(scope="module")
def compare() -> Iterator[ModuleType]:
    with loaded("examples/compare.py") as module:
        yield module


def found(*spans: tuple[float, float], label: str = "visual") -> dict[str, Any]:
    rows = [{"start_s": a, "end_s": b, "modality": "visual", "score": 0.9} for a, b in spans]
    return {"label": label, "intervals": rows}


TRUTH = {"label": "visual", "intervals": [[1.0, 2.0, "visual"]]}


def test_the_best_interval_is_shown_with_its_overlap(compare: ModuleType) -> None:
    # [1, 2) and [1.5, 2.5) share 0.5 of 1.5 s: 0.33; [1.2, 2) shares 0.8 of 1 s.
    (row,) = compare.compare("a.mp4", TRUTH, found((1.5, 2.5), (1.2, 2.0)))
    assert row == (
        "a.mp4", "visual", "visual", "1.00 - 2.00 s (visual)", "1.20 - 2.00 s (visual 0.90)", "0.80",
    )  # fmt: skip


def test_a_miss_and_a_false_alarm_have_a_row_each(compare: ModuleType) -> None:
    missed, alarm = compare.compare("a.mp4", TRUTH, found((5.0, 6.0)))
    assert missed[3:] == ("1.00 - 2.00 s (visual)", "missed", "0.00")
    assert alarm[3:] == ("none", "5.00 - 6.00 s (visual 0.90)", "0.00")


def test_an_authentic_clip_without_findings_has_one_row(compare: ModuleType) -> None:
    rows = compare.compare("a.mp4", {"label": "real", "intervals": []}, found(label="real"))
    assert rows == [("a.mp4", "real", "real", "none", "none", "-")]


def test_a_missing_report_is_said_and_fails(
    compare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"a.mp4": TRUTH, "b.mp4": TRUTH}))
    (tmp_path / "a.mp4.json").write_text(json.dumps(found((1.0, 2.0))))
    assert compare.main(tmp_path, truth) == 1
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split()[0] == "file"
    assert first.endswith("1.00")
    assert "no report" in second
    assert second.endswith("missed                       0.00")
