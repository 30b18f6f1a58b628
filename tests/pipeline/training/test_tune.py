"""Tuning: the search finds what the step scores hold, keeps what is good already, and leaves a record."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_set import manifest, samples

import pipeline.training.tune
from configs.loader import dump, load_config
from configs.schema import Calibration, DecisionConfig, LocalizeConfig, PipelineConfig
from data.errors import UsageError, WeightsError
from data.manifest import Sample
from data.timeline import TimeGrid
from pipeline.localization import calibrate
from pipeline.localization.calibrate import calibrated
from pipeline.localization.scores import ClipScores, Window
from pipeline.training.decision import labelled
from pipeline.training.tune import Tuning, save_tuning, tune

START = LocalizeConfig()
SAID = (0.1, 0.1, 0.1, 0.7)


@dataclass
class Detector:
    config: PipelineConfig


def scores(sample: Sample, inside: float, outside: float, blip: bool = False) -> ClipScores:
    """Curves of 30 steps at 25 fps: `inside` the segments and `outside`; a `blip` is one high step at 1.12 s.

    Whatever the clip, the model says "both" with 0.7.
    """
    grid = TimeGrid.at_rate(25, 30)
    curve = np.full(30, outside, np.float32)
    for period in sample.fake_periods:
        curve[round(period.start_s * 25) : round(period.end_s * 25)] = inside
    if blip:
        curve[28] = 0.99
    nothing, valid = np.zeros(30, np.float32), np.ones(30, np.bool_)
    return ClipScores(
        grid,
        nothing,
        nothing,
        curve,
        None,
        None,
        dict.fromkeys(("visual", "audio", "joint"), valid),
        {},
        (Window(0, 30, SAID),),
    )


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `score_split` answers, and how often it was asked: the model has no part in the search."""
    state: dict[str, Any] = {"inside": 0.9, "outside": 0.1, "blip": False, "calls": 0, "unread": ()}
    state["windows"] = {}

    def answer(detector: Any, known: Any, split: str, *_: Any) -> Iterator[tuple[Sample, ClipScores | None]]:
        state["calls"] += 1
        assert detector.config.localize.calibration == Calibration()  # never fitted on top of another
        for k, sample in enumerate(known.samples):
            clip = scores(sample, state["inside"], state["outside"], state["blip"])
            windows = state["windows"].get(sample.label, clip.windows)
            clip = replace(clip, windows=windows, joint=clip.joint if windows else np.zeros(30, np.float32))
            yield sample, None if k in state["unread"] else clip

    monkeypatch.setattr(pipeline.training.tune, "score_split", answer)
    return state


def run(clips: list[Sample] | None = None, start: LocalizeConfig = START, **options: Any) -> Tuning:
    known = manifest(Path("set"), clips if clips is not None else samples(2))
    detector: Any = Detector(PipelineConfig(localize=start))
    store: Any = None
    return tune(detector, [known], store, **options)


def test_thresholds_follow_the_scores(scored: dict[str, Any]) -> None:
    scored.update(inside=0.25, outside=0.12)
    result = run()
    assert result.before == 0.0  # nothing reaches 0.5
    assert result.best == 1.0
    assert 0.12 < result.config.offset <= result.config.onset <= 0.25


