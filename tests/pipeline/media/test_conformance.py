"""One suite over all decoders: which picture came out, when, and where the tones sound, against known truth.

What a decoder is known to get wrong is a strict expected failure with its reason: it fails here when it is mended.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import media_factory
import numpy as np
import pytest
from decoders import NEEDS_DECORD
from media_factory import CLIPS, Clip
from numpy.typing import NDArray

from data.errors import InputError, UsageError
from data.media import Frame, MediaInfo, StreamCoverage
from pipeline.media import backend
from pipeline.media.clock import AudioMeter, VideoMeter, place_audio
from pipeline.media.inspect import inspect

RATE = 16_000
BACKENDS = ("pyav", "ffmpeg", "decord")
DAMAGED = ("corrupt", "truncated_front", "truncated_mkv")
MUTE = ("no_audio", "one_frame")
BLIND = ("no_video", "cover_art")
UNREADABLE = ("truncated_mp4",)

OFFSET = "decord drops the start offset of a track"
PRIMING = "decord keeps the samples that the codec needs to warm up, so sound comes late"
LOUD = "decord mixes stereo 3 dB too loud, and its resampler is 1 ms late"
WRONG_VIDEO = {
    "late_video": OFFSET,
    "transport": OFFSET,
    "edit_list": "decord counts hidden frames in: time starts at -1.32 s, frames repeat at the end",
    "corrupt": "decord gives up the whole file at the first damaged packet",
    "truncated_front": "decord gives up the whole file where it ends early",
}
WRONG_AUDIO = {
    "late_audio": OFFSET,
    "matroska": PRIMING,
    "truncated_mkv": PRIMING,
    "vp9_opus": PRIMING,
    "stereo48": LOUD,
    "cd44": LOUD,
    "mono8": "decord's resampler is 2 ms late",
    "audio_hole": "decord closes holes up: sound behind one moves earlier",
    "corrupt_audio": "decord ends the track at the first damaged packet",
}


def cases(clips: list[str], wrong: dict[str, str]) -> list[object]:
    """Every backend with every clip; decord's known faults marked, and decord left out where it is not installed."""
    return [
        pytest.param(
            name,
            clip,
            id=f"{name}-{clip}",
            marks=([NEEDS_DECORD] if name == "decord" else [])
            + (
                [pytest.mark.xfail(reason=wrong[clip], strict=True)]
                if name == "decord" and clip in wrong
                else []
            ),
        )
        for clip in clips
        for name in BACKENDS
    ]


VIDEO = [c for c in CLIPS if c not in (*BLIND, *UNREADABLE)]
AUDIO = [c for c in CLIPS if c not in (*MUTE, *UNREADABLE)]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Clip, MediaInfo]]:
    folder = tmp_path_factory.getbasetemp() / "media"
    folder.mkdir(exist_ok=True)

    def give(name: str) -> tuple[Clip, MediaInfo]:
        made = media_factory.make(name, folder)
        return made, inspect(made.path, 10**8, 1e5)

    return give


def frames_of(
    name: str, info: MediaInfo, short_side: int | None = None
) -> tuple[list[Frame], StreamCoverage]:
    decoder = backend(name)
    meter, frames = VideoMeter(decoder), []
    for frame in decoder.frames(info, short_side):
        meter.add(frame)
        frames.append(frame)
    return frames, meter.coverage(info)


def sound_of(name: str, info: MediaInfo) -> tuple[NDArray[np.float32], NDArray[np.bool_], StreamCoverage]:
    decoder = backend(name)
    meter, blocks = AudioMeter(decoder, RATE), []
    for block in decoder.audio(info, RATE):
        meter.add(block)
        blocks.append(block)
    batches = list(place_audio(blocks, RATE))
    samples, valid = (np.concatenate([getattr(b, key) for b in batches]) for key in ("samples", "valid"))
    return samples, valid, meter.coverage(info)


@pytest.mark.parametrize(("name", "source"), cases(VIDEO, WRONG_VIDEO))
def test_each_picture_comes_out_upright_at_its_time(name, source, clip):
    truth, info = clip(source)
    frames, coverage = frames_of(name, info)
    got = [(frame.pts_s, media_factory.read_number(frame.image)) for frame in frames]

    if source in DAMAGED:
        # What is left out is counted; what comes out carries its own time, as in the whole file.
        times = {number: time_s for time_s, number in truth.frames}
        assert got
        assert [time_s for time_s, _ in got] == pytest.approx([times[number] for _, number in got], abs=1e-3)
        assert 0 < coverage.fraction < 0.99
        assert coverage.gaps
    else:
        assert [number for _, number in got] == [number for _, number in truth.frames]
        assert [time_s for time_s, _ in got] == pytest.approx(
            [time_s for time_s, _ in truth.frames], abs=1e-3
        )
        assert coverage.fraction == 1.0
        assert coverage.errors == 0


