"""FakeAVCeleb v1.2 (https://github.com/DASH-Lab/FakeAVCeleb, arXiv:2108.05080): four folders and one table.

``meta_data.csv`` has the columns source, target1, target2, method, category, type, race, gender, path and one without
a name: `path` is the file's name, the last column its folder, which begins with ``FakeAVCeleb/``. `type` is the class.
Labels are of whole videos. No split is published: every clip is of the split `test`.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from data.errors import InputError
from data.manifest.disk import way_out
from data.manifest.lists import table_rows
from data.manifest.rows import inside, read_samples
from data.manifest.samples import Sample

LISTING = "meta_data.csv"
LABELS = {
    "RealVideo-RealAudio": 0,
    "FakeVideo-RealAudio": 1,
    "RealVideo-FakeAudio": 2,
    "FakeVideo-FakeAudio": 3,
}
"""Classes by `type`; they are the names of the four folders, too."""


def read_fakeavceleb(root: Path) -> dict[str, Sample]:
    """What ``meta_data.csv`` below `root` says of each clip, by file name.

    Raises InputError when it is absent or damaged, with the entry at fault.
    """
    path = root / LISTING
    if not path.is_file():
        advice = way_out(root, (LISTING,)) or "give the folder FakeAVCeleb_v1.2, which holds it"
        raise InputError(f"has no {LISTING}", root, advice)
    rows = {
        tuple(row.items()): row for row in table_rows(path, ("type", "path"))
    }  # some rows are there twice
    return read_samples(path, rows.values(), _sample)


def _sample(row: dict[str, str]) -> Sample:
    kind = row["type"]
    if kind not in LABELS:
        raise ValueError(f"type {kind!r} is not one of {', '.join(LABELS)}")
    folder, name = row.get("", row["path"]), row.get("filename", row["path"])
    parts = PurePosixPath(inside(folder)).parts
    if kind not in parts:
        raise ValueError(f"the folder {folder!r} does not lie in {kind}")
    file = Path(*parts[parts.index(kind) :], inside(name))
    return Sample(file, LABELS[kind], "test", located=False)
