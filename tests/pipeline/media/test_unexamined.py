"""Nothing unexamined behind "all analysed": joined files, choice of tracks, late starts, in each container."""

from __future__ import annotations

import media_factory
import media_faults
import numpy as np
import pytest
from decoded import PICTURES, decode
from media_faults import CONTAINERS

from data.errors import UsageError
from data.media import TrackChoice

__all__ = ["decode"]


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