@pytest.mark.parametrize(("name", "source"), cases(AUDIO, WRONG_AUDIO))
def test_each_tone_sounds_at_its_time_and_level(name, source, clip):
    truth, info = clip(source)
    samples, valid, _ = sound_of(name, info)
    end_s = len(samples) / RATE
    audible = [t for t in truth.tones_s if t + 0.1 < end_s and valid[round(t * RATE)]]
    for time_s in audible:
        # 0.5 ms is 8 samples; a codec frame is 64 ms.
        assert media_factory.tone_centre_s(samples, RATE, time_s) == pytest.approx(time_s, abs=5e-4)
        around = samples[round((time_s - 0.02) * RATE) : round((time_s + 0.02) * RATE)]
        assert np.abs(around).max() == pytest.approx(0.49, abs=0.02)
    if source == "corrupt_audio":  # tones 1.25 and 1.75 lie in the damage
        assert audible == pytest.approx([0.25, 0.75, 2.25])
    elif source.startswith("truncated"):
        assert audible
    else:
        assert audible == list(truth.tones_s)
        assert truth.audio_s is not None
        # A codec pads by up to two of its frames, here of 64 ms.
        assert end_s == pytest.approx(truth.audio_s[1], abs=0.13)


@pytest.mark.parametrize("name", ["pyav", "ffmpeg"])
def test_a_hole_in_the_sound_is_silent_flagged_and_reported(name, clip):
    _, info = clip("audio_hole")
    samples, valid, coverage = sound_of(name, info)

    # PCM packets of 1024 samples: the last one that starts before 1 s ends at 1.024 s, the first from 2 s on at 2.048.
    hole = slice(round(1.024 * RATE), round(2.048 * RATE))
    assert not valid[hole].any()
    assert not samples[hole].any()
    assert valid[: hole.start].all()
    assert valid[hole.stop :].all()
    assert [(gap.start_s, gap.end_s) for gap in coverage.gaps] == [pytest.approx((1.024, 2.048), abs=1e-3)]


@pytest.mark.parametrize("name", ["pyav", "ffmpeg"])
def test_damage_is_counted_and_its_pictures_are_left_out(name, clip):
    truth, info = clip("corrupt")
    frames, coverage = frames_of(name, info)
    numbers = [media_factory.read_number(frame.image) for frame in frames]

    # Pictures 20 to 23 are noise; those up to the next key frame (every tenth) build on them.
    assert set(numbers) <= {number for _, number in truth.frames}
    assert set(numbers) >= {*range(20), *range(30, 75)}
    assert coverage.errors > 0
    assert [gap.start_s for gap in coverage.gaps] == [pytest.approx(0.8)]


@pytest.mark.parametrize("name", ["pyav", "ffmpeg"])
@pytest.mark.parametrize("source", ["corrupt_audio", "truncated_front", "truncated_mkv"])
def test_lost_sound_lowers_the_coverage(name, source, clip):
    _, info = clip(source)
    assert 0.3 < sound_of(name, info)[2].fraction < 0.8


@pytest.mark.parametrize(
    ("name", "source", "size"),
    [
        # 96 x 64 -> 120 x 80; 97 x 65 -> 80 / 65 * 97 = 119.4; 96 x 96; and 96 x 64 -> 48 x 32
        *((name, *case) for name in BACKENDS for case in [("cfr25", (80, 120)), ("odd_size", (80, 119))]),
        *((name, "rotated90", (80, 80)) for name in BACKENDS),
        ("pyav", "cfr25", (32, 48)),
        ("ffmpeg", "cfr25", (32, 48)),
        pytest.param(
            *("decord", "cfr25", (32, 48)),
            marks=pytest.mark.xfail(
                reason="decord gives four channels below 64 pixels of width", strict=True
            ),
        ),
    ],
)
def test_the_short_side_is_scaled_and_the_aspect_kept(name, source, size, clip):
    truth, info = clip(source)
    frames, _ = frames_of(name, info, short_side=min(size))
    assert {frame.image.shape for frame in frames} == {(*size, 3)}
    assert {frame.image.dtype for frame in frames} == {np.dtype(np.uint8)}
    assert [media_factory.read_number(frame.image) for frame in frames] == [
        number for _, number in truth.frames
    ]


