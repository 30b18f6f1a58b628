"""Reports of versions 1 and 2 are still read; the most probable class decided then, and nothing of it contradicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data.errors import InputError
from pipeline.localization.scores import Finding, ForgedInterval
from pipeline.report.earlier import finding_by_class
from pipeline.report.exports import export_text
from pipeline.report.folder import Outcome
from pipeline.report.json import dumps, loads
from pipeline.report.page import page_html
from pipeline.report.rows import reason, statement

WRITTEN = (Path(__file__).parent / "earlier" / "report_2.json").read_text(encoding="utf-8")
"""What version 2 wrote of a clip with forged sound."""


def document(version: int = 2, **changes: Any) -> str:
    """That report, or as version 1 wrote it, with other fields."""
    whole = json.loads(WRITTEN)
    if version == 1:
        whole["schema"] = "rt-deeploc/report@1"
        for later in ("assessment", "thresholds"):
            del whole[later]
        for track in whole["coverage"].values():
            for later in ("units", "placed", "dropped", "dropped_s", "notes"):
                if track is not None:
                    del track[later]
    return json.dumps({**whole, **changes})


@pytest.mark.parametrize("version", [1, 2])
def test_every_part_of_an_earlier_report_is_kept(version: int) -> None:
    back, before = loads(document(version)), json.loads(document(version))
    segment = ForgedInterval(3723.042, 3724.0, "audio", 0.8765)
    # P(audio) against P(real): 0.7 / (0.7 + 0.1).
    assert back.finding == Finding(
        verdict="forged",
        label="audio",
        probability=pytest.approx(0.875),
        line=0.5,
        floor=0.5,
        intervals=(segment,),
        strongest=segment,
        probabilities=before["probabilities"],
        branches=("audio",),
        thresholds=back.thresholds,
    )
    after = json.loads(dumps(back))
    assert after["probabilities"] == before["probabilities"]
    assert [each.pop("person") for each in after["intervals"]] == [None]
    for kept in (
        "label",
        "intervals",
        "route",
        "branches",
        "warnings",
        "scores",
        "provenance",
        "input",
        "clock",
    ):
        assert after[kept] == before[kept]
    assert dumps(loads(dumps(back))) == dumps(back)


@pytest.mark.parametrize("version", [1, 2])
def test_an_earlier_report_can_be_shown_and_exported(version: int) -> None:
    report = loads(document(version))
    assert "The sound looks forged in 1 span." in page_html(report, None, None)
    assert "forged audio 0.88" in export_text(report, "vtt")
    assert Outcome.of("a.mp4", report).verdict == "forged"


def test_the_class_decides_even_where_the_sum_of_the_others_is_larger() -> None:
    # P(forged) is 0.57, and yet "real" was the most probable class: no line of 0.5 may seem crossed.
    shares = {"real": 0.43, "visual": 0.41, "audio": 0.1, "both": 0.06}
    report = loads(document(label="real", probabilities=shares, intervals=[], branches=[]))
    assert (report.verdict, report.label) == ("not_found", "real")
    # 0.41 / (0.41 + 0.43)
    assert report.finding.probability == pytest.approx(0.41 / 0.84)
    assert reason(report) == "The clip scores 0.49; clips are called forged from 0.50 on."


def test_equal_classes_stay_on_the_side_that_was_chosen() -> None:
    shares = {"real": 0.4, "visual": 0.4, "audio": 0.2, "both": 0.0}
    assert finding_by_class("real", shares, (), "auto").probability == pytest.approx(0.4999)
    assert finding_by_class("visual", shares, (), "auto").probability == 0.5


def test_a_weak_interval_of_a_forged_clip_is_its_strongest_segment() -> None:
    weak = ForgedInterval(1.0, 2.0, "visual", 0.45)
    found = finding_by_class(
        "visual", {"real": 0.2, "visual": 0.6, "audio": 0.2, "both": 0.0}, (weak,), "auto"
    )
    assert (found.strongest, found.intervals, found.probability) == (weak, (weak,), pytest.approx(0.75))


def test_the_class_is_the_one_that_the_intervals_show() -> None:
    spans = (ForgedInterval(1.0, 2.0, "visual", 0.7), ForgedInterval(3.0, 4.0, "audio", 0.6))
    shares = {"real": 0.2, "visual": 0.6, "audio": 0.2, "both": 0.0}
    assert finding_by_class("visual", shares, spans, "auto").label == "both"
    assert finding_by_class("visual", shares, spans, "all").label == "visual"  # other branches were asked for


def test_no_answer_of_an_earlier_version_stays_none() -> None:
    reasons = {
        name: {"assessable": False, "assessed_s": 0.0, "gaps": [], "reason": f"no {what}"}
        for name, what in (("visual", "face"), ("audio", "speech"))
    }
    report = loads(document(label="not_assessable", probabilities=None, intervals=[], assessment=reasons))
    assert report.verdict == "not_assessable"
    assert statement(report) == "not assessable: no face, and no speech"


@pytest.mark.parametrize(
    "changes",
    [
        {"probabilities": None},
        {"probabilities": {"real": "0.1", "visual": 0.2, "audio": 0.7, "both": 0.0}},
        {"probabilities": {"visual": 1.0}},
        {"probabilities": [1, 2]},
        {"label": "fake"},
        {"label": "real"},  # with an interval that nobody asked for
        {"label": "not_assessable"},
        {"intervals": [{"start_s": 1}]},
        {"intervals": 7},
        {"route": "sideways"},
    ],
    ids=str,
)
def test_a_damaged_earlier_report_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="not an RT-DeepLoc report"):
        loads(document(**changes))
