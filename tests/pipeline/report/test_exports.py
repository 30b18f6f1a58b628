"""Exports say what the report says, in forms that the readers of those forms accept."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from typing import Any

import opentimelineio as otio
import pytest
from report_factory import authentic, build, forged, one_track
from report_readers import Cue, edl_events, read_vtt

from pipeline.report.exports import csv_table, export_text, frames, suffix
from pipeline.report.model import Report
from pipeline.report.rows import rows

FORMS = ("csv", "vtt", "audacity", "edl", "otio")


def one(start_s: float, end_s: float, modality: str = "visual") -> Report:
    """A forged clip with a single interval of score 0.87654."""
    return build(modality, [(start_s, end_s, modality, 0.87654)], duration_s=max(6.0, math.ceil(end_s)))


def timeline(text: str) -> Any:
    """The export as the OpenTimelineIO library reads it."""
    return otio.adapters.read_from_string(text, "otio_json")


def test_webvtt_has_a_cue_for_each_interval() -> None:
    notes, cues = read_vtt(export_text(forged(), "vtt"))
    assert notes == ["forged.mp4: An indication, not proof."]
    assert cues == [
        Cue("1", 1.0, 1.6, "forged visual 0.91"),
        Cue("2", 2.4, 3.0, "forged audio 0.72"),
        Cue("3", 4.0, 4.8, "forged both 0.85"),
    ]


def test_webvtt_counts_hours() -> None:
    assert "01:02:03.042 --> 01:02:04.000\n" in export_text(one(3723.0415999, 3723.9996), "vtt")


def test_audacity_reads_start_end_and_label() -> None:
    assert export_text(forged(), "audacity") == (
        "1.000000\t1.600000\tforged visual 0.91\n"
        "2.400000\t3.000000\tforged audio 0.72\n"
        "4.000000\t4.800000\tforged both 0.85\n"
    )


@pytest.mark.parametrize(
    ("start_s", "end_s", "first", "stop"),
    [
        (1.0, 1.6, 25, 40),  # on the grid: 1.6 * 25 = 40, although 1.6 is no binary fraction
        (0.28, 0.56, 7, 14),  # 0.28 * 25 is 7.000000000000001 in floats
        (1.001, 1.599, 25, 40),  # outward: 25.025 down, 39.975 up
        (1.039, 1.041, 25, 27),  # 25.975 and 26.025: two frames are touched
        (2.0, 2.0, 50, 51),  # an empty span still shows a frame
    ],
)
def test_frames_are_rounded_outward(start_s: float, end_s: float, first: int, stop: int) -> None:
    (row,) = rows(one(start_s, end_s))
    assert frames(row) == (first, stop)


def test_no_frame_of_an_interval_is_lost_and_none_is_added_that_it_does_not_touch() -> None:
    for k in range(0, 2000, 7):
        (row,) = rows(one(k / 1000, (k + 123) / 1000))
        first, stop = frames(row)
        assert first * 40 <= k < (first + 1) * 40  # 40 ms a frame
        assert (stop - 1) * 40 < k + 123 <= stop * 40


def test_edl_events_lie_where_the_spans_lie_in_the_clip() -> None:
    text = export_text(forged(), "edl")
    assert text.startswith("TITLE: forged.mp4\nFCM: NON-DROP FRAME\n")
    # 1.6 s are 40 frames: 15 after the first second. 4.8 s are 120 frames: 20 after the fourth.
    assert edl_events(text) == [
        ("001", "AX", "V", "C", "00:00:01:00", "00:00:01:15", "00:00:01:00", "00:00:01:15"),
        ("002", "AX", "A", "C", "00:00:02:10", "00:00:03:00", "00:00:02:10", "00:00:03:00"),
        ("003", "AX", "B", "C", "00:00:04:00", "00:00:04:20", "00:00:04:00", "00:00:04:20"),
    ]
    assert "* FROM CLIP NAME: forged.mp4\n* LOC: 00:00:01:00 RED     forged visual 0.91\n" in text
    assert "* COMMENT: 00:00:01.000 - 00:00:01.600 forged visual, score 0.9100." in text


def test_edl_counts_minutes_and_hours() -> None:
    # 3723.0416 s is 01:02:03 and 1.04 frames: frame 1. 3723.9996 s rounds to 3724.000 s.
    (event,) = edl_events(export_text(one(3723.0415999, 3723.9996), "edl"))
    assert event[4:6] == ("01:02:03:01", "01:02:04:00")


def test_edl_fields_stand_in_the_columns_of_cmx_3600() -> None:
    line = next(line for line in export_text(forged(), "edl").splitlines() if line.startswith("001"))
    assert [match.start() for match in re.finditer(r"\S+", line)] == [0, 5, 14, 20, 29, 41, 53, 65]


def test_otio_is_read_by_its_library() -> None:
    whole = timeline(export_text(forged(), "otio", "forged.mp4"))
    assert isinstance(whole, otio.schema.Timeline)
    assert [(track.name, track.kind) for track in whole.tracks] == [("Video", "Video"), ("Audio", "Audio")]
    assert whole.duration() == otio.opentime.RationalTime(150, 25)
    for track, expected in zip(
        whole.tracks,
        ([("visual", 25, 15), ("both", 100, 20)], [("audio", 60, 15), ("both", 100, 20)]),
        strict=True,
    ):
        (clip,) = track
        assert clip.media_reference.target_url == "forged.mp4"
        assert clip.available_range() == clip.source_range
        found = [
            (
                marker.metadata["rt-deeploc"]["modality"],
                marker.marked_range.start_time.value,
                marker.marked_range.duration.value,
            )
            for marker in clip.markers
        ]
        assert found == expected
    assert whole.tracks[0][0].markers[0].metadata["rt-deeploc"]["score"] == 0.91
    assert whole.metadata["rt-deeploc"]["sha256"] == forged().input.sha256


def test_otio_survives_the_way_through_its_library() -> None:
    whole = timeline(export_text(forged(), "otio"))
    again = timeline(otio.adapters.write_to_string(whole, "otio_json"))
    assert again.is_equivalent_to(whole)


@pytest.mark.parametrize(("track", "kind"), [("visual", "Video"), ("audio", "Audio")])
def test_otio_has_the_tracks_that_the_clip_has(track: str, kind: str) -> None:
    whole = timeline(export_text(one_track(track), "otio"))
    assert [each.kind for each in whole.tracks] == [kind]


def test_otio_points_to_the_media_by_the_url_given() -> None:
    whole = timeline(export_text(forged(), "otio", "../in/a%20b.mp4"))
    assert whole.tracks[0][0].media_reference.target_url == "../in/a%20b.mp4"


def test_otio_links_to_no_file_that_was_not_found() -> None:
    text = export_text(forged(), "otio")
    (clip,) = timeline(text).tracks[0]
    assert isinstance(clip.media_reference, otio.schema.MissingReference)
    assert clip.available_range() == clip.source_range
    assert "target_url" not in text


def test_otio_is_as_long_as_the_clip_is_known_to_be() -> None:
    report = one(1.0, 7.0)
    longer = replace(report, input=replace(report.input, duration_s=7.01))
    unknown = replace(report, input=replace(report.input, duration_s=None))
    # 7.01 s touch frame 175 (7.00 to 7.04 s), so that there are 176 frames; the grid alone has 7 s.
    assert timeline(export_text(longer, "otio")).duration().value == 176
    assert timeline(export_text(unknown, "otio")).duration().value == 175


def test_all_forms_hold_the_same_intervals() -> None:
    report = forged()
    expected = [(row.start_s, row.end_s) for row in rows(report)]
    table = csv.DictReader(io.StringIO(export_text(report, "csv")))
    assert [(float(line["start_s"]), float(line["end_s"])) for line in table] == expected
    assert [(cue.start_s, cue.end_s) for cue in read_vtt(export_text(report, "vtt"))[1]] == expected
    labels = [line.split("\t") for line in export_text(report, "audacity").splitlines()]
    assert [(float(start), float(end)) for start, end, _ in labels] == expected
    assert len(edl_events(export_text(report, "edl"))) == len(expected)


@pytest.mark.parametrize("form", FORMS)
def test_an_authentic_clip_has_exports_without_intervals(form: Any) -> None:
    text = export_text(authentic(), form)
    assert "forged" not in text
    if form == "vtt":
        assert read_vtt(text)[1] == []
    if form == "otio":
        whole = timeline(text)
        assert [len(track[0].markers) for track in whole.tracks] == [0, 0]


@pytest.mark.parametrize("form", FORMS)
def test_an_export_depends_on_the_report_alone(form: Any) -> None:
    assert export_text(forged(), form) == export_text(forged(), form)


def test_endings_differ_so_that_exports_lie_beside_each_other() -> None:
    endings = [suffix(form) for form in FORMS]  # type: ignore[arg-type]
    assert endings == [".csv", ".vtt", ".labels.txt", ".edl", ".otio"]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-x.mp4", "'-x.mp4"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1", "'  =1"),
        ("\t=1", "'\t=1"),
        ("＝1+1", "'＝1+1"),  # a full-width sign counts in some locales
        ("a=1", "a=1"),
        ("", ""),
        (-1.5, "-1.5"),
        (None, ""),
    ],
)
def test_no_cell_is_a_formula(cell: object, written: str) -> None:
    ((read,),) = list(csv.reader(io.StringIO(csv_table(["h"], [[cell]]))))[1:]
    assert read == written


def test_text_is_quoted_so_that_no_locale_splits_it() -> None:
    assert csv_table(["file", "n"], [["a;b", 1]]) == '"file","n"\n"a;b",1\n'


def test_otio_numbers_are_plain_json() -> None:
    document = json.loads(export_text(forged(), "otio"), parse_constant=pytest.fail)
    assert document["OTIO_SCHEMA"] == "Timeline.1"
