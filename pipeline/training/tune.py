"""Calibration, thresholds and the decision on segments, chosen on splits whose labels are known.

This is the only place where interval labels shape a detector, and its output records this. The calibration comes first
and uses the classes of the clips alone. Step scores are computed once; the search goes through the settings that turn
them into intervals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.loader import dump
from configs.schema import Calibration, LocalizeConfig
from data.errors import UsageError
from data.files import replacing
from data.hook import Hook, silent
from data.labels import CLASSES, REAL
from data.manifest import Manifest, Sample
from data.manifest.sidecar import clips_by_file
from data.store.store import FeatureStore
from pipeline.bundle import CONFIG_FILE, bundle_config
from pipeline.detector import Pipeline
from pipeline.evaluation.metrics import PROTOCOLS, ProtocolName, calibration_error, even_weights, localization
from pipeline.evaluation.predict import proposal_rows, score_split
from pipeline.evaluation.result import jsonable
from pipeline.localization.calibrate import IDENTITY, calibrated, evened, fit, log_loss, seen_class
from pipeline.localization.scores import ClipScores
from pipeline.training.decision import FittedDecision, LabelledClip, fit_decision, labelled

RECORD_FILE = "tuning.json"

ONSETS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
DROPS = (0.0, 0.05, 0.1, 0.2, 0.3)
"""Values of `onset`, and how far `offset` lies below it; the pairs are tried together, since they act together."""

GAPS_S = (0.0, 0.04, 0.08, 0.12, 0.2, 0.4)
SHORTEST_S = (0.0, 0.04, 0.08, 0.12, 0.16, 0.24, 0.32)
"""Values of `merge_gap_s` and `min_duration_s`: LAV-DF's segments are 0.65 s long on average, steps 0.04 s."""

MAX_CLIPS = 2000
"""Clips that the search looks at, a fixed draw where there are more: LAV-DF's dev split has 31,501."""

_ROUNDS = 3
_TUNED = ("onset", "offset", "merge_gap_s", "min_duration_s")

Values = dict[str, float]
Scored = list[tuple[Sample, ClipScores | None]]


@dataclass(frozen=True)
class Trial:
    """Values of the four settings, and the metric that they reach."""

    values: Values
    score: float


@dataclass(frozen=True)
class CalibrationQuality:
    """Calibration quality of the class probabilities of `clips`: mean -ln p, and expected calibration error.

    Authentic and forged clips weigh the same. The error is that of P(forged), see `calibration_error`. NaN without any.
    """

    clips: int
    log_loss: float
    error: float


@dataclass(frozen=True)
class Tuning:
    """The best settings, and all that were tried, the former thresholds first.

    `before` is the metric of the former settings, calibration included; every trial has the new calibration.
    `quality` is that of the clips that the calibration was fitted to, with the one from before and with the new one.
    `decision` is None where the extractors give no evidence, or too few clips have it; the former one stays then.
    """

    config: LocalizeConfig
    metric: str
    protocol: ProtocolName
    dataset: str
    split: str
    clips: int
    trials: tuple[Trial, ...]
    before: float
    quality: tuple[CalibrationQuality, CalibrationQuality]
    decision: FittedDecision | None = None

    @property
    def best(self) -> float:
        """The metric of the best settings."""
        return max(trial.score for trial in self.trials)

    def to_json(self) -> str:
        """The record that is stored with the model."""
        old, new = self.quality
        document = {
            "supervision": f"interval labels of the split '{self.split}' were used to choose these settings",
            "dataset": self.dataset,
            "split": self.split,
            "clips": self.clips,
            "metric": self.metric,
            "protocol": self.protocol,
            "before": self.before,
            "best": self.best,
            "chosen": {name: getattr(self.config, name) for name in _TUNED},
            "calibration": {
                **self.config.calibration.model_dump(mode="json"),
                "supervision": f"video-level labels of the split '{self.split}' were used to fit it",
                "clips": new.clips,
                "log_loss": {"before": jsonable(old.log_loss), "after": jsonable(new.log_loss)},
                "calibration_error": {"before": jsonable(old.error), "after": jsonable(new.error)},
            },
            "decision": self.decision.record() if self.decision is not None else None,
            "trials": [{**trial.values, "score": trial.score} for trial in self.trials],
        }
        return json.dumps(document, indent=1) + "\n"


