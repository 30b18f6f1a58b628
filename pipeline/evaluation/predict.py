"""Predictions of a detector for every clip of a split: stored features, step scores, ranked proposals."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from configs.schema import LocalizeConfig
from data.hook import Hook, silent
from data.manifest import Manifest, Sample, samples_of
from data.store.ledger import Ledger, known_sha256
from data.store.people import people_of
from data.store.store import FeatureStore
from pipeline.detector import Pipeline
from pipeline.evaluation.predictions import StepCurves, VideoPrediction
from pipeline.extraction.extract import extract_missing
from pipeline.extraction.keys import store_keys
from pipeline.localization.curves import step_curves
from pipeline.localization.decide import Decision, decided_proposals, decision_of
from pipeline.localization.score import score_clip
from pipeline.localization.scores import ClipScores, ForgedInterval

NEUTRAL = (0.5, 1 / 6, 1 / 6, 1 / 6)
"""Probabilities that stand for no answer: as likely forged as not, and no kind of forgery likelier than another."""

_LOG = logging.getLogger(__name__)


def score_split(
    detector: Pipeline, manifest: Manifest, split: str, store: FeatureStore, hook: Hook = silent
) -> Iterator[tuple[Sample, ClipScores | None]]:
    """Step scores of every clip of `split`, in the manifest's order; None for one that cannot be analysed.

    What the store lacks is extracted first; failures are logged as warnings.

    Raises UsageError when there is no clip, StoreError for damaged features.
    """
    samples = samples_of(manifest, split)
    files = [sample.file for sample in samples]
    for error in extract_missing(manifest.root, files, detector.extractors, store, detector.config, hook):
        _LOG.warning("%s", error)
    with Ledger(store) as ledger:
        hashes = known_sha256(manifest.root, files, ledger)
    for done, sample in enumerate(samples):
        hook("score", done, len(samples))
        keys = store_keys(hashes[sample.file], detector.extractors, detector.config)
        readers = {name: store.reader(key) if store.contains(key) else None for name, key in keys.items()}
        if not any(reader is not None and reader.n for reader in readers.values()):
            yield sample, None
            continue
        settings = detector.config.localize
        scores = score_clip(
            detector.model,
            readers["visual"],
            readers["audio"],
            settings,
            detector.device,
            evidence_of=detector.extractors.evidence,
            people=people_of(store, readers["visual"]),
        )
        yield sample, scores
    hook("score", len(samples), len(samples))


def predict(
    detector: Pipeline, manifest: Manifest, split: str, store: FeatureStore, hook: Hook = silent
) -> tuple[VideoPrediction, ...]:
    """Predictions of `detector` for every clip of `split`, best proposals first; see `score_split`."""
    return tuple(
        prediction_of(sample, scores, detector.config.localize)
        for sample, scores in score_split(detector, manifest, split, store, hook)
    )


def prediction_of(sample: Sample, scores: ClipScores | None, config: LocalizeConfig) -> VideoPrediction:
    """The prediction that follows from the step scores of a clip; without any it is unread and classified authentic.

    Where the settings hold a decision on segments, and the tracks evidence, probabilities and proposals are those of
    the decision. A clip of which nothing is assessable has no proposal and the probabilities `NEUTRAL`.
    """
    name = sample.file.as_posix()
    if scores is None:
        return VideoPrediction(name, np.zeros((0, 3)), 0.0, (1.0, 0.0, 0.0, 0.0), None, True)
    decision = decision_of(scores, config)
    probabilities = decision.probabilities if decision is not None else scores.video_probabilities or NEUTRAL
    steps = {
        branch: np.where(scores.valid[branch], curve, np.float32(np.nan))
        for branch, curve in step_curves(scores, config)._asdict().items()
        if curve is not None
    }
    rows, curves = _rows(scores, config, decision), StepCurves(scores.grid, steps)
    abstained = not scores.windows
    return VideoPrediction(name, rows, 1 - probabilities[0], probabilities, curves, abstained=abstained)


def proposal_rows(scores: ClipScores, config: LocalizeConfig) -> NDArray[np.float64]:
    """Proposals of a clip as (P, 3): score, start and end in seconds, best first; see `decided_proposals`."""
    return _rows(scores, config, decision_of(scores, config))


def _rows(scores: ClipScores, config: LocalizeConfig, decision: Decision | None) -> NDArray[np.float64]:
    return as_rows(decided_proposals(scores, config, decision))


def as_rows(ranked: Sequence[ForgedInterval]) -> NDArray[np.float64]:
    """Intervals as (P, 3): score, start and end in seconds, in their order."""
    return np.array([[p.score, p.start_s, p.end_s] for p in ranked], np.float64).reshape(-1, 3)