def test_the_offset_may_lie_below_the_onset(scored: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = scores

    def weak_edges(sample: Sample, *_: Any) -> ClipScores:
        """Segments are sure in their middle alone; outside, steps 26 and 27 are as high as their edges."""
        found = plain(sample, 0.35, 0.1)
        found.joint[26:28] = 0.35
        for period in sample.fake_periods:
            middle = round((period.start_s + period.end_s) / 2 * 25)
            found.joint[middle : middle + 1] = 0.9
        return found

    monkeypatch.setitem(globals(), "scores", weak_edges)
    result = run(start=LocalizeConfig(onset=0.5, offset=0.5, min_duration_s=0.04), metric="AP@0.7")
    assert result.before < result.best == 1.0
    assert 0.1 < result.config.offset <= 0.35 < result.config.onset <= 0.9


def test_the_shortest_length_drops_what_is_too_short(scored: dict[str, Any]) -> None:
    scored["blip"] = True
    result = run(start=LocalizeConfig(min_duration_s=0.0))
    assert result.before < 1.0
    assert result.best == 1.0
    # steps of 0.04 s; the shortest segment has 0.2 s
    assert 0.04 < result.config.min_duration_s <= 0.2


def test_the_gap_stays_below_the_distance_of_two_segments(scored: dict[str, Any]) -> None:
    result = run(start=LocalizeConfig(merge_gap_s=0.4))
    assert result.before < 1.0  # 0.6 to 0.8 s is bridged
    assert result.best == 1.0
    assert result.config.merge_gap_s < 0.2


def test_what_cannot_be_bettered_stays(scored: dict[str, Any]) -> None:
    start = LocalizeConfig(onset=0.55, offset=0.45, merge_gap_s=0.1, min_duration_s=0.1)
    result = run(start=start)
    assert result.before == result.best == 1.0
    assert result.config == start.model_copy(update={"calibration": result.config.calibration})


def test_windows_are_not_touched(scored: dict[str, Any]) -> None:
    scored["inside"] = 0.25
    result = run(start=LocalizeConfig(window=64, overlap=32))
    assert (result.config.window, result.config.overlap) == (64, 32)


def test_scores_are_computed_once_and_no_setting_is_tried_twice(scored: dict[str, Any]) -> None:
    scored["inside"] = 0.25
    result = run()
    assert scored["calls"] == 1
    tried = [tuple(trial.values.values()) for trial in result.trials]
    assert len(set(tried)) == len(tried)
    assert all(trial.values["offset"] <= trial.values["onset"] for trial in result.trials)
    assert result.trials[0].values == {
        name: getattr(START, name) for name in ("onset", "offset", "merge_gap_s", "min_duration_s")
    }


def test_any_measure_of_any_protocol_can_be_asked_for(scored: dict[str, Any]) -> None:
    result = run(metric="AR@2", protocol="lab")
    assert (result.metric, result.protocol, result.best) == ("AR@2", "lab", 1.0)
    with pytest.raises(UsageError, match=r"protocol 'lavdf' has no measure 'AR@2'; it has AP@0.5"):
        run(metric="AR@2", protocol="lavdf")
    with pytest.raises(UsageError, match="protocol 'lab' finds no segment to count"):
        run([sample for sample in samples() if sample.label != 3], protocol="lab")


def test_unread_clips_are_misses(scored: dict[str, Any]) -> None:
    scored["unread"] = (1,)
    assert run(samples(1), metric="AR@5").best == pytest.approx(3 / 4)


def test_large_splits_are_sampled_alike_every_time(scored: dict[str, Any]) -> None:
    one, two = (run(samples(3), max_clips=8) for _ in range(2))
    assert one.clips == 8
    assert one.trials == two.trials
    assert run(samples(3)).clips == 12


def test_only_the_asked_split_is_used(scored: dict[str, Any]) -> None:
    assert run(samples(1) + samples(2, "test")).clips == 4
    assert run(samples(1) + samples(2, "test"), split="test").clips == 8


@pytest.mark.parametrize("labels", [(0,), (None, 1), ()])
def test_splits_that_cannot_guide_are_refused(scored: dict[str, Any], labels: tuple[int | None, ...]) -> None:
    clips = [replace(samples()[label or 0], label=label) for label in labels]
    with pytest.raises(UsageError, match="tune on a split whose intervals are known"):
        run(clips)
    assert scored["calls"] == 0


def test_the_record_says_that_intervals_were_used(scored: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    settings = load_config("compact", ["localize.window=64", "localize.overlap=32", "localize.decision=null"])
    (folder / "config.yaml").write_text(dump(settings), encoding="utf-8")
    before = load_config(folder / "config.yaml")
    scored["inside"] = 0.25
    result = run()
    save_tuning(result, folder)

    after = load_config(folder / "config.yaml")
    chosen = {
        name: getattr(result.config, name) for name in ("onset", "offset", "merge_gap_s", "min_duration_s")
    }
    fitted = result.config.calibration
    changed = before.localize.model_copy(update={**chosen, "calibration": fitted})
    assert after.localize == changed  # its windows are those of the folder
    assert after.model_copy(update={"localize": before.localize}) == before
    record = json.loads((folder / "tuning.json").read_text())
    assert record["supervision"] == "interval labels of the split 'dev' were used to choose these settings"
    assert (record["dataset"], record["split"], record["clips"]) == ("set", "dev", 8)
    assert (record["metric"], record["protocol"]) == ("mAP", "honest")
    assert record["chosen"] == chosen
    old, new = result.quality
    assert record["calibration"] == {
        "temperature": fitted.temperature,
        "bias": list(fitted.bias),
        "supervision": "video-level labels of the split 'dev' were used to fit it",
        "clips": 8,
        "log_loss": {"before": old.log_loss, "after": new.log_loss},
        "calibration_error": {"before": old.error, "after": new.error},
    }
    assert len(record["trials"]) == len(result.trials)
    assert max(trial["score"] for trial in record["trials"]) == record["best"] == result.best
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


def test_the_calibration_is_fitted_to_the_classes_of_the_clips(scored: dict[str, Any]) -> None:
    result = run(samples(18))
    # Every clip has the same probabilities and tells nothing, so that authentic and forged are as likely; the prior of
    # the biases holds a little back.
    real, *forged = calibrated(SAID, result.config.calibration)
    assert real == pytest.approx(0.5, abs=0.03)
    assert forged == pytest.approx([(1 - real) / 3] * 3, abs=0.05)
    old, new = result.quality
    assert (old.clips, new.clips) == (72, 72)
    assert old.error == pytest.approx(0.9 - 0.5)
    assert new.error < old.error / 2
    # Authentic clips weigh as much as the forged ones of three classes together.
    assert old.log_loss == pytest.approx(-(math.log(0.1) + (2 * math.log(0.1) + math.log(0.7)) / 3) / 2)
    assert new.log_loss == pytest.approx((math.log(2) + math.log(6)) / 2, abs=0.02)


def test_the_search_ranks_by_what_the_model_said(
    scored: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The model takes "both" for "audio", and authentic clips for "both"; the calibration turns these round. All have a
    # false alarm in the joint curve, which is gated by P(forged) as the model has it.
    monkeypatch.setattr(calibrate, "BIAS_PRIOR", 1.0)  # ten clips of a kind are to turn the classes round
    scored["blip"] = True
    said = {0: (0.3, 0.02, 0.08, 0.6), 3: (0.1, 0.02, 0.48, 0.4)}
    scored["windows"] = {label: (Window(0, 30, likely, likely),) for label, likely in said.items()}
    clips = [sample for sample in samples(10) if sample.label in said]
    result = run(clips, start=LocalizeConfig(min_duration_s=0.0))
    authentic, forged = (calibrated(likely, result.config.calibration)[3] for likely in said.values())
    assert authentic < forged
    assert result.trials[0].values["min_duration_s"] == 0.0  # the same thresholds
    assert result.trials[0].score == result.before


def test_tuning_again_starts_from_the_model_and_is_compared_with_what_was(scored: dict[str, Any]) -> None:
    first = run(samples(6))
    again = run(samples(6), start=first.config)
    assert again.config.calibration == first.config.calibration
    assert again.before == first.best
    assert again.quality[0] == again.quality[1] == first.quality[1]


def test_a_clip_speaks_by_the_window_that_decides_its_class(scored: dict[str, Any]) -> None:
    # One forged window makes a clip forged; its two authentic ones say nothing of the label.
    real, forged = (0.97, 0.01, 0.01, 0.01), (0.04, 0.05, 0.01, 0.9)
    windows = tuple(Window(10 * k, 10 * k + 10, p) for k, p in enumerate((real, forged, real)))
    scored["windows"] = {0: (Window(0, 30, real),), 3: windows}
    clips = [sample for sample in samples(10) if sample.label in (0, 3)]
    result = run(clips)
    assert result.quality[0].clips == 20
    assert result.quality[0].log_loss == pytest.approx(-(math.log(0.97) + math.log(0.9)) / 2)
    assert result.quality[1].log_loss < result.quality[0].log_loss


def test_clips_that_were_not_judged_say_nothing_of_the_calibration(scored: dict[str, Any]) -> None:
    scored["unread"] = (1,)
    scored["windows"] = {2: ()}
    assert run(samples(2)).quality[0].clips == 5
    scored["unread"] = range(4)
    result = run(samples(1))
    assert result.config.calibration == Calibration()
    assert json.loads(result.to_json())["calibration"]["log_loss"] == {"before": None, "after": None}


def test_a_folder_without_settings_is_refused(scored: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no config.yaml"):
        save_tuning(run(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def with_evidence(clip: ClipScores, sample: Sample) -> ClipScores:
    """Evidence of both tracks that is high where the clip is forged."""
    values = np.zeros((30, 4), np.float32)
    values[:, 0] = np.random.default_rng(list(sample.file.as_posix().encode())).normal(0, 0.5, 30)
    for period in sample.fake_periods:
        values[round(period.start_s * 25) : round(period.end_s * 25), 0] += 5
    return replace(clip, evidence={"visual": values})


@pytest.fixture
def evident(scored: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """`scored`, with evidence."""
    plain = scores
    monkeypatch.setitem(
        globals(), "scores", lambda sample, *rest: with_evidence(plain(sample, *rest), sample)
    )
    return scored


def test_where_there_is_evidence_a_decision_is_fitted_and_kept(
    evident: dict[str, Any], tmp_path: Path
) -> None:
    result = run(samples(16))
    fitted = result.decision
    assert fitted is not None
    assert (fitted.clips, fitted.people) == (64, 64)
    assert result.config.decision == fitted.config
    assert fitted.config.population == "the authentic clips of the dev split of set"
    (tmp_path / "config.yaml").write_text(dump(load_config("compact")), encoding="utf-8")
    save_tuning(result, tmp_path)
    assert load_config(tmp_path / "config.yaml").localize.decision == fitted.config
    assert json.loads((tmp_path / "tuning.json").read_text())["decision"] == fitted.record()


def test_a_decision_that_cannot_be_fitted_again_stays(scored: dict[str, Any]) -> None:
    before = DecisionConfig(line=0.7)
    result = run(start=LocalizeConfig(decision=before))
    assert (result.decision, result.config.decision) == (None, before)
    assert json.loads(result.to_json())["decision"] is None


def test_a_decision_is_fitted_only_where_one_is_wanted(evident: dict[str, Any]) -> None:
    assert run(samples(16), with_decision=False).decision is None


def test_several_data_sets_count_as_one(evident: dict[str, Any]) -> None:
    known = [manifest(Path(name), samples(16)) for name in ("one", "two")]
    detector: Any = Detector(PipelineConfig())
    store: Any = None
    result = tune(detector, known, store, max_clips=40)
    assert (result.clips, result.dataset) == (80, "one, two")
    assert result.decision is not None
    # Without a sidecar, people are files, which are other ones in another data set.
    assert result.decision.people == result.decision.clips == 80
    assert result.decision.config.population == "the authentic clips of the dev split of one, two"
    assert result.config.calibration != Calibration()


def test_the_decision_is_fitted_to_evidence_of_networks_that_had_not_seen_the_clips(
    evident: dict[str, Any],
) -> None:
    seen = run(samples(16))
    rows = samples(12)
    unseen = [labelled(row, row.label or 0, scores(row, 0.9, 0.1), None, "material") for row in rows]
    result = run(samples(16), unseen=unseen)
    assert result.decision is not None
    assert result.decision.clips == len(unseen) != (seen.decision.clips if seen.decision else 0)
    assert "networks that had not seen the person" in result.decision.config.population
    assert result.config.calibration == seen.config.calibration, "it has nothing to do with the decision"


def test_the_decision_is_fitted_to_unseen_clips_of_another_split_beside_those_of_the_split(
    evident: dict[str, Any],
) -> None:
    rows = [replace(row, split="train") for row in samples(12)]
    unseen = [labelled(row, row.label or 0, scores(row, 0.9, 0.1), None, "material") for row in rows]
    result, alone = run(samples(16), unseen=unseen), run(samples(16)).decision
    assert result.decision is not None
    assert alone is not None
    assert result.decision.clips == alone.clips + len(unseen)
    assert result.decision.config.population.startswith(
        f"{alone.config.population} and of the training material"
    )


def test_every_data_set_needs_forged_intervals(scored: dict[str, Any]) -> None:
    known = [manifest(Path("one"), samples(2)), manifest(Path("two"), [samples()[0]])]
    detector: Any = Detector(PipelineConfig())
    store: Any = None
    with pytest.raises(UsageError, match="two: the split 'dev' has no forged interval"):
        tune(detector, known, store)
