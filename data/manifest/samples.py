"""One clip of a data set, and the names that data sets give to their parts and metadata."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from data.timeline import Interval

_VIDEO = "mp4 m4v mov mkv webm avi wmv flv ts mts m2ts mpg mpeg 3gp ogv mxf vob f4v 3g2 asf ogm dv gif"
_AUDIO = "wav mp3 m4a aac flac ogg opus wma mka m4b oga mp2 aif aiff w64 amr"

AUDIO_SUFFIXES = frozenset(f".{name}" for name in _AUDIO.split())
"""Those of files that hold sound only."""

SIDECAR = "forgeries.json"
"""File of a set that the forger made: what was done to each clip, span by span."""

RECIPE = "recipe.json"
"""File of such a set: what it was made with, from its first clip on."""

MEDIA_SUFFIXES = frozenset(f".{name}" for name in f"{_VIDEO} {_AUDIO}".split())
"""File name endings that a folder of media is searched for."""

LAVDF_FILES = ("metadata.min.json", "metadata.json")
"""LAV-DF's metadata; the first lacks transcripts, which nothing here needs."""

AVDEEPFAKE1M_FILES = ("train_metadata.json", "val_metadata.json", "test_files.txt")
AVDEEPFAKE1M_PLUS_FILES = (
    "train_metadata.json",
    "val_metadata.json",
    "testA_files.txt",
    "testB_files.txt",
)


@dataclass(frozen=True, slots=True)
class WeakSample:
    """What training may know of a clip: its file, relative to the root, and its video-level label 0..3."""

    file: Path
    label: int


@dataclass(frozen=True, slots=True)
class LocatedSample:
    """What training of the fully supervised methods may know of a clip: beside a `WeakSample`, its forged intervals."""

    weak: WeakSample
    periods: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One clip of a data set.

    `file` and `original` (the authentic source of a forged clip) are relative to the root. `label` is
    modify_video + 2 * modify_audio, None where nothing is known. `fake_periods` are the forged intervals of
    either track. `duration_s` is what the metadata says: LAV-DF's is the container's, padded with codec delay;
    AV-Deepfake1M's is video_frames / 25; neither is a clock. `audio_frames` counts samples at 16 kHz
    (https://github.com/ControlNet/LAV-DF/issues/22) and is 0 where there is no sound. `located`: `fake_periods` are all
    there are; False where a data set labels whole videos only, so that an empty `fake_periods` says nothing.
    """

    file: Path
    label: int | None
    split: str
    fake_periods: tuple[Interval, ...] = ()
    duration_s: float = 0.0
    original: Path | None = None
    video_frames: int = 0
    audio_frames: int = 0
    located: bool = True


def is_media(name: str) -> bool:
    """Whether a file name has the ending of a media file; hidden files never count."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in MEDIA_SUFFIXES
