"""Whether a data set is complete: every fault on a small set that is otherwise whole, and the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import media_factory
import pytest
from sidecar_factory import sidecar_row, write_rows

from data.labels import CLASSES
from data.labels import CLASSES as MODEL_CLASSES
from data.manifest import Sample, write_lavdf
from data.timeline import Interval
from pipeline.datasets import check as module
from pipeline.datasets.check import Problem, check, to_json

FRAMES, LENGTH_S = 20, 0.8
SPLITS = ("train", "train", "dev", "test")
SAMPLES = tuple(
    Sample(
        Path(f"{split}/{k:06d}.mp4"),
        label=k,
        split=split,
        fake_periods=(Interval(0.2, 0.6),) if k else (),
        duration_s=LENGTH_S,
        video_frames=FRAMES,
        audio_frames=12_800,
    )
    for k, split in enumerate(SPLITS)
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    return media_factory.write(folder / "clip.mp4", n=FRAMES, audio_seconds=LENGTH_S).path


@pytest.fixture
def root(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole data set of four clips, with figures of its own published for LAV-DF."""
    monkeypatch.setitem(module.PUBLISHED, "lavdf", {"train": 2, "dev": 1, "test": 1})  # type: ignore[arg-type]
    monkeypatch.setattr(module, "LAVDF_REAL", 1)
    return lay_out(tmp_path / "set", clip)


def lay_out(root: Path, clip: Path, samples: tuple[Sample, ...] = SAMPLES) -> Path:
    for sample in samples:
        (root / sample.file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, root / sample.file)
    write_lavdf(root, samples)
    return root


def volumes(root: Path, *numbers: int) -> None:
    for number in numbers:
        (root / f"LAV-DF.zip.{number:03d}").write_bytes(b"volume")


def whats(found: Any, level: str) -> list[str]:
    return [finding.what for finding in found.findings if finding.level == level]


# --- verdicts -------------------------------------------------------------------------------------------------


def test_a_whole_set_is_complete(root: Path) -> None:
    found = check("lavdf", root)
    assert (found.verdict, found.exit_code, found.findings) == ("complete", 0, ())
    assert found.counts == {
        ("train", "real"): 1,
        ("train", "visual"): 1,
        ("dev", "audio"): 1,
        ("test", "both"): 1,
    }
    assert (found.present, found.looked_into) == (4, 4)


def test_classes_are_those_of_the_model() -> None:
    assert CLASSES == MODEL_CLASSES


def test_the_published_figures_add_up() -> None:
    totals = {name: sum(parts.values()) for name, parts in module.PUBLISHED.items()}
    # 36,431 + 99,873 clips of LAV-DF; 286,721 + 860,039 of AV-Deepfake1M, as their papers give them.
    assert totals["lavdf"] == 36_431 + 99_873
    assert totals["avdeepfake1m"] == 286_721 + 860_039


def test_absent_clips_make_it_incomplete(root: Path) -> None:
    (root / "train/000001.mp4").unlink()
    found = check("lavdf", root)
    assert found.verdict == "incomplete: 1 of 4 clips are missing"
    assert found.exit_code == 4
    assert (found.missing, found.present) == (("train/000001.mp4",), 3)


def test_a_part_that_is_not_unpacked_makes_it_unusable(root: Path) -> None:
    shutil.rmtree(root / "dev")
    volumes(root, 1, 2, 3)
    found = check("lavdf", root)
    assert found.exit_code == 3
    assert found.verdict == f"unusable: {root}/dev: is listed in the metadata but missing or empty"
    hint = Problem("note", "3 volumes of LAV-DF.zip are present but not, or not fully, unpacked",
                   f"7z x {root}/LAV-DF.zip.001")  # fmt: skip
    assert hint in found.findings


def test_metadata_that_cannot_be_used_makes_it_unusable(root: Path) -> None:
    (root / "metadata.min.json").write_text('[{"file": "train/000000.mp4"}]')
    found = check("lavdf", root)
    assert found.exit_code == 3
    assert (
        found.verdict
        == f"unusable: {root}/metadata.min.json: entry 0 (train/000000.mp4) has no field 'split'"
    )
    (root / "metadata.min.json").write_text((root / "metadata.json").read_text()[:200])
    assert "cut off or damaged after 0 entries" in check("lavdf", root).verdict


