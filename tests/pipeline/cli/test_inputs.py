"""What may stand behind --input, and what is said of what is not analysed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import media_factory
import pytest

from pipeline.cli import lacks_memory


@pytest.mark.parametrize("source", ["-", "https://example.org/a.mp4", "rtsp://10.0.0.1/live"])
def test_only_local_files_are_read(source: str, cli: Callable[..., Any], tiny_bundle: Path) -> None:
    answer = cli("run", "--input", source, "--weights", tiny_bundle)
    assert answer.code == 2
    assert "only local files are read" in answer.err


def test_a_folder_s_scan_says_what_it_passed_over(
    cli: Callable[..., Any], tiny_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    clip = media_factory.write(tmp_path / "a.mp4", n=25, audio_seconds=1.0).path
    for name in ("a.mp4", "below/b.f4v", "c.M4V"):
        shutil.copy(clip, folder / name)
    for name in ("notes.txt", "below/clip.xyz", ".hidden"):
        (folder / name).write_text("words")
    answer = cli("run", "--input", folder, "--weights", tiny_bundle, "--no-html", "--out", tmp_path / "out")
    assert answer.code == 0
    assert "passed over, by their endings: 2 file(s): below/clip.xyz, notes.txt" in answer.out
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.json")) == [
        "a.mp4.json",
        "b.f4v.json",
        "c.M4V.json",
    ]


def test_a_track_can_be_chosen_and_the_others_are_in_the_report(
    cli: Callable[..., Any], tiny_bundle: Path, tmp_path: Path
) -> None:
    first = media_factory.write(tmp_path / "first.mp4", n=25, audio_seconds=1.0).path
    second = media_factory.write(tmp_path / "second.m4a", n=None, audio_seconds=0.6).path
    path = tmp_path / "two.mkv"
    media_factory.ffmpeg("-i", first, "-i", second, "-map", "0", "-map", "1", "-c", "copy", path)
    out = tmp_path / "out"
    call = ("run", "--input", path, "--weights", tiny_bundle, "--out", out, "--store", tmp_path / "store")
    for extra, taken, left in (((), 1, 2), (("--audio-track", "2"), 2, 1), ((), 1, 2)):
        answer = cli(*call, *extra)
        assert answer.code == 4
        assert f"sound track {left} (aac) was not analysed" in answer.out
        page = (out / "two.mkv.html").read_text(encoding="utf-8")
        assert f"Sound track {left}" in page
        report = read(out / "two.mkv.json")
        assert report["input"]["audio"]["track"] == taken
        assert [track["track"] for track in report["input"]["not_analysed"]] == [left]
        assert report["coverage"]["audio"]["decoded_s"] == pytest.approx(1.0 if taken == 1 else 0.6, abs=0.1)
    answer = cli(*call, "--video-track", "1")
    assert answer.code == 2
    assert "has no picture track 1" in answer.err


def read(path: Path) -> Any:
    """The report at `path`."""
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_too_little_memory_is_told_from_other_errors(error: Exception) -> None:
    assert lacks_memory(error)
    assert not lacks_memory(RuntimeError("boom"))
