"""No name of a stranger's file speaks to the terminal, whichever command prints it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import media_factory
import pytest

NAME = "a\x1b[2J\n\u202eb.mp4"
SHOWN = r"a\x1b[2J\n\u202eb.mp4"


@pytest.mark.parametrize("command", ["run", "extract"])
def test_names_are_printed_as_one_harmless_line(
    command: str, cli: Callable[..., Any], tmp_path: Path, tiny_bundle: Path
) -> None:
    clip = media_factory.write(tmp_path / "clip.mp4", n=25, audio_seconds=None).path
    Path("in").mkdir()
    shutil.copy(clip, Path("in", NAME))
    place = ("--store", "store") if command == "extract" else ("--no-html",)
    answer = cli(command, "--input", "in", "--weights", tiny_bundle, *place)
    assert answer.code == 0, answer.err
    assert f"{SHOWN}: " in answer.out
    assert f"{SHOWN}: " in answer.err  # progress
    for text in (answer.out, answer.err):
        assert not {"\x1b", "\u202e"} & set(text)
        assert not any(line.startswith("\u202e") or line == "b.mp4" for line in text.splitlines())
