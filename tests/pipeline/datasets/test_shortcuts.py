"""Trivial classifiers find nothing in a data set of ours, and find it when its precautions are switched off."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forged_set import CONFIG, RATE, stand_in_face, texture, voice
from numpy.typing import NDArray

from data.errors import InputError
from data.manifest.sidecar import EditedSegment
from pipeline.datasets.shortcuts import (
    FEATURES,
    _within_people,
    auc,
    clip_features,
    find_shortcuts,
    measure_features,
)
from pipeline.forging import files as dataset_files
from pipeline.forging import plan as dataset_plan
from pipeline.forging import synthesize
from pipeline.forging.forger import EditedClip, Forger, Piece
from pipeline.media.encode import write_clip

PEOPLE = 10
SETTINGS = CONFIG.model_copy(
    update={
        "editor_scale": (0.8, 0.95),
        "editor_noise_db": (-66.0, -56.0),
        "editor_gain_db": (-3.0, 3.0),
        "crf": (18, 30),
        "audio_kbps": (32, 96),
        "extra_sham": 0.5,
        "train_share": 1.0,
        "dev_share": 0.0,
    }
)


def authentic_people(root: Path) -> Path:
    """One clip each of ten people, in a file of another encoder's making, as sources are."""
    rng = np.random.default_rng(7)
    for k in range(PEOPLE):
        sound = voice(2.4, 100 + 12 * k) + 1e-4 * rng.standard_normal(int(2.4 * RATE)).astype(np.float32)
        write_clip(root / "clips" / f"{k}.mp4", texture(60, k), sound, crf=14, audio_bit_rate=128_000)
    with (root / "clips.csv").open("w", newline="") as table:
        csv.writer(table).writerows(
            [["clip", "identity"], *([f"clips/{k}.mp4", f"p{k}"] for k in range(PEOPLE))]
        )
    return root


def make(authentic: Path, out: Path) -> Path:
    plan = dataset_plan.plan(authentic, SETTINGS, seed=3)
    for k in plan.sources:
        synthesize.forge_source(plan, k, out)
    synthesize.finish(plan, out, {})
    return out


@pytest.fixture(scope="module")
def authentic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return authentic_people(tmp_path_factory.mktemp("authentic"))


