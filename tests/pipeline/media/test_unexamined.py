"""Nothing unexamined behind "100 % analysed": each kind of fault in each container that can have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import media_factory
import media_faults
import numpy as np
import pytest
from media_faults import CONTAINERS

from configs.schema import DecodeConfig
from data.errors import InputError, UsageError
from data.media import MediaInfo, StreamCoverage, TrackChoice
from pipeline.extraction.track import judge
from pipeline.media.base import VideoBatch
from pipeline.media.decoder import DecodePool

CONFIG = DecodeConfig()
PICTURES = [name for name, kind in CONTAINERS.items() if kind.video is not None]


@dataclass
class Decoded:
    """What comes of a file: facts, numbers of the pictures on the grid, samples, and what is said."""

    info: MediaInfo
    numbers: list[int]
    steps: int
    sound: np.ndarray
    coverage: dict[str, StreamCoverage | None]
    warnings: str
    complete: bool


Decode = Callable[..., Decoded]


@pytest.fixture(scope="module")
def decode() -> Iterator[Decode]:
    """Decodes a file as the product does, and holds its account against the invariant."""
    with DecodePool(CONFIG, None, None, threads=1) as pool:

        def give(path: Path, choice: TrackChoice | None = None) -> Decoded:
            with pool.submit(path, ("visual", "audio"), choice=choice) as stream:
                info, batches = stream.info(), list(stream)
                coverage = stream.coverage
            warnings, complete = judge(coverage, CONFIG.min_coverage, info)
            for track in coverage.values():
                if track is not None:
                    assert track.units == track.placed + track.dropped
                    assert not track.dropped or any("left out" in warning for warning in warnings)
            shown = [batch for batch in batches if isinstance(batch, VideoBatch)]
            images = [image for b in shown for image, valid in zip(b.images, b.valid, strict=True) if valid]
            heard = [batch.samples for batch in batches if not isinstance(batch, VideoBatch)]
            numbers = [media_factory.read_number(image) for image in images]
            return Decoded(
                info,
                [n for k, n in enumerate(numbers) if k == 0 or n != numbers[k - 1]],
                sum(len(batch.valid) for batch in shown),
                np.concatenate([*heard, np.zeros(0, np.float32)]),
                coverage,
                " | ".join(warnings),
                complete,
            )

        yield give


# 1. What the clock would discard.


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_clip_alone_is_whole(container, tmp_path, decode):
    found = decode(media_faults.write(tmp_path / f"a.{CONTAINERS[container].ending}", container).path)
    assert found.complete, found.warnings
    assert found.info.notes == ()
    assert found.info.others == ()
    if container in PICTURES:
        assert found.numbers == list(range(25))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("lengths_s", [(1.0, 2.0), (2.0, 1.0), (1.0, 1.0, 2.0)])
def test_joined_recordings_are_analysed_one_after_the_other_or_said_to_be_unread(
    container, lengths_s, tmp_path, decode
):
    found = decode(media_faults.joined(tmp_path, container, lengths_s))
    if len(lengths_s) == 2:
        assert found.complete == CONTAINERS[container].reads_on, found.warnings
    if not found.complete:
        assert "behind what players show" in found.warnings
        return
    assert found.info.duration_s == pytest.approx(sum(lengths_s), abs=0.4)
    for name, track in found.coverage.items():
        if track is not None:
            assert track.decoded_s == pytest.approx(sum(lengths_s), abs=0.4), name
    if container in PICTURES:
        assert found.numbers == [k for seconds in lengths_s for k in range(round(25 * seconds))]
    if container != "avi":  # whose packets carry no times: FFmpeg counts on
        assert "time stamps start again" in found.warnings


def test_picture_and_sound_of_joined_recordings_stay_together(tmp_path, decode):
    # The sound of the first part is 0.5 s shorter than its picture: the second part keeps its place.
    first, second = tmp_path / "a.mkv", tmp_path / "b.mkv"
    media_factory.write(first, n=50, audio_seconds=1.5, audio_codec="pcm_s16le")
    media_factory.write(second, n=50, audio_seconds=2.0, audio_codec="pcm_s16le")
    path = tmp_path / "joined.mkv"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    found = decode(path)
    # The second part begins at 2 s, its first tone 0.25 s later.
    assert media_factory.tone_centre_s(found.sound, 16_000, 2.25) == pytest.approx(2.25, abs=2e-3)


def test_sound_that_only_the_second_recording_has_belongs_to_it(tmp_path, decode):
    first, second = tmp_path / "a.mkv", tmp_path / "b.mkv"
    media_factory.write(first, n=50, audio_seconds=0.2, audio_codec="pcm_s16le")
    media_factory.write(second, n=50, audio_seconds=2.0, audio_codec="pcm_s16le")
    path = tmp_path / "joined.mkv"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    assert media_factory.tone_centre_s(decode(path).sound, 16_000, 2.25) == pytest.approx(2.25, abs=2e-3)


@pytest.mark.parametrize("ending", ["mkv", "flv"])
def test_pictures_with_the_time_stamps_of_others_are_counted_and_said(ending, tmp_path, decode):
    source = media_factory.write(tmp_path / "a.mp4", audio_seconds=None).path
    held: dict[str, int] = {}

    def hold(packet):
        # Pictures 20 to 29 all come at the time of picture 20.
        number = held.setdefault("n", 0)
        held["n"] += 1
        if 20 <= number < 30:
            held.setdefault("pts", packet.pts)
            packet.pts = packet.dts = held["pts"]
        return packet

    found = decode(media_faults.remuxed(source, tmp_path / f"held.{ending}", hold))
    track = found.coverage["visual"]
    assert track is not None
    assert (track.units, track.dropped) == (50, 9)
    assert not found.complete


def test_a_jump_ahead_of_a_transport_stream_s_clock_is_closed_and_said(tmp_path, decode):
    first = media_faults.write(tmp_path / "a.ts", "transport").path
    second = media_faults.later(first, tmp_path / "b.ts", 3600.0)
    path = tmp_path / "jump.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    found = decode(path)
    assert found.numbers == [*range(25), *range(25)]
    assert found.steps < 60
    assert "the clock jumps ahead" in found.warnings
    assert not found.complete


# 2. Which track.


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "mov"])
def test_the_speech_is_heard_and_the_silent_track_named(ending, tmp_path, decode):
    speech = media_factory.write(tmp_path / "speech.mp4").path
    silence = tmp_path / "silence.m4a"
    media_factory.ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "2", "-c:a", "aac", silence)
    found = decode(media_faults.tracks(tmp_path / f"two.{ending}", silence, speech))
    assert np.abs(found.sound).max() > 0.3
    assert [(track.kind, track.reason, track.evidence) for track in found.info.others] == [
        ("audio", "it is silent", False)
    ]
    assert "sound track 0 (aac) was not analysed: it is silent" in found.warnings


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "mov"])
def test_a_second_sound_is_named_and_can_be_chosen(ending, tmp_path, decode):
    first = media_factory.write(tmp_path / "first.mp4").path
    second = media_factory.write(tmp_path / "second.m4a", n=None, audio_seconds=1.0).path
    path = media_faults.tracks(tmp_path / f"two.{ending}", first, second)
    found, chosen = decode(path), decode(path, TrackChoice(audio=2))
    assert not found.complete
    assert "choose with --audio-track 2" in found.warnings
    assert len(found.sound) > 1.9 * 16_000 > len(chosen.sound)
    assert [track.track for track in chosen.info.others] == [1]
    with pytest.raises(UsageError, match="no sound track 7"):
        decode(path, TrackChoice(audio=7))


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
def test_a_picture_that_moves_comes_before_a_thumbnail(ending, tmp_path, decode):
    clip = media_factory.write(tmp_path / "a.mp4").path
    media_factory.ffmpeg("-i", clip, "-frames:v", "1", thumbnail := tmp_path / "t.jpg")
    found = decode(media_faults.tracks(tmp_path / f"b.{ending}", thumbnail, clip))
    assert found.numbers == list(range(50))
    assert [track.reason for track in found.info.others] == ["it is a single picture"]


def test_the_default_track_is_taken(tmp_path, decode):
    first = media_factory.write(tmp_path / "first.mp4").path
    second = media_factory.write(tmp_path / "second.mp4", n=25, audio_seconds=1.0).path
    flags = (
        "-disposition:v:0",
        "0",
        "-disposition:a:0",
        "0",
        "-disposition:v:1",
        "default",
        "-disposition:a:1",
        "default",
    )
    found = decode(media_faults.tracks(tmp_path / "two.mkv", first, second, options=flags))
    assert found.info.video is not None
    assert found.info.audio is not None
    assert (found.info.video.track, found.info.audio.track) == (2, 3)


def test_picture_and_sound_are_of_one_program(tmp_path, decode):
    first = media_factory.write(tmp_path / "first.mp4", audio_seconds=None).path
    second = media_factory.write(tmp_path / "second.mp4").path
    options = ("-program", "program_num=1:st=0", "-program", "program_num=2:st=1:st=2")
    found = decode(media_faults.tracks(tmp_path / "two.ts", first, second, options=options))
    assert found.info.audio is None
    assert {(track.kind, track.program) for track in found.info.others} == {("video", 2), ("audio", 2)}
    assert "program 2" in found.warnings
    assert not found.complete


# 3. Start offset.


@pytest.mark.parametrize("container", ["mp4", "matroska", "webm", "transport", "flv", "program"])
@pytest.mark.parametrize("offset_s", [0.5, 300.0, 70_000.0])
def test_a_late_start_changes_nothing_but_the_origin(container, offset_s, tmp_path, decode):
    ending = CONTAINERS[container].ending
    # In MP4 the samples that AAC needs to warm up are hidden by an edit, which ffmpeg leaves out in the moved file.
    settings = {"audio_codec": "alac"} if container == "mp4" else {}
    source = media_faults.write(tmp_path / f"a.{ending}", container, **settings).path
    base = media_faults.later(source, tmp_path / f"b.{ending}", 0.0)
    moved = decode(media_faults.later(base, tmp_path / f"c.{ending}", offset_s))
    still = decode(base)
    assert moved.numbers == still.numbers
    assert moved.steps == still.steps
    assert len(moved.sound) == pytest.approx(len(still.sound), abs=16)
    assert moved.complete
    if container != "program":  # whose muxer writes its own start
        assert moved.info.origin_s - still.info.origin_s == pytest.approx(offset_s, abs=0.01)
    assert moved.info.duration_s == pytest.approx(still.info.duration_s, abs=0.1)


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