def tune(
    detector: Pipeline,
    manifests: Sequence[Manifest],
    store: FeatureStore,
    split: str = "dev",
    metric: str = "mAP",
    protocol: ProtocolName = "honest",
    max_clips: int = MAX_CLIPS,
    hook: Hook = silent,
    with_decision: bool = True,
    unseen: Sequence[LabelledClip] = (),
) -> Tuning:
    """Fit the calibration, search the settings of `localize` by `metric` of `protocol`, fit the decision on segments.

    All on the clips of `split` of all `manifests`, at most `max_clips` of each. The decision needs extractors that give
    evidence; the paper's tables are made without it. It is fitted to the clips of `unseen` too, and to those alone
    where they are of this split: extractors that were trained on it have seen its people.

    The calibration comes first because it decides how proposals rank. Then all pairs of thresholds, the gap and the
    shortest length, and again until nothing gets better, three rounds at most. Thresholds from before stay where
    nothing is better. A clip that cannot be analysed counts as one without proposals, and for the calibration not.

    Raises UsageError when the split has no clip, no label or no forged interval, or the metric is not one of the
    protocol's.
    """
    manifests = [_drawn(manifest, split, max_clips) for manifest in manifests]
    for manifest in manifests:
        unlabelled = [sample for sample in manifest.samples if sample.label is None]
        if unlabelled or not any(sample.fake_periods for sample in manifest.samples):
            problem = f"the split '{split}' has no forged interval, or clips without labels"
            raise UsageError(problem, manifest.root, "tune on a split whose intervals are known")
    start = detector.config.localize
    scored: Scored = []
    clips: list[LabelledClip] = []
    for manifest in manifests:
        sidecar = clips_by_file(manifest.root)
        for sample, scores in score_split(_uncalibrated(detector), manifest, split, store, hook):
            scored.append((sample, scores))
            if scores is not None and scores.evidence and sample.label is not None:
                clip = sidecar.get(sample.file.as_posix())
                clips.append(labelled(sample, sample.label, scores, clip, manifest.root.name))
    calibration, quality = _calibrate(scored, start.calibration)
    before = _judge(_with(scored, start.calibration), metric, protocol, hook)(start)
    judge = _judge(_with(scored, calibration), metric, protocol, hook)
    trials = list(_search(judge, _values(start)))
    best = max(trials, key=lambda trial: trial.score)  # the first of equals
    config = start.model_copy(update={**best.values, "calibration": calibration})
    dataset = ", ".join(manifest.root.name for manifest in manifests)
    fitted, population = None, f"the authentic clips of the {split} split of {dataset}"
    if unseen:
        trained = {clip.split for clip in unseen}
        clips = [*unseen, *(clip for clip in clips if clip.split not in trained)]
        judged = "the training material, judged by networks that had not seen the person"
        population = (
            f"{population} and of {judged}" if split not in trained else f"the authentic clips of {judged}"
        )
    if with_decision and clips:
        fitted = fit_decision(clips, population, hook=hook, start=start.decision)
    if fitted is not None:
        config = config.model_copy(update={"decision": fitted.config})
    return Tuning(
        config, metric, protocol, dataset, split, len(scored), tuple(trials), before, quality, fitted
    )


def save_tuning(tuning: Tuning, folder: Path) -> None:
    """Put the chosen settings into the weights folder's config.yaml, and ``tuning.json`` beside it.

    Raises WeightsError when `folder` is not a weights folder, UsageError when it cannot be written.
    """
    config = bundle_config(folder)
    chosen = {name: getattr(tuning.config, name) for name in (*_TUNED, "calibration", "decision")}
    localize = config.localize.model_copy(update=chosen)
    # The record first: settings that were tuned never stand there without it.
    with replacing(folder / RECORD_FILE) as temporary:
        temporary.write_text(tuning.to_json(), encoding="utf-8")
    with replacing(folder / CONFIG_FILE) as temporary:
        temporary.write_text(dump(config.model_copy(update={"localize": localize})), encoding="utf-8")


def _drawn(manifest: Manifest, split: str, max_clips: int) -> Manifest:
    samples = [sample for sample in manifest.samples if sample.split == split]
    if len(samples) > max_clips:
        chosen = np.sort(np.random.default_rng(0).permutation(len(samples))[:max_clips])
        samples = [samples[k] for k in chosen.tolist()]
    return Manifest(manifest.root, tuple(samples))


def _uncalibrated(detector: Pipeline) -> Pipeline:
    """`detector` with the probabilities of its model: a calibration is fitted to these, never to one of before."""
    localize = detector.config.localize.model_copy(update={"calibration": IDENTITY})
    return replace(detector, config=detector.config.model_copy(update={"localize": localize}))


def _with(scored: Scored, calibration: Calibration) -> Scored:
    """`scored` by an uncalibrated detector, with `calibration`; without curves of routing, which change too."""
    if calibration == IDENTITY:
        return scored
    recalibrated: Scored = []
    for sample, scores in scored:
        if scores is not None:
            windows = [
                replace(w, probabilities=calibrated(w.probabilities, calibration)) for w in scores.windows
            ]
            scores = replace(scores, windows=tuple(windows), routed={})
        recalibrated.append((sample, scores))
    return recalibrated


