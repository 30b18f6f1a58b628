"""The 1M-Deepfakes Detection Challenge, 2024 and 2025: one flat ``prediction.zip``.

It holds ``prediction.txt`` (detection, lines ``file;score``), ``prediction.json`` (localization,
``{"file": [[confidence, start_s, end_s], ...]}``) or both. Files are named relative to their part of the data set.
Sources: https://deepfakes1m.github.io/details, https://deepfakes1m.github.io/2025/details and
https://github.com/ControlNet/AV-Deepfake1M (python/avdeepfake1m/evaluation).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.metrics import PROTOCOLS, auc, localization
from pipeline.evaluation.predictions import (
    Rules,
    VideoPrediction,
    file_name,
    parse_proposals,
    parse_scores,
)
from pipeline.evaluation.result import Row
from pipeline.evaluation.submissions.task import Task, needed, read_flat, write_flat

ARCHIVE, SCORES, PROPOSALS = "prediction.zip", "prediction.txt", "prediction.json"
PADDING = [[0, 0, 0]]
"""What stands for "nothing found": the server's reader fails on an empty list."""

_TABLE = "1M-Deepfakes"


@dataclass(frozen=True)
class ChallengeSubmission:
    """Scores and proposals by file name; None for the task that the archive does not answer."""

    scores: dict[str, float] | None
    proposals: dict[str, NDArray[np.float64]] | None

    def rows(self, task: Task) -> list[Row]:
        """AUC; AP, AR and their composite, 0.5 mean AP + 0.5 mean AR (2025: 1/8 and 1/10 of the sums, the same).

        Raises UsageError when there are no labels, or no intervals for the proposals.
        """
        values: dict[str, float] = {}
        labels = task.labels
        if self.scores is not None:
            values["AUC"] = auc(np.array([self.scores[file] for file in task.files]), labels > 0)
        if self.proposals is not None:
            given = [self.proposals[file] for file in task.files]
            measures = localization(given, task.segments(), PROTOCOLS["avdeepfake1m"])
            values |= measures | {"score": 0.5 * measures["mAP"] + 0.5 * measures["mAR"]}
        return [Row(_TABLE, "all", name, value) for name, value in values.items()]


class Challenge:
    """The format in and out; see the module."""

    def read(self, path: Path, task: Task) -> ChallengeSubmission:
        """Read the archive with the server's demands: no empty list, scores in [0, 1], no time after the clip's end.

        Raises InputError with the first faults.
        """
        texts = read_flat(path, optional=(SCORES, PROPOSALS))
        rules = Rules(padded=True, positive=True, shares=True, lengths_s=task.lengths_s)
        scores = proposals = None
        if SCORES in texts:
            scores = parse_scores(path / SCORES, texts[SCORES], task.files, rules)
        if PROPOSALS in texts:
            proposals = parse_proposals(path / PROPOSALS, texts[PROPOSALS], task.files, rules)
        return ChallengeSubmission(scores, proposals)

    def write(self, folder: Path, predictions: Sequence[VideoPrediction], task: Task) -> tuple[Path, ...]:
        """Write ``prediction.zip``, proposals by falling confidence and empty lists padded.

        Raises UsageError when a prediction lacks its score or its proposals.
        """
        needed(predictions, "score", ARCHIVE)
        needed(predictions, "proposals", ARCHIVE)
        short = _short(task)
        scores = [f"{file_name(one.file, short)};{one.score!r}\n" for one in predictions]
        proposals = {file_name(one.file, short): _padded(one) for one in predictions}
        path = folder / ARCHIVE
        write_flat(path, {SCORES: "".join(scores), PROPOSALS: json.dumps(proposals) + "\n"})
        return (path,)


def _padded(one: VideoPrediction) -> list[list[float]]:
    if one.proposals is None or not len(one.proposals):
        return [[float(x) for x in row] for row in PADDING]
    order = np.argsort(-one.proposals[:, 0], kind="stable")
    rows: list[list[float]] = one.proposals[order].tolist()
    return rows


def _short(task: Task) -> bool:
    """Whether names within the part are unambiguous."""
    names = [file_name(file, short=True) for file in task.files]
    return len(set(names)) == len(names)
