"""No name of a stranger's file speaks to the terminal, whichever command prints it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import media_factory
import pytest

import pipeline.progress
from pipeline.progress import ProgressBar

NAME = "a\x1b[2J\n\u202eb.mp4"
SHOWN = r"a\x1b[2J\n\u202eb.mp4"


def test_the_name_of_a_clip_is_printed_as_one_harmless_line(
    cli: Callable[..., Any], tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = partial(ProgressBar, every_s=0.0)
    monkeypatch.setattr(pipeline.progress, "ProgressBar", every)
    clip = media_factory.write(tmp_path / "clip.mp4", n=25, audio_seconds=None).path
    Path("in").mkdir()
    shutil.copy(clip, Path("in", NAME))
    answer = cli("run", "--input", "in", "--weights", tiny_bundle, "--no-html")
    assert answer.code == 0, answer.err
    assert f"{SHOWN}: " in answer.out
    assert f"{SHOWN}: " in answer.err  # progress
    check_lines(answer.out, answer.err)


def test_the_name_of_a_file_that_failed_is_printed_as_one_harmless_line(
    cli: Callable[..., Any], tiny_bundle: Path
) -> None:
    Path("in").mkdir()
    Path("in", NAME).write_text("no media")
    answer = cli("extract", "--input", "in", "--weights", tiny_bundle, "--store", "store")
    assert answer.code == 4
    assert f"in/{SHOWN}: is not a media file" in answer.err
    check_lines(answer.out, answer.err)


def check_lines(*texts: str) -> None:
    """No text obeys what a name asks of a terminal."""
    for text in texts:
        assert not {"\x1b", "\u202e"} & set(text)
        assert not any(line.startswith("\u202e") or line == "b.mp4" for line in text.splitlines())