@pytest.mark.parametrize("where", ["parent", "child"])
def test_wrong_roots_are_pointed_to_the_right_one(root: Path, where: str) -> None:
    found = check("lavdf", root.parent if where == "parent" else root / "train")
    assert found.exit_code == 3
    assert found.findings[0].fix.endswith(f"has one: give {root}")


def test_a_volume_that_was_not_downloaded_is_named(root: Path) -> None:
    (root / "train/000001.mp4").unlink()
    volumes(root, 1, 2, 4)
    (finding,) = (f for f in check("lavdf", root).findings if "volumes" in f.what)
    assert finding.level == "incomplete"
    assert finding.examples == ("LAV-DF.zip.003",)
    assert finding.fix == f"download them, then: 7z x {root}/LAV-DF.zip.001"


def test_leftovers_of_a_complete_set_are_only_noted(root: Path) -> None:
    volumes(root, 1, 2, 4)
    (root / "LAV-DF.zip.005.aria2").touch()
    found = check("lavdf", root)
    assert found.verdict == "complete"
    assert whats(found, "note") == [
        "LAV-DF.zip.005.aria2 is a download that has not finished",
        "3 volumes of LAV-DF.zip (0.0 GB) remain",
    ]


# --- figures --------------------------------------------------------------------------------------------------


def test_fewer_clips_than_published_make_it_incomplete(root: Path, clip: Path) -> None:
    write_lavdf(root, SAMPLES[1:])
    found = check("lavdf", root)
    assert found.verdict == "incomplete: the metadata lists 1 clips of train, published are 2"
    assert found.unlisted == ("train/000000.mp4",)


def test_a_part_without_metadata_makes_it_incomplete(root: Path) -> None:
    write_lavdf(root, SAMPLES[:3])
    assert check("lavdf", root).verdict == "incomplete: test is not there (1 clips)"


def test_another_share_of_real_clips_makes_it_incomplete(root: Path) -> None:
    write_lavdf(root, [replace(SAMPLES[0], label=1), *SAMPLES[1:]])
    assert whats(check("lavdf", root), "incomplete") == ["the metadata lists 0 real clips, published are 1"]