@pytest.mark.parametrize("short_side", [None, 120])
@pytest.mark.parametrize(
    "tags", [{}, {"colorspace": "bt709", "color_range": "tv"}], ids=["untagged", "bt709"]
)
def test_reference_pixels_equal_those_of_the_ffmpeg_program(short_side, tags, tmp_path):
    path = tmp_path / "colours.mp4"
    options = [part for key, value in tags.items() for part in (f"-{key}", value)]
    source = ("-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=0.2")
    media_factory.ffmpeg(*source, "-c:v", "libx264", "-pix_fmt", "yuv420p", *options, path)
    info = inspect(path, 10**8, 1e5)
    ours = np.stack([frame.image for frame in frames_of("pyav", info, short_side)[0]])

    size = "320:240" if short_side is None else "160:120"
    scale = f"scale={size}:flags=bilinear+accurate_rnd+bitexact"
    raw = media_factory.ffmpeg("-i", path, "-vf", scale, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    oracle = np.frombuffer(raw, np.uint8).reshape(ours.shape)
    # Two versions of FFmpeg may round differently; another colour matrix or interpolation differs by more than 1.
    assert np.abs(ours.astype(int) - oracle).mean() < 0.1


def test_pictures_of_a_turned_file_that_is_not_square_come_out_upright(tmp_path):
    flat, turned = tmp_path / "flat.mp4", tmp_path / "turned.mp4"
    media_factory.write(flat, n=5, size=(64, 96), audio_seconds=None)
    media_factory.ffmpeg("-display_rotation", 90, "-i", flat, "-c", "copy", turned)
    info = inspect(turned, 10**8, 1e5)

    assert info.video is not None
    assert (info.video.width, info.video.height, info.video.rotation) == (64, 96, 270)
    for name in BACKENDS:
        frames, _ = frames_of(name, info, short_side=80)
        assert {frame.image.shape for frame in frames} == {(80, 120, 3)}
    ours, theirs = (np.stack([f.image for f in frames_of(name, info)[0]]) for name in ("pyav", "ffmpeg"))
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_missing_track_is_an_error_that_names_the_file(name, clip):
    for source, read in (("no_audio", "audio"), ("no_video", "frames")):
        made, info = clip(source)
        with pytest.raises(InputError, match=r"has no (audio|video) track") as caught:
            next(getattr(backend(name), read)(info, 16_000))
        assert caught.value.path == made.path


def test_stereo_sides_weigh_the_same_in_the_mix(tmp_path):
    path = tmp_path / "sides.wav"
    # Left 0.5 throughout, right silent: the mean of both is 0.25.
    media_factory.ffmpeg("-f", "lavfi", "-i", "aevalsrc=0.5|0:s=16000:d=0.5", path)
    info = inspect(path, 10**8, 1e5)
    for name in ("pyav", "ffmpeg"):
        samples, _, _ = sound_of(name, info)
        assert samples == pytest.approx(0.25, abs=1e-3)


def test_an_unknown_decoder_is_a_usage_error():
    with pytest.raises(UsageError, match="use pyav, ffmpeg or decord"):
        backend("gstreamer")


@pytest.mark.parametrize(("name", "package"), [("decord", "decord"), ("ffmpeg", "ffmpeg")])
def test_a_decoder_that_is_not_installed_says_what_to_install(name, package, monkeypatch):
    from pipeline.media import ffmpeg

    ffmpeg.program.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda wanted: None if wanted == package else object())
    with pytest.raises(UsageError, match="pip install"):
        backend(name)


def test_the_ffmpeg_program_falls_back_to_the_bundled_one(monkeypatch, tmp_path):
    from pipeline.media import ffmpeg

    old = tmp_path / "ffmpeg"
    old.write_text("#!/bin/sh\necho ffmpeg version 4.4.2-0ubuntu0.22.04.1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    ffmpeg.program.cache_clear()
    assert Path(ffmpeg.program()).parent != tmp_path

    old.write_text("#!/bin/sh\necho ffmpeg version n6.1.1\n")
    ffmpeg.program.cache_clear()
    assert ffmpeg.program() == str(old)
    ffmpeg.program.cache_clear()
