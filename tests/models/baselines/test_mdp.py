"""MDP: attention without softmax, squared error and differences by hand; what its scores claim; that it learns."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

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
from model_factory import AUDIO_DIM, DIM, VISUAL_DIM, one_of, random_batch, tiny_config
from saved_weights import save_weights
from torch.nn import functional as F

from configs.schema import HeadsConfig, MDPConfig
from models.baselines.mdp import MDP, Outputs, TemporalAttention, largest_jumps
from models.weights import build, load_weights


def tiny(seed: int = 0, dropout: float = 0.0, **settings: float) -> MDP:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = HeadsConfig(hidden=16, dropout=dropout)
        model = build(tiny_config(method="mdp", heads=heads, mdp=MDPConfig(**settings)))
    assert isinstance(model, MDP)
    return model


def valid(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, dtype=torch.bool)


# --- attention ------------------------------------------------------------------------------------------------


def simple_attention() -> TemporalAttention:
    """Width 1: query and key are (x, x), value is (x, 0), the answer its first number; no norm."""
    attention = TemporalAttention(1)
    with torch.no_grad():
        for layer in (attention.query, attention.key, attention.value, attention.out):
            layer.bias.zero_()
        attention.query.weight.fill_(1.0)
        attention.key.weight.fill_(1.0)
        attention.value.weight.copy_(torch.tensor([[1.0], [0.0]]))
        attention.out.weight.copy_(torch.tensor([[1.0, 0.0]]))
    attention.norm = torch.nn.Identity()  # type: ignore[assignment]
    return attention


def test_attention_by_hand() -> None:
    attention = simple_attention()
    asking = torch.tensor([[[1.0], [2.0], [-4.0]]])
    other = torch.tensor([[[3.0], [0.5], [-1.0]]])
    everything = valid(1, 3)
    # the sum of the queries is -1, twice; q . k = 2 * -1 * x; no softmax: weights may be negative and beyond one
    weights = attention.weights(asking, other, everything)
    assert weights.flatten().tolist() == [-6.0, -1.0, 2.0]
    found = attention(asking, other, everything, everything)
    assert found.flatten().tolist() == [-18.0, -0.5, -2.0]  # each times its own value: time keeps its order
    # an invalid query counts for nothing (sum 3), an invalid step of the other track gives nothing
    masked = attention(
        asking, other, torch.tensor([[True, True, False]]), torch.tensor([[True, False, True]])
    )
    assert masked.flatten().tolist() == [54.0, 0.0, 6.0]


def test_attention_agrees_with_the_whole_matrix() -> None:
    """Oracle: S = Q Kᵀ / √dim of every pair of steps, then the sum over queries."""
    torch.manual_seed(0)
    attention = TemporalAttention(8)
    asking, other = torch.randn(2, 7, 8), torch.randn(2, 7, 8)
    matrix = attention.query(asking) @ attention.key(other).transpose(1, 2) / math.sqrt(8)  # (B, T, T)
    weight = matrix.sum(dim=1).unsqueeze(-1)
    expected = attention.norm(attention.out(weight * attention.value(other)))
    torch.testing.assert_close(attention(asking, other, valid(2, 7), valid(2, 7)), expected)


def test_attention_of_nobody_is_zero_with_a_finite_gradient() -> None:
    torch.manual_seed(0)
    attention = TemporalAttention(4)
    asking, other = torch.randn(1, 3, 4), torch.randn(1, 3, 4, requires_grad=True)
    found = attention(asking, other, ~valid(1, 3), valid(1, 3))
    assert (found == 0).all()
    found.sum().backward()
    assert other.grad is not None
    assert (other.grad == 0).all()


# --- losses ---------------------------------------------------------------------------------------------------


def test_largest_jumps_by_hand() -> None:
    embedding = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [1.0, 3.0], [1.0, 3.0], [5.0, 3.0], [5.0, 4.0]]])
    # changes, mean over two channels of the square: 1, 2, 0, 8, 1/2; six steps // 3 = 2 of them: 8 and 2
    jump, present = largest_jumps(embedding, valid(1, 6), divisor=3)
    assert (jump.item(), present.item()) == (5.0, True)
    # k comes from the steps, not the pairs: 6 // 6 = 1
    assert largest_jumps(embedding, valid(1, 6), divisor=6)[0].item() == 8.0
    # without the fifth step there is neither the pair before it nor the one after
    holed = torch.tensor([[True, True, True, True, False, True]])
    assert largest_jumps(embedding, holed, divisor=2)[0].item() == 1.5  # 5 // 2 = 2 of 1, 2, 0


@pytest.mark.parametrize("mask", [[True, False, True], [False, False, False], [True]])
def test_without_neighbours_there_is_no_jump(mask: list[bool]) -> None:
    embedding = torch.randn(1, len(mask), 4, requires_grad=True)
    jump, present = largest_jumps(embedding, torch.tensor([mask]), divisor=5)
    assert (jump.item(), present.item()) == (0.0, False)
    jump.sum().backward()


def test_loss_by_hand() -> None:
    model = tiny(topk_divisor=1, difference=0.5)
    batch = random_batch([0, 2], 2)
    embedding = torch.zeros(2, 2, 16)
    embedding[1, 1] = 2.0  # a mean squared difference of 4 in the forged video, 0 in the authentic one
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, math.log(4.0)]])  # softmax (3/4, 1/4) and (1/5, 4/5)
    terms = model.losses(Outputs(embedding, torch.zeros(2, 2, 2), logits), batch)
    # ((1/4)² + (1/4)²) / 2 = 1/16 and ((1/5)² + (1/5)²) / 2 = 1/25
    assert terms["cls"].item() == pytest.approx((1 / 16 + 1 / 25) / 2)
    # -ln(1 - σ(0)) = ln 2 of the authentic one, -ln σ(4) = ln(1 + e^-4) of the forged one
    difference = (math.log(2) + math.log(1 + math.exp(-4))) / 2
    assert terms["difference"].item() == pytest.approx(difference)
    assert terms["total"].item() == pytest.approx(terms["cls"].item() + 0.5 * difference)
    video = logits.softmax(dim=1)
    assert terms["cls"].item() == pytest.approx(F.mse_loss(video, torch.tensor([[1.0, 0], [0, 1]])).item())


def test_default_weight_and_share_are_the_authors() -> None:
    assert (MDPConfig().difference, MDPConfig().topk_divisor) == (0.2, 5)


def test_videos_without_anything_valid_count_in_no_mean() -> None:
    model = tiny()
    batch = random_batch([0, 1, 3], 8)
    silent = batch.visual_mask.clone()
    silent[2] = False
    holed = dataclasses.replace(batch, visual_mask=silent, audio_mask=silent)
    two = dataclasses.replace(one_of(holed, 0), **{k: v[:2] for k, v in vars(holed).items()})
    for name, value in model.losses(model(holed), holed).items():
        torch.testing.assert_close(value, model.losses(model(two), two)[name])


def test_every_weight_gets_a_gradient_from_the_whole_loss() -> None:
    model, batch = tiny().train(), random_batch([0, 1, 2, 3], 20)
    terms = model.losses(model(batch), batch)
    torch.testing.assert_close(terms["total"], terms["cls"] + 0.2 * terms["difference"])
    terms["total"].backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in model.parameters())


# --- the model ------------------------------------------------------------------------------------------------


def test_streams_are_concatenated_in_the_authors_order() -> None:
    model, batch = tiny(), random_batch([0, 1], 5)
    seen: list[torch.Tensor] = []
    model.activations.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(batch)
    f_v = model.embed_visual(batch.visual[..., :5] * 0 + pooled_by_hand(batch.visual), batch.visual_mask)
    f_a = model.embed_audio(batch.audio, batch.audio_mask)
    everything = valid(2, 5)
    expected = [
        f_a,
        f_v,
        model.visual_asks(f_v, f_a, everything, everything),
        model.audio_asks(f_a, f_v, everything, everything),
    ]
    torch.testing.assert_close(seen[0], torch.cat(expected, dim=-1))


def pooled_by_hand(visual: torch.Tensor) -> torch.Tensor:
    """Six channels to five: bins ⌊6i/5⌋ to ⌈6(i+1)/5⌉ are pairs that overlap by one channel."""
    assert visual.shape[-1] == VISUAL_DIM == AUDIO_DIM + 1
    return (visual[..., :-1] + visual[..., 1:]) / 2


def test_neighbouring_channels_of_the_picture_are_averaged_at_full_size() -> None:
    with torch.device("meta"):
        full = MDP(tiny_config().__class__(method="mdp"))
    assert full.pooled_dim == 1024
    assert full.embed_visual.conv.weight.shape == full.embed_audio.conv.weight.shape == (512, 1024, 3)
    assert full.visual_asks.query.weight.shape == (1024, 512)
    assert full.visual_asks.out.weight.shape == (512, 1024)
    assert full.activations.embed.weight.shape == (1024, 2048, 3)
    pairs = F.adaptive_avg_pool1d(torch.arange(8.0).view(1, 1, 8), 4)
    assert pairs.flatten().tolist() == [0.5, 2.5, 4.5, 6.5]


def test_pictures_of_fewer_channels_than_sound_are_left_alone() -> None:
    model = MDP(tiny_config(method="mdp", visual_dim=4))
    assert model.embed_visual.conv.weight.shape == (DIM, 4, 3)


def test_video_logits_are_the_mean_of_the_top_fifth() -> None:
    model, batch = tiny(), random_batch([0], 10)
    outputs = model(batch)
    torch.testing.assert_close(outputs.video, outputs.cas.topk(2, dim=1).values.mean(dim=1))


def test_absent_tracks() -> None:
    check_absent_tracks(tiny())


def test_padding_and_neighbours_change_no_score() -> None:
    check_padding_of_scores(tiny())


def test_padding_changes_no_loss() -> None:
    check_padding_of_losses(tiny())


def test_scores_do_not_depend_on_chance() -> None:
    check_determinism(tiny(dropout=0.5))


@pytest.mark.parametrize(("labels", "length"), [([0], 1), ([3], 1), ([0, 0], 3), ([1, 2, 3], 7)])
def test_odd_batches_train_without_nan(labels: list[int], length: int) -> None:
    check_odd_batch(tiny(), labels, length)


def test_it_learns_where_from_video_labels_alone() -> None:
    check_learning(tiny(), least_step_auc=0.85, least_video_auc=0.9)


def test_weights_survive_the_disk(tmp_path: Path) -> None:
    model, batch = tiny(seed=5), random_batch([1, 2], 6)
    save_weights(model, tmp_path / "mdp.safetensors")
    loaded = load_weights(model.config, tmp_path / "mdp.safetensors")
    assert torch.equal(loaded.score(batch).joint, model.score(batch).joint)
