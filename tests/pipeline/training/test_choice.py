"""Models of choice: by hand where there is a formula, against an optimiser that knows nothing of it elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.training.choice import choice, standardised


def test_a_constant_alone_has_the_log_odds_of_the_shares() -> None:
    rows, targets = np.ones((8, 1)), np.array([1.0, 1, 1, 1, 1, 1, 0, 0])
    found = choice(rows, targets, np.ones(8), np.zeros(1), np.zeros(1))
    assert found == pytest.approx([math.log(3)])


def test_weights_say_how_often_a_set_counts() -> None:
    found = choice(np.ones((2, 1)), np.array([1.0, 0.0]), np.array([6.0, 2.0]), np.zeros(1), np.zeros(1))
    assert found == pytest.approx([math.log(3)])


def test_of_several_options_each_has_its_odds_against_none() -> None:
    # Two options and none: 2 of 4 sets choose the first, 1 the second, 1 none. Odds of 2 and 1 against none.
    rows = np.tile(np.eye(2), (4, 1))
    targets = np.array([1.0, 0, 1, 0, 0, 1, 0, 0])
    found = choice(rows, targets, np.ones(4), np.zeros(2), np.zeros(2), [2, 2, 2, 2])
    assert found == pytest.approx([math.log(2), 0.0], abs=1e-6)


def test_an_option_may_be_true_in_part() -> None:
    rows = np.tile(np.eye(2), (4, 1))
    targets = np.tile([0.5, 0.25], 4)
    found = choice(rows, targets, np.ones(4), np.zeros(2), np.zeros(2), [2, 2, 2, 2])
    assert found == pytest.approx([math.log(2), 0.0], abs=1e-6)


def test_a_penalty_holds_a_weight_at_its_prior() -> None:
    rows, targets = np.ones((4, 1)), np.array([1.0, 1, 1, 0])
    for strength, expected in ((0.0, math.log(3)), (1e9, 2.0)):
        found = choice(rows, targets, np.ones(4), np.array([2.0]), np.array([strength]))
        assert found == pytest.approx([expected], abs=1e-3)
    # Where the slope is zero: 4 σ(b) - 3 + 2 (b - 0) = 0.
    (b,) = choice(rows, targets, np.ones(4), np.zeros(1), np.array([2.0]))
    assert 4 / (1 + math.exp(-b)) - 3 + 2 * b == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("sizes", [None, [3, 1, 5, 2, 9, 4, 6]])
def test_an_optimiser_that_knows_only_the_loss_agrees(sizes: list[int] | None) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 4)) * [1, 5, 0.1, 2]
    targets = np.zeros(30)
    counts = sizes or [1] * 30
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    for k, (at, size) in enumerate(zip(first, counts, strict=True)):
        if k % 2:
            targets[at : at + size] = rng.dirichlet(np.ones(size))
    weights, penalty = rng.random(len(counts)) + 0.5, np.array([0.5, 1.0, 2.0, 0.1])
    found = choice(rows, targets, weights, np.zeros(4), penalty, sizes)

    x, t, w = (torch.tensor(array, dtype=torch.float64) for array in (rows, targets, weights))
    point = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([point], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (torch.tensor(penalty) * point**2).sum() / 2
        for k, (at, size) in enumerate(zip(first.tolist(), counts, strict=True)):
            z = x[at : at + size] @ point
            none = torch.zeros(1, dtype=torch.float64)
            loss = loss + w[k] * (torch.logsumexp(torch.cat([z, none]), 0) - t[at : at + size] @ z)
        loss.backward()
        return loss

    for _ in range(20):
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    assert found == pytest.approx(point.detach().numpy(), abs=1e-4)


def test_sets_that_can_be_told_apart_give_finite_weights() -> None:
    rows = np.stack([np.ones(20), np.repeat([-1e6, 1e6], 10)], axis=1)
    found = standardised(rows, np.repeat([0.0, 1.0], 10), np.ones(20))
    assert np.isfinite(found).all()
    assert found[1] > 0


def test_units_do_not_matter_and_what_does_not_vary_has_no_weight() -> None:
    rng = np.random.default_rng(1)
    targets = (rng.random(60) < 0.5).astype(float)
    plain = np.stack([np.ones(60), rng.normal(size=60) + targets, np.full(60, 7.0)], axis=1)
    scaled = plain * [1, 1000, 1] + [0, 50, 0]
    one, other = (standardised(rows, targets, np.ones(60)) for rows in (plain, scaled))
    assert plain @ one == pytest.approx(scaled @ other, abs=1e-6)
    assert one[2] == 0.0
