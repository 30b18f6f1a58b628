"""Formats of the field's servers: round trips, measures worked by hand, and submissions that would be refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import layouts
import numpy as np
import pytest
from evaluation_set import manifest, predictions, samples

from data.arrays import write_arrays
from data.errors import InputError, UsageError
from data.manifest import Manifest, Sample, write_lavdf
from data.timeline import TimeGrid
from pipeline.evaluation.metrics import average_precision, f1
from pipeline.evaluation.predictions import StepCurves, VideoPrediction
from pipeline.evaluation.submissions import SERVERS, ServerName, judge, write_submission
from pipeline.evaluation.submissions.task import write_flat

if TYPE_CHECKING:
    from conftest import Answer


def detected(clips: list[Sample]) -> list[VideoPrediction]:
    """Perfect predictions with steps of the sound, 0.9 where forged."""
    found = []
    for one, clip in zip(predictions(clips), clips, strict=True):
        grid = TimeGrid.at_rate(25, 30)
        centres = [grid.centre_s(k) for k in range(30)]
        inside = [any(p.start_s <= t < p.end_s for p in clip.fake_periods) for t in centres]
        curve = np.where(inside, np.float32(0.9), np.float32(0.1))
        found.append(replace(one, steps=StepCurves(grid, {"audio": curve})))
    return found


@pytest.mark.parametrize("name", SERVERS)
def test_what_was_written_is_read_and_measured(name: ServerName, tmp_path: Path) -> None:
    clips = samples(copies=3)
    held = manifest(tmp_path, clips)
    (path,) = {path.parent if path.suffix == ".npy" else path for path in
               write_submission(name, tmp_path / "out", detected(clips), held, "dev")}  # fmt: skip
    found = judge(name, path, held, "dev")
    perfect = {
        "1m-deepfakes": ("1M-Deepfakes", "AUC", "all"),
        "ddl-gav": ("DDL-GAV", "score", "final"),
        "partialspoof": ("PartialSpoof", "F1", "20 ms"),
        "mle-dojo": ("MLE-Dojo, LAV-DF", "score", "all"),
        "deepfakebench": ("DeepfakeBench", "AUC", "video score"),
    }
    assert found.value(*perfect[name]) == pytest.approx(1)
    again = write_submission(name, tmp_path / "again", detected(clips), held, "dev")
    first = write_submission(name, tmp_path / "out", detected(clips), held, "dev")
    assert [one.read_bytes() for one in again] == [one.read_bytes() for one in first]


def test_the_challenge_archive_is_flat_padded_and_ranked(tmp_path: Path) -> None:
    clips = samples()
    (real, visual, *rest) = predictions(clips)
    rows = np.array([[0.2, 0.0, 0.1], [0.9, 0.2, 0.6]])
    shuffled = [real, replace(visual, proposals=rows), *rest]
    (path,) = write_submission("1m-deepfakes", tmp_path, shuffled, manifest(tmp_path, clips), "dev")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["prediction.txt", "prediction.json"]
        found = json.loads(archive.read("prediction.json"))
        assert archive.read("prediction.txt").decode().splitlines()[1] == "000001.mp4;0.99"
    assert found["000000.mp4"] == [[0, 0, 0]]
    assert found["000001.mp4"] == [[0.9, 0.2, 0.6], [0.2, 0.0, 0.1]]


def test_the_challenge_score_is_half_ap_and_half_ar(tmp_path: Path) -> None:
    """Two segments, each found exactly by the best proposal: AP = 1 - 1/2, since the first strip is dropped; AR = 1."""
    clips = samples()[:1] + samples()[1:3]
    held = manifest(tmp_path, clips)
    (path,) = write_submission("1m-deepfakes", tmp_path, predictions(clips), held, "dev")
    found = judge("1m-deepfakes", path, held, "dev")
    assert found.value("1M-Deepfakes", "mAP") == pytest.approx(0.5)
    assert found.value("1M-Deepfakes", "mAR") == pytest.approx(1)
    assert found.value("1M-Deepfakes", "score") == pytest.approx(0.75)


def test_ddl_scores_by_hand(tmp_path: Path) -> None:
    """Binary: scores .9 .4 .8 .2 for 0 1 1 1. Pairs won 0 of 3, so AUC 0; one of four is right (.8): ACC 1/4.

    AP: ranked 0 1 1 1, precisions 1/2 2/3 3/4, mean 23/36. F1: one hit, two called, three true: 2/5.
    """
    clips = samples()
    text = "\n".join(f"{c.file};{s}" for c, s in zip(clips, (0.9, 0.4, 0.8, 0.2), strict=True))
    four = "\n".join(f"{c.file};" + ";".join("1" if k == c.label else "0" for k in range(4)) for c in clips)
    write_flat(tmp_path / "s.zip", {"binary.txt": text, "four.txt": four})
    found = judge("ddl-gav", tmp_path / "s.zip", manifest(tmp_path, clips), "dev")
    values = {name: found.value("DDL-GAV", name, "binary") for name in ("AUC", "ACC", "AP", "F1")}
    assert values == pytest.approx({"AUC": 0, "ACC": 0.25, "AP": 23 / 36, "F1": 0.4})
    binary = 0.3 * 0.25 + 0.3 * 23 / 36 + 0.2 * 0.4
    assert found.value("DDL-GAV", "score", "four classes") == pytest.approx(1)
    assert found.value("DDL-GAV", "score", "final") == pytest.approx(0.4 * binary + 0.6)


def test_average_precision_counts_equal_scores_as_one_point() -> None:
    flags = np.array([True, False, True, False])
    assert average_precision(np.array([0.9, 0.9, 0.5, 0.1]), flags) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert average_precision(np.array([0.9, 0.8, 0.7, 0.6]), flags) == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(average_precision(np.zeros(2), np.zeros(2, bool)))
    assert f1(np.array([True, True, False]), np.array([True, False, True])) == 0.5
    assert f1(np.zeros(2, bool), np.zeros(2, bool)) == 0


def test_segments_are_measured_against_the_labels_of_partialspoof(tmp_path: Path) -> None:
    """Of 16 + 16 segments 3 are forged; 2 of them and 1 other are called: F1 = 4/6. One authentic of 29 scores above
    the lowest forged one."""
    layouts.partialspoof(tmp_path / "set")
    held = Manifest.load("partialspoof", tmp_path / "set")
    forged = np.full(16, 0.1)
    forged[[5, 6, 9]], forged[7] = 0.9, 0.3
    write_arrays(tmp_path / "mine_0.02.npy", {"LA_E_1": np.full(16, 0.1), "CON_E_2": forged})
    found = judge("partialspoof", tmp_path / "mine_0.02.npy", held, "test")
    assert found.value("PartialSpoof", "F1", "20 ms") == pytest.approx(4 / 6)
    assert found.value("PartialSpoof", "segments", "20 ms") == 32
    assert 0 < found.value("PartialSpoof", "EER", "20 ms") < 0.1
    write_arrays(
        tmp_path / "mine_0.16.npy", {"LA_E_1": np.array([0.1, 0.2]), "CON_E_2": np.array([0.9, 0.2, 0.4])}
    )
    coarse = judge("partialspoof", tmp_path / "mine_0.16.npy", held, "test")
    assert coarse.value("PartialSpoof", "F1", "160 ms") == 1
    assert coarse.value("PartialSpoof", "EER", "160 ms") == 0


def test_frames_are_averaged_within_a_video(tmp_path: Path) -> None:
    """Frames of the forged clip score .2 and .9, those of the authentic one .5 and .5: the means are .55 and .5."""
    clips = samples()[:2]
    (tmp_path / "f.txt").write_text(
        "dev/000000/0.png;0.5\ndev/000000/1.png;0.5\n000001/0.png;0.2\n000001/1.png;0.9\n"
    )
    found = judge("deepfakebench", tmp_path / "f.txt", manifest(tmp_path, clips), "dev")
    assert found.value("DeepfakeBench", "AUC", "video score") == 1
    assert found.value("DeepfakeBench", "AUC", "frames") == 0.5
    assert found.value("DeepfakeBench", "ACC", "frames") == 0.75


def challenge(path: Path, **changes: str) -> Path:
    """A good archive for four clips of 1.2 s, but for `changes`: text by file name, with _ for the dot."""
    names = [f"{k:06d}.mp4" for k in range(4)]
    texts = {
        "prediction.txt": "".join(f"{name};0.5\n" for name in names),
        "prediction.json": json.dumps({name: [[0.5, 0.1, 0.2]] for name in names}),
    }
    write_flat(path, texts | {name.replace("_", "."): text for name, text in changes.items()})
    return path


def _json(**rows: object) -> dict[str, str]:
    held: Mapping[str, object] = {f"{k:06d}.mp4": [[0.5, 0.1, 0.2]] for k in range(4)}
    changed = {f"{name[1:]}.mp4": row for name, row in rows.items()}
    return {"prediction_json": json.dumps({**held, **changed})}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        (_json(_000001=[]), r"prediction.json: 1 fault: '000001.mp4' has an empty list.*write \[\[0, 0, 0\]\]"),
        (_json(_000001=[[0.5, 0.1, 0.2], [float("nan"), 0, 1]]), r"'000001.mp4' #1 .*score that is not a number"),
        (_json(_000002=[[-0.1, 0, 1]]), r"'000002.mp4' #0 .*has a score below 0"),
        (_json(_000002=[[0.5, 0, 1.41]]), r"'000002.mp4' #0 .*ends after its clip does, at 1.4 s"),
        (_json(_000009=[[0.5, 0, 1]]), r"prediction.json: 1 fault: '000009.mp4' is not in this split"),
        ({"prediction_txt": "000000.mp4;0.5\n"}, r"prediction.txt: 3 fault.*'dev/000001.mp4' is missing"),
        ({"prediction_txt": "000000.mp4;0.5\n000001.mp4;nan\n000002.mp4;-0.1\n000003.mp4;1.5\n"},
         r"3 fault.*line 2, '000001.mp4' has the score 'nan', which is not a number; line 3, '000002.mp4' has the "
         r"score '-0.1', which is not between 0 and 1; line 4"),
        ({"notes_md": "hello"}, r"has a file 'notes.md' that the server does not know"),
        ({"folder/prediction_txt": ""}, r"has a folder \(folder/prediction.txt\).*zip -j"),
    ],
)  # fmt: skip
def test_a_challenge_archive_that_the_server_would_refuse(
    changes: dict[str, str], words: str | None, tmp_path: Path
) -> None:
    path, held = challenge(tmp_path / "p.zip", **changes), manifest(tmp_path, samples())
    if words is None:
        assert judge("1m-deepfakes", path, held, "dev").value("1M-Deepfakes", "AUC") == 0.5
        return
    with pytest.raises(InputError, match=words) as caught:
        judge("1m-deepfakes", path, held, "dev")
    assert "p.zip" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("mle-dojo", "video_id,p_video_fake\n", "line 1 is not video_id,p_video_fake,p_audio_fake"),
        ("mle-dojo", "video_id,p_video_fake,p_audio_fake\n000000.mp4,0.1\n", "line 2 has 2 columns"),
        (
            "mle-dojo",
            "video_id,p_video_fake,p_audio_fake\n000000.mp4,-1,nan\n",
            "line 2, '000000.mp4' .*'-1'.*'nan'",
        ),
        ("deepfakebench", "000000/1.png;0.1\n000000/1.png;0.1\n", "line 2, .* occurs more than once"),
        ("deepfakebench", "000009/1.png;0.1\n", "line 1, .* of a clip that is not in this split"),
        ("deepfakebench", "1.png;0.1\n", "line 1 is not of the form"),
    ],
)
def test_a_list_that_does_not_fit(name: ServerName, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(InputError, match=f"list.txt: .*{words}"):
        judge(name, tmp_path / "list.txt", manifest(tmp_path, samples()), "dev")


def test_segment_scores_that_do_not_fit(tmp_path: Path) -> None:
    held = manifest(tmp_path, samples()[:2])
    for size, value, words in (
        (60, np.nan, "'000000' #0 has a score that is not a number"),
        (57, 0.1, "'000000' has 57 segments of 0.02 s, its clip 60"),
    ):
        scores = {"000000": np.full(size, value), "000001": np.full(60, 0.1)}
        write_arrays(tmp_path / "x_0.02.npy", scores)
        with pytest.raises(InputError, match=words):
            judge("partialspoof", tmp_path / "x_0.02.npy", held, "dev")
    write_arrays(tmp_path / "x_0.03.npy", scores)
    with pytest.raises(InputError, match=r"does not end in _0.02.npy or _0.16.npy"):
        judge("partialspoof", tmp_path / "x_0.03.npy", held, "dev")


def test_something_else_than_an_archive(tmp_path: Path) -> None:
    (tmp_path / "p.zip").write_text("no archive")
    with pytest.raises(InputError, match=r"p.zip: is not a zip archive that can be read"):
        judge("1m-deepfakes", tmp_path / "p.zip", manifest(tmp_path, samples()), "dev")


def test_without_labels_a_submission_is_only_checked(tmp_path: Path) -> None:
    held = manifest(tmp_path, [replace(clip, label=None) for clip in samples()])
    found = judge("1m-deepfakes", challenge(tmp_path / "p.zip"), held, "dev")
    assert found.rows == ()
    assert "is well-formed for 1m-deepfakes; the split has no public labels" in found.notes[0]


def test_proposals_are_not_measured_against_video_level_labels(tmp_path: Path) -> None:
    held = manifest(tmp_path, [replace(clip, located=False, fake_periods=()) for clip in samples()])
    with pytest.raises(UsageError, match="have a video-level label only"):
        judge("1m-deepfakes", challenge(tmp_path / "p.zip"), held, "dev")


Cli = Callable[..., "Answer"]


def test_the_command_measures_a_submission(cli: Cli, tmp_path: Path) -> None:
    write_lavdf(tmp_path, samples())
    challenge(tmp_path / "prediction.zip")
    command = (
        "evaluate",
        "--dataset",
        tmp_path,
        "--split",
        "dev",
        "--submission",
        tmp_path / "prediction.zip",
    )
    answer = cli(*command, "--server", "1m-deepfakes", "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    assert "## 1M-Deepfakes" in answer.out
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["tables"]["1M-Deepfakes"]["all"][
        "score"
    ]
    for more, words in (((), "give both"), (("--server", "ddl-gav", "--scores", "x"), "is measured alone")):
        refused = cli(*command, *more)
        assert refused.code == 2
        assert words in refused.err
