"""The published schema accepts what is written and refuses what is damaged, and so does the reader."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from report_factory import (
    abstained,
    authentic,
    build,
    faceless,
    forged,
    gaps,
    hostile,
    one_track,
    undecided,
)

from data.errors import ForensicError, InputError
from data.timeline import TimeGrid
from pipeline.report.document import json_schema
from pipeline.report.exports import export_text
from pipeline.report.figure import figure
from pipeline.report.folder import Outcome
from pipeline.report.json import (
    ErrorEntry,
    ForeignError,
    dumps,
    error_text,
    find_reports,
    load,
    loads,
)
from pipeline.report.model import ERROR_SCHEMA, StepScores
from pipeline.report.model import SCHEMA as REPORT_SCHEMA
from pipeline.report.page import page_html

SCHEMA = json.loads((resources.files("pipeline.report") / "assets" / "report.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
FORMS: Any = ("csv", "vtt", "audacity", "edl", "otio")


def no_steps() -> Any:
    """A report whose grid is empty."""
    empty = np.zeros(0, np.float32)
    return authentic(scores=StepScores(TimeGrid.at_rate(25, 0), None, None, empty, None, None))


WRITTEN = {
    "forged": forged,
    "authentic": authentic,
    "undecided": undecided,
    "gaps": gaps,
    "no face": faceless,
    "neither face nor speech": abstained,
    "picture alone": lambda: one_track("visual"),
    "sound alone": lambda: one_track("audio"),
    "no steps": no_steps,
    "one step": lambda: build("real", duration_s=0.04),
}


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_published_schema_is_the_one_of_the_models() -> None:
    assert json_schema() == SCHEMA, "run `python tools/report_schema.py`"


def test_the_schema_describes_every_field_that_is_written_and_no_other() -> None:
    def compare(written: Any, described: Any) -> None:
        for part in [described, *described.get("anyOf", [])]:
            described = SCHEMA["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else described
        if isinstance(written, dict) and "properties" in described:
            assert set(described["properties"]) == set(written)
            for key, value in written.items():
                compare(value, described["properties"][key])
        elif isinstance(written, list) and written and "items" in described:
            compare(written[0], described["items"])

    compare(json.loads(dumps(forged())), SCHEMA["$defs"]["ReportDocument"])
    compare(json.loads(error_text("a.mp4", InputError("is empty"))), SCHEMA["$defs"]["ErrorDocument"])
    properties = SCHEMA["$defs"]["ReportDocument"]["properties"]
    assert properties["schema"]["const"] == REPORT_SCHEMA
    assert SCHEMA["$defs"]["ErrorDocument"]["properties"]["schema"]["const"] == ERROR_SCHEMA


@pytest.mark.parametrize("make", WRITTEN.values(), ids=WRITTEN)
def test_what_is_written_is_valid(make: Callable[[], Any]) -> None:
    VALIDATOR.validate(json.loads(dumps(make())))


def test_hostile_text_is_valid_too() -> None:
    for report in hostile():
        if "/" in report.input.name:  # no file is called so
            continue
        VALIDATOR.validate(json.loads(dumps(report)))


def test_the_entry_of_a_failed_file_is_valid() -> None:
    VALIDATOR.validate(json.loads(error_text("a.mp4", InputError("is empty"))))


def without(*path: str) -> Callable[[dict[str, Any]], None]:
    def damage(document: dict[str, Any]) -> None:
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return damage


def put(value: Any, *path: Any) -> Callable[[dict[str, Any]], None]:
    def damage(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return damage


DAMAGE = {
    "no scores": without("scores"),
    "no joint curve": put(None, "scores", "joint"),
    "half the thresholds": without("thresholds", "offset"),
    "name with a folder": put("../../etc/x.mp4", "input", "name"),
    "name of another machine": put("//evil.example/x.mp4", "input", "name"),
    "name with NUL": put("a\0.mp4", "input", "name"),
    "endless name": put("n" * 256, "input", "name"),
    "no name": put("", "input", "name"),
    "no answer with an interval": put("not_assessable", "verdict"),
    "forged without a class": put("real", "label"),
    "no forgery of a class": put("not_found", "verdict"),
    "no verdict": without("verdict"),
    "other verdict": put("maybe", "verdict"),
    "no line": without("line"),
    "line as text": put("0.62", "line"),
    "probability above one": put(1.2, "probability"),
    "promise of half a clip": put(0.5, "promise", "alarms"),
    "promise without its clips": without("promise", "clips"),
    "strongest without a track": without("strongest", "modality"),
    "no probabilities": put(None, "probabilities"),
    "reason as number": put(
        {"assessable": False, "assessed_s": 0, "gaps": [], "reason": 7}, "assessment", "visual"
    ),
    "other schema": put("rt-deeploc/report@4", "schema"),
    "no schema": without("schema"),
    "other label": put("fake", "label"),
    "other modality": put("smell", "intervals", 0, "modality"),
    "label as list": put(["real"], "label"),
    "score above one": put(1.2, "intervals", 0, "score"),
    "start before zero": put(-1.0, "intervals", 0, "start_s"),
    "start as text": put("1.0", "intervals", 0, "start_s"),
    "endless interval": put(1e300, "intervals", 0, "end_s"),
    "start missing": without("intervals", 0, "start_s"),  # type: ignore[arg-type]
    "text in a curve": put("x", "scores", "visual", 3),
    "true in a curve": put(True, "scores", "visual", 3),
    "curve too large": put(1e30, "scores", "visual", 3),
    "no fraction": put("a third", "scores", "grid", "step"),
    "huge fraction": put("1e999999999", "scores", "grid", "step"),
    "probability missing": without("probabilities", "real"),
    "probability of more": put(0.5, "probabilities", "maybe"),
    "sha256 as number": put(5, "input", "sha256"),
    "complete as number": put(1, "complete"),
    "warning as number": put([1], "warnings"),
    "route elsewhere": put("sideways", "route"),
    "gap of three": put([[1, 2, 3]], "coverage", "visual", "gaps"),
    "version as number": put(2, "provenance", "versions", "torch"),
    "nothing": lambda document: document.clear(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_refused_by_the_schema_and_by_the_reader(damage: Callable[[Any], None]) -> None:
    document = json.loads(dumps(forged()))
    damage(document)
    assert not VALIDATOR.is_valid(document)
    with pytest.raises(InputError, match="not an RT-DeepLoc report"):
        loads(json.dumps(document))


@pytest.mark.parametrize(
    "path",
    [
        (),
        ("input",),
        ("input", "video"),
        ("intervals", 0),
        ("coverage", "visual"),
        ("scores",),
        ("scores", "grid"),
        ("strongest",),
        ("promise",),
        ("thresholds",),
        ("provenance",),
        ("clock",),
    ],
    ids=lambda path: "/".join(map(str, path)) or "top",
)
def test_a_field_of_a_later_program_is_passed_over(path: tuple[Any, ...]) -> None:
    document = json.loads(dumps(forged()))
    put({"any": ["thing"]}, *path, "added")(document)
    VALIDATOR.validate(document)
    assert dumps(loads(json.dumps(document))) == dumps(forged())


def test_a_report_without_thresholds_is_read_and_shown_without_their_lines() -> None:
    document = json.loads(dumps(forged()))
    del document["thresholds"]
    VALIDATOR.validate(document)
    report = loads(json.dumps(document))
    assert report.thresholds is None
    VALIDATOR.validate(json.loads(dumps(report)))
    assert dumps(loads(dumps(report))) == dumps(report)
    page = page_html(report, None, None)
    assert 'class="threshold"' in page_html(forged(), None, None)
    assert 'class="threshold"' not in page
    assert "counts if it reaches" not in page
    assert "not recorded" in page
    assert figure(report, "svg") != figure(forged(), "svg")


def test_the_name_of_a_failed_file_is_one_too(tmp_path: Path) -> None:
    text = error_text("../x.mp4", InputError("is empty"))
    assert not VALIDATOR.is_valid(json.loads(text))
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"not an entry of a failed file \(input.name is not a file name"):
        load(tmp_path / "a.json")


def test_what_only_the_reader_can_see_is_refused_too() -> None:
    for damage in (
        put([0.5], "scores", "visual"),
        put("1/0", "scores", "grid", "step"),
        put("0", "scores", "grid", "step"),
        put(0.0, "intervals", 0, "end_s"),
        put([[2.0, 1.0]], "coverage", "visual", "gaps"),
        put("..", "input", "name"),
        put("ß" * 128, "input", "name"),  # 256 bytes
        put("\ud800.mp4", "input", "name"),  # a surrogate that stands for no byte
        put(0.3, "line"),  # below the floor
        put(0.96, "line"),  # above the probability of what is called forged
        put("visual", "label"),  # though the intervals show sound as well
    ):
        document = json.loads(dumps(forged()))
        damage(document)
        with pytest.raises(InputError, match="not an RT-DeepLoc report"):
            loads(json.dumps(document))


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", "[" * 100_000, '{"schema": NaN}', '{"schema": {}}', "9" * 5000]
)
def test_what_is_no_report_at_all_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not an RT-DeepLoc report"):
        loads(text)


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a document with every key or index in it, of long lists the first two."""
    pairs = document.items() if isinstance(document, dict) else enumerate(document[:2])
    for key, value in list(pairs):
        yield document, key
        if isinstance(value, dict | list):
            yield from places(value)


