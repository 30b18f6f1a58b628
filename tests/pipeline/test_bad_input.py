"""One table of everything that users feed in by mistake or misfortune, and what they are told.

All files of the table lie in one folder with a sound one, and one call analyses them all, as a user's would.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import media_factory
import pytest

GOOD = "good.mp4"


@dataclass(frozen=True)
class Row:
    """A bad file: its name, how it is made, and what must come of it.

    `code` is the exit code of a call on this file alone; `says` must all stand in the warnings or the error.
    """

    name: str
    make: Callable[[Path], Any]
    code: int
    says: tuple[str, ...]


def subtitles_only(path: Path) -> None:
    text = path.with_suffix(".srt")
    text.write_text("1\n00:00:00,000 --> 00:00:01,000\nnothing to see\n\n")
    media_factory.ffmpeg("-i", text, "-c", "copy", path)
    text.unlink()


def absurd_dimensions(path: Path) -> None:
    """A small file whose pictures claim to be 12,000 x 12,000 pixels, in the container and in each JPEG."""
    media_factory.write(
        path, codec="mjpeg", pix_fmt="yuvj420p", audio_codec="pcm_s16le", n=5, audio_seconds=0.2
    )
    content, claim = path.read_bytes(), 12_000
    # The stream's BITMAPINFOHEADER follows the size of the chunk `strf`: size, width and height, 4 bytes each.
    place = content.index(b"strf") + 8 + 4
    content = content[:place] + claim.to_bytes(4, "little") * 2 + content[place + 8 :]
    # A JPEG's frame header: marker, length, 8 bits a sample, height and width, 2 bytes each.
    header = b"\xff\xc0\x00\x11\x08"
    old = header + (64).to_bytes(2, "big") + (96).to_bytes(2, "big")
    assert content.count(old) == 5
    path.write_bytes(content.replace(old, header + claim.to_bytes(2, "big") * 2))


def make(clip: str) -> Callable[[Path], Any]:
    """Maker of a clip of the media factory under another name."""
    return media_factory.CLIPS[clip][1]


TABLE = (
    Row("no_audio.mp4", make("no_audio"), 0, ("no audio track", "only the picture")),
    Row("no_video.m4a", make("no_video"), 0, ("no video track", "only the sound")),
    Row("cover_art.m4a", make("cover_art"), 0, ("no video track", "only the sound")),
    Row("neither.mkv", subtitles_only, 3, ("neither a video nor an audio track", "choose a file")),
    Row("empty.mp4", lambda path: path.write_bytes(b""), 3, ("empty", "again")),
    Row("text.mp4", lambda path: path.write_text("Dear diary, " * 500), 3, ("not", "ffmpeg")),
    Row("truncated.mp4", make("truncated_mp4"), 3, ("truncated MP4", "copy it again")),
    Row("truncated_front.mp4", make("truncated_front"), 4, ("% of the picture could be decoded",)),
    Row("truncated.mkv", make("truncated_mkv"), 4, ("% of the picture could be decoded",)),
    Row("corrupt.mp4", make("corrupt"), 4, ("damaged piece(s) of the picture",)),
    Row("corrupt_audio.mp4", make("corrupt_audio"), 4, ("% of the sound could be decoded",)),
    Row("one_frame.mp4", make("one_frame"), 0, ("no audio track",)),
    Row("tenth.mp4", make("tenth"), 0, ()),
    Row("absurd.avi", absurd_dimensions, 3, ("12000 x 12000", "decode.max_pixels")),
)
ROWS = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files of the table, half of them in a folder below, and a sound one among them."""
    root = tmp_path_factory.mktemp("input")
    (root / "below").mkdir()
    for row in TABLE:
        row.make(root / "below" / row.name)
    media_factory.write(root / GOOD)
    return root


