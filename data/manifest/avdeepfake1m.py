"""AV-Deepfake1M and AV-Deepfake1M++ (https://github.com/ControlNet/AV-Deepfake1M), which differ in little.

Each part of the set has a folder and, beside it, a list: JSON with labels for train and val, plain file names for
the test parts, whose labels are not public. `val` becomes `dev`; test clips have no label.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.labels import FPS
from data.manifest.disk import UNPACK, media_below, way_out
from data.manifest.rows import count, inside, periods, read_rows, read_samples
from data.manifest.samples import AVDEEPFAKE1M_FILES, AVDEEPFAKE1M_PLUS_FILES, Sample
from data.timeline import Interval, merge

_LOG = logging.getLogger(__name__)
# The loader that its authors publish asks for "both-modified", which no row has, and so calls those clips real.
_LABELS = {"real": 0, "visual_modified": 1, "audio_modified": 2, "both_modified": 3}


@dataclass(frozen=True)
class _Part:
    """One folder of the set: its list, the split it becomes, and where one JSON per clip lies (None: no labels)."""

    folder: str
    listing: str
    split: str
    sidecars: str | None


_PARTS = (
    _Part("train", AVDEEPFAKE1M_FILES[0], "train", "train_metadata"),
    _Part("val", AVDEEPFAKE1M_FILES[1], "dev", "val_metadata"),
    _Part("test", AVDEEPFAKE1M_FILES[2], "test", None),
)
_PARTS_PLUS = (
    _Part("train", AVDEEPFAKE1M_PLUS_FILES[0], "train", "train"),
    _Part("val", AVDEEPFAKE1M_PLUS_FILES[1], "dev", "val"),
    _Part("testA", AVDEEPFAKE1M_PLUS_FILES[2], "test", None),
    _Part("testB", AVDEEPFAKE1M_PLUS_FILES[3], "test", None),
)


def read_avdeepfake1m(root: Path, plus: bool = False) -> dict[str, Sample]:
    """What the lists below `root` say of each clip, by file name; `plus` for AV-Deepfake1M++.

    Parts without a list and without clips are left out, so that the validation part alone can be used. Where a
    part has no list but one JSON file per clip, these are read.

    Raises InputError when there is not a list, a list is damaged, or a part has a list or clips but not both.
    """
    if not root.is_dir():
        raise InputError("no such folder", root, "give the root of AV-Deepfake1M")
    samples: dict[str, Sample] = {}
    for part in _PARTS_PLUS if plus else _PARTS:
        samples |= _read_part(root, part)
    if not samples:
        lists = AVDEEPFAKE1M_PLUS_FILES if plus else AVDEEPFAKE1M_FILES
        advice = way_out(root, lists)
        fix = (
            advice
            if advice is not None
            else "download the lists; they lie beside the folders of the archives"
        )
        raise InputError(f"has none of {', '.join(lists)}", root, fix)
    return samples


def _read_part(root: Path, part: _Part) -> dict[str, Sample]:
    path, folder = root / part.listing, root / part.folder
    if path.is_file():
        if not folder.is_dir():
            problem = f"lists the clips of {part.folder}/, which is not there"
            fix = f"{UNPACK} as {folder}, or move {part.listing} away to do without this part"
            raise InputError(problem, path, fix)
        if part.sidecars is None:
            return read_samples(path, _lines(path), partial(_unlabelled, part))
        return read_samples(path, read_rows(path), partial(_sample, part))
    if part.sidecars is not None and (sidecars := sorted((root / part.sidecars).rglob("*.json"))):
        _LOG.warning("%s is missing: reading %d small files instead, which is slower", path, len(sidecars))
        return _read_sidecars(sidecars, part)
    if next(media_below(root, part.folder), None) is not None:
        problem = f"holds clips, but {part.listing} is not beside it"
        raise InputError(
            problem, folder, f"download {part.listing}, or move {part.folder}/ away to do without it"
        )
    return {}


def _read_sidecars(paths: list[Path], part: _Part) -> dict[str, Sample]:
    samples: dict[str, Sample] = {}
    for path in paths:
        for name, sample in read_samples(path, _single(path), partial(_sample, part)).items():
            if name in samples:
                raise InputError(f"describes {name}, as another file does", path, "remove one of them")
            samples[name] = sample
    return samples


def _single(path: Path) -> Iterator[Any]:
    try:
        yield json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"not readable as JSON ({error})", path, "unpack it again") from None


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as lines:
            yield from filter(None, map(str.strip, lines))
    except (OSError, ValueError) as error:
        raise InputError(f"not readable as text ({error})", path, "download it again") from None


def _unlabelled(part: _Part, line: str) -> Sample:
    return Sample(Path(f"{part.folder}/{inside(line)}"), label=None, split=part.split)


def _sample(part: _Part, row: Any) -> Sample:
    kind = row["modify_type"]
    if kind not in _LABELS:
        raise ValueError(f"modify_type {kind!r} is not one of {', '.join(_LABELS)}")
    label = _LABELS[kind]
    frames = count(row["video_frames"], "video_frames")
    return Sample(
        file=Path(f"{part.folder}/{inside(row['file'])}"),
        label=label,
        split=part.split,
        fake_periods=_periods(row, label),
        duration_s=frames / FPS,
        original=_original(row, part, label),
        video_frames=frames,
        audio_frames=count(row.get("audio_frames"), "audio_frames"),
    )


def _periods(row: Any, label: int) -> tuple[Interval, ...]:
    """`fake_segments`, or where it is null or empty the union of the lists of the tracks that were changed.

    6,160 rows have a copy of the segment in the list of the track that was not changed: it is not looked at.
    """
    union = periods(row.get("fake_segments"), "fake_segments")
    if union:
        return union
    visual = periods(row.get("visual_fake_segments"), "visual_fake_segments") if label & 1 else ()
    audio = periods(row.get("audio_fake_segments"), "audio_fake_segments") if label & 2 else ()
    return merge(visual + audio)


def _original(row: Any, part: _Part, label: int) -> Path | None:
    """The authentic clip of a forged one. What real rows name is a file of VoxCeleb2, a longer clip or themselves."""
    original = row.get("original")
    return _path(f"{part.folder}/{inside(original)}") if label and original is not None else None


# Three forged clips in a row come from one original: a million of these paths would take the longest of all.
_path = lru_cache(maxsize=16)(Path)
