"""Single pictures of a clip are those that the clock shows, and little else is decoded for them."""

from __future__ import annotations

from pathlib import Path

import media_factory
import numpy as np
import pytest
from decoded import probe

from configs.schema import DecodeConfig
from data.errors import InputError, MemoryLimitError
from data.media import MediaInfo
from pipeline.media.decoder import Decoder
from pipeline.media.inspect import inspect
from pipeline.media.stills import NEAR_S, Stills

CONFIG = DecodeConfig()
BOX = (320, 160)
N = 1000
"""Frames of the long clips: 40 s."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shared = tmp_path_factory.getbasetemp() / "media"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 s with a key frame every second."""
    path = tmp_path_factory.mktemp("stills") / "long.mp4"
    media_factory.write(path, n=N, audio_seconds=None, options={"g": "25", "bf": "2"})
    return path


def known(path: Path) -> MediaInfo:
    return inspect(path, 10**8, 1e5)


def number(image: np.ndarray | None) -> int | None:
    return media_factory.read_number(image) if image is not None else None


def counted(path: Path, times_s: list[float]) -> tuple[list[int | None], int]:
    """Numbers in the pictures at `times_s`, and how many pictures were decoded for them."""
    decoded: list[None] = []
    stills = Stills(known(path), BOX, lambda: decoded.append(None))
    return [number(stills.at(time_s)) for time_s in times_s], len(decoded)


@pytest.mark.parametrize(
    "name",
    [
        "cfr25",
        "cfr50",
        "vfr",
        "still",
        "late_video",
        "edit_list",
        "b_frames",
        "vp9_opus",
        "transport",
        "mjpeg_avi",
        "rotated90",
        "corrupt",
        "truncated_mkv",
        "truncated_front",
        "one_frame",
    ],
)
def test_a_still_is_what_the_clock_shows(folder: Path, name: str) -> None:
    info = known(media_factory.make(name, folder).path)
    shown: list[int | None] = []
    with Decoder.video(info, CONFIG, None, None) as batches:
        for batch in batches:
            shown += [
                number(image) if valid else None
                for image, valid in zip(batch.images, batch.valid, strict=True)
            ]
    few = sorted(
        {0, len(shown) // 5, len(shown) // 2, len(shown) - 2, len(shown) - 1} & set(range(len(shown)))
    )
    for steps in (list(range(len(shown))), few):
        stills = Stills(info, BOX, lambda: None)
        assert [number(stills.at((step + 0.5) / 25)) for step in steps] == [shown[step] for step in steps]


def test_stills_far_apart_cost_a_second_of_decoding_each(long_clip: Path) -> None:
    steps = [10, 260, 510, 760, 985]
    found, decoded = counted(long_clip, [(step + 0.5) / 25 for step in steps])
    assert found == [step % 256 for step in steps]
    # A key frame every 25 frames, and a few that the decoder's threads and B-frames hold.
    assert decoded < len(steps) * 40 < N / 4


def test_neighbours_are_reached_by_decoding_on(long_clip: Path) -> None:
    steps = list(range(500, 540))
    found, decoded = counted(long_clip, [(step + 0.5) / 25 for step in steps])
    assert found == [step % 256 for step in steps]
    assert decoded < 100


def test_rare_key_frames_do_not_mean_decoding_the_clip_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "rare.mp4"
    media_factory.write(path, n=N, audio_seconds=None, options={"g": str(N), "sc_threshold": "0"})
    steps = list(range(5, N, 60))
    assert NEAR_S < 60 / 25  # each is far enough from the one before to be looked up anew
    found, decoded = counted(path, [(step + 0.5) / 25 for step in steps])
    assert found == [step % 256 for step in steps]
    assert decoded < 3 * N


def test_times_without_a_picture_have_none(folder: Path) -> None:
    stills = Stills(known(media_factory.make("late_video", folder).path), BOX, lambda: None)
    # Pictures last from 1 to 2 s.
    assert [number(stills.at(time_s)) for time_s in (0.5, 1.0, 1.98, 2.5)] == [None, 0, 24, None]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((96, 64), (64, 96)), ((640, 480), (160, 213)), ((1280, 32), (8, 320)), ((32, 640), (160, 8))],
)
def test_pictures_fit_the_box_and_never_grow(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    path = tmp_path / "clip.mp4"
    media_factory.write(path, n=2, size=size, audio_seconds=None)
    image = Stills(known(path), BOX, lambda: None).at(0.0)
    assert image is not None
    assert image.shape == (*expected, 3)


def test_the_worker_hands_them_over_one_by_one(folder: Path) -> None:
    info = probe(media_factory.make("late_video", folder).path, CONFIG)
    with Decoder.stills(info, CONFIG, [0.5, 1.02, 1.5], BOX) as stream:
        batches = list(stream)
    assert [batch.first for batch in batches] == [0, 1, 2]
    assert [batch.valid.tolist() for batch in batches] == [[False], [True], [True]]
    assert [number(batch.images[0]) for batch in batches[1:]] == [0, 12]


def test_the_worker_has_the_limits_of_all_decoding(folder: Path) -> None:
    info = probe(media_factory.make("cfr25", folder).path, CONFIG)
    small = CONFIG.model_copy(update={"memory_limit_mb": 1})
    with pytest.raises((MemoryLimitError, InputError)), Decoder.stills(info, small, [0.5], BOX) as stream:
        list(stream)


def test_sound_alone_has_no_pictures(folder: Path) -> None:
    info = known(media_factory.make("no_video", folder).path)
    with pytest.raises(InputError, match="no video track"):
        Stills(info, BOX, lambda: None)


def test_what_cannot_be_opened_is_refused(folder: Path, tmp_path: Path) -> None:
    info = known(media_factory.make("cfr25", folder).path)
    gone = MediaInfo(**{**vars(info), "path": tmp_path / "gone.mp4"})
    with pytest.raises(InputError, match="cannot be opened"):
        Stills(gone, BOX, lambda: None)
