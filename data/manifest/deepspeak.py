"""DeepSpeak v1, v1.1 and v2 (https://huggingface.co/datasets/faridlab/deepspeak_v2, arXiv:2408.05366).

``annotations-real.csv`` has the columns video-file and identity, ``annotations-fake.csv`` also kind, engine,
identity-source, identity-target and audio-config; ``annotations-split-def.csv`` gives each identity a split. Archives
may be unpacked anywhere below the root: file names are unique. Labels are of whole videos. The picture of a fake is
always forged; its sound where audio-config names a synthesis, that is, anything but an empty cell or one that begins
with "real" or "original".
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

from data.errors import InputError
from data.labels import SPLITS
from data.manifest.disk import media_below, way_out
from data.manifest.lists import table_rows
from data.manifest.rows import inside, read_samples
from data.manifest.samples import Sample

REAL, FAKE, SPLIT = "annotations-real.csv", "annotations-fake.csv", "annotations-split-def.csv"
_AUTHENTIC_SOUND = ("real", "original")
_OTHER_NAMES = {"val": "dev", "validation": "dev"}


def read_deepspeak(root: Path) -> dict[str, Sample]:
    """What the three tables below `root` say of each clip, by file name.

    Raises InputError when one is absent or damaged, with the entry at fault.
    """
    for name in (REAL, FAKE, SPLIT):
        if not (root / name).is_file():
            advice = way_out(root, (REAL, FAKE, SPLIT)) or "download it; it lies beside the archives"
            raise InputError(f"has no {name}", root, advice)
    splits = {row["identity"]: row["split"] for row in table_rows(root / SPLIT, ("identity", "split"))}
    places = {PurePosixPath(name).name: name for name in media_below(root)}
    build = partial(_sample, splits, places)
    real, fake = ("video-file", "identity"), ("video-file", "identity-target", "audio-config")
    return {
        **read_samples(root / REAL, table_rows(root / REAL, real), build),
        **read_samples(root / FAKE, table_rows(root / FAKE, fake), build),
    }


def _sample(splits: dict[str, str], places: dict[str, str], row: dict[str, str]) -> Sample:
    forged = "identity-target" in row
    person = row["identity-target" if forged else "identity"]
    if person not in splits:
        raise ValueError(f"the identity {person!r} is not in {SPLIT}")
    split = _OTHER_NAMES.get(splits[person], splits[person])
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    sound = row.get("audio-config", "").lower()
    spoken = forged and sound != "" and not sound.startswith(_AUTHENTIC_SOUND)
    name = inside(row["video-file"])
    elsewhere = PurePosixPath(next(iter(places.values()), "")).with_name(name).as_posix() if places else name
    return Sample(
        Path(places.get(PurePosixPath(name).name, elsewhere)), forged + 2 * spoken, split, located=False
    )
