"""`--dataset ROOT --layout NAME` means the same in every command, and older spellings are refused with the new one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from data.errors import UsageError
from data.manifest import DatasetName, detect_layout
from pipeline.cli import options
from pipeline.evaluation.metrics import PROTOCOLS
from pipeline.evaluation.submissions import SERVERS

Cli = Callable[..., Any]


@pytest.mark.parametrize(
    ("offered", "known"),
    [
        (options.LayoutName, tuple(name for name in get_args(DatasetName) if name != "folder")),
        (options.ServerName, tuple(SERVERS)),
        (options.Name, tuple(PROTOCOLS)),
    ],
)
def test_the_command_line_offers_all_that_there_is(offered: Any, known: tuple[str, ...]) -> None:
    # The names stand there twice: the command line starts without loading what they belong to.
    assert set(get_args(offered)) == set(known)


@pytest.mark.parametrize(
    ("files", "layout"),
    [
        ([], None),
        (["clip.mp4"], None),
        (["metadata.min.json"], "lavdf"),
        (["metadata.json", "train/0.mp4"], "lavdf"),
        (["train_metadata.json", "val_metadata.json", "test_files.txt"], "avdeepfake1m"),
        (["train_metadata.json", "val_metadata/0.json"], "avdeepfake1m"),
        (["train_metadata.json", "testA_files.txt"], "avdeepfake1m++"),
        (["val_metadata.json", "testB/0.mp4"], "avdeepfake1m++"),
    ],
)
def test_the_layout_is_told_by_the_names_of_the_metadata(
    files: list[str], layout: str | None, tmp_path: Path
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert detect_layout(tmp_path) == layout


def test_metadata_of_two_layouts_asks_for_a_name(tmp_path: Path) -> None:
    (tmp_path / "train_metadata.json").touch()
    with pytest.raises(UsageError, match=r"add --layout avdeepfake1m or --layout avdeepfake1m\+\+"):
        detect_layout(tmp_path)


@pytest.mark.parametrize(
    ("command", "new"),
    [
        (("data", "check", "--dataset", "lavdf", "--root", "set"), "use --dataset ROOT, and --layout NAME"),
        (("data", "describe", "--root", "set"), "use --dataset ROOT"),
        (("data", "shortcuts", "--root", "set"), "use --dataset ROOT"),
        (("data", "conditions", "--root", "set", "--out", "out"), "use --dataset ROOT"),
        (
            ("reproduce", "--table", "1", "--dataset", "lavdf", "--root", "set", "--out", "out"),
            "--layout NAME",
        ),
        (
            ("reproduce", "--table", "2", "--dataset", "set", "--other-dataset", "lavdf", "--out", "out"),
            "use --other-layout NAME",
        ),
        (("extract", "--input", "set", "--dataset", "lavdf", "--store", "s"), "--dataset ROOT --layout NAME"),
    ],
)
def test_an_older_spelling_is_refused_with_the_new_one(
    command: tuple[str, ...], new: str, cli: Cli, tmp_path: Path
) -> None:
    answer = cli(*command)
    assert answer.code == 2
    assert new in answer.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("options", [[], ["--split", "dev"], ["--layout", "lavdf"]])
def test_extract_needs_media_or_a_data_set(options: list[str], cli: Cli, tmp_path: Path) -> None:
    answer = cli("extract", "--store", tmp_path, "--dry-run", *options)
    assert answer.code == 2
    assert "--dataset ROOT" in answer.err
