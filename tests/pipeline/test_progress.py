"""What users see of long steps."""

from __future__ import annotations

import io

import pytest

from data.hook import silent
from pipeline.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_come_once_a_minute_whatever_the_number_of_files_and_steps() -> None:
    now_s, stream = [0.0], io.StringIO()
    bar = ProgressBar(stream, clock=lambda: now_s[0])
    # Ten files of 20 s: 200 s, so lines at 60, 120 and 180 s.
    for number in range(10):
        with bar:
            bar.begin(f"{number}.mp4")
            for second in range(20):
                now_s[0] = 20 * number + second
                bar("picture" if second < 10 else "score", second, 20)
    assert stream.getvalue().splitlines() == ["3.mp4: picture", "6.mp4: picture", "9.mp4: picture"]


def test_a_line_says_how_far_the_step_is() -> None:
    now_s, stream = [0.0], io.StringIO()
    with ProgressBar(stream, clock=lambda: now_s[0]) as bar:
        bar.begin("a.mp4")
        now_s[0] = 61.0
        bar("picture", 30, 100)
        now_s[0] = 122.0
        bar("sound", 7)
    assert stream.getvalue().splitlines() == ["a.mp4: picture 30/100", "a.mp4: sound 7"]


def test_a_note_stands_behind_the_amount() -> None:
    now_s, stream = [0.0], io.StringIO()
    with ProgressBar(stream, clock=lambda: now_s[0]) as bar:
        bar.note("2 failed, 40 s left")
        now_s[0] = 61.0
        bar("files", 30, 120)
    assert stream.getvalue() == "files 30/120, 2 failed, 40 s left\n"


def test_a_terminal_gets_a_bar_that_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with ProgressBar(stream) as bar:
        bar.note("1 failed, 23 s left")
        bar("files", 3, 10)
    assert "files" in stream.getvalue()
    assert "1 failed, 23 s left" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K")  # the line is erased


def test_quiet_says_nothing_on_a_terminal_or_a_pipe() -> None:
    for stream in (Terminal(), io.StringIO()):
        with ProgressBar(stream, quiet=True) as bar:
            bar.begin("a.mp4")
            bar("picture", 1, 4)
        assert stream.getvalue() == ""


def test_a_bar_can_be_shown_again_for_the_next_file() -> None:
    stream = Terminal()
    bar = ProgressBar(stream)
    for name in ("a.mp4", "b.mp4"):
        with bar:
            bar.begin(name)
            bar("picture", 1, 4)
    first, second = stream.getvalue().index("a.mp4"), stream.getvalue().index("b.mp4")
    assert first < second
    assert "a.mp4" not in stream.getvalue()[second:]


def test_a_bar_shows_names_as_they_are_and_leaves_nothing_on_standard_output(capsys) -> None:  # type: ignore[no-untyped-def]
    stream = Terminal()
    with ProgressBar(stream) as bar:
        bar.begin("[red]clip[/red].mp4")  # markup in a file name is a name, not markup
        bar("picture", 1, 4)
        bar("picture", 4, 4)
        bar("sound", 0, None)
        bar("sound", 7, None)
    assert "[red]clip[/red].mp4" in stream.getvalue()
    assert capsys.readouterr().out == ""


def test_the_silent_hook_takes_what_every_hook_takes() -> None:
    assert silent("step", 1, 2) is None
