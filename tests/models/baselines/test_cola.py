"""CoLA: morphology, mining and contrast by hand and against brute force; what its scores claim; that it learns."""

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

from configs.schema import ColaConfig
from models.baselines import cas as family
from models.baselines.cola import CoLA, Outputs, dilate, erode, info_nce, snippet_contrast, snippets
from models.weights import build, load_weights


def tiny(seed: int = 0, **settings: float) -> CoLA:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(tiny_config(method="cola", cola=ColaConfig(**settings)))
    assert isinstance(model, CoLA)
    return model


def steps(text: str) -> torch.Tensor:
    """ "..##" is False, False, True, True."""
    return torch.tensor([[letter == "#" for letter in text]])


def drawn(chosen: torch.Tensor) -> str:
    return "".join(".#"[int(step)] for step in chosen[0])


# --- morphology -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "width", "before", "after"),
    [
        (erode, 3, "..#####..#.", "...###....."),
        # 6 steps, from 3 before to 2 after: of eight inside, those with three before and two after them remain
        (erode, 6, "..########.", ".....###..."),
        (erode, 3, "####", ".##."),  # nothing is inside beyond the ends
        (dilate, 3, ".....#.....", "....###...."),
        # 6 steps, from 2 before to 3 after each place that looks: so 3 before and 2 after the step inside
        (dilate, 6, ".....#.....", "..######..."),
        (dilate, 3, "#..", "##."),
        (erode, 3, "...", "..."),
        (dilate, 1, ".#.", ".#."),
        (erode, 1, ".#.", ".#."),
    ],
)
def test_morphology_by_hand(change, width: int, before: str, after: str) -> None:  # type: ignore[no-untyped-def]
    assert drawn(change(steps(before), width)) == after