def test_as_many_files_without_metadata_as_are_known_are_told_apart(
    root: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(clip, root / "train/000009.mp4")
    assert whats(check("lavdf", root), "note") == ["1 files have no metadata; they are ignored"]
    monkeypatch.setattr(module, "LAVDF_UNLISTED", 1)
    found = check("lavdf", root)
    assert whats(found, "note") == [
        "1 files have no metadata, as many as LAV-DF is known to have; they are ignored"
    ]
    assert found.exit_code == 0


def test_a_set_of_ones_own_is_held_against_its_sidecar_only(root: Path) -> None:
    write_lavdf(root, SAMPLES[:3])
    write_rows(root, [sidecar_row(s.file.as_posix()) for s in SAMPLES[:3]])
    found = check("lavdf", root)
    assert (found.verdict, found.published) == ("complete", {})
    write_rows(root, [sidecar_row(s.file.as_posix()) for s in SAMPLES])
    assert check("lavdf", root).verdict == "incomplete: forgeries.json and the metadata differ in 1 clips"
    for damage in ("[", "[7]", "[{}]"):
        (root / "forgeries.json").write_text(damage)
        assert check("lavdf", root).verdict.startswith("incomplete: forgeries.json cannot be read")


# --- files ----------------------------------------------------------------------------------------------------


def test_empty_cut_and_foreign_files_are_found_without_decoding(root: Path) -> None:
    (root / "train/000000.mp4").write_bytes(b"")
    whole = (root / "dev/000002.mp4").read_bytes()
    (root / "dev/000002.mp4").write_bytes(whole[: len(whole) // 2])
    (root / "test/000003.mp4").write_bytes(b"<html>quota exceeded</html>")
    found = check("lavdf", root)
    assert found.verdict == "incomplete: 3 of 4 inspected files are damaged"
    assert list(found.broken) == ["dev/000002.mp4", "test/000003.mp4", "train/000000.mp4"]
    assert found.broken["train/000000.mp4"] == "is empty (0 bytes)"
    assert "cut off" in found.broken["dev/000002.mp4"]
    assert "not an MP4 file" in found.broken["test/000003.mp4"]


def test_links_to_clips_are_clips(root: Path) -> None:
    path = root / "train/000000.mp4"
    path.unlink()
    path.symlink_to(root / "train/000001.mp4")
    assert check("lavdf", root).verdict == "complete"
    path.unlink()
    path.symlink_to(root / "train/gone.mp4")
    assert check("lavdf", root).missing == ("train/000000.mp4",)


def test_the_sample_is_the_same_every_time_and_no_larger_than_asked(root: Path, clip: Path) -> None:
    many = tuple(replace(SAMPLES[1], file=Path(f"train/{k:06d}.mp4")) for k in range(60))
    for sample in many:
        (root / sample.file).touch()
    write_lavdf(root, many)
    first, second = check("lavdf", root, sample=20), check("lavdf", root, sample=20)
    assert first.looked_into == len(first.broken) == 20
    assert first.broken == second.broken
    assert list(first.broken) != [sample.file.as_posix() for sample in many[:20]]
    assert first.findings[-1].fix.endswith("inspect all with --sample 0")
    assert check("lavdf", root, sample=0).looked_into == 60


def test_progress_is_reported(root: Path) -> None:
    calls: list[tuple[Any, ...]] = []
    check("lavdf", root, hook=lambda *call: calls.append(call))
    assert calls == [("read metadata",), ("compare with files",), ("inspect files", 4, 4)]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"duration_s": 1.4}, "1 inspected files are more than 0.5 s longer or shorter than listed"),
        ({"video_frames": 33}, "1 inspected files are more than 0.5 s longer or shorter than listed"),
        ({"fake_periods": (Interval(0.2, 1.01),)}, "1 clips have an interval that ends more than 0.2 s"),
        ({"label": 0}, "1 clips are real with forged intervals, or forged without any"),
        ({"fake_periods": ()}, "1 clips are real with forged intervals, or forged without any"),
    ],
)
def test_doubts_are_noted(root: Path, change: dict[str, Any], note: str) -> None:
    write_lavdf(root, [SAMPLES[0], replace(SAMPLES[1], **change), *SAMPLES[2:]])
    (found,) = (f for f in check("lavdf", root).findings if f.level == "note")
    assert found.what.startswith(note)
    assert found.examples == ("train/000001.mp4",)


@pytest.mark.parametrize(
    "change",
    [{"duration_s": 1.2}, {"duration_s": 0.0}, {"video_frames": 0}, {"fake_periods": (Interval(0.2, 0.99),)}],
)
def test_inexact_lengths_are_no_doubt(root: Path, change: dict[str, Any]) -> None:
    write_lavdf(root, [SAMPLES[0], replace(SAMPLES[1], **change), *SAMPLES[2:]])
    assert check("lavdf", root).findings == ()


# --- other data sets ------------------------------------------------------------------------------------------


def avdeepfake1m(root: Path, clip: Path, part: str = "val") -> Path:
    names = {"real": "real", "fake_video_fake_audio": "both_modified"}
    rows = [
        {"file": f"id1/x/1/{name}.mp4", "modify_type": kind, "video_frames": FRAMES, "audio_frames": 12_800,
         "fake_segments": [] if kind == "real" else [[0.2, 0.6]]}
        for name, kind in names.items()
    ]  # fmt: skip
    for row in rows:
        (root / part / str(row["file"])).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, root / part / str(row["file"]))
    (root / f"{part}_metadata.json").write_text(json.dumps(rows))
    return root


