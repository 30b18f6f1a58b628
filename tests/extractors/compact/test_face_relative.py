"""Measures of faces less what is usual in their clip, by hand."""

from __future__ import annotations

import pytest
import torch

from extractors.compact.face_traces import (
    BLOCK,
    BLOCKS,
    relative,
)


def rising() -> torch.Tensor:
    """One measure of 20 blocks, the k-th of which holds k."""
    return torch.arange(20.0).repeat_interleave(BLOCK).view(1, -1, 1)


def everywhere(x: torch.Tensor) -> torch.Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool)


def test_measures_are_less_the_median_of_all_and_of_the_blocks_around() -> None:
    x = rising()
    left = relative(x, everywhere(x))[0, ::BLOCK].T
    assert BLOCKS == 11
    # The lower median of 0 to 19, five times each, is 9.
    assert left[0].tolist() == [float(k - 9) for k in range(20)]
    # Around block 0 lie blocks 0 to 5, whose lower median is 2; around 1 lie 0 to 6, and 3; around 19 lie 14 to 19.
    assert left[1].tolist() == [-2, -2, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3]


def test_what_all_steps_share_is_gone() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 83, 3)
    shared = torch.randn(2, 1, 3)
    assert torch.allclose(relative(x, everywhere(x)), relative(x + shared, everywhere(x)), atol=1e-5)


@pytest.mark.parametrize("held", [torch.nan, torch.inf, 1e6])
def test_invalid_steps_count_for_nothing_and_are_zero(held: float) -> None:
    x = rising()
    valid = everywhere(x)
    valid[0, 40:60] = False  # blocks 8 to 11
    spoilt = x.clone()
    spoilt[0, 40:60] = held
    left = relative(spoilt, valid)
    assert not left[0, 40:60].any()
    # Of the other 80 the lower median is 7. Block 7 has 2 to 7 and 12 around it: 5.
    assert left[0, 35].tolist() == [0, 2]


def test_a_value_that_is_no_number_counts_for_nothing() -> None:
    x = rising()
    spoilt = x.clone()
    spoilt[0, 52] = torch.nan
    left, plain = relative(spoilt, everywhere(x)), relative(x, everywhere(x))
    assert left[0, 52].tolist() == [0, 0]
    others = torch.arange(100) != 52
    assert torch.equal(left[0, others], plain[0, others])


def test_a_last_block_that_is_not_full_has_the_mean_of_what_there_is() -> None:
    # Blocks: 0 0 0 0 0 | 6 8, with means 0 and 7, whose lower median is 0; three of them would have 7 in the middle.
    x = torch.tensor([0.0] * 5 + [6.0, 8.0]).view(1, 7, 1)
    assert relative(x, everywhere(x))[0, :, 1].tolist() == [0, 0, 0, 0, 0, 6, 8]
    x = torch.tensor([0.0] * 5 + [9.0] * 5 + [6.0, 8.0]).view(1, 12, 1)
    assert relative(x, everywhere(x))[0, :, 1].tolist() == [-7] * 5 + [2] * 5 + [-1, 1]


def test_nothing_valid_gives_zeros() -> None:
    assert not relative(torch.ones(1, 7, 2), torch.zeros(1, 7, dtype=torch.bool)).any()
