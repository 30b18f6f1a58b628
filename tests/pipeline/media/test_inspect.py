"""What is found out about a file, and what is refused: each with what, which file, and what to do."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

import media_factory
import pytest
from decoded import probe

from configs.schema import DecodeConfig
from data.errors import InputError
from data.media import AudioStream, VideoStream
from pipeline.media.digest import digest
from pipeline.media.inspect import inspect

CONFIG = DecodeConfig()
LARGE, LONG = 10**8, 1e5


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shared = tmp_path_factory.getbasetemp() / "media"
    shared.mkdir(exist_ok=True)
    return shared


def refusal(path: Path, config: DecodeConfig = CONFIG) -> InputError:
    with pytest.raises(InputError) as caught:
        probe(path, config)
    error = caught.value
    assert Path(error.path) == path
    assert error.fix
    assert "\n" not in str(error)
    assert error.exit_code == 3
    return error


def test_a_probed_file_is_described_and_hashed(folder):
    path = media_factory.make("stereo48", folder).path
    info = probe(path, CONFIG)

    assert info.path == path
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert info.size_bytes == path.stat().st_size
    assert (info.origin_s, info.duration_s) == (0.0, 2.0)
    assert info.video == VideoStream("h264", 96, 64, 0, "yuv420p", 25.0, 0.0, 2.0, track=0)
    assert info.audio == AudioStream("aac", 48_000, 2, 0.0, 2.0, track=1)


@pytest.mark.parametrize(
    ("name", "rotation"), [("rotated90", 270), ("rotated180", 180), ("rotated270", 90), ("cfr25", 0)]
)
def test_rotation_is_told_in_degrees_clockwise(folder, name, rotation):
    info = inspect(media_factory.make(name, folder).path, LARGE, LONG)
    assert info.video is not None
    assert info.video.rotation == rotation


def test_the_starts_of_tracks_are_kept_apart(folder):
    info = inspect(media_factory.make("late_video", folder).path, LARGE, LONG)
    assert info.video is not None
    assert info.audio is not None
    assert (info.origin_s, info.video.start_s, info.audio.start_s) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize(("tags", "length_s"), [((), 2.0), (("_STATISTICS_WRITING_APP=mkvmerge",), 7.0)])
def test_a_matroska_track_that_starts_late_is_as_long_as_it_lasts(folder, tmp_path, tags, length_s):
    # FFmpeg tags 2 s of pictures that start at 5 s with DURATION 7 s, their end; mkvmerge would tag their length.
    path = tmp_path / "late.mkv"
    source = media_factory.make("cfr25", folder).path
    options = [part for tag in tags for part in ("-metadata:s:v", tag)]
    media_factory.ffmpeg("-i", source, "-c", "copy", *options, "-output_ts_offset", "5", path)
    info = inspect(path, LARGE, LONG)
    assert info.video is not None
    assert (info.origin_s, info.video.start_s) == (5.0, 0.0)
    assert info.video.duration_s == pytest.approx(length_s, abs=0.001)


def test_the_clock_of_a_transport_stream_begins_with_its_first_track(folder):
    # The muxer starts at 10 s and AAC begins 64 ms before time 0; the probe counts from there on.
    path = media_factory.make("transport", folder).path
    info = inspect(path, LARGE, LONG)
    assert info.video is not None
    assert info.audio is not None
    assert info.origin_s == pytest.approx(10.0, abs=0.1)
    assert info.audio.start_s == pytest.approx(0.0, abs=1e-3)
    assert info.video.start_s == pytest.approx(0.064, abs=1e-3)


def test_matroska_durations_come_from_its_tags(folder):
    info = inspect(media_factory.make("matroska", folder).path, LARGE, LONG)
    assert info.video is not None
    assert info.video.duration_s == pytest.approx(2.0, abs=1e-3)


def test_a_time_base_is_not_taken_for_a_frame_rate(folder):
    info = inspect(media_factory.make("audio_hole", folder).path, LARGE, LONG)
    assert info.video is not None
    assert info.video.average_fps <= 1000


@pytest.mark.parametrize("name", ["no_video", "cover_art"])
def test_cover_art_is_no_video_track(folder, name):
    info = inspect(media_factory.make(name, folder).path, LARGE, LONG)
    assert info.video is None
    assert info.audio is not None


def test_a_file_without_sound_has_no_audio_track(folder):
    assert inspect(media_factory.make("no_audio", folder).path, LARGE, LONG).audio is None


def test_subtitle_tracks_are_ignored(folder, tmp_path):
    text, path = tmp_path / "words.srt", tmp_path / "subtitled.mkv"
    text.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    clip = media_factory.make("cfr25", folder).path
    media_factory.ffmpeg("-i", text, "-i", clip, "-map", "0", "-map", "1", "-c", "copy", path)
    info = inspect(path, LARGE, LONG)
    assert info.video is not None
    assert info.audio is not None


def test_a_missing_file(tmp_path):
    assert "does not exist" in refusal(tmp_path / "absent.mp4").what


def test_a_folder(tmp_path):
    assert "is a folder" in refusal(tmp_path).what


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "not a regular file" in refusal(tmp_path / "pipe.mp4").what


def test_an_unreadable_file(tmp_path, monkeypatch):
    path = tmp_path / "secret.mp4"
    path.write_bytes(b"x")
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser reads everything: have the system refuse
        monkeypatch.setattr("builtins.open", _refuse)
    error = refusal(path)
    assert "may not be read" in error.what
    assert "chmod u+r secret.mp4" in error.fix
    path.chmod(stat.S_IRUSR)


def _refuse(*_: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_a_digest_alone_opens_nothing_and_refuses_the_same(tmp_path):
    path = tmp_path / "letter.mp4"
    path.write_bytes(b"no media")
    assert digest(path) == (hashlib.sha256(b"no media").hexdigest(), 8)
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "empty.mp4").touch()
    for bad in (tmp_path, tmp_path / "absent.mp4", tmp_path / "pipe.mp4", tmp_path / "empty.mp4"):
        with pytest.raises(InputError) as caught:
            digest(bad)
        assert str(caught.value) == str(refusal(bad))


def test_an_empty_file(tmp_path):
    (tmp_path / "empty.mp4").touch()
    assert "0 bytes" in refusal(tmp_path / "empty.mp4").what


@pytest.mark.parametrize("content", [b"only words\n" * 100, bytes(range(256)) * 40, b"\0" * 4096, b"x"])
def test_what_is_no_media(tmp_path, content):
    path = tmp_path / "letter.mp4"
    path.write_bytes(content)
    error = refusal(path)
    assert "not a media file" in error.what
    assert "ffmpeg" in error.fix


@pytest.mark.parametrize("name", ["list.ffconcat", "list.mp4"])
def test_a_playlist_that_would_open_other_files_is_refused(folder, tmp_path, name):
    clip = media_factory.make("cfr25", folder).path
    shutil.copy(clip, tmp_path / "clip.mp4")
    (tmp_path / name).write_text("ffconcat version 1.0\nfile clip.mp4\n")
    assert "not a media file" in refusal(tmp_path / name).what


def test_a_picture_file_is_refused(tmp_path):
    media_factory.ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", tmp_path / "photo.png")
    assert "not a media file" in refusal(tmp_path / "photo.png").what


def test_a_codec_that_few_use_is_refused_by_name(tmp_path):
    # MagicYUV is the decoder of CVE-2026-8461.
    path = tmp_path / "magic.avi"
    media_factory.write(path, n=2, codec="magicyuv", pix_fmt="yuv420p", audio_seconds=None, clock=25)
    assert refusal(path).what == "the video codec 'magicyuv' is not accepted"


def test_a_file_with_subtitles_only(tmp_path):
    text, path = tmp_path / "words.srt", tmp_path / "words.mkv"
    text.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    media_factory.ffmpeg("-i", text, path)
    assert "neither a video nor an audio track" in refusal(path).what


def test_pictures_larger_than_allowed(folder):
    path = media_factory.make("cfr25", folder).path
    error = refusal(path, CONFIG.model_copy(update={"max_pixels": 96 * 64 - 1}))
    assert "96 x 64 pixels" in error.what
    assert "decode.max_pixels" in error.fix
    assert probe(path, CONFIG.model_copy(update={"max_pixels": 96 * 64})).video is not None


def test_a_file_longer_than_allowed(folder):
    error = refusal(
        media_factory.make("cfr25", folder).path, CONFIG.model_copy(update={"max_duration_s": 1.0})
    )
    assert "lasts 2 s" in error.what


def test_a_truncated_mp4_is_called_by_its_name(folder):
    error = refusal(media_factory.make("truncated_mp4", folder).path)
    assert "truncated MP4" in error.what
    assert "untrunc" in error.fix


def test_a_truncated_matroska_opens(folder):
    info = probe(media_factory.make("truncated_mkv", folder).path, CONFIG)
    assert info.video is not None
    assert info.video.duration_s == pytest.approx(3.0, abs=1e-3)


@pytest.mark.parametrize(
    "name", ["-i.mp4", "a:b.mp4", "http:x.mp4", "clip %03d.mp4", "ein Zürich 視頻.mp4", b"\xff\xfe.mp4"]
)
def test_odd_file_names_are_names(folder, tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    shutil.copy(media_factory.make("cfr25", folder).path, path)
    assert probe(path, CONFIG).path == path


def test_nothing_is_printed(folder, tmp_path, capfd):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(media_factory.make("cfr25", folder).path.read_bytes()[:300])
    refusal(broken)
    probe(media_factory.make("corrupt", folder).path, CONFIG)
    assert capfd.readouterr() == ("", "")
