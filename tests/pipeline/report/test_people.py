"""Who is meant: people in JSON, table, exports, index and page."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
import report_factory as factory
from report_page import Page

from data.errors import InputError
from data.people import Seen
from pipeline.report.exports import Form, export_text
from pipeline.report.folder import Outcome, index_csv
from pipeline.report.json import dumps, loads
from pipeline.report.page import page_html
from pipeline.report.pictures import places
from pipeline.report.rows import reason, summary, who

PANEL = factory.panel()


def test_json_has_people_with_their_tracks_and_is_read_again() -> None:
    document = json.loads(dumps(PANEL))
    assert [each["number"] for each in document["people"]] == [1, 2, 3]
    assert [each["judged"] for each in document["people"]] == [True, True, False]
    assert [each["probability"] for each in document["people"]] == [0.12, 0.9412, None]
    assert document["people"][1]["track"] == [[[0.0, 0.6, 0.3, 0.2, 0.5], [6.0, 0.7, 0.3, 0.2, 0.5]]]
    assert document["faces"] == {"more": 1, "small": 3}
    assert [each["person"] for each in document["intervals"]] == [2]
    assert document["strongest"]["person"] == 2
    back = loads(dumps(PANEL))
    assert (back.seen, back.finding) == (PANEL.seen, PANEL.finding)
    assert dumps(back) == dumps(PANEL)


def test_a_report_from_before_people_is_still_read() -> None:
    document = json.loads(dumps(PANEL))
    del document["people"], document["faces"]
    for segment in (document["strongest"], *document["intervals"]):
        del segment["person"]
    back = loads(json.dumps(document))
    assert back.seen == Seen()
    assert [each.person for each in back.intervals] == [0]
    assert "person" not in "\n".join(summary(back, "clip.mp4"))


@pytest.mark.parametrize("number", [0, -1, 1.5, "1"])
def test_a_number_that_is_none_is_refused(number: object) -> None:
    document = json.loads(dumps(PANEL))
    document["people"][0]["number"] = number
    with pytest.raises(InputError):
        loads(json.dumps(document))


def test_text_names_the_person_and_the_faces_that_were_not_judged() -> None:
    assert who(PANEL) == (
        "3 people were seen; not judged, because seen too briefly: person 3; up to 1 more face at once not followed; "
        "up to 3 faces at once too small to be judged."
    )
    lines = summary(PANEL, "panel.mp4")
    assert "  00:00:02.000 - 00:00:03.000  visual  0.93  person 2" in lines
    assert f"  {who(PANEL)}" in lines
    assert "2.00 to 3.00 s of the picture of person 2, the clip" in reason(PANEL)


def test_of_one_person_nothing_need_be_said() -> None:
    alone = replace(PANEL, seen=Seen(PANEL.seen.people[1:2]))
    assert who(alone) == ""
    assert "person" not in "\n".join(summary(alone, "clip.mp4"))
    assert 'id="people"' not in page_html(alone, None, None)


@pytest.mark.parametrize("form", ["csv", "vtt", "audacity", "edl", "otio"])
def test_every_export_says_who(form: Form) -> None:
    text = export_text(PANEL, form)
    if form == "csv":
        assert [row["person"] for row in csv.DictReader(io.StringIO(text))] == ["2"]
    else:
        assert "forged visual 0.93 person 2" in text


def test_the_index_says_who() -> None:
    outcome = Outcome.of("panel.mp4", PANEL)
    assert outcome.words == "forged: picture of person 2"
    (row,) = csv.DictReader(io.StringIO(index_csv([outcome])))
    assert row["people"] == "2"


def test_the_page_has_a_row_for_each_person_with_face_and_times() -> None:
    pictures = factory.pictures(PANEL)
    page = Page(page_html(PANEL, pictures, None))
    assert [row.attributes["data-person"] for row in page.all("tr") if "data-person" in row.attributes] == [
        "1",
        "2",
        "3",
    ]
    assert "Face of person 2" not in page.html, "the pictures of the factory have no faces"
    assert "Nobody is recognised." in page.html
    assert page.data["people"] == [2]
    assert page.data["boxes"] == {"2": [[[0.0, 0.6, 0.3, 0.2, 0.5], [6.0, 0.7, 0.3, 0.2, 0.5]]]}


def test_each_person_has_a_still_where_the_face_is_largest() -> None:
    faces = [place for place in places(PANEL) if place.name == "person"]
    assert [(place.person, place.time_s) for place in faces] == [(1, 0.0), (2, 0.0), (3, 5.02)]
