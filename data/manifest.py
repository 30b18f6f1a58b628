"""What a data set holds: files, video-level labels and forged intervals, read from its own metadata.

Training gets `WeakSample`, a type without intervals, so that weak supervision is a matter of types.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from data.errors import InputError, UsageError
from data.files import replacing
from data.timeline import Interval

_LOG = logging.getLogger(__name__)

_VIDEO = "mp4 m4v mov mkv webm avi wmv flv ts mts m2ts mpg mpeg 3gp ogv mxf"
_AUDIO = "wav mp3 m4a aac flac ogg opus wma"

MEDIA_SUFFIXES = frozenset(f".{name}" for name in f"{_VIDEO} {_AUDIO}".split())
"""File name endings that a folder of media is searched for."""

SPLITS = ("train", "dev", "test")
"""LAV-DF's three parts; the middle one is `dev`, not `val`."""

_METADATA = ("metadata.min.json", "metadata.json")
_UNPACK = "unpack every volume of the archive, and give the folder that holds metadata.min.json and train/"


@dataclass(frozen=True)
class WeakSample:
    """What training may know of a clip: its file, relative to the root, and its video-level label 0..3."""

    file: Path
    label: int


@dataclass(frozen=True)
class Sample:
    """One clip of a data set.

    `file` and `original` (the authentic source of a forged clip) are relative to the root. `label` is
    modify_video + 2 * modify_audio, None where nothing is known. `fake_periods` are the forged intervals.
    `duration_s` is the container's, which LAV-DF pads with codec delay: not a clock. `audio_frames` counts
    samples at 16 kHz (https://github.com/ControlNet/LAV-DF/issues/22).
    """

    file: Path
    label: int | None
    split: str
    fake_periods: tuple[Interval, ...] = ()
    duration_s: float = 0.0
    original: Path | None = None
    video_frames: int = 0
    audio_frames: int = 0


@dataclass(frozen=True)
class Manifest:
    """The clips of one data set, and how its metadata and its files disagree.

    `samples` have a file on disk; `missing` are rows without one, `unlisted` files without a row.
    """

    root: Path
    samples: tuple[Sample, ...]
    missing: tuple[Path, ...] = ()
    unlisted: tuple[Path, ...] = ()

    def weak(self, split: str) -> tuple[WeakSample, ...]:
        """Clips of `split` with nothing but their video-level label.

        Raises UsageError when one has no label.
        """
        weak = []
        for sample in self.samples:
            if sample.split == split:
                if sample.label is None:
                    fix = "give a data set with labels, for example one from `pipeline synthesize`"
                    raise UsageError("has no video-level label", self.root / sample.file, fix)
                weak.append(WeakSample(sample.file, sample.label))
        return tuple(weak)

    @classmethod
    def lavdf(cls, root: Path) -> Manifest:
        """A folder in LAV-DF's layout (https://github.com/ControlNet/LAV-DF), enumerated from its metadata.

        LAV-DF itself has 1,706 files without metadata; such files are listed in `unlisted` and else ignored.

        Raises InputError when the metadata is absent or damaged, or a folder it names is absent or empty.
        """
        root = Path(root)
        path = _metadata_path(root)
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"not readable as JSON ({error})", path, "download it again") from None
        if not isinstance(rows, list) or not rows:
            raise InputError("expected a list with one entry per clip", path, "download it again")
        samples = [_sample(row, index, path) for index, row in enumerate(rows)]
        _refuse_repeats(samples, path)
        return _compare_with_disk(root, samples)

    @classmethod
    def folder(cls, root: Path) -> Manifest:
        """All media files below `root` by their endings, sorted, without labels.

        Hidden files and folders are left out; links to folders are not followed.

        Raises InputError when `root` is not a folder or holds no media file.
        """
        root = Path(root)
        if not root.is_dir():
            raise InputError("no such folder", root, "give a folder of media files")
        found = []
        for folder, subfolders, names in os.walk(root):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            found += [Path(folder, name).relative_to(root) for name in names if _is_media(name)]
        if not found:
            endings = ", ".join(sorted(MEDIA_SUFFIXES))
            raise InputError("holds no media file", root, f"known endings are {endings}")
        return cls(root, tuple(Sample(file, label=None, split="") for file in sorted(found)))


