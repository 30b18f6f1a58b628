"""LAV-DF's layout in and out, what disagrees between metadata and files, and plain folders."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from data.errors import InputError, UsageError
from data.manifest import Manifest, Sample, WeakSample, write_lavdf
from data.timeline import Interval

# The sample that LAV-DF's authors published, and a forged one of the same form.
PUBLISHED: dict[str, Any] = {
    "file": "test/000000.mp4",
    "n_fakes": 0,
    "fake_periods": [],
    "duration": 4.672,
    "original": None,
    "modify_video": False,
    "modify_audio": False,
    "split": "test",
    "video_frames": 115,
    "audio_channels": 1,
    "audio_frames": 72704,
}
FORGED = PUBLISHED | {
    "file": "train/000001.mp4",
    "n_fakes": 2,
    "fake_periods": [[0.4, 1.2], [3.0, 3.52]],
    "original": "test/000000.mp4",
    "modify_video": True,
    "split": "train",
}


def lay_out(root: Path, rows: list[dict[str, Any]], name: str = "metadata.min.json") -> Path:
    for row in rows:
        path = root / row["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"media")
    (root / name).write_text(json.dumps(rows))
    return root


# --- reading --------------------------------------------------------------------------------------------------


def test_rows_become_samples(tmp_path: Path) -> None:
    manifest = Manifest.lavdf(lay_out(tmp_path, [PUBLISHED, FORGED]))
    real, forged = manifest.samples
    assert real == Sample(Path("test/000000.mp4"), 0, "test", (), 4.672, None, 115, 72704)
    assert forged.label == 1
    assert forged.fake_periods == (Interval(0.4, 1.2), Interval(3.0, 3.52))
    assert forged.original == Path("test/000000.mp4")
    assert (manifest.missing, manifest.unlisted) == ((), ())


@pytest.mark.parametrize(
    ("video", "audio", "label"), [(False, False, 0), (True, False, 1), (False, True, 2), (True, True, 3)]
)
def test_label_is_modify_video_plus_twice_modify_audio(
    tmp_path: Path, video: bool, audio: bool, label: int
) -> None:
    row = PUBLISHED | {"modify_video": video, "modify_audio": audio}
    assert Manifest.lavdf(lay_out(tmp_path, [row])).samples[0].label == label


def test_short_metadata_is_preferred_and_long_is_enough(tmp_path: Path) -> None:
    lay_out(tmp_path, [PUBLISHED], "metadata.json")
    assert len(Manifest.lavdf(tmp_path).samples) == 1
    lay_out(tmp_path, [PUBLISHED, FORGED])
    assert len(Manifest.lavdf(tmp_path).samples) == 2


def test_fields_that_are_unknown_or_may_be_absent_do_no_harm(tmp_path: Path) -> None:
    row = {k: v for k, v in PUBLISHED.items() if k not in ("fake_periods", "video_frames", "original")}
    sample = Manifest.lavdf(lay_out(tmp_path, [row | {"transcript": "hello"}])).samples[0]
    assert (sample.fake_periods, sample.video_frames, sample.original) == ((), 0, None)


def test_files_without_rows_and_rows_without_files_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay_out(tmp_path, [PUBLISHED, FORGED, FORGED | {"file": "train/000002.mp4"}])
    (tmp_path / "train/000001.mp4").unlink()
    (tmp_path / "test/999999.mp4").write_bytes(b"media")
    (tmp_path / "test/notes.txt").write_text("no media")
    (tmp_path / "test/.hidden.mp4").write_bytes(b"no media")
    manifest = Manifest.lavdf(tmp_path)
    assert [s.file.name for s in manifest.samples] == ["000000.mp4", "000002.mp4"]
    assert manifest.missing == (Path("train/000001.mp4"),)
    assert manifest.unlisted == (Path("test/999999.mp4"),)
    assert "1 of 3 clips are missing, first train/000001.mp4" in caplog.text
    assert "1 files have no metadata" in caplog.text


def test_half_unpacked_root_is_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, [PUBLISHED, FORGED])
    (tmp_path / "train/000001.mp4").unlink()
    with pytest.raises(InputError, match="missing or empty; unpack every volume") as caught:
        Manifest.lavdf(tmp_path)
    assert caught.value.path == tmp_path / "train"
    (tmp_path / "train").rmdir()
    with pytest.raises(InputError, match="missing or empty"):
        Manifest.lavdf(tmp_path)


def test_root_with_none_of_the_clips_is_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, [PUBLISHED])
    (tmp_path / "test/000000.mp4").rename(tmp_path / "test/other.mp4")
    with pytest.raises(InputError, match="none of the clips"):
        Manifest.lavdf(tmp_path)


def test_wrong_roots_are_refused_with_the_way_out(tmp_path: Path) -> None:
    lay_out(tmp_path / "LAV-DF", [PUBLISHED])
    with pytest.raises(InputError, match="no such folder"):
        Manifest.lavdf(tmp_path / "gone")
    with pytest.raises(InputError, match=r"neither metadata.min.json nor metadata.json"):
        Manifest.lavdf(tmp_path)
    with pytest.raises(InputError, match=f"the folder LAV-DF in it has one: give {tmp_path / 'LAV-DF'}"):
        Manifest.lavdf(tmp_path)
    with pytest.raises(InputError, match=f"its parent has one: give {tmp_path / 'LAV-DF'}"):
        Manifest.lavdf(tmp_path / "LAV-DF" / "test")


@pytest.mark.parametrize("content", ["", "[{", "{}", "[]", '"x"', "\xff"])
def test_damaged_metadata_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "metadata.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match="download it again"):
        Manifest.lavdf(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "val"}, "split 'val' is not one of train, dev, test"),
        ({"modify_video": 1}, "must be true or false"),
        ({"modify_audio": "false"}, "must be true or false"),
        ({"fake_periods": [[2.0, 1.0]]}, "ends before it starts"),
        ({"fake_periods": [[-0.5, 1.0]]}, "fake_periods -0.5 is not a time"),
        ({"fake_periods": [[0.5, float("nan")]]}, "fake_periods nan is not a time"),
        ({"duration": float("inf")}, "duration inf is not a time"),
        ({"duration": -1.0}, "duration -1.0 is not a time"),
        ({"video_frames": "115"}, "video_frames '115' is not a count"),
        ({"fake_periods": [[1.0]]}, "entry 0 cannot be read"),
        ({"fake_periods": [1.0, 2.0]}, "entry 0 cannot be read"),
        ({"duration": None}, "entry 0 cannot be read"),
        ({"file": "../elsewhere.mp4"}, "leaves the data set"),
        ({"file": "/etc/passwd"}, "leaves the data set"),
        ({"file": ""}, "leaves the data set"),
        ({"file": 7}, "entry 0 cannot be read"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / "metadata.json").write_text(json.dumps([PUBLISHED | change]))
    with pytest.raises(InputError, match=message):
        Manifest.lavdf(tmp_path)


@pytest.mark.parametrize("field", ["file", "split", "modify_video", "modify_audio", "duration"])
def test_absent_fields_are_named(tmp_path: Path, field: str) -> None:
    row = {k: v for k, v in PUBLISHED.items() if k != field}
    (tmp_path / "metadata.json").write_text(json.dumps([row]))
    with pytest.raises(InputError, match=f"entry 0 has no field '{field}'"):
        Manifest.lavdf(tmp_path)


def test_rows_that_are_no_objects_and_repeated_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metadata.json").write_text("[7]")
    with pytest.raises(InputError, match="entry 0"):
        Manifest.lavdf(tmp_path)
    lay_out(tmp_path, [PUBLISHED, PUBLISHED])
    with pytest.raises(InputError, match=r"lists test/000000.mp4 more than once"):
        Manifest.lavdf(tmp_path)


# --- weak labels ----------------------------------------------------------------------------------------------


def test_weak_samples_have_no_field_for_intervals() -> None:
    assert [field.name for field in dataclasses.fields(WeakSample)] == ["file", "label"]


def test_weak_view_holds_one_split(tmp_path: Path) -> None:
    manifest = Manifest.lavdf(lay_out(tmp_path, [PUBLISHED, FORGED]))
    assert manifest.weak("train") == (WeakSample(Path("train/000001.mp4"), 1),)
    assert manifest.weak("test") == (WeakSample(Path("test/000000.mp4"), 0),)
    assert manifest.weak("dev") == ()


def test_weak_view_of_clips_without_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(UsageError, match="no video-level label"):
        Manifest.folder(tmp_path).weak("")


# --- writing --------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    samples = [
        Sample(Path("train/000000.mp4"), 0, "train", (), 4.672, None, 115, 72704),
        Sample(
            Path("dev/000001.mp4"), 3, "dev", (Interval(0.04, 0.6),), 2.0, Path("train/000000.mp4"), 50, 32000
        ),
    ]
    for sample in samples:
        (tmp_path / sample.file).parent.mkdir(exist_ok=True)
        (tmp_path / sample.file).touch()
    write_lavdf(tmp_path, samples)
    assert Manifest.lavdf(tmp_path).samples == tuple(samples)


def test_both_files_have_the_published_fields(tmp_path: Path) -> None:
    sample = Sample(Path("test/000000.mp4"), 0, "test", (), 4.672, None, 115, 72704)
    words = {sample.file: [("hello", Interval(0.1, 1 / 3)), ("world", Interval(0.5, 0.9))]}
    write_lavdf(tmp_path, [sample], words)
    assert json.loads((tmp_path / "metadata.min.json").read_text()) == [PUBLISHED]
    timestamps = [["hello", 0.1, 0.333333], ["world", 0.5, 0.9]]
    full = PUBLISHED | {"timestamps": timestamps, "transcript": "hello world"}
    assert json.loads((tmp_path / "metadata.json").read_text()) == [full]


def test_without_transcripts_their_fields_are_empty(tmp_path: Path) -> None:
    write_lavdf(tmp_path, [Sample(Path("test/000000.mp4"), 2, "test", (Interval(0, 1),))])
    (row,) = json.loads((tmp_path / "metadata.json").read_text())
    assert (row["timestamps"], row["transcript"], row["n_fakes"]) == ([], "", 1)
    assert (row["modify_video"], row["modify_audio"]) == (False, True)


def test_samples_without_label_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no video-level label"):
        write_lavdf(tmp_path, [Sample(Path("a.mp4"), None, "train")])
    assert list(tmp_path.iterdir()) == []


# --- plain folders --------------------------------------------------------------------------------------------


def test_folder_is_searched_sorted_and_by_ending(tmp_path: Path) -> None:
    for name in ("b.MP4", "a/z.mkv", "a/y.wav", "a/readme.txt", ".cache/x.mp4", ".x.mp4", "a/b/c.webm"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    manifest = Manifest.folder(tmp_path)
    assert [s.file.as_posix() for s in manifest.samples] == ["a/b/c.webm", "a/y.wav", "a/z.mkv", "b.MP4"]
    assert {s.label for s in manifest.samples} == {None}


def test_folders_without_media_are_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    with pytest.raises(InputError, match=r"contains no media file.*\.mp4"):
        Manifest.folder(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        Manifest.folder(tmp_path / "readme.txt")
