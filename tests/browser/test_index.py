"""The index of a folder in a browser: it sorts, filters, turns pages, and leads to the reports."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_factory as factory

from data.errors import InputError
from pipeline.report.folder import Outcome, index_html, ranked
from pipeline.report.outputs import Outputs

Visit = Callable[..., Any]


def outcome(name: str, verdict: str, score: float, intervals: int, duration_s: float) -> Outcome:
    highest, label = score - 0.01 if intervals else None, "visual" if verdict == "forged" else "real"
    return Outcome(
        name,
        verdict,
        label,
        score,
        highest,
        intervals,
        duration_s,
        "",
        "",
        "ab" * 32,
        verdict,
        f"{name}.html",
    )


CLIPS = (
    outcome("clip10.mp4", "forged", 0.91, 2, 6.0),
    outcome("clip9.mp4", "not_found", 0.12, 0, 61.5),
    outcome("Holiday.mp4", "undecided", 0.75, 11, 8.25),
    replace(outcome("clip2.mp4", "forged", 0.7, 1, 120.0), note="partly decoded"),
    Outcome.failed("broken.mp4", "the file is empty"),
)
HEADS = ("File", "Verdict", "Score", "Highest interval", "Intervals", "Duration (s)", "Note")


@pytest.fixture(scope="module")
def opened(keep: Visit) -> Any:
    return keep(index_html(ranked(CLIPS)))


@pytest.fixture
def page(opened: Any) -> Any:
    """The index sorted by verdict, as it opens, nothing filtered."""
    opened.fill("#text", "")
    opened.fill("#score", "0")
    opened.select_option("#verdict", "")
    opened.get_by_role("button", name="Score", exact=True).click()
    while sorted_by(opened) != [("Verdict", "ascending")]:
        opened.get_by_role("button", name="Verdict", exact=True).click()
    return opened


def files(page: Any) -> list[str]:
    return [row.replace(".mp4", "") for row in page.locator("tbody th").all_inner_texts()]


def sorted_by(page: Any) -> list[tuple[str, str]]:
    heads = page.locator("thead th").all()
    return [
        (head.inner_text().split("\n")[0].strip(), order)
        for head in heads
        if (order := head.get_attribute("aria-sort")) is not None
    ]


def test_the_most_serious_verdict_stands_first_and_the_failed_clip_last_with_its_reason(visit: Visit) -> None:
    page = visit(index_html(ranked(CLIPS)))
    # Holiday scores higher than clip2, and is undecided all the same.
    assert files(page) == ["clip10", "clip2", "Holiday", "clip9", "broken"]
    assert sorted_by(page) == [("Verdict", "ascending")]
    last = page.locator("tbody tr").last
    assert "could not be analysed" in last.inner_text()
    assert "the file is empty" in last.inner_text()
    assert last.locator("a").count() == 0
    assert page.inner_text("h1") == "5 clips"
    assert page.inner_text("#counts").split("\n") == [
        "2 forged", "1 undecided", "1 no forgery found", "1 could not be analysed",
    ]  # fmt: skip
    words = page.locator("tbody td:nth-child(2)").all_inner_texts()
    assert words[1:4] == ["forged: picture", "undecided", "no forgery found"]


@pytest.mark.parametrize(
    ("head", "once", "order"),
    [
        # Numbers in names count as numbers, capitals do not count.
        ("File", ["broken", "clip2", "clip9", "clip10", "Holiday"], "ascending"),
        ("Score", ["clip10", "Holiday", "clip2", "clip9", "broken"], "descending"),
        ("Highest interval", ["clip10", "Holiday", "clip2"], "descending"),
        ("Intervals", ["Holiday", "clip10", "clip2", "clip9", "broken"], "descending"),
        ("Duration (s)", ["clip2", "clip9", "Holiday", "clip10", "broken"], "descending"),
    ],
)
def test_a_click_on_a_head_sorts_and_another_turns_it_round(
    page: Any, head: str, once: list[str], order: str
) -> None:
    button = page.get_by_role("button", name=head, exact=True)
    button.click()
    assert files(page)[: len(once)] == once
    assert sorted_by(page) == [(head, order)]
    button.click()
    assert sorted_by(page) == [(head, "ascending" if order == "descending" else "descending")]
    missing = 1 if "broken" in once and head != "File" else 0
    turned = [*reversed(once[: len(once) - missing]), *once[len(once) - missing :]]
    if head != "Highest interval":
        assert files(page) == turned  # what has no value stays last


def test_verdicts_sort_by_how_serious_they_are(page: Any) -> None:
    page.get_by_role("button", name="Verdict", exact=True).click()
    assert files(page) == ["broken", "clip9", "Holiday", "clip10", "clip2"]
    assert sorted_by(page) == [("Verdict", "descending")]


def test_each_verdict_has_a_colour_of_its_own(page: Any) -> None:
    cells = page.locator("tbody td:nth-child(2)")
    inks = [cells.nth(k).evaluate("cell => getComputedStyle(cell).color") for k in (0, 2, 3, 4)]
    assert len(set(inks)) == 4


def test_words_sort_too(page: Any) -> None:
    head = "Note"
    page.get_by_role("button", name=head, exact=True).press("Enter")
    column = HEADS.index(head) + 1
    words = page.locator(f"tbody tr > :nth-child({column})").all_inner_texts()
    assert words == sorted(words, key=str.lower)
    assert len(set(words)) == 3
    assert sorted_by(page) == [(head, "ascending")]


def test_filters_by_text_verdict_and_score_add_up(page: Any) -> None:
    page.fill("#text", "CLIP")
    assert files(page) == ["clip10", "clip2", "clip9"]
    assert page.inner_text("#status") == "3 of 5 clips shown"
    page.select_option("#verdict", "forged")
    assert files(page) == ["clip10", "clip2"]
    page.fill("#score", "0.7")
    assert files(page) == ["clip10", "clip2"]  # at least: 0.7 itself stays
    page.fill("#score", "0.71")
    assert files(page) == ["clip10"]
    page.fill("#text", "")
    page.fill("#score", "")
    page.select_option("#verdict", "failed")
    assert files(page) == ["broken"]
    page.select_option("#verdict", "")
    assert len(files(page)) == 5


def test_a_note_is_found_and_a_filter_that_fits_nothing_says_so(page: Any) -> None:
    page.fill("#text", "partly")
    assert files(page) == ["clip2"]
    page.fill("#text", "[x]+ ?*\\ ]")
    assert files(page) == []
    assert page.inner_text("#status") == "0 of 5 clips shown"


def test_keys_typed_into_a_filter_are_text(page: Any) -> None:
    page.click("#text")
    page.keyboard.type("a b[]+-0?")
    assert page.input_value("#text") == "a b[]+-0?"


def test_sorting_keeps_the_filter(page: Any) -> None:
    page.fill("#text", "clip")
    page.get_by_role("button", name="File", exact=True).click()
    assert files(page) == ["clip2", "clip9", "clip10"]


def test_many_clips_come_in_pages(visit: Visit) -> None:
    clips = [outcome(f"c{k:04d}.mp4", "forged", 1 - k / 1000, 1, 5.0) for k in range(450)]
    page = visit(index_html(clips))
    page.wait_for_selector("#pager:visible")
    assert files(page) == [f"c{k:04d}" for k in range(200)]
    page.click("#next")
    page.click("#next")
    assert files(page) == [f"c{k:04d}" for k in range(400, 450)]
    assert page.locator("#next").is_disabled()
    page.fill("#text", "c0449")
    assert files(page) == ["c0449"]
    assert page.locator("#pager").is_hidden()


def test_links_lead_from_a_folders_index_to_pages_that_play(visit: Visit, tmp_path: Path, clip: Path) -> None:
    """As `pipeline run` leaves it, with names that a URL and a page could stumble over."""
    media, out = tmp_path / "in put", tmp_path / "out & more"
    odd = "".join(factory.HOSTILE[kind] for kind in ("percent", "emoji", "quotes", "image"))
    names = [odd, "sub/plain.mp4"]
    with Outputs(out, many=True, html=True) as outputs:
        for name in names:
            (media / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clip, media / name)
            outputs.add(Path(name), factory.forged(Path(name).name), media / name)
        outputs.add_error(Path("sub/broken.mp4"), InputError("the file is empty", "sub/broken.mp4"))
    page = visit((out / "index.html").read_text(encoding="utf-8"), "out & more/index.html")
    assert page.locator("tbody a").count() == 2
    assert "the file is empty" in page.inner_text("tbody tr:last-child")
    for name in names:
        page.get_by_role("link", name=name, exact=True).click()
        page.wait_for_selector("html[data-ready]", state="attached")
        assert page.locator("h1").inner_text() == Path(name).name
        page.wait_for_function("() => player.duration > 5.9")
        page.go_back()
