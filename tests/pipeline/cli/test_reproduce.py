"""`pipeline reproduce`: from raw video to the table on the terminal, and options that do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from reproduction_set import write_media

import pipeline.reproduction.experiment
from configs.loader import load_config

if TYPE_CHECKING:
    from conftest import Answer


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, training_thread: None) -> None:
    monkeypatch.setattr(pipeline.reproduction.experiment, "REPLICATES", 0)


Cli = Callable[..., "Answer"]


def test_from_raw_video_to_the_table(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "set", tmp_path / "out"
    write_media(root, {"train": 4, "test": 2})
    (root / "train" / "000003.mp4").write_bytes(b"this is no video")
    command = (
        *("reproduce", "--table", "1", "--dataset", root, "--out", out, "--seeds", "7"),
        *(
            "--weights",
            tiny_bundle,
            "--device",
            "cpu",
            "--set",
            "train.steps=2",
            "--set",
            "train.batch_size=2",
        ),
    )
    answer = cli(*command)
    assert answer.code == 0, answer.err
    assert "| RT-DeepLoc             |" in answer.out
    assert f"wrote {out / 'table1.md'}" in answer.out
    assert list((out / "features" / "ledger").glob("*.jsonl"))
    found = json.loads((out / "table1.json").read_text())
    assert found["facts"]["seeds"] == [7]
    assert found["facts"]["steps"] == 2
    assert found["facts"]["seconds of extraction, in all"]["set"] > 0
    assert {one["method"] for one in found["lines"] if one["ours"]} == {
        *("ActionFormer", "TriDet", "UMMAFormer", "MFMS-style"),
        *("CoLA", "FuSTAL, generator only", "FuSTAL", "SAL", "LOCO", "MDP", "RT-DeepLoc"),
    }
    # The weights folder is whole: it analyses a clip.
    weights = out / "runs" / "rt_deeploc-seed7" / "weights"
    used = cli(
        "run", "--input", root / "test" / "000001.mp4", "--weights", weights, "--json", "-", "--device", "cpu"
    )
    assert used.code == 0, used.err
    # Table 2 takes the weights of Table 1, and of the other set its test split alone.
    other = tmp_path / "other"
    write_media(other, {"train": 1, "test": 2}, first=50)
    crossed = cli(*(word if word != "1" else "2" for word in command), "--other", other)
    assert crossed.code == 0, crossed.err
    assert json.loads((out / "extraction.json").read_text())["other"]["clips"] == 2
    assert {path.name for path in weights.parent.glob("*-test")} == {"set-test", "other-test"}
    assert "differ" in crossed.out

    refused = cli(*command, "--set", "localize.onset=0.7")
    assert refused.code == 2
    shipped = load_config("compact").localize.onset
    assert f"localize.onset ({shipped} there)" in refused.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "give --table or --figure"),
        (("--table", "1", "--figure", "3"), "give --table or --figure"),
        (("--table", "2"), "--other and --table 2 go together"),
        (("--table", "1", "--other", "x"), "--other and --table 2 go together"),
        (("--table", "1", "--seeds", "1,a"), "--seeds 1,a are not numbers"),
    ],
)
def test_options_that_do_not_fit_are_named(
    cli: Cli, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    answer = cli("reproduce", "--dataset", tmp_path, "--out", tmp_path / "out", *options)
    assert answer.code == 2
    assert words in answer.err


def test_a_launcher_is_refused(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    command = (
        "reproduce",
        "--table",
        "1",
        "--dataset",
        tmp_path,
        "--out",
        tmp_path / "out",
    )
    answer = cli(*command)
    assert answer.code == 2
    assert "without accelerate launch" in answer.err
