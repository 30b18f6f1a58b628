"""FaceForensics++ and DeepFakeDetection (https://github.com/ondyari/FaceForensics, arXiv:1901.08971).

Folders say everything: ``original_sequences/{youtube,actors}/{raw,c23,c40}/videos`` and
``manipulated_sequences/METHOD/{raw,c23,c40}/videos``, where ``033_097.mp4`` has the video 033 with the face of 097.
``train.json``, ``val.json`` and ``test.json`` (the repository's dataset/splits), in the root or in ``splits/``, hold
pairs of videos, which decide the split. The actors' videos have none: they are of the split `test`. Labels are of whole
videos, and sound is never forged.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from data.errors import InputError
from data.manifest.disk import media_below, way_out
from data.manifest.samples import Sample

ORIGINAL, FORGED = "original_sequences", "manipulated_sequences"
_LISTS = {"train.json": "train", "val.json": "dev", "test.json": "test"}
_ACTORS = ("actors", "DeepFakeDetection")


def read_faceforensics(root: Path) -> dict[str, Sample]:
    """Each clip below `root` by file name, with the split that the lists give it.

    Raises InputError when there is no clip, a list is absent or damaged, or a clip is in none.
    """
    videos = sorted(
        name for top in (ORIGINAL, FORGED) for name in media_below(root, top) if _place(name) is not None
    )
    if not videos:
        advice = way_out(root, ()) or f"give the folder that holds {ORIGINAL} and {FORGED}"
        raise InputError("has no clip in a folder METHOD/COMPRESSION/videos", root, advice)
    splits = _splits(root) if any(_method(name) not in _ACTORS for name in videos) else {}
    samples = {}
    for name in videos:
        target, _, source = PurePosixPath(name).stem.partition("_")
        split = "test" if _method(name) in _ACTORS else splits.get(target)
        if split is None or (source and _method(name) not in _ACTORS and splits.get(source) != split):
            raise InputError(
                "is in none of the lists of splits, or in two", root / name, f"see {', '.join(_LISTS)}"
            )
        samples[name] = Sample(Path(name), int(name.startswith(FORGED)), split, located=False)
    return samples


def _place(name: str) -> tuple[str, ...] | None:
    parts = PurePosixPath(name).parts
    return parts if len(parts) == 5 and parts[3] == "videos" else None


def _method(name: str) -> str:
    return PurePosixPath(name).parts[1]


def _splits(root: Path) -> dict[str, str]:
    """The split of each video's number."""
    split_of: dict[str, str] = {}
    for name, split in _LISTS.items():
        path = next((p for p in (root / name, root / "splits" / name) if p.is_file()), None)
        if path is None:
            fix = (
                f"put {', '.join(_LISTS)} there; they are dataset/splits of github.com/ondyari/FaceForensics"
            )
            raise InputError(f"has no {name}", root, fix)
        try:
            for pair in json.loads(path.read_text(encoding="utf-8-sig")):
                first, second = pair
                split_of |= {str(first): split, str(second): split}
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"is not a list of pairs ({error})", path, "download it again") from None
    return split_of
