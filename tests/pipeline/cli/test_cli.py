"""The command: what it prints where, what it writes, and its exit codes."""

from __future__ import annotations

import csv
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import media_factory
import pytest
from forged_set import write_authentic

import pipeline.progress
from data.errors import MemoryLimitError
from data.manifest import Sample, write_lavdf
from data.timeline import Interval
from pipeline.cli import main
from pipeline.cli.options import OneLine
from pipeline.progress import ProgressBar
from pipeline.report.json import loads

COMMANDS = ("run", "report", "extract", "train", "synthesize", "pretrain", "config", "doctor")
PATIENCE_S = 600  # only against a command that hangs
PIPELINE = Path(sys.executable).parent / "pipeline"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media_factory.write(tmp_path_factory.mktemp("clip") / "clip.mp4", n=25, audio_seconds=1.0).path


@pytest.fixture
def run(cli: Callable[..., Any], clip: Path, tiny_bundle: Path) -> Callable[..., Any]:
    """`pipeline run` on one good clip with tiny weights."""
    return lambda *more: cli("run", "--input", clip, "--weights", tiny_bundle, "--device", "cpu", *more)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)]
)
def test_help_answers_without_loading_torch(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from pipeline.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "assert not {'torch', 'transformers', 'av', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_command_has_an_example_and_debug(cli: Callable[..., Any]) -> None:
    for command in COMMANDS:
        text = cli(command, "--help").out
        assert "--debug" in text
        assert command == "doctor" or f"pipeline {command} --" in text


def test_version(cli: Callable[..., Any]) -> None:
    import importlib.metadata

    assert cli("--version").out == f"rt-deeploc {importlib.metadata.version('rt-deeploc')}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "--input"),
        ("run", "--input", "a", "--route", "sideways"),
        ("fly",),
        ("run", "--colour", "x"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...], cli: Callable[..., Any]) -> None:
    answer = cli(*arguments)
    assert answer.code == 2
    assert "Traceback" not in answer.err
    assert answer.out == ""


def test_run_prints_a_summary_and_writes_json_csv_and_a_page(run: Callable[..., Any]) -> None:
    answer = run()
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0].startswith("clip.mp4: picture and sound look forged (probability of a forgery 0.")
    assert lines[1].startswith("  With its strongest segment, 0.00 to 1.00 s of picture and sound")
    assert lines[2].startswith("  00:00:00.000 - 00:00:01.")
    assert "  both    " in lines[2]
    assert "analysed: picture 100.0 % of 1.00 s, sound 100.0 % of " in answer.out
    assert "an indication, not proof" in answer.out.lower()
    assert "s per second of media" in answer.out
    written = {Path(name) for name in lines[-1].removeprefix("wrote ").split(", ")}
    assert written == {Path("pipeline-out", f"clip.mp4.{kind}") for kind in ("json", "csv", "html")}
    report = loads(Path("pipeline-out/clip.mp4.json").read_text())
    (row,) = csv.DictReader(Path("pipeline-out/clip.mp4.csv").read_text().splitlines())
    assert float(row["start_s"]) == report.intervals[0].start_s
    assert row["modality"] == report.intervals[0].modality == "both"


def test_json_on_standard_output_is_alone_there(run: Callable[..., Any]) -> None:
    answer = run("--json", "-")
    assert json.loads(answer.out)["schema"] == "rt-deeploc/report@3"
    assert "picture and sound look forged" in answer.err
    assert not Path("pipeline-out").exists()


def test_json_goes_to_a_file(run: Callable[..., Any]) -> None:
    answer = run("--json", "here/report.json", "--out", "reports")
    assert loads(Path("here/report.json").read_text()).label == "both"
    assert Path("reports/clip.mp4.json").read_bytes() == Path("here/report.json").read_bytes()
    assert "here/report.json" in answer.out


def test_a_failed_file_is_an_entry_on_standard_output(cli: Callable[..., Any], tiny_bundle: Path) -> None:
    Path("empty.mp4").touch()
    answer = cli("run", "--input", "empty.mp4", "--weights", tiny_bundle, "--json", "-")
    assert answer.code == 3
    assert json.loads(answer.out)["error"]["exit_code"] == 3


def test_two_runs_write_the_same_bytes_but_for_the_clock(run: Callable[..., Any]) -> None:
    texts = []
    for name in ("first", "second"):
        run("--out", name)
        lines = Path(name, "clip.mp4.json").read_text().splitlines()
        assert sum(line.startswith('  "clock"') for line in lines) == 1
        texts.append([line for line in lines if not line.startswith('  "clock"')])
    assert texts[0] == texts[1]


def test_a_run_of_less_than_a_minute_leaves_no_progress_in_a_log(run: Callable[..., Any]) -> None:
    assert run().err == run("--quiet").err == ""


