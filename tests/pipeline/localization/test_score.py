"""Windows and overlap-add: arithmetic by hand with a scripted model, then agreement with the real one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from model_factory import AUDIO_DIM, one_thread, tiny_model
from score_factory import BOTH, REAL, VISUAL, Reader, ScriptedModel, audio_reader, run, visual_reader

from configs.schema import Calibration, LocalizeConfig
from data.errors import InputError
from data.timeline import TimeGrid
from models.batch import Batch
from models.method import Scores
from pipeline.localization.localize import localize, proposals
from pipeline.localization.score import score_clip, spans, taper


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, [(0, 1)]),
        (4, [(0, 4)]),
        (5, [(0, 4), (1, 5)]),  # the last window is whole and ends with the clip
        (6, [(0, 4), (2, 6)]),
        (9, [(0, 4), (2, 6), (4, 8), (5, 9)]),
    ],
)
def test_windows_cover_the_clip(n: int, expected: list[tuple[int, int]]) -> None:
    assert spans(n, 4, 2) == expected


@pytest.mark.parametrize(("window", "overlap"), [(4, 0), (5, 3), (7, 6), (1, 0)])
def test_every_step_lies_in_a_window_of_full_length(window: int, overlap: int) -> None:
    for n in range(1, 30):
        cuts = spans(n, window, overlap)
        assert set().union(*(range(first, stop) for first, stop in cuts)) == set(range(n))
        assert {stop - first for first, stop in cuts} == {min(n, window)}
        assert cuts == sorted(set(cuts))


def test_taper_is_a_triangle_above_zero() -> None:
    assert taper(4).tolist() == [1, 2, 2, 1]
    assert taper(5).tolist() == [1, 2, 3, 2, 1]
    assert taper(1).tolist() == [1]


def test_overlap_add_by_hand() -> None:
    model = ScriptedModel([(0.2, REAL), (0.8, BOTH)])
    scores = run(model, visual_reader(6), audio_reader(6))
    # weights 1 2 2 1 and, two steps later, 1 2 2 1: step 2 has (2·0.2 + 1·0.8)/3, step 3 (1·0.2 + 2·0.8)/3
    expected = np.array([0.2, 0.2, 0.4, 0.6, 0.8, 0.8])
    np.testing.assert_allclose(scores.visual, expected, rtol=1e-6)
    np.testing.assert_allclose(scores.audio, expected / 2, rtol=1e-6)
    np.testing.assert_allclose(scores.joint, expected / 4, rtol=1e-6)
    np.testing.assert_allclose(scores.visual_error, expected * 10, rtol=1e-6)
    np.testing.assert_allclose(scores.audio_error, expected * 20, rtol=1e-6)
    assert scores.grid == TimeGrid(Fraction(0), Fraction(1, 25), 6)


def test_each_window_is_routed_by_its_own_class() -> None:
    model = ScriptedModel([(0.2, VISUAL), (0.8, BOTH), (0.4, REAL)])
    scores = run(model, visual_reader(8), audio_reader(8))
    # window 0 (steps 0-3) counts for the visual curve only, window 1 (2-5) for the joint one, window 2 for none
    np.testing.assert_allclose(
        scores.routed["visual"], [0.2, 0.2, 0.2 * 2 / 3, 0.2 / 3, 0, 0, 0, 0], rtol=1e-6
    )
    np.testing.assert_allclose(
        scores.routed["joint"], [0, 0, 0.2 / 3, 0.2 * 2 / 3, 0.2 * 2 / 3, 0.2 / 3, 0, 0], rtol=1e-6
    )
    assert (scores.routed["audio"] == 0).all()
    assert [window.predicted for window in scores.windows] == ["visual", "both", "real"]
    assert [(window.first, window.stop) for window in scores.windows] == [(0, 4), (2, 6), (4, 8)]


def test_the_clip_takes_the_class_of_its_least_real_window() -> None:
    scores = run(
        ScriptedModel([(0.1, REAL), (0.1, VISUAL), (0.1, BOTH), (0.1, REAL)]),
        visual_reader(9),
        audio_reader(9),
    )
    assert scores.video_probabilities == pytest.approx(BOTH)
    assert scores.predicted == "both"


def test_a_window_predicted_forged_outweighs_a_doubtful_real_one() -> None:
    doubtful, forged = (0.31, 0.23, 0.23, 0.23), (0.4, 0.45, 0.1, 0.05)
    scores = run(ScriptedModel([(0.1, doubtful), (0.1, forged)]), visual_reader(6), audio_reader(6))
    assert scores.predicted == "visual"  # else its routed curve would contradict the clip's class
    scores = run(ScriptedModel([(0.1, REAL), (0.1, doubtful)]), visual_reader(6), audio_reader(6))
    assert scores.video_probabilities == pytest.approx(doubtful)


def test_one_window_is_exactly_the_model() -> None:
    model, visual, audio = tiny_model(), visual_reader(9), audio_reader(9)
    scores = run(model, visual, audio, LocalizeConfig())
    ones = torch.ones(1, 9, dtype=torch.bool)
    as_read = [torch.from_numpy(r.values.astype(np.float16)).float().unsqueeze(0) for r in (visual, audio)]
    direct = model.score(Batch(*as_read, ones, ones, torch.zeros(1, dtype=torch.long)))
    for name in ("visual", "audio", "joint", "visual_error", "audio_error"):
        np.testing.assert_array_equal(getattr(scores, name), getattr(direct, name)[0].numpy())
    assert scores.video_probabilities == tuple(direct.video_probabilities[0].tolist())
    label = int(direct.video_probabilities[0].argmax())
    for index, branch in enumerate(("visual", "audio", "joint"), start=1):
        expected = getattr(direct, branch)[0].numpy() * (index == label)
        np.testing.assert_array_equal(scores.routed[branch], expected)


def test_shorter_sound_is_invalid_beyond_its_end() -> None:
    model = ScriptedModel([(0.5, REAL)] * 3)
    scores = run(model, visual_reader(8), audio_reader(6))
    assert scores.grid.n == 8
    assert scores.valid["visual"].all()
    assert scores.valid["audio"].tolist() == [True] * 6 + [False] * 2
    assert scores.valid["joint"].all()
    np.testing.assert_allclose(scores.audio, [0.25] * 6 + [0] * 2, rtol=1e-6)
    last = model.batches[-1]  # steps 4 to 7: two with sound
    assert last.audio_mask.tolist() == [[True, True, False, False]]
    assert (last.audio[0, 2:] == 0).all()


def test_where_nothing_is_judged_segments_that_a_method_found_count_for_nothing() -> None:
    class Finding(ScriptedModel):
        def score(self, batch: Batch) -> Scores:
            return replace(super().score(batch), spans=(torch.tensor([[0.9, 2.0, 9.0]]),))

    visual = visual_reader(60)
    visual.cuts, visual.valid = (30,), np.array(([True] * 14 + [False] * 16) * 2)
    scores = score_clip(Finding([(0.5, REAL)] * 9), visual, None, LocalizeConfig(window=60, overlap=30))
    assert (scores.windows, scores.spans) == ((), ())
    for config in (LocalizeConfig(), LocalizeConfig(onset=0.9)):
        assert localize(scores, config, "all") == ()
        assert proposals(scores, config) == ()


def test_where_no_stretch_holds_enough_nothing_is_judged() -> None:
    visual = visual_reader(60)
    visual.cuts, visual.valid = (30,), np.array(([True] * 14 + [False] * 16) * 2)
    scores = score_clip(
        ScriptedModel([(0.5, REAL)] * 2), visual, None, LocalizeConfig(window=100, overlap=50)
    )
    assert not scores.windows
    assert scores.visual is None


def test_holes_score_nothing() -> None:
    visual = visual_reader(6)
    visual.valid = np.array([True, True, False, False, True, True])
    scores = run(ScriptedModel([(0.5, REAL)] * 2), visual, None)
    assert scores.visual.tolist() == [0.5, 0.5, 0, 0, 0.5, 0.5]
    assert scores.valid["visual"].tolist() == visual.valid.tolist()
    assert scores.valid["joint"].tolist() == visual.valid.tolist()


@pytest.mark.parametrize("missing", ["visual", "audio"])
def test_a_missing_track_has_no_curves(missing: str) -> None:
    visual = None if missing == "visual" else visual_reader(6)
    audio = None if missing == "audio" else audio_reader(6)
    scores = run(tiny_model(), visual, audio)
    assert getattr(scores, missing) is None
    assert getattr(scores, f"{missing}_error") is None
    assert not scores.valid[missing].any()
    other = "audio" if missing == "visual" else "visual"
    assert getattr(scores, other).shape == (6,)
    impossible = {"visual": (1, 3), "audio": (2, 3)}[missing]
    assert all(window.probabilities[i] == 0 for window in scores.windows for i in impossible)


def test_a_clip_without_steps_is_refused() -> None:
    for visual, audio in ((None, None), (visual_reader(0), None), (visual_reader(0), audio_reader(0))):
        with pytest.raises(InputError, match="nothing to analyse"):
            run(tiny_model(), visual, audio)


def test_an_empty_track_beside_a_full_one_is_simply_invalid() -> None:
    scores = run(tiny_model(), visual_reader(5), audio_reader(0))
    assert not scores.valid["audio"].any()
    assert scores.visual.shape == (5,)


def test_unequal_clocks_are_refused() -> None:
    audio = audio_reader(6)
    audio.rate = 50
    with pytest.raises(ValueError, match="different time grids"):
        run(tiny_model(), visual_reader(6), audio)


def test_no_more_than_a_window_is_ever_read() -> None:
    visual, audio = visual_reader(41), audio_reader(37)
    calls: list[tuple[str, int | None, int | None]] = []
    run(
        tiny_model(),
        visual,
        audio,
        LocalizeConfig(window=8, overlap=3),
        hook=lambda *step: calls.append(step),
    )
    assert max(stop - first for first, stop in visual.reads + audio.reads) == 8
    assert calls == [("score", k, 8) for k in range(1, 9)]  # 0, 5, .. 30 and, aligned to the end, 33
    assert visual.reads[-1] == (33, 41)
    assert audio.reads[-1] == (33, 37)


def test_scoring_twice_gives_the_same_bytes() -> None:
    model, visual, audio = tiny_model(), visual_reader(20), audio_reader(20)
    config = LocalizeConfig(window=8, overlap=4)
    one, two = run(model, visual, audio, config), run(model, visual, audio, config)
    assert one.joint.tobytes() == two.joint.tobytes()
    assert one.windows == two.windows


def test_the_default_calibration_leaves_every_bit_of_the_probabilities() -> None:
    model, visual, audio = tiny_model(), visual_reader(8), audio_reader(8)
    scores = run(model, visual, audio, LocalizeConfig())
    seen, heard = (torch.from_numpy(r.read(0, 8).values.astype(np.float32))[None] for r in (visual, audio))
    valid = torch.ones(1, 8, dtype=torch.bool)
    batch = Batch(seen, heard, valid, valid, torch.zeros(1, dtype=torch.long))
    assert scores.windows[0].probabilities == tuple(model.score(batch).video_probabilities[0].tolist())


def test_windows_are_routed_by_their_calibrated_class() -> None:
    # Odds of "both" against "visual" rise e-fold: 0.6 against 0.3 e = 0.82.
    said, config = (0.05, 0.6, 0.05, 0.3), LocalizeConfig(calibration=Calibration(bias=(0, 0, 0, 1)))
    plain, fitted = (
        run(ScriptedModel([(0.8, said)]), visual_reader(4), audio_reader(4), one)
        for one in (LocalizeConfig(), config)
    )
    assert (plain.predicted, fitted.predicted) == ("visual", "both")
    np.testing.assert_allclose(fitted.routed["joint"], 0.2, rtol=1e-6)
    assert not fitted.routed["visual"].any()
    total = 0.7 + 0.3 * np.e
    assert fitted.video_probabilities == pytest.approx(
        (0.05 / total, 0.6 / total, 0.05 / total, 0.3 * np.e / total)
    )
    assert fitted.visual.tobytes() == plain.visual.tobytes()  # step scores are not class probabilities


def test_calibration_makes_no_absent_track_forged() -> None:
    config = LocalizeConfig(calibration=Calibration(temperature=5.0, bias=(0, 0, 20, 20)))
    scores = run(tiny_model(), visual_reader(8), None, config)
    assert scores.windows[0].probabilities[2:] == (0.0, 0.0)
    assert sum(scores.windows[0].probabilities) == pytest.approx(1.0)


def first_column(values: np.ndarray) -> np.ndarray:
    return np.stack([values[:, 0], *np.zeros((3, len(values)))], axis=1).astype(np.float32)


def test_evidence_is_read_out_of_the_vectors_of_judged_tracks_over_all_windows() -> None:
    visual, audio = visual_reader(7), audio_reader(6)
    visual.valid = np.array([True, True, False, True, True, True, True])
    audio.valid = np.zeros(6, bool)
    model = ScriptedModel([(0.5, REAL)] * 3)
    found = run(model, visual, audio, evidence_of={"visual": first_column, "audio": first_column}).evidence
    expected = np.where(visual.valid, visual.values[:, 0].astype(np.float16).astype(np.float32), 0)
    assert found.keys() == {"visual"}  # the sound is not assessable
    assert (found["visual"][:, 0] == expected).all()
    assert found["visual"].shape == (7, 4)
    assert not found["visual"][:, 1:].any()


def test_a_shorter_track_has_no_evidence_beyond_its_end() -> None:
    model = ScriptedModel([(0.5, REAL)] * 2)
    found = run(
        model,
        visual_reader(6),
        Reader(np.ones((3, AUDIO_DIM))),
        evidence_of={"audio": lambda v: first_column(v) + 1},
    ).evidence
    assert found["audio"][:, 0].tolist() == [2, 2, 2, 0, 0, 0]


def test_extractors_may_say_nothing() -> None:
    model = ScriptedModel([(0.5, REAL)])
    assert run(model, visual_reader(4), None, evidence_of={"visual": lambda values: None}).evidence == {}
