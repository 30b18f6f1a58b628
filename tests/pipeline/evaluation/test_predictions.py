"""Prediction files: both formats there and back, and every way in which they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import InputError, UsageError
from pipeline.evaluation.predictions import (
    VideoPrediction,
    read_predictions,
    read_proposals,
    read_scores,
    write_proposals,
    write_scores,
)

FILES = ("test/a.mp4", "test/b.mp4")


def proposals(tmp_path: Path, content: Any, files: tuple[str, ...] = FILES) -> dict[str, Any]:
    path = tmp_path / "predictions.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return {name: rows.tolist() for name, rows in read_proposals(path, files).items()}


def fault(tmp_path: Path, content: Any, files: tuple[str, ...] = FILES) -> str:
    with pytest.raises(InputError) as caught:
        proposals(tmp_path, content, files)
    assert caught.value.path == tmp_path / "predictions.json"
    assert caught.value.exit_code == 3
    return str(caught.value)


# --- reading and writing ----------------------------------------------------------------------------------------------


def test_proposals_keep_their_order_and_empty_lists_stay_empty(tmp_path: Path) -> None:
    rows = [[0.2, 1, 2.5], [0.9, 0.0, 0.0]]
    assert proposals(tmp_path, {"test/b.mp4": [], "test/a.mp4": rows}) == {
        "test/a.mp4": rows,
        "test/b.mp4": [],
    }


def test_layout_of_the_json_does_not_matter(tmp_path: Path) -> None:
    spaced = ' {\n "test\\u002fa.mp4" : [ [0.5 , 1e0,2] ] ,\t"test/b.mp4":[]\r\n}\n'
    assert proposals(tmp_path, spaced)["test/a.mp4"] == [[0.5, 1.0, 2.0]]
    assert proposals(tmp_path, "{}", ()) == {}


def test_names_within_a_part_are_understood_where_they_are_unambiguous(tmp_path: Path) -> None:
    assert list(proposals(tmp_path, {"b.mp4": [], "test/a.mp4": []})) == ["test/b.mp4", "test/a.mp4"]
    both = ("testA/a.mp4", "testB/a.mp4", "testB/b.mp4")
    assert "'a.mp4' is not in this split" in fault(
        tmp_path, {"a.mp4": [], "testA/a.mp4": [], "testB/a.mp4": [], "b.mp4": []}, both
    )


def test_what_is_written_reads_back_to_the_last_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    starts = rng.random(50)
    rows = np.stack([rng.random(50), starts, starts + rng.random(50)], axis=1)
    given = [VideoPrediction("test/a.mp4", rows, 1 / 3), VideoPrediction("test/b.mp4", np.zeros((0, 3)), 0.1)]
    write_proposals(tmp_path / "p.json", given)
    write_scores(tmp_path / "p.txt", given)
    found = read_predictions(FILES, tmp_path / "p.json", tmp_path / "p.txt")
    assert [one.file for one in found] == list(FILES)
    assert [one.score for one in found] == [1 / 3, 0.1]
    for one, expected in zip(found, given, strict=True):
        assert one.proposals is not None
        assert expected.proposals is not None
        assert np.array_equal(one.proposals, expected.proposals)
    assert json.loads((tmp_path / "p.json").read_text()).keys() == set(FILES)
    assert (tmp_path / "p.txt").read_text() == f"test/a.mp4;{1 / 3!r}\ntest/b.mp4;0.1\n"


def test_names_that_are_no_text_or_hold_odd_spaces_lose_no_other_clip(tmp_path: Path) -> None:
    odd = "test/a\u2028b.mp4"
    given = [VideoPrediction(name, None, 0.5) for name in (odd, "test/\udcff.mp4", "test/b.mp4")]
    write_scores(tmp_path / "p.txt", given)
    lines = (tmp_path / "p.txt").read_text(encoding="utf-8").split("\n")
    assert lines == [f"{odd};0.5", "test/\\udcff.mp4;0.5", "test/b.mp4;0.5", ""]
    write_scores(tmp_path / "q.txt", [given[0], given[2]])
    found = read_predictions((odd, "test/b.mp4"), None, tmp_path / "q.txt")
    assert [one.score for one in found] == [0.5, 0.5]


def test_challenge_files_name_clips_within_their_part(tmp_path: Path) -> None:
    given = [
        VideoPrediction("val/id1/x/0.mp4", np.array([[0.5, 0, 1]]), 0.7),
        VideoPrediction("1.mp4", None, None),
    ]
    write_proposals(tmp_path / "p.json", given, short=True)
    write_scores(tmp_path / "p.txt", given, short=True)
    assert json.loads((tmp_path / "p.json").read_text()) == {"id1/x/0.mp4": [[0.5, 0.0, 1.0]], "1.mp4": []}
    assert (tmp_path / "p.txt").read_text() == "id1/x/0.mp4;0.7\n"
    write_proposals(tmp_path / "none.json", [])
    assert json.loads((tmp_path / "none.json").read_text()) == {}


def test_one_file_alone_leaves_the_rest_unsaid(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("test/a.mp4;0.5\nb.mp4 ; 2e-1\n\n")
    found = read_predictions(FILES, None, tmp_path / "p.txt")
    assert [(one.proposals, one.score) for one in found] == [(None, 0.5), (None, 0.2)]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_proposals(tmp_path / "file" / "p.json", [])


# --- what is wrong with proposals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not of the form"),
        ("[]", "is not of the form"),
        ("{", "damaged after 0 entries, near line 1"),
        ('{"test/a.mp4": [[0.5, 1, 2]', "damaged after 0 entries"),
        ('{"test/a.mp4": [],\n"test/b.mp4": [[0.5, 1, 2}', "damaged after 1 entries, near line 2"),
        ('{"test/a.mp4": []', "damaged after 1 entries"),
        ('{"test/a.mp4": [],}', "damaged after 1 entries"),
        ('{"test/a.mp4": []} x', "damaged after 1 entries"),
        ('{"test/a.mp4": [] "test/b.mp4": []}', "damaged after 1 entries"),
        ("{1: []}", "damaged after 0 entries"),
        ('{"test/a.mp4" []}', "damaged after 0 entries"),
        ('{"test/a.mp4": ' + "[" * 100_000, "damaged after 0 entries"),
    ],
)
def test_malformed_json(tmp_path: Path, content: str, said: str) -> None:
    assert said in fault(tmp_path, content)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not readable as text"):
        read_proposals(tmp_path / "absent.json", FILES)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match="not readable as text"):
        read_proposals(tmp_path / "binary.json", FILES)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("[NaN, 0, 1]", "#0 [nan, 0.0, 1.0] has a score that is not a number"),
        ("[Infinity, 0, 1]", "has a score that is not a number"),
        ("[0.5, 0, NaN]", "has a time that is not a number"),
        ("[0.5, -0.04, 1]", "#0 [0.5, -0.04, 1.0] starts before 0"),
        ("[0.5, 2, 1]", "#0 [0.5, 2.0, 1.0] ends before it starts"),
        ("[0.5, 2]", "#0 [0.5, 2] is not [confidence, start, end]"),
        ("[0.5, 0, 1, 2]", "is not [confidence, start, end]"),
        ('["0.5", 0, 1]', "is not [confidence, start, end]"),
        ("[true, 0, 1]", "is not [confidence, start, end]"),
        ("[null, 0, 1]", "#0 [None, 0, 1] is not [confidence, start, end]"),
        ('{"score": 0.5}', "is not [confidence, start, end]"),
        ("0.5", "is not [confidence, start, end]"),
        (f"[0.5, 0, {10**400}]", "a number too large for a float"),
    ],
)
def test_proposals_that_mean_nothing_are_named(tmp_path: Path, row: str, said: str) -> None:
    found = fault(tmp_path, f'{{"test/a.mp4": [], "test/b.mp4": [{row}]}}')
    assert "1 fault: 'test/b.mp4'" in found
    assert said in found
    assert "nothing was scored" in found


@pytest.mark.parametrize("value", ["null", "0.5", '"x"', '{"0": []}'])
def test_values_that_are_no_lists_are_named(tmp_path: Path, value: str) -> None:
    found = fault(tmp_path, f'{{"test/a.mp4": [], "test/b.mp4": {value}}}')
    assert "where a list of proposals should be" in found


def test_unknown_missing_and_doubled_clips_are_named(tmp_path: Path) -> None:
    assert "'test/c.mp4' is not in this split" in fault(
        tmp_path, {"test/a.mp4": [], "test/b.mp4": [], "test/c.mp4": []}
    )
    assert "'test/b.mp4' is missing (write an empty list" in fault(tmp_path, {"test/a.mp4": []})
    assert "'test/a.mp4' is missing" in fault(tmp_path, {})
    doubled = '{"test/a.mp4": [], "test/b.mp4": [], "test/a.mp4": [[0.5, 0, 1]]}'
    assert "'test/a.mp4' occurs more than once" in fault(tmp_path, doubled)
    assert "'a.mp4' occurs more than once" in fault(
        tmp_path, {"test/a.mp4": [], "test/b.mp4": [], "a.mp4": []}
    )


def test_all_faults_are_counted_and_the_first_three_shown(tmp_path: Path) -> None:
    rows = [[0.5, 2, 1], [0.5, 0, 1], [0.5, -1, 1], [0.5, 3, 1], [0.5, 4, 1]]
    found = fault(tmp_path, {"test/a.mp4": rows, "x.mp4": []})
    assert "6 fault(s), first: 'test/a.mp4' #0" in found  # four spans, one unknown, one missing
    assert "#2" in found
    assert "#3" in found
    assert "#4" not in found
    assert "x.mp4" not in found


# --- what is wrong with scores ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("test/a.mp4 0.5\n", "line 1 is not of the form file;score: 'test/a.mp4 0.5'"),
        ("a.mp4;0.5\nb.mp4;nan\n", "'b.mp4' has the score 'nan', which is not a number"),
        ("a.mp4;0.5\nb.mp4;high\n", "'b.mp4' has the score 'high'"),
        ("a.mp4;0.5\nb.mp4;\n", "'b.mp4' has the score ''"),
        ("a.mp4;inf\nb.mp4;1\n", "'a.mp4' has the score 'inf'"),
        ("a.mp4;0.5\n", "'test/b.mp4' is missing"),
        ("a.mp4;0.5\nb.mp4;0.5\na.mp4;0.6\n", "'a.mp4' occurs more than once"),
        ("a.mp4;0.5\nb.mp4;0.5\nc.mp4;0.6\n", "'c.mp4' is not in this split"),
        ("", "2 fault(s), first: 'test/a.mp4' is missing"),
    ],
)
def test_scores_that_mean_nothing_are_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "p.txt").write_text(content)
    with pytest.raises(InputError) as caught:
        read_scores(tmp_path / "p.txt", FILES)
    assert said in str(caught.value)


def test_file_names_may_hold_semicolons(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("test/a;b.mp4;0.25\n")
    assert read_scores(tmp_path / "p.txt", ("test/a;b.mp4",)) == {"test/a;b.mp4": 0.25}


def test_the_mark_that_powershell_begins_files_with_is_read_over(tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    path.write_text('{"a.mp4": [[0.9, 1, 2]]}', encoding="utf-8-sig")
    assert read_proposals(path, ["a.mp4"])["a.mp4"].tolist() == [[0.9, 1.0, 2.0]]
