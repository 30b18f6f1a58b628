"""Odd periods in a data set's metadata, and deliberate subsets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import media_factory
import pytest

from data.manifest import Sample, write_lavdf
from data.timeline import Interval
from pipeline.datasets.check import check

FRAMES, LENGTH_S = 20, 0.8


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A set of four clips, one of each class."""
    clip = media_factory.write(tmp_path / "clip.mp4", n=FRAMES, audio_seconds=LENGTH_S).path
    samples = tuple(
        Sample(
            Path(f"{split}/{k:06d}.mp4"),
            label=k,
            split=split,
            fake_periods=(Interval(0.2, 0.6),) if k else (),
            duration_s=LENGTH_S,
            video_frames=FRAMES,
            audio_frames=12_800,
        )
        for k, split in enumerate(("train", "train", "dev", "test"))
    )
    for sample in samples:
        (tmp_path / "set" / sample.file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, tmp_path / "set" / sample.file)
    write_lavdf(tmp_path / "set", samples)
    return tmp_path / "set"


def whats(found: Any, level: str) -> list[str]:
    return [finding.what for finding in found.findings if finding.level == level]


def rewrite(root: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    for name in ("metadata.json", "metadata.min.json"):
        rows = json.loads((root / name).read_text(encoding="utf-8"))
        change(rows)
        (root / name).write_text(json.dumps(rows), encoding="utf-8")


@pytest.mark.parametrize(
    ("periods", "what"),
    [
        ([[0.2, 0.2]], "1 clips have forged periods of no length"),
        ([[0.1, 0.4], [0.3, 0.6]], "1 clips have forged periods that overlap"),
    ],
)
def test_periods_that_make_no_sense_are_named_by_file(
    root: Path, periods: list[list[float]], what: str
) -> None:
    rewrite(root, lambda rows: rows[1].update(fake_periods=periods, n_fakes=len(periods)))
    found = check("lavdf", root)
    (finding,) = (each for each in found.findings if each.what == what)
    assert finding.examples == ("train/000001.mp4",)


def test_a_reversed_period_is_refused_with_the_name_of_its_file(root: Path) -> None:
    rewrite(root, lambda rows: rows[1].update(fake_periods=[[0.6, 0.2]]))
    found = check("lavdf", root)
    assert found.level == "unusable"
    assert "train/000001.mp4" in found.findings[0].what
    assert "1 clips have forged periods that end before they start" in whats(found, "note")


def test_a_count_of_periods_that_does_not_fit_is_found(root: Path) -> None:
    rewrite(root, lambda rows: rows[2].update(n_fakes=3))
    (finding,) = (each for each in check("lavdf", root).findings if "n_fakes" in each.what)
    assert finding.examples == ("dev/000002.mp4",)


def test_of_a_deliberate_subset_absent_clips_are_no_fault(root: Path) -> None:
    (root / "train/000001.mp4").unlink()
    shutil.rmtree(root / "test")
    assert check("lavdf", root).level == "unusable"
    found = check("lavdf", root, subset=True)
    assert found.exit_code == 0
    assert whats(found, "note")[0] == "2 of 4 clips are not in this subset"
