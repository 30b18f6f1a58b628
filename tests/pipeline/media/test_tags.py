"""What a container notes about its making is told as it is, and what does not fit together is mentioned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import media_factory
import pytest

from configs.schema import DecodeConfig
from data.declared import Tag
from data.media import AudioStream, MediaInfo, VideoStream
from pipeline.media.decoder import DecodePool
from pipeline.media.inspect import inspect
from pipeline.media.tags import mismatches


def noted(path: Path) -> dict[tuple[str, str], str]:
    return {(tag.where, tag.name): tag.value for tag in inspect(path, 10**8, 1e5).tags}


def test_programs_and_times_are_told_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        container.metadata.update({"encoder": "ignored", "creation_time": "2024-05-06T07:08:09.000000Z"})
        container.metadata["title"] = "a holiday"
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for k in range(5):
            picture = av.VideoFrame.from_ndarray(media_factory.picture(k, 64, 64), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    found = noted(path)
    assert found["file", "creation_time"] == "2024-05-06T07:08:09.000000Z"
    assert found["file", "encoder"].startswith("Lavf")
    assert found["file", "major_brand"] == "isom"
    assert found["track 0", "written by"].startswith("x264 - core ")
    assert "a holiday" not in found.values()


def test_an_encoder_of_sound_is_told_from_its_first_packet(tmp_path: Path) -> None:
    media_factory.write(tmp_path / "clip.mp4", n=10, audio_seconds=1.0)
    assert noted(tmp_path / "clip.mp4")["track 1", "written by"].startswith("Lavc")


def test_long_and_many_notes_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    media_factory.write(path, n=10, audio_seconds=None)
    with av.open(str(path)) as source, av.open(str(tmp_path / "noted.mkv"), "w") as target:
        target.metadata["software"] = "y" * 5000
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert noted(tmp_path / "noted.mkv")["file", "software"] == "y" * 200


def test_the_notes_come_through_the_decoding_process(tmp_path: Path) -> None:
    path = media_factory.write(tmp_path / "clip.mp4", n=10, audio_seconds=0.4).path
    expected = inspect(path, 10**8, 1e5).tags
    assert expected
    with DecodePool(DecodeConfig(), 64, None) as pool, pool.submit(path, []) as stream:
        assert stream.info().tags == expected


@pytest.fixture
def info() -> MediaInfo:
    video = VideoStream("h264", 64, 64, 0, "yuv420p", 25.0, 0.0, 10.0)
    audio = AudioStream("aac", 16_000, 1, 0.0, 10.3, 1)
    return MediaInfo(Path("a.mp4"), "", 0, "mp4", 0.0, 10.3, video, audio)


def test_tracks_that_fit_are_not_mentioned(info: MediaInfo) -> None:
    same = Tag("file", "creation_time", "2024"), Tag("track 0", "creation_time", "2024")
    assert mismatches(replace(info, tags=same)) == ()


def test_lengths_starts_and_times_that_differ_are_mentioned(info: MediaInfo) -> None:
    assert info.audio is not None
    times = tuple(Tag(f"track {k}", "creation_time", f"202{k}") for k in range(2))
    odd = replace(info, audio=replace(info.audio, duration_s=8.25, start_s=0.5), tags=times)
    assert mismatches(odd) == (
        "The picture lasts 10.00 s, the sound 8.25 s.",
        "The picture starts at 0.00 s, the sound at 0.50 s.",
        "The times of creation differ: track 0 2020, track 1 2021.",
    )


def test_lengths_that_nobody_announces_are_no_mismatch(info: MediaInfo) -> None:
    assert info.video is not None
    assert mismatches(replace(info, video=replace(info.video, duration_s=None))) == ()
    assert mismatches(replace(info, audio=None)) == ()
