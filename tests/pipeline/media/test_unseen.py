"""Nothing unexamined behind "all analysed": undecodable tracks, hidden content and false losses, in each container."""

from __future__ import annotations

import media_factory
import media_faults
import numpy as np
import pytest
from decoded import CONFIG, decode
from media_faults import CONTAINERS

from data.errors import InputError
from pipeline.media.base import VideoBatch
from pipeline.media.decoder import DecodePool

__all__ = ["decode"]


# 4. A track that is not analysed.


@pytest.mark.parametrize(
    ("ending", "codec"), [("mov", "adpcm_ima_qt"), ("avi", "adpcm_yamaha"), ("flv", "adpcm_swf")]
)
def test_sound_without_decoder_does_not_cost_the_picture(ending, codec, tmp_path, decode):
    clip = media_factory.write(tmp_path / "a.mp4", rate=44_100).path
    path = tmp_path / f"b.{ending}"
    picture = ("mjpeg", "-q:v", "2", "-r", "25") if ending == "avi" else ("copy",)
    media_factory.ffmpeg("-i", clip, "-c:v", *picture, "-c:a", codec, path)
    found = decode(path)
    assert found.numbers == list(range(50))
    assert not found.complete
    assert f"the audio codec '{codec}' is not accepted" in found.warnings
    assert "no audio track could be analysed" in found.warnings


def test_an_unknown_codec_before_aac_is_passed_over(tmp_path, decode):
    clip = media_factory.write(tmp_path / "a.mp4", audio_codec="libopus", rate=48_000).path
    second = media_factory.write(tmp_path / "b.m4a", n=None).path
    path = media_faults.tracks(tmp_path / "c.mp4", clip, second)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"Opus", b"Zpus"))
    found = decode(path)
    assert found.info.audio is not None
    assert found.info.audio.track == 2
    assert "sound track 1 (unknown) was not analysed" in found.warnings
    assert not found.complete


@pytest.mark.parametrize("ending", ["mp3", "m4a", "flac", "mkv"])
def test_a_cover_of_any_size_does_not_cost_the_sound(ending, tmp_path, decode):
    sound = media_factory.write(tmp_path / "a.m4a", n=None).path
    media_factory.ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "color=red:s=9000x9000",
        "-frames:v",
        "1",
        "-c:v",
        "mjpeg",
        cover := tmp_path / "c.jpg",
    )
    path = tmp_path / f"b.{ending}"
    options = ["-attach", str(cover), "-metadata:s:t", "mimetype=image/jpeg"] if ending == "mkv" else []
    inputs = ["-i", str(sound)] if options else ["-i", str(sound), "-i", str(cover), "-map", "0", "-map", "1"]
    flags = options or ["-c:v", "copy", "-disposition:v", "attached_pic"]
    media_factory.ffmpeg(*inputs, *flags, path)
    found = decode(path)
    track = found.coverage["audio"]
    assert track is not None
    assert track.decoded_s > 1.9
    assert "9000 x 9000" in found.warnings
    assert not found.complete


@pytest.mark.parametrize(("ending", "codec"), [("gif", "gif"), ("264", "libx264"), ("265", "libx265")])
def test_pictures_without_a_container_of_their_own_are_analysed(ending, codec, tmp_path, decode):
    clip = media_factory.write(tmp_path / "a.mp4", audio_seconds=None).path
    name = {"264": "h264", "265": "hevc"}.get(ending, ending)
    media_factory.ffmpeg("-i", clip, "-c:v", codec, "-f", name, path := tmp_path / f"b.{ending}")
    found = decode(path)
    assert found.complete, found.warnings
    assert found.numbers == list(range(50))


def test_dv_is_analysed(tmp_path, decode):
    clip = media_factory.write(tmp_path / "a.mp4", size=(720, 576)).path
    media_factory.ffmpeg("-i", clip, "-target", "pal-dv", path := tmp_path / "a.dv")
    found = decode(path)
    assert found.numbers == list(range(50))
    assert np.abs(found.sound).max() > 0.3
    assert found.complete, found.warnings


def test_what_cannot_be_read_is_refused_with_the_true_reason(tmp_path, decode):
    media_factory.ffmpeg(
        "-f", "lavfi", "-i", "testsrc=s=64x64:d=1", "-c:v", "libwebp_anim", path := tmp_path / "a.webp"
    )
    with pytest.raises(InputError, match="a WebP picture or animation"):
        decode(path)


# 5. Content that is there and not seen.


@pytest.mark.parametrize(
    ("ending", "codec"), [("wav", "pcm_s16le"), ("mkv", "flac"), ("m4a", "aac"), ("mov", "pcm_s16le")]
)
def test_channels_that_cancel_are_heard(ending, codec, tmp_path, decode):
    tone = media_factory.tones(2.0, 16_000, [0.25, 0.75, 1.25, 1.75])
    path = media_faults.samples(tmp_path / f"a.{ending}", np.concatenate([tone, -tone]), codec)
    found = decode(path)
    assert np.abs(found.sound).max() == pytest.approx(0.49, abs=0.03)
    assert "cancel out" in found.warnings


