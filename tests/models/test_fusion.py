"""Embedding and cross-modal attention: hand-worked values, and nothing leaks out of masked steps."""

from __future__ import annotations

import math

import torch
from model_factory import DIM

from configs.schema import FusionConfig
from models.embedding import Embedding, StepConv, blank
from models.fusion import CrossAttention, Fusion, hidden_keys


def summing_conv() -> StepConv:
    """One channel, kernel (1, 1, 1), bias 100."""
    conv = StepConv(1, 1)
    torch.nn.init.ones_(conv.weight)
    torch.nn.init.constant_(conv.bias, 100.0)
    return conv


def test_convolution_takes_an_invalid_step_for_zero_padding() -> None:
    x = torch.tensor([1.0, 2.0, float("nan"), 4.0, 5.0]).view(1, 5, 1)
    mask = torch.tensor([[True, True, False, True, True]])
    # neighbours' sums with the third step at 0: 0+1+2, 1+2+0, 2+0+4, 0+4+5, 4+5+0
    assert summing_conv()(x, mask).flatten().tolist() == [103, 103, 106, 109, 109]


def test_embedding_by_hand() -> None:
    embedding = Embedding(1, 2)
    with torch.no_grad():
        embedding.conv.weight.zero_()
        embedding.conv.weight[0, 0, 1] = 1.0  # channel 0 copies the step, channel 1 negates it
        embedding.conv.weight[1, 0, 1] = -1.0
        embedding.conv.bias.zero_()
    out = embedding(torch.tensor([[[3.0], [-2.0]]]), torch.ones(1, 2, dtype=torch.bool))
    # ReLU gives (3, 0) and (0, 2); LayerNorm of (a, 0) is (1, -1) up to its epsilon
    torch.testing.assert_close(out[0], torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), atol=1e-4, rtol=0)


def test_embedding_is_zero_where_invalid_in_spite_of_its_biases() -> None:
    embedding = Embedding(4, DIM)
    torch.nn.init.ones_(embedding.norm.bias)
    out = embedding(torch.randn(2, 5, 4), torch.tensor([[True] * 3 + [False] * 2, [False] * 5]))
    assert (out[0, 3:] == 0).all()
    assert (out[1] == 0).all()
    assert (out[0, :3] != 0).any()


def test_blank_removes_nan_and_its_gradient() -> None:
    x = torch.full((1, 2, 1), float("nan"), requires_grad=True)
    blank(x, torch.zeros(1, 2, dtype=torch.bool)).sum().backward()
    assert x.grad is not None
    assert (x.grad == 0).all()


def test_hidden_keys_keep_one_key_of_an_empty_row_only() -> None:
    mask = torch.tensor([[False, True, False], [False, False, False]])
    assert hidden_keys(mask).tolist() == [[True, False, True], [False, True, True]]


def test_attention_is_the_softmax_average_of_the_other_track() -> None:
    attention = CrossAttention(FusionConfig(dim=1, heads=1, dropout=0.0))
    inner = attention.attention
    attention.norm = torch.nn.Identity()
    with torch.no_grad():
        inner.in_proj_weight.fill_(1.0)
        inner.in_proj_bias.zero_()
        inner.out_proj.weight.fill_(1.0)
        inner.out_proj.bias.zero_()
    query = torch.tensor([[[1.0], [0.0]]])
    other = torch.tensor([[[0.0], [math.log(3.0)]]])
    both = torch.ones(1, 2, dtype=torch.bool)
    out = attention(query, other, both, both)
    # q = 1: weights softmax(0, ln 3) = (1/4, 3/4) -> 3/4 ln 3; q = 0: weights (1/2, 1/2) -> 1/2 ln 3
    torch.testing.assert_close(out.flatten(), torch.tensor([0.75, 0.5]) * math.log(3.0))

    first_only = torch.tensor([[True, False]])
    assert attention(query, other, both, first_only).flatten().tolist() == [0.0, 0.0]


