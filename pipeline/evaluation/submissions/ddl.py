"""DDL-GAV, Track 2 of the IJCAI 2026 workshop on AI safety: binary and four-class scores in two text files.

The page gives the measures in words and the format as pictures, so that names of files and columns are read here as
follows: a flat ``submission.zip`` with ``binary.txt``, lines ``file;score``, and ``four.txt``, lines
``file;real-real;fake-real;real-fake;fake-fake`` in the page's order, where the first word is the video, the second the
audio. Measures of four classes are macro averages over one class against the rest. Source:
https://ai-safety-workshop-ijcai2026.github.io/Track2.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from pipeline.evaluation.metrics import accuracy, auc, average_precision, f1
from pipeline.evaluation.predictions import (
    Faults,
    Rules,
    VideoPrediction,
    file_name,
    known_names,
    number,
    parse_scores,
    shortened,
)
from pipeline.evaluation.result import Row
from pipeline.evaluation.submissions.task import Task, needed, read_flat, write_flat

ARCHIVE, BINARY, FOUR = "submission.zip", "binary.txt", "four.txt"
WEIGHTS = {"AUC": 0.2, "ACC": 0.3, "AP": 0.3, "F1": 0.2}
"""Of each of the two scores; the final score is 0.4 of the binary and 0.6 of the four-class one."""

_CLASSES = 4


@dataclass(frozen=True)
class DdlSubmission:
    """P(forged), and probabilities (4,) in the order of our classes, by file name."""

    binary: dict[str, float]
    four: dict[str, NDArray[np.float64]]

    def rows(self, task: Task) -> list[Row]:
        """Measures of the binary and the four-class task, and the final score. Raises UsageError without labels."""
        labels, files = task.labels, task.files
        scores = np.array([self.binary[file] for file in files])
        likely = np.stack([self.four[file] for file in files])
        tables = {
            "binary": _binary(scores, labels > 0),
            "four classes": _four(likely, labels),
        }
        rows, totals = [], []
        for group, values in tables.items():
            totals.append(sum(weight * values[name] for name, weight in WEIGHTS.items()))
            rows += [
                Row("DDL-GAV", group, name, value) for name, value in {**values, "score": totals[-1]}.items()
            ]
        return [*rows, Row("DDL-GAV", "final", "score", 0.4 * totals[0] + 0.6 * totals[1])]


class Ddl:
    """The format in and out; see the module."""

    def read(self, path: Path, task: Task) -> DdlSubmission:
        """Read the archive; all scores lie in [0, 1]. Raises InputError with the first faults."""
        texts = read_flat(path, required=(BINARY, FOUR))
        binary = parse_scores(path / BINARY, texts[BINARY], task.files, Rules(shares=True))
        return DdlSubmission(binary, _read_four(path / FOUR, texts[FOUR], task.files))

    def write(self, folder: Path, predictions: Sequence[VideoPrediction], task: Task) -> tuple[Path, ...]:
        """Write ``submission.zip``. Raises UsageError when a prediction lacks its score or its probabilities."""
        needed(predictions, "score", ARCHIVE)
        needed(predictions, "probabilities", ARCHIVE)
        binary, four = [], []
        for one in predictions:
            name = file_name(one.file, short=False)
            binary.append(f"{name};{one.score!r}\n")
            four.append(";".join([name, *(repr(float(p)) for p in one.probabilities or ())]) + "\n")
        path = folder / ARCHIVE
        write_flat(path, {BINARY: "".join(binary), FOUR: "".join(four)})
        return (path,)


def _read_four(origin: Path, text: str, files: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    names, faults = known_names(files), Faults(origin)
    likely: dict[str, NDArray[np.float64]] = {}
    for count, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        name, *values = (part.strip() for part in line.rsplit(";", _CLASSES))
        if len(values) != _CLASSES:
            problem = f"line {count} is not of the form file;real-real;fake-real;real-fake;fake-fake: {shortened(line)}"
            raise InputError(problem, origin)
        file, row = names.get(name), f"line {count}, {name!r}"
        if file is None:
            faults.add(f"{row} is not in this split")
        elif file in likely:
            faults.add(f"{row} occurs more than once")
        else:
            # Real-real, fake-real (picture), real-fake (sound), fake-fake: the order of our classes.
            likely[file] = np.array([number(value, row, faults, share=True) for value in values])
    for file in files:
        if file not in likely:
            faults.add(f"{file!r} is missing")
    faults.raise_if_any()
    return likely


def _binary(scores: NDArray[np.float64], forged: NDArray[np.bool_]) -> dict[str, float]:
    called = scores >= 0.5
    return {
        "AUC": auc(scores, forged),
        "ACC": float((called == forged).mean()),
        "AP": average_precision(scores, forged),
        "F1": f1(called, forged),
    }


def _four(likely: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    called = likely.argmax(axis=1)
    present = [k for k in range(_CLASSES) if (labels == k).any()]

    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    return {
        "AUC": mean([auc(likely[:, k], labels == k) for k in present]),
        "ACC": accuracy(called, labels),
        "AP": mean([average_precision(likely[:, k], labels == k) for k in present]),
        "F1": mean([f1(called == k, labels == k) for k in present]),
    }