def test_whatever_the_reader_accepts_can_be_shown_and_exported() -> None:
    original = json.loads(dumps(forged()))
    junk: list[Any] = [None, True, -1, 0, 1e13, 10**400, "", "<b>\n", [], [None], {}, {"a": 1}, [[]], "1/25"]
    draw = random.Random(7)
    accepted = 0
    for number in range(sum(1 for _ in places(original))):
        for value in draw.sample(junk, 5):
            document = copy.deepcopy(original)
            container, key = list(places(document))[number]
            container[key] = value
            try:
                report = loads(json.dumps(document))
            except InputError:
                continue
            accepted += 1
            for form in FORMS:
                export_text(report, form)
            Outcome.of("a.mp4", report)
            if accepted % 10 == 0:  # a page takes longer than all exports
                page_html(report, None, None)
    assert accepted > 50  # free text and free numbers


def test_a_file_holds_a_report_or_the_entry_of_a_failure(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(dumps(forged()))
    (tmp_path / "b.json").write_text(error_text("b.mp4", InputError("is empty", fix="copy it again")))
    assert dumps(load(tmp_path / "a.json")) == dumps(forged())  # type: ignore[arg-type]
    assert load(tmp_path / "b.json") == ErrorEntry("b.mp4", "is empty", "copy it again", 3)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\xff\xfe", "not UTF-8 text"),
        (b'{"schema": "rt-deeploc/error@1", "input": {}}', "not an entry of a failed file"),
        (b'{"schema": "rt-deeploc/report@9"}', "schema 'rt-deeploc/report@9', this version reads"),
    ],
)
def test_an_error_names_the_file(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=what) as caught:
        load(path)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("content", "foreign"),
    [
        ("{}", True),
        ("[1]", True),
        ('{"schema": "elsewhere/report@1"}', True),
        ('{"schema": "rt-deeploc/report@9"}', False),
        ('{"schema": "rt-deeploc/rep', False),
    ],
)
def test_documents_of_others_are_told_from_damaged_reports(
    content: str, foreign: bool, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match="not an RT-DeepLoc report") as caught:
        load(tmp_path / "a.json")
    assert isinstance(caught.value, ForeignError) is foreign


def test_a_file_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(ForensicError, match="cannot be read"):
        load(tmp_path / "a.json")


def test_reports_are_found_in_folders_but_not_half_written_ones(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.mp4.json", "sub/a.mp4.json", ".b.mp4.json.1-2.json", "a.csv"):
        (tmp_path / name).touch()
    assert find_reports(tmp_path) == ([Path("b.mp4.json"), Path("sub/a.mp4.json")], tmp_path)
    assert find_reports(tmp_path / "sub" / "a.mp4.json") == ([Path("a.mp4.json")], tmp_path / "sub")
    with pytest.raises(InputError, match="no such file"):
        find_reports(tmp_path / "c")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="contains no JSON file"):
        find_reports(tmp_path / "empty")