def test_parts_of_avdeepfake1m_that_are_not_there_are_named_as_on_the_disk(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = check("avdeepfake1m", avdeepfake1m(tmp_path, clip))
    assert found.exit_code == 4
    assert whats(found, "incomplete") == [
        "train is not there (746,180 clips)",
        "the metadata lists 2 clips of dev (val), published are 57,340",
        "test is not there (343,240 clips)",
    ]
    monkeypatch.setitem(module.PUBLISHED, "avdeepfake1m", {"dev": 2})  # type: ignore[arg-type]
    assert check("avdeepfake1m", tmp_path).verdict == "complete"


def test_of_plusplus_only_the_validation_part_has_a_figure(tmp_path: Path, clip: Path) -> None:
    found = check("avdeepfake1m++", avdeepfake1m(tmp_path, clip))
    assert found.verdict == "incomplete: the metadata lists 2 clips of dev (val), published are 77,326"


def test_a_plain_folder_is_searched_for_damage(tmp_path: Path, clip: Path) -> None:
    shutil.copy(clip, tmp_path / "good.mp4")
    (tmp_path / "other.mkv").write_bytes(b"\x1aE\xdf\xa3 and more")
    assert check("folder", tmp_path).verdict == "complete"
    (tmp_path / "empty.wav").touch()
    (tmp_path / "zeros.webm").write_bytes(bytes(5000))
    found = check("folder", tmp_path)
    assert found.exit_code == 4
    assert found.broken == {"empty.wav": "is empty (0 bytes)", "zeros.webm": "begins with nothing but zeros"}
    assert found.counts == {("", None): 4}
    assert check("folder", tmp_path / "gone").verdict == f"unusable: {tmp_path}/gone: no such folder"


# --- the command ----------------------------------------------------------------------------------------------


def test_the_command_shows_a_table_and_ends_with_the_verdict(cli: Callable[..., Any], root: Path) -> None:
    answer = cli("data", "check", "--dataset", root)
    lines = answer.out.splitlines()
    assert answer.code == 0
    assert lines[0].split() == ["split", "real", "visual", "audio", "both", "clips", "published"]
    assert [line.split() for line in lines[1:4]] == [
        ["train", "1", "1", "0", "0", "2", "2"],
        ["dev", "0", "0", "1", "0", "1", "1"],
        ["test", "0", "0", "0", "1", "1", "1"],
    ]
    assert lines[4] == "4 clips found, 0 missing, 4 files inspected"
    assert lines[-1] == "complete"


def test_the_command_exits_with_the_verdict_and_writes_all_names(cli: Callable[..., Any], root: Path) -> None:
    (root / "train/000000.mp4").unlink()
    (root / "test/000003.mp4").write_bytes(b"")
    (root / "test/000004.mp4").write_bytes(b"")
    shutil.copy(root / "dev/000002.mp4", root / "test/000005.mp4")
    write_lavdf(root, [*SAMPLES, replace(SAMPLES[3], file=Path("test/000005.mp4"))])
    answer = cli("data", "check", "--dataset", root, "--json", "found.json", "--sample", 0)
    assert answer.code == 4
    written = json.loads(Path("found.json").read_text())
    assert written["verdict"] == answer.out.splitlines()[-1]
    assert (written["missing"], written["unlisted"]) == (["train/000000.mp4"], ["test/000004.mp4"])
    assert written["broken"] == {"test/000003.mp4": "is empty (0 bytes)"}
    assert written["clips"]["test"] == {"both": 2}
    assert (
        "incomplete: 1 of 5 clips are missing (first: train/000000.mp4); unpack the archive again"
        in answer.out
    )


def test_the_command_says_what_to_do_about_a_wrong_root(cli: Callable[..., Any], root: Path) -> None:
    answer = cli("data", "check", "--dataset", root / "dev")
    assert answer.code == 3
    assert f"its parent has one: give {root}" in answer.out
    assert cli("data", "check", "--dataset", root, "--layout", "lavd").code == 2


def test_json_of_an_unusable_set_is_complete_too(tmp_path: Path) -> None:
    written = json.loads(to_json(check("avdeepfake1m", tmp_path)))
    assert (written["exit_code"], written["clips"]) == (3, {})
    assert written["findings"][0]["level"] == "unusable"
