"""Many files: several at a time, a folder that fills up, and an exit code for forgeries."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import media_factory
import pytest

import pipeline.watch

PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of picture and sound."""
    return media_factory.write(tmp_path_factory.mktemp("clip") / "clip.mp4", n=25, audio_seconds=1.0).path


@pytest.fixture
def folder(clip: Path, tmp_path: Path) -> Path:
    """Two clips and a file that is none."""
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    shutil.copy(clip, folder / "a.mp4")
    shutil.copy(clip, folder / "below" / "b.mp4")
    (folder / "broken.mp4").write_bytes(b"no media at all")
    return folder


def without_clock(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if '"clock":' not in line]


def rows(out: Path) -> dict[str, str]:
    """Verdicts of the index by file."""
    with open(out / "index.csv", encoding="utf-8", newline="") as file:
        return {row["file"]: row["verdict"] for row in csv.DictReader(file)}


def test_a_forgery_ends_with_10_where_that_was_asked_for(
    cli: Callable[..., Any], folder: Path, tiny_bundle: Path
) -> None:
    call = ("run", "--input", folder, "--no-html", "--out", "out")
    assert cli(*call, "--weights", tiny_bundle).code == 4
    assert set(rows(Path("out")).values()) == {"forged", "failed"}
    assert cli(*call, "--weights", tiny_bundle, "--fail-on-forgery").code == 10
    # Shipped weights have no answer, since nobody is seen or heard.
    assert cli(*call, "--fail-on-forgery").code == 4
    assert set(rows(Path("out")).values()) == {"not_assessable", "failed"}


def test_two_at_a_time_write_what_one_after_the_other_writes(
    cli: Callable[..., Any], folder: Path, tiny_bundle: Path
) -> None:
    call = ("run", "--input", folder, "--weights", tiny_bundle, "--quiet")
    one = cli(*call, "--out", "one", "--json", "one.json")
    two = cli(*call, "--out", "two", "--json", "two.json", "--jobs", "2", "--store", "store")
    assert (one.code, two.code) == (4, 4)
    names = sorted(str(path.relative_to("one")) for path in Path("one").rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to("two")) for path in Path("two").rglob("*") if path.is_file())
    for name in names:
        if name.endswith((".json", ".csv")):
            assert without_clock(Path("one") / name) == without_clock(Path("two") / name), name
    assert without_clock(Path("one.json")) == without_clock(Path("two.json"))
    assert "error: " in two.err
    assert two.err.count("broken.mp4") == 1


def test_a_folder_that_fills_up_is_analysed_and_goes_on_where_it_stopped(
    cli: Callable[..., Any],
    clip: Path,
    folder: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    rounds: list[dict[str, str]] = []

    def come(steps: list[Callable[[], object]]) -> Callable[[float], None]:
        def sleep(seconds: float) -> None:
            rounds.append(rows(Path("out")) if Path("out/index.csv").is_file() else {})
            if not steps:
                raise KeyboardInterrupt
            steps.pop(0)()

        return sleep

    def watch(*steps: Callable[[], object]) -> Any:
        arrivals, rounds[:] = pipeline.watch.arrivals, []
        with monkeypatch.context() as patch:
            fixed = lambda place, settle_s, known: arrivals(place, 0.0, known, come(list(steps)))  # noqa: E731
            patch.setattr(pipeline.watch, "arrivals", fixed)
            answer = cli("run", "--watch", folder, "--weights", tiny_bundle, "--out", "out", "--quiet")
        signal.signal(signal.SIGTERM, before)
        return answer

    nothing = lambda: None  # noqa: E731
    answer = watch(nothing, lambda: shutil.copy(clip, folder / "later.mp4"), nothing, nothing)
    assert answer.code == 130
    assert [len(found) for found in rounds] == [0, 3, 3, 4, 4]
    assert rounds[-1]["broken.mp4"] == "failed"
    assert Path("out/below/b.mp4.html").is_file()
    assert answer.out.count("later.mp4: ") == 1

    # Started again: what is there is only listed. A page that is missing and a clip that changed are made again.
    Path("out/a.mp4.html").unlink()
    os.utime(folder / "later.mp4", (time.time() + 5, time.time() + 5))
    answer = watch(nothing, nothing)
    assert sorted(line.partition(":")[0] for line in answer.out.splitlines() if ".mp4: " in line) == [
        "a.mp4",
        "later.mp4",
    ]
    assert answer.err.count("broken") == 0
    assert rounds[-1].keys() == {"a.mp4", "below/b.mp4", "broken.mp4", "later.mp4"}


def test_sigterm_ends_watching_with_an_index(folder: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--weights", str(tiny_bundle), "--out", str(out), "--no-html", "--settle", "0", "--quiet")
    command = [sys.executable, "-m", "pipeline", "run", "--watch", str(folder), *options, "--jobs", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until_s = time.monotonic() + PATIENCE_S
    while not (out / "index.csv").is_file() or len(rows(out)) < 3:
        assert time.monotonic() < until_s
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert json.loads((out / "a.mp4.json").read_text())["input"]["name"] == "a.mp4"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--watch", "."), "one of --input and --watch"),
        ((), "--json needs an end"),
        ((), "--fail-on-forgery needs an end"),
    ],
)
def test_watching_refuses_what_it_cannot_give(
    cli: Callable[..., Any], folder: Path, options: tuple[str, ...], words: str
) -> None:
    call: tuple[Any, ...] = ("run", "--input", folder, *options) if options else ("run", "--watch", folder)
    if "json" in words:
        call += ("--json", "-")
    if "forgery" in words:
        call += ("--fail-on-forgery",)
    answer = cli(*call)
    assert answer.code == 2
    assert words in answer.err


def test_a_folder_to_watch_must_be_there(cli: Callable[..., Any]) -> None:
    answer = cli("run", "--watch", "nowhere")
    assert answer.code == 2
    assert "is not a folder" in answer.err
