"""PartialSpoof (https://zenodo.org/records/5766198, arXiv:2204.05177): sound only, with labels of short segments.

The folder ``database`` has ``{train,dev,eval}/con_wav/*.wav``, protocols with a line ``speaker utterance - method
label`` for each, and ``segment_labels/{train,dev,eval}_seglab_{0.01 ... 0.64}.npy``: dictionaries of arrays of "0" and
"1", a segment of that many seconds each, in the file of numpy. `eval` is the split `test`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.arrays import read_arrays
from data.errors import InputError
from data.manifest.disk import way_out
from data.manifest.lists import AGAIN, text_lines
from data.manifest.rows import inside, read_samples
from data.manifest.samples import Sample
from data.timeline import Interval, runs

PARTS = {"train": "train", "dev": "dev", "eval": "test"}
LABELS = "segment_labels"
RESOLUTIONS = ("0.01", "0.02", "0.04", "0.08", "0.16", "0.32", "0.64")
"""Lengths of the segments in seconds, as the files' names have them."""

_KINDS = {"bonafide": 0, "spoof": 2}
_GENUINE = "1"
"""What stands for authentic in the labels where no authentic utterance shows it."""


def read_partialspoof(root: Path) -> dict[str, Sample]:
    """What protocols and labels below `root` say of each utterance, by file name.

    Intervals are those of the finest labels that are there; without any, labels are of whole utterances.

    Raises InputError when there is no protocol, or a list is damaged, with the entry at fault.
    """
    samples: dict[str, Sample] = {}
    for part in PARTS:
        path = protocol(root, part)
        if path is not None:
            finest = next((r for r in RESOLUTIONS if label_file(root, part, r).is_file()), None)
            labels = segment_labels(root, part, finest) if finest is not None else None
            build = partial(_sample, path, part, labels, float(finest or 0))
            samples |= read_samples(path, _rows(path), build)
    if not samples:
        advice = way_out(root, ()) or "give the folder `database`, which holds protocols/ and segment_labels/"
        raise InputError("has no protocol PartialSpoof.LA.cm.*.trl.txt", root, advice)
    return samples


def protocol(root: Path, part: str) -> Path | None:
    """The list of the utterances of `part`, None where there is none."""
    name = f"PartialSpoof.LA.cm.{part}.trl.txt"
    folders = (root / "protocols" / "PartialSpoof_LA_cm_protocols", root / "protocols")
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def label_file(root: Path, part: str, resolution: str) -> Path:
    """Where the labels of `part` in segments of `resolution` seconds lie, if they are there."""
    return root / LABELS / f"{part}_seglab_{resolution}.npy"


def segment_labels(root: Path, part: str, resolution: str) -> dict[str, NDArray[np.bool_]]:
    """Which segments of each utterance are forged, (N,).

    Which of the two digits means authentic is told by the utterances that the protocol calls authentic, because
    descriptions in circulation contradict each other; where there is none it is "1".

    Raises InputError when the file is absent or damaged, or an authentic utterance has both digits.
    """
    path = label_file(root, part, resolution)
    arrays = read_arrays(path)
    listing = protocol(root, part)
    genuine = (
        [row["name"] for row in _rows(listing) if row["label"] == "bonafide"] if listing is not None else []
    )
    texts = {name: array.astype(str) for name, array in arrays.items()}
    for name, array in texts.items():
        if not np.isin(array, ("0", "1")).all():
            raise InputError(f"the labels of {name} are not all 0 or 1", path, AGAIN)
    seen = {str(value) for name in genuine if name in texts for value in np.unique(texts[name])}
    if len(seen) > 1:
        raise InputError("has forged segments in an utterance that the protocol calls bonafide", path, AGAIN)
    authentic = seen.pop() if seen else _GENUINE
    return {name: array != authentic for name, array in texts.items()}


def _rows(path: Path) -> Iterator[dict[str, str]]:
    for line in text_lines(path):
        words = line.split()
        if len(words) < 3:
            raise InputError(
                f"has a line that is not of the form speaker utterance - method label: {line[:80]}", path
            )
        yield {"file": words[1], "name": words[1], "label": words[-1]}


def _sample(
    path: Path,
    part: str,
    labels: Mapping[str, NDArray[np.bool_]] | None,
    step_s: float,
    row: dict[str, str],
) -> Sample:
    if row["label"] not in _KINDS:
        raise ValueError(f"label {row['label']!r} is neither bonafide nor spoof")
    file = Path(part, "con_wav", inside(row["name"]) + ".wav")
    if labels is None:
        return Sample(file, _KINDS[row["label"]], PARTS[part], located=False)
    if row["name"] not in labels:
        raise ValueError(f"the utterance is in {path.name}, but not in the segment labels")
    flags = labels[row["name"]]
    spans = tuple(Interval(round(a * step_s, 6), round(b * step_s, 6)) for a, b in runs(flags.tolist()))
    return Sample(file, _KINDS[row["label"]], PARTS[part], spans, round(len(flags) * step_s, 6))