@pytest.mark.parametrize("width", [1, 2, 3, 4, 6, 7])
def test_morphology_agrees_with_its_definition(width: int) -> None:
    """SciPy's: the structure's centre is at width // 2; a dilation is by the structure turned round."""
    inside = torch.rand(20, 17, generator=torch.Generator().manual_seed(width)) > 0.4
    offsets = [k - width // 2 for k in range(width)]
    for row, eroded, dilated in zip(inside, erode(inside, width), dilate(inside, width), strict=True):
        for t in range(17):
            around = [0 <= t + o < 17 and bool(row[t + o]) for o in offsets]
            turned = [0 <= t - o < 17 and bool(row[t - o]) for o in offsets]
            assert bool(eroded[t]) == all(around)
            assert bool(dilated[t]) == any(turned)


# --- mining ---------------------------------------------------------------------------------------------------


def test_highest_by_hand() -> None:
    values = torch.tensor([[3.0, 9.0, 1.0, 3.0, 7.0]] * 3)
    eligible = torch.tensor([[1, 0, 1, 1, 1], [1, 0, 1, 1, 1], [0, 0, 1, 0, 0]]).bool()
    chosen = family.highest(values, eligible, torch.tensor([2, 3, 2]))
    # the 9 may not be chosen; of the two 3s the earlier; where only one may be chosen, one is
    assert chosen.int().tolist() == [[1, 0, 0, 0, 1], [1, 0, 0, 1, 1], [0, 0, 1, 0, 0]]


def test_snippets_by_hand() -> None:
    action = torch.tensor([[0, 0, 0, 0, 2, 5, 6, 7, 8, 9, 4, 3, 0, 1, 0, 0]]).float()
    everywhere = torch.ones(1, 16, dtype=torch.bool)
    config = ColaConfig(topk_divisor=8, hard_divisor=16)  # two easy snippets and one hard one
    hard_action, hard_background, easy_action, easy_background = snippets(
        action, everywhere, everywhere, config
    )
    # The median of 0 x 7, 1, 2 .. 9 is (1 + 2) / 2, so steps 4 to 11 are above it. Eroded by 3: 5 to 10; by 6
    # (three before, two after): 7 to 9. Inner ring: 5, 6 and 10 with 5, 6 and 4.
    assert hard_action.nonzero()[:, 1].tolist() == [6]
    # Dilated by 3: 3 to 12; by 6: 1 to 13. Outer ring: 1, 2 and 13 with 0, 0 and 1.
    assert hard_background.nonzero()[:, 1].tolist() == [13]
    assert easy_action.nonzero()[:, 1].tolist() == [8, 9]
    assert easy_background.nonzero()[:, 1].tolist() == [0, 1]  # of many zeros the first


def test_easy_snippets_are_looked_for_among_kept_steps_only() -> None:
    action = torch.arange(10.0).unsqueeze(0)
    everywhere = torch.ones(1, 10, dtype=torch.bool)
    kept = steps("..###.#...")
    _, _, easy_action, easy_background = snippets(action, everywhere, kept, ColaConfig(topk_divisor=5))
    assert drawn(easy_action) == "....#.#..."
    assert drawn(easy_background) == "..##......"


def test_snippets_stay_within_the_valid_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    action = torch.rand(50, 30, generator=generator)
    mask = torch.rand(50, 30, generator=generator) > 0.3
    for chosen in snippets(action, mask, torch.ones_like(mask), ColaConfig()):
        assert (chosen & ~mask).sum() == 0
        assert chosen.any()


def test_training_draws_the_kept_share_from_the_generator_and_evaluation_keeps_all() -> None:
    model, batch = tiny(easy_dropout=0.6).train(), random_batch([0, 1] * 20, 100)
    one, two, other = (model(batch, torch.Generator().manual_seed(seed)).eligible for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert one.float().mean().item() == pytest.approx(0.4, abs=0.03)  # 4000 draws: sd 0.008
    assert model.eval()(batch).eligible.all()


# --- contrast -------------------------------------------------------------------------------------------------


def test_info_nce_by_hand() -> None:
    embedding = torch.tensor([[[3.0, 0.0], [0.0, 2.0], [1.0, 1.0], [0.0, -4.0], [-5.0, 0.0]]])
    found = info_nce(embedding, steps("#...."), steps(".##.."), steps("...##"), temperature=0.5)
    # query (1, 0); key: mean of (0, 2) and (1, 1) is (½, 3/2), cosine 1/√10; negatives: cosines 0 and -1
    like = math.exp(2 / math.sqrt(10))
    assert found.item() == pytest.approx(math.log((like + 1 + math.exp(-2)) / like))


def test_info_nce_is_the_mean_over_videos_that_have_all_three_sets() -> None:
    embedding = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    sets = [steps(text).repeat(4, 1) for text in ("##...", "..##.", "...##")]
    alone = [info_nce(embedding[k : k + 1], *(x[:1] for x in sets), 0.07).item() for k in (0, 1)]
    sets[0][2] = False
    sets[2][3] = False
    assert info_nce(embedding, *sets, 0.07).item() == pytest.approx(sum(alone) / 2, rel=1e-5)


def test_contrast_of_nothing_is_zero_with_a_finite_gradient() -> None:
    embedding = torch.zeros(2, 6, 3, requires_grad=True)
    none = torch.zeros(2, 6, dtype=torch.bool)
    loss = snippet_contrast(embedding, torch.zeros(2, 6), none, none, ColaConfig())
    loss.backward()
    assert loss.item() == 0
    assert embedding.grad is not None
    assert (embedding.grad == 0).all()


def test_contrast_is_the_sum_of_its_two_halves() -> None:
    generator = torch.Generator().manual_seed(4)
    embedding, action = torch.randn(3, 40, 6, generator=generator), torch.rand(3, 40, generator=generator)
    everywhere = torch.ones(3, 40, dtype=torch.bool)
    config = ColaConfig()
    ha, hb, ea, eb = snippets(action, everywhere, everywhere, config)
    expected = info_nce(embedding, ha, ea, eb, 0.07) + info_nce(embedding, hb, eb, ea, 0.07)
    found = snippet_contrast(embedding, action, everywhere, everywhere, config)
    torch.testing.assert_close(found, expected)
    assert found > 0


def test_contrast_agrees_with_the_formula_on_gathered_snippets() -> None:
    """Oracle: gathering snippets and cross-entropy with class 0, where every ring is large enough."""
    embedding = torch.randn(1, 60, 5, generator=torch.Generator().manual_seed(1))
    ha, ea, eb = (torch.zeros(1, 60, dtype=torch.bool) for _ in range(3))
    ha[0, [3, 9, 30]] = ea[0, 11:23] = eb[0, 40:52] = True
    query, key = (F.normalize(embedding[chosen].mean(dim=0), dim=0) for chosen in (ha, ea))
    logits = torch.cat([(query @ key).view(1), F.normalize(embedding[eb], dim=1) @ query]) / 0.07
    expected = F.cross_entropy(logits.unsqueeze(0), torch.tensor([0]))
    torch.testing.assert_close(info_nce(embedding, ha, ea, eb, 0.07), expected)


# --- the model ------------------------------------------------------------------------------------------------


def test_cas_by_hand() -> None:
    activations = family.Activations(1, 2, dropout=0.0)
    with torch.no_grad():
        activations.embed.weight.copy_(torch.tensor([[[1.0, 1.0, 1.0]], [[0.0, -1.0, 0.0]]]))
        activations.embed.bias.zero_()
        activations.out.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 2.0]]))
    x = torch.tensor([[[1.0], [-3.0], [4.0], [99.0]]])
    embedding, cas = activations(x, torch.tensor([[True, True, True, False]]))
    # sums of three: -2, 2, 1; minus the middle: -1, 3, -4; both through a ReLU
    assert embedding[0, :3].tolist() == [[0.0, 0.0], [2.0, 3.0], [1.0, 0.0]]
    # class 0 reads the first, class 1 twice the second minus the first: 0, 4 and -1, the last through the ReLU
    assert cas[0, :3].tolist() == [[0.0, 0.0], [2.0, 4.0], [1.0, 0.0]]
    assert activations.out.bias is None


