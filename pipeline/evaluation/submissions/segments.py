"""PartialSpoof's segment scores: dictionaries of arrays in ``.npy`` files, as its labels, at 20 and 160 ms.

A submission is one file or a folder of them, ``NAME_0.02.npy`` and ``NAME_0.16.npy``: by utterance, the score of each
segment, higher for forged. Sources: https://github.com/nii-yamagishilab/PartialSpoof (labels, metric/),
arXiv:2204.05177; F1 at 160 ms as BAM and SAL report it (arXiv:2407.21611).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from data.arrays import read_arrays, write_arrays
from data.errors import InputError, UsageError
from data.manifest.partialspoof import PARTS, label_file, segment_labels
from pipeline.evaluation.metrics import eer, f1
from pipeline.evaluation.predictions import Faults, VideoPrediction
from pipeline.evaluation.result import Row
from pipeline.evaluation.submissions.task import Task

RESOLUTIONS = ("0.02", "0.16")
THRESHOLD = 0.5
"""Segments with a higher score are called forged; only F1 depends on it."""

_APART = 1
"""Segments that a submission may have more or fewer than the labels: ends of files are rounded in two ways."""


@dataclass(frozen=True)
class SegmentSubmission:
    """Scores by resolution and file name, (N,)."""

    scores: Mapping[str, Mapping[str, NDArray[np.float64]]]

    def rows(self, task: Task) -> list[Row]:
        """EER and F1 of all segments, by their length. Raises UsageError when the true intervals are not known."""
        rows = []
        for resolution, scores in self.scores.items():
            truth = _truth(task, resolution)
            given = np.concatenate([_fitted(scores[file], len(truth[file])) for file in task.files])
            forged = np.concatenate([truth[file] for file in task.files])
            group = f"{1000 * float(resolution):g} ms"
            values = {"segments": len(forged), "EER": eer(given, forged), "F1": f1(given > THRESHOLD, forged)}
            rows += [Row("PartialSpoof", group, name, value) for name, value in values.items()]
        return rows


class PartialSpoof:
    """The format in and out; see the module."""

    def read(self, path: Path, task: Task) -> SegmentSubmission:
        """Read the file or files; scores are finite, and as many as there are segments.

        Raises InputError with the first faults.
        """
        files = sorted(path.glob("*.npy")) if path.is_dir() else [path]
        by_resolution: dict[str, dict[str, NDArray[np.float64]]] = {}
        for file in files:
            resolution = next((r for r in RESOLUTIONS if file.stem.endswith(f"_{r}")), None)
            if resolution is None or resolution in by_resolution:
                problem = (
                    "is a second file of its resolution"
                    if resolution
                    else "does not end in _0.02.npy or _0.16.npy"
                )
                raise InputError(problem, file, "name one file for each resolution")
            by_resolution[resolution] = _read(file, task, resolution)
        if not by_resolution:
            raise InputError("has no file *_0.02.npy or *_0.16.npy", path, "give scores of 20 or 160 ms")
        return SegmentSubmission(by_resolution)

    def write(self, folder: Path, predictions: Sequence[VideoPrediction], task: Task) -> tuple[Path, ...]:
        """Write ``score_0.02.npy`` and ``score_0.16.npy`` from the steps of the sound: a segment has its highest.

        Raises UsageError when a prediction has no steps of the sound, or the metadata no length.
        """
        paths = []
        for resolution in RESOLUTIONS:
            sizes = {file: len(flags) for file, flags in _truth(task, resolution).items()}
            arrays = {
                _utterance(one.file): _sampled(one, float(resolution), sizes[one.file]) for one in predictions
            }
            paths.append(folder / f"score_{resolution}.npy")
            write_arrays(paths[-1], arrays)
        return tuple(paths)


def _read(path: Path, task: Task, resolution: str) -> dict[str, NDArray[np.float64]]:
    names, faults = {_utterance(file): file for file in task.files}, Faults(path)
    truth = _truth(task, resolution) if task.labelled else {}
    scores = {}
    for name, array in read_arrays(path).items():
        file = names.get(name)
        if file is None:
            faults.add(f"{name!r} is not in this split")
            continue
        try:
            scores[file] = array.astype(np.float64)
        except (TypeError, ValueError):
            scores[file] = np.array([np.nan])
        wrong = np.flatnonzero(~np.isfinite(scores[file]))
        if len(wrong):
            faults.add(f"{name!r} #{wrong[0]} has a score that is not a number")
        wanted = len(truth.get(file, scores[file]))
        if abs(len(scores[file]) - wanted) > _APART or not len(scores[file]):
            faults.add(f"{name!r} has {len(scores[file])} segments of {resolution} s, its clip {wanted}")
    for name, file in names.items():
        if file not in scores:
            faults.add(f"{name!r} is missing")
    faults.raise_if_any()
    return scores


def _truth(task: Task, resolution: str) -> dict[str, NDArray[np.bool_]]:
    """Which segments are forged: PartialSpoof's own labels where they lie there, else those that intervals touch."""
    part = next((part for part, split in PARTS.items() if split == task.split), task.split)
    if label_file(task.root, part, resolution).is_file():
        labels = segment_labels(task.root, part, resolution)
        missing = [file for file in task.files if _utterance(file) not in labels]
        if missing:
            raise InputError(f"has no labels of {missing[0]}", label_file(task.root, part, resolution))
        return {file: labels[_utterance(file)] for file in task.files}
    step_s = float(resolution)
    forged: dict[str, NDArray[np.bool_]] = {}
    for sample, spans in zip(task.samples, task.segments(), strict=True):
        if not sample.duration_s > 0:
            raise UsageError(
                "has no length in the metadata, so no number of segments", task.root / sample.file
            )
        starts = np.arange(math.ceil(round(sample.duration_s / step_s, 6))) * step_s
        touched = (starts[:, None] + step_s > spans[:, 0] + 1e-9) & (starts[:, None] < spans[:, 1] - 1e-9)
        forged[sample.file.as_posix()] = np.any(touched, axis=1)
    return forged


def _sampled(one: VideoPrediction, step_s: float, size: int) -> NDArray[np.float64]:
    """The highest step of the sound in each of `size` segments; 0 where nothing was decoded."""
    curve = one.steps.curves.get("audio") if one.steps is not None else None
    if one.steps is None or curve is None:
        if one.unread or one.abstained:
            return np.zeros(size)
        raise UsageError("segment scores need steps of the sound, which the prediction lacks", one.file)
    grid = one.steps.grid
    filled = np.nan_to_num(curve.astype(np.float64), nan=0.0)
    first = np.floor((np.arange(size) * step_s - float(grid.start)) / float(grid.step) + 1e-9).astype(int)
    last = np.ceil(((np.arange(size) + 1) * step_s - float(grid.start)) / float(grid.step) - 1e-9).astype(int)
    return np.array(
        [filled[max(a, 0) : max(b, 0)].max(initial=0.0) for a, b in zip(first, last, strict=True)]
    )


def _fitted(scores: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """`scores` cut to `size`, or its last one repeated."""
    return (
        scores[:size]
        if len(scores) >= size
        else np.append(scores, np.repeat(scores[-1:], size - len(scores)))
    )


def _utterance(file: str) -> str:
    return PurePosixPath(file).stem
