"""Points, losses and segments of the detectors: numbers by hand, and oracles that share no code with them."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from models.baselines.points import assign, diou, focal, overlap, ranges, soft_nms, tiou, vote


def grid(steps: int, levels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points, strides and limits of a pyramid over `steps` steps."""
    places, strides, limits = [], [], []
    for level, limit in enumerate(ranges(levels)):
        for k in range(math.ceil(steps / 2**level)):
            places.append(float(k * 2**level))
            strides.append(float(2**level))
            limits.append(limit)
    return torch.tensor(places), torch.tensor(strides), torch.tensor(limits)


def test_levels_regress_distances_that_double() -> None:
    assert ranges(6) == [(0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, math.inf)]
    assert ranges(1) == [(0, math.inf)]


def test_points_near_the_centre_and_of_the_right_level_are_positive() -> None:
    points, strides, limits = grid(16, 3)
    positive, offsets = assign(points, strides, limits, torch.tensor([[4.0, 10.0]]), 1.5)
    # The centre is 7. Stride 1: 6, 7 and 8 lie within 1.5, but only 7's farther boundary is not beyond 4: 3.
    # 6 and 8 are 4 from the farther boundary, which both the first level (0 to 4) and the second (4 to 8) take.
    # Stride 2: within 3 lie 6 and 8 (4 and 10 not); stride 4: reach 6, but no distance reaches 8.
    found = [(float(p), float(s)) for p, s, yes in zip(points, strides, positive, strict=True) if yes]
    assert found == [(6, 1), (7, 1), (8, 1), (6, 2), (8, 2)]
    assert offsets[positive].tolist() == [[2, 4], [3, 3], [4, 2], [1, 2], [2, 1]]


def test_of_two_segments_the_shorter_one_counts_and_none_gives_none() -> None:
    points, strides, limits = grid(8, 1)
    positive, offsets = assign(points, strides, limits, torch.tensor([[0.0, 7.0], [3.0, 5.0]]), 1.5)
    assert positive.nonzero().flatten().tolist() == [3, 4]  # 2 and 5 are farther than 1.5 from both centres
    assert offsets[4].tolist() == [1, 1]
    assert offsets[3].tolist() == [3, 4]  # on the bound of the shorter one, which is not inside it
    positive, _ = assign(points, strides, limits, torch.zeros(0, 2), 1.5)
    assert not positive.any()


def test_assignment_agrees_with_a_loop_over_points_and_segments() -> None:
    generator = torch.Generator().manual_seed(0)
    points, strides, limits = grid(64, 5)
    some = 0
    for _ in range(20):
        start = torch.rand(3, generator=generator) * 50
        segments = torch.stack([start, start + 0.5 + 14 * torch.rand(3, generator=generator)], dim=1)
        positive, offsets = assign(points, strides, limits, segments, 1.5)
        for k, (p, s, (low, high)) in enumerate(
            zip(points.tolist(), strides.tolist(), limits.tolist(), strict=True)
        ):
            fitting = []
            for a, b in segments.tolist():
                near = abs(p - (a + b) / 2) < 1.5 * s
                if near and a < p < b and low <= max(p - a, b - p) <= high:
                    fitting.append((b - a, (p - a) / s, (b - p) / s))
            assert bool(positive[k]) == bool(fitting)
            if fitting:
                some += 1
                assert offsets[k].tolist() == pytest.approx(min(fitting)[1:], abs=1e-4)
    assert some > 100


def test_focal_loss_is_that_of_torchvision() -> None:
    logits = torch.linspace(-6, 6, 49)
    for target in (0.0, 1.0, 0.05, 0.95):
        targets = torch.full_like(logits, target)
        torch.testing.assert_close(focal(logits, targets), sigmoid_focal_loss(logits, targets))
    # by hand: p = 1/2, target 1: 0.25 * (1/2)^2 * ln 2
    assert float(focal(torch.zeros(1), torch.ones(1))) == pytest.approx(0.0625 * math.log(2))


def test_diou_by_hand() -> None:
    # [-2, 2] against [-1, 4]: 3 shared of a union of 6; centres 0 and 1.5 apart, hull 6
    found, wanted = torch.tensor([[2.0, 2.0]]), torch.tensor([[1.0, 4.0]])
    assert float(overlap(found, wanted)) == pytest.approx(0.5)
    assert float(diou(found, wanted)) == pytest.approx(1 - 0.5 + (1.5 / 6) ** 2)
    assert float(diou(wanted, wanted)) == pytest.approx(0, abs=1e-6)


def test_soft_nms_by_hand_and_by_a_loop() -> None:
    segments, scores = torch.tensor([[0.0, 4.0], [2.0, 6.0], [10.0, 12.0]]), torch.tensor([0.9, 0.8, 0.3])
    kept, values = soft_nms(segments, scores, sigma=0.75, floor=1e-3, most=10)
    # IoU of the first two is 2 / 6
    assert values.tolist() == pytest.approx([0.9, 0.8 * math.exp(-((1 / 3) ** 2) / 0.75), 0.3])
    assert torch.equal(kept, segments)
    assert len(soft_nms(segments, scores, 0.75, 1e-3, most=2)[0]) == 2
    assert len(soft_nms(segments, scores, 0.75, 0.5, most=10)[0]) == 2

    generator = torch.Generator().manual_seed(1)
    start = torch.rand(30, generator=generator) * 20
    segments = torch.stack([start, start + 1 + 5 * torch.rand(30, generator=generator)], dim=1)
    scores = torch.rand(30, generator=generator)
    rows = [[s, a, b] for s, (a, b) in zip(scores.tolist(), segments.tolist(), strict=True)]
    expected = []
    while rows:
        rows.sort(reverse=True)
        best = rows.pop(0)
        expected.append(best)
        for row in rows:
            shared = max(0.0, min(best[2], row[2]) - max(best[1], row[1]))
            iou = shared / (best[2] - best[1] + row[2] - row[1] - shared)
            row[0] *= math.exp(-(iou**2) / 0.5)
        rows = [row for row in rows if row[0] >= 0.01]
    kept, values = soft_nms(segments, scores, 0.5, 0.01, 100)
    assert torch.cat([values.unsqueeze(1), kept], dim=1).tolist() == [
        pytest.approx(row, abs=1e-5) for row in expected
    ]


def test_boundaries_are_voted_on_by_those_that_overlap_most() -> None:
    candidates, scores = torch.tensor([[0.0, 10.0], [1.0, 10.0], [5.0, 10.0]]), torch.tensor([0.5, 1.0, 1.0])
    (found,) = vote(candidates[:1], candidates, scores, 0.9)
    # the second overlaps by 0.9, with weight 0.9; the first votes for itself with 0.5
    assert found.tolist() == pytest.approx([0.9 / 1.4, 10.0])
    assert torch.equal(
        vote(torch.tensor([[20.0, 21.0]]), candidates, scores, 0.9), torch.tensor([[20.0, 21.0]])
    )
    assert vote(candidates[:0], candidates, scores, 0.9).shape == (0, 2)
    assert float(tiou(candidates[0], candidates[1:2])) == pytest.approx(0.9)
