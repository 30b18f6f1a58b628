"""Cuts, speakers and people: what is judged as a clip of its own, and what is not judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from model_factory import one_thread
from score_factory import REAL, ScriptedModel, audio_reader, run, visual_reader

from configs.schema import LocalizeConfig


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


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
