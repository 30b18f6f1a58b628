"""The fitted decision: on made-up evidence whose truth is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evidence_factory import Hearing, labelled_clips, proposed, scores_of

from configs.schema import DecisionConfig, LocalizeConfig
from data.labels import REAL
from data.manifest import Sample
from data.manifest.sidecar import EditedSegment, SynthesizedClip
from data.timeline import Interval
from pipeline.evaluation.metrics import auc, upper_bound
from pipeline.localization.decide import decide, judge, of_the_model
from pipeline.training.decision import (
    FOLDS,
    LEAST,
    FittedDecision,
    LabelledClip,
    _folds,
    _prepared,
    fit_decision,
    labelled,
)

SHARP = Hearing(0.92, 0.9, edge=3.0)
DULL = Hearing(0.83, 0.8)


def fitted(clips: list[LabelledClip], **options: object) -> FittedDecision:
    found = fit_decision(clips, "made-up clips", **options)  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.fixture(scope="module")
def sharp() -> FittedDecision:
    return fitted(labelled_clips(240, SHARP, SHARP, people=120))


@pytest.fixture(scope="module")
def unseen() -> list[LabelledClip]:
    return labelled_clips(200, SHARP, SHARP, seed=9)


def test_it_beats_pooling_and_finds_the_spans(sharp: FittedDecision, unseen: list[LabelledClip]) -> None:
    forged = np.array([clip.label != REAL for clip in unseen])
    decisions = [judge(clip.scores, sharp.config) for clip in unseen]
    likely = np.array([found.forged for found in decisions if found is not None])

    def pooled(clip: LabelledClip) -> float:
        return max(float(np.sort(values[:, 0])[-9:].mean()) for values in clip.scores.evidence.values())

    pooling = auc(np.array([pooled(clip) for clip in unseen]), forged)
    assert auc(likely, forged) > 0.95 > 0.85 > pooling
    met = []
    config = LocalizeConfig(decision=sharp.config)
    for clip in unseen:
        for name in ("visual", "audio"):
            for span in clip.forged[name]:
                best = proposed(clip.scores, config)[:2]
                met.append(max(span.tiou(Interval(one.start_s, one.end_s)) for one in best) >= 0.7)
    assert np.mean(met) > 0.8


def test_without_edges_it_is_no_worse_than_pooling() -> None:
    train, test = (labelled_clips(240, DULL, None, seed, kinds=("real", "visual")) for seed in (0, 1))
    config = fitted(train).config
    forged = np.array([clip.label != REAL for clip in test])
    decisions = [judge(clip.scores, config) for clip in test]
    likely = np.array([found.forged for found in decisions if found is not None])
    pooling = np.array([np.sort(clip.scores.evidence["visual"][:, 0])[-9:].mean() for clip in test])
    assert auc(likely, forged) > auc(pooling, forged) - 0.02


def test_unseen_people_keep_the_promise(sharp: FittedDecision) -> None:
    authentic = [
        *labelled_clips(200, SHARP, SHARP, seed=20, kinds=("real",)),
        *labelled_clips(100, SHARP, None, seed=21, kinds=("real",)),
    ]
    for line in sharp.config.lines:
        config = LocalizeConfig(decision=sharp.config.model_copy(update={"max_alarms": line.rate}))
        alarms = sum(decide(clip.scores, config).verdict == "forged" for clip in authentic)
        assert alarms / len(authentic) <= line.rate + 0.03


def test_probabilities_are_calibrated(sharp: FittedDecision) -> None:
    clips = labelled_clips(300, SHARP, SHARP, seed=30)
    likely = np.array(
        [found.forged for clip in clips if (found := judge(clip.scores, sharp.config)) is not None]
    )
    forged = np.array([clip.label != REAL for clip in clips])
    # As likely forged as not: authentic clips weigh as much as the three kinds of forged ones together.
    weights = np.where(forged, 1 / forged.sum(), 1 / (~forged).sum())
    assert np.average(likely, weights=weights) == pytest.approx(0.5, abs=0.06)


def test_lines_certify_what_they_say(sharp: FittedDecision) -> None:
    # 60 authentic clips of 30 people: too few for 1 and 5 %, which need 299 and 59 people.
    assert [line.rate for line in sharp.config.lines] == [0.2]
    (line,) = sharp.config.lines
    assert line.line >= 0.5
    assert (line.clips, line.people) == (60, 30)
    assert line.bound <= line.rate
    assert line.bound >= upper_bound(line.alarms, line.clips) - 1e-12
    assert sharp.recall.keys() == {0.2}
    assert sharp.recall[0.2] > 0.7
    assert sharp.config.population == "made-up clips"


def test_enough_people_certify_a_lower_rate() -> None:
    clips = labelled_clips(160, SHARP, None, kinds=("real", "visual"))
    found = fitted(clips)
    assert [line.rate for line in found.config.lines] == [0.05, 0.2]
    lines = [line.line for line in found.config.lines]
    assert lines == sorted(lines, reverse=True)


def test_harmless_edits_have_a_count_of_their_own() -> None:
    clips = labelled_clips(160, SHARP, None, kinds=("real", "visual"))
    clips = [
        replace(clip, harmless=k % 4 == 0) for k, clip in enumerate(clips)
    ]  # authentic ones have even numbers
    found = fitted(clips)
    for alarms, count, bound in found.harmless.values():
        assert count == 40
        assert bound == pytest.approx(upper_bound(alarms, 40))
    record = found.record()
    assert [line["harmless"]["clips"] for line in record["lines"]] == [40, 40]
    assert record["people"] == 160


def test_people_are_never_judged_by_what_they_taught() -> None:
    # Two clips of each person; the evidence names the person, and the label depends on the person alone.
    rng = np.random.default_rng(0)
    clips = []
    for k in range(80):
        person = k // 2
        values = np.zeros((40, 4), np.float32)
        values[:, 0] = rng.normal(0, 0.01, 40) + np.sin(person * 1.7)
        label = int(rng.random() < 0.5) if k % 2 == 0 else clips[-1].label
        spans = {"visual": (Interval(0.0, 1.6),) if label else (), "audio": ()}
        clips.append(LabelledClip(scores_of({"visual": values}), label, f"p{person}", spans))
    found = fit_decision(clips, "x")
    assert found is not None
    assert found.auc < 0.75  # each pair of clips is equal, so that seeing one would tell the other


def test_the_same_clips_in_another_order_make_the_same_decision() -> None:
    clips = labelled_clips(80, SHARP, SHARP, people=40)
    one, other = fitted(clips), fitted(clips[::-1])
    assert one.config.visual is not None
    assert other.config.visual is not None
    for name, value in one.config.visual.track.model_dump().items():
        assert getattr(other.config.visual.track, name) == pytest.approx(value, rel=2e-3, abs=2e-3)
    assert fitted(clips).config == one.config


def test_a_track_with_too_few_clips_of_a_kind_has_no_decision() -> None:
    few = labelled_clips(
        4 * (LEAST - 1), SHARP, SHARP
    )  # LEAST - 1 clips of each kind, and so twice as many forged
    assert fitted(few).config.visual is not None
    lone = labelled_clips(100, SHARP, SHARP, kinds=("real", "audio"))
    found = fitted(lone).config
    assert (found.visual is None, found.audio is None) == (True, False)
    for kinds in (("real",), ("both",)):
        assert fit_decision(labelled_clips(40, SHARP, SHARP, kinds=kinds), "x") is None


def test_clips_without_evidence_teach_nothing() -> None:
    clips = labelled_clips(40, SHARP, SHARP)
    bare = [replace(clip, scores=replace(clip.scores, evidence={})) for clip in clips]
    assert fit_decision(bare, "x") is None
    assert fit_decision([], "x") is None
    assert fitted([*clips, *bare]).clips == 40


def test_clips_that_no_model_scored_teach_nothing_of_it() -> None:
    clips = labelled_clips(60, SHARP, SHARP)
    plain = [replace(clip, scores=replace(clip.scores, windows=())) for clip in clips]
    alone = fitted(plain).config
    for track in (alone.visual, alone.audio):
        assert track is not None
        assert (track.track.curve, track.track.video) == (0.0, 0.0)
        assert track.track.best > 0


def test_what_the_model_says_of_others_in_the_mean_stands_for_what_it_did_not_say() -> None:
    clips = labelled_clips(60, SHARP, SHARP)
    ready = _prepared([*clips, replace(clips[0], scores=replace(clips[0].scores, windows=()))])["audio"]
    told = [of_the_model(clip.scores, "audio") for clip in clips]
    for name, column in (("curve", 6), ("video", 7)):
        assert ready.row(clips, 0, "audio", ())[column] == told[0][name]
        mean = sum(one[name] for one in told) / len(told)
        silent = [replace(clips[0], scores=replace(clips[0].scores, windows=()))]
        assert ready.row(silent, 0, "audio", ())[column] == pytest.approx(mean)


def test_a_stronger_segment_never_makes_a_track_more_authentic() -> None:
    for seed in range(3):
        noise = Hearing(0.5, 0.8)
        config = fitted(labelled_clips(60, noise, noise, seed)).config
        for track in (config.visual, config.audio):
            assert track is not None
            assert track.track.best >= 0


def test_wholly_generated_clips_are_found_by_the_evidence_of_the_whole() -> None:
    rng = np.random.default_rng(5)
    clips = []
    for k in range(120):
        values = rng.normal(0, 1, (60, 4)).astype(np.float32)
        label = k % 2
        values[:, 3] += 2.0 * label
        spans = {"visual": (Interval(0.0, 60 / 25),) if label else (), "audio": ()}
        clips.append(LabelledClip(scores_of({"visual": values}), label, f"p{k}", spans))
    found = fitted(clips)
    assert found.auc > 0.95
    assert found.config.visual is not None
    best = judge(clips[1].scores, found.config)
    assert best is not None
    assert (best.tracks["visual"].segments[0].first, best.tracks["visual"].segments[0].stop) == (0, 60)


def test_every_fold_has_people_of_each_kind() -> None:
    clips = labelled_clips(200, DULL, DULL, people=100)
    folds = _folds(clips)
    assert set(folds.tolist()) == set(range(FOLDS))
    for fold in range(FOLDS):
        assert {clip.label for clip, one in zip(clips, folds, strict=True) if one == fold} == {0, 1, 2, 3}
    for person in {clip.person for clip in clips}:
        assert len({int(one) for clip, one in zip(clips, folds, strict=True) if clip.person == person}) == 1


SCORES = scores_of({"visual": np.zeros((50, 4), np.float32)})


def test_a_sidecar_says_who_is_in_a_clip_and_which_track_was_edited() -> None:
    known = SynthesizedClip(
        "dev/1.mp4", "alice", "", "dev", 3,
        (EditedSegment(0.2, 0.4, "visual", "x"), EditedSegment(1.0, 1.2, "audio", "y")),
        (), None, "", 0.0, 50, 0, 0,
    )  # fmt: skip
    sample = Sample(Path("dev/1.mp4"), 3, "dev", (Interval(0.2, 0.4), Interval(1.0, 1.2)))
    clip = labelled(sample, 3, SCORES, known, "set")
    assert (clip.person, clip.harmless) == ("alice", False)
    assert clip.forged == {"visual": (Interval(0.2, 0.4),), "audio": (Interval(1.0, 1.2),)}
    sham = replace(known, label=0, segments=(), shams=(EditedSegment(0.2, 0.4, "visual", "x"),))
    assert labelled(replace(sample, label=0), 0, SCORES, sham, "set").harmless


@pytest.mark.parametrize(
    ("label", "tracks"), [(0, ()), (1, ("visual",)), (2, ("audio",)), (3, ("visual", "audio"))]
)
def test_without_a_sidecar_intervals_are_of_every_forged_track_and_originals_stand_for_people(
    label: int, tracks: tuple[str, ...]
) -> None:
    sample = Sample(Path("dev/1.mp4"), label, "dev", (Interval(0.2, 0.4),), original=Path("train/7.mp4"))
    clip = labelled(sample, label, SCORES, None, "LAV-DF")
    assert clip.person == "LAV-DF/train/7.mp4"
    for name in ("visual", "audio"):
        assert clip.forged[name] == (sample.fake_periods if name in tracks else ())
        assert clip.is_forged(name) == (name in tracks)
    assert (
        labelled(replace(sample, original=None), label, SCORES, None, "LAV-DF").person == "LAV-DF/dev/1.mp4"
    )


def test_the_record_is_plain() -> None:
    clips = labelled_clips(40, SHARP, SHARP)
    record = fitted(clips).record()
    assert (record["clips"], record["people"]) == (40, 40)
    assert math.isfinite(record["auc_of_unseen_people"])


def test_lines_are_certified_on_what_a_run_says_of_shots_and_people() -> None:
    clips = labelled_clips(60, Hearing(0.9, 0.8), Hearing(0.9, 0.8))
    cut = replace(clips[4].scores, stretches={"visual": ((0, 70), (70, 150)), "audio": ((0, 70), (70, 150))})
    clips[4] = replace(clips[4], scores=cut)
    two = replace(clips[8].scores, people={1: clips[8].scores, 2: clips[12].scores})
    clips[8] = replace(clips[8], scores=two)
    fitted = fit_decision(clips, "these")
    assert fitted is not None
    for k in (4, 8, 16):
        judged = judge(clips[k].scores, fitted.judges[k])
        assert fitted.likely[k] == pytest.approx(judged.forged, abs=1e-12)


def test_what_is_not_fitted_stays_as_it_was() -> None:
    clips = labelled_clips(60)
    start = DecisionConfig(floor=0.4, max_alarms=0.2, stretches=0.3)
    fitted = fit_decision(clips, "these", start=start)
    assert fitted is not None
    assert (fitted.config.floor, fitted.config.max_alarms, fitted.config.stretches) == (0.4, 0.2, 0.3)
    assert fitted.config.population == "these"
