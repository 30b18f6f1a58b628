"""Forgery Discovery Network: how much is masked, what the encoder may see, Eq. 1, and inference by several masks."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_factory import DIM

from configs.schema import FDNConfig
from models.fdn import FDN, complementary_masks, masked_count, random_mask, sinusoidal


def make_fdn(**overrides: object) -> FDN:
    torch.manual_seed(0)
    sizes = {"encoder_dim": 12, "decoder_dim": 8, "heads": 2, "encoder_layers": 2, "decoder_layers": 1}
    return FDN(DIM, FDNConfig.model_validate({**sizes, **overrides})).eval()


def lengths_mask(*lengths: int) -> torch.Tensor:
    return torch.arange(max(lengths)).unsqueeze(0) < torch.tensor(lengths).unsqueeze(1)


# ⌊ρT⌋ by hand; floats would give 28 for 100 × 0.29, and MAE's own code 188 for 250 × 0.75
@pytest.mark.parametrize(
    ("steps", "ratio", "count"),
    [
        (250, 0.75, 187),  # 187.5
        (10, 0.8, 8),
        (250, 0.8, 200),
        (500, 0.75, 375),
        (100, 0.29, 29),
        (10, 0.7, 7),
        (7, 0.5, 3),  # 3.5
        (4, 0.75, 3),
        (3, 0.75, 2),  # 2.25
        (2, 0.75, 1),  # 1.5
        (1, 0.75, 0),
        (0, 0.75, 0),
    ],
)
def test_masked_steps_are_the_floor_of_rho_t(steps: int, ratio: float, count: int) -> None:
    assert masked_count(torch.tensor([steps]), ratio).tolist() == [count]
    assert count == math.floor(Fraction(str(ratio)) * steps)
    if steps:
        assert random_mask(torch.ones(1, steps, dtype=torch.bool), ratio).sum() == count


def test_random_masks_count_valid_steps_only() -> None:
    valid = lengths_mask(10, 4, 0)
    valid[0, 3] = False  # a hole: nine valid steps are left
    masked = random_mask(valid, 0.75)
    assert masked.sum(dim=1).tolist() == [6, 3, 0]  # ⌊6.75⌋, ⌊3⌋, 0
    assert not (masked & ~valid).any()


def test_random_masks_follow_their_generator_and_favour_no_step() -> None:
    valid = torch.ones(400, 8, dtype=torch.bool)
    one, again, other = (random_mask(valid, 0.75, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    share = one.float().mean(dim=0)  # 3/4 each, standard deviation √(3/16/400) = 0.022
    assert ((share - 0.75).abs() < 0.11).all()


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    ratio=st.sampled_from([0.05, 0.2, 0.5, 0.75, 0.8, 0.95]),
    passes=st.integers(1, 5),
    seed=st.integers(0, 5),
)
def test_test_masks_cover_every_valid_step(lengths: list[int], ratio: float, passes: int, seed: int) -> None:
    valid = lengths_mask(*lengths, 1)  # one step at least, so that the batch is not empty
    masks = complementary_masks(valid, ratio, passes, seed)
    assert len(masks) >= passes
    assert torch.equal(masks.any(dim=0), valid)
    for row, steps in enumerate([*lengths, 1]):
        count = max(1, math.floor(Fraction(str(ratio)) * steps)) if steps else 0
        assert set(masks[:, row].sum(dim=1).tolist()) <= {0, count}


def test_four_passes_of_three_quarters_mask_each_step_three_times() -> None:
    masks = complementary_masks(torch.ones(1, 20, dtype=torch.bool), 0.75, 4, seed=0)
    assert masks.shape == (4, 1, 20)
    assert (masks.sum(dim=0) == 3).all()


def test_test_masks_ignore_the_batch_and_the_padding() -> None:
    alone = complementary_masks(lengths_mask(7), 0.75, 4, seed=5)
    beside = complementary_masks(lengths_mask(2, 7, 12), 0.75, 4, seed=5)
    assert torch.equal(beside[:, 1, :7], alone[:, 0])
    other_seed = complementary_masks(lengths_mask(7), 0.75, 4, seed=6)
    assert not torch.equal(other_seed, alone)


def test_positions_by_hand() -> None:
    # dim 4: rates 1 and 1/10000; sines first
    table = sinusoidal(3, 4, torch.device("cpu"))
    for i in range(3):
        expected = [math.sin(i), math.sin(i / 1e4), math.cos(i), math.cos(i / 1e4)]
        torch.testing.assert_close(table[i], torch.tensor(expected))
    assert sinusoidal(3, 5, torch.device("cpu")).shape == (3, 5)


def test_eq_1_by_hand() -> None:
    fdn = make_fdn(encoder_dim=2, decoder_dim=2, heads=1)
    with torch.no_grad():
        fdn.to_decoder.weight.copy_(torch.eye(2) * 2)
        fdn.to_decoder.bias.zero_()
        fdn.mask_token.copy_(torch.tensor([10.0, 20.0]))
    z = torch.tensor([[[1.0, 2.0], [77.0, 77.0], [3.0, 4.0]]])
    query = fdn.query(z, torch.tensor([[True, False, True]]))
    # p_i = (sin i, cos i); visible: 2 z_i + p_i; masked: e_mask + p_i, whatever stood in z
    expected = [
        [2.0 + 0.0, 4.0 + 1.0],
        [10.0 + math.sin(1), 20.0 + math.cos(1)],
        [6.0 + math.sin(2), 8.0 + math.cos(2)],
    ]
    torch.testing.assert_close(query[0], torch.tensor(expected))


def test_the_encoder_runs_on_visible_steps_only() -> None:
    fdn, seen = make_fdn(), []
    fdn.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    valid = lengths_mask(16, 9)
    fdn(torch.randn(2, 16, DIM), valid, random_mask(valid, 0.75))
    assert seen == [(2, 4, 12)]  # 16 - 12 = 4 and 9 - 6 = 3 visible: four slots suffice


def test_encoded_steps_return_to_their_places() -> None:
    fdn = make_fdn()
    fdn.encoder = IdentityStack()  # encoding is then a linear map plus position, step by step
    features = torch.randn(1, 6, DIM)
    visible = torch.tensor([[False, True, False, False, True, True]])
    z = fdn.encode(features, visible)
    expected = fdn.to_encoder(features) + sinusoidal(6, 12, features.device)
    torch.testing.assert_close(z[visible], expected[visible])
    assert (z[~visible] == 0).all()


class IdentityStack(torch.nn.Module):
    def forward(self, x: torch.Tensor, src_key_padding_mask: torch.Tensor) -> torch.Tensor:
        return x


def test_masked_and_invalid_steps_cannot_influence_the_reconstruction() -> None:
    fdn = make_fdn()
    valid = torch.tensor([[True] * 8 + [False] * 2])
    masked = torch.tensor([[True, False] * 4 + [False] * 2])
    features = torch.randn(1, 10, DIM) * valid.unsqueeze(-1)
    altered = features.clone()
    altered[masked | ~valid] = 1e3
    torch.testing.assert_close(
        fdn(altered, valid, masked).features, fdn(features, valid, masked).features, atol=1e-5, rtol=0
    )
    altered = features.clone()
    altered[0, 1] += 1.0  # a visible step does matter
    assert not torch.allclose(fdn(altered, valid, masked).features, fdn(features, valid, masked).features)


def test_error_is_the_norm_of_the_difference_and_carries_no_gradient() -> None:
    fdn = make_fdn()
    features = torch.randn(2, 6, DIM, requires_grad=True)
    valid = lengths_mask(6, 3)
    out = fdn(features * valid.unsqueeze(-1), valid, random_mask(valid, 0.5))
    difference = (features - out.features)[0, 4]
    torch.testing.assert_close(out.error[0, 4], difference.square().sum().sqrt())
    assert not out.error.requires_grad
    assert (out.error[1, 3:] == 0).all()
    assert (out.features[1, 3:] == 0).all()


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_average_is_the_mean_over_the_passes_that_masked_a_step(steps: int) -> None:
    fdn = make_fdn(mask_ratio=0.5, test_passes=3)
    features, valid = torch.randn(1, steps, DIM), torch.ones(1, steps, dtype=torch.bool)
    with torch.no_grad():
        out = fdn.average(features, valid, seed=4)
        passes = [(m, fdn(features, valid, m)) for m in complementary_masks(valid, 0.5, 3, seed=4)]
    for t in range(steps):
        rebuilt = [one.features[0, t] for m, one in passes if m[0, t]]
        errors = [(features[0, t] - f).norm() for f in rebuilt]
        torch.testing.assert_close(out.features[0, t], torch.stack(rebuilt).mean(dim=0))
        torch.testing.assert_close(out.error[0, t], torch.stack(errors).mean())


def test_a_track_without_any_valid_step_gives_zeros_and_finite_gradients() -> None:
    fdn = make_fdn().train()
    valid = torch.tensor([[True] * 5, [False] * 5])
    features = (torch.randn(2, 5, DIM) * valid.unsqueeze(-1)).requires_grad_()
    out = fdn(features, valid, random_mask(valid, 0.75))
    assert (out.features[1] == 0).all()
    assert (out.error[1] == 0).all()
    out.features.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [features, *fdn.parameters()])
    with torch.no_grad():
        assert (fdn.average(features, valid, 0).features[1] == 0).all()


def test_everything_masked_still_decodes() -> None:
    fdn = make_fdn()
    valid = torch.ones(1, 3, dtype=torch.bool)
    out = fdn(torch.randn(1, 3, DIM), valid, valid)  # no visible step: mask tokens and positions alone
    assert out.features.isfinite().all()
    torch.testing.assert_close(out.features, fdn(torch.randn(1, 3, DIM), valid, valid).features)


def test_layers_of_a_stack_start_out_different() -> None:
    first, second = make_fdn().encoder.layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)
