"""From authentic clips to a labelled data set: exact spans, one encoder for all, and no identity in two splits."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from decoded import probe
from forged_set import CONFIG, RATE, forge, stand_in_face, texture, voice, write_authentic
from numpy.typing import NDArray

from configs.schema import DecodeConfig
from data.errors import InputError, UsageError
from data.manifest import Manifest
from pipeline.forging import plan as dataset_plan
from pipeline.forging import synthesize as module
from pipeline.forging.files import RECIPE, alone_in, read_clips
from pipeline.forging.plan import ROWS, estimate, plan
from pipeline.forging.synthesize import forge_source, synthesize
from pipeline.media import backend
from pipeline.media.encode import write_clip


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
def test_each_piece_gives_one_authentic_clip_and_one_of_every_forged_class(
    authentic: Path, tmp_path: Path
) -> None:
    clips = forge(authentic, tmp_path)
    assert clips[0].label == 0
    assert sorted(clip.label for clip in clips[1:]) == [1, 2, 3]
    assert [clip.original for clip in clips] == [None, *[clips[0].file] * 3]
    for clip in clips:
        assert (tmp_path / clip.file).is_file()
        assert {s.modality for s in clip.segments} == [set(), {"visual"}, {"audio"}, {"visual", "audio"}][
            clip.label
        ]


@pytest.mark.usefixtures("faces")
def test_what_is_not_forged_is_touched_up_in_the_same_spans(authentic: Path, tmp_path: Path) -> None:
    for clip in forge(authentic, tmp_path, None):
        edits = [*clip.segments, *clip.shams]
        spans = {(edit.start_s, edit.end_s) for edit in edits}
        assert len(spans) == 1, "one span a clip in these settings"
        assert sorted(edit.modality for edit in edits) == ["audio", "visual"], (
            "both tracks, whatever the class"
        )
        assert {edit.manipulation for edit in clip.shams} <= {
            "touch_up_face",
            "touch_up_speech",
            "denoise_speech",
            "enhance_speech",
        }


@pytest.mark.usefixtures("faces")
def test_an_extra_span_is_edited_and_never_forged(authentic: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"extra_sham": 1.0})
    for clip in forge(authentic, tmp_path, None, config=config):
        forged = {(s.start_s, s.end_s) for s in clip.segments}
        touched = {(s.start_s, s.end_s) for s in clip.shams}
        assert len(forged | touched) == 2
        assert len(forged) == (clip.label > 0)
        assert touched - forged, "a span without any forgery"


@pytest.mark.usefixtures("faces")
def test_pixels_and_samples_change_in_the_stated_spans_and_hardly_elsewhere(
    authentic: Path, tmp_path: Path
) -> None:
    # Two that change much; what the others change is a matter of tests/data.
    plain = CONFIG.model_copy(update={"manipulations": ("replace_lower_face", "splice_speaker")})
    clips = forge(authentic, tmp_path, config=plain)
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
                # Encoding alone changes everything a little; a forgery changes its span clearly more.
                assert np.median(change[inside]) > 1.25 * np.median(change[~near])


@pytest.mark.usefixtures("faces")
def test_the_same_seed_gives_the_same_bytes(authentic: Path, tmp_path: Path) -> None:
    first, second = (forge(authentic, tmp_path / name) for name in ("a", "b"))
    for one, other in zip(first, second, strict=True):
        assert one == other
        assert (tmp_path / "a" / one.file).read_bytes() == (tmp_path / "b" / other.file).read_bytes()
    other_seed = forge(authentic, tmp_path / "c", seed=6)
    assert [clip.segments for clip in other_seed] != [clip.segments for clip in first]


@pytest.mark.usefixtures("faces")
def test_a_finished_clip_is_not_made_again_and_a_missing_one_is_made_the_same(
    authentic: Path, tmp_path: Path
) -> None:
    clips = forge(authentic, tmp_path)
    before = {clip.file: (tmp_path / clip.file).stat().st_mtime_ns for clip in clips}
    assert {c.file: (tmp_path / c.file).stat().st_mtime_ns for c in forge(authentic, tmp_path)} == before
    lost = tmp_path / clips[2].file
    content = lost.read_bytes()
    (tmp_path / ROWS / f"{lost.stem}.json").unlink()
    lost.write_bytes(b"half")
    again = forge(authentic, tmp_path)
    assert again == clips
    assert lost.read_bytes() == content
    untouched = [clip.file for clip in clips if clip.file != clips[2].file]
    assert {f: (tmp_path / f).stat().st_mtime_ns for f in untouched} == {f: before[f] for f in untouched}


def test_names_tell_nothing_of_source_or_class(authentic: Path) -> None:
    made = plan(authentic, CONFIG, seed=5)
    assert sorted(made.names) == [f"{k:06d}" for k in range(16)]
    assert list(made.names) != sorted(made.names)
    firsts = [made.names_of(source, 0)[0] for source in made.sources]
    assert len(set(firsts)) == 4
    assert firsts != sorted(firsts)
    assert plan(authentic, CONFIG, seed=6).names != made.names


def test_a_long_clip_is_cut_into_pieces_and_a_short_one_left_out(
    authentic: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = CONFIG.model_copy(update={"clip_s": (0.5, 1.0), "variants": 1})
    made = plan(authentic, config, seed=5)
    assert [clip.pieces for clip in made.material.clips] == [2] * 4, (
        "2.4 s: two of 1 s, and 0.4 s that is too short"
    )
    clips = forge(authentic, tmp_path, 0, config=config)
    assert [clip.source_start_s for clip in clips] == [0.0, 1.0]
    assert [clip.video_frames for clip in clips] == [25, 25]
    with pytest.raises(InputError, match="none of 4 clips could be used"):
        plan(authentic, CONFIG.model_copy(update={"clip_s": (3.0, 9.0)}), seed=5)
    assert "lasts 2.40 s, shorter than 3 s" in caplog.text


@pytest.mark.usefixtures("faces")
def test_a_clip_without_room_for_a_segment_is_left_out_and_named(authentic: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"segment_s": (2.4, 2.4)})
    left_out = forge_source(plan(authentic, config, seed=5), 0, tmp_path)
    assert left_out == {"clips/0.mp4#0": "no room for an edit of 2.40 s in 2.40 s of clip"}
    assert not list(tmp_path.rglob("*.mp4"))


@pytest.mark.usefixtures("faces")
def test_a_silent_clip_is_forged_in_its_picture_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_clip(tmp_path / "in" / "mute.mp4", texture(60, 1), np.zeros(38400, np.float32))
    clips = forge(tmp_path / "in", tmp_path / "out")
    assert [clip.label for clip in clips] == [0, 1, 1, 1]
    assert not any(edit.modality == "audio" for clip in clips for edit in (*clip.segments, *clip.shams))
    assert "mute.mp4: no speech, so only its picture can be forged" in caplog.text


def test_a_clip_with_neither_face_nor_speech_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_clip(tmp_path / "in" / "wall.mp4", texture(60, 1), np.zeros(38400, np.float32))
    left_out = forge_source(plan(tmp_path / "in", CONFIG), 0, tmp_path / "out")
    assert left_out == {"wall.mp4#0": "has neither a face nor speech that could be forged"}


def test_voices_are_forged_where_there_is_nothing_else(tmp_path: Path) -> None:
    for k, pitch in enumerate((110, 150)):
        write_clip(tmp_path / "in" / f"{k}.m4a", None, voice(2.4, pitch))
    clips = forge(tmp_path / "in", tmp_path / "out", None)
    assert len(clips) == 8
    assert {clip.label for clip in clips} == {0, 2}
    assert all(clip.video_frames == 0 for clip in clips)


def test_a_folder_becomes_a_data_set_in_lavdf_layout(authentic: Path, tmp_path: Path) -> None:
    """Without a face in the picture: audio forgeries only, by two spawned processes."""
    steps: list[tuple[int | None, int | None]] = []
    made = plan(authentic, CONFIG, seed=5)
    metadata = synthesize(made, tmp_path / "set", hook=lambda s, done=None, n=None: steps.append((done, n)))
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


def test_only_the_wanted_splits_are_made(authentic: Path, tmp_path: Path) -> None:
    whole = plan(authentic, CONFIG, seed=5)
    wanted = whole.material.clips[0].split
    part = plan(authentic, CONFIG, seed=5, splits=(wanted,))
    assert [part.material.clips[k].split for k in part.sources] == [wanted] * len(part.sources)
    assert 0 < len(part.sources) < len(whole.sources)
    assert estimate(part, tmp_path).clips == 4 * len(part.sources)


def test_an_unreadable_clip_is_left_out_and_named(
    authentic: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "mixed"
    source.mkdir()
    (source / "good.mp4").write_bytes((authentic / "clips" / "2.mp4").read_bytes())
    (source / "bad.mp4").write_bytes(b"not a video")
    metadata = synthesize(plan(source, CONFIG), tmp_path / "set", workers=1)
    assert len(Manifest.lavdf(metadata.parent).samples) == 4
    assert any("bad.mp4" in record.message for record in caplog.records)
    assert list(json.loads((metadata.parent / "left_out.json").read_text())) == ["bad.mp4"]


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.mp4").write_bytes(b"not a video")
    with pytest.raises(InputError, match="none of 1 clips could be used"):
        plan(tmp_path / "in", CONFIG)


def test_an_unknown_manipulation_is_refused_with_the_known_ones(authentic: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown manipulation 'morph'.*replace_lower_face.*splice_speaker"):
        plan(authentic, CONFIG.model_copy(update={"manipulations": ("morph",)}))


def test_another_data_set_in_the_same_folder_is_refused(authentic: Path, tmp_path: Path) -> None:
    synthesize(plan(authentic, CONFIG, seed=5), tmp_path, workers=1)
    before = sorted(tmp_path.rglob("*.mp4"))
    with pytest.raises(UsageError, match="another seed, other settings, clips or voices"):
        synthesize(plan(authentic, CONFIG, seed=6), tmp_path, workers=1)
    assert sorted(tmp_path.rglob("*.mp4")) == before
    assert json.loads((tmp_path / RECIPE).read_text())["seed"] == 5


@pytest.mark.usefixtures("faces")
def test_a_killed_run_leaves_nothing_half_written_behind(authentic: Path, tmp_path: Path) -> None:
    """A clip whose row was never written is made again; a temporary file is cleared away."""
    made = plan(authentic, CONFIG, seed=5)
    forge_source(made, 0, tmp_path)
    split = made.material.clips[0].split
    leftover = tmp_path / split / ".000099.mp4.123-abcd"
    leftover.write_bytes(b"half")
    metadata = synthesize(made, tmp_path, workers=1)
    assert not leftover.exists()
    assert len(Manifest.lavdf(metadata.parent).samples) == 16
    assert not Manifest.lavdf(metadata.parent).unlisted


@pytest.mark.usefixtures("faces")
@pytest.mark.parametrize("damage", ["empty file", "no file", "empty row"])
def test_a_row_whose_file_is_not_what_it_says_counts_for_nothing(
    damage: str, authentic: Path, tmp_path: Path
) -> None:
    clips = forge(authentic, tmp_path)
    file, row = tmp_path / clips[1].file, tmp_path / ROWS / f"{Path(clips[1].file).stem}.json"
    content = file.read_bytes()
    if damage == "empty file":
        file.write_bytes(b"")
    elif damage == "no file":
        file.unlink()
    else:
        row.write_text("")
    assert len(read_clips(tmp_path)) == 3
    assert forge(authentic, tmp_path) == clips
    assert file.read_bytes() == content


@pytest.mark.usefixtures("faces")
def test_where_one_class_does_not_fit_another_takes_its_place(authentic: Path, tmp_path: Path) -> None:
    """Alone in the data set nobody can lend a face: what was to be forged in the picture is forged in the sound."""
    alone = tmp_path / "in" / "clips"
    alone.mkdir(parents=True)
    (alone / "0.mp4").write_bytes((authentic / "clips" / "0.mp4").read_bytes())
    config = CONFIG.model_copy(update={"manipulations": ("swap_identity", "rearrange_speech")})
    clips = forge(tmp_path / "in", tmp_path / "out", config=config)
    assert sorted(clip.label for clip in clips) == [0, 2, 2, 2]


def test_a_folder_that_another_run_writes_to_is_refused(authentic: Path, tmp_path: Path) -> None:
    made = plan(authentic, CONFIG, seed=5)
    with alone_in(tmp_path), pytest.raises(UsageError, match="being written by another run"):
        synthesize(made, tmp_path, workers=1)
    assert not list(tmp_path.rglob("*.mp4"))


def test_a_split_without_people_is_said(
    authentic: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    everybody = CONFIG.model_copy(update={"train_share": 1.0, "dev_share": 0.0})
    with pytest.raises(InputError, match="no clips in the split test"):
        plan(authentic, everybody, splits=("test",))
    plan(authentic, everybody)
    assert "no clips in the split dev, test" in caplog.text


def test_what_an_earlier_run_has_made_takes_no_more_space(authentic: Path, tmp_path: Path) -> None:
    made = plan(authentic, CONFIG, seed=5)
    before = estimate(made, tmp_path).needed_bytes
    forge_source(made, 0, tmp_path)
    assert estimate(made, tmp_path).needed_bytes == pytest.approx(0.75 * before, abs=2)


def test_a_codec_that_is_not_there_is_said_before_anything_is_written(
    authentic: Path, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"lyra": str(tmp_path / "lyra")})
    with pytest.raises(UsageError, match=r"ai-edge-litert is not installed|encoder\.tflite is not there"):
        synthesize(plan(authentic, config, seed=5), tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_said_before_anything_is_written(
    authentic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(authentic, CONFIG, seed=5)
    needed = estimate(made, tmp_path).needed_bytes
    # 4 clips x 4 variants x 2.4 s of 96 x 96 pixels at 25 fps and 0.09 bits, and of 93 kbit/s of sound.
    assert needed == pytest.approx(16 * 2.4 * (96 * 96 * 25 * 0.09 + 93_000) / 8, rel=0.01)
    monkeypatch.setattr(
        dataset_plan.shutil, "disk_usage", lambda path: type("Usage", (), {"free": needed - 1})
    )
    with pytest.raises(UsageError, match="free"):
        synthesize(made, tmp_path / "set", workers=1)
    assert not (tmp_path / "set").exists()


@pytest.mark.usefixtures("faces")
def test_a_disk_that_fills_up_stops_the_run_and_loses_no_finished_clip(
    authentic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0

    def write(path: Path, *args: object, **options: object) -> None:
        nonlocal written
        if written == 2:
            raise UsageError("cannot be written (No space left on device)", path, "free space")
        written += 1
        write_clip(path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "write_clip", write)
    made = plan(authentic, CONFIG, seed=5)
    with pytest.raises(UsageError, match="No space left"):
        forge_source(made, 0, tmp_path)
    assert len(read_clips(tmp_path)) == 2
    monkeypatch.undo()
    stand_in_face(monkeypatch)
    forge_source(made, 0, tmp_path)
    assert len(read_clips(tmp_path)) == 4


def test_a_source_that_ends_before_its_time_is_named(
    authentic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object) -> object:
        return iter(())

    monkeypatch.setattr("pipeline.forging.synthesize.read_pieces", nothing)
    made = plan(authentic, CONFIG, seed=5)
    left_out = forge_source(made, made.sources[0], tmp_path)
    assert [*left_out.values()] == ["could not be decoded"]
