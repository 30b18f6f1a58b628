"""LOCO: its adapter, contrast and pseudo-labels by hand and against loops; it hears and does not see; it learns."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from method_checks import (
    area,
    check_determinism,
    check_odd_batch,
    check_padding_of_losses,
    check_padding_of_scores,
    lesson,
)
from model_factory import random_batch, tiny_config
from torch import nn
from torch.nn import functional as F

from configs.schema import ModelConfig
from models.baselines.loco import LOCO, Outputs, Residual, StepNorm, contrasted, probability, pseudo_labels
from models.weights import build


def tiny(seed: int = 0) -> LOCO:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(tiny_config(method="loco"))
    assert isinstance(model, LOCO)
    return model


def test_normalisation_is_torchs_over_the_valid_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 7, 5, generator=generator)
    mask = torch.rand(3, 7, generator=generator) > 0.4
    ours, theirs = StepNorm(5), nn.BatchNorm1d(5)
    found = ours(x, mask)
    torch.testing.assert_close(found[mask], theirs(x[mask]))
    assert (found[~mask] == 0).all()
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_one_valid_step_is_normalised_by_the_running_statistics() -> None:
    norm = StepNorm(2).train()
    found = norm(torch.tensor([[[3.0, -2.0]]]), torch.tensor([[True]]))
    assert found[0, 0].tolist() == pytest.approx([3, -2], abs=1e-3)
    assert norm(torch.zeros(1, 2, 2), torch.zeros(1, 2, dtype=torch.bool)).shape == (1, 2, 2)


def test_residual_block_agrees_with_its_layers_one_after_the_other() -> None:
    torch.manual_seed(0)
    block = Residual(2, 3)
    x = torch.randn(1, 2, 6, 4)
    y = F.pad(x, (1, 1, 1, 1))
    y = F.conv2d(y, block.first.weight, block.first.bias)
    y = F.batch_norm(y, None, None, training=True)
    y = F.conv2d(F.pad(F.selu(y), (1, 1)), block.second.weight, block.second.bias)
    expected = y + F.conv2d(F.pad(x, (1, 1)), block.skip.weight, block.skip.bias)  # type: ignore[arg-type,union-attr]
    torch.testing.assert_close(
        block.train()(x, torch.ones(1, 6, dtype=torch.bool)), expected, atol=1e-4, rtol=1e-4
    )


def test_adapter_has_the_published_widths() -> None:
    with torch.device("meta"):
        full = LOCO(ModelConfig(method="loco"))
    assert full.adapter.narrow.weight.shape == (128, 1024)
    shapes = [block.first.weight.shape for block in full.adapter.blocks]
    assert shapes == [
        (out, inward, 2, 3)
        for inward, out in zip((1, 32, 32, 64, 64, 128), (32, 32, 64, 64, 128, 128), strict=True)
    ]
    assert full.adapter.ask.weight.shape == (64, 128)
    assert full.adapter.weigh.weight.shape == (128, 64)
    found = tiny()(random_batch([0, 1], 9))
    assert found.steps.shape == (2, 9, 8)
    assert found.cas[0].shape == found.cas[1].shape == (2, 9, 2)


def test_pseudo_labels_by_hand() -> None:
    step = torch.tensor([[0.1, 0.9, 0.8, 0.2, 0.99], [0.3, 0.1, 0.5, 0.4, 0.0]])
    mask = torch.tensor([[True, True, True, True, False], [True] * 5])
    forged, authentic = pseudo_labels(step, mask, torch.tensor([True, False]), divisor=2)
    # k = 2 in both; of the authentic clip the steps that look most forged
    assert forged.int().tolist() == [[0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert authentic.int().tolist() == [[1, 0, 0, 1, 0], [0, 0, 1, 1, 0]]


def test_contrast_agrees_with_a_loop() -> None:
    """Oracle: the formula of supervised contrast, vector by vector."""
    generator = torch.Generator().manual_seed(2)
    steps = torch.randn(3, 6, 4, generator=generator)
    forged = torch.zeros(3, 6, dtype=torch.bool)
    forged[0, 1:3] = forged[2, 4:] = True
    authentic = torch.zeros(3, 6, dtype=torch.bool)
    authentic[0, 4:] = authentic[1, :2] = True
    vectors = [
        (F.normalize(steps[k][chosen[k]].mean(dim=0), dim=0), kind)
        for kind, chosen in ((1, forged), (0, authentic))
        for k in range(3)
        if chosen[k].any()
    ]
    each = []
    for i, (one, kind) in enumerate(vectors):
        others = [(two @ one / 0.5, k) for j, (two, k) in enumerate(vectors) if j != i]
        total = math.log(sum(math.exp(value) for value, _ in others))
        alike = [value - total for value, k in others if k == kind]
        each.append(-sum(alike) / len(alike))
    assert len(each) == 4
    assert contrasted(steps, forged, authentic, 0.5).item() == pytest.approx(float(sum(each)) / 4, rel=1e-5)


def test_contrast_of_one_vector_is_zero_with_a_finite_gradient() -> None:
    steps = torch.randn(1, 4, 3, requires_grad=True)
    chosen = torch.tensor([[True, False, False, False]])
    loss = contrasted(steps, chosen, torch.zeros_like(chosen), 0.07)
    loss.backward()
    assert loss.item() == 0
    assert steps.grad is not None
    assert steps.grad.isfinite().all()


def test_loss_by_hand() -> None:
    model, batch = (
        tiny(),
        random_batch([1, 2], 4),
    )  # forged in the picture, which it does not see, and in the sound
    third, half = math.log(3), 0.0
    first = torch.tensor([[half, half], [0.0, third]]).unsqueeze(1).expand(2, 4, 2)
    zero = torch.zeros(2, 4, 8)
    terms = model.losses(Outputs(zero, zero, (first, first), torch.zeros(2, 2)), batch)
    # authentic: softmax (½, ½) against (1, 0): ¼; forged: (¼, ¾) against (0, 1): 1/16
    assert terms["steps"].item() == pytest.approx((1 / 4 + 1 / 16) / 2)
    assert terms["prompted"].item() == pytest.approx(terms["steps"].item())
    assert terms["consistency"].item() == pytest.approx(0, abs=1e-7)
    expected = terms["steps"] + terms["prompted"] + 0.1 * terms["contrast"]
    torch.testing.assert_close(terms["total"], expected)


def test_step_scores_are_the_mean_of_both_branches() -> None:
    zero = torch.zeros(1, 1, 8)
    sure = torch.tensor([[[0.0, math.log(3)]]])
    outputs = Outputs(zero, zero, (sure, torch.zeros(1, 1, 2)), torch.zeros(1, 2))
    assert probability(outputs).item() == pytest.approx((0.75 + 0.5) / 2)


def test_it_hears_and_does_not_see() -> None:
    model, batch = tiny(), random_batch([0, 0, 0], 6)
    audio = batch.audio_mask.clone()
    audio[1] = False
    batch = dataclasses.replace(batch, audio_mask=audio)
    found = model.score(batch)
    assert (found.video_probabilities > 0).tolist() == [
        [True, False, True, False],
        [True, False, False, False],
        [True, False, True, False],
    ]
    assert (found.visual == 0).all()
    assert (found.audio[1] == 0).all()
    assert torch.equal(found.joint, found.audio)
    blind = dataclasses.replace(batch, visual=batch.visual + 5)
    assert torch.equal(model.score(blind).audio, found.audio)


def test_what_every_method_stands() -> None:
    check_padding_of_scores(tiny())
    check_padding_of_losses(tiny())
    check_determinism(tiny())


@pytest.mark.parametrize(("labels", "length"), [([0], 1), ([3], 1), ([0, 0], 3), ([1, 2, 3], 7)])
def test_odd_batches_train_without_nan(labels: list[int], length: int) -> None:
    check_odd_batch(tiny(), labels, length)


def test_it_learns_where_the_sound_is_forged_from_video_labels_alone() -> None:
    model = tiny()
    batch, _ = lesson(32, 40, seed=1)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    model.train()
    for _ in range(50):
        loss = model.losses(model(batch), batch)["total"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    unseen, where = lesson(32, 40, seed=2)
    scores, heard = model.score(unseen), unseen.audio_forged
    found = [area(scores.audio[k][where[k]], scores.audio[k][~where[k]]) for k in heard.nonzero().flatten()]
    assert sum(found) / len(found) > 0.95
    suspicion = 1 - scores.video_probabilities[:, 0]
    assert area(suspicion[heard], suspicion[~heard]) > 0.95