def write_lavdf(
    root: Path,
    samples: Sequence[Sample],
    transcripts: Mapping[Path, Sequence[tuple[str, Interval]]] | None = None,
) -> None:
    """Write `metadata.json` and `metadata.min.json` of `samples` as LAV-DF has them; times in microseconds.

    `transcripts` gives the words of a file with their times; without it those two fields are empty.

    Raises UsageError when a sample has no label or the folder cannot be written.
    """
    rows, words = [], transcripts if transcripts is not None else {}
    for sample in samples:
        if sample.label is None:
            raise UsageError("has no video-level label", sample.file, "label every sample")
        rows.append(_row(sample, sample.label))
    full = []
    for row, sample in zip(rows, samples, strict=True):
        spoken = words.get(sample.file, ())
        timestamps = [[word, *_bounds(interval)] for word, interval in spoken]
        full.append(row | {"timestamps": timestamps, "transcript": " ".join(word for word, _ in spoken)})
    for name, content in (("metadata.json", full), ("metadata.min.json", rows)):
        with replacing(root / name) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _row(sample: Sample, label: int) -> dict[str, Any]:
    return {
        "file": sample.file.as_posix(),
        "n_fakes": len(sample.fake_periods),
        "fake_periods": [_bounds(interval) for interval in sample.fake_periods],
        "duration": round(sample.duration_s, 6),
        "original": sample.original.as_posix() if sample.original is not None else None,
        "modify_video": bool(label & 1),
        "modify_audio": bool(label & 2),
        "split": sample.split,
        "video_frames": sample.video_frames,
        "audio_channels": 1,
        "audio_frames": sample.audio_frames,
    }


def _bounds(interval: Interval) -> list[float]:
    return [round(interval.start_s, 6), round(interval.end_s, 6)]


def _metadata_path(root: Path) -> Path:
    if not root.is_dir():
        raise InputError("no such folder", root, "give the root of a data set in LAV-DF's layout")
    for name in _METADATA:
        if (root / name).is_file():
            return root / name
    if any((root.parent / name).is_file() for name in _METADATA):
        raise InputError("has no metadata.min.json", root, f"its parent has one: give {root.parent}")
    raise InputError("has neither metadata.min.json nor metadata.json", root, _UNPACK)


def _sample(row: Any, index: int, path: Path) -> Sample:
    try:
        split = row["split"]
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
        if type(row["modify_video"]) is not bool or type(row["modify_audio"]) is not bool:
            raise ValueError("modify_video and modify_audio must be true or false")
        original = row.get("original")
        return Sample(
            file=_inside(row["file"]),
            label=row["modify_video"] + 2 * row["modify_audio"],
            split=split,
            fake_periods=tuple(Interval(float(a), float(b)) for a, b in row.get("fake_periods") or ()),
            duration_s=float(row["duration"]),
            original=_inside(original) if original is not None else None,
            video_frames=int(row.get("video_frames", 0)),
            audio_frames=int(row.get("audio_frames", 0)),
        )
    except KeyError as error:
        raise InputError(f"entry {index} has no field {error}", path, "see the data set's README") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"entry {index} cannot be read ({error})", path, "mend or remove it") from None


def _inside(name: str) -> Path:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or not relative.name:
        raise ValueError(f"file name {name!r} leaves the data set")
    return Path(relative)


def _refuse_repeats(samples: Iterable[Sample], path: Path) -> None:
    seen: set[Path] = set()
    for sample in samples:
        if sample.file in seen:
            raise InputError(f"lists {sample.file} more than once", path, "remove the repeated entry")
        seen.add(sample.file)


def _compare_with_disk(root: Path, samples: Sequence[Sample]) -> Manifest:
    listed: set[Path] = set()
    on_disk: set[Path] = set()
    folders: dict[Path, None] = {}  # a set that keeps its order
    for sample in samples:
        listed.add(sample.file)
        folders[sample.file.parent] = None
    for folder in folders:
        try:
            names = [entry.name for entry in os.scandir(root / folder) if entry.is_file()]
        except OSError:
            names = []
        present = {folder / name for name in names if _is_media(name)}
        if not present:
            raise InputError("is named by the metadata but absent or empty", root / folder, _UNPACK)
        on_disk |= present
    kept = tuple(sample for sample in samples if sample.file in on_disk)
    missing, unlisted = tuple(sorted(listed - on_disk)), tuple(sorted(on_disk - listed))
    if not kept:
        raise InputError("none of the clips that the metadata names is there", root, _UNPACK)
    if missing:
        _LOG.warning("%s: %d of %d clips are absent, first %s", root, len(missing), len(samples), missing[0])
    if unlisted:
        _LOG.warning("%s: %d files have no metadata and are ignored", root, len(unlisted))
    return Manifest(root, kept, missing, unlisted)


def _is_media(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in MEDIA_SUFFIXES
