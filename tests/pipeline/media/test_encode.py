"""The encoder that all clips of a data set share."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from data.errors import UsageError
from pipeline.media.encode import H264, Format, write_clip, x264_assembly

FRAMES = np.tile(np.arange(0, 240, 4, dtype=np.uint8)[:, None, None, None], (1, 34, 51, 3))
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(38_400) / 16_000)).astype(np.float32)


def test_picture_and_sound_come_back_in_time(tmp_path: Path) -> None:
    write_clip(tmp_path / "a" / "clip.mp4", FRAMES, TONE, crf=12)
    with av.open(str(tmp_path / "a" / "clip.mp4")) as container:
        pictures = list(container.decode(video=0))
    assert [round(p.time * 25) for p in pictures] == list(range(60))
    levels = np.array([p.to_ndarray(format="rgb24").mean() for p in pictures])
    assert np.abs(levels - np.arange(0, 240, 4)).max() < 6
    assert (pictures[0].width, pictures[0].height) == (50, 34), "yuv420p needs even sizes"
    with av.open(str(tmp_path / "a" / "clip.mp4")) as container:
        blocks = list(container.decode(audio=0))
    sound = np.concatenate([b.to_ndarray()[0] for b in blocks])
    assert blocks[0].sample_rate == 16_000
    assert len(sound) >= len(TONE)
    spectrum = np.abs(np.fft.rfft(sound[4000:20_000]))
    assert spectrum.argmax() == pytest.approx(440, abs=1)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path / name, FRAMES, TONE)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_only_a_processor_with_avx2_is_told_to_stop_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    for has, options in ((True, {"x264-params": "asm=avx2"}), (False, {})):
        monkeypatch.setattr(cv2, "checkHardwareSupport", lambda unit, has=has: asked.append(unit) or has)
        assert x264_assembly() == options
    # OpenCV's interface.h: #define CV_CPU_AVX2 11
    assert asked == [11, 11]


def test_images_may_come_one_at_a_time(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", FRAMES, TONE)
    write_clip(tmp_path / "b.mp4", iter(FRAMES), TONE)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_another_format_gives_other_tracks_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    form = Format("libvpx-vp9", "libopus", "webm", (("b", "0"), ("deadline", "realtime"), ("cpu-used", "8")))
    if form.missing:
        pytest.skip("this FFmpeg lacks the encoders")
    for name in ("a.webm", "b.webm"):
        write_clip(tmp_path / name, FRAMES, TONE, crf=30, form=form)
    assert (tmp_path / "a.webm").read_bytes() == (tmp_path / "b.webm").read_bytes()
    with av.open(str(tmp_path / "a.webm")) as container:
        assert [s.codec_context.codec.canonical_name for s in container.streams] == ["vp9", "opus"]


def test_encoders_that_are_missing_are_known() -> None:
    assert H264.missing == ()
    assert Format("no_such_encoder", "aac").missing == ("no_such_encoder",)


@pytest.mark.parametrize(("frames", "samples", "kinds"), [(FRAMES, None, ["video"]), (None, TONE, ["audio"])])
def test_one_track_is_enough(
    tmp_path: Path, frames: np.ndarray, samples: np.ndarray, kinds: list[str]
) -> None:
    write_clip(tmp_path / "clip.mp4", frames, samples)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert [stream.type for stream in container.streams] == kinds


def test_no_track_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither frames nor samples"):
        write_clip(tmp_path / "clip.mp4", None, None)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        write_clip(tmp_path / "file" / "clip.mp4", FRAMES, None)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
