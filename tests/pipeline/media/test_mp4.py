"""What MP4 boxes say, on written files with known length and on files damaged in known ways."""

from __future__ import annotations

from pathlib import Path

import media_factory
import pytest

from data.errors import InputError
from pipeline.media.mp4 import Mp4Facts, look_into


def box(name: bytes, content: bytes = b"", size: int | None = None) -> bytes:
    return (8 + len(content) if size is None else size).to_bytes(4, "big") + name + content


def mvhd(scale: int, ticks: int, wide: bool = False) -> bytes:
    times = scale.to_bytes(4, "big") + ticks.to_bytes(8 if wide else 4, "big")
    return box(b"mvhd", bytes([wide, 0, 0, 0]) + bytes(16 if wide else 8) + times)


def track(kind: bytes, samples: int) -> bytes:
    handler = box(b"hdlr", bytes(8) + kind + bytes(12))
    table = box(b"minf", box(b"stbl", box(b"stsz", bytes(8) + samples.to_bytes(4, "big"))))
    return box(b"trak", box(b"mdia", handler + table))


HEAD = box(b"ftyp", b"isomxxxx")
INDEX = box(b"moov", mvhd(1000, 4672) + track(b"soun", 73) + track(b"vide", 115))
MEDIA = box(b"mdat", bytes(100))


def facts(folder: Path, content: bytes) -> Mp4Facts:
    path = folder / "x.mp4"
    path.write_bytes(content)
    return look_into(path)


def test_length_and_pictures_of_a_written_file(tmp_path: Path) -> None:
    clip = media_factory.write(tmp_path / "clip.mp4", n=30, audio_seconds=1.2)
    seen = look_into(clip.path)
    assert seen.video_frames == 30
    assert seen.duration_s == pytest.approx(1.2, abs=0.1)


@pytest.mark.parametrize("order", [HEAD + INDEX + MEDIA, HEAD + MEDIA + INDEX, INDEX + MEDIA])
def test_the_index_may_stand_anywhere(tmp_path: Path, order: bytes) -> None:
    assert facts(tmp_path, order) == Mp4Facts(4.672, 115)


def test_long_sizes_and_media_up_to_the_end_are_understood(tmp_path: Path) -> None:
    long = (1).to_bytes(4, "big") + b"mdat" + (16 + 50).to_bytes(8, "big") + bytes(50)
    assert facts(tmp_path, HEAD + long + INDEX).video_frames == 115
    assert facts(tmp_path, HEAD + INDEX + box(b"mdat", bytes(9), size=0)).video_frames == 115
    wide = box(b"moov", mvhd(90_000, 90_000 * 3600, wide=True))
    assert facts(tmp_path, HEAD + wide) == Mp4Facts(3600.0, None)


def test_what_the_index_does_not_say_is_unknown(tmp_path: Path) -> None:
    assert facts(tmp_path, HEAD + box(b"moov")) == Mp4Facts(None, None)
    unknown = box(b"moov", mvhd(1000, 2**32 - 1) + track(b"vide", 0) + box(b"trak", b"damaged"))
    assert facts(tmp_path, HEAD + unknown) == Mp4Facts(None, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (bytes(4096), "has no index"),
        (HEAD + MEDIA, "has no index"),
        (HEAD + INDEX + MEDIA[:-1], "its part mdat ends 1 bytes past the end"),
        (HEAD + MEDIA[:50], "its part mdat ends 58 bytes past the end"),
        (HEAD + MEDIA + INDEX[:-10], "its part moov ends 10 bytes past the end"),
        (b"<!DOCTYPE html><html>not found</html>", "is not an MP4 file"),
        (b"\x1aE\xdf\xa3" + bytes(100), "is not an MP4 file"),
        (b"short", "has no index"),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        facts(tmp_path, content)


def test_zeros_after_the_last_box_do_no_harm(tmp_path: Path) -> None:
    assert facts(tmp_path, HEAD + INDEX + MEDIA + bytes(512)).video_frames == 115


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        look_into(tmp_path / "gone.mp4")
    with pytest.raises(InputError, match="cannot be read"):
        look_into(tmp_path)
