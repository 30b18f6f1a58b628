"""What a data set holds: files, video-level labels and forged intervals, read from its own metadata.

Training gets `WeakSample`, a type without intervals, so that weak supervision is a matter of types; only the fully
supervised methods that the paper compares with get `LocatedSample`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.errors import InputError, UsageError
from data.labels import REAL
from data.manifest.avdeepfake1m import read_avdeepfake1m
from data.manifest.deepspeak import FAKE, read_deepspeak
from data.manifest.dfdc import dfdc_lists, read_dfdc
from data.manifest.disk import compare, media_below, refuse_half_unpacked
from data.manifest.faceforensics import FORGED, ORIGINAL, read_faceforensics
from data.manifest.fakeavceleb import LISTING, read_fakeavceleb
from data.manifest.lavdf import read_lavdf, write_lavdf
from data.manifest.partialspoof import PARTS, protocol, read_partialspoof
from data.manifest.samples import (
    AUDIO_SUFFIXES,
    AVDEEPFAKE1M_FILES,
    AVDEEPFAKE1M_PLUS_FILES,
    LAVDF_FILES,
    MEDIA_SUFFIXES,
    RECIPE,
    SIDECAR,
    LocatedSample,
    Sample,
    WeakSample,
)

__all__ = [
    "AUDIO_SUFFIXES",
    "MEDIA_SUFFIXES",
    "RECIPE",
    "SIDECAR",
    "DatasetName",
    "LocatedSample",
    "Manifest",
    "Sample",
    "WeakSample",
    "detect_layout",
    "read_metadata",
    "refuse_unlocated",
    "write_lavdf",
]

_LOG = logging.getLogger(__name__)

DatasetName = Literal[
    "lavdf",
    "avdeepfake1m",
    "avdeepfake1m++",
    "fakeavceleb",
    "dfdc",
    "faceforensics++",
    "partialspoof",
    "deepspeak",
    "folder",
]


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

    def located(self, split: str) -> tuple[LocatedSample, ...]:
        """Clips of `split` with their label and forged intervals, in the order of `weak`.

        Raises UsageError when one has no label, or is forged and has no interval.
        """
        periods = {sample.file: sample.fake_periods for sample in self.samples if sample.split == split}
        located = tuple(LocatedSample(weak, periods[weak.file]) for weak in self.weak(split))
        for sample in located:
            if sample.weak.label != REAL and not sample.periods:
                fix = "give a data set with the forged intervals, or train a method with video-level labels"
                raise UsageError("is forged, and has no forged interval", self.root / sample.weak.file, fix)
        return located

    @classmethod
    def load(cls, dataset: DatasetName, root: Path) -> Manifest:
        """The data set of the layout `dataset` at `root`, enumerated from its own metadata and compared with its files.

        Missing clips and files without metadata are logged as warnings, and listed in `missing` and `unlisted`.

        Raises InputError when the metadata is absent or damaged, or none of the clips of a folder that it names
        is there.
        """
        root = Path(root)
        rows = read_metadata(dataset, root)
        if dataset == "folder":
            return cls(root, tuple(rows.values()))
        listing = compare(root, rows)
        refuse_half_unpacked(root, rows, listing)
        missing, unlisted = tuple(map(Path, listing.missing)), tuple(map(Path, listing.unlisted))
        if missing:
            _LOG.warning(
                "%s: %d of %d clips are missing, first %s", root, len(missing), len(rows), missing[0]
            )
        if unlisted:
            _LOG.warning("%s: %d files have no metadata and are ignored", root, len(unlisted))
        return cls(root, listing.samples, missing, unlisted)

    @classmethod
    def lavdf(cls, root: Path) -> Manifest:
        """A folder in LAV-DF's layout, as `load` reads it.

        LAV-DF itself has 1,706 files without metadata (https://github.com/ControlNet/LAV-DF/issues/1).
        """
        return cls.load("lavdf", root)

    @classmethod
    def avdeepfake1m(cls, root: Path) -> Manifest:
        """AV-Deepfake1M, as `load` reads it: `val` is the split `dev`, test clips have no label."""
        return cls.load("avdeepfake1m", root)

    @classmethod
    def folder(cls, root: Path) -> Manifest:
        """All media files below `root` by their endings, sorted, without labels.

        Hidden files and folders are left out; links to folders are not followed.

        Raises InputError when `root` is not a folder or holds no media file.
        """
        return cls.load("folder", root)


def detect_layout(root: Path) -> DatasetName | None:
    """The layout that the metadata of `root` has; None where there is none, or it could be of several.

    Raises UsageError when it is AV-Deepfake1M's or its successor's, and nothing tells which.
    """
    if dfdc_lists(root):  # before LAV-DF, whose metadata.json is a list, not an object
        return "dfdc"
    if any((root / name).is_file() for name in LAVDF_FILES):
        return "lavdf"
    if any(protocol(root, part) is not None for part in PARTS):
        return "partialspoof"
    for layout, names in _SIGNS.items():
        if any((root / name).exists() for name in names):
            return layout
    if any((root / name).is_file() for name in AVDEEPFAKE1M_FILES):
        problem = "may be AV-Deepfake1M or AV-Deepfake1M++"
        raise UsageError(problem, root, "add --layout avdeepfake1m or --layout avdeepfake1m++")
    return None


_SIGNS: Mapping[DatasetName, tuple[str, ...]] = {
    "fakeavceleb": (LISTING,),
    "deepspeak": (FAKE,),
    "faceforensics++": (ORIGINAL, FORGED),
    "avdeepfake1m++": (*AVDEEPFAKE1M_PLUS_FILES[2:], "testA", "testB"),
    "avdeepfake1m": (AVDEEPFAKE1M_FILES[2], "test", "train_metadata", "val_metadata"),
}
"""Files and folders that one layout alone has, in the order in which they are looked for."""


def read_metadata(dataset: DatasetName, root: Path) -> Mapping[str, Sample]:
    """What the metadata of `dataset` says of each clip, by file name, whether or not the file is there.

    For a plain folder, which has no metadata, these are its media files.

    Raises InputError when the metadata is absent or damaged.
    """
    match dataset:
        case "lavdf":
            return read_lavdf(root)
        case "avdeepfake1m":
            return read_avdeepfake1m(root)
        case "avdeepfake1m++":
            return read_avdeepfake1m(root, plus=True)
        case "fakeavceleb":
            return read_fakeavceleb(root)
        case "dfdc":
            return read_dfdc(root)
        case "faceforensics++":
            return read_faceforensics(root)
        case "partialspoof":
            return read_partialspoof(root)
        case "deepspeak":
            return read_deepspeak(root)
        case "folder":
            return _read_folder(root)


def _read_folder(root: Path) -> dict[str, Sample]:
    if not root.is_dir():
        raise InputError("no such folder", root, "give a folder of media files")
    # By folder, then name, as paths are ordered; comparing a million paths themselves takes three times as long.
    files = [Path(name) for name in sorted(media_below(root, links=False), key=lambda name: name.split("/"))]
    if not files:
        endings = ", ".join(sorted(MEDIA_SUFFIXES))
        raise InputError("contains no media file", root, f"known endings are {endings}")
    return {file.as_posix(): Sample(file, label=None, split="") for file in files}


def refuse_unlocated(root: Path, samples: Iterable[Sample]) -> None:
    """Raises UsageError when the forged intervals of a clip are not known, because its label is of the whole video."""
    bare = [sample for sample in samples if not sample.located]
    if bare:
        problem = (
            f"{len(bare)} clips have a video-level label only, first {bare[0].file}: their forged intervals are not "
            "known, so nothing can be localized, learnt or measured by them"
        )
        raise UsageError(
            problem, root, "give a data set with intervals, or measure video scores alone (--scores)"
        )


def samples_of(manifest: Manifest, split: str) -> list[Sample]:
    """The clips of `split` in the manifest's order. Raises UsageError when there is none."""
    samples = [sample for sample in manifest.samples if sample.split == split]
    if not samples:
        splits = ", ".join(sorted({sample.split for sample in manifest.samples}))
        raise UsageError(f"has no clip of the split '{split}'", manifest.root, f"its splits are {splits}")
    return samples
