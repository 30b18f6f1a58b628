"""Deepfake Detection Challenge (https://ai.meta.com/datasets/dfdc, arXiv:2006.07397): labels of whole videos.

A training folder has ``metadata.json``, ``{"name.mp4": {"label": "FAKE", "split": "train", "original": "other.mp4"}}``;
they come as ``dfdc_train_part_0`` to ``_49``, in the root or in ``train/``. Folders ``validation`` and ``test`` have
``labels.csv`` with the columns filename and label, 0 or 1. A label does not say which track is forged: a forged clip
counts as one with a forged picture, though a few have a forged voice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.manifest.disk import way_out
from data.manifest.lists import AGAIN, table_rows
from data.manifest.rows import inside, read_samples
from data.manifest.samples import Sample

METADATA, TABLE = "metadata.json", "labels.csv"
_SPLITS = {"validation": "dev", "test": "test"}


def read_dfdc(root: Path) -> dict[str, Sample]:
    """What the lists below `root` say of each clip, by file name.

    Raises InputError when there is no list, or one is damaged, with the entry at fault.
    """
    samples: dict[str, Sample] = {}
    for path in dfdc_lists(root):
        prefix = "" if path.parent == root else path.parent.relative_to(root).as_posix() + "/"
        if path.name == METADATA:
            samples |= read_samples(path, _entries(path), partial(_train, prefix))
        else:
            split = _SPLITS[path.parent.name]
            samples |= read_samples(
                path, table_rows(path, ("filename", "label")), partial(_other, prefix, split)
            )
    if not samples:
        advice = (
            way_out(root, (METADATA,)) or "give the folder that holds dfdc_train_part_0, or one such part"
        )
        raise InputError(f"has neither a part with {METADATA} nor a folder with {TABLE}", root, advice)
    return samples


def dfdc_lists(root: Path) -> list[Path]:
    """The lists below `root`, sorted."""
    parts = [root, *sorted(root.glob("dfdc_train_part_*")), *sorted(root.glob("train/dfdc_train_part_*"))]
    listings = [part / METADATA for part in parts if is_mapping(part / METADATA)]
    return [*listings, *(path for name in _SPLITS if (path := root / name / TABLE).is_file())]


def is_mapping(path: Path) -> bool:
    """Whether `path` is a file that begins as a JSON object, as DFDC's metadata do and LAV-DF's do not."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return file.read(64).lstrip().startswith("{")
    except (OSError, ValueError):
        return False


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"not readable as JSON ({error})", path, AGAIN) from None
    for name, entry in document.items():
        yield {"file": name, **(entry if isinstance(entry, dict) else {})}


def _train(prefix: str, row: dict[str, Any]) -> Sample:
    label = {"REAL": 0, "FAKE": 1}.get(row["label"])
    if label is None:
        raise ValueError(f"label {row['label']!r} is neither REAL nor FAKE")
    original = row.get("original")
    return Sample(
        Path(prefix + inside(row["file"])),
        label,
        "train",
        original=Path(prefix + inside(original)) if label and original else None,
        located=False,
    )


def _other(prefix: str, split: str, row: dict[str, str]) -> Sample:
    if row["label"] not in ("0", "1"):
        raise ValueError(f"label {row['label']!r} is neither 0 nor 1")
    return Sample(Path(prefix + inside(row["filename"])), int(row["label"]), split, located=False)
