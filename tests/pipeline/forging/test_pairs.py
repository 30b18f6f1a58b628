"""Bring your own generator: its output beside the authentic recording becomes labelled partial forgeries."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forged_set import CONFIG, stand_in_face, texture, voice

from configs.schema import DecodeConfig, SynthesizeConfig
from data.errors import InputError, UsageError
from data.manifest.sidecar import SynthesizedClip
from pipeline.forging.files import read_clips
from pipeline.forging.pairs import find_pairs
from pipeline.forging.plan import plan_of
from pipeline.forging.synthesize import forge_source
from pipeline.media.encode import write_clip
from pipeline.media.whole import read_frames, read_sound

HEADER = "fake,authentic,generator,kind,tracks"
PAIRED = CONFIG.model_copy(update={"variants": 2, "real_share": 0.5, "put_back": True})


def lips(frames: np.ndarray) -> np.ndarray:
    """The frames with a mouth of another colour, as a lip-sync generator redraws it."""
    made = frames.copy()
    made[:, 52:80, 30:66] = (200, 60, 60)
    return made


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pairs")
    frames, samples = texture(60, 1), voice(2.4, 110)
    write_clip(root / "real.mp4", frames, samples)
    write_clip(root / "lips.mp4", lips(frames), samples)
    filtered = np.convolve(samples, [0.4, -0.3, 0.3], "same").astype(np.float32)
    write_clip(root / "vocoder.mp4", None, filtered)
    write_clip(root / "head.mp4", texture(50, 4), voice(2.0, 170))
    write_clip(root / "silent.mp4", frames, None)
    write_clip(root / "stranger.mp4", texture(60, 9), samples)
    shutil.copy(root / "real.mp4", root / "same.mp4")
    return root


def table(root: Path, *rows: str, header: str = HEADER, name: str = "pairs.csv") -> Path:
    path = root / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def made(
    path: Path, out: Path, config: SynthesizeConfig = PAIRED
) -> tuple[list[SynthesizedClip], dict[str, str]]:
    found = find_pairs(path, config)
    plan, left_out = plan_of(found, config, 3), dict(found.left_out)
    for k in plan.sources:
        left_out |= forge_source(plan, k, out)
    return read_clips(out), left_out


@pytest.fixture(autouse=True)
def faces(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_face(monkeypatch)


def test_a_pair_gives_authentic_clips_and_exact_partial_forgeries(media: Path, tmp_path: Path) -> None:
    clips, left_out = made(table(media, "lips.mp4,real.mp4,LipGAN,lip-sync,visual"), tmp_path)
    assert not left_out
    assert sorted(clip.label for clip in clips) == [0, 0, 1, 1]
    real = read_frames(media / "real.mp4", DecodeConfig())
    assert real is not None
    for clip in clips:
        assert {s.manipulation for s in clip.segments} == ({"LipGAN"} if clip.label else set())
        frames = read_frames(tmp_path / clip.file, DecodeConfig())
        assert frames is not None
        change = np.abs(frames.astype(float) - real)[:, 56:76, 34:62].mean(axis=(1, 2, 3))
        forged = np.zeros(60, bool)
        for segment in clip.segments:
            # The outermost frames fade.
            forged[round(segment.start_s * 25) + 2 : round(segment.end_s * 25) - 2] = True
            near = np.arange(round(segment.start_s * 25), round(segment.end_s * 25))
        if clip.label:
            outside = np.setdiff1d(np.arange(60), near)
            assert change[forged].min() > 3 * change[outside].max()
            assert clip.original in {other.file for other in clips if not other.label}
        else:
            assert change.max() < 12


def test_sound_alone_is_spliced_and_what_is_edited_in_both_tracks_is_forged_in_one(
    media: Path, tmp_path: Path
) -> None:
    clips, left_out = made(table(media, "vocoder.mp4,real.mp4,Vocoder,vocoder,audio"), tmp_path)
    assert not left_out
    assert sorted(clip.label for clip in clips) == [0, 0, 2, 2]
    for clip in clips:
        assert {s.modality for s in clip.segments} <= {"audio"}
        assert {s.modality for s in clip.shams} >= ({"visual"} if clip.label else {"visual", "audio"})


def test_all_of_a_fake_without_counterpart_is_forged(media: Path, tmp_path: Path) -> None:
    (clip,), left_out = made(table(media, "head.mp4,,HeadGAN,head,both"), tmp_path)
    assert not left_out
    assert clip.label == 3
    assert {(s.start_s, s.modality) for s in clip.segments} == {(0, "visual"), (0, "audio")}
    # The encoder of the sound pads its last block; both tracks are forged in one interval.
    assert len({s.end_s for s in clip.segments}) == 1
    assert 2.0 <= clip.segments[0].end_s <= 2.1
    assert clip.original is None


def test_the_share_of_whole_clips_is_settable(media: Path, tmp_path: Path) -> None:
    whole = PAIRED.model_copy(update={"whole_share": 1.0})
    clips, _ = made(table(media, "lips.mp4,real.mp4,LipGAN,lip-sync,visual"), tmp_path, whole)
    assert [(s.start_s, s.end_s) for clip in clips for s in clip.segments] == [(0, 2.4)] * 2
    assert not any(clip.shams for clip in clips), "nothing is edited in authentic clips either"


def test_only_the_interval_that_the_table_gives_is_forged(media: Path, tmp_path: Path) -> None:
    path = table(media, "lips.mp4,real.mp4,LipGAN,lip-sync,visual,0.8,1.6", header=HEADER + ",start_s,end_s")
    clips, _ = made(path, tmp_path, PAIRED.model_copy(update={"whole_share": 1.0}))
    assert {(s.start_s, s.end_s) for clip in clips for s in clip.segments} == {(0.8, 1.6)}


def test_an_interval_of_a_recording_without_picture_is_forged(media: Path, tmp_path: Path) -> None:
    write_clip(media / "spoken.wav", None, voice(2.4, 110))
    write_clip(media / "vocoded.wav", None, np.roll(voice(2.4, 110), 3))
    path = table(media, "vocoded.wav,spoken.wav,G,vocoder,audio,0.8,1.6", header=HEADER + ",start_s,end_s")
    clips, left_out = made(path, tmp_path)
    assert left_out == {}
    spans = [(s.start_s, s.end_s) for clip in clips for s in clip.segments]
    assert spans
    assert all(0.8 <= start < end <= 1.6 for start, end in spans)


def test_a_source_that_gives_nothing_is_left_out_and_named(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: Any) -> Any:
        return iter(())

    monkeypatch.setattr("pipeline.forging.pairing.read_pieces", nothing)
    clips, left_out = made(table(media, "lips.mp4,real.mp4,LipGAN,lip-sync,visual"), tmp_path)
    assert clips == []
    assert left_out == {"real.mp4": "neither picture nor sound could be decoded"}


def test_a_row_without_a_fake_is_an_authentic_clip(media: Path, tmp_path: Path) -> None:
    (clip,), _ = made(table(media, ",real.mp4,,,"), tmp_path)
    assert clip.label == 0
    assert clip.shams


BAD = {
    "missing": ("gone.mp4,real.mp4,G,lip-sync,visual", "gone.mp4"),
    "identical": ("same.mp4,real.mp4,G,lip-sync,visual", "is the same file as its fake"),
    "no sound": ("silent.mp4,real.mp4,G,vocoder,audio", "has no sound, which the tracks 'audio' need"),
    "no picture": ("vocoder.mp4,real.mp4,G,lip-sync,visual", "has no picture"),
    "tracks": ("lips.mp4,real.mp4,G,lip-sync,eyes", "unknown tracks 'eyes'"),
    "no generator": ("lips.mp4,real.mp4,,lip-sync,visual", "names no generator"),
    "nothing": (",,G,lip-sync,visual", "names neither a fake nor an authentic file"),
}


@pytest.mark.parametrize(("row", "reason"), BAD.values(), ids=BAD)
def test_a_bad_row_is_left_out_with_its_number_and_the_rest_is_made(
    row: str, reason: str, media: Path, tmp_path: Path
) -> None:
    path = table(media, row, "head.mp4,,HeadGAN,head,both")
    clips, left_out = made(path, tmp_path)
    assert [clip.label for clip in clips] == [3]
    assert list(left_out) == ["row 2"]
    assert reason in left_out["row 2"]


def test_a_fake_of_another_scene_is_refused_with_its_correlation(media: Path, tmp_path: Path) -> None:
    path = table(media, "stranger.mp4,real.mp4,G,lip-sync,visual", "lips.mp4,real.mp4,LipGAN,lip-sync,visual")
    clips, left_out = made(path, tmp_path)
    assert "the pictures do not fit: correlation" in left_out["row 2"]
    assert {s.manipulation for clip in clips for s in clip.segments} == {"LipGAN"}


def test_swapped_columns_are_told(media: Path) -> None:
    path = table(media, "lips.mp4,real.mp4,G,lip-sync,visual", "real.mp4,lips.mp4,G,lip-sync,visual")
    reasons = find_pairs(path, PAIRED).left_out
    assert "is fake here and authentic in row 2" in reasons["row 3"]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (
            ("lips.mp4,real.mp4,G,lip-sync,visual,ann,train", "head.mp4,,G,head,both,bea,test"),
            "generator 'G'",
        ),
        (("lips.mp4,real.mp4,G,lip-sync,visual,ann,train", "head.mp4,,H,head,both,ann,test"), "person 'ann'"),
    ],
)
def test_nobody_and_no_generator_is_in_two_splits(rows: tuple[str, str], reason: str, media: Path) -> None:
    reasons = find_pairs(table(media, *rows, header=HEADER + ",identity,split"), PAIRED).left_out
    assert reason in reasons["row 3"]
    assert "is in two splits: train in row 2, test here" in reasons["row 3"]


def test_one_recording_shows_one_person(media: Path) -> None:
    rows = ("lips.mp4,real.mp4,G,lip-sync,visual,ann,train", "vocoder.mp4,real.mp4,H,vocoder,audio,bea,test")
    reasons = find_pairs(table(media, *rows, header=HEADER + ",identity,split"), PAIRED).left_out
    assert "shows 'bea' here and 'ann' in row 2" in reasons["row 3"]


def test_a_generator_that_the_settings_name_stays_in_its_split(media: Path) -> None:
    config = PAIRED.model_copy(update={"families": {"test": {"head": {"gan": ("HeadGAN",)}}}})
    path = table(media, "head.mp4,,HeadGAN,head,both,ann,train", header=HEADER + ",identity,split")
    with pytest.raises(InputError, match="no row can be used"):
        find_pairs(path, config)
    named = find_pairs(table(media, "head.mp4,,HeadGAN,head,both"), config)
    assert [source.split for source in named.clips] == ["test"]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("fake,authentic,generator,kind", "row 1 lacks the column 'tracks'"),
        (HEADER + ",colour", "row 1 has an unknown column 'colour'"),
    ],
)
def test_a_wrong_column_is_told(header: str, reason: str, media: Path) -> None:
    with pytest.raises(UsageError, match=reason):
        find_pairs(table(media, "a,b,c,d,e", header=header), PAIRED)


def test_the_command_makes_a_set_and_says_what_was_left_out(
    media: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    path = table(media, "head.mp4,,HeadGAN,head,both", "gone.mp4,,HeadGAN,head,both", name="command.csv")
    answer = cli("synthesize", "--pairs", path, "--out", tmp_path / "set", "--workers", "1")
    assert answer.code == 4, answer.err
    assert "1 clip(s) or files were left out" in answer.out
    assert (
        json.loads((tmp_path / "set" / "forgeries.json").read_text())[0]["segments"][0]["manipulation"]
        == "HeadGAN"
    )
    both = cli("synthesize", "--pairs", path, "--input", media, "--out", tmp_path / "other")
    assert both.code == 2
    assert "either --input or --pairs" in both.err


def test_the_sound_of_a_fake_is_what_is_heard(media: Path, tmp_path: Path) -> None:
    whole = PAIRED.model_copy(update={"whole_share": 1.0, "editor_gain_db": (0.0, 0.0)})
    clips, _ = made(table(media, "vocoder.mp4,real.mp4,Vocoder,vocoder,audio"), tmp_path, whole)
    fake, real = (read_sound(media / name, DecodeConfig()) for name in ("vocoder.mp4", "real.mp4"))
    assert fake is not None
    assert real is not None
    for clip in clips:
        heard = read_sound(tmp_path / clip.file, DecodeConfig())
        assert heard is not None
        n = 30_000
        near = [float(np.corrcoef(heard[:n], x[:n])[0, 1]) for x in (fake, real)]
        assert (near[0] > near[1]) == bool(clip.label)
