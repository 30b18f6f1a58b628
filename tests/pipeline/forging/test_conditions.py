"""Conditions: what each does to the clips of a split, and that the truth stays true."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from condition_set import FRAMES, write_set

from data.errors import InputError, UsageError
from data.manifest import Manifest
from data.manifest.sidecar import read_sidecar
from pipeline.forging.conditions import CONDITIONS, REWRITES, make_condition, plan, resampled
from pipeline.forging.files import write_truth
from pipeline.forging.harmless import EDITS, read_tracks
from pipeline.media.encode import Format

if TYPE_CHECKING:
    from conftest import Answer


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("known")
    write_set(root)
    return root


def made(root: Path, out: Path, condition: str, seed: int = 0, workers: int = 1) -> Path:
    batch = plan(condition, root, "test", seed)
    assert make_condition(batch, out, workers) == out / "metadata.json"
    return out


def spans(root: Path) -> dict[str, list[tuple[float, float]]]:
    samples = Manifest.lavdf(root).samples
    return {s.file.stem: [(p.start_s, p.end_s) for p in s.fake_periods] for s in samples}


# --- every clip anew --------------------------------------------------------------------------------------------------

CODECS = {
    "hevc": ("hevc", "aac"),
    "vp9": ("vp9", "opus"),
    "av1": ("av1", "opus"),
    "mpeg4": ("mpeg4", "mp3"),
    "recompressed": ("h264", "aac"),
}


@pytest.mark.parametrize("condition", CODECS)
def test_other_codecs_keep_clips_times_and_truth(known: Path, tmp_path: Path, condition: str) -> None:
    if REWRITES[condition].form.missing:
        pytest.skip("this FFmpeg lacks the encoder")
    out = made(known, tmp_path / condition, condition)
    assert spans(out) == {"000000": [], "000001": [(0.2, 0.6)], "000002": [], "000003": [(0.4, 0.8)]}
    for before, after in zip(read_sidecar(known)[:4], read_sidecar(out), strict=True):
        assert (after.identity, after.label, after.segments) == (
            before.identity,
            before.label,
            before.segments,
        )
        assert after.original is None or (out / after.original).is_file()
        with av.open(str(out / after.file)) as container:
            names = tuple(stream.codec_context.codec.canonical_name for stream in container.streams)
        assert names == CODECS[condition]
        old, new = read_tracks(known / before.file), read_tracks(out / after.file)
        assert old.frames is not None
        assert new.frames is not None
        assert new.frames.shape == old.frames.shape
        assert 0 < np.abs(new.frames.astype(int) - old.frames).mean() < 30
        assert lag(old.samples, new.samples) <= 16, "a millisecond"


def lag(one: np.ndarray | None, other: np.ndarray | None) -> int:
    """Samples between two recordings of the same voice, up to 50 ms."""
    assert one is not None
    assert other is not None
    envelope = np.square(one[4000:12_000])
    fits = [float(envelope @ np.square(other[4000 + d : 12_000 + d])) for d in range(-800, 801)]
    return abs(int(np.argmax(fits)) - 800)


def test_strong_recompression_takes_less_space(known: Path, tmp_path: Path) -> None:
    out = made(known, tmp_path, "recompressed")
    for before, after in zip(read_sidecar(known)[:4], read_sidecar(out), strict=True):
        assert after.size_bytes < 0.7 * before.size_bytes
        assert after.size_bytes == (out / after.file).stat().st_size


@pytest.mark.parametrize(("condition", "side"), [("up720", 720), ("down144", 144)])
def test_sizes_keep_the_shape(condition: str, side: int) -> None:
    how = REWRITES[condition]
    frames = np.zeros((2, 200, 300, 3), np.uint8)
    images = list(resampled(frames, how.fps, how.short_side))
    assert [image.shape for image in images] == [(side, side * 3 // 2, 3)] * 2


@pytest.mark.parametrize(("condition", "fps"), [("fps30", 30), ("fps15", 15)])
def test_other_rates_keep_the_duration_and_every_moment(
    known: Path, tmp_path: Path, condition: str, fps: int
) -> None:
    out = made(known, tmp_path, condition)
    path = out / read_sidecar(out)[0].file
    with av.open(str(path)) as container:
        times = [float(frame.time) for frame in container.decode(video=0)]
    assert len(times) == pytest.approx(FRAMES * fps / 25, abs=1)
    assert times[1] - times[0] == pytest.approx(1 / fps, abs=1e-3)
    assert times[-1] + 1 / fps == pytest.approx(FRAMES / 25, abs=1 / fps)
    assert spans(out)["000001"] == [(0.2, 0.6)]


def test_resampled_frames_are_those_on_screen_and_none_is_blended() -> None:
    frames = np.arange(50, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    for fps in (15, 30):
        shown = [int(image.mean()) for image in resampled(frames, fps)]
        assert shown == [int((k + 0.5) * 25 / fps) for k in range(2 * fps)]


# --- harmless ---------------------------------------------------------------------------------------------------------


def test_harmless_edits_are_of_authentic_clips_and_noted(known: Path, tmp_path: Path) -> None:
    out = made(known, tmp_path, "harmless")
    rows = read_sidecar(out)
    assert [Path(row.file).stem for row in rows] == [f"00000{k}_{copy}" for k in (0, 2) for copy in range(3)]
    assert {row.source for row in rows} == {"test/000000.mp4", "test/000002.mp4"}
    assert all(not row.label and not row.segments for row in rows)
    assert all(not periods for periods in spans(out).values())
    names = {edit.__name__ for edit in EDITS}
    for row in rows:
        done = {sham.manipulation for sham in row.shams}
        assert 2 <= len(done) <= 4
        assert done <= names
        found = read_tracks(out / row.file)
        assert found.frames is not None
        assert len(found.frames) == row.video_frames
        assert {sham.end_s for sham in row.shams} <= {row.video_frames / 25, row.audio_samples // 640 / 25}
    assert len({tuple(row.shams) for row in rows}) > 1


# --- running again, and bad input -------------------------------------------------------------------------------------


def test_what_is_there_is_not_made_again_and_the_same_bytes_come_back(known: Path, tmp_path: Path) -> None:
    out = made(known, tmp_path / "a", "harmless")
    files = sorted((out / "test").iterdir())
    content, before = [path.read_bytes() for path in files], [path.stat().st_mtime_ns for path in files]
    files[1].write_bytes(b"half")
    made(known, out, "harmless", workers=2)
    assert [path.read_bytes() for path in files] == content
    again = [path.stat().st_mtime_ns for path in files]
    assert [a == b for a, b in zip(again, before, strict=True)] == [k != 1 for k in range(len(files))]
    other = made(known, tmp_path / "b", "harmless", seed=1)
    assert [path.read_bytes() for path in sorted((other / "test").iterdir())] != content


def test_a_folder_of_another_seed_is_refused(known: Path, tmp_path: Path) -> None:
    made(known, tmp_path, "fps15")
    with pytest.raises(UsageError, match="holds a data set of another seed"):
        made(known, tmp_path, "fps15", seed=1)
    with pytest.raises(UsageError, match="another condition"):
        made(known, tmp_path, "fps30")


def test_a_missing_encoder_is_told_and_the_set_left_out(
    known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    form = Format("no_such_encoder", "libopus")
    monkeypatch.setitem(REWRITES, "vp9", replace(REWRITES["vp9"], form=form))
    assert make_condition(plan("vp9", known, "test"), tmp_path / "out") is None
    assert "left out: vp9: this FFmpeg has no encoder no_such_encoder" in caplog.text
    assert not (tmp_path / "out").exists()


def test_bad_input_is_refused_by_name(known: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no condition 'vp8'; known are hevc, vp9"):
        plan("vp8", known, "test")
    with pytest.raises(UsageError, match="has no clip of the split 'dev'"):
        plan("hevc", known, "dev")
    with pytest.raises(InputError, match="no such folder"):
        plan("hevc", tmp_path / "nowhere", "test")
    clips = write_set(tmp_path / "set")
    sidecar = tmp_path / "set" / "forgeries.json"
    write_truth(tmp_path / "set", [clip for clip in clips if clip.label])
    with pytest.raises(UsageError, match="has no authentic clip"):
        plan("harmless", tmp_path / "set", "test")
    sidecar.write_text("[{}]")
    with pytest.raises(InputError, match=r"forgeries.json: cannot be read"):
        plan("hevc", tmp_path / "set", "test")
    sidecar.unlink()
    with pytest.raises(InputError, match=r"forgeries.json: is not there; give a set that"):
        plan("hevc", tmp_path / "set", "test")


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_makes_sets_that_describe_and_say_what_they_hold(
    cli: Callable[..., Answer], known: Path, tmp_path: Path
) -> None:
    out = tmp_path / "conditions"
    asked = ["--only", "fps15", "--only", "down144"]
    answer = cli("data", "conditions", "--dataset", known, "--out", out, "--workers", "1", *asked)
    assert answer.code == 0, answer.err
    assert f"wrote {out / 'fps15' / 'metadata.json'}: 4 clips, 0.1 min" in answer.out
    assert sorted(path.name for path in out.iterdir()) == ["down144", "fps15"]
    rows = json.loads((out / "fps15" / "metadata.json").read_text())
    assert [row["duration"] for row in rows] == [1.2] * 4
    assert cli("data", "describe", "--dataset", out / "fps15").code == 0


def test_the_command_refuses_unknown_names_and_a_folder_inside_its_input(
    cli: Callable[..., Answer], known: Path, tmp_path: Path
) -> None:
    answer = cli("data", "conditions", "--dataset", known, "--out", tmp_path / "out", "--only", "vp8")
    assert (answer.code, answer.out) == (2, "")
    assert f"known are {', '.join(CONDITIONS)}" in answer.err
    assert not (tmp_path / "out").exists()
    answer = cli("data", "conditions", "--dataset", known, "--out", known / "conditions")
    assert answer.code == 2
    assert "lies inside --dataset" in answer.err