def _calibrate(
    scored: Scored, before: Calibration
) -> tuple[Calibration, tuple[CalibrationQuality, CalibrationQuality]]:
    """The calibration for clips that were `scored` without, and how sure they are with that of `before` and with it.

    A clip speaks by the window that decides its class. Which one that is may change with the calibration, so that it
    is fitted again, three times at most.
    """
    fitted = IDENTITY
    for _ in range(_ROUNDS):
        rows, labels = _decided(scored, fitted)
        previous, fitted = fitted, evened(fit(rows, labels), labels)
        if fitted == previous or all(scores is None or len(scores.windows) < 2 for _, scores in scored):
            break
    return fitted, (_quality(scored, before), _quality(scored, fitted))


def _decided(scored: Scored, calibration: Calibration) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Uncalibrated probabilities (N, 4) of the windows that decide under `calibration`, and classes seen there (N,).

    Clips that could not be judged are left out.
    """
    rows, labels = [], []
    for (_, plain), (sample, scores) in zip(scored, _with(scored, calibration), strict=True):
        window = scores.deciding if scores is not None else None
        if plain is None or scores is None or window is None or sample.label is None:
            continue
        likely = plain.windows[scores.windows.index(window)].probabilities
        steps = slice(window.first, window.stop)
        sees, hears = (bool(scores.valid[track][steps].any()) for track in ("visual", "audio"))
        label = seen_class(sample.label, likely, sees, hears)
        if label is not None:
            rows.append(likely)
            labels.append(label)
    return np.array(rows, np.float64).reshape(-1, len(CLASSES)), np.array(labels, np.int64)


def _quality(scored: Scored, calibration: Calibration) -> CalibrationQuality:
    rows, labels = _decided(scored, calibration)
    likely = np.array([calibrated(row, calibration) for row in rows.tolist()]).reshape(rows.shape)
    weights = even_weights(labels != REAL)
    error = calibration_error((1 - likely[:, REAL]).clip(0, 1), labels != REAL, weights)
    return CalibrationQuality(len(labels), log_loss(likely, labels, weights), error)


def _judge(
    scored: Scored, metric: str, protocol: ProtocolName, hook: Hook
) -> Callable[[LocalizeConfig], float]:
    truth = [np.array([[p.start_s, p.end_s] for p in s.fake_periods]).reshape(-1, 2) for s, _ in scored]
    labels = np.array([sample.label for sample, _ in scored], np.int64)
    nothing, tried = np.zeros((0, 3)), 0

    def judge(config: LocalizeConfig) -> float:
        nonlocal tried
        tried += 1
        hook("try settings", tried)
        rows = [proposal_rows(scores, config) if scores is not None else nothing for _, scores in scored]
        measured = localization(rows, truth, PROTOCOLS[protocol], labels)
        if metric not in measured:
            measures = ", ".join(measured)
            raise UsageError(f"protocol '{protocol}' has no measure '{metric}'", fix=f"it has {measures}")
        if np.isnan(measured["mAP"]):
            fix = "choose a protocol that counts clips of this split"
            raise UsageError(f"protocol '{protocol}' finds no segment to count", fix=fix)
        # Where videos without proposals do not count, and none has any, there is no recall.
        return measured[metric] if not np.isnan(measured[metric]) else 0.0

    return judge


def _search(judge: Callable[[LocalizeConfig], float], start: Values) -> Iterator[Trial]:
    """Every set of values tried once, coordinate by coordinate from the best so far."""
    tried: dict[tuple[float, ...], Trial] = {}

    def trial(values: Mapping[str, float]) -> Iterator[Trial]:
        key = tuple(values[name] for name in _TUNED)
        if key not in tried:
            tried[key] = Trial(dict(values), judge(LocalizeConfig(**values)))
            yield tried[key]

    yield from trial(start)
    pairs: list[Values] = [
        {"onset": onset, "offset": round(onset - drop, 3)}
        for onset in ONSETS
        for drop in DROPS
        if onset - drop >= 0
    ]
    gaps: list[Values] = [{"merge_gap_s": gap} for gap in GAPS_S]
    lengths: list[Values] = [{"min_duration_s": shortest} for shortest in SHORTEST_S]
    for _ in range(_ROUNDS):
        before = _best(tried).score
        for changes in (pairs, gaps, lengths):
            base = _best(tried).values
            for change in changes:
                yield from trial({**base, **change})
        if _best(tried).score <= before:
            return


def _best(tried: Mapping[tuple[float, ...], Trial]) -> Trial:
    return max(tried.values(), key=lambda trial: trial.score)


def _values(config: LocalizeConfig) -> Values:
    values: dict[str, Any] = {name: getattr(config, name) for name in _TUNED}
    return values
