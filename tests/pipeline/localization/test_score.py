"""Windows and overlap-add: arithmetic by hand with a scripted model, then agreement with the real one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from model_factory import AUDIO_DIM, VISUAL_DIM, one_thread, tiny_model

from configs.schema import Calibration, LocalizeConfig
from data.errors import InputError
from data.features import Features
from data.timeline import TimeGrid
from models.batch import Batch
from models.method import Scores
from pipeline.localization.localize import localize, proposals
from pipeline.localization.score import score_clip, spans, taper

SMALL = LocalizeConfig(window=4, overlap=2)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@dataclass
class Reader:
    """Features in memory with the interface of the store's reader; remembers what was read."""

    values: np.ndarray
    valid: np.ndarray | None = None
    rate: int = 25
    reads: list[tuple[int, int]] = field(default_factory=list)
    cuts: tuple[int, ...] = ()

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def dim(self) -> int:
        return self.values.shape[1]

    @property
    def grid(self) -> TimeGrid:
        return TimeGrid.at_rate(self.rate, self.n)

    def flags(self) -> np.ndarray:
        return self.valid if self.valid is not None else np.ones(self.n, bool)

    def read(self, first: int, stop: int) -> Features:
        assert 0 <= first < stop <= self.n
        self.reads.append((first, stop))
        return Features(
            self.values[first:stop].astype(np.float16), self.flags()[first:stop], self.grid.crop(first, stop)
        )


def visual_reader(n: int, seed: int = 0) -> Reader:
    return Reader(np.random.default_rng(seed).normal(size=(n, VISUAL_DIM)))


def audio_reader(n: int, seed: int = 1) -> Reader:
    return Reader(np.random.default_rng(seed).normal(size=(n, AUDIO_DIM)))


class ScriptedModel:
    """Gives window after window a constant score and given class probabilities, masked like the real model."""

    def __init__(self, script: Sequence[tuple[float, Sequence[float]]]) -> None:
        self.config = tiny_model().config
        self.script = list(script)
        self.batches: list[Batch] = []

    def score(self, batch: Batch) -> Scores:
        value, probabilities = self.script[len(self.batches)]
        self.batches.append(batch)
        either = batch.visual_mask | batch.audio_mask
        return Scores(
            video_probabilities=torch.tensor([probabilities]),
            visual=batch.visual_mask * value,
            audio=batch.audio_mask * (value / 2),
            joint=either * (value / 4),
            visual_error=batch.visual_mask * (value * 10),
            audio_error=batch.audio_mask * (value * 20),
        )


def run(model: Any, visual: Any, audio: Any, config: LocalizeConfig = SMALL, **options: Any) -> Any:
    return score_clip(model, visual, audio, config, **options)


REAL, VISUAL, BOTH = (0.7, 0.1, 0.1, 0.1), (0.2, 0.6, 0.1, 0.1), (0.1, 0.1, 0.2, 0.6)


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


def test_no_window_spans_a_cut_and_each_shot_is_a_stretch() -> None:
    visual, audio = visual_reader(9), audio_reader(9)
    visual.cuts, audio.cuts = (3,), (5,)
    scores = run(ScriptedModel([(0.5, REAL)] * 4), visual, audio)
    assert [(w.first, w.stop) for w in scores.windows] == [(0, 3), (3, 7), (5, 9)]
    assert scores.stretches == {"visual": ((0, 3), (3, 6), (6, 9)), "audio": ((0, 2), (2, 5), (5, 9))}


def test_the_sound_is_judged_apart_where_the_picture_cuts_to_somebody_else() -> None:
    visual, audio, anchor, guest = visual_reader(9), audio_reader(9), visual_reader(9), visual_reader(9)
    visual.cuts = anchor.cuts = guest.cuts = (2, 5)
    anchor.valid, guest.valid = np.arange(9) < 5, np.arange(9) >= 5
    config = LocalizeConfig(window=8, overlap=4)
    scores = run(ScriptedModel([(0.5, REAL)] * 9), visual, audio, config, people={1: anchor, 2: guest})
    assert scores.stretches == {"visual": ((0, 2), (2, 5), (5, 9)), "audio": ((0, 5), (5, 9))}


def seen(first: int, stop: int, n: int = 60) -> Any:
    reader = visual_reader(n)
    reader.valid = np.array([first <= step < stop for step in range(n)])
    return reader


ONE_WINDOW = LocalizeConfig(window=60, overlap=30)


def test_where_others_are_seen_too_briefly_one_person_alone_is_judged_with_all_of_the_sound() -> None:
    model = ScriptedModel([(0.5, REAL)] * 3)
    people = {1: seen(0, 40), 2: seen(40, 52)}
    scores = run(model, visual_reader(60), audio_reader(60), ONE_WINDOW, people=people)
    assert scores.valid["visual"].tolist() == [True] * 40 + [False] * 20
    assert scores.valid["audio"].all()
    assert list(scores.people) == [1]
    np.testing.assert_array_equal(scores.people[1].valid["visual"], scores.valid["visual"])


def test_steps_that_show_none_of_those_who_are_judged_are_not_judged() -> None:
    people = {1: seen(0, 28), 2: seen(28, 56), 3: seen(56, 60)}
    told = {"visual": lambda values: np.full((len(values), 4), 5, np.float32)}
    model = ScriptedModel([(0.5, REAL)] * 3)
    scores = run(model, visual_reader(60), audio_reader(58), ONE_WINDOW, people=people, evidence_of=told)
    assert list(scores.people) == [1, 2]
    assert scores.valid["visual"].tolist() == [True] * 56 + [False] * 4
    assert scores.valid["joint"].tolist() == [True] * 58 + [False] * 2
    assert scores.evidence["visual"][:, 0].tolist() == [5] * 56 + [0] * 4


def test_how_long_the_other_track_is_changes_no_stretch_of_this_one() -> None:
    config = LocalizeConfig(window=8, overlap=4)
    for sound in (8, 12):
        visual = visual_reader(8)
        visual.cuts = (6,)
        scores = run(ScriptedModel([(0.5, REAL)] * 4), visual, audio_reader(sound), config)
        assert scores.stretches["visual"] == ((0, 6), (6, sound))
        assert scores.valid["visual"][:8].all()


def test_sound_alone_is_cut_where_the_speaker_changes() -> None:
    audio = audio_reader(6)
    audio.cuts = (2,)
    scores = run(ScriptedModel([(0.5, REAL)] * 2), None, audio)
    assert [(w.first, w.stop) for w in scores.windows] == [(0, 2), (2, 6)]


def test_a_stretch_that_holds_too_little_is_not_judged() -> None:
    visual = visual_reader(8)
    visual.cuts, visual.valid = (4,), np.array([True] * 4 + [True] + [False] * 3)
    scores = run(ScriptedModel([(0.5, REAL)] * 2), visual, None)
    assert scores.valid["visual"].tolist() == [True] * 4 + [False] * 4
    assert scores.usable_s["visual"] == pytest.approx(0.2)


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
