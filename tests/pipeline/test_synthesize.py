"""From authentic clips to a labelled data set: exact spans, one encoder for all, and no identity in two splits."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from forged_set import CONFIG, RATE, forge, stand_in_face, write_authentic
from numpy.typing import NDArray

from configs.schema import DecodeConfig, SynthesizeConfig
from data.errors import InputError
from data.manifest import Manifest
from pipeline.decode import backend
from pipeline.probe import probe
from pipeline.synthesize import find_sources, synthesize


@pytest.fixture(scope="module")
def authentic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_authentic(tmp_path_factory.mktemp("authentic"))


@pytest.fixture
def faces(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_face(monkeypatch)


def decoded(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    info = probe(path, DecodeConfig())
    frames = np.stack([frame.image for frame in backend("pyav").frames(info, None)])
    blocks = list(backend("pyav").audio(info, RATE))
    return frames, np.concatenate([block.samples for block in blocks])


@pytest.mark.usefixtures("faces")
def test_each_source_gives_one_clip_of_every_class(authentic: Path, tmp_path: Path) -> None:
    clips = forge(authentic, tmp_path)
    assert [clip.label for clip in clips] == [0, 3, 1, 2]
    assert [clip.original for clip in clips] == [None, *[clips[0].file] * 3]
    for clip in clips:
        assert (tmp_path / clip.file).is_file()
        assert {s.modality for s in clip.segments} == [set(), {"visual"}, {"audio"}, {"visual", "audio"}][
            clip.label
        ]


@pytest.mark.usefixtures("faces")
def test_pixels_and_samples_change_in_the_stated_spans_and_hardly_elsewhere(
    authentic: Path, tmp_path: Path
) -> None:
    clips = forge(authentic, tmp_path)
    source, sound = decoded(authentic / "clips" / "0.mp4")
    for clip in clips:
        frames, samples = decoded(tmp_path / clip.file)
        assert len(frames) == len(source)
        difference = np.abs(frames.astype(float) - source)[:, 52:80, 30:66].mean(axis=(1, 2, 3))  # the mouth
        n = min(len(samples), len(sound))
        noise = np.abs(samples[:n] - sound[:n])[: n // 640 * 640].reshape(-1, 640).mean(axis=1)
        for modality, change in (("visual", difference), ("audio", noise)):
            inside = np.zeros(len(change), bool)
            for segment in clip.segments:
                if segment.modality == modality:
                    inside[round(segment.start_s * 25) + 1 : round(segment.end_s * 25) - 1] = True
            if inside.any():
                near = np.convolve(inside, np.ones(9), "same") > 0
                # Encoding alone changes everything a little; a forgery changes its span several times as much.
                assert np.median(change[inside]) > 2 * np.median(change[~near])


@pytest.mark.usefixtures("faces")
def test_the_same_seed_gives_the_same_bytes(authentic: Path, tmp_path: Path) -> None:
    first, second = (forge(authentic, tmp_path / name) for name in ("a", "b"))
    for one, other in zip(first, second, strict=True):
        assert one == other
        assert (tmp_path / "a" / one.file).read_bytes() == (tmp_path / "b" / other.file).read_bytes()
    other_seed = forge(authentic, tmp_path / "c", seed=6)
    assert [clip.segments for clip in other_seed] != [clip.segments for clip in first]


@pytest.mark.usefixtures("faces")
def test_a_finished_source_is_not_made_again(authentic: Path, tmp_path: Path) -> None:
    clips = forge(authentic, tmp_path)
    before = {clip.file: (tmp_path / clip.file).stat().st_mtime_ns for clip in clips}
    assert {c.file: (tmp_path / c.file).stat().st_mtime_ns for c in forge(authentic, tmp_path)} == before
    (tmp_path / "clips" / f"{Path(clips[2].file).stem}.json").unlink()
    after = {c.file: (tmp_path / c.file).stat().st_mtime_ns for c in forge(authentic, tmp_path)}
    assert after.keys() == before.keys()
    assert after != before


def test_no_identity_is_in_two_splits(tmp_path: Path) -> None:
    for person in range(20):
        for clip in range(3):
            path = tmp_path / f"person{person}" / f"{clip}.mp4"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    sources = find_sources(tmp_path, SynthesizeConfig(train_share=0.5, dev_share=0.25), seed=1)
    splits = {source.identity: set() for source in sources}
    for source in sources:
        splits[source.identity].add(source.split)
    assert all(len(found) == 1 for found in splits.values())
    counts = [sum(found == {split} for found in splits.values()) for split in ("train", "dev", "test")]
    assert counts == [10, 5, 5]


def test_identities_come_from_the_table_then_the_folder_then_the_name(
    authentic: Path, tmp_path: Path
) -> None:
    assert [source.identity for source in find_sources(authentic, CONFIG, 0)] == [
        "anna",
        "anna",
        "ben",
        "cleo",
    ]
    (tmp_path / "dora").mkdir()
    (tmp_path / "dora" / "x.mp4").touch()
    (tmp_path / "emil.mp4").touch()
    assert {source.identity for source in find_sources(tmp_path, CONFIG, 0)} == {"dora", "emil"}


def test_a_folder_becomes_a_data_set_in_lavdf_layout(authentic: Path, tmp_path: Path) -> None:
    """Without a face in the picture: audio forgeries only, by two spawned processes."""
    steps: list[tuple[int | None, int | None]] = []
    metadata = synthesize(
        authentic, tmp_path / "set", CONFIG, seed=5, hook=lambda s, done=None, n=None: steps.append((done, n))
    )
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    manifest = Manifest.lavdf(metadata.parent)
    assert len(manifest.samples) == 16
    assert not manifest.missing
    assert not manifest.unlisted
    assert {sample.label for sample in manifest.samples} == {0, 2}
    rows = {row["file"]: row for row in json.loads((metadata.parent / "forgeries.json").read_text())}
    for sample in manifest.samples:
        segments = rows[sample.file.as_posix()]["segments"]
        assert [(p.start_s, p.end_s) for p in sample.fake_periods] == [
            (s["start_s"], s["end_s"]) for s in segments
        ]
        with av.open(str(metadata.parent / sample.file)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            assert container.streams.audio[0].codec_context.name == "aac"
            assert container.streams.video[0].frames == sample.video_frames == 60


def test_an_unreadable_clip_is_left_out_and_named(
    authentic: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "mixed"
    source.mkdir()
    (source / "good.mp4").write_bytes((authentic / "clips" / "2.mp4").read_bytes())
    (source / "bad.mp4").write_bytes(b"not a video")
    metadata = synthesize(source, tmp_path / "set", CONFIG, workers=1)
    assert len(Manifest.lavdf(metadata.parent).samples) == 4
    assert any("bad.mp4" in record.message for record in caplog.records)


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.mp4").write_bytes(b"not a video")
    with pytest.raises(InputError, match="none of 1 clips could be used"):
        synthesize(tmp_path / "in", tmp_path / "out", CONFIG, workers=1)