@dataclass(frozen=True)
class Call:
    """One call of the real command on the whole folder."""

    code: int
    out: str
    err: str
    reports: Path

    def report(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.reports / f"{name}.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def call(folder: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Call:
    reports = tmp_path_factory.mktemp("reports")
    command = [Path(sys.executable).parent / "pipeline", "run", "--input", folder, "--out", reports]
    done = subprocess.run([*command, "--weights", tiny_bundle], capture_output=True, text=True, timeout=600)
    return Call(done.returncode, done.stdout, done.stderr, reports)


def test_a_folder_with_bad_files_ends_with_exit_code_4(call: Call) -> None:
    assert call.code == 4


def test_the_good_file_among_them_is_analysed(call: Call) -> None:
    report = call.report(GOOD)
    assert report["schema"] == "rt-deeploc/report@3"
    assert report["complete"]
    assert report["warnings"] == []


def test_no_traceback_reaches_the_user(call: Call) -> None:
    assert "Traceback" not in call.out + call.err


@ROWS
def test_the_file_is_named_with_what_to_do(row: Row, call: Call) -> None:
    report = call.report(f"below/{row.name}")
    if row.code == 3:
        lines = [line for line in call.err.splitlines() if line.startswith("error: ") and row.name in line]
        assert len(lines) == 1, call.err
        assert report["schema"] == "rt-deeploc/error@1"
        assert report["error"]["exit_code"] == 3
        assert report["error"]["fix"]
        said = lines[0]
    else:
        said = " ".join(report["warnings"])
        assert all(f"warning: {warning}" in call.out for warning in report["warnings"])
    assert all(part in said for part in row.says), said


@ROWS
def test_what_was_not_decoded_is_in_the_report(row: Row, call: Call) -> None:
    report = call.report(f"below/{row.name}")
    assert report.get("complete", False) == (row.code == 0)
    if row.code == 4:
        fractions = [track["fraction"] for track in report["coverage"].values() if track is not None]
        assert min(fractions) < 0.99


@ROWS
def test_the_closing_table_has_the_file(row: Row, call: Call) -> None:
    lines = [line for line in call.out.splitlines() if line.startswith(f"below/{row.name} ")]
    assert len(lines) == 1, call.out
    assert ("could not be analysed" in lines[0]) == (row.code == 3)
    assert ("partly decoded" in lines[0]) == (row.code == 4)


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.name in ("tenth.mp4", "corrupt.mp4", "text.mp4")]
)
def test_a_file_alone_gives_the_exit_code_of_its_kind(
    row: Row, folder: Path, tiny_bundle: Path, cli: Callable[..., Any]
) -> None:
    answer = cli("run", "--input", folder / "below" / row.name, "--weights", tiny_bundle)
    assert answer.code == row.code
    assert "Traceback" not in answer.err


def test_a_folder_of_bad_files_only_gives_exit_code_3(
    tmp_path: Path, tiny_bundle: Path, cli: Callable[..., Any]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"")
    (tmp_path / "in" / "b.mp4").write_text("no")
    assert cli("run", "--input", tmp_path / "in", "--weights", tiny_bundle).code == 3


def one_line(answer: Any, code: int, *says: str | Path) -> None:
    """A refusal before anything was analysed: one line on standard error, nothing else anywhere."""
    assert answer.code == code, answer.err
    lines = [line for line in answer.err.splitlines() if not line.startswith("weights:")]
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("error: ")
    assert all(str(part) in lines[0] for part in says), lines[0]
    assert answer.out == ""


def test_a_missing_file(tmp_path: Path, tiny_bundle: Path, cli: Callable[..., Any]) -> None:
    path = tmp_path / "gone.mp4"
    one_line(cli("run", "--input", path, "--weights", tiny_bundle), 3, path, "check the path")


def test_a_folder_without_media(tmp_path: Path, tiny_bundle: Path, cli: Callable[..., Any]) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("nothing here")
    answer = cli("run", "--input", tmp_path / "notes", "--weights", tiny_bundle)
    one_line(answer, 3, tmp_path / "notes", "no media file", ".mp4")


