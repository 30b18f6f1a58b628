"""Long videos: who is in which kind, that the truth of their parts moves along, and that parts stay in time."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from condition_set import FRAMES, write_set

from data.errors import UsageError
from data.manifest.sidecar import SynthesizedClip, read_sidecar
from pipeline.forging.conditions import make_condition, plan
from pipeline.forging.harmless import read_tracks
from pipeline.forging.long import KINDS, plan_long, write_long

S = FRAMES / 25


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("known")
    write_set(root)
    return root


@pytest.fixture(scope="module")
def rows(known: Path) -> list[SynthesizedClip]:
    return read_sidecar(known)[:4]


def test_each_kind_is_there_authentic_and_with_one_forged_clip(rows: list[SynthesizedClip]) -> None:
    files = plan_long(rows, np.random.default_rng(0), 6.0)
    assert [name for name, _ in files] == [
        f"{kind}_{content}_{copy}" for kind in KINDS for content in ("real", "forged") for copy in (0, 1)
    ]
    for name, order in files:
        assert len(order) == 5, "6 s of clips of 1.2 s"
        assert sum(rows[k].label > 0 for k in order) == ("forged" in name)
        people = {rows[k].identity for k in order}
        assert len(people) == (1 if name.startswith(("take", "jumps")) else 2)


def test_nobody_speaks_twice_in_a_row_where_there_are_several(rows: list[SynthesizedClip]) -> None:
    for name, order in plan_long(rows, np.random.default_rng(1), 12.0):
        if name.startswith(("turns_real", "panel_real", "news_real")):
            speakers = [rows[k].identity for k in order]
            assert all(a != b for a, b in itertools.pairwise(speakers))


def test_one_person_or_no_forged_span_is_refused(rows: list[SynthesizedClip]) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="two people"):
        plan_long(rows[:2], rng, 6.0)
    with pytest.raises(UsageError, match="forged in one span"):
        plan_long([row for row in rows if not row.label], rng, 6.0)
    two = replace(rows[3], segments=(*rows[3].segments, replace(rows[3].segments[0], start_s=0.9, end_s=1.0)))
    with pytest.raises(UsageError, match="forged in one span"):
        plan_long([rows[0], rows[2], two], rng, 6.0)


def test_a_forged_span_moves_along_and_names_the_person(
    known: Path, rows: list[SynthesizedClip], tmp_path: Path
) -> None:
    row = write_long("turns_forged_0", "test", rows, known, (0, 3, 0), tmp_path / "turns.mp4")
    assert [(s.start_s, s.end_s, s.modality, s.person) for s in row.segments] == [
        (round(S + 0.4, 6), round(S + 0.8, 6), "visual", "ben"),
        (round(S + 0.4, 6), round(S + 0.8, 6), "audio", "ben"),
    ]
    assert (row.label, row.group, row.video_frames) == (3, "turns", 3 * FRAMES)
    seen = [(a.person, a.start_s, a.end_s, a.box) for a in row.appearances]
    full = (0.0, 0.0, 1.0, 1.0)
    assert seen == [("anna", 0, S, full), ("ben", S, 2 * S, full), ("anna", 2 * S, 90 / 25, full)]


def test_jumps_leave_out_the_middle_of_each_authentic_clip(
    known: Path, rows: list[SynthesizedClip], tmp_path: Path
) -> None:
    row = write_long("jumps_real_0", "test", rows, known, (0, 0), tmp_path / "jumps.mp4")
    assert row.video_frames == 4 * 12
    assert row.segments == ()
    made, clip = read_tracks(tmp_path / "jumps.mp4"), read_tracks(known / rows[0].file)
    assert made.frames is not None
    assert clip.frames is not None
    assert np.abs(made.frames[12:24].astype(int) - clip.frames[18:]).mean() < 12


def test_a_panel_shows_all_side_by_side_and_one_is_heard(
    known: Path, rows: list[SynthesizedClip], tmp_path: Path
) -> None:
    row = write_long("panel_forged_0", "test", rows, known, (0, 3), tmp_path / "panel.mp4")
    made, anna, ben = (
        read_tracks(path) for path in (tmp_path / "panel.mp4", known / rows[0].file, known / rows[3].file)
    )
    assert made.frames is not None
    assert anna.frames is not None
    assert ben.frames is not None
    assert made.samples is not None
    assert ben.samples is not None
    assert made.frames.shape == (2 * FRAMES, 96, 192, 3)
    assert np.abs(made.frames[:FRAMES, :, :96].astype(int) - anna.frames).mean() < 12
    assert np.abs(made.frames[FRAMES:, :, 96:].astype(int) - ben.frames).mean() < 12
    heard = made.samples[FRAMES * 640 :][: FRAMES * 640]
    assert np.corrcoef(heard, ben.samples[: len(heard)])[0, 1] > 0.8
    assert {s.person for s in row.segments} == {"ben"}
    assert {a.person: a.box for a in row.appearances} == {
        "anna": (0.0, 0.0, 0.5, 1.0),
        "ben": (0.5, 0.0, 0.5, 1.0),
    }


def test_parts_of_other_sizes_are_padded(known: Path, rows: list[SynthesizedClip], tmp_path: Path) -> None:
    write_long("turns_real_0", "test", rows, known, (2, 0), tmp_path / "turns.mp4")
    made, small = read_tracks(tmp_path / "turns.mp4"), read_tracks(known / rows[2].file)
    assert made.frames is not None
    assert small.frames is not None
    assert made.frames.shape == (2 * FRAMES, 96, 96, 3)
    margin = (96 - small.frames.shape[1]) // 2
    inner = made.frames[:FRAMES, margin : 96 - margin]
    assert np.abs(inner.astype(int) - small.frames).mean() < 12
    assert made.frames[:FRAMES, : max(0, margin - 2)].mean() < 12


def test_the_rows_come_back_from_the_sidecar(known: Path, tmp_path: Path) -> None:
    make_condition(plan("long", known, "test", long_s=2.0, long_copies=1), tmp_path)
    found = {row.identity: row for row in read_sidecar(tmp_path)}
    assert set(found) == {f"{kind}_{content}_0" for kind in KINDS for content in ("real", "forged")}
    for name, row in found.items():
        assert row.appearances
        assert (row.label > 0) == ("forged" in name)
        assert len({(s.start_s, s.end_s, s.person) for s in row.segments}) == ("forged" in name)
