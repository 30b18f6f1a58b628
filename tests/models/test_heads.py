"""Seven heads and top-k pooling."""

from __future__ import annotations

import torch
from model_factory import DIM

from configs.schema import HeadsConfig
from models.heads import HEADS, Head, Heads, topk_mean


def test_topk_mean_by_hand() -> None:
    scores = torch.tensor(
        [
            [[1.0, 0.0], [5.0, -1.0], [3.0, -2.0], [2.0, -3.0], [9.0, 9.0]],  # four valid steps: k = 2
            [[7.0, -4.0], [6.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]],  # two valid steps: k = 1
        ]
    )
    mask = torch.tensor([[True, True, True, True, False], [True, True, False, False, False]])
    # first video: (5 + 3) / 2 and (0 - 1) / 2, each class from its own steps; the invalid 9 is out
    assert topk_mean(scores, mask, divisor=2).tolist() == [[4.0, -0.5], [7.0, 1.0]]


def test_topk_is_at_least_one_step_and_rounds_down() -> None:
    scores = torch.arange(7.0).view(1, 7, 1)
    valid = torch.ones(1, 7, dtype=torch.bool)
    assert topk_mean(scores, valid, divisor=8).item() == 6.0  # 7 // 8 = 0, hence one
    assert topk_mean(scores, valid, divisor=3).item() == 5.5  # 7 // 3 = 2


def test_topk_of_nothing_is_zero_with_a_finite_gradient() -> None:
    scores = torch.randn(1, 4, 2, requires_grad=True)
    pooled = topk_mean(scores, torch.zeros(1, 4, dtype=torch.bool), 2)
    assert pooled.tolist() == [[0.0, 0.0]]
    pooled.sum().backward()
    assert scores.grad is not None
    assert (scores.grad == 0).all()


def test_gradient_reaches_the_chosen_steps_in_equal_parts() -> None:
    scores = torch.tensor([[[1.0], [4.0], [3.0], [2.0]]], requires_grad=True)
    topk_mean(scores, torch.ones(1, 4, dtype=torch.bool), 2).sum().backward()
    assert scores.grad is not None
    assert scores.grad.flatten().tolist() == [0.0, 0.5, 0.5, 0.0]


def test_head_by_hand() -> None:
    head = Head(1, 2, HeadsConfig(hidden=1, dropout=0.0))
    with torch.no_grad():
        head.hidden.weight.fill_(1.0)
        head.hidden.bias.fill_(-4.0)
        head.out.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        head.out.bias.copy_(torch.tensor([0.5, 0.0]))
    x = torch.tensor([[[1.0], [2.0], [3.0], [50.0]]])
    out = head(x, torch.tensor([[True, True, True, False]]))
    # sums of three minus 4: -1, 2, 1, -1 (the masked 50 counts as 0); ReLU; class 1 stays negative
    assert out[0].tolist() == [[0.5, 0.0], [2.5, -2.0], [1.5, -1.0], [0.5, 0.0]]


def test_seven_heads_and_their_classes() -> None:
    heads = Heads(DIM, HeadsConfig(hidden=4))
    widths = {"fused": 4 * DIM, "visual": 2 * DIM, "audio": 2 * DIM}
    streams = {name: torch.randn(2, 3, widths.get(name, DIM)) for name in HEADS}
    logits = heads(streams, {name: torch.ones(2, 3, dtype=torch.bool) for name in HEADS})
    assert {name: tuple(x.shape) for name, x in logits.items()} == {
        "fused": (2, 3, 4),
        "visual": (2, 3, 2),
        "audio": (2, 3, 2),
        "visual_original": (2, 3, 2),
        "visual_rebuilt": (2, 3, 2),
        "audio_original": (2, 3, 2),
        "audio_rebuilt": (2, 3, 2),
    }
