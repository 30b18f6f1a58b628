"""Names and container metadata never become markup, a formula, another row or another cue: the whole writing is run."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import opentimelineio as otio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_factory import HOSTILE, forged, forged_visual
from report_readers import Markup, edl_events, read_vtt

from data.errors import InputError
from pipeline.report.exports import export_text
from pipeline.report.json import ErrorEntry, dumps, load, loads
from pipeline.report.model import Report
from pipeline.report.outputs import Outputs, short
from pipeline.report.rows import printable, rows, summary

MORE = {
    "arrow": "--> 00:00:00.000 --> 99:00:00.000.mp4",
    "cue-style": "STYLE ::cue { visibility: hidden }.mp4",
    "cue-lines": "a\n\nSTYLE\n::cue{}\n\n1\n00:00:00.000 --> 00:09:00.000\nall forged.mp4",
    "region": "REGION\nid:x.mp4",
    "edl": "a\n002  AX       V     C        00:00:00:00 00:09:00:00 00:00:00:00 00:09:00:00.mp4",
    "audacity": "a\t9\tlabel\n0\t9\tall.mp4",
    "dash": "-rf.mp4",
    "at": "@SUM(A1:A9).mp4",
    "plus": "+1 234.mp4",
    "full-width": "＝1+1.mp4",
    "semicolon": "x;=1+1.mp4",
    "windows": 'CON<>:"|?*\\.mp4',
    "template": "{{ 7 * 7 }}{% for x in y %}.mp4",
    "isolate": "\u2066hidden\u2069\u061c.mp4",
    "bytes": "b" * 251 + ".mp4",
    "wide": "ß" * 125 + ".mp4",
    "not-unicode-long": "\udcff" * 251 + ".mp4",
}
NAMES = HOSTILE | MORE
assert all(len(os.fsencode(MORE[key])) == limit for key, limit in {"bytes": 255, "wide": 254}.items())


def hostile(name: str) -> Report:
    """A report in which every free text is `name`."""
    report = forged(name)
    assert report.input.video is not None
    return replace(
        report,
        input=replace(
            report.input,
            container=name,
            video=replace(report.input.video, codec=name, pixel_format=name),
        ),
        warnings=(name, f"could not read {name}"),
        provenance=replace(report.provenance, versions={name: name}, device=name),
    )


def check_exports(report: Report) -> None:
    """Every export holds the report's three intervals and nothing else, on lines without unseen characters."""
    texts: dict[str, str] = {
        form: export_text(report, form, quote(os.fsencode(report.input.name)))  # type: ignore[arg-type]
        for form in ("csv", "vtt", "audacity", "edl", "otio")
    }
    table = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert [line["modality"] for line in table] == ["visual", "audio", "both"]
    assert texts["csv"].count("\n") == 4
    assert not {line["file"].strip()[:1] for line in table} & set("=+-@＝\t\r\n")
    notes, cues = read_vtt(texts["vtt"])
    assert [cue.text for cue in cues] == ["forged visual 0.91", "forged audio 0.72", "forged both 0.85"]
    assert notes == [f"{printable(report.input.name)}: An indication, not proof."]
    assert [line.count("\t") for line in texts["audacity"].splitlines()] == [2, 2, 2]
    assert [event[0] for event in edl_events(texts["edl"])] == ["001", "002", "003"]
    whole: Any = otio.adapters.read_from_string(texts["otio"], "otio_json")
    assert [len(track[0].markers) for track in whole.tracks] == [2, 2]
    assert unquote_to_bytes(whole.tracks[0][0].media_reference.target_url) == os.fsencode(report.input.name)
    for text in texts.values():
        assert printable(text.replace("\n", "").replace("\t", "")) == text.replace("\n", "").replace("\t", "")


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_exports_of_a_hostile_name_are_read_back(name: str) -> None:
    check_exports(hostile(name))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text(
        st.characters(codec=None, exclude_characters="/\0", exclude_categories=[]), min_size=1, max_size=60
    )
)
def test_exports_of_any_name_are_read_back(name: str) -> None:
    if any("\ud800" <= char <= "\udbff" or "\udc00" <= char < "\udc80" or char > "\udcff" for char in name):
        # Of the surrogates, file names can only hold those that stand for bytes.
        name = "".join(char for char in name if not "\ud800" <= char <= "\udfff")
    check_exports(forged(name))


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_json_keeps_the_name_as_it_is(name: str) -> None:
    name = name.replace("/", "\u2215")
    text = dumps(hostile(name))
    assert text.isascii()
    assert loads(text).input.name == name
    assert dumps(loads(text)) == text


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_everything_is_written_below_the_folder_and_read_back(name: str, tmp_path: Path) -> None:
    if "/" in name:
        name = name.replace("/", "\u2215")
    forms: Any = ("vtt", "audacity", "edl", "otio")
    out = tmp_path / "out"
    with Outputs(out, many=True, html=True, exports=forms) as outputs:
        outputs.add(Path(name), hostile(name), tmp_path / name)
        outputs.add_error(Path("sub", name), InputError(f"no {name}", name))
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == sorted(
        ["index.csv", "index.html", f"sub/{short(Path(name))}.json"]
        + [
            f"{short(Path(name))}.{kind}"
            for kind in ("json", "csv", "html", "vtt", "labels.txt", "edl", "otio")
        ]
    )
    assert load(out / f"{short(Path(name))}.json").input.name == name  # type: ignore[union-attr]
    entry = load(out / "sub" / f"{short(Path(name))}.json")
    assert entry == ErrorEntry(name, f"no {name}", "", 3)
    page = Markup((out / f"{short(Path(name))}.html").read_text())
    plain_out = tmp_path / "plain"
    with Outputs(plain_out, many=True, html=True) as outputs:
        outputs.add(Path("a.mp4"), hostile("a.mp4"), tmp_path / "a.mp4")
    assert page.tags == Markup((plain_out / "a.mp4.html").read_text()).tags
    assert page.handlers == []
    assert len(list(csv.reader(io.StringIO((out / "index.csv").read_text())))) == 3


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_the_summary_has_one_line_for_each_thing_and_no_terminal_codes(name: str) -> None:
    plain = summary(hostile("a.mp4"), "a.mp4")
    lines = summary(hostile(name), name)
    assert len("\n".join(lines).splitlines()) == len(plain)
    assert "\x1b" not in "".join(lines)