def test_a_file_that_may_not_be_read(
    folder: Path, tmp_path: Path, tiny_bundle: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret.mp4"
    shutil.copy(folder / GOOD, path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything, so the refusal is simulated for it
        import pipeline.media.digest

        def refuse(name: Any, mode: str = "r") -> Any:
            raise PermissionError(13, "Permission denied", str(name))

        monkeypatch.setattr(pipeline.media.digest, "open", refuse, raising=False)
    answer = cli("run", "--input", path, "--weights", tiny_bundle, "--out", tmp_path / "out")
    assert answer.code == 3
    assert f"error: {path}: may not be read" in answer.err
    assert "chmod" in answer.err


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            lambda bundle: (bundle / "rt_deeploc.safetensors").write_text("no weights"),
            "rt_deeploc.safetensors",
        ),
        (lambda bundle: (bundle / "rt_deeploc.safetensors").unlink(), "pipeline train"),
        (lambda bundle: (bundle / "tsn.safetensors").write_bytes(b"\0" * 100), "tsn.safetensors"),
        (lambda bundle: (bundle / "tsn.safetensors").unlink(), "tsn.safetensors"),
        (lambda bundle: shutil.rmtree(bundle / "wav2vec2"), "wav2vec2"),
        (lambda bundle: (bundle / "config.yaml").unlink(), "config.yaml"),
        (
            lambda bundle: shutil.copy(bundle / "tsn.safetensors", bundle / "rt_deeploc.safetensors"),
            "another model",
        ),
    ],
    ids=["garbage", "missing", "garbage tsn", "missing tsn", "missing wav2vec2", "no config", "swapped"],
)
def test_wrong_weights(
    damage: Callable[[Path], Any],
    says: str,
    folder: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    cli: Callable[..., Any],
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    damage(bundle)
    one_line(cli("run", "--input", folder / GOOD, "--weights", bundle), 5, bundle, says, "; ")


def test_weights_that_are_not_there(folder: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    answer = cli("run", "--input", folder / GOOD, "--weights", tmp_path / "gone")
    one_line(answer, 5, tmp_path / "gone", "no such weights folder")


def test_the_paper_preset_says_which_command_trains_it(folder: Path, cli: Callable[..., Any]) -> None:
    answer = cli("run", "--input", folder / GOOD, "--preset", "paper")
    one_line(answer, 5, "pipeline train --preset paper", "--weights")


def test_dimensions_that_do_not_fit_the_extractors(
    folder: Path, tiny_bundle: Path, cli: Callable[..., Any]
) -> None:
    answer = cli("run", "--input", folder / GOOD, "--weights", tiny_bundle, "--set", "model.audio_dim=24")
    one_line(answer, 5, tiny_bundle, "audio extractor gives 16 numbers a step, not 24")


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--set", "localize.onsett=0.6"), "did you mean 'localize.onset'?"),
        (("--set", "localize.onset=7"), "localize.onset"),
        (("--set", "localize.onset"), "KEY=VALUE"),
        (("--device", "cuda:99"), "no device 'cuda:99'"),
        (("--device", "toaster"), "no device 'toaster'"),
        (("--preset", "paper"), "preset 'compact', not 'paper'"),
    ],
)
def test_wrong_settings(
    option: tuple[str, str], says: str, folder: Path, tiny_bundle: Path, cli: Callable[..., Any]
) -> None:
    one_line(cli("run", "--input", folder / GOOD, "--weights", tiny_bundle, *option), 2, says)


@pytest.mark.parametrize("option", ["--out", "--json"])
def test_an_output_place_that_cannot_be_written(
    option: str, folder: Path, tiny_bundle: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    (tmp_path / "file").write_text("in the way")
    place = tmp_path / "file" / "below" / "report.json"
    answer = cli("run", "--input", folder / GOOD, "--weights", tiny_bundle, option, place)
    one_line(answer, 2, tmp_path / "file", option)


def test_a_store_that_cannot_be_written(
    folder: Path, tiny_bundle: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    (tmp_path / "file").write_text("in the way")
    for command in ("run", "extract"):
        answer = cli(
            command, "--input", folder / GOOD, "--weights", tiny_bundle, "--store", tmp_path / "file"
        )
        one_line(answer, 2, tmp_path / "file", "--store")


def test_debug_shows_the_traceback(tmp_path: Path, tiny_bundle: Path, cli: Callable[..., Any]) -> None:
    (tmp_path / "empty.mp4").touch()
    answer = cli("run", "--input", tmp_path / "empty.mp4", "--weights", tiny_bundle, "--debug")
    assert answer.code == 3
    assert "Traceback" in answer.err
