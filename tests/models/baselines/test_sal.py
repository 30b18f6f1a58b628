"""SAL: every term by hand or against torch's own; what its scores claim; what it learns and what it may not."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from method_checks import (
    check_absent_tracks,
    check_determinism,
    check_learning,
    check_odd_batch,
    check_padding_of_losses,
    check_padding_of_scores,
)
from model_factory import random_batch, tiny_config
from torch.nn import functional as F

from configs.schema import ModelConfig
from configs.weak import SalConfig
from models.baselines.sal import (
    SAL,
    from_uniform,
    fused,
    generalised,
    pooled_by,
    second_order,
    trust,
    weighed,
)
from models.weights import build


def tiny(seed: int = 0, **settings: float) -> SAL:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(tiny_config(method="sal", sal=SalConfig(**{"dropout": 0.0, **settings})))
    assert isinstance(model, SAL)
    return model


def test_second_order_by_hand() -> None:
    embedding = torch.tensor([[[1.0, 2.0], [3.0, -1.0], [0.0, 0.0]]])
    found = second_order(embedding, torch.tensor([[True, True, False]]))
    # sums of products 10, -1, -1, 5 over 2²; roots 1.5811, -0.5, -0.5, 1.1180; length √(2.5 + ¼ + ¼ + 1.25)
    root = math.sqrt(4.25)
    expected = [math.sqrt(2.5) / root, -0.5 / root, -0.5 / root, math.sqrt(1.25) / root]
    assert found[0].tolist() == pytest.approx(expected, abs=1e-4)


def test_second_order_of_nothing_is_zero_with_a_finite_gradient() -> None:
    embedding = torch.zeros(1, 3, 2, requires_grad=True)
    found = second_order(embedding, torch.zeros(1, 3, dtype=torch.bool))
    found.sum().backward()
    assert (found == 0).all()
    assert embedding.grad is not None
    assert embedding.grad.isfinite().all()


def test_generalised_cross_entropy_by_hand() -> None:
    curve = torch.tensor([[0.25, 0.64, 0.75, 0.9]])
    chosen = torch.tensor([[True, True, False, True]])
    mask = torch.tensor([[True, True, True, False]])
    sure = torch.tensor([[1.0, 0.5, 1.0, 1.0]])
    # positives: (1 - 0.5) / 0.5 and half of (1 - 0.8) / 0.5; the negative: (1 - √(1 - 0.75)) / 0.5
    expected = (1 + 0.2) / 2 + 1.0
    assert generalised(curve, chosen, sure, mask, 0.5).item() == pytest.approx(expected)


def test_generalised_cross_entropy_tends_to_the_cross_entropy() -> None:
    curve = torch.tensor([[0.2, 0.7]])
    everywhere = torch.ones(1, 2, dtype=torch.bool)
    found = generalised(curve, everywhere, torch.ones(1, 2), everywhere, 1e-4)
    expected = F.binary_cross_entropy(curve, torch.ones(1, 2))
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=0)


def test_trust_by_hand() -> None:
    found = trust(torch.tensor([0.9, 0.6, 0.4]), torch.tensor(0.6), torch.tensor(0.04))
    # at the mean and above 1; a standard deviation of 0.2 below it exp(-0.04 / 0.02)
    assert found.tolist() == pytest.approx([1, 1, math.exp(-2)])


def test_running_mean_and_variance_move_in_training_only() -> None:
    model, batch = tiny(), random_batch([0, 3], 12)
    model.eval()
    model.losses(model(batch), batch)
    assert (model.centre.item(), model.spread.item()) == (0.5, 1.0)
    model.train()
    outputs = model(batch)
    model.losses(outputs, batch)
    sure = outputs.cas.softmax(dim=-1).amax(dim=-1)
    assert model.centre.item() == pytest.approx(0.7 * 0.5 + 0.3 * sure.mean().item())
    assert model.spread.item() == pytest.approx(0.7 + 0.3 * sure.var(unbiased=False).item())


def test_divergence_from_uniform_agrees_with_torch() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    uniform = torch.full((5, 3), 1 / 3)
    expected = F.kl_div(logits.log_softmax(dim=-1), uniform, reduction="none").sum(dim=-1)
    torch.testing.assert_close(from_uniform(logits), expected)
    assert from_uniform(torch.zeros(1, 2)).item() == pytest.approx(0)


def test_pooling_takes_the_steps_of_other_ranks() -> None:
    values = torch.tensor([[[1.0, 10], [2, 20], [3, 30], [4, 40]]])
    ranks = torch.tensor([[[9.0, 0], [8, 1], [0, 2], [9, 9]]])
    mask = torch.tensor([[True, True, True, False]])
    # k = 3 // 2 = 1; the last step is not valid
    assert pooled_by(values, ranks, mask, 2)[0].tolist() == [1, 30]
    assert pooled_by(values, ranks, mask, 1)[0].tolist() == [2, 20]


def test_scores_are_the_mean_of_what_a_step_has() -> None:
    batch = random_batch([0], 3)
    batch = dataclasses.replace(
        batch,
        visual_mask=torch.tensor([[True, True, False]]),
        audio_mask=torch.tensor([[True, False, False]]),
    )
    cas = torch.tensor([[[0.0, 0.0], [0.0, math.log(3)], [1.0, 1.0]]])
    visual, audio = torch.tensor([[0.4, 0.3, 0.0]]), torch.tensor([[0.9, 0.0, 0.0]])
    found = fused(cas, visual, audio, batch)[0, :, 1]
    assert found.tolist() == pytest.approx([(0.5 + 0.4 + 0.9) / 3, (0.75 + 0.3) / 2, 0])
    step = weighed(visual, audio, batch, 0.9)[0]
    assert step.tolist() == pytest.approx([0.9 * 0.9 + 0.1 * 0.4, 0.3, 0], abs=1e-6)


def test_pseudo_labels_are_steps_of_actionness_and_activation() -> None:
    model = tiny(topk_divisor=4, extra_share=0.25)
    outputs = model(random_batch([3], 8))
    step = torch.tensor([[9.0, 8, 7, 6, 1, 1, 1, 1]])  # most: 8 // 4 + 2 = 4 steps
    cas = torch.tensor([[[0.0, k] for k in (5.0, 0, 7, -9, 8, 6, 0, 0)]])  # half of them: 0, 2, 4 and 5
    chosen, _ = model._pseudo_labels(
        dataclasses.replace(outputs, step=step, cas=cas), torch.ones(1, 8, dtype=torch.bool)
    )
    assert chosen[0].nonzero().flatten().tolist() == [0, 2]


def test_total_is_the_sum_of_its_terms_and_every_weight_gets_a_gradient() -> None:
    model, batch = tiny().train(), random_batch([0, 1, 2, 3], 40)
    terms = model.losses(model(batch), batch)
    parts = [value for name, value in terms.items() if name != "total"]
    torch.testing.assert_close(terms["total"], torch.stack(parts).sum())
    assert all(value > 0 for value in parts)
    terms["total"].backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in model.parameters())


def test_weights_of_the_terms() -> None:
    batch = random_batch([0, 3], 12)
    one, other = (
        tiny(agreement=a, background=b, semantics=c) for a, b, c in ((1.0, 1.0, 1.0), (5.0, 10.0, 3.0))
    )
    first, second = (model.losses(model(batch), batch) for model in (one.eval(), other.eval()))
    for name, factor in (("agreement", 5), ("background", 10), ("semantics", 3), ("mil", 1)):
        torch.testing.assert_close(second[name], factor * first[name])


def test_the_video_has_a_third_of_the_activations_and_two_of_the_semantics() -> None:
    model, batch = tiny().eval(), random_batch([0, 3], 16)
    outputs = model(batch)
    found = fused(outputs.cas, outputs.visual, outputs.audio, batch)
    pooled = pooled_by(outputs.cas, found, torch.ones(2, 16, dtype=torch.bool), 8)
    torch.testing.assert_close(outputs.video, 0.35 * pooled + 0.65 * outputs.semantics[0])


def test_second_order_layer_is_as_large_as_published() -> None:
    with torch.device("meta"):
        full = SAL(ModelConfig(method="sal"))
    assert sum(p.numel() for p in full.describe.parameters()) == 134_218_240  # 134 M: 512² by 512, and biases


def test_what_every_method_stands() -> None:
    check_absent_tracks(tiny())
    check_padding_of_scores(tiny())
    check_padding_of_losses(tiny())
    check_determinism(tiny())


@pytest.mark.parametrize(("labels", "length"), [([0], 1), ([3], 1), ([0, 0], 3), ([1, 2, 3], 7)])
def test_odd_batches_train_without_nan(labels: list[int], length: int) -> None:
    check_odd_batch(tiny(), labels, length)


def test_it_learns_which_clips_are_forged_and_where_if_actionness_starts_well() -> None:
    """From other weights it may learn to rise at the other steps: see docs/decisions.md."""
    check_learning(tiny(seed=1), least_step_auc=0.95, least_video_auc=0.95)
    check_learning(tiny(seed=0), least_step_auc=0.0, least_video_auc=0.95)
