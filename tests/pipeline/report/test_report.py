"""The report and its forms: the numbers that are written are the numbers that were found."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_factory import authentic, concluded, forged

from data.errors import InputError, UsageError
from data.files import write_text
from data.media import AudioStream, StreamCoverage, VideoStream
from data.text import timecode
from data.timeline import Interval, TimeGrid
from pipeline.localization.scores import Finding, ForgedInterval, Thresholds
from pipeline.report.exports import export_text
from pipeline.report.json import dumps, loads
from pipeline.report.model import InputFacts, Provenance, Report, RunClock, StepScores
from pipeline.report.outputs import Outputs
from pipeline.report.rows import rows, summary

FACTS = InputFacts(
    name='clip, with "quotes".mp4',
    sha256="ab" * 32,
    size_bytes=1234,
    container="mov,mp4",
    origin_s=0.0,
    duration_s=2.000049,
    video=VideoStream("h264", 96, 64, 90, "yuv420p", 25.0, 0.0, 2.0),
    audio=AudioStream("aac", 48_000, 2, 0.02, None),
)


FOUND = ForgedInterval(3723.0415999, 3723.9996, "audio", 0.87654321)


def curve(*values: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(values, np.float32)


def report(**changes: Any) -> Report:
    """Four steps of 1/25 s with one forged interval; numbers with more digits than are written."""
    shares = {"real": 0.1000049, "visual": 0.2, "audio": 0.69999, "both": 0.0}
    whole = Report(
        input=FACTS,
        finding=Finding(
            verdict="forged",
            label="audio",
            probability=0.9312345,
            line=0.62004,
            floor=0.4,
            intervals=(FOUND,),
            strongest=FOUND,
            probabilities=shares,
            branches=("audio",),
            thresholds=Thresholds(0.6, 0.5),
        ),
        route="auto",
        coverage={
            "visual": StreamCoverage(2.0, 1.9995, (Interval(1.0, 1.0005),), errors=2),
            "audio": None,
        },
        warnings=("2 damaged piece(s) of the picture were left out",),
        complete=True,
        scores=StepScores(
            grid=TimeGrid.at_rate(25, 4),
            visual=curve(0.1, 0.25, np.nan, 1.0),
            audio=None,
            joint=curve(0.123456, 0.0, 0.5, 0.99999),
            visual_error=curve(12.34567, 0.0, np.nan, 3.0),
            audio_error=None,
        ),
        provenance=Provenance({"torch": "2"}, {"tsn": "cd" * 32}, "compact", "0123", "cpu", "float32", 0),
        clock=RunClock("2026-01-01T00:00:00+00:00", 3.14159, 1.5707),
    )
    return replace(whole, **changes)


def without_clock(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith('  "clock":'))


def test_what_is_read_back_writes_the_same_bytes() -> None:
    text = dumps(report())
    assert dumps(loads(text)) == text


def test_reading_gives_back_every_part() -> None:
    back = loads(dumps(report()))
    # 0.69999 rounds to 0.7, 3723.0415999 to 3723.042, 0.87654321 to 0.8765.
    segment = ForgedInterval(3723.042, 3724.0, "audio", 0.8765)
    shares = {"real": 0.1, "visual": 0.2, "audio": 0.7, "both": 0.0}
    assert back.finding == Finding(
        verdict="forged",
        label="audio",
        probability=0.9312,
        line=0.62,
        floor=0.4,
        intervals=(segment,),
        strongest=segment,
        probabilities=shares,
        branches=("audio",),
        thresholds=Thresholds(0.6, 0.5),
    )
    assert (back.verdict, back.label, back.intervals) == ("forged", "audio", (segment,))
    assert back.input == replace(FACTS, duration_s=2.0)
    assert back.coverage == {"visual": StreamCoverage(2.0, 2.0, (Interval(1.0, 1.0),), 2), "audio": None}
    assert back.scores.grid == TimeGrid(Fraction(0), Fraction(1, 25), 4)
    assert back.scores.visual is not None
    np.testing.assert_array_equal(back.scores.visual, curve(0.1, 0.25, np.nan, 1.0))
    assert back.scores.audio is None
    assert back.provenance == report().provenance
    assert (back.route, back.complete) == ("auto", True)


def test_steps_without_media_are_null_and_not_a_number() -> None:
    document = json.loads(dumps(report()))
    assert document["scores"]["visual"] == [0.1, 0.25, None, 1.0]
    assert document["scores"]["audio"] is None
    assert "NaN" not in dumps(report())


def test_only_the_clock_differs_between_two_runs() -> None:
    later = report(clock=RunClock("2027-01-01T00:00:00+00:00", 99.0, None))
    assert dumps(later) != dumps(report())
    assert without_clock(dumps(later)) == without_clock(dumps(report()))


def test_the_report_calls_itself_an_indication() -> None:
    assert "not proof" in json.loads(dumps(report()))["note"]
    assert "not proof" in summary(report(), "clip.mp4")[-1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: document.update(schema="rt-deeploc/report@9"),
        lambda document: document.pop("scores"),
        lambda document: document["scores"]["visual"].append(0.5),
        lambda document: document["scores"]["grid"].update(step="1/0"),
        lambda document: document["intervals"][0].pop("score"),
        lambda document: document["input"].pop("container"),
    ],
    ids=["other schema", "no scores", "curve too long", "no step", "no score", "missing field"],
)
def test_what_is_no_report_is_refused(damage: Any) -> None:
    document = json.loads(dumps(report()))
    damage(document)
    with pytest.raises(InputError, match="not an RT-DeepLoc report"):
        loads(json.dumps(document))


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not an RT-DeepLoc report"):
        loads(text)


def test_a_curve_must_fit_its_grid() -> None:
    with pytest.raises(ValueError, match="'joint' has shape"):
        replace(report().scores, joint=curve(0.5))


@pytest.mark.parametrize(
    ("time_s", "text"),
    [
        (0.0, "00:00:00.000"),
        (1.2345, "00:00:01.234"),  # a tie goes to the even digit
        (59.9996, "00:01:00.000"),
        (3723.042, "01:02:03.042"),
        (360_000.0, "100:00:00.000"),
        (-0.04, "-00:00:00.040"),
    ],
)
def test_timecodes(time_s: float, text: str) -> None:
    assert timecode(time_s) == text


def test_csv_and_summary_say_the_same() -> None:
    row = rows(report())[0]
    (read,) = csv.DictReader(io.StringIO(export_text(report(), "csv")))
    assert read == {
        "file": FACTS.name,
        "start": "01:02:03.042",
        "end": "01:02:04.000",
        "start_s": "3723.042",
        "end_s": "3724.0",
        "modality": "audio",
        "score": "0.8765",
        "verdict": "forged",
        "person": "",
    }
    assert f"  {row.start} - {row.end}  audio   0.88" in summary(report(), "clip.mp4")


def test_csv_without_intervals_is_a_header() -> None:
    header = '"file","start","end","start_s","end_s","modality","score","verdict","person"\n'
    assert export_text(concluded(report(), intervals=()), "csv") == header


def test_rows_are_in_order_of_time() -> None:
    found = (ForgedInterval(2, 3, "both", 0.5), ForgedInterval(1, 4, "audio", 0.6))
    assert [row.start_s for row in rows(concluded(report(), intervals=found))] == [1, 2]


def test_the_summary_says_what_was_analysed_and_what_was_not() -> None:
    text = "\n".join(summary(report(), "below/clip.mp4"))
    assert "below/clip.mp4: the sound looks forged (probability of a forgery 0.93)\n" in text
    # 1.9995 of 2 s are 99.975 %: said as 99.9, because 100 % is said only of all.
    assert "picture 99.9 % of 2.00 s with 1 gap(s), sound not present" in text
    assert "warning: 2 damaged piece(s)" in text
    assert "took 3.1 s on cpu, 1.57 s per second of media" in text


def test_a_real_clip_has_no_intervals_in_its_summary() -> None:
    text = "\n".join(summary(authentic(), "a.mp4"))
    assert "a.mp4: no forgery found (probability of a forgery 0.15)\n" in text
    assert "no interval reached the threshold" not in text


def test_a_forged_clip_without_an_interval_says_so() -> None:
    assert "  no interval reached the threshold" in summary(concluded(report(), intervals=()), "a.mp4")


def test_outputs_mirror_the_input_and_never_collide(tmp_path: Path) -> None:
    with Outputs(tmp_path, many=True) as outputs:
        outputs.add(Path("a/clip.mp4"), report())
        outputs.add(Path("b/clip.mp4"), authentic())
        outputs.add(Path("b/clip.mkv"), forged())
    labels = {
        str(path.relative_to(tmp_path)): loads(path.read_text()).label for path in tmp_path.rglob("*.json")
    }
    assert labels == {"a/clip.mp4.json": "audio", "b/clip.mp4.json": "real", "b/clip.mkv.json": "both"}
    assert len(outputs.written) == 7
    assert outputs.written[-1] == tmp_path / "index.csv"


def test_many_reports_make_one_json_array(tmp_path: Path) -> None:
    with Outputs(None, tmp_path / "all.json", many=True) as outputs:
        outputs.add(Path("a.mp4"), report())
        outputs.add_error(Path("b.mp4"), InputError("is empty", tmp_path / "b.mp4", "copy it again"))
    first, second = json.loads((tmp_path / "all.json").read_text())
    assert first["schema"] == "rt-deeploc/report@3"
    assert second == {
        "schema": "rt-deeploc/error@1",
        "input": {"name": "b.mp4"},
        "error": {"what": "is empty", "fix": "copy it again", "exit_code": 3},
    }


@pytest.mark.parametrize("many", [True, False])
def test_an_interrupted_run_leaves_no_half_document(tmp_path: Path, many: bool) -> None:
    outputs = Outputs(None, tmp_path / "all.json", many=many)

    def interrupted() -> None:
        with outputs:
            outputs.add(Path("a.mp4"), report())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_an_error_replaces_the_reports_of_an_earlier_run(tmp_path: Path) -> None:
    with Outputs(tmp_path) as outputs:
        outputs.add(Path("a.mp4"), report())
    with Outputs(tmp_path) as outputs:
        outputs.add_error(Path("a.mp4"), InputError("is empty"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4.json"]
    assert json.loads((tmp_path / "a.mp4.json").read_text())["schema"] == "rt-deeploc/error@1"


def test_a_json_path_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        Outputs(None, tmp_path)


def test_a_failing_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "report.json"
    write_text(path, "old")
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UsageError, match="No space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_name_that_is_not_unicode_can_be_written(tmp_path: Path) -> None:
    name = "clip\udcff.mp4"  # what Python makes of the byte 0xFF
    with Outputs(tmp_path, many=True) as outputs:
        outputs.add(Path("a.mp4"), report(input=replace(FACTS, name=name)))
        outputs.add_error(Path("b.mp4"), InputError("is empty", name))
    assert loads((tmp_path / "a.mp4.json").read_text()).input.name == name
    assert r"clip\udcff.mp4" in (tmp_path / "a.mp4.csv").read_text()