def test_reach_bounds_what_a_step_sees() -> None:
    attention = CrossAttention(FusionConfig(dim=1, heads=1, dropout=0.0, reach=1))
    inner = attention.attention
    attention.norm = torch.nn.Identity()
    with torch.no_grad():
        inner.in_proj_weight.fill_(1.0)
        inner.in_proj_bias.zero_()
        inner.out_proj.weight.fill_(1.0)
        inner.out_proj.bias.zero_()
    query = torch.zeros(1, 5, 1)  # equal scores: plain means
    other = torch.tensor([[[1.0], [2.0], [6.0], [0.0], [0.0]]])
    mask = torch.tensor([[True, True, True, False, False]])
    out = attention(query, other, torch.ones(1, 5, dtype=torch.bool), mask)
    # steps 0..1, 0..2, 1..2 (3 is invalid), 2 alone, none
    torch.testing.assert_close(out.flatten(), torch.tensor([1.5, 3.0, 4.0, 6.0, 0.0]))


def test_a_step_that_reaches_nothing_harms_no_gradient() -> None:
    fusion = Fusion(FusionConfig(dim=DIM, heads=2, dropout=0.0, reach=1))
    f_v, f_a = (torch.randn(2, 6, DIM, requires_grad=True) for _ in range(2))
    audio_mask = torch.tensor([[True] * 2 + [False] * 4, [False] * 6])
    f_m = fusion(f_v, blank(f_a, audio_mask), torch.ones(2, 6, dtype=torch.bool), audio_mask)
    assert (f_m[0, 3:, DIM:] == 0).all()
    f_m.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [f_v, f_a, *fusion.parameters()])


def test_a_wide_reach_is_no_bound() -> None:
    torch.manual_seed(0)
    bounded, free = (CrossAttention(FusionConfig(dim=DIM, heads=2, dropout=0.0, reach=r)) for r in (9, None))
    bounded.load_state_dict(free.state_dict())
    inputs = torch.randn(2, 2, 5, DIM)
    masks = torch.tensor([[[True] * 5] * 2, [[True] * 5, [True] * 3 + [False] * 2]])
    torch.testing.assert_close(bounded(*inputs, *masks), free(*inputs, *masks))


def test_f_m_holds_originals_then_enhanced_streams() -> None:
    fusion = Fusion(FusionConfig(dim=DIM, heads=2, dropout=0.0))
    f_v, f_a = torch.randn(2, 5, DIM), torch.randn(2, 5, DIM)
    valid = torch.ones(2, 5, dtype=torch.bool)
    f_m = fusion(f_v, f_a, valid, valid)
    assert f_m.shape == (2, 5, 4 * DIM)
    torch.testing.assert_close(f_m[..., :DIM], f_v)
    torch.testing.assert_close(f_m[..., DIM : 2 * DIM], f_a)
    torch.testing.assert_close(f_m[..., 2 * DIM : 3 * DIM], fusion.visual_asks(f_v, f_a, valid, valid))
    torch.testing.assert_close(f_m[..., 3 * DIM :], fusion.audio_asks(f_a, f_v, valid, valid))


def test_an_absent_modality_enhances_nothing_and_harms_no_gradient() -> None:
    fusion = Fusion(FusionConfig(dim=DIM, heads=2, dropout=0.0))
    f_v = torch.randn(2, 5, DIM, requires_grad=True)
    audio_mask = torch.tensor([[True] * 5, [False] * 5])
    f_a = blank(torch.randn(2, 5, DIM), audio_mask)
    f_m = fusion(f_v, f_a, torch.ones(2, 5, dtype=torch.bool), audio_mask)
    assert (f_m[1, :, DIM:] == 0).all()
    assert (f_m[0, :, 2 * DIM :] != 0).any()
    f_m.square().sum().backward()
    assert f_v.grad is not None
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [f_v, *fusion.parameters()])
