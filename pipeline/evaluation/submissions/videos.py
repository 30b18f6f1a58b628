"""Two formats with a number or two for each video: MLE-Dojo's LAV-DF and DeepfakeBench's frame scores."""

from __future__ import annotations

import csv
import io
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, UsageError
from data.files import write_text
from pipeline.evaluation.metrics import auc, average_precision, eer
from pipeline.evaluation.predictions import (
    Faults,
    VideoPrediction,
    file_name,
    known_names,
    number,
    read_text,
    shortened,
)
from pipeline.evaluation.result import Row
from pipeline.evaluation.submissions.task import Task, needed

TABLE = "submission.csv"
COLUMNS = ("video_id", "p_video_fake", "p_audio_fake")
FRAMES = "frames.txt"


@dataclass(frozen=True)
class TrackSubmission:
    """P(picture forged) and P(sound forged) by file name."""

    tracks: dict[str, tuple[float, float]]

    def rows(self, task: Task) -> list[Row]:
        """AP of both labels and their mean. Raises UsageError without labels."""
        labels = task.labels
        both = np.array([self.tracks[file] for file in task.files])
        values = {
            "AP, picture": average_precision(both[:, 0], labels & 1 > 0),
            "AP, sound": average_precision(both[:, 1], labels & 2 > 0),
        }
        values["score"] = float(np.mean(list(values.values())))
        return [Row("MLE-Dojo, LAV-DF", "all", name, value) for name, value in values.items()]


class MleDojo:
    """The csv of MLE-Dojo's competition on LAV-DF: ``video_id,p_video_fake,p_audio_fake``.

    Its score is the mean of the two average precisions. Source: the competition's description.txt, in the supplement
    of https://openreview.net/forum?id=mXQslpfSU5 (localized-audio-visual-deepfake-dataset-lav-df).
    """

    def read(self, path: Path, task: Task) -> TrackSubmission:
        """Read the csv; probabilities lie in [0, 1]. Raises InputError with the first faults."""
        names, faults = known_names(task.files), Faults(path)
        scores: dict[str, tuple[float, float]] = {}
        reader = csv.reader(io.StringIO(read_text(path), newline=""))
        if next(reader, None) != list(COLUMNS):
            raise InputError(f"line 1 is not {','.join(COLUMNS)}", path, "write the columns in this order")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(COLUMNS):
                raise InputError(f"line {reader.line_num} has {len(cells)} columns, not 3", path)
            row = f"line {reader.line_num}, {cells[0]!r}"
            file = names.get(cells[0])
            if file is None:
                faults.add(f"{row} is not in this split")
            elif file in scores:
                faults.add(f"{row} occurs more than once")
            else:
                picture, sound = (number(cell, row, faults, share=True) for cell in cells[1:])
                scores[file] = (picture, sound)
        _refuse_missing(task, scores, faults)
        return TrackSubmission(scores)

    def write(self, folder: Path, predictions: Sequence[VideoPrediction], task: Task) -> tuple[Path, ...]:
        """Write ``submission.csv``. Raises UsageError when a prediction lacks its probabilities."""
        needed(predictions, "probabilities", TABLE)
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(COLUMNS)
        for one in predictions:
            _, picture, sound, both = one.probabilities or (0.0,) * 4
            tracks = (min(picture + both, 1.0), min(sound + both, 1.0))
            writer.writerow([file_name(one.file, short=True), *map(repr, map(float, tracks))])
        write_text(folder / TABLE, buffer.getvalue())
        return (folder / TABLE,)


@dataclass(frozen=True)
class FrameSubmission:
    """Scores of the frames of each clip, (F,) by file name."""

    frames: dict[str, NDArray[np.float64]]

    def rows(self, task: Task) -> list[Row]:
        """AUC, EER, AP and ACC at 0.5 of all frames, and AUC of the mean of each video's frames.

        A frame has the label of its video, as there. Raises UsageError without labels.
        """
        forged = task.labels > 0
        scores = [self.frames[file] for file in task.files]
        means = np.array([one.mean() for one in scores])
        every, labels = np.concatenate(scores), np.repeat(forged, [len(one) for one in scores])
        values = {
            "AUC": auc(every, labels),
            "EER": eer(every, labels),
            "AP": average_precision(every, labels),
            "ACC": float(((every > 0.5) == labels).mean()),
        }
        rows = [Row("DeepfakeBench", "frames", name, value) for name, value in values.items()]
        return [*rows, Row("DeepfakeBench", "video score", "AUC", auc(means, forged))]


class DeepfakeBench:
    """DeepfakeBench's video score: the mean of the scores of a video's frames.

    There, predictions stay in memory, grouped by the folder of the frames' pictures; the file here has a line
    ``folder/frame.png;score`` for each, where the folder is the clip's name without its ending. Source:
    https://github.com/SCLBD/DeepfakeBench, training/metrics/utils.py (get_test_metrics). It knows no localization.
    """

    def read(self, path: Path, task: Task) -> FrameSubmission:
        """Read the lines; scores lie in [0, 1]. Raises InputError with the first faults."""
        stems = {PurePosixPath(file).with_suffix("").as_posix(): file for file in task.files}
        names = {name: stems[stem] for name, stem in known_names(list(stems)).items()}
        faults = Faults(path)
        frames_of: dict[str, dict[str, float]] = {}
        for count, line in enumerate(read_text(path).split("\n"), start=1):
            if not line.strip():
                continue
            name, separator, score = line.rpartition(";")
            folder, slash, frame = name.strip().rpartition("/")
            if not separator or not slash:
                raise InputError(
                    f"line {count} is not of the form folder/frame.png;score: {shortened(line)}", path
                )
            file, row = names.get(folder), f"line {count}, {name.strip()!r}"
            if file is None:
                faults.add(f"{row} is of a clip that is not in this split")
            elif frame in frames_of.setdefault(file, {}):
                faults.add(f"{row} occurs more than once")
            else:
                frames_of[file][frame] = number(score.strip(), row, faults, share=True)
        _refuse_missing(task, frames_of, faults)
        return FrameSubmission({file: np.array(list(frames.values())) for file, frames in frames_of.items()})

    def write(self, folder: Path, predictions: Sequence[VideoPrediction], task: Task) -> tuple[Path, ...]:
        """Write ``frames.txt``: a line for each step of the grid at which anything was decoded.

        A step has the highest score of its branches; a clip without steps has one line, its video score. Raises
        UsageError when a prediction lacks both.
        """
        lines = []
        for one in predictions:
            stem = PurePosixPath(file_name(one.file, short=False)).with_suffix("").as_posix()
            lines += [f"{stem}/{k:06d}.png;{value!r}\n" for k, value in _steps(one)]
        write_text(folder / FRAMES, "".join(lines))
        return (folder / FRAMES,)


def _steps(one: VideoPrediction) -> list[tuple[int, float]]:
    curves = list(one.steps.curves.values()) if one.steps is not None else []
    if curves:
        stacked = np.stack(curves)
        decoded = np.flatnonzero(~np.isnan(stacked).all(axis=0))
        if len(decoded):
            return [(int(k), float(np.nanmax(stacked[:, k]).clip(0, 1))) for k in decoded]
    if one.score is None:
        raise UsageError(
            f"{FRAMES} needs step scores, which the prediction lacks", one.file, "predict with a detector"
        )
    return [(0, float(one.score))]


def _refuse_missing(task: Task, given: Container[str], faults: Faults) -> None:
    for file in task.files:
        if file not in given:
            faults.add(f"{file!r} is missing")
    faults.raise_if_any()
