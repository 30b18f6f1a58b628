"""What a run leaves in its folder: nothing that was computed is lost, and nothing of an earlier run contradicts it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from report_factory import authentic, forged
from report_readers import Markup

from data.errors import InputError, UsageError
from pipeline.report.json import ErrorEntry, loads
from pipeline.report.outputs import Outputs

FORMS: Any = ("vtt", "audacity", "edl", "otio")
ALL = {
    f"a.mp4.{ending}" for ending in ("json", "csv", "html", "vtt", "labels.txt", "edl", "otio", "svg", "png")
}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def index(folder: Path) -> list[tuple[str, str]]:
    rows = csv.DictReader((folder / "index.csv").read_text().splitlines())
    return [(row["file"], row["verdict"]) for row in rows]


def leave_everything(folder: Path, many: bool = False) -> None:
    """Every form of a forged clip, as earlier runs may have left them."""
    with Outputs(folder, many=many, html=True, exports=FORMS) as outputs:
        outputs.add(Path("a.mp4"), forged("a.mp4"))
    for ending in ("svg", "png"):
        (folder / f"a.mp4.{ending}").touch()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_ends_the_pictures_costs_neither_the_analysis_nor_the_index(
    tmp_path: Path, error: type[BaseException]
) -> None:
    def interrupted() -> Any:
        # What is already there when pictures are made.
        assert loads((tmp_path / "a.mp4.json").read_text()).label == "both"
        assert {"a.mp4.csv", "a.mp4.vtt"} <= names(tmp_path)
        raise error

    def work() -> None:
        with Outputs(tmp_path, many=True, html=True, exports=["vtt"]) as outputs:
            outputs.add(Path("a.mp4"), forged("a.mp4"), None, interrupted)

    with pytest.raises(error):
        work()
    assert names(tmp_path) == {"a.mp4.json", "a.mp4.csv", "a.mp4.vtt", "index.csv", "index.html"}
    assert index(tmp_path) == [("a.mp4", "forged")]
    assert Markup((tmp_path / "index.html").read_text()).links == []


def test_pictures_are_not_made_without_a_page(tmp_path: Path) -> None:
    with Outputs(tmp_path) as outputs:
        outputs.add(Path("a.mp4"), forged("a.mp4"), None, lambda: pytest.fail("decoded for nothing"))


def test_work_that_ends_before_its_first_file_keeps_the_index(tmp_path: Path) -> None:
    leave_everything(tmp_path, many=True)

    def work() -> None:
        with Outputs(tmp_path, many=True, html=True):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert index(tmp_path) == [("a.mp4", "forged")]


def test_an_index_that_cannot_be_written_does_not_hide_what_went_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise UsageError("no space left", tmp_path)

    def work() -> None:
        with Outputs(tmp_path, many=True) as outputs:
            outputs.add(Path("a.mp4"), forged("a.mp4"))
            monkeypatch.setattr("pipeline.report.outputs.index_csv", full)
            raise RuntimeError("the first error")

    with pytest.raises(RuntimeError, match="the first error"):
        work()
    assert "no index was written" in caplog.text


def test_a_new_analysis_leaves_no_form_of_the_old_one(tmp_path: Path) -> None:
    leave_everything(tmp_path)
    assert names(tmp_path) == ALL
    with Outputs(tmp_path, exports=["edl"]) as outputs:
        outputs.add(Path("a.mp4"), authentic("a.mp4"))
    assert names(tmp_path) == {"a.mp4.json", "a.mp4.csv", "a.mp4.edl"}


def test_a_file_that_came_again_has_one_row_its_latest(tmp_path: Path) -> None:
    first, then = authentic("a.mp4"), forged("a.mp4")
    with Outputs(tmp_path, many=True) as outputs:
        for report in (first, then):
            with Outputs(tmp_path, many=True) as worker:
                worker.add(Path("a.mp4"), report)
            outputs.forget(Path("a.mp4"))
            outputs.merge(Path("a.mp4"), report, worker.outcomes, worker.written)
    assert index(tmp_path) == [("a.mp4", then.verdict)]


def test_a_failure_leaves_no_form_of_the_old_analysis(tmp_path: Path) -> None:
    leave_everything(tmp_path)
    with Outputs(tmp_path) as outputs:
        outputs.add_error(Path("a.mp4"), InputError("is empty"))
    assert names(tmp_path) == {"a.mp4.json"}


def test_writing_again_leaves_what_was_not_asked_for_but_nothing_of_a_failed_clip(tmp_path: Path) -> None:
    leave_everything(tmp_path)
    with Outputs(tmp_path, html=True) as outputs:
        outputs.render(Path("a.mp4"), forged("a.mp4"))
    assert names(tmp_path) == ALL
    with Outputs(tmp_path, many=True, html=True) as outputs:
        outputs.render_error(Path("a.mp4"), ErrorEntry("a.mp4", "is empty", "", 3))
    assert names(tmp_path) == {"a.mp4.json", "index.csv", "index.html"}
    assert index(tmp_path) == [("a.mp4", "failed")]


def test_files_of_others_stay_where_no_report_was(tmp_path: Path) -> None:
    theirs = {"a.mp4.png", "a.mp4.vtt", "index.html"}
    for name in theirs:
        (tmp_path / name).write_text("theirs")
    with Outputs(tmp_path, many=True) as outputs:
        outputs.add(Path("a.mp4"), forged("a.mp4"))
    assert names(tmp_path) == theirs | {"a.mp4.json", "a.mp4.csv", "index.csv"}


def test_without_pages_no_index_of_pages_stays(tmp_path: Path) -> None:
    leave_everything(tmp_path, many=True)
    with Outputs(tmp_path, many=True) as outputs:
        outputs.add(Path("a.mp4"), authentic("a.mp4"))
    assert names(tmp_path) == {"a.mp4.json", "a.mp4.csv", "index.csv"}
