"""`pipeline run` leaves pages, exports and an index; `pipeline report` makes them again from JSON alone."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import media_factory
import pytest
from report_factory import authentic, forged, pictures
from report_readers import Markup, edl_events, read_vtt

from data.errors import InputError
from data.files import file_sha256
from pipeline.cli import report
from pipeline.report.exports import Form
from pipeline.report.json import dumps, error_text, loads
from pipeline.report.model import Report
from pipeline.report.outputs import relative_url
from pipeline.report.page import page_html
from pipeline.report.pictures import Pictures


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media_factory.write(tmp_path_factory.mktemp("clip") / "clip.mp4", n=25, audio_seconds=1.0).path


@pytest.fixture
def run(cli: Callable[..., Any], clip: Path, tiny_bundle: Path) -> Callable[..., Any]:
    """`pipeline run` on one good clip with tiny weights."""
    return lambda *more: cli("run", "--input", clip, "--weights", tiny_bundle, "--device", "cpu", *more)


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, bool]]:
    """Which files were decoded for pictures, and whether a preview was asked for; nothing is decoded."""
    calls: list[tuple[Path, bool]] = []

    def gather(path: Path, report: Report, config: Any, embed_video: bool, hook: Any) -> Pictures:
        calls.append((path, embed_video))
        return Pictures(notes=("looked at",))

    monkeypatch.setattr("pipeline.report.pictures.gather", gather)
    return calls


def of(path: Path, report: Report) -> Report:
    """`report` as if it were about the file at `path`."""
    facts = replace(report.input, name=path.name, sha256=file_sha256(path), size_bytes=path.stat().st_size)
    return replace(report, input=facts)


def sources(page: Path) -> list[str]:
    """Paths of media that a page refers to."""
    import re

    return [url for url in re.findall(r'src="([^"]*)"', page.read_text()) if not url.startswith("data:")]


def test_run_writes_a_page_that_finds_the_clip_and_the_exports_asked_for(
    run: Callable[..., Any], clip: Path, looked: list[Any]
) -> None:
    answer = run("--export", "vtt", "--export", "otio", "--export", "edl", "--export", "audacity")
    assert answer.code == 0, answer.err
    out = Path("pipeline-out")
    endings = ("json", "csv", "html", "vtt", "otio", "edl", "labels.txt")
    assert {path.name for path in out.iterdir()} == {f"clip.mp4.{ending}" for ending in endings}
    assert looked == [(clip, False)]
    assert "looked at" in (out / "clip.mp4.html").read_text()
    assert sources(out / "clip.mp4.html") == [relative_url(clip, out)]
    report = loads((out / "clip.mp4.json").read_text())
    assert len(read_vtt((out / "clip.mp4.vtt").read_text())[1]) == len(report.intervals) > 0
    assert len(edl_events((out / "clip.mp4.edl").read_text())) == len(report.intervals)


def test_run_without_pages_decodes_nothing_again(run: Callable[..., Any], looked: list[Any]) -> None:
    assert run().code == 0
    looked.clear()
    assert run("--no-html").code == 0
    assert looked == []
    # The page of the earlier run is gone: it would be about another report.
    assert {path.name for path in Path("pipeline-out").iterdir()} == {"clip.mp4.json", "clip.mp4.csv"}


def test_run_with_json_alone_decodes_nothing_again(run: Callable[..., Any], looked: list[Any]) -> None:
    assert run("--json", "-").code == 0
    assert looked == []


def test_run_asks_for_a_preview_when_told(run: Callable[..., Any], looked: list[Any]) -> None:
    run("--embed-video")
    assert [embedded for _, embedded in looked] == [True]


def test_pictures_that_are_interrupted_do_not_cost_the_analysis(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Pictures:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.report.pictures.gather", interrupted)
    assert run().code == 130
    assert {path.name for path in Path("pipeline-out").iterdir()} == {"clip.mp4.json", "clip.mp4.csv"}
    assert loads(Path("pipeline-out/clip.mp4.json").read_text()).complete


def test_an_unknown_export_is_wrong_usage(run: Callable[..., Any]) -> None:
    assert {"csv", *report._FORMS} == set(get_args(Form))
    answer = run("--export", "pdf")
    assert answer.code == 2
    assert "vtt, audacity, edl, otio" in answer.err


def test_a_folder_gets_an_index_in_which_a_failed_clip_has_its_reason(
    cli: Callable[..., Any], clip: Path, tiny_bundle: Path, looked: list[Any]
) -> None:
    Path("in/sub").mkdir(parents=True)
    shutil.copy(clip, "in/sub/good one.mp4")
    Path("in/bad.mp4").touch()
    answer = cli("run", "--input", "in", "--weights", tiny_bundle, "--out", "out")
    assert answer.code == 4
    assert "1 of 2 file(s) analysed" in answer.out
    rows = list(csv.DictReader(Path("out/index.csv").read_text().splitlines()))
    assert [(row["file"], row["verdict"], row["note"]) for row in rows] == [
        ("sub/good one.mp4", "forged", ""),
        ("bad.mp4", "failed", "is empty (0 bytes)"),
    ]
    assert Markup(Path("out/index.html").read_text()).links == ["sub/good%20one.mp4.html"]
    assert sources(Path("out/sub/good one.mp4.html")) == ["../../in/sub/good%20one.mp4"]


def test_report_makes_the_same_files_as_run(
    cli: Callable[..., Any], run: Callable[..., Any], clip: Path, looked: list[Any]
) -> None:
    run("--export", "vtt", "--export", "otio")
    before = {path.name: path.read_bytes() for path in Path("pipeline-out").iterdir()}
    for name in before.keys() - {"clip.mp4.json"}:
        Path("pipeline-out", name).unlink()
    answer = cli(
        "report",
        "--input",
        "pipeline-out/clip.mp4.json",
        "--media",
        clip,
        "--export",
        "vtt",
        "--export",
        "otio",
    )
    assert answer.code == 0, answer.err
    assert {path.name: path.read_bytes() for path in Path("pipeline-out").iterdir()} == before
    assert len(looked) == 2


def test_report_needs_neither_torch_nor_the_media(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from pipeline.cli import main\n"
        "main(['report', '--input', 'clip.mp4.json', '--export', 'otio', '--figure', 'svg'])\n"
    )
    (tmp_path / "clip.mp4.json").write_text(dumps(forged("clip.mp4")))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "has no pictures: the analysed file was not found; name it with --media" in done.stderr
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {f"clip.mp4.{kind}" for kind in ("json", "csv", "html", "otio", "svg")}
    assert sources(tmp_path / "clip.mp4.html") == []


@pytest.mark.parametrize(
    ("place", "found"),
    [("reports", "reports/clip.mp4"), (".", "reports/../clip.mp4")],
    ids=["beside the report", "in the folder above"],
)
def test_report_finds_the_media_near_the_json(
    place: str, found: str, cli: Callable[..., Any], clip: Path, looked: list[Any]
) -> None:
    Path("reports").mkdir()
    shutil.copy(clip, Path(place, "clip.mp4"))
    Path("reports/clip.mp4.json").write_text(dumps(of(clip, forged())))
    assert cli("report", "--input", "reports/clip.mp4.json", "--embed-video").code == 0
    assert looked == [(Path(found), True)]


def test_report_finds_the_media_where_the_page_of_the_run_has_it(
    cli: Callable[..., Any], run: Callable[..., Any], clip: Path, looked: list[Any]
) -> None:
    """The clip lies neither beside the JSON nor above it: only the page knows."""
    run()
    before = Path("pipeline-out/clip.mp4.html").read_bytes()
    looked.clear()
    assert cli("report", "--input", "pipeline-out/clip.mp4.json").code == 0
    assert [path.resolve() for path, _ in looked] == [clip.resolve()]
    assert Path("pipeline-out/clip.mp4.html").read_bytes() == before


def test_a_page_with_pictures_stays_when_the_clip_is_not_found(
    cli: Callable[..., Any], clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = of(clip, forged())
    Path("clip.mp4.json").write_text(dumps(report))
    page = page_html(report, pictures(report), "elsewhere/clip.mp4")
    Path("clip.mp4.html").write_text(page)
    assert cli("report", "--input", "clip.mp4.json", "--export", "otio").code == 0
    assert Path("clip.mp4.html").read_text() == page
    assert "the page clip.mp4.html stays as it was" in caplog.text
    assert "MissingReference" in Path("clip.mp4.otio").read_text()
    # A page of another analysis would contradict the JSON, and one without pictures has nothing to lose.
    for other in (
        page_html(replace(report, clock=replace(report.clock, started_at="1999")), pictures(report), None),
        page_html(report, None, "elsewhere/clip.mp4"),
    ):
        Path("clip.mp4.html").write_text(other)
        assert cli("report", "--input", "clip.mp4.json").code == 0
        assert Path("clip.mp4.html").read_text() == page_html(report, None, None)


def test_a_preview_inside_a_page_stays_unless_a_new_one_is_made(
    cli: Callable[..., Any], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[bool, Pictures] = {
        False: Pictures(notes=("seen",)),
        True: Pictures(notes=("seen", "No preview: refused.")),
    }

    def gather(path: Path, report: Report, config: Any, embed_video: bool, hook: Any) -> Pictures:
        return made[embed_video]

    monkeypatch.setattr("pipeline.report.pictures.gather", gather)
    report = of(clip, forged())
    Path("clip.mp4.json").write_text(dumps(report))
    kept, url = Pictures(preview=b"\x00mp4\xff", notes=("seen",)), relative_url(clip, Path())
    Path("clip.mp4.html").write_text(page_html(report, Pictures(preview=b"\x00mp4\xff"), url))
    for more in ([], ["--embed-video"]):
        assert cli("report", "--input", "clip.mp4.json", "--media", clip, *more).code == 0
        assert Path("clip.mp4.html").read_text() == page_html(report, kept, url)
    made[True] = Pictures(preview=b"new", notes=("seen",))
    assert cli("report", "--input", "clip.mp4.json", "--media", clip, "--embed-video").code == 0
    assert Path("clip.mp4.html").read_text() == page_html(report, made[True], url)


def test_report_looks_for_the_media_of_a_folder_in_a_folder(
    cli: Callable[..., Any], clip: Path, looked: list[Any]
) -> None:
    for folder in ("media/sub", "reports/sub"):
        Path(folder).mkdir(parents=True)
    shutil.copy(clip, "media/sub/clip.mp4")
    Path("reports/sub/clip.mp4.json").write_text(dumps(of(clip, forged())))
    assert cli("report", "--input", "reports", "--media", "media").code == 0
    assert looked == [(Path("media/sub/clip.mp4"), False)]
    assert sources(Path("reports/sub/clip.mp4.html")) == ["../../media/sub/clip.mp4"]


def test_another_file_of_the_same_name_gives_no_pictures(
    cli: Callable[..., Any], clip: Path, looked: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    Path("clip.mp4.json").write_text(dumps(of(clip, forged())))
    content = bytearray(clip.read_bytes())
    content[-1] ^= 1  # the size alone would not tell
    Path("clip.mp4").write_bytes(content)
    assert cli("report", "--input", "clip.mp4.json").code == 0
    assert "clip.mp4 is not the file that was analysed: its SHA-256 differs" in caplog.text
    assert looked == []
    assert sources(Path("clip.mp4.html")) == []


def test_report_never_touches_the_json(cli: Callable[..., Any]) -> None:
    text = json.dumps(json.loads(dumps(forged())), indent=3)
    Path("forged.mp4.json").write_text(text)
    assert cli("report", "--input", "forged.mp4.json").code == 0
    assert Path("forged.mp4.json").read_text() == text


def test_a_folder_of_reports_gets_its_index_and_bad_json_a_named_error(cli: Callable[..., Any]) -> None:
    Path("in/sub").mkdir(parents=True)
    Path("in/sub/forged.mp4.json").write_text(dumps(forged()))
    Path("in/authentic.mp4.json").write_text(dumps(authentic()))
    Path("in/bad.mp4.json").write_text(error_text("bad.mp4", InputError("is empty")))
    Path("in/torn.mp4.json").write_text(dumps(forged())[:500])
    answer = cli("report", "--input", "in", "--out", "out")
    assert answer.code == 4
    assert "error: in/torn.mp4.json: not an RT-DeepLoc report" in answer.err
    assert "2 of 4 file(s) analysed" in answer.out
    rows = list(csv.DictReader(Path("out/index.csv").read_text().splitlines()))
    assert [(row["file"], row["verdict"]) for row in rows] == [
        ("sub/forged.mp4", "forged"),
        ("authentic.mp4", "not_found"),
        ("bad.mp4", "failed"),
        ("torn.mp4", "failed"),
    ]
    assert Markup(Path("out/index.html").read_text()).links == ["sub/forged.mp4.html", "authentic.mp4.html"]
    assert not list(Path("in").rglob("*.html"))


def test_documents_of_others_in_a_folder_are_passed_over(
    cli: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    Path("in").mkdir()
    Path("in/forged.mp4.json").write_text(dumps(forged()))
    Path("in/package.json").write_text('{"name": "theirs"}')
    answer = cli("report", "--input", "in")
    assert answer.code == 0, answer.err
    assert "in/package.json is skipped: not an RT-DeepLoc report" in caplog.text
    assert "1 of 1 file(s) analysed" in answer.out
    assert not list(Path("in").glob("package.*[!n]"))
    Path("in/forged.mp4.json").unlink()
    Path("in/index.html").unlink()
    answer = cli("report", "--input", "in")
    assert answer.code == 3
    assert "error: in: contains no report" in answer.err
    assert not Path("in/index.html").exists()


def test_names_that_no_file_can_have_do_not_end_the_folder(cli: Callable[..., Any]) -> None:
    Path("in").mkdir()
    for key, name in (("a", "n" * 300), ("b", "../../etc/passwd"), ("c", "good.mp4")):
        Path(f"in/{key}.json").write_text(dumps(forged(name)))
    answer = cli("report", "--input", "in", "--export", "otio")
    assert answer.code == 4
    assert answer.err.count("not an RT-DeepLoc report (input.name is") == 2
    assert {path.name for path in Path("in").glob("*.otio")} == {"c.otio"}
    assert "c.html" in Path("in/index.html").read_text()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--json", "-", "--export", "vtt"], "--export needs a folder"),
        (["--no-html", "--embed-video"], "--embed-video needs a page"),
        (["--json", "-", "--embed-video"], "--embed-video needs a page"),
    ],
)
def test_an_option_that_could_do_nothing_is_wrong_usage(
    run: Callable[..., Any], options: list[str], what: str, looked: list[Any]
) -> None:
    answer = run(*options)
    assert (answer.code, answer.out, looked) == (2, "", [])
    assert what in answer.err


def test_a_wrong_place_for_the_media_is_wrong_usage(cli: Callable[..., Any]) -> None:
    Path("a.mp4.json").write_text(dumps(forged("a.mp4")))
    Path("other.mp4").write_bytes(b"other")
    Path("folder").mkdir()
    for media, what in (
        ("gone.mp4", "gone.mp4: no such file or folder"),
        ("other.mp4", "other.mp4: is not the analysed file"),
        ("folder", "folder: does not hold the analysed file"),
    ):
        answer = cli("report", "--input", "a.mp4.json", "--media", media)
        assert answer.code == 2
        assert what in answer.err
    assert not list(Path().glob("*.html"))


def test_a_figure_that_cannot_be_drawn_is_said_before_any_work(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.mp4.json").write_text(dumps(forged("a.mp4")))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    answer = cli("report", "--input", "a.mp4.json", "--figure", "svg")
    assert answer.code == 2
    assert "figures need matplotlib" in answer.err
    assert [path.name for path in Path().glob("a.mp4*")] == ["a.mp4.json"]


@pytest.mark.parametrize(
    ("content", "code", "error"),
    [
        (None, 3, "error: a.json: no such file or folder; check the path"),
        ("{}", 3, "error: a.json: not an RT-DeepLoc report"),
        (
            error_text("b.mp4", InputError("is empty", fix="x")),
            3,
            "reports that 'b.mp4' could not be analysed (is empty)",
        ),
    ],
)
def test_what_is_no_report_is_one_line(
    content: str | None, code: int, error: str, cli: Callable[..., Any]
) -> None:
    if content is not None:
        Path("a.json").write_text(content)
    answer = cli("report", "--input", "a.json")
    assert answer.code == code
    assert error in answer.err
    assert answer.err.count("\n") == 1
    assert not list(Path().glob("*.html"))