def test_no_class_is_dead_before_training() -> None:
    """Drawn with signs, a class was zero throughout a video for six of ten seeds on such features."""
    generator = torch.Generator().manual_seed(0)
    constant = torch.randn(1, 1, 8, generator=generator).abs()
    x = constant + 0.2 * torch.randn(4, 30, 8, generator=generator)
    for seed in range(10):
        torch.manual_seed(seed)
        _, cas = family.Activations(8, 16, 0.0)(x, torch.ones(4, 30, dtype=torch.bool))
        assert (cas > 0).any(dim=1).all()


def test_loss_by_hand() -> None:
    model = tiny(topk_divisor=2, snico=0.5)
    batch = random_batch([0, 3], 4)
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, math.log(7.0)]])  # softmax (3/4, 1/4) and (1/8, 7/8)
    zero = torch.zeros(2, 4, DIM)
    outputs = Outputs(zero, torch.zeros(2, 4, 2), logits, torch.ones(2, 4, dtype=torch.bool))
    terms = {name: value.item() for name, value in model.losses(outputs, batch).items()}
    assert terms["cls"] == pytest.approx((math.log(4 / 3) + math.log(8 / 7)) / 2)
    assert terms["snico"] == 0  # equal actionness has nothing above its median, hence no ring
    assert terms["total"] == pytest.approx(terms["cls"])
    # binary cross-entropy of the softmax against the one-hot label, the authors' form, says the same
    video = logits.softmax(dim=1)
    assert terms["cls"] == pytest.approx(
        F.binary_cross_entropy(video, torch.tensor([[1.0, 0], [0, 1]])).item()
    )