@pytest.fixture(scope="module")
def careful(authentic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as monkeypatch:
        stand_in_face(monkeypatch)
        return make(authentic, tmp_path_factory.mktemp("careful"))


def without_authentic_clips(careful: Path, out: Path) -> Path:
    """The data set with its forged clips only; the authentic ones are to be made again in another way."""
    shutil.copytree(careful, out, dirs_exist_ok=True)
    for clip in dataset_files.read_clips(out):
        if clip.label == 0:
            (out / clip.file).unlink()
            (out / dataset_plan.ROWS / f"{Path(clip.file).stem}.json").unlink()
    return out


def test_nothing_but_the_forgery_tells_forged_from_authentic(careful: Path) -> None:
    findings = find_shortcuts(careful)
    names = [finding.features.partition(":")[0] for finding in findings]
    assert names == ["all features", "best feature", "best feature within people"]
    assert all(finding.chance for finding in findings), findings


def test_it_is_found_when_authentic_clips_are_not_edited(
    authentic: Path, careful: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit = Forger.edit

    def only_forged(self: Forger, piece: Piece, label: int, *rest: Any) -> EditedClip:
        untouched = EditedClip(piece.frames, piece.samples, (), ())
        return edit(self, piece, label, *rest) if label else untouched

    stand_in_face(monkeypatch)
    monkeypatch.setattr(Forger, "edit", only_forged)
    findings = find_shortcuts(make(authentic, without_authentic_clips(careful, tmp_path / "set")))
    assert not any(finding.chance for finding in findings), findings
    assert findings[1].auc > 0.8


def test_it_is_found_when_authentic_clips_keep_their_own_encoding(
    authentic: Path, careful: Path, tmp_path: Path
) -> None:
    root = without_authentic_clips(careful, tmp_path / "set")
    for row in json.loads((root / "forgeries.json").read_text()):
        if row["label"] == 0:
            shutil.copyfile(authentic / row["source"], root / row["file"])
    findings = find_shortcuts(root)
    assert not any(finding.chance for finding in findings), findings
    assert findings[1].auc > 0.9


def test_features_are_what_their_names_say(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    silence, tone = np.zeros(RATE, np.float32), 0.1 * np.sin(np.arange(RATE) * 0.3).astype(np.float32)
    write_clip(
        path, np.full((50, 64, 64, 3), 128, np.uint8), np.concatenate([silence, tone]), keyframe_every=25
    )
    found = dict(zip(FEATURES, clip_features(path, ()), strict=True))
    assert found["file size"] == path.stat().st_size
    assert found["frames"] == 50
    assert found["keyframes"] == 2
    assert found["mean luma"] == pytest.approx(128, abs=2)
    assert found["sharpness"] == pytest.approx(0, abs=0.1)
    assert found["leading silence"] == pytest.approx(25, abs=3)
    assert found["duration"] == pytest.approx(2, abs=0.1)
    assert found["bit rate"] == pytest.approx(found["file size"] / found["duration"])


def test_edited_spans_are_left_out_of_account(tmp_path: Path) -> None:
    frames = np.full((50, 64, 64, 3), 60, np.uint8)
    frames[20:30] = 250
    write_clip(tmp_path / "clip.mp4", frames, None)
    edits = [EditedSegment(0.8, 1.2, "visual", "touch_up_face")]
    luma = FEATURES.index("mean luma")
    assert clip_features(tmp_path / "clip.mp4", edits)[luma] == pytest.approx(60, abs=2)
    assert clip_features(tmp_path / "clip.mp4", ())[luma] > 80


def test_auc_by_hand() -> None:
    # Forged 0.9, 0.4, 0.4; authentic 0.4, 0.1: of six pairs four are won and two tied, (4 + 1) / 6.
    scores = np.array([0.9, 0.4, 0.4, 0.4, 0.1])[:, None]
    answers = np.array([True, True, True, False, False])[:, None]
    assert auc(scores, answers)[0] == pytest.approx(5 / 6)
    assert auc(-scores, answers)[0] == pytest.approx(1 / 6)


def table(n: int = 200) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_]]:
    rng = np.random.default_rng(0)
    people = np.array([f"p{k % 20}" for k in range(n)])
    return rng.standard_normal((n, len(FEATURES))), rng.random(n) < 0.7, people


def test_noise_is_chance_and_a_planted_number_is_found() -> None:
    values, labels, people = table()
    assert all(finding.chance for finding in measure_features(values, labels, people))
    values[:, 3] += 1.5 * labels
    together, best, within = measure_features(values, labels, people)
    assert not any(finding.chance for finding in (together, best, within))
    assert best.features == f"best feature: {FEATURES[3]}"
    assert within.features == f"best feature within people: {FEATURES[3]}"


def test_a_number_that_is_always_middling_in_forged_clips_is_found() -> None:
    values, labels, people = table(400)
    values[labels, 5] *= 0.1
    together, *_ = measure_features(values, labels, people)
    assert not together.chance
    assert together.auc > 0.75


def test_what_marks_a_person_and_not_a_forgery_is_no_shortcut() -> None:
    values, labels, people = table()
    values[:, 2] = [float(name[1:]) for name in people]
    labels = np.array([k // 20 % 4 != 0 for k in range(len(people))])
    assert measure_features(values, labels, people)[1].chance


def test_within_people_clips_of_one_person_are_compared_and_of_no_two() -> None:
    values = np.zeros((6, len(FEATURES)))
    people = np.array(["a", "a", "a", "b", "b", "c"])
    labels = np.array([True, False, False, True, False, True])
    # Of three pairs the forged clip lies above in one, level in one and below in one; c has no pair.
    values[:, 4] = [5, 3, 5, 90, 99, 70]
    assert _within_people(values, labels[:, None], people)[4] == pytest.approx([0.5])
    values[4, 4] = 0
    assert _within_people(values, labels[:, None], people)[4] == pytest.approx([2.5 / 3])


def test_a_set_without_a_sidecar_or_too_small_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"forgeries\.json: is not there"):
        find_shortcuts(tmp_path)
    (tmp_path / "forgeries.json").write_text("[]")
    with pytest.raises(InputError, match="too few clips"):
        find_shortcuts(tmp_path)
