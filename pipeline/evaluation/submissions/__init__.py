"""Submissions to the field's servers: files in, their measures out; and a detector's predictions written as such."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from data.labels import CLASSES
from data.manifest import Manifest, samples_of
from pipeline.evaluation.predictions import VideoPrediction
from pipeline.evaluation.result import Evaluation
from pipeline.evaluation.submissions.challenge import Challenge
from pipeline.evaluation.submissions.ddl import Ddl
from pipeline.evaluation.submissions.segments import PartialSpoof
from pipeline.evaluation.submissions.task import Server, Task
from pipeline.evaluation.submissions.videos import DeepfakeBench, MleDojo

ServerName = Literal["1m-deepfakes", "ddl-gav", "partialspoof", "mle-dojo", "deepfakebench"]

SERVERS: dict[ServerName, Server] = {
    "1m-deepfakes": Challenge(),
    "ddl-gav": Ddl(),
    "partialspoof": PartialSpoof(),
    "mle-dojo": MleDojo(),
    "deepfakebench": DeepfakeBench(),
}

__all__ = ["SERVERS", "ServerName", "judge", "write_submission"]


def judge(name: ServerName, path: Path, manifest: Manifest, split: str) -> Evaluation:
    """The measures of the server `name` for the submission at `path`, on the labels of `split`.

    Where the split has no labels, as a challenge's test split, the submission is checked and nothing is measured.

    Raises InputError for a submission that the server would refuse or misread, with file and row; UsageError when the
    split is empty or its intervals are not known.
    """
    task = Task(manifest.root, split, tuple(samples_of(manifest, split)))
    submission = SERVERS[name].read(path, task)
    labels = task.labels if task.labelled else None
    notes = [f"measured as {name} does, from {path.name}"]
    if labels is None:
        notes = [
            f"{path.name} is well-formed for {name}; the split has no public labels, so nothing is measured"
        ]
    return Evaluation(
        dataset=manifest.root.resolve().name,
        split=split,
        clips={"unlabelled": len(task.samples)}
        if labels is None
        else {kind: int((labels == k).sum()) for k, kind in enumerate(CLASSES)},
        segments=sum(len(sample.fake_periods) for sample in task.samples),
        rows=tuple(submission.rows(task)) if labels is not None else (),
        confusion=None,
        notes=tuple(notes),
        bootstrap={"replicates": 0, "over": "videos", "seed": 0},
    )


def write_submission(
    name: ServerName, folder: Path, predictions: Sequence[VideoPrediction], manifest: Manifest, split: str
) -> tuple[Path, ...]:
    """Write `predictions` of all clips of `split` into `folder` as the server `name` reads them; returns the files.

    Raises UsageError when the predictions lack what the format needs, or the files cannot be written.
    """
    return SERVERS[name].write(
        folder, predictions, Task(manifest.root, split, tuple(samples_of(manifest, split)))
    )
