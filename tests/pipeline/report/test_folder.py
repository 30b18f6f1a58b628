"""A folder's index ranks what was analysed, and what was not has a row with its reason."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from report_factory import HOSTILE, abstained, authentic, build, concluded, faceless, forged, gaps, undecided
from report_readers import Markup

from data.errors import InputError
from pipeline.report.folder import Outcome, index_csv, index_html, ranked, table
from pipeline.report.outputs import Outputs

COLUMNS = [
    "file",
    "verdict",
    "label",
    "score",
    "interval_score",
    "intervals",
    "duration_s",
    "note",
    "people",
    "sha256",
]
HEADS = ["File", "Verdict", "Score", "Highest interval", "Intervals", "Duration (s)", "Note"]


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_score_of_a_clip_is_the_probability_of_its_finding() -> None:
    row = Outcome.of("a.mp4", concluded(forged(), probability=0.69996))
    # Rounded to four digits; the best of the intervals has 0.91.
    assert (row.score, row.interval_score, row.intervals) == (0.7, 0.91, 3)
    assert (row.file, row.verdict, row.label, row.duration_s, row.note) == (
        "a.mp4",
        "forged",
        "both",
        6.0,
        "",
    )


def test_a_clip_without_intervals_has_a_score_all_the_same() -> None:
    row = Outcome.of("a.mp4", authentic())
    assert (row.score, row.interval_score, row.intervals) == (0.15, None, 0)


def test_what_is_incomplete_says_so() -> None:
    assert Outcome.of("a.mp4", gaps()).note == "partly decoded"


def test_the_most_serious_verdict_comes_first_and_failures_last() -> None:
    rows = [
        Outcome.failed("0.mp4", "is empty"),
        Outcome.of("none.mp4", abstained()),
        Outcome.of("real.mp4", concluded(authentic(), probability=0.99)),
        Outcome.of("maybe.mp4", undecided()),
        Outcome.of("b.mp4", forged()),
        Outcome.of("a.mp4", forged()),
        Outcome.of("weak.mp4", concluded(forged(), probability=0.6)),
    ]
    # A verdict counts before a score, whatever that is.
    order = ["a.mp4", "b.mp4", "weak.mp4", "maybe.mp4", "real.mp4", "none.mp4", "0.mp4"]
    assert [row.file for row in ranked(rows)] == order


def test_the_closing_table_counts_what_was_analysed() -> None:
    outcomes = [
        Outcome.of("a/long name.mp4", build("audio", [(1, 2, "audio", 0.7)])),
        Outcome.of("b.mp4", concluded(forged(complete=False), intervals=())),
        Outcome.failed("c.mp4", "is empty"),
        Outcome.of("d.mp4", undecided()),
    ]
    assert table(outcomes) == [
        "",
        "file             verdict                    intervals",
        "a/long name.mp4  forged: sound                      1",
        "b.mp4            forged: picture and sound          0  partly decoded",
        "c.mp4            could not be analysed",
        "d.mp4            undecided                          0",
        "3 of 4 file(s) analysed: 2 forged, 1 undecided",
    ]


def test_index_csv_has_a_row_for_every_file() -> None:
    text = index_csv([Outcome.of("a.mp4", forged(), "a.mp4.html"), Outcome.failed("b.mp4", "is empty")])
    first, second = read(text)
    assert list(first) == COLUMNS
    assert first == {
        "file": "a.mp4",
        "verdict": "forged",
        "label": "both",
        "score": "0.95",
        "interval_score": "0.91",
        "intervals": "3",
        "duration_s": "6.0",
        "note": "",
        "people": "",
        "sha256": forged().input.sha256,
    }
    assert (second["verdict"], second["note"], second["score"]) == ("failed", "is empty", "")


def test_index_html_is_a_table_without_its_script() -> None:
    rows = [Outcome.of("sub/a.mp4", forged(), "sub/a.mp4.html"), Outcome.failed("b.mp4", "is empty")]
    page = Markup(index_html(rows))
    assert page.cells[:7] == HEADS
    assert page.cells[7:14] == [
        "sub/a.mp4", "forged: picture and sound", "0.9500", "0.9100", "3", "6.00", "",
    ]  # fmt: skip
    assert page.cells[14:] == ["b.mp4", "could not be analysed", "", "", "", "", "is empty"]
    assert page.links == ["sub/a.mp4.html"]


def test_index_html_counts_the_verdicts_and_says_that_it_is_no_proof() -> None:
    page = index_html([Outcome.of("a.mp4", authentic()), Outcome.failed("b.mp4", "is empty")])
    assert "<h1>2 clips</h1>" in page
    assert '<li class="not_found"><strong>1</strong> no forgery found</li>' in page
    assert '<li class="failed"><strong>1</strong> could not be analysed</li>' in page
    assert '<li class="forged">' not in page
    assert "An indication, not proof." in page
    assert "<h1>1 clip</h1>" in index_html([Outcome.of("a.mp4", authentic())])


def test_a_verdict_has_its_colour_and_is_green_only_where_most_could_be_judged() -> None:
    rows = [
        Outcome.of(report.input.name, report)
        for report in (forged(), undecided(), authentic(), faceless(), abstained())
    ]
    assert [row.tone for row in rows] == ["forged", "undecided", "not_found", "limited", "not_assessable"]
    page = index_html(rows)
    for row in rows:
        assert f'<td class="{row.tone}" data-order=' in page
    assert "tone" not in index_csv(rows).splitlines()[0]


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_name_is_one_cell_and_never_markup(name: str) -> None:
    plain = Markup(index_html([Outcome.of("a", authentic()), Outcome.failed("b", "c")]))
    page = Markup(index_html([Outcome.of(name, authentic(name)), Outcome.failed(name, name)]))
    assert page.tags == plain.tags
    assert page.handlers == []
    assert len(page.cells) == 21
    assert page.cells[7] == page.cells[14] == page.cells[20]
    assert len(read(index_csv([Outcome.of(name, authentic(name)), Outcome.failed(name, name)]))) == 2


def test_only_the_pages_own_script_and_style_may_run() -> None:
    import base64
    import hashlib
    import html
    import re

    page = index_html([Outcome.of("a.mp4", authentic())])
    digests = []
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests.append(base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())
    assert f"style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}';" in html.unescape(page)
    assert "default-src 'none'; img-src data:; style-src" in html.unescape(page)
    assert "unsafe" not in page
    assert "style=" not in page
    assert "http" not in re.sub(r"http-equiv", "", page)


def test_outputs_leave_an_index_whose_links_lead_to_the_pages(tmp_path: Path) -> None:
    names = [Path("a/clip 1.mp4"), Path("b#?%/:x.mp4"), Path("bad.mp4")]
    with Outputs(tmp_path, many=True, html=True) as outputs:
        outputs.add(names[0], forged(names[0].name))
        outputs.add(names[1], authentic(names[1].name))
        outputs.add_error(names[2], InputError("is empty"))
    page = Markup((tmp_path / "index.html").read_text())
    assert page.links == ["a/clip%201.mp4.html", "b%23%3F%25/%3Ax.mp4.html"]
    from urllib.parse import unquote

    assert all((tmp_path / unquote(link)).is_file() for link in page.links)
    back = [Markup((tmp_path / unquote(link)).read_text()).links[1] for link in page.links]
    assert back == ["../index.html", "../index.html"]
    assert [row["file"] for row in read((tmp_path / "index.csv").read_text())] == [
        "a/clip 1.mp4",
        "b#?%/:x.mp4",
        "bad.mp4",
    ]
    assert page.cells[-1] == "is empty"


def test_a_single_file_has_no_index(tmp_path: Path) -> None:
    with Outputs(tmp_path) as outputs:
        outputs.add(Path("a.mp4"), forged())
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4.json", "a.mp4.csv"}


def test_without_pages_there_is_only_the_csv(tmp_path: Path) -> None:
    with Outputs(tmp_path, many=True) as outputs:
        outputs.add(Path("a.mp4"), forged())
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4.json", "a.mp4.csv", "index.csv"}
    assert outputs.outcomes[0].page is None


def test_an_interrupted_folder_keeps_an_index_of_what_was_done(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Outputs(tmp_path, many=True, html=True) as outputs:
            outputs.add(Path("a.mp4"), forged())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert Markup((tmp_path / "index.html").read_text()).links == ["a.mp4.html"]


def test_the_name_in_the_report_counts_not_that_of_the_json(tmp_path: Path) -> None:
    with Outputs(tmp_path, many=True) as outputs:
        outputs.render(Path("sub/shortened~12345678"), forged("its whole name.mp4"))
    assert [row.file for row in outputs.outcomes] == ["sub/its whole name.mp4"]
