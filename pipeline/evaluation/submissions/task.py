"""What every server's format needs: the clips that are judged, and flat archives."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, UsageError
from data.files import replacing
from data.manifest import Sample, refuse_unlocated
from pipeline.evaluation.predictions import VideoPrediction
from pipeline.evaluation.result import Row

_LARGEST = 2**31
_EPOCH = (1980, 1, 1, 0, 0, 0)

BEYOND_S = 0.2
"""A proposal may end this much after its clip: the lengths in metadata are not exact."""


@dataclass(frozen=True)
class Task:
    """The clips that a submission has to answer for, in the metadata's order; `root` is that of the data set."""

    root: Path
    split: str
    samples: tuple[Sample, ...]

    @property
    def files(self) -> list[str]:
        """Names of the clips, relative to the root."""
        return [sample.file.as_posix() for sample in self.samples]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Their classes, (V,). Raises UsageError when one has none."""
        bare = [sample for sample in self.samples if sample.label is None]
        if bare:
            problem = f"{len(bare)} clips of the split '{self.split}' have no label, first {bare[0].file}"
            raise UsageError(problem, self.root, "measure on a split with labels, for example --split dev")
        return np.array([sample.label for sample in self.samples], np.int64)

    @property
    def labelled(self) -> bool:
        """Whether every clip has a label."""
        return all(sample.label is not None for sample in self.samples)

    @property
    def lengths_s(self) -> dict[str, float]:
        """By file name, the time in seconds after which no proposal may end."""
        return {s.file.as_posix(): s.duration_s + BEYOND_S for s in self.samples if s.duration_s > 0}

    def segments(self) -> list[NDArray[np.float64]]:
        """The forged intervals of each clip, (G, 2) in seconds.

        Raises UsageError when a clip has a video-level label only, so that its intervals are not known.
        """
        refuse_unlocated(self.root, self.samples)
        return [np.array([[p.start_s, p.end_s] for p in s.fake_periods]).reshape(-1, 2) for s in self.samples]


class Submission(Protocol):
    """What was read from a submission; it measures itself."""

    def rows(self, task: Task) -> list[Row]:
        """The server's measures of it, on the clips of `task`."""


class Server(Protocol):
    """One format, in and out."""

    def read(self, path: Path, task: Task) -> Submission:
        """The submission at `path`, checked. Raises InputError with the first faults, by file and row."""

    def write(self, folder: Path, predictions: Sequence[VideoPrediction], task: Task) -> tuple[Path, ...]:
        """Write `predictions` of the clips of `task`; returns the files.

        Raises UsageError when they lack what the format needs.
        """


def read_flat(path: Path, required: Sequence[str] = (), optional: Sequence[str] = ()) -> dict[str, str]:
    """Text of the files at the top of the zip archive `path`, by name: all of `required`, any of `optional`.

    Raises InputError when it is no zip archive, has a folder, another file, a file twice, or lacks one.
    """
    allowed = (*required, *optional)
    fix = f"put {' and '.join(allowed)} at the top of the archive: zip -j {path.name} {' '.join(allowed)}"
    texts: dict[str, str] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                name = entry.filename
                if "/" in name or "\\" in name:
                    raise InputError(f"has a folder ({name}), and the server reads flat archives", path, fix)
                if name not in allowed:
                    raise InputError(f"has a file {name!r} that the server does not know", path, fix)
                if name in texts:
                    raise InputError(f"has {name} twice", path, fix)
                if entry.file_size > _LARGEST:
                    raise InputError(
                        f"{name} is larger than 2 GB", path, "give fewer proposals for each clip"
                    )
                texts[name] = archive.read(entry).decode("utf-8-sig")
    except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise InputError(f"is not a zip archive that can be read ({error})", path, fix) from None
    missing = [name for name in required if name not in texts]
    if missing or not texts:
        raise InputError(f"lacks {' and '.join(missing or allowed)}", path, fix)
    return texts


def write_flat(path: Path, files: Mapping[str, str]) -> None:
    """Write a zip archive with `files`, text by name, at its top; the same text gives the same bytes.

    Raises UsageError when it cannot be written.
    """
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, text)


def needed(predictions: Sequence[VideoPrediction], attribute: str, name: str) -> None:
    """Raises UsageError when one of `predictions` lacks `attribute`, which `name` needs."""
    for one in predictions:
        if getattr(one, attribute) is None:
            fix = "write another format, or predict with a detector"
            raise UsageError(f"{name} needs {attribute}, which the prediction lacks", one.file, fix)
