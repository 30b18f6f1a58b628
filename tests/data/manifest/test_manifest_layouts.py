"""Layouts of FakeAVCeleb, DFDC, FaceForensics++, PartialSpoof and DeepSpeak, from folders made here."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import layouts
import numpy as np
import pytest

from data.arrays import read_arrays, write_arrays
from data.errors import InputError, UsageError
from data.manifest import DatasetName, Manifest, detect_layout, refuse_unlocated
from data.manifest.partialspoof import segment_labels
from data.timeline import Interval

Build = Callable[[Path], Path]

SETS: dict[DatasetName, tuple[Build, dict[str, tuple[int, str]]]] = {
    "fakeavceleb": (
        layouts.fakeavceleb,
        {
            "RealVideo-RealAudio/African/men/id1/00109.mp4": (0, "test"),
            "FakeVideo-RealAudio/African/men/id1/00109.mp4": (1, "test"),
            "RealVideo-FakeAudio/African/men/id1/00109.mp4": (2, "test"),
            "FakeVideo-FakeAudio/African/men/id1/00109.mp4": (3, "test"),
        },
    ),
    "dfdc": (
        layouts.dfdc,
        {
            "dfdc_train_part_0/b.mp4": (1, "train"),
            "dfdc_train_part_1/a.mp4": (0, "train"),
            "test/c.mp4": (0, "test"),
            "test/d.mp4": (1, "test"),
        },
    ),
    "faceforensics++": (
        layouts.faceforensics,
        {
            "original_sequences/youtube/c23/videos/000.mp4": (0, "train"),
            "original_sequences/youtube/c23/videos/720.mp4": (0, "dev"),
            "original_sequences/youtube/c23/videos/953.mp4": (0, "test"),
            "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4": (1, "train"),
            "manipulated_sequences/Deepfakes/c23/videos/720_672.mp4": (1, "dev"),
            "manipulated_sequences/Deepfakes/c23/videos/953_974.mp4": (1, "test"),
            "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__walk__ABC.mp4": (1, "test"),
        },
    ),
    "partialspoof": (
        layouts.partialspoof,
        {"eval/con_wav/LA_E_1.wav": (0, "test"), "eval/con_wav/CON_E_2.wav": (2, "test")},
    ),
    "deepspeak": (
        layouts.deepspeak,
        {
            "deepspeak-v2-0/11-1.mp4": (0, "train"),
            "deepspeak-v2-0/a.mp4": (1, "train"),
            "deepspeak-v2-0/b.mp4": (3, "test"),
        },
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_clips_have_the_label_and_split_of_the_lists(name: DatasetName, tmp_path: Path) -> None:
    build, expected = SETS[name]
    assert detect_layout(build(tmp_path)) == name
    manifest = Manifest.load(name, tmp_path)
    assert {s.file.as_posix(): (s.label, s.split) for s in manifest.samples} == expected
    assert (manifest.missing, manifest.unlisted) == ((), ())


@pytest.mark.parametrize("name", [name for name in SETS if name != "partialspoof"])
def test_video_level_labels_are_no_intervals(name: DatasetName, tmp_path: Path) -> None:
    samples = Manifest.load(name, SETS[name][0](tmp_path)).samples
    assert not any(sample.located or sample.fake_periods for sample in samples)
    with pytest.raises(UsageError, match=r"have a video-level label only, first .*intervals are not known"):
        refuse_unlocated(tmp_path, samples)


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("dfdc", "test/d.mp4"),
        ("deepspeak", "deepspeak-v2-0/b.mp4"),
        ("partialspoof", "eval/con_wav/LA_E_1.wav"),
    ],
)
def test_an_absent_clip_is_missing_and_no_error(name: DatasetName, gone: str, tmp_path: Path) -> None:
    SETS[name][0](tmp_path)
    (tmp_path / gone).unlink()
    manifest = Manifest.load(name, tmp_path)
    assert manifest.missing == (Path(gone),)
    assert len(manifest.samples) == len(SETS[name][1]) - 1


@pytest.mark.parametrize("name", SETS)
def test_a_root_without_lists_says_what_to_give(name: DatasetName, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has (no|neither) .*; "):
        Manifest.load(name, tmp_path)


@pytest.mark.parametrize("genuine", ["0", "1"])
def test_the_authentic_digit_is_that_of_authentic_utterances(genuine: str, tmp_path: Path) -> None:
    layouts.partialspoof(tmp_path, genuine)
    authentic, forged = Manifest.load("partialspoof", tmp_path).samples
    assert (authentic.fake_periods, forged.fake_periods) == ((), (Interval(0.1, 0.16),))
    assert forged.duration_s == 0.32
    assert forged.located
    coarse = segment_labels(tmp_path, "eval", "0.16")
    assert coarse["CON_E_2"].tolist() == [True, False]


def test_partialspoof_without_segment_labels_is_not_located(tmp_path: Path) -> None:
    samples = Manifest.load("partialspoof", layouts.partialspoof(tmp_path, resolutions=())).samples
    assert not any(sample.located for sample in samples)


def test_segment_labels_that_contradict_the_protocol_are_refused(tmp_path: Path) -> None:
    layouts.partialspoof(tmp_path, resolutions=())
    mixed = {"LA_E_1": np.array(["1", "0"]), "CON_E_2": np.array(["1", "0"])}
    write_arrays(tmp_path / "segment_labels" / "eval_seglab_0.16.npy", mixed)
    with pytest.raises(InputError, match="the protocol calls bonafide"):
        Manifest.load("partialspoof", tmp_path)


def test_arrays_come_back_and_numpy_reads_them_too(tmp_path: Path) -> None:
    held = {"a": np.array(["0", "1"]), "b": np.array([0.5, 0.25])}
    write_arrays(tmp_path / "held.npy", held)
    for found in (
        read_arrays(tmp_path / "held.npy"),
        np.load(tmp_path / "held.npy", allow_pickle=True).item(),
    ):
        assert {name: array.tolist() for name, array in found.items()} == {"a": ["0", "1"], "b": [0.5, 0.25]}


class _Program:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, (Path("ran-what-it-held"),)  # type: ignore[return-value]


def test_a_program_in_an_array_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "bad.npy", np.array({"a": _Program()}, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="it calls"):
        read_arrays(tmp_path / "bad.npy")
    assert not (tmp_path / "ran-what-it-held").exists()
    (tmp_path / "short.npy").write_bytes((tmp_path / "bad.npy").read_bytes()[:90])
    (tmp_path / "plain.npy").write_bytes(pickle.dumps({}))
    for name in ("short.npy", "plain.npy", "absent.npy"):
        with pytest.raises(InputError, match="cannot be read as a dictionary of arrays"):
            read_arrays(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "words"),
    [
        (
            "fakeavceleb",
            "meta_data.csv",
            "RealVideo-RealAudio,Af",
            "Odd,Af",
            "entry 0 .*type 'Odd' is not one of",
        ),
        ("fakeavceleb", "meta_data.csv", "FakeAVCeleb/Real", "../Real", "leaves the data set"),
        ("dfdc", "dfdc_train_part_0/metadata.json", "FAKE", "MAYBE", "'MAYBE' is neither REAL nor FAKE"),
        ("dfdc", "test/labels.csv", "d.mp4,1", "d.mp4,2", "entry 1.*'2' is neither 0 nor 1"),
        ("faceforensics++", "val.json", "720", "999", "720_672.mp4: is in none of the lists of splits"),
        ("deepspeak", "annotations-split-def.csv", "12,test", "13,test", "identity '12' is not in"),
        ("deepspeak", "annotations-fake.csv", "audio-config", "sound", "line 1 has no column audio-config"),
    ],
)
def test_a_damaged_list_is_named_with_its_entry(
    name: DatasetName, file: str, old: str, new: str, words: str, tmp_path: Path
) -> None:
    SETS[name][0](tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    with pytest.raises(InputError, match=words):
        Manifest.load(name, tmp_path)
