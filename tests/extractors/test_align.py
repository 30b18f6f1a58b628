"""Pooling by time: hand-worked grids, equality with adaptive pooling, holes, and cuts that change nothing."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from extractors.align import GridPooler, GridSteps
from extractors.paper.wav2vec2 import AudioSteps


def pool_to_grid(batches: Iterable[AudioSteps], fps: Fraction | int = 25) -> list[GridSteps]:
    """What a `GridPooler` makes of a whole sequence."""
    pooler = GridPooler(fps)
    return [*(part for batch in batches for part in pooler.push(batch)), *pooler.finish()]


def pool_array(
    values: NDArray[np.float32], valid: NDArray[np.bool_] | None = None, fps: Fraction | int = 25
) -> GridSteps:
    """`pool_to_grid` of a whole sequence (N, C) that starts at audio step 0; `valid` (N,) defaults to all."""
    flags = valid if valid is not None else np.ones(len(values), np.bool_)
    parts = pool_to_grid([AudioSteps(0, values, flags)], fps)
    if not parts:
        return GridSteps(0, np.empty((0, values.shape[1]), np.float16), np.empty(0, np.bool_))
    return GridSteps(0, np.concatenate([p.values for p in parts]), np.concatenate([p.valid for p in parts]))


def steps(values: np.ndarray, valid: np.ndarray | None = None, first: int = 0) -> AudioSteps:
    flags = valid if valid is not None else np.ones(len(values), bool)
    return AudioSteps(first, values.astype(np.float32), flags)


def joined(parts: list[GridSteps]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([p.values for p in parts]), np.concatenate([p.valid for p in parts])


def test_two_audio_steps_make_one_visual_step() -> None:
    # Centres (320k + 200) / 16000 = 0.0125, 0.0325, 0.0525, 0.0725, 0.0925 s; visual steps end at 0.04, 0.08, 0.12 s.
    pooled = pool_array(np.array([[1.0], [2.0], [3.0], [5.0], [8.0]], np.float32))
    assert pooled.values.tolist() == [[1.5], [4.0], [8.0]]
    assert pooled.valid.tolist() == [True, True, True]
    assert pooled.values.dtype == np.float16


def test_uneven_rates_follow_the_centres() -> None:
    # 30 fps: steps end at 33.3, 66.7, 100 ms; centres 12.5 32.5 | 52.5 | 72.5 92.5 ms.
    pooled = pool_array(np.array([[1.0], [2.0], [3.0], [5.0], [8.0]], np.float32), fps=30)
    assert pooled.values.tolist() == [[1.5], [3.0], [6.5]]


def test_fractional_frame_rate_is_exact_after_an_hour() -> None:
    # 30000/1001 fps. Audio step 179 999 is centred on sample 57 599 880, at 3599.9925 s: step floor(107891.88...).
    # The step before it is centred 20 ms earlier, at 3599.9725 s: floor(107891.28...), the same visual step.
    n = 180_000
    pooled = pool_array(np.ones((n, 1), np.float32), fps=Fraction(30_000, 1001))
    assert (320 * (n - 1) + 200) * 30_000 // (16_000 * 1001) == 107_891
    assert len(pooled.values) == 107_892
    assert pooled.valid.all()


@pytest.mark.parametrize("grid", [1, 2, 25, 173])
def test_equals_adaptive_average_pooling_over_equal_spans(grid: int) -> None:
    # Values in eighths keep every mean exact in float16, so that the comparison may be exact.
    values = np.random.default_rng(grid).integers(-800, 800, (2 * grid, 6)).astype(np.float32) / 8
    expected = torch.nn.AdaptiveAvgPool1d(grid)(torch.from_numpy(values.T)[None])[0].numpy().T
    pooled = pool_array(values)
    assert np.array_equal(pooled.values.astype(np.float32), expected)


def test_invalid_audio_steps_are_left_out() -> None:
    values = np.array([[1.0], [100.0], [100.0], [100.0], [7.0], [9.0]], np.float32)
    valid = np.array([True, False, False, False, True, True])
    pooled = pool_array(values, valid)
    assert pooled.values.tolist() == [[1.0], [0.0], [8.0]]
    assert pooled.valid.tolist() == [True, False, True]


def test_grid_steps_between_audio_centres_are_invalid() -> None:
    # 100 fps: 10 ms steps; centres 12.5 and 32.5 ms fall into steps 1 and 3.
    pooled = pool_array(np.array([[2.0], [4.0]], np.float32), fps=100)
    assert pooled.valid.tolist() == [False, True, False, True]
    assert pooled.values.flatten().tolist() == [0.0, 2.0, 0.0, 4.0]


def test_audio_that_begins_later_keeps_its_place() -> None:
    # Audio step 100 is centred on sample 32 200 = 2.0125 s, in visual step 50.
    parts = pool_to_grid([steps(np.array([[1.0], [3.0], [5.0]]), first=100)])
    assert parts[0].first == 50
    assert joined(parts)[0].tolist() == [[2.0], [5.0]]


def test_a_step_shared_by_two_batches_is_averaged_once() -> None:
    parts = pool_to_grid([steps(np.array([[1.0]])), steps(np.array([[2.0], [9.0]]), first=1)])
    assert joined(parts)[0].tolist() == [[1.5], [9.0]]
    assert [p.first for p in parts] == [0, 1]


def test_no_audio_gives_no_steps() -> None:
    assert pool_to_grid([]) == []
    assert pool_to_grid([steps(np.empty((0, 3)))]) == []
    assert pool_array(np.empty((0, 3), np.float32)).values.shape == (0, 3)


def test_batches_that_leave_a_hole_are_refused() -> None:
    with pytest.raises(ValueError, match="expected step 2, got 3"):
        pool_to_grid([steps(np.ones((2, 1))), steps(np.ones((2, 1)), first=3)])


def test_a_grid_step_is_given_out_once_later_audio_cannot_change_it() -> None:
    # Two audio steps a grid step: the second one may always have a successor, except at the end.
    pooler = GridPooler()
    assert pooler.push(steps(np.array([[1.0], [2.0]]))) == []
    (first,) = pooler.push(steps(np.array([[3.0]]), first=2))
    assert (first.first, first.values.tolist()) == (0, [[1.5]])
    (last,) = pooler.finish()
    assert (last.first, last.values.tolist()) == (1, [[3.0]])


def test_a_pooler_that_got_nothing_has_nothing_to_finish() -> None:
    assert GridPooler().finish() == []


@given(
    cuts=st.lists(st.integers(0, 61), max_size=8),
    fps=st.sampled_from([Fraction(25), Fraction(30_000, 1001), Fraction(12), Fraction(60)]),
    seed=st.integers(0, 99),
)
def test_cuts_never_change_a_bit(cuts: list[int], fps: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, valid = rng.standard_normal((61, 4)).astype(np.float32), rng.random(61) < 0.7
    whole = pool_array(values, valid, fps)
    edges = [0, *sorted(cuts), 61]
    batches = [steps(values[a:b], valid[a:b], a) for a, b in pairwise(edges)]
    parts = pool_to_grid(batches, fps)
    assert [p.first for p in parts] == np.cumsum([0, *(len(p.values) for p in parts)])[:-1].tolist()
    found_values, found_valid = joined(parts)
    assert np.array_equal(found_values, whole.values)
    assert np.array_equal(found_valid, whole.valid)


def test_every_mean_equals_a_plain_loop_over_time() -> None:
    rng = np.random.default_rng(4)
    values, valid = rng.standard_normal((97, 3)).astype(np.float32), rng.random(97) < 0.6
    pooled = pool_array(values, valid, fps=24)
    for j in range(len(pooled.values)):
        inside = [k for k in range(97) if valid[k] and j / 24 <= (320 * k + 200) / 16_000 < (j + 1) / 24]
        assert pooled.valid[j] == bool(inside)
        expected = values[inside].mean(axis=0) if inside else np.zeros(3)
        np.testing.assert_allclose(pooled.values[j], expected, rtol=2**-10, atol=1e-6)
