"""What users see of long steps."""

from __future__ import annotations

import io

from data.hook import silent
from pipeline.progress import BarProgress, PlainProgress, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_are_few_and_start_each_step() -> None:
    now_s, stream = [0.0], io.StringIO()
    with PlainProgress(stream, every_s=30, clock=lambda: now_s[0]) as bar:
        bar.begin("a.mp4")
        for second in range(70):
            now_s[0] = second
            bar("picture", second, 100)
        bar("score")
    # At 0, 30 and 60 s, then the next step at once.
    assert stream.getvalue().splitlines() == [
        "a.mp4: picture",
        "a.mp4: picture 30/100",
        "a.mp4: picture 60/100",
        "a.mp4: score",
    ]


def test_plain_lines_name_each_file_again() -> None:
    stream = io.StringIO()
    with PlainProgress(stream) as bar:
        for name in ("a.mp4", "b.mp4"):
            bar.begin(name)
            bar("picture", 5)
    assert stream.getvalue().splitlines() == ["a.mp4: picture 5", "b.mp4: picture 5"]


def test_the_form_follows_the_stream() -> None:
    assert isinstance(progress(Terminal()), BarProgress)
    assert isinstance(progress(io.StringIO()), PlainProgress)


def test_a_bar_shows_names_as_they_are_and_leaves_nothing_on_standard_output(capsys) -> None:  # type: ignore[no-untyped-def]
    stream = Terminal()
    with BarProgress(stream) as bar:
        bar.begin("[red]clip[/red].mp4")  # markup in a file name is a name, not markup
        bar("picture", 1, 4)
        bar("picture", 4, 4)
        bar("sound", 0, None)
        bar("sound", 7, None)
    assert "[red]clip[/red].mp4" in stream.getvalue()
    assert capsys.readouterr().out == ""


def test_the_silent_hook_takes_what_every_hook_takes() -> None:
    assert silent("step", 1, 2) is None