def test_a_long_run_tells_its_progress_on_standard_error_in_plain_lines(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = partial(ProgressBar, every_s=0.0)
    monkeypatch.setattr(pipeline.progress, "ProgressBar", every)
    answer = run("--json", "-")
    assert "clip.mp4: picture" in answer.err.splitlines()
    assert "\x1b" not in answer.err
    assert json.loads(answer.out)["schema"].startswith("rt-deeploc/report@")
    quiet = run("--json", "-", "--quiet")
    assert "clip.mp4: picture" not in quiet.err.splitlines()


def test_a_folder_is_analysed_file_by_file(cli: Callable[..., Any], clip: Path, tiny_bundle: Path) -> None:
    for place in ("in/a", "in/b"):
        Path(place).mkdir(parents=True)
        Path(place, "same.mp4").write_bytes(clip.read_bytes())
    Path("in/notes.txt").write_text("not media")
    answer = cli("run", "--input", "in", "--weights", tiny_bundle, "--out", "out", "--json", "all.json")
    assert answer.code == 0, answer.err
    assert {str(path) for path in Path("out").rglob("*.*")} == {
        f"out/{place}/same.mp4.{kind}" for place in "ab" for kind in ("json", "csv", "html")
    } | {"out/index.csv", "out/index.html"}
    assert [report["label"] for report in json.loads(Path("all.json").read_text())] == ["both", "both"]
    assert "2 of 2 file(s) analysed" in answer.out


def test_the_command_works_beside_folders_of_the_same_names(
    clip: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    for name in ("models", "data", "configs", "extractors", "pipeline"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong package')")
    command = [PIPELINE, "run", "--input", clip, "--weights", tiny_bundle, "--json", "-"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] == "both"


def test_a_reader_that_leaves_early_is_no_error(clip: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [PIPELINE, "run", "--input", clip, "--weights", tiny_bundle, "--json", "-"]
    done = subprocess.run(
        command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S
    )
    os.close(writing)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def raising(error: BaseException) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def test_an_interruption_is_exit_code_130(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.detector.Pipeline.__call__", raising(KeyboardInterrupt()))
    answer = run()
    assert answer.code == 130
    assert "Traceback" not in answer.err


def test_running_out_of_memory_is_exit_code_6(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = MemoryLimitError("not enough memory", "clip.mp4", "free memory")
    monkeypatch.setattr("pipeline.detector.Pipeline.__call__", raising(error))
    answer = run()
    assert answer.code == 6
    assert "error: clip.mp4: not enough memory; free memory\n" in answer.err


def test_the_unexpected_is_one_line_with_a_hint(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.detector.Pipeline.__call__", raising(RuntimeError("boom\nand more")))
    answer = run()
    assert answer.code == 1
    errors = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert errors == [
        "error: unexpected RuntimeError: boom; run again with --debug and report what it prints"
    ]
    assert "Traceback" not in answer.err
    assert "Traceback" in run("--debug").err


def test_train_extracts_what_is_missing_and_gives_weights_to_run_with(
    cli: Callable[..., Any], clip: Path, tiny_bundle: Path
) -> None:
    samples = []
    for number, (label, split) in enumerate([(0, "train"), (3, "train"), (0, "dev")]):
        path = Path("set", split, f"{number}.mp4")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip.read_bytes())
        forged = (Interval(0.2, 0.6),) if label else ()
        samples.append(Sample(path.relative_to("set"), label, split, forged, 1.0))
    write_lavdf(Path("set"), samples)
    settings = ("--set", "train.steps=2", "--set", "train.batch_size=2", "--set", "train.warmup_steps=0")
    train = ("train", "--dataset", "set", "--store", "store", "--out", "runs/first", "--weights", tiny_bundle)
    answer = cli(*train, "--device", "cpu", *settings)
    assert answer.code == 0, answer.err
    assert "pipeline run --input FILE --weights runs/first/weights" in answer.out
    assert cli("run", "--input", clip, "--weights", "runs/first/weights", "--json", "-").code == 0
    again = cli(*train, "--device", "cpu", *settings)
    assert again.code == 2
    assert "--resume" in again.err


def test_synthesize_plans_says_what_it_takes_makes_and_describes(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    write_authentic(tmp_path / "in")
    command = ("synthesize", "--input", tmp_path / "in", "--out", tmp_path / "set", "--workers", "1")
    settings = ("--seed", "7", "--set", "synthesize.variants=2", "--set", "synthesize.segment_s=[0.3,0.5]")
    answer = cli(*command, *settings)
    assert answer.code == 0, answer.err
    assert "8 clips, 0 min, about" in answer.out
    assert "forged share of the time, %" in answer.out
    assert answer.out.endswith(f"wrote {tmp_path}/set/metadata.json\n")
    again = cli(*command, "--set", "synthesize.variants=3")
    assert again.code == 2
    assert "choose an empty folder with --out" in again.err
    described = cli("data", "describe", "--dataset", tmp_path / "set", "--markdown")
    assert described.code == 0
    assert "| clips |" in described.out
    shortcuts = cli("data", "shortcuts", "--dataset", tmp_path / "set")
    assert shortcuts.code == 3
    assert "too few clips or people" in shortcuts.err
    unknown = cli(*command, "--set", "synthesize.manipulations=[morph]")
    assert unknown.code == 2
    assert "unknown manipulation 'morph'" in unknown.err


def test_the_benchmark_is_data_sets_of_the_same_people(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Any, ...]] = []

    def make(*arguments: Any, splits: tuple[str, ...] | None = None, paired: bool = False, **_: Any) -> int:
        made.append((*arguments[:4], splits))
        return 4 if paired else 0

    monkeypatch.setattr("pipeline.cli.data.make", make)
    answer = cli("data", "benchmark", "--input", "in", "--out", "bench", "--seed", "4")
    assert answer.code == 0
    own = [
        (Path("in"), Path("bench/known"), "benchmark_known", 4, None),
        (Path("in"), Path("bench/heldout"), "benchmark_heldout", 4, ("test",)),
        (Path("in"), Path("bench/cross"), "benchmark_cross", 4, None),
    ]
    assert made == own
    made.clear()
    command = ("data", "benchmark", "--input", "in", "--pairs", "p.csv", "--out", "bench", "--seed", "4")
    assert cli(*command).code == 4, "something was left out of one of them"
    assert made == [
        *own,
        (Path("p.csv"), Path("bench/genuine"), "genuine", 4, ("test",)),
        (Path("p.csv"), Path("bench/genuine-dev"), "genuine", 4, ("dev",)),
    ]
    made.clear()
    command = ("data", "training", "--input", "in", "--pairs", "p.csv", "--out", "more", "--seed", "4")
    assert cli(*command).code == 4
    assert made == [
        (Path("in"), Path("more/own"), "extractors", 4, ("train",)),
        (Path("p.csv"), Path("more/generators"), "genuine", 4, ("train",)),
    ]


@pytest.mark.parametrize(("track", "trained"), [("both", "va"), ("visual", "v"), ("audio", "a")])
def test_pretrain_leaves_a_folder_that_train_takes(
    track: str, trained: str, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def stand_in(letter: str) -> Callable[..., None]:
        def pretrain(datasets: list[Path], out: Path, config: Any, workers: int, hook: Any) -> None:
            assert (datasets, out, config.preset, workers) == (
                [Path("set"), Path("more")],
                Path("extractors"),
                "compact",
                3,
            )
            assert config.pretrain.batch == 5
            hook("pretrain", 1, 1)
            done.append(letter)

        return pretrain

    monkeypatch.setattr("pipeline.training.pretrain.pretrain_visual", stand_in("v"))
    monkeypatch.setattr("pipeline.training.pretrain.pretrain_audio", stand_in("a"))
    options = ("--track", track, "--workers", "3", "--set", "pretrain.batch=5")
    answer = cli("pretrain", "--dataset", "set", "--dataset", "more", "--out", "extractors", *options)
    assert answer.code == 0, answer.err
    assert "".join(done) == trained
    from pipeline.bundle import bundle_config

    assert bundle_config(Path("extractors")).preset == "compact"


def test_no_name_of_a_file_reaches_the_terminal_as_a_command(
    cli: Callable[..., Any], tmp_path: Path, tiny_bundle: Path
) -> None:
    hostile = tmp_path / "a\x1b[31m\nerror: none\u202e.mp4"
    hostile.write_bytes(b"no video")
    answer = cli("run", "--input", hostile, "--weights", tiny_bundle, "--json", "-")
    assert answer.code == 3
    assert "\x1b" not in answer.err
    assert "\u202e" not in answer.err
    assert len([line for line in answer.err.splitlines() if line.startswith("error:")]) == 1
    assert "\\x1b[31m\\nerror: none" in answer.err


@pytest.mark.parametrize(("before", "after"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_leave_the_processor_to_others_unless_asked_otherwise(
    before: str | None, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", before or "")
    if before is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    with pytest.raises(SystemExit):
        main(["--version"])
    assert os.environ["OMP_WAIT_POLICY"] == after


def test_warnings_are_one_line_each_whatever_they_name() -> None:
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "left out: %s", ("a\x07\nb",), None)
    assert OneLine("%(levelname)s: %(message)s").format(record) == "WARNING: left out: a\\x07\\nb"
