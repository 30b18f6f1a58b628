"""Evaluation of predictions, from a detector or a file: tables with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, UsageError
from data.labels import CLASSES
from data.manifest import Manifest, Sample, refuse_unlocated, samples_of
from data.manifest.sidecar import Origin, SynthesizedClip, clips_by_file, generators
from data.timeline import total_s
from pipeline.evaluation.metrics import (
    PROTOCOLS,
    Localization,
    ProtocolName,
    accuracy,
    auc,
    boundary_errors,
    calibration_error,
    confusion,
    eer,
    even_weights,
    interval,
    reliability,
    resample,
)
from pipeline.evaluation.predictions import VideoPrediction
from pipeline.evaluation.result import Evaluation, Row

LENGTHS_S = (0.4, 0.8, 1.6)
"""Bounds of the groups of segments by length; LAV-DF's end at 1.6 s, and 89 % are shorter than 1 s."""

REPLICATES = 1000

THROUGHOUT = 0.9
"""Share of a clip from which on it counts as forged from end to end."""

Weights = NDArray[np.float64]

Edits = dict[str, list[list[frozenset[str]]]]
"""What was done, in one way of naming it or another, by clip and segment."""


def evaluate(
    predictions: Sequence[VideoPrediction],
    manifest: Manifest,
    split: str,
    protocols: Sequence[ProtocolName] = ("honest", "paper"),
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Evaluation:
    """Measure `predictions` of all clips of `split` against its labels and intervals.

    Confidence intervals are 95 % percentiles of `replicates` samples of the videos, or of the people in them where
    the data set's forgeries.json names them; 0 leaves them out.

    Raises UsageError when the split has no clips or no labels, InputError when a clip has no prediction or the
    predictions know clips that the split has not.
    """
    samples = samples_of(manifest, split)
    listed = sum(len(sample.fake_periods) for sample in samples)
    samples = [_hittable(sample) for sample in samples]
    lost = listed - sum(len(sample.fake_periods) for sample in samples)
    labels = _labels(samples, manifest, split)
    ordered = _in_order(predictions, samples)
    sidecar = clips_by_file(manifest.root)
    boot = _Bootstrap(samples, sidecar, replicates, seed)
    truth = [np.array([[p.start_s, p.end_s] for p in s.fake_periods]).reshape(-1, 2) for s in samples]
    edits = _edits(samples, sidecar, generators(manifest.root))
    if not (located := all(sample.located for sample in samples)) and all(p.score is None for p in ordered):
        refuse_unlocated(manifest.root, samples)
    rows: list[Row] = []
    if located and all(p.proposals is not None for p in ordered):
        given = [p.proposals for p in ordered if p.proposals is not None]
        for name in protocols:
            judged = Localization(given, truth, PROTOCOLS[name], labels)
            rows += boot.rows(f"localization, {name}", "all", judged)
            if name == "honest":
                rows += _by_class(boot, given, truth, labels)
                rows += _by_segment(judged, truth, edits)
        rows += _boundary_rows(given, truth)
    rows += _video_rows(boot, ordered, labels, edits, _extent(samples))
    rows += _step_rows(ordered, truth) if located else []
    groups = [
        (clip.group or None) if (clip := sidecar.get(sample.file.as_posix())) else None for sample in samples
    ]
    rows += _by_recording(ordered, truth, labels, groups)
    matrix = None
    if all(p.probabilities is not None for p in ordered):
        shares = [p.probabilities for p in ordered if p.probabilities is not None]
        matrix = confusion(np.argmax(shares, axis=1), labels, len(CLASSES))
    return Evaluation(
        dataset=manifest.root.resolve().name,
        split=split,
        clips={name: int((labels == k).sum()) for k, name in enumerate(CLASSES)},
        segments=sum(len(rows) for rows in truth),
        rows=tuple(rows),
        confusion=matrix,
        notes=tuple(_notes(manifest, ordered, labels, truth, lost, located)),
        bootstrap={"replicates": replicates, "over": boot.over, "seed": seed},
    )


class _Bootstrap:
    """Values with their intervals, all from the same samples of the videos."""

    def __init__(
        self, samples: Sequence[Sample], sidecar: Mapping[str, SynthesizedClip], replicates: int, seed: int
    ) -> None:
        names = [s.file.as_posix() for s in samples]
        people = [sidecar[name].identity if name in sidecar else name for name in names]
        self.over = "identities" if any(name in sidecar for name in names) else "videos"
        self._groups = people if self.over == "identities" else None
        self._videos, self._replicates, self._seed = len(samples), replicates, seed

    def rows(
        self, table: str, group: str, measure: Callable[[Weights | None], dict[str, float]]
    ) -> list[Row]:
        """A row for each value of `measure`, which takes the weights of the videos."""
        values = measure(None)
        drawn = [
            measure(weights) for weights in resample(self._videos, self._replicates, self._seed, self._groups)
        ]
        return [
            Row(table, group, name, value, *interval([one[name] for one in drawn]) if drawn else ())
            for name, value in values.items()
        ]


def _by_class(
    boot: _Bootstrap,
    given: Sequence[NDArray[np.float64]],
    truth: Sequence[NDArray[np.float64]],
    labels: NDArray[np.int64],
) -> list[Row]:
    """Each kind of forgery among the authentic clips, so that false alarms count."""
    rows = []
    for label, name in enumerate(CLASSES[1:], start=1):
        chosen = np.flatnonzero((labels == label) | (labels == 0)).tolist()
        if (labels == label).any():
            judged = Localization([given[k] for k in chosen], [truth[k] for k in chosen], PROTOCOLS["honest"])
            measure = partial(_of_part, judged, chosen)
            rows += boot.rows("localization, honest", f"{name} + real", measure)
    return rows


def _of_part(judged: Localization, chosen: list[int], weights: Weights | None) -> dict[str, float]:
    return judged(weights[chosen] if weights is not None else None)


def _by_segment(
    judged: Localization,
    truth: Sequence[NDArray[np.float64]],
    edits: Edits,
) -> list[Row]:
    """Recall of segments by length and by what was done: a false alarm belongs to no such group."""
    spans = np.concatenate([*truth, np.zeros((0, 2))])
    lengths = np.round(spans[:, 1] - spans[:, 0], 6)  # metadata has microseconds; 0.6 - 0.2 is less than 0.4
    groups: list[tuple[str, str, NDArray[np.bool_]]] = []
    bounds = [0.0, *LENGTHS_S, np.inf]
    for low, high in pairwise(bounds):
        name = f"{low:g} to {high:g} s" if np.isfinite(high) else f"{low:g} s and more"
        name = f"below {high:g} s" if low == 0 else name
        groups.append(("recall by length", name, (lengths >= low) & (lengths < high)))
    for how, clips in edits.items():
        named = [names for clip in clips for names in clip]
        for name in sorted(set().union(*named)):
            groups.append((f"recall by {how}", name, np.array([name in one for one in named])))
    rows = []
    for table, name, chosen in groups:
        if chosen.any():
            rows.append(Row(table, name, "segments", int(chosen.sum())))
            budgets = judged.protocol.budgets
            rows += [Row(table, name, f"AR@{n}", judged.recall(n, chosen.astype(float))) for n in budgets]
    return rows


def _video_rows(
    boot: _Bootstrap,
    predictions: Sequence[VideoPrediction],
    labels: NDArray[np.int64],
    edits: Edits,
    extent: Mapping[str, NDArray[np.bool_]],
) -> list[Row]:
    """AUC of forged against authentic clips, over all and by kind; accuracies of the most probable class."""
    if any(p.score is None for p in predictions):
        return []
    scores = np.array([p.score for p in predictions], np.float64)
    classified = all(p.probabilities is not None for p in predictions)
    shares = np.array([p.probabilities or (1.0, 0.0, 0.0, 0.0) for p in predictions])
    likely, forged = shares.argmax(axis=1), (1 - shares[:, 0]).clip(0, 1)

    def measure(weights: Weights | None, chosen: NDArray[np.bool_] | None = None) -> dict[str, float]:
        part = chosen if chosen is not None else np.ones(len(scores), np.bool_)
        counted = weights[part] if weights is not None else None
        values = {"AUC": auc(scores[part], labels[part] > 0, counted)}
        if classified and chosen is None:
            values["accuracy, 2 classes"] = accuracy(
                (likely > 0).astype(int), (labels > 0).astype(int), weights
            )
            values["accuracy, 4 classes"] = accuracy(likely, labels, weights)
            values["calibration error"] = calibration_error(
                forged, labels > 0, even_weights(labels > 0, weights)
            )
        return values

    rows = [Row("video level", "all", "clips", len(predictions)), *boot.rows("video level", "all", measure)]
    groups = {("video level", name): labels == k for k, name in enumerate(CLASSES[1:], start=1)}
    groups |= {("video level", name): chosen & (labels > 0) for name, chosen in extent.items()}
    for how, clips in edits.items():
        table = "video level" if how == "manipulation" else f"video level by {how}"
        held = [frozenset().union(*clip) for clip in clips]
        groups |= {
            (table, name): np.array([name in clip for clip in held])
            for name in sorted(frozenset().union(*held))
        }
    for (table, name), chosen in groups.items():
        if chosen.any() and (labels == 0).any():
            rows.append(Row(table, f"{name} vs real", "clips", int(chosen.sum())))
            rows += boot.rows(table, f"{name} vs real", partial(measure, chosen=chosen | (labels == 0)))
    bins = (reliability(forged, labels > 0), reliability(forged, labels > 0, even_weights(labels > 0)))
    for plain, even in zip(*bins, strict=True) if classified else ():
        name = f"{even.low:.1f} to {even.high:.1f}"
        values = {"clips": plain.items, "P(forged), mean": even.probability, "forged": even.forged}
        rows += [Row("reliability", name, metric, value) for metric, value in values.items()]
    return rows


def _by_recording(
    predictions: Sequence[VideoPrediction],
    truth: Sequence[NDArray[np.float64]],
    labels: NDArray[np.int64],
    groups: Sequence[str | None],
) -> list[Row]:
    """AUC, and mAP where proposals are known, of the clips of each group of recording conditions that has a name."""
    rows = []
    for name in sorted({group for group in groups if group is not None}):
        chosen = [k for k, group in enumerate(groups) if group == name]
        rows.append(Row("by recording group", name, "clips", len(chosen)))
        scores = [score for k in chosen if (score := predictions[k].score) is not None]
        if len(scores) == len(chosen):
            rows.append(
                Row("by recording group", name, "AUC", auc(np.array(scores, np.float64), labels[chosen] > 0))
            )
        given = [rows_of for k in chosen if (rows_of := predictions[k].proposals) is not None]
        if len(given) == len(chosen):
            judged = Localization(given, [truth[k] for k in chosen], PROTOCOLS["honest"])()
            rows += [Row("by recording group", name, metric, judged[metric]) for metric in ("mAP", "mAR")]
    return rows


def _step_rows(predictions: Sequence[VideoPrediction], truth: Sequence[NDArray[np.float64]]) -> list[Row]:
    """AUC and EER of the steps by branch; forged are those whose centre lies in a segment."""
    scores: dict[str, list[NDArray[np.float32]]] = {}
    forged: dict[str, list[NDArray[np.bool_]]] = {}
    for prediction, spans in zip(predictions, truth, strict=True):
        if prediction.steps is None:
            continue
        grid = prediction.steps.grid
        centres = float(grid.start) + (np.arange(grid.n) + 0.5) * float(grid.step)
        after, before = centres[:, None] >= spans[:, 0], centres[:, None] < spans[:, 1]
        inside = np.any(after & before, axis=1)
        for branch, curve in prediction.steps.curves.items():
            valid = ~np.isnan(curve)
            scores.setdefault(branch, []).append(curve[valid])
            forged.setdefault(branch, []).append(inside[valid])
    rows = []
    for branch in scores:
        values, flags = np.concatenate(scores[branch]), np.concatenate(forged[branch])
        rows.append(Row("step level", branch, "steps", len(values)))
        rows.append(Row("step level", branch, "AUC", auc(values, flags)))
        rows.append(Row("step level", branch, "EER", eer(values, flags)))
    return rows


def _hittable(sample: Sample) -> Sample:
    """`sample` without periods of no length or behind its end: no proposal can overlap them."""
    end_s = sample.duration_s if sample.duration_s > 0 else math.inf
    periods = tuple(p for p in sample.fake_periods if p.duration_s > 0 and p.start_s < end_s)
    return replace(sample, fake_periods=periods) if periods != sample.fake_periods else sample


def _labels(samples: Sequence[Sample], manifest: Manifest, split: str) -> NDArray[np.int64]:
    unlabelled = [sample for sample in samples if sample.label is None]
    if unlabelled:
        problem = f"{len(unlabelled)} clips of the split '{split}' have no label, first {unlabelled[0].file}"
        raise UsageError(problem, manifest.root, "measure on a split with labels, for example --split dev")
    return np.array([sample.label for sample in samples], np.int64)


def _in_order(predictions: Sequence[VideoPrediction], samples: Sequence[Sample]) -> list[VideoPrediction]:
    by_name = {prediction.file: prediction for prediction in predictions}
    names = [sample.file.as_posix() for sample in samples]
    missing = [name for name in names if name not in by_name]
    unknown = sorted(by_name.keys() - set(names))
    for what, which in (
        ("have no prediction", missing),
        ("have predictions but are not in the split", unknown),
    ):
        if which:
            raise InputError(f"{len(which)} clips {what}, first {', '.join(which[:3])}")
    return [by_name[name] for name in names]


def _notes(
    manifest: Manifest,
    predictions: Sequence[VideoPrediction],
    labels: NDArray[np.int64],
    truth: Sequence[NDArray[np.float64]],
    lost: int,
    located: bool,
) -> Iterator[str]:
    if lost:
        yield f"{lost} segments are empty or lie behind their clip's end: nobody can hit them, they are left out"
    unread = [p.file for p in predictions if p.unread]
    if unread:
        yield f"{len(unread)} clips could not be analysed and count as classified authentic, first {unread[0]}"
    abstained = [p.file for p in predictions if p.abstained]
    if abstained:
        yield (
            f"{len(abstained)} clips are not assessable and count as having no proposals and P(forged) = "
            f"0.5, first {abstained[0]}"
        )
    if manifest.missing:
        yield f"{len(manifest.missing)} clips of the data set are missing from the disk and do not count"
    if not located:
        yield "labels are of whole videos: no forged interval is known, and localization is not measured"
    bare = [
        p.file for p, label, spans in zip(predictions, labels, truth, strict=True) if label and not len(spans)
    ]
    if bare and located:
        yield f"{len(bare)} clips are labelled forged but have no intervals, first {bare[0]}"


def _extent(samples: Sequence[Sample]) -> dict[str, NDArray[np.bool_]]:
    """Which clips (V,) are forged in part, and which from end to end, where there are clips of both kinds."""
    shares = np.array([total_s(s.fake_periods) / s.duration_s if s.duration_s > 0 else 0.0 for s in samples])
    parts = {"in part": (shares > 0) & (shares < THROUGHOUT), "throughout": shares >= THROUGHOUT}
    return parts if all(chosen.any() for chosen in parts.values()) else {}


def _boundary_rows(given: Sequence[NDArray[np.float64]], truth: Sequence[NDArray[np.float64]]) -> list[Row]:
    """How many segments a proposal meets with a tIoU of 0.5, and the median error of its bounds."""
    listed = sum(map(len, truth))
    if not listed:
        return []
    errors = boundary_errors(given, truth)
    start, end, both = (
        float(np.median(part)) if len(errors) else math.nan for part in (errors[:, 0], errors[:, 1], errors)
    )
    values = {
        "segments": listed,
        "met": len(errors) / listed,
        "start, ms": 1000 * start,
        "end, ms": 1000 * end,
        "either, ms": 1000 * both,
    }
    return [Row("boundaries, median error", "all", name, value) for name, value in values.items()]


def _edits(
    samples: Sequence[Sample], sidecar: Mapping[str, SynthesizedClip], origins: Mapping[str, Origin]
) -> Edits:
    """What was done in each segment of each clip, by manipulation or generator, and by its family and kind if known.

    The metadata rounds times to microseconds.
    """
    edits = []
    for sample in samples:
        listed = sidecar[sample.file.as_posix()].segments if sample.file.as_posix() in sidecar else ()
        edits.append(
            [
                [
                    edit
                    for edit in listed
                    if abs(edit.start_s - period.start_s) < 1e-3 and abs(edit.end_s - period.end_s) < 1e-3
                ]
                for period in sample.fake_periods
            ]
        )
    names: Edits = {
        "manipulation": [[frozenset(edit.manipulation for edit in one) for one in clip] for clip in edits]
    }
    if origins:
        for how in Origin._fields:
            names[how] = [
                [
                    frozenset(getattr(origins[edit.made_by], how) for edit in one if edit.made_by in origins)
                    for one in clip
                ]
                for clip in edits
            ]
    return names