def test_speech_in_the_centre_of_six_channels_is_not_lost(tmp_path, decode):
    tone = media_factory.tones(2.0, 16_000, [0.25, 0.75, 1.25, 1.75])
    six = np.concatenate([tone * gain for gain in (0, 0, 1, 0, 0, 0)])
    found = decode(media_faults.samples(tmp_path / "a.wav", six))
    assert np.abs(found.sound).max() == pytest.approx(0.49, abs=0.03)


def test_channels_that_do_not_cancel_are_mixed_as_ever(tmp_path, decode):
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.3, 0.3, (2, 32_000)).astype(np.float32)
    found = decode(media_faults.samples(tmp_path / "a.wav", noise))
    assert found.sound == pytest.approx(noise.mean(axis=0), abs=1e-3)
    assert found.warnings == "no video track: only the sound was analysed"


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "mov"])
@pytest.mark.parametrize(("aspect", "shown"), [("1/3", (32, 64)), ("2", (192, 64)), ("1000/1001", (96, 64))])
def test_pixels_that_are_not_square_are_made_so(ending, aspect, shown, tmp_path):
    clip = media_factory.write(tmp_path / "a.mp4", n=5, audio_seconds=None).path
    path = tmp_path / f"b.{ending}"
    media_factory.ffmpeg(
        "-i", clip, "-vf", f"setsar={aspect}", "-c:v", "libx264", "-preset", "ultrafast", path
    )
    with DecodePool(CONFIG, None, None, threads=1) as pool:
        shapes = {
            batch.images.shape[1:3]
            for batch in pool.submit(path, ["visual"])
            if isinstance(batch, VideoBatch)
        }
    assert shapes == {shown[::-1]}


# 7. False "could not be decoded".


@pytest.mark.parametrize(
    ("container", "stays"),
    [("mp4", True), ("matroska", True), ("webm", True), ("flv", True), ("transport", False)],
)
def test_a_picture_that_stands_still_is_decoded_where_frames_come_only_on_change(
    container, stays, tmp_path, decode
):
    times = [k / 25 for k in range(75) if not 25 <= k < 60]
    kind = CONTAINERS[container]
    path = tmp_path / f"a.{kind.ending}"
    media_factory.write(path, times_s=times, audio_seconds=3.0, **{**(kind.video or {}), **kind.audio})
    found = decode(path)
    track = found.coverage["visual"]
    assert track is not None
    assert (track.fraction > 0.99) == stays
    assert found.complete == stays


@pytest.mark.parametrize("ending", ["mp3", "aac", "ts", "mpg"])
def test_an_estimated_length_is_not_held_against_the_file(ending, tmp_path, decode):
    # Silence compresses better than noise: the length cannot be told from the first bytes.
    source = tmp_path / "a.wav"
    media_factory.ffmpeg("-f", "lavfi", "-i", "aevalsrc='if(lt(t,2),random(0)-0.5,0)':s=44100:d=20", source)
    path = tmp_path / f"b.{ending}"
    codec = {"mp3": ["-c:a", "libmp3lame", "-q:a", "4", "-write_xing", "0"], "mpg": ["-c:a", "mp2"]}
    media_factory.ffmpeg("-i", source, *codec.get(ending, ["-c:a", "aac"]), path)
    found = decode(path)
    track = found.coverage["audio"]
    assert track is not None
    assert track.decoded_s == pytest.approx(20.0, abs=0.2)
    assert found.complete, found.warnings


def test_a_transport_stream_whose_sample_rate_changes_is_whole(tmp_path, decode):
    parts = []
    for rate in (48_000, 44_100):
        media_factory.write(tmp_path / f"{rate}.ts", n=None, rate=rate, audio_seconds=2.0)
        parts.append((tmp_path / f"{rate}.ts").read_bytes())
    (path := tmp_path / "both.ts").write_bytes(b"".join(parts))
    found = decode(path)
    track = found.coverage["audio"]
    assert track is not None
    assert track.decoded_s == pytest.approx(4.0, abs=0.3)
    assert track.fraction > 0.97


def test_a_saved_segment_of_a_stream_is_as_long_as_it_is(tmp_path, decode):
    # Its header announces the whole film; its fragments begin at 40 s.
    source = media_factory.write(tmp_path / "a.mp4", n=250, audio_seconds=10.0, options={"g": "50"}).path
    moved = media_faults.later(source, tmp_path / "b.mp4", 40.0)
    options = ("-c", "copy", "-movflags", "frag_keyframe+empty_moov+default_base_moof+dash")
    media_factory.ffmpeg("-i", moved, "-copyts", *options, path := tmp_path / "c.mp4")
    found = decode(path)
    assert found.complete, found.warnings
    assert found.info.duration_s == pytest.approx(10.0, abs=0.2)
