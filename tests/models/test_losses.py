"""Equations 2 and 3, the consistency term and the classification term, with numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from models.losses import aicl, classification, consistency, local_features, reconstruction

YES, NO = torch.tensor([True]), torch.tensor([False])


def pairs(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32)


# Video 0: masked steps 0 and 2 err by (1, 2) and (2, -2): squared norms 5 and 8, mean 6.5. Step 1 is visible.
# Video 1: masked step 1 errs by (0, 1): 1. Video 2 errs by (3, 3) everywhere: 18.
FEATURES = torch.stack(
    [pairs((1, 2), (9, 9), (3, 0)), pairs((5, 5), (0, 1), (5, 5)), torch.full((3, 2), 3.0)]
)
REBUILT = torch.stack([pairs((0, 0), (0, 0), (1, 2)), pairs((0, 0), (0, 0), (0, 0)), torch.zeros(3, 2)])
MASKED = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])


def test_eq_2_by_hand() -> None:
    one = reconstruction(FEATURES, REBUILT, MASKED, torch.tensor([True, False, False]), True)
    two = reconstruction(FEATURES, REBUILT, MASKED, torch.tensor([True, True, False]), True)
    assert one.item() == pytest.approx(6.5)
    assert two.item() == pytest.approx((6.5 + 1) / 2)


def test_eq_2_reaches_only_masked_steps_of_authentic_videos() -> None:
    rebuilt = REBUILT.clone().requires_grad_()
    reconstruction(FEATURES, rebuilt, MASKED, torch.tensor([True, False, False]), True).backward()
    assert rebuilt.grad is not None
    # d/dF̂ of ‖F - F̂‖² / 2 masked steps is F̂ - F
    torch.testing.assert_close(rebuilt.grad[0], pairs((-1, -2), (0, 0), (-2, 2)))
    assert (rebuilt.grad[1:] == 0).all()


def test_eq_2_leaves_its_target_alone_when_told_so() -> None:
    for stop, reached in ((True, False), (False, True)):
        features = FEATURES.clone().requires_grad_()
        rebuilt = REBUILT.clone().requires_grad_()
        reconstruction(features, rebuilt, MASKED, torch.tensor([True] * 3), stop).backward()
        assert (features.grad is not None) is reached


@pytest.mark.parametrize(
    ("masked", "authentic"), [(MASKED, torch.tensor([False] * 3)), (MASKED & False, torch.tensor([True] * 3))]
)
def test_eq_2_without_a_case_is_zero_with_a_graph(masked: torch.Tensor, authentic: torch.Tensor) -> None:
    rebuilt = REBUILT.clone().requires_grad_()
    loss = reconstruction(FEATURES, rebuilt, masked, authentic, True)
    loss.backward()
    assert loss.item() == 0
    assert rebuilt.grad is not None
    assert (rebuilt.grad == 0).all()


def test_a_video_without_masked_steps_does_not_thin_the_mean() -> None:
    masked = MASKED.clone()
    masked[1] = False
    assert reconstruction(FEATURES, REBUILT, masked, torch.tensor([True, True, False]), True).item() == 6.5


def test_local_feature_by_hand() -> None:
    # unit vectors: (1, 0), (0, 1), (0.6, 0.8), (-1, 0); errors rank 2, 0, 3, 1; step 2 is not eligible
    features = pairs((5, 0), (0, 2), (3, 4), (-7, 0)).unsqueeze(0)
    error = torch.tensor([[3.0, 1.0, 4.0, 2.0]])
    eligible = torch.tensor([[True, True, False, True]])
    top2 = local_features(features, error, eligible, 2)  # steps 0 and 3 cancel
    top3 = local_features(features, error, eligible, 3)  # and step 1: (0, 1) / 3
    top9 = local_features(features, error, eligible, 9)  # only three are eligible
    torch.testing.assert_close(top2, pairs((0.0, 0.0)))
    torch.testing.assert_close(top3, pairs((0.0, 1 / 3)))
    torch.testing.assert_close(top9, top3)


def test_local_feature_of_nothing_is_zero_with_finite_gradients() -> None:
    features = torch.zeros(1, 3, 2, requires_grad=True)
    local = local_features(features, torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.bool), 2)
    local.sum().backward()
    assert (local == 0).all()
    assert features.grad is not None
    assert (features.grad == 0).all()


# Authentic A (0,0), B (1,0), C (0,2); forged D (1,1), E (3,3). Squared distances:
# A: farthest authentic C 4, nearest forged D 2 -> 4 - 2 + m
# B: farthest authentic C 5, nearest forged D 1 -> 5 - 1 + m
# C: farthest authentic B 5, nearest forged D 2 -> 5 - 2 + m
LOCAL = pairs((0, 0), (1, 0), (0, 2), (1, 1), (3, 3))
FORGED = torch.tensor([False, False, False, True, True])
ALL = torch.ones(5, dtype=torch.bool)


@pytest.mark.parametrize(
    ("margin", "expected"),
    [(1.0, (3 + 5 + 4) / 3), (0.0, (2 + 4 + 3) / 3), (-3.0, (0 + 1 + 0) / 3), (-9.0, 0.0)],
)
def test_eq_3_by_hand(margin: float, expected: float) -> None:
    assert aicl(LOCAL, ALL, FORGED, margin).item() == pytest.approx(expected)


def test_eq_3_ignores_absent_videos() -> None:
    present = torch.tensor([True, True, False, False, True])  # A and B against E at 18 and 4 + 9 = 13
    assert aicl(LOCAL, present, FORGED, 20.0).item() == pytest.approx((1 - 18 + 20 + 1 - 13 + 20) / 2)


def test_eq_3_pulls_authentic_features_together_and_never_forged_ones() -> None:
    local = LOCAL.clone().requires_grad_()
    aicl(local, ALL, FORGED, 1.0).backward()
    assert local.grad is not None
    assert (local.grad[4] == 0).all()  # E is nobody's nearest: forged features are not drawn to one another
    # D is pushed away from A, B and C: descent direction 2/3 Σ (D - X) = 2/3 ((1,1) + (0,1) + (1,-1))
    torch.testing.assert_close(-local.grad[3], torch.tensor([4 / 3, 2 / 3]))


@pytest.mark.parametrize(
    "forged",
    [[False] * 5, [True] * 5, [False, True, True, True, True]],  # no negative, no anchor, no positive
)
def test_eq_3_without_a_triplet_is_zero_with_a_graph(forged: list[bool]) -> None:
    local = LOCAL.clone().requires_grad_()
    loss = aicl(local, ALL, torch.tensor(forged), 1.0)
    loss.backward()
    assert loss.item() == 0
    assert local.grad is not None
    assert (local.grad == 0).all()


def test_eq_3_on_equal_features_has_finite_gradients() -> None:
    local = torch.ones(4, 3, requires_grad=True)
    loss = aicl(local, torch.ones(4, dtype=torch.bool), torch.tensor([False, False, True, True]), 1.0)
    loss.backward()
    assert loss.item() == 1.0  # 0 - 0 + m
    assert local.grad is not None
    assert local.grad.isfinite().all()


# KL((1/2, 1/2) ‖ (1/4, 3/4)) = ½ ln 2 + ½ ln ⅔ = ½ ln 4/3; reversed ¼ ln ½ + ¾ ln 3/2
HALVES, QUARTERS = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, math.log(3.0)]])
FORWARD = 0.5 * math.log(4 / 3)
BACKWARD = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)


def test_consistency_is_kl_of_original_against_rebuilt() -> None:
    assert consistency(HALVES, QUARTERS, YES, False).item() == pytest.approx(FORWARD, abs=1e-6)
    assert consistency(QUARTERS, HALVES, YES, False).item() == pytest.approx(BACKWARD, abs=1e-6)
    assert pytest.approx(BACKWARD, abs=1e-3) != FORWARD  # the direction shows


def test_symmetric_consistency_averages_both_directions() -> None:
    expected = pytest.approx((FORWARD + BACKWARD) / 2, abs=1e-6)
    assert consistency(HALVES, QUARTERS, YES, True).item() == expected
    assert consistency(QUARTERS, HALVES, YES, True).item() == expected


def test_consistency_averages_the_present_videos() -> None:
    original, rebuilt = HALVES.repeat(3, 1), torch.cat([QUARTERS, HALVES, QUARTERS * 50])
    present = torch.tensor([True, True, False])
    assert consistency(original, rebuilt, present, False).item() == pytest.approx(FORWARD / 2, abs=1e-6)
    assert consistency(original, rebuilt, present & False, False).item() == 0


def test_consistency_of_certain_opposites_is_finite() -> None:
    sure = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = consistency(sure, -sure.detach(), YES, True)
    loss.backward()
    assert loss.isfinite()
    assert sure.grad is not None
    assert sure.grad.isfinite().all()


def test_classification_is_cross_entropy_of_present_videos() -> None:
    pooled = torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(3.0)], [50.0, 0.0]])
    target = torch.tensor([1, 0, 1])
    present = torch.tensor([True, True, False])
    # probabilities (1/4, 3/4): -ln 3/4 and -ln 1/4
    expected = (math.log(4 / 3) + math.log(4)) / 2
    assert classification(pooled, target, present).item() == pytest.approx(expected, abs=1e-6)
    assert classification(pooled[:1], target[:1], NO).item() == 0


def test_cross_entropy_pulls_harder_where_the_model_is_surely_wrong() -> None:
    pooled = torch.tensor([[8.0, 0.0]], requires_grad=True)
    classification(pooled, torch.tensor([1]), YES).backward()
    other = torch.tensor([[8.0, 0.0]], requires_grad=True)
    (F.softmax(other, dim=-1) - torch.tensor([[0.0, 1.0]])).square().mean().backward()  # MDP's term
    assert pooled.grad is not None
    assert other.grad is not None
    assert pooled.grad.abs().max() > 0.99
    assert other.grad.abs().max() < 0.01