def test_printable_shows_what_cannot_be_seen_and_keeps_what_can() -> None:
    assert printable("a\u202eb\n\x1b[0m\udcff\u2028") == r"a\u202eb\n\x1b[0m\udcff\u2028"
    kept = "é e\u0301 שלום 日本 👩\u200d👧 نمی\u200cخواهم"
    assert printable(kept) == kept


def test_a_long_name_is_cut_where_a_character_ends_and_stays_apart_from_its_like() -> None:
    one, other = short(Path("sub", "ß" * 120 + "1.mp4")), short(Path("sub", "ß" * 120 + "2.mp4"))
    assert one != other
    assert one.parent == Path("sub")
    assert len(os.fsencode(one.name)) <= 200
    assert one.name.startswith("ß" * 95 + "~")  # 200 bytes less nine, two bytes a letter
    assert short(Path("a.mp4")) == Path("a.mp4")
    assert short(Path("c" * 200)) == Path("c" * 200)


def test_a_report_that_names_another_place_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    report = forged_visual("../../etc/passwd")
    with Outputs(tmp_path / "out", many=True, html=True) as outputs:
        outputs.render(Path("a.mp4"), report)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
        "a.mp4.csv", "a.mp4.html", "index.csv", "index.html",
    }  # fmt: skip
    assert rows(report)[0].file == "../../etc/passwd"


def test_the_error_entry_keeps_its_text(tmp_path: Path) -> None:
    with Outputs(tmp_path) as outputs:
        outputs.add_error(Path("a.mp4"), InputError("<b>\n</b>", "a.mp4", "\x00"))
    document = json.loads((tmp_path / "a.mp4.json").read_text())
    assert document["error"] == {"what": "<b>\n</b>", "fix": "\x00", "exit_code": 3}
