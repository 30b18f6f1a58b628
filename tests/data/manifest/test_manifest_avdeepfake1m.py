"""AV-Deepfake1M and AV-Deepfake1M++: every quirk of their lists, on hand-made roots."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from data.errors import InputError, UsageError
from data.manifest import Manifest, WeakSample, read_metadata
from data.timeline import Interval

CLIP = "id00012/21Uxsk56VDQ/00001"


def row(name: str, kind: str, **changes: Any) -> dict[str, Any]:
    """A row as the published lists have them: `file` is relative to the folder of its part."""
    visual = [[0.48, 0.86]] if kind in ("visual_modified", "both_modified") else []
    audio = [[0.5, 0.9]] if kind in ("audio_modified", "both_modified") else []
    return {
        "file": f"{CLIP}/{name}.mp4",
        "original": f"{CLIP}/real.mp4",
        "split": "train",
        "modify_type": kind,
        "audio_model": "vits" if audio else None,
        "fake_segments": [[0.48, 0.9]] if visual and audio else visual or audio,
        "audio_fake_segments": audio,
        "visual_fake_segments": visual,
        "video_frames": 174,
        "audio_frames": 111_680,
    } | changes


REAL = row("real", "real", original="VoxCeleb2/dev/mp4/id00012/21Uxsk56VDQ/00001.mp4")
BOTH = row("fake_video_fake_audio", "both_modified")
VISUAL = row("fake_video_real_audio", "visual_modified")
AUDIO = row("real_video_fake_audio", "audio_modified")


def fill(root: Path, part: str, names: list[str]) -> None:
    for name in names:
        (root / part / name).parent.mkdir(parents=True, exist_ok=True)
        (root / part / name).write_bytes(b"media")


def lay_out(root: Path, rows: list[dict[str, Any]], part: str = "train") -> Path:
    fill(root, part, [row["file"] for row in rows])
    (root / f"{part}_metadata.json").write_text(json.dumps(rows))
    return root


# --- rows -----------------------------------------------------------------------------------------------------


def test_the_label_comes_from_modify_type(tmp_path: Path) -> None:
    manifest = Manifest.avdeepfake1m(lay_out(tmp_path, [REAL, VISUAL, AUDIO, BOTH]))
    # The loader that its authors publish would call the last one real.
    assert [sample.label for sample in manifest.samples] == [0, 1, 2, 3]
    assert manifest.weak("train")[3] == WeakSample(Path(f"train/{CLIP}/fake_video_fake_audio.mp4"), 3)


def test_rows_become_samples(tmp_path: Path) -> None:
    _, both = Manifest.avdeepfake1m(lay_out(tmp_path, [REAL, BOTH])).samples
    assert both.file == Path(f"train/{CLIP}/fake_video_fake_audio.mp4")
    assert both.original == Path(f"train/{CLIP}/real.mp4")
    assert both.fake_periods == (Interval(0.48, 0.9),)
    assert both.duration_s == 6.96  # 174 frames at 25 per second; there is no field `duration`
    assert (both.video_frames, both.audio_frames) == (174, 111_680)


def test_val_is_dev_and_basenames_may_repeat(tmp_path: Path) -> None:
    other = row("real", "real", file="id00013/x/00001/real.mp4")
    lay_out(tmp_path, [REAL, other])
    manifest = Manifest.avdeepfake1m(lay_out(tmp_path, [REAL], "val"))
    assert [(s.split, s.file.as_posix()) for s in manifest.samples] == [
        ("train", f"train/{CLIP}/real.mp4"),
        ("train", "train/id00013/x/00001/real.mp4"),
        ("dev", f"val/{CLIP}/real.mp4"),
    ]


def test_what_a_real_clip_names_as_its_original_is_not_in_the_set(tmp_path: Path) -> None:
    itself = row("real_p1", "real")  # a part of a clip of the set: authentic as well
    manifest = Manifest.avdeepfake1m(
        lay_out(tmp_path, [REAL, itself, row("x", "visual_modified", original=None)])
    )
    assert [sample.original for sample in manifest.samples] == [None, None, None]


def test_a_segment_copied_to_the_list_of_the_unchanged_track_does_no_harm(tmp_path: Path) -> None:
    leaked = [[3.0, 4.0]]
    rows = [
        AUDIO | {"visual_fake_segments": leaked, "fake_segments": None},
        VISUAL | {"audio_fake_segments": leaked, "fake_segments": None},
        REAL | {"audio_fake_segments": leaked, "visual_fake_segments": leaked, "fake_segments": None},
    ]
    periods = [sample.fake_periods for sample in Manifest.avdeepfake1m(lay_out(tmp_path, rows)).samples]
    assert periods == [(Interval(0.5, 0.9),), (Interval(0.48, 0.86),), ()]


def test_without_a_common_list_both_tracks_are_united(tmp_path: Path) -> None:
    far = BOTH | {"fake_segments": [], "audio_fake_segments": [[0.5, 0.9], [4.0, 4.2]]}
    (sample,) = Manifest.avdeepfake1m(lay_out(tmp_path, [far])).samples
    assert sample.fake_periods == (Interval(0.48, 0.9), Interval(4.0, 4.2))


def test_null_fields_and_absent_sound_are_accepted(tmp_path: Path) -> None:
    nulls = dict.fromkeys(("original", "fake_segments", "audio_fake_segments", "visual_fake_segments"))
    silent = row("fake", "visual_modified", audio_frames=0, video_model="diff2lip", **nulls)
    (sample,) = Manifest.load("avdeepfake1m++", lay_out(tmp_path, [silent])).samples
    assert (sample.fake_periods, sample.original, sample.audio_frames) == ((), None, 0)
    assert sample.label == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modify_type": "both-modified"}, "modify_type 'both-modified' is not one of real, visual_modified"),
        ({"fake_segments": [[2.0, 1.0]]}, "ends before it starts"),
        ({"fake_segments": [[-0.1, 1.0]]}, "is not a time"),
        ({"fake_segments": [[0.0, float("nan")]]}, "is not a time"),
        ({"fake_segments": [[0.0, "1"]]}, "is not a number"),
        ({"fake_segments": 3}, "is not a list"),
        ({"video_frames": -1}, "is not a count"),
        ({"video_frames": 2.5}, "is not a count"),
        ({"audio_frames": True}, "is not a count"),
        ({"file": "../x.mp4"}, "leaves the data set"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    lay_out(tmp_path, [REAL, AUDIO])
    (tmp_path / "train_metadata.json").write_text(json.dumps([REAL, AUDIO | change]))
    with pytest.raises(InputError, match=f"entry 1 cannot be read .*{message}") as caught:
        Manifest.avdeepfake1m(tmp_path)
    assert caught.value.path == tmp_path / "train_metadata.json"


@pytest.mark.parametrize("field", ["file", "modify_type", "video_frames"])
def test_absent_fields_are_named(tmp_path: Path, field: str) -> None:
    lay_out(tmp_path, [REAL])
    less = {name: value for name, value in REAL.items() if name != field}
    (tmp_path / "train_metadata.json").write_text(json.dumps([less]))
    with pytest.raises(InputError, match=f"entry 0 has no field '{field}'"):
        Manifest.avdeepfake1m(tmp_path)


# --- test parts -----------------------------------------------------------------------------------------------


def test_test_clips_have_no_label(tmp_path: Path) -> None:
    lay_out(tmp_path, [REAL])
    fill(tmp_path, "test", ["000000.mp4", "000001.mp4"])
    (tmp_path / "test_files.txt").write_text("000000.mp4\n\n000001.mp4\r\n")
    manifest = Manifest.avdeepfake1m(tmp_path)
    assert [(s.file.as_posix(), s.label, s.duration_s) for s in manifest.samples if s.split == "test"] == [
        ("test/000000.mp4", None, 0.0),
        ("test/000001.mp4", None, 0.0),
    ]
    with pytest.raises(UsageError, match="no video-level label"):
        manifest.weak("test")


def test_the_two_test_parts_of_plusplus_are_one_split(tmp_path: Path) -> None:
    for part in ("testA", "testB"):
        fill(tmp_path, part, ["000000.mp4"])
        (tmp_path / f"{part}_files.txt").write_text("000000.mp4\n")
    samples = Manifest.load("avdeepfake1m++", tmp_path).samples
    assert [(s.split, s.file.as_posix()) for s in samples] == [
        ("test", "testA/000000.mp4"),
        ("test", "testB/000000.mp4"),
    ]


def test_lists_of_test_files_are_checked(tmp_path: Path) -> None:
    fill(tmp_path, "test", ["000000.mp4"])
    (tmp_path / "test_files.txt").write_text("000000.mp4\n/etc/passwd\n")
    with pytest.raises(InputError, match=r"entry 1 cannot be read .*leaves the data set"):
        Manifest.avdeepfake1m(tmp_path)
    (tmp_path / "test_files.txt").write_bytes(b"\xff\n")
    with pytest.raises(InputError, match="not readable as text"):
        Manifest.avdeepfake1m(tmp_path)


# --- one JSON per clip ----------------------------------------------------------------------------------------


def write_sidecars(folder: Path, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        path = (folder / row["file"]).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(row))


@pytest.mark.parametrize(("dataset", "folder"), [("avdeepfake1m", "val_metadata"), ("avdeepfake1m++", "val")])
def test_without_the_list_one_json_per_clip_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, dataset: Any, folder: str
) -> None:
    lay_out(tmp_path, [REAL, AUDIO], "val")
    expected = Manifest.load(dataset, tmp_path).samples
    (tmp_path / "val_metadata.json").unlink()
    write_sidecars(tmp_path / folder, [REAL, AUDIO])
    assert Manifest.load(dataset, tmp_path).samples == expected
    assert "reading 2 small files instead" in caplog.text


def test_beside_the_list_small_files_are_not_read(tmp_path: Path) -> None:
    lay_out(tmp_path, [REAL])
    write_sidecars(tmp_path / "train_metadata", [REAL | {"modify_type": "nonsense"}])
    assert len(Manifest.avdeepfake1m(tmp_path).samples) == 1


def test_damaged_and_repeated_small_files_are_named(tmp_path: Path) -> None:
    fill(tmp_path, "train", [REAL["file"]])
    write_sidecars(tmp_path / "train_metadata", [REAL])
    (tmp_path / "train_metadata/again.json").write_text(json.dumps(REAL))
    with pytest.raises(InputError, match="as another file does"):
        Manifest.avdeepfake1m(tmp_path)
    (tmp_path / "train_metadata/again.json").write_text("{")
    with pytest.raises(InputError, match="not readable as JSON") as caught:
        Manifest.avdeepfake1m(tmp_path)
    assert caught.value.path == tmp_path / "train_metadata/again.json"


# --- roots that are wrong or not wholly there ------------------------------------------------------------------


def test_one_part_alone_is_enough(tmp_path: Path) -> None:
    samples = Manifest.avdeepfake1m(lay_out(tmp_path, [REAL, BOTH], "val")).samples
    assert {sample.split for sample in samples} == {"dev"}


def test_a_list_without_its_folder_is_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, [REAL], "val")
    (tmp_path / "train_metadata.json").write_text(json.dumps([REAL]))
    with pytest.raises(InputError, match=r"lists the clips of train/.*or move train_metadata.json away"):
        Manifest.avdeepfake1m(tmp_path)


def test_a_folder_that_is_not_unpacked_is_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, [REAL])
    shutil.rmtree(tmp_path / "train/id00012")
    (tmp_path / "train/train.zip.001").write_bytes(b"volume")
    with pytest.raises(InputError, match="missing or empty; unpack every volume") as caught:
        Manifest.avdeepfake1m(tmp_path)
    assert caught.value.path == tmp_path / "train"
    assert f"so that {tmp_path}/train/{CLIP}/real.mp4 is there" in caught.value.fix


def test_clips_without_their_list_are_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, [REAL], "val")
    fill(tmp_path, "test", ["000000.mp4"])
    with pytest.raises(InputError, match=r"holds clips, but test_files.txt is not beside it"):
        Manifest.avdeepfake1m(tmp_path)


def test_clips_one_folder_too_deep_are_found_out(tmp_path: Path) -> None:
    lay_out(tmp_path, [REAL])
    (tmp_path / "train").rename(tmp_path / "inner")
    (tmp_path / "train").mkdir()
    (tmp_path / "inner").rename(tmp_path / "train/train")
    with pytest.raises(InputError, match="one folder too deep") as caught:
        Manifest.avdeepfake1m(tmp_path)
    assert f"move what {tmp_path}/train/train holds to {tmp_path}/train" in caught.value.fix


def test_clips_that_were_unpacked_into_the_root_are_found_out(tmp_path: Path) -> None:
    lay_out(tmp_path, [REAL])
    (tmp_path / "train/id00012").rename(tmp_path / "id00012")
    with pytest.raises(InputError, match=f"lie in {tmp_path} itself: move them into {tmp_path}/train"):
        Manifest.avdeepfake1m(tmp_path)


@pytest.mark.parametrize("dataset", ["avdeepfake1m", "avdeepfake1m++"])
def test_wrong_roots_are_refused_with_the_way_out(tmp_path: Path, dataset: Any) -> None:
    root = lay_out(tmp_path / "set", [REAL])
    with pytest.raises(InputError, match="no such folder"):
        Manifest.load(dataset, tmp_path / "gone")
    with pytest.raises(InputError, match=f"the folder set in it has one: give {root}"):
        Manifest.load(dataset, tmp_path)
    with pytest.raises(InputError, match=f"its parent has one: give {root}"):
        Manifest.load(dataset, root / "train")
    (tmp_path / "lavdf").mkdir()
    (tmp_path / "lavdf/metadata.min.json").write_text("[]")
    with pytest.raises(InputError, match="try --layout lavdf"):
        Manifest.load(dataset, tmp_path / "lavdf")
    with pytest.raises(InputError, match="try --layout avdeepfake1m"):
        Manifest.lavdf(root)
    (tmp_path / "empty/deep").mkdir(parents=True)
    with pytest.raises(InputError, match=r"has none of train_metadata.json.*download the lists"):
        Manifest.load(dataset, tmp_path / "empty/deep")


def test_metadata_is_told_whether_or_not_the_clips_are_there(tmp_path: Path) -> None:
    lay_out(tmp_path, [REAL, AUDIO])
    (tmp_path / "train" / AUDIO["file"]).unlink()
    assert len(read_metadata("avdeepfake1m", tmp_path)) == 2
    manifest = Manifest.avdeepfake1m(tmp_path)
    assert [sample.label for sample in manifest.samples] == [0]
    assert manifest.missing == (Path("train") / AUDIO["file"],)
