"""Voice activity on sounds made by hand, and where spans may lie."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voice_factory import voice

from data.audio import FRAME_SAMPLES, speech_activity
from pipeline.forging.manipulations.placement import NEAR, place_spans

N = FRAME_SAMPLES


def tone(frames: int, level: float) -> np.ndarray:
    return level * np.sin(2 * np.pi * 440 / 16_000 * np.arange(frames * N))


def hiss(frames: int, level: float, seed: int = 0) -> np.ndarray:
    return level * np.random.default_rng(seed).standard_normal(frames * N)


def activity(*parts: np.ndarray) -> str:
    """One letter per frame, x where somebody speaks."""
    return "".join(".x"[int(a)] for a in speech_activity(np.concatenate(parts).astype(np.float32)))


def test_bursts_in_quiet_noise_are_found_to_the_frame() -> None:
    sound = hiss(60, 0.001)
    sound[10 * N : 20 * N] += tone(10, 0.2)
    sound[35 * N : 55 * N] += tone(20, 0.05)
    assert activity(sound) == "." * 10 + "x" * 10 + "." * 15 + "x" * 20 + "." * 5


def test_the_level_of_the_recording_does_not_matter() -> None:
    words = voice(4, noise=0.001)
    assert np.array_equal(speech_activity(words), speech_activity(words * np.float32(0.1)))


def test_words_are_active_and_pauses_are_not() -> None:
    # Words from 0.2 to 0.8 s, 1.0 to 1.6 s, and so on: 5 frames of pause, 15 of speech.
    assert activity(voice(4, noise=0.001)) == ("." * 5 + "x" * 15) * 5


def test_stops_within_a_word_are_speech_and_longer_holes_are_not() -> None:
    parts = [hiss(10, 1e-3), tone(10, 0.1), hiss(3, 1e-3), tone(10, 0.1), hiss(4, 1e-3), tone(10, 0.1)]
    assert activity(*parts, hiss(10, 1e-3)) == "." * 10 + "x" * 23 + "." * 4 + "x" * 10 + "." * 10


def test_a_click_is_no_word() -> None:
    sound = voice(4, noise=0.001)
    sound[2 * N : 2 * N + 100] = 0.5
    assert activity(sound).startswith(".....x")


@pytest.mark.parametrize("level", [0.0, 1e-4, 0.01, 0.3])
def test_constant_noise_holds_no_speech(level: float) -> None:
    assert "x" not in activity(hiss(100, level))


def test_rumbling_holds_no_speech() -> None:
    # Brownian noise, whose level at a few hertz wanders by tens of decibels.
    steps = np.random.default_rng(0).standard_normal(100 * N)
    rumble = np.convolve(steps, 0.999 ** np.arange(4000), "same")
    assert "x" not in activity(0.1 * rumble / np.abs(rumble).max())


def test_speech_in_loud_noise_is_still_found() -> None:
    noisy = voice(8, noise=0.03)  # 10 dB below the words
    truth = np.array([False] * 5 + [True] * 15).tolist() * 10
    assert (speech_activity(noisy) == truth).mean() > 0.85


def test_padding_with_digital_silence_moves_no_threshold() -> None:
    words = voice(4, noise=0.003)
    padded = np.concatenate([np.zeros(200 * N, np.float32), words])
    assert np.array_equal(speech_activity(padded)[200:], speech_activity(words))
    assert not speech_activity(padded)[:200].any()


@pytest.mark.parametrize("length", [0, 1, N - 1])
def test_less_than_a_frame_is_nothing(length: int) -> None:
    assert len(speech_activity(np.ones(length, np.float32))) == 0


def test_a_started_frame_does_not_count() -> None:
    assert len(speech_activity(np.zeros(3 * N + N - 1, np.float32))) == 3


@settings(max_examples=60, deadline=None)
@given(
    runs=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    lengths=st.lists(st.integers(-1, 40), max_size=5),
    margin=st.integers(0, 8),
    seed=st.integers(0, 99),
)
def test_spans_are_disjoint_inside_active_and_of_the_lengths_asked_for(
    runs: list[int], lengths: list[int], margin: int, seed: int
) -> None:
    spoken = np.concatenate([np.full(run, k % 2 == 1) for k, run in enumerate(runs)])
    spans = place_spans(spoken, lengths, np.random.default_rng(seed), margin)
    assert spans == place_spans(spoken, lengths, np.random.default_rng(seed), margin)
    assert list(spans) == sorted(spans)
    left = list(lengths)
    for first, stop in spans:
        left.remove(stop - first)  # raises where a length was not asked for
        assert margin <= first < stop <= len(spoken) - margin
        assert spoken[first:stop].mean() >= 0.6
    assert all(first - stop >= margin for (_, stop), (first, _) in pairwise(spans))


def test_every_length_is_placed_where_there_is_room() -> None:
    for seed in range(10):
        spans = place_spans(np.ones(300, bool), [12, 30, 8], np.random.default_rng(seed))
        assert sorted(stop - first for first, stop in spans) == [8, 12, 30]


def test_spans_begin_at_a_word_that_is_near() -> None:
    spoken = np.tile([False] * 5 + [True] * 12, 20)
    onsets = set(range(5, 340, 17))
    starts = [place_spans(spoken, [10], np.random.default_rng(seed))[0][0] for seed in range(50)]
    # No place is farther than NEAR frames from an onset here, so that every span can begin at one.
    assert NEAR == 8
    assert set(starts) <= onsets
    assert len(set(starts)) > 10


def test_spans_far_from_a_pause_begin_anywhere() -> None:
    spoken = np.concatenate([np.zeros(10, bool), np.ones(190, bool)])
    starts = {place_spans(spoken, [10], np.random.default_rng(seed))[0][0] for seed in range(60)}
    assert len(starts) > 25
    assert not starts & set(range(11, 19)), "near the onset they move to it"


@pytest.mark.parametrize(
    ("spoken", "lengths"),
    [
        (np.ones(17, bool), [8]),  # 17 less two margins of 5 leaves 7
        (np.zeros(100, bool), [8]),
        (np.zeros(0, bool), [8]),
        (np.ones(100, bool), []),
        (np.ones(100, bool), [0, -3, 500]),
    ],
)
def test_nothing_is_placed_where_nothing_fits(spoken: np.ndarray, lengths: list[int]) -> None:
    assert place_spans(spoken, lengths, np.random.default_rng(0)) == ()


def test_what_fits_exactly_is_placed() -> None:
    assert place_spans(np.ones(18, bool), [8], np.random.default_rng(0)) == ((5, 13),)
    # Six active frames of ten are enough, five are not.
    spoken = np.array([False] * 4 + [True] * 6)
    assert place_spans(spoken, [10], np.random.default_rng(0), margin=0) == ((0, 10),)
    spoken[9] = False
    assert place_spans(spoken, [10], np.random.default_rng(0), margin=0) == ()
