"""The table of a data set, worked by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from sidecar_factory import sidecar_row, write_rows

from data.manifest import Sample, write_lavdf
from data.timeline import Interval
from pipeline.datasets.describe import LAVDF, describe


@pytest.fixture
def root(tmp_path: Path) -> Path:
    def sample(name: str, split: str, label: int, *periods: tuple[float, float]) -> Sample:
        (tmp_path / split).mkdir(exist_ok=True)
        (tmp_path / split / name).touch()
        spans = tuple(Interval(a, b) for a, b in periods)
        return Sample(Path(split) / name, label, split, spans, duration_s=10.0)

    samples = [
        sample("0.mp4", "train", 0),
        sample("1.mp4", "train", 1, (1.0, 1.5), (3.0, 4.5)),
        sample("2.mp4", "train", 3, (2.0, 3.0)),
        sample("3.mp4", "test", 2, (0.0, 0.5)),
    ]
    write_lavdf(tmp_path, samples)
    return tmp_path


def test_shares_lengths_and_classes_by_hand(root: Path) -> None:
    table = describe(root)
    assert table.columns == ("train", "test", "all", "LAV-DF")
    cells = {name: row[:3] for name, row in table.rows.items()}
    assert cells["clips"] == ("3", "1", "4")
    assert cells["minutes"] == ("0.5", "0.2", "0.7")
    assert cells["identities"] == ("–", "–", "–")
    assert cells["real, %"] == ("33.3", "0.0", "25.0")
    assert cells["both, %"] == ("33.3", "0.0", "25.0")
    # Train: 0.5 + 1.5 + 1.0 = 3 s of 30, and of the 20 s of forged clips; all: 3.5 of 40, and of 30.
    assert cells["forged share of the time, %"] == ("10.0", "5.0", "8.8")
    assert cells["forged share of forged clips, %"] == ("15.0", "5.0", "11.7")
    assert cells["segments of a forged clip"] == ("1.50", "1.00", "1.33")
    assert cells["segment length, mean, s"] == ("1.00", "0.50", "0.88")
    # Of 0.5, 1.5 and 1.0 one is shorter than a second: 1.0 is not.
    assert cells["segments shorter than 1 s, %"] == ("33.3", "100.0", "50.0")
    assert cells["segment length, range, s"] == ("0.50–1.50", "0.50–0.50", "0.50–1.50")


def test_published_figures_stand_beside_the_rows_that_have_them(root: Path) -> None:
    table = describe(root)
    assert set(LAVDF) <= set(table.rows)
    assert {name: row[3] for name, row in table.rows.items() if row[3]} == LAVDF


def test_the_sidecar_adds_people_and_manipulations(root: Path) -> None:
    segment = {"start_s": 0.0, "end_s": 1.0, "modality": "visual"}
    rows = [
        sidecar_row(f"train/{k}.mp4", identity=f"p{k % 2}", segments=[segment | {"manipulation": name}])
        for k, name in enumerate(["reenact_face", "freeze_frames", "reenact_face"])
    ]
    write_rows(root, rows)
    table = describe(root)
    assert table.rows["identities"][:3] == ("2", "–", "2")
    assert dict(table.manipulations) == {"freeze_frames": 1, "reenact_face": 2}
    assert "| reenact_face | 2 |" in table.markdown()
    assert table.text()[-1] == "manipulations: freeze_frames 1, reenact_face 2"


def test_markdown_has_as_many_cells_in_every_row(root: Path) -> None:
    lines = describe(root).markdown().splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + len(describe(root).rows)
