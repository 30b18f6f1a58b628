"""The network over measures: what each of its answers sees, and what it hides while it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from extractor_factory import random_net, shaken
from torch import Tensor

from data.labels import EVIDENCE
from extractors.compact.evidence_net import DIM, WIDTH, EvidenceNet, LookHead, evidence_of

RELATIVE, ABSOLUTE, STEPS, MIDDLE = 5, 3, 61, 30


@pytest.fixture(scope="module")
def net() -> EvidenceNet:
    made = random_net(RELATIVE, ABSOLUTE)
    shaken(made)
    return made


@pytest.fixture(scope="module")
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    valid = torch.ones(2, STEPS, dtype=torch.bool)
    return torch.randn(2, STEPS, RELATIVE), torch.randn(2, STEPS, ABSOLUTE), valid


def moved(before: Tensor, after: Tensor) -> list[int]:
    """Steps, counted from the middle one, in which anything of (B, T, ...) changed."""
    change = (before - after).abs().flatten(2).amax(dim=2).amax(dim=0)
    return [int(k) - MIDDLE for k in torch.nonzero(change > 1e-7).flatten()]


def reach(side: int) -> list[int]:
    return list(range(-side, side + 1))


@torch.inference_mode()
def test_edges_see_two_steps_to_either_side_and_the_others_fourteen(
    net: EvidenceNet, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    relative, absolute, valid = inputs
    plain = net(relative, absolute, valid)
    other = relative.clone()
    other[:, MIDDLE] += 1
    changed = net(other, absolute, valid)
    sees = {
        name: moved(plain.evidence[..., [k]], changed.evidence[..., [k]]) for k, name in enumerate(EVIDENCE)
    }
    assert sees == {"inside": reach(14), "onset": reach(2), "offset": reach(2), "whole": []}
    assert moved(plain.states[..., :WIDTH], changed.states[..., :WIDTH]) == reach(14)
    assert torch.equal(plain.states[..., WIDTH:], changed.states[..., WIDTH:])


@torch.inference_mode()
def test_only_whole_sees_a_step_as_it_is(net: EvidenceNet, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    relative, absolute, valid = inputs
    plain = net(relative, absolute, valid)
    other = absolute.clone()
    other[:, MIDDLE] += 1
    changed = net(relative, other, valid)
    sees = {
        name: moved(plain.evidence[..., [k]], changed.evidence[..., [k]]) for k, name in enumerate(EVIDENCE)
    }
    assert sees == {"inside": [], "onset": [], "offset": [], "whole": reach(14)}
    assert moved(plain.states[..., WIDTH:], changed.states[..., WIDTH:]) == reach(14)


@torch.inference_mode()
def test_invalid_steps_are_zero_and_say_nothing_to_their_neighbours(
    net: EvidenceNet, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    relative, absolute, valid = inputs
    valid = valid.clone()
    valid[:, 20:25], valid[:, 50:] = False, False
    steps = net(relative, absolute, valid)
    assert not steps.features()[~valid].any()
    assert steps.features()[valid].any(dim=-1).all()
    spoilt = [measures.masked_fill(~valid[..., None], 3.0) for measures in (relative, absolute)]
    assert torch.equal(net(*spoilt, valid).features(), steps.features())


@torch.inference_mode()
def test_a_clip_is_judged_by_itself(net: EvidenceNet, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    together = net(*inputs).features()
    alone = net(*(part[1:] for part in inputs)).features()
    assert torch.allclose(together[1:], alone, atol=1e-5)


@torch.inference_mode()
def test_evidence_is_the_last_four_columns(net: EvidenceNet, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    steps = net(*inputs)
    features = steps.features()
    assert features.shape == (2, STEPS, DIM)
    assert steps.evidence.shape == (2, STEPS, len(EVIDENCE))
    read = evidence_of(features[0].numpy().astype(np.float16))
    assert read.dtype == np.float32
    assert read == pytest.approx(steps.evidence[0].numpy(), abs=0.01)


@torch.inference_mode()
def test_a_measure_far_out_counts_as_five_deviations(net: EvidenceNet) -> None:
    net = EvidenceNet(1, 1).eval()
    net.relative.fit(torch.tensor([[1.0], [3.0], [5.0]]))  # mean 3, deviation 2
    assert net.relative.mean.item() == 3
    assert net.relative.deviation.item() == pytest.approx(2.001)
    there, valid = torch.ones(1, 1, 1), torch.ones(1, 1, dtype=torch.bool)
    far, farther = (net(value * there, there, valid).evidence for value in (3 + 5 * 2.001, 1000.0))
    assert torch.allclose(far, farther, atol=1e-5)
    assert not torch.allclose(far, net(3 * there, there, valid).evidence, atol=1e-3)


def test_measures_are_hidden_in_training_only(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    """With dropout off, what still differs from pass to pass is which measures are hidden."""
    torch.manual_seed(0)
    net = EvidenceNet(RELATIVE, ABSOLUTE).eval()
    assert torch.equal(net(*inputs).evidence, net(*inputs).evidence)
    net.relative.training = net.absolute.training = True
    assert not torch.equal(net(*inputs).evidence, net(*inputs).evidence)
    seen: list[Tensor] = []
    net.relative.enter.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    ones = torch.ones(400, 3, RELATIVE)
    net(ones, torch.zeros(400, 3, ABSOLUTE), torch.ones(400, 3, dtype=torch.bool))
    assert torch.equal(seen[0], seen[0][:, :1].expand_as(ones)), "hidden through the whole crop"
    assert set(seen[0].unique().tolist()) == {0.0, 2.0}
    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_faces_are_split_by_hand() -> None:
    seen = torch.tensor([[1.0, 5.0], [4.0, 5.0], [2.0, 8.0]])
    relative, absolute = LookHead.split(seen, torch.tensor([True, True, True]))
    assert relative.tolist() == [[-1, 0], [2, 0], [0, 3]]
    assert torch.equal(absolute, seen)
    relative, _ = LookHead.split(seen, torch.tensor([False, True, False]))
    assert relative.tolist() == [[-3, 0], [0, 0], [-2, 3]], "against what was due"
    relative, _ = LookHead.split(seen, torch.tensor([False, False, False]))
    assert relative.tolist() == [[-1, 0], [2, 0], [0, 3]], "or against all, where nothing was"


@torch.inference_mode()
def test_faces_are_judged_each_by_itself_inside_and_whole() -> None:
    torch.manual_seed(0)
    head = LookHead(6).eval()
    relative, absolute = torch.randn(4, 6), torch.randn(4, 6)
    found = head(relative, absolute)
    assert found.shape == (4, 2)
    assert torch.allclose(head(relative[1:3], absolute[1:3]), found[1:3], atol=1e-6)
    others = head(torch.randn(4, 6), absolute)
    assert torch.equal(others[:, 1], found[:, 1])
    assert not torch.equal(others[:, 0], found[:, 0])


def test_what_the_eye_saw_is_hidden_in_training_only() -> None:
    torch.manual_seed(0)
    head = LookHead(300).eval()
    seen = torch.randn(4, 300)
    assert torch.equal(head(seen, seen), head(seen, seen))
    given: list[Tensor] = []
    head.absolute.enter.register_forward_pre_hook(lambda _, values: given.append(values[0]))
    head.train()(seen, torch.ones(4, 300))
    assert set(given[0].unique().tolist()) == {0.0, 2.0}
    assert (given[0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.06)
