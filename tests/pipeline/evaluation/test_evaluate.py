"""From predictions to tables: what counts, how it is grouped, what its interval is, and what is refused."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from evaluation_set import manifest, predictions, samples, write_sidecar

from data.errors import InputError, UsageError
from data.manifest import Sample
from data.timeline import Interval, TimeGrid
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.metrics import PROTOCOLS
from pipeline.evaluation.predict import NEUTRAL
from pipeline.evaluation.predictions import StepCurves, VideoPrediction

NO_PROPOSALS = np.zeros((0, 3))
HONEST = "localization, honest"


# --- what counts ------------------------------------------------------------------------------------------------------


def test_perfect_predictions_are_perfect_under_the_default(tmp_path: Path) -> None:
    clips = samples(2)
    result = evaluate(predictions(clips), manifest(tmp_path / "set", clips), "dev", replicates=0)
    assert (result.dataset, result.split, result.segments) == ("set", "dev", 8)
    assert result.clips == {"real": 2, "visual": 2, "audio": 2, "both": 2}
    for group in ("all", "visual + real", "audio + real", "both + real"):
        assert result.value(HONEST, "mAP", group) == 1.0
        assert result.value(HONEST, "AR@2", group) == 1.0
    assert result.value("localization, paper", "mAP") == pytest.approx(7 / 8)  # its strip of 1/n is missing
    assert result.value("video level", "AUC") == 1.0
    assert result.value("video level", "accuracy, 4 classes") == 1.0
    assert result.confusion is not None
    assert result.confusion.tolist() == (2 * np.eye(4, dtype=int)).tolist()
    assert result.notes == ()


def test_clips_that_are_not_assessable_count_as_neither_called_forged_nor_authentic(tmp_path: Path) -> None:
    clips = samples(1)
    found = predictions(clips)
    found[1] = VideoPrediction(found[1].file, NO_PROPOSALS, 0.5, NEUTRAL, abstained=True)
    result = evaluate(found, manifest(tmp_path, clips), "dev", replicates=0)
    assert result.notes == (
        "1 clips are not assessable and count as having no proposals and P(forged) = 0.5, first "
        f"{found[1].file}",
    )
    # 0.5 lies between the scores of the authentic clip (0.03) and of the forged ones (0.99).
    assert result.value("video level", "AUC") == 1.0
    assert result.value("video level", "accuracy, 4 classes") == 0.75
    assert result.value(HONEST, "AR@2") == pytest.approx(3 / 4)


def test_only_the_split_counts(tmp_path: Path) -> None:
    dev, test = samples(1), samples(1, "test")
    result = evaluate(predictions(test), manifest(tmp_path, dev + test), "test", replicates=0)
    assert sum(result.clips.values()) == 4
    assert result.value(HONEST, "mAP") == 1.0


def test_predictions_may_come_in_any_order(tmp_path: Path) -> None:
    clips = samples(2)
    found = predictions(clips)
    found[1] = replace(found[1], proposals=NO_PROPOSALS)
    one = evaluate(found, manifest(tmp_path, clips), "dev", replicates=20)
    assert evaluate(found[::-1], manifest(tmp_path, clips), "dev", replicates=20).rows == one.rows


def test_false_alarms_count_in_every_class(tmp_path: Path) -> None:
    clips = samples()
    found = predictions(clips)
    found[0] = replace(
        found[0], proposals=np.array([[0.95, 0.2, 0.6]])
    )  # in the authentic clip, ahead of all
    result = evaluate(found, manifest(tmp_path, clips), "dev", replicates=0)
    # wrong, then four right of four: interpolated precision 4/5 throughout, equal scores as one point
    assert result.value(HONEST, "AP@0.5") == pytest.approx(4 / 5)
    assert result.value(HONEST, "AP@0.5", "visual + real") == pytest.approx(1 / 2)
    assert result.value(HONEST, "AP@0.5", "both + real") == pytest.approx(2 / 3)


def test_every_protocol_can_be_asked_for(tmp_path: Path) -> None:
    clips = samples()
    result = evaluate(predictions(clips), manifest(tmp_path, clips), "dev", tuple(PROTOCOLS), replicates=0)
    tables = [table for table in result.tables if table.startswith("localization")]
    assert tables == [f"localization, {name}" for name in PROTOCOLS]
    assert result.value("localization, lab", "AR@5") == 1.0


def test_unread_clips_count_as_called_authentic_and_are_told(tmp_path: Path) -> None:
    clips = samples()
    found = predictions(clips)
    found[1] = VideoPrediction(found[1].file, NO_PROPOSALS, 0.0, (1.0, 0.0, 0.0, 0.0), unread=True)
    result = evaluate(found, manifest(tmp_path, clips), "dev", replicates=0)
    assert result.value(HONEST, "AR@5") == pytest.approx(3 / 4)
    assert result.value("video level", "accuracy, 4 classes") == pytest.approx(3 / 4)
    assert result.notes == (
        "1 clips could not be analysed and count as classified authentic, first dev/000001.mp4",
    )
    assert result.notes[0] in result.markdown()


def test_what_is_odd_about_the_data_set_is_told(tmp_path: Path) -> None:
    clips = samples()
    clips[1] = replace(clips[1], fake_periods=())
    known = replace(manifest(tmp_path, clips), missing=(Path("dev/9.mp4"),))
    notes = evaluate(predictions(clips), known, "dev", replicates=0).notes
    assert notes[0] == "1 clips of the data set are missing from the disk and do not count"
    assert notes[1] == "1 clips are labelled forged but have no intervals, first dev/000001.mp4"


# --- what is not said is not measured ---------------------------------------------------------------------------------


def test_scores_alone_give_video_level_numbers_alone(tmp_path: Path) -> None:
    clips = samples()
    found = [VideoPrediction(p.file, None, p.score) for p in predictions(clips)]
    result = evaluate(found, manifest(tmp_path, clips), "dev", replicates=0)
    assert result.tables == ("video level",)
    assert result.value("video level", "AUC") == 1.0
    assert result.confusion is None
    with pytest.raises(KeyError):
        result.value("video level", "accuracy, 4 classes")


def test_proposals_alone_give_localization_alone(tmp_path: Path) -> None:
    clips = samples()
    found = [VideoPrediction(p.file, p.proposals) for p in predictions(clips)]
    result = evaluate(found, manifest(tmp_path, clips), "dev", replicates=0)
    assert "video level" not in result.tables
    assert result.value(HONEST, "mAP") == 1.0


def test_a_split_without_forgeries_has_no_numbers_but_says_so(tmp_path: Path) -> None:
    clips = samples()[:1]
    result = evaluate(predictions(clips), manifest(tmp_path, clips), "dev", replicates=10)
    assert np.isnan(result.value(HONEST, "mAP"))
    assert np.isnan(result.value("video level", "AUC"))
    assert "–" in result.markdown()
    assert json.loads(result.to_json())["tables"][HONEST]["all"]["mAP"] == {
        "value": None,
        "low": None,
        "high": None,
    }


# --- groups -----------------------------------------------------------------------------------------------------------


def test_segments_are_grouped_by_length(tmp_path: Path) -> None:
    clips = samples(2)  # six segments of 0.4 s, two of 0.2 s
    found = predictions(clips)
    short = found[3]
    assert short.proposals is not None
    found[3] = replace(short, proposals=short.proposals[:1])  # one of the short ones is missed
    result = evaluate(found, manifest(tmp_path, clips), "dev", replicates=0)
    table = "recall by length"
    assert result.value(table, "segments", "below 0.4 s") == 2
    assert result.value(table, "segments", "0.4 to 0.8 s") == 6
    assert result.value(table, "AR@5", "below 0.4 s") == 0.5
    assert result.value(table, "AR@5", "0.4 to 0.8 s") == 1.0
    with pytest.raises(KeyError):
        result.value(table, "segments", "1.6 s and more")


def test_manipulations_come_from_the_sidecar(tmp_path: Path) -> None:
    clips = samples()
    write_sidecar(tmp_path, clips, ["anna", "ben", "cleo", "anna"])
    found = predictions(clips)
    found[2] = replace(
        found[2], proposals=NO_PROPOSALS, score=0.01
    )  # the clip with a foreign voice is missed
    result = evaluate(found, manifest(tmp_path, clips), "dev", replicates=0)
    table = "recall by manipulation"
    # faces in clips 1 and 3; voices in clips 2 and 3, in the latter at the same time; one shifted voice in 3
    assert result.value(table, "segments", "replace_lower_face") == 2
    assert result.value(table, "segments", "splice_speaker") == 2
    assert result.value(table, "segments", "shift_voice") == 1
    assert result.value(table, "AR@5", "splice_speaker") == 0.5
    assert result.value(table, "AR@5", "replace_lower_face") == 1.0
    assert result.value("video level", "AUC", "splice_speaker vs real") == pytest.approx(1 / 2)
    assert result.value("video level", "AUC", "replace_lower_face vs real") == 1.0
    assert result.value("video level", "clips", "splice_speaker vs real") == 2


def test_recording_groups_come_from_the_sidecar(tmp_path: Path) -> None:
    clips = samples(2)
    write_sidecar(tmp_path, clips, ["anna"] * 8)
    sidecar = tmp_path / "forgeries.json"
    rows = json.loads(sidecar.read_text())
    for k, row in enumerate(rows):
        row["group"] = "studio" if k < 4 else "street"
    sidecar.write_text(json.dumps(rows))
    found = predictions(clips)
    for k in (5, 6, 7):  # all that is forged in the street is missed
        found[k] = replace(found[k], proposals=NO_PROPOSALS, score=0.0)
    result = evaluate(found, manifest(tmp_path, clips), "dev", replicates=0)
    table = "by recording group"
    assert [result.value(table, "clips", name) for name in ("street", "studio")] == [4, 4]
    assert [result.value(table, "mAP", name) for name in ("street", "studio")] == [0.0, 1.0]
    assert [result.value(table, "AUC", name) for name in ("street", "studio")] == [0.0, 1.0]


def test_probabilities_are_held_against_what_happened(tmp_path: Path) -> None:
    clips = samples(2)
    found = predictions(clips)
    # P(forged) of forged clips is 0.99, of authentic ones 0.03; one authentic clip seems forged.
    found[0] = replace(found[0], probabilities=found[1].probabilities, score=0.99)
    result = evaluate(found, manifest(tmp_path, clips), "dev", replicates=0)
    assert result.value("reliability", "clips", "0.9 to 1.0") == 7
    assert result.value("reliability", "P(forged), mean", "0.9 to 1.0") == pytest.approx(0.99)
    # Six forged clips weigh as much as the two authentic ones: 2/3 and 2 each, so that this bin holds 4 against 2.
    assert result.value("reliability", "forged", "0.9 to 1.0") == pytest.approx(4 / 6)
    assert result.value("reliability", "forged", "0.0 to 0.1") == 0.0
    assert result.value("video level", "calibration error") == pytest.approx(
        (6 * (0.99 - 4 / 6) + 2 * 0.03) / 8
    )


@pytest.mark.parametrize("text", ["{", '[{"file": "dev/000000.mp4"}]', "[1]"])
def test_a_damaged_sidecar_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "forgeries.json").write_text(text)
    clips = samples()
    with pytest.raises(InputError, match=r"forgeries.json: cannot be read"):
        evaluate(predictions(clips), manifest(tmp_path, clips), "dev")


# --- steps ------------------------------------------------------------------------------------------------------------


def curves(values: list[float]) -> StepCurves:
    """Steps of 0.1 s from time 0, the same curve in every branch that matters here."""
    grid = TimeGrid(Fraction(0), Fraction(1, 10), len(values))
    return StepCurves(grid, {"joint": np.array(values, np.float32)})


def test_steps_are_forged_where_their_centre_is(tmp_path: Path) -> None:
    clips = samples()[:2]
    found = predictions(clips)
    # The forged span 0.2 to 0.6 s holds the centres 0.25 to 0.55 s: steps 2 to 5. Step 7 was not decoded.
    found[0] = replace(found[0], steps=curves([0.1] * 4))
    found[1] = replace(found[1], steps=curves([0.1, 0.1, 0.9, 0.9, 0.9, 0.0, 0.1, np.nan]))
    result = evaluate(found, manifest(tmp_path, clips), "dev", replicates=0)
    assert result.value("step level", "steps", "joint") == 4 + 7
    # three of four forged steps lie above all seven authentic ones, one below
    assert result.value("step level", "AUC", "joint") == pytest.approx(3 / 4)
    # Threshold above 0: 1/4 missed, all alarms; above 0.1: 1/4 missed, no alarm
    assert result.value("step level", "EER", "joint") == pytest.approx(1 / 4)


# --- intervals --------------------------------------------------------------------------------------------------------


def half_right(copies: int) -> tuple[list[Sample], list[VideoPrediction]]:
    """Only authentic and visually forged clips; of the forged ones every other is missed."""
    clips = [sample for sample in samples(copies) if sample.label in (0, 1)]
    found = predictions(clips)
    for k in range(1, len(found), 4):
        found[k] = replace(found[k], proposals=NO_PROPOSALS)
    return clips, found


def test_intervals_hold_the_value_and_shrink_with_more_videos(tmp_path: Path) -> None:
    widths = []
    for copies in (6, 60):
        clips, found = half_right(copies)
        result = evaluate(found, manifest(tmp_path, clips), "dev", ("honest",), replicates=200)
        row = next(r for r in result.rows if (r.table, r.group, r.metric) == (HONEST, "all", "AR@5"))
        assert row.low is not None
        assert row.high is not None
        assert row.low < row.value == 0.5 < row.high
        widths.append(row.high - row.low)
    assert widths[1] < widths[0] / 2  # about the root of ten
    # a share of 60 segments has a standard error of 0.0645; the interval is 1.96 of them to either side
    assert widths[1] == pytest.approx(4 * 0.0645, rel=0.25)


def test_the_seed_decides_the_samples(tmp_path: Path) -> None:
    clips, found = half_right(6)
    known = manifest(tmp_path, clips)
    one, two, other = (evaluate(found, known, "dev", ("honest",), 50, seed) for seed in (1, 1, 2))
    assert one.rows == two.rows != other.rows
    assert one.bootstrap == {"replicates": 50, "over": "videos", "seed": 1}


def test_people_are_drawn_where_they_are_known(tmp_path: Path) -> None:
    clips, found = half_right(12)
    free = evaluate(found, manifest(tmp_path / "free", clips), "dev", ("honest",), 200)
    # Clips of the person for whom nothing is found, and of the one for whom all is: whole persons are drawn, and
    # with two of them the share found is 0, 1/2 or 1.
    people = ["anna" if one.proposals is not None and len(one.proposals) else "ben" for one in found]
    write_sidecar(tmp_path / "known", clips, people)
    result = evaluate(found, manifest(tmp_path / "known", clips), "dev", ("honest",), 200)
    assert result.bootstrap["over"] == "identities"
    row, other = (
        next(r for r in one.rows if (r.table, r.group, r.metric) == (HONEST, "all", "AR@5"))
        for one in (result, free)
    )
    assert (row.low, row.high) == (0.0, 1.0)
    assert other.low is not None
    assert other.low > 0.0


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_split_without_clips_or_labels_is_refused(tmp_path: Path) -> None:
    clips = samples()
    with pytest.raises(UsageError, match="has no clip of the split 'test'; its splits are dev"):
        evaluate(predictions(clips), manifest(tmp_path, clips), "test")
    clips[2] = replace(clips[2], label=None)
    with pytest.raises(UsageError, match=r"1 clips of the split 'dev' have no label, first dev/000002.mp4"):
        evaluate(predictions(clips), manifest(tmp_path, clips), "dev")


def test_predictions_of_other_clips_are_refused(tmp_path: Path) -> None:
    clips = samples(2)
    known = manifest(tmp_path, clips)
    with pytest.raises(InputError, match=r"3 clips have no prediction, first dev/000005.mp4, "):
        evaluate(predictions(clips[:5]), known, "dev")
    with pytest.raises(
        InputError, match=r"4 clips have predictions but are not in the split, first test/000000.mp4"
    ):
        evaluate(predictions(clips + samples(1, "test")), known, "dev")


# --- what is written --------------------------------------------------------------------------------------------------


def test_all_forms_hold_the_same_numbers(tmp_path: Path) -> None:
    clips, found = half_right(4)
    result = evaluate(found, manifest(tmp_path / "set", clips), "dev", replicates=20)
    document = json.loads(result.to_json())
    lines = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert len(lines) == len(result.rows)
    for row, line in zip(result.rows, lines, strict=True):
        entry = document["tables"][row.table][row.group][row.metric]
        assert (line["table"], line["group"], line["metric"]) == (row.table, row.group, row.metric)
        if np.isnan(row.value):
            assert entry["value"] is None
            assert line["value"] == ""
        else:
            assert entry["value"] == row.value
            assert float(line["value"]) == pytest.approx(row.value, rel=1e-5)
        assert ("low" in entry) == (row.low is not None)
    assert document["confusion"] == (result.confusion.tolist() if result.confusion is not None else None)


def test_markdown_shows_percent_with_intervals(tmp_path: Path) -> None:
    clips, found = half_right(4)
    result = evaluate(found, manifest(tmp_path / "set", clips), "dev", replicates=20)
    text = result.markdown()
    row = next(r for r in result.rows if (r.table, r.group, r.metric) == (HONEST, "all", "AR@5"))
    assert row.low is not None
    assert row.high is not None
    assert f"50.00 ({100 * row.low:.1f}–{100 * row.high:.1f})" in text
    assert "4 real, 4 visual, 0 audio, 0 both clips; 4 forged segments." in text
    assert "95 % interval of 20 samples of the videos (seed 0)" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    bare = evaluate(found, manifest(tmp_path / "set", clips), "dev", replicates=0)
    assert "50.00 |" in bare.markdown()
    assert "interval" not in bare.markdown()


# --- segments that nobody can hit, and names ----------------------------------------------------------------------


def test_segments_that_nobody_can_hit_are_left_out_and_counted(tmp_path: Path) -> None:
    clips = samples(1)
    found = predictions(clips)
    forged = next(k for k, clip in enumerate(clips) if clip.fake_periods)
    end_s = clips[forged].duration_s
    beyond = (Interval(0.0, 0.0), Interval(end_s + 1, end_s + 2))
    clips[forged] = replace(clips[forged], fake_periods=(*clips[forged].fake_periods, *beyond))
    result = evaluate(found, manifest(tmp_path, clips), "dev", replicates=0)
    assert result.value(HONEST, "mAP") == 1.0
    assert result.notes == (
        "2 segments are empty or lie behind their clip's end: nobody can hit them, they are left out",
    )


def test_a_root_given_as_a_dot_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = samples(1)
    made = manifest(tmp_path / "set", clips)
    made.root.mkdir(exist_ok=True)
    monkeypatch.chdir(made.root)
    result = evaluate(predictions(clips), replace(made, root=Path()), "dev", replicates=0)
    assert result.dataset == "set"