def test_total_weighs_the_contrast_and_every_weight_gets_a_gradient() -> None:
    model, batch = tiny(snico=0.01).train(), random_batch([0, 1, 2, 3], 40)
    terms = model.losses(model(batch, torch.Generator().manual_seed(0)), batch)
    assert terms["snico"] > 0
    torch.testing.assert_close(terms["total"], terms["cls"] + 0.01 * terms["snico"])
    terms["total"].backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in model.parameters())


def test_actionness_is_the_sum_of_the_activations() -> None:
    model, batch = tiny(), random_batch([0, 1], 30)
    outputs = model(batch)
    expected = snippet_contrast(
        outputs.embedding,
        outputs.cas[..., 0] + outputs.cas[..., 1],
        torch.ones(2, 30, dtype=torch.bool),
        outputs.eligible,
        ColaConfig(),
    )
    torch.testing.assert_close(model.losses(outputs, batch)["snico"], expected)


def test_video_logits_are_the_mean_of_the_top_fifth() -> None:
    model, batch = tiny(), random_batch([0], 10)
    outputs = model(batch)
    torch.testing.assert_close(outputs.video, outputs.cas.topk(2, dim=1).values.mean(dim=1))


def test_embedding_sees_both_tracks_and_is_as_wide_as_the_fused_features() -> None:
    with torch.device("meta"):
        full = CoLA(tiny_config().__class__(method="cola"))
    assert full.activations.embed.weight.shape == (2048, 2048 + 1024, 3)
    model, batch = tiny(), random_batch([0], 9)
    assert model.activations.embed.weight.shape == (4 * DIM, VISUAL_DIM + AUDIO_DIM, 3)
    before = model(batch).embedding
    for name in ("visual", "audio"):
        moved = dataclasses.replace(batch, **{name: getattr(batch, name) + 1})
        assert not torch.equal(model(moved).embedding, before)


def test_scores_are_honest_about_two_classes() -> None:
    cas = torch.tensor([[[0.0, 2.0], [1.0, 1.0], [3.0, 0.0], [0.0, 0.0]]])
    batch = random_batch([0], 4)
    found = family.scores(cas, batch, divisor=4)
    half = 0.5
    sure = math.exp(2) / (math.exp(2) + 1)
    # a step without forged activation scores 0: 0/0 is authentic, not a half
    for curve in (found.visual, found.audio, found.joint):
        assert curve[0].tolist() == pytest.approx([sure, half, 0.0, 0.0])
    # the largest of each class: (3, 2), hence e^-1 to 1; all of it goes to "both"
    forged = 1 / (1 + math.e)
    assert found.video_probabilities[0].tolist() == pytest.approx([1 - forged, 0, 0, forged])
    assert found.visual_error is None
    assert found.audio_error is None


def test_absent_tracks() -> None:
    check_absent_tracks(tiny())


def test_padding_and_neighbours_change_no_score() -> None:
    check_padding_of_scores(tiny())


def test_padding_changes_no_loss() -> None:
    check_padding_of_losses(tiny(easy_dropout=0.0))


def test_scores_do_not_depend_on_chance() -> None:
    check_determinism(tiny())


@pytest.mark.parametrize(("labels", "length"), [([0], 1), ([3], 1), ([0, 0], 3), ([1, 2, 3], 7)])
def test_odd_batches_train_without_nan(labels: list[int], length: int) -> None:
    check_odd_batch(tiny(), labels, length)


def test_it_learns_where_from_video_labels_alone() -> None:
    check_learning(tiny(), least_step_auc=0.95, least_video_auc=0.95)


def test_weights_survive_the_disk(tmp_path: Path) -> None:
    model, batch = tiny(seed=5), one_of(random_batch([1, 2], 6), 1)
    save_weights(model, tmp_path / "cola.safetensors")
    loaded = load_weights(model.config, tmp_path / "cola.safetensors")
    assert torch.equal(loaded.score(batch).joint, model.score(batch).joint)
