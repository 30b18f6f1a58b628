"""`pipeline config` and `--set help`: the settings, on the terminal and for programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs.table import setting_rows


def test_config_prints_one_line_for_each_setting(cli: Callable[..., Any]) -> None:
    answer = cli("config", "--preset", "paper", "--set", "localize.onset=0.6")
    assert answer.code == 0, answer.err
    head, *lines = answer.out.splitlines()
    assert head.split() == ["setting", "paper", "default", "meaning"]
    assert [line.split()[0] for line in lines] == [row.name for row in setting_rows()]
    (onset,) = (line for line in lines if line.startswith("localize.onset "))
    assert onset.split()[:4] == ["localize.onset", "0.6", "0.5", "A"]


def test_config_shows_the_settings_of_a_weights_folder(cli: Callable[..., Any], tiny_bundle: Path) -> None:
    lines = cli("config", "--weights", tiny_bundle).out.splitlines()
    (window,) = (line for line in lines if line.startswith("localize.window "))
    assert window.split()[1:3] == ["64", "500"]


def test_set_help_lists_all_settings_and_does_nothing_else(cli: Callable[..., Any]) -> None:
    answer = cli("run", "--input", "missing.mp4", "--set", "help")
    assert (answer.code, answer.err) == (0, "")
    assert [line.split()[0] for line in answer.out.splitlines()[1:]] == [row.name for row in setting_rows()]


def test_a_setting_that_takes_words_names_them() -> None:
    (method,) = (row for row in setting_rows() if row.name == "model.method")
    assert "One of rt_deeploc, cola," in method.meaning


def test_a_wrong_setting_is_refused(cli: Callable[..., Any]) -> None:
    answer = cli("config", "--set", "localize.onse=0.6")
    assert answer.code == 2
    assert "did you mean 'localize.onset'" in answer.err


def test_a_folder_without_settings_is_refused(cli: Callable[..., Any], tmp_path: Path) -> None:
    answer = cli("config", "--weights", tmp_path)
    assert answer.code == 5
    assert "not a weights folder" in answer.err
