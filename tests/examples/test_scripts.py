"""The scripts of the Python API run as they are printed."""

from __future__ import annotations

import csv
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import media_factory
import pytest

from data.store.store import FeatureStore
from pipeline.report.json import loads

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips, of 1.0, 1.2 and 1.4 seconds."""
    folder = tmp_path_factory.mktemp("clips")
    for k in range(3):
        media_factory.write(folder / f"{k}.mp4", n=25 + 5 * k, audio_seconds=1.0 + 0.2 * k)
    return folder


def script(name: str) -> Callable[..., None]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


def test_one_clip(clips: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script("one_clip")(str(clips / "0.mp4"), str(tiny_bundle))
    first, *intervals = capsys.readouterr().out.splitlines()
    assert first.startswith(
        "0.mp4: forged, both, probability 0."
    )  # the tiny weights are biased towards "both"
    assert intervals
    assert all(" s, both, score 0." in line for line in intervals)


def test_a_folder_with_a_store(
    clips: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    run, store, out = script("folder_with_store"), tmp_path / "features", tmp_path / "reports"
    (tmp_path / "clips").mkdir()
    for clip in clips.iterdir():
        (tmp_path / "clips" / clip.name).write_bytes(clip.read_bytes())
    (tmp_path / "clips" / "broken.mp4").write_bytes(b"no media")
    arguments = (str(tmp_path / "clips"), str(store), str(out), str(tiny_bundle))
    run(*arguments)
    answer = capsys.readouterr()
    assert answer.err.startswith("failed: ")
    assert "broken.mp4" in answer.err
    scores = [float(line.split()[0]) for line in answer.out.splitlines()]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert sorted(path.name for path in out.iterdir()) == ["0.mp4.json", "1.mp4.json", "2.mp4.json"]
    assert loads((out / "0.mp4.json").read_text()).label == "both"
    # again: every feature is in the store, so nothing is written into it
    written: list[object] = []
    monkeypatch.setattr(FeatureStore, "writer", lambda *a, **k: written.append(a))
    run(*arguments)
    assert not written
    assert capsys.readouterr().out == answer.out


def test_training_on_a_set_of_ones_own(
    clips: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("0.mp4", "train", "real"), ("1.mp4", "train", "both"), ("2.mp4", "dev", "visual")]
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file", "split", "label"), *rows])
    places = (str(clips), str(tmp_path / "labels.csv"), str(tmp_path / "features"), str(tmp_path / "run"))
    settings = ("train.steps=2", "train.batch_size=2", "train.warmup_steps=0")
    script("train_on_own_set")(*places, *settings, source=str(tiny_bundle))
    last = capsys.readouterr().out.splitlines()[-1]
    weights = Path(last.removeprefix("pipeline run --input CLIP --weights "))
    assert weights == tmp_path / "run" / "weights"
    script("one_clip")(str(clips / "0.mp4"), str(weights))
    assert capsys.readouterr().out.startswith("0.mp4: ")
