"""FuSTAL: pseudo-labels and contrast across videos by hand and against loops; its three stages; that it learns."""

from __future__ import annotations

import pytest
import torch
from method_checks import (
    check_absent_tracks,
    check_determinism,
    check_learning,
    check_padding_of_losses,
    check_padding_of_scores,
    padded,
)
from model_factory import one_of, random_batch, tiny_config
from torch.nn import functional as F

from configs.schema import ColaConfig
from configs.weak import FustalConfig
from models.baselines.cola import info_nce
from models.baselines.fustal import (
    FuSTAL,
    FuSTALGenerator,
    crossed_nce,
    outer_inner,
    overlaps,
    pseudo_labels,
    runs,
)
from models.baselines.tridet import TriDet
from models.weights import build


def tiny(**settings: float) -> FuSTAL:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(tiny_config(method="fustal", fustal=FustalConfig(dropout=0.0, **settings)))
    assert isinstance(model, FuSTAL)
    return model


def tiny_generator(**settings: float) -> FuSTALGenerator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(tiny_config(method="fustal_generator", cola=ColaConfig(**settings)))
    assert isinstance(model, FuSTALGenerator)
    return model


# --- pseudo-labels --------------------------------------------------------------------------------------------


def test_runs_by_hand() -> None:
    curve = torch.tensor([0.5, 0.6, 0.0, 0.9, 0.0, 0.4, 0.5, 0.6])
    # the 0.9 alone is too short, and 0.4 is not above 0.4
    assert runs(curve, 0.4).tolist() == [[0, 2], [6, 8]]
    assert runs(curve, 0.95).tolist() == []


def test_contrast_of_a_segment_with_its_surroundings_by_hand() -> None:
    curve = torch.tensor([0.0, 0, 0, 1, 1, 1, 1, 0.5, 0, 0])
    found = outer_inner(curve, torch.tensor([[3, 7], [0, 10], [7, 10]]))
    # 4 steps, a ring of one on either side: 1 - (0 + 0.5) / 2; nothing around the whole; 0.5 / 3 - 1
    assert found.tolist() == pytest.approx([0.75, 0.45, 0.5 / 3 - 1])


def test_overlap_is_of_lengths_without_an_extra_step() -> None:
    one, other = torch.tensor([[10, 12]]), torch.tensor([[10, 16], [12, 14], [10, 12]])
    assert overlaps(one, other)[0].tolist() == pytest.approx([1 / 3, 0, 1])


def test_a_rectangle_is_its_own_pseudo_label() -> None:
    activation = torch.zeros(30)
    activation[8:14] = 3.0
    assert pseudo_labels(activation, torch.tensor(0.9), FustalConfig()).tolist() == [[8, 14]]


def test_pseudo_labels_need_score_and_support() -> None:
    activation = torch.zeros(30)
    activation[8:14] = 3.0
    sure = torch.tensor(0.5)
    # 1 inside, 0 around, and 0.2 · 0.5: a score of 1.1; 25 thresholds give the same run: support 24
    for settings, count in (
        ({"score": 1.09}, 1),
        ({"score": 1.11}, 0),
        ({"support": 23.9}, 1),
        ({"support": 24.1}, 0),
    ):
        assert len(pseudo_labels(activation, sure, FustalConfig(**settings))) == count


def test_of_overlapping_segments_the_better_one_stays() -> None:
    activation = torch.zeros(40)
    activation[8:14], activation[14:16] = 1.0, 0.5
    activation[30:34] = 0.6
    found = pseudo_labels(
        activation, torch.tensor(1.0), FustalConfig(thresholds=(0.4, 0.55, 0.8), support=0.0)
    )
    # [8, 16) at 0.4 overlaps [8, 14) by 6 / 8; of the two the latter has more contrast: its ring of two holds 0.25
    # (1 - 0.125 against 0.875 - 0, a tie, and the earlier threshold wins it)
    assert found.tolist() in ([[8, 14], [30, 34]], [[8, 16], [30, 34]])
    assert len(found) == 2


def test_a_flat_curve_has_no_pseudo_label() -> None:
    for level in (0.0, 2.0):
        assert len(pseudo_labels(torch.full((20,), level), torch.tensor(1.0), FustalConfig())) == 0


# --- contrast across videos -----------------------------------------------------------------------------------


def test_crossed_contrast_agrees_with_a_loop_over_pairs() -> None:
    """Oracle: CoLA's contrast of a video whose query is another video's, pair by pair."""
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(4, 12, 5, generator=generator)
    query, key, negative = (torch.rand(4, 12, generator=generator) > 0.6 for _ in range(3))
    query[3] = False
    label = torch.tensor([0, 1, 0, 0])
    expected = []
    for i in range(4):
        for j in range(4):
            if i == j or label[i] != label[j] or j == 3:
                continue
            asked = F.normalize(embedding[j][query[j]].mean(dim=0), dim=0)
            answer = F.normalize(embedding[i][key[i]].mean(dim=0), dim=0)
            unlike = F.normalize(embedding[i][negative[i]], dim=1) @ asked
            logits = torch.cat([(asked @ answer).view(1), unlike]) / 0.07
            expected.append(F.cross_entropy(logits.unsqueeze(0), torch.tensor([0])))
    alike = label.unsqueeze(1) == label
    found = crossed_nce(embedding, query, key, negative, alike, 0.07)
    torch.testing.assert_close(found, torch.stack(expected).mean())
    assert len(expected) == 4  # (0, 2), (2, 0), (3, 0) and (3, 2)


def test_crossed_contrast_of_two_equal_videos_is_colas() -> None:
    embedding = torch.randn(1, 12, 5, generator=torch.Generator().manual_seed(1)).repeat(2, 1, 1)
    sets = [torch.zeros(2, 12, dtype=torch.bool) for _ in range(3)]
    for chosen, first in zip(sets, (0, 4, 8), strict=True):
        chosen[:, first : first + 3] = True
    alike = torch.ones(2, 2, dtype=torch.bool)
    torch.testing.assert_close(crossed_nce(embedding, *sets, alike, 0.07), info_nce(embedding, *sets, 0.07))


def test_the_generator_adds_a_fifth_of_the_crossed_contrast_to_colas() -> None:
    model, batch = tiny_generator().train(), random_batch([0, 1, 2, 0], 40)
    terms = model.losses(model(batch, torch.Generator().manual_seed(0)), batch)
    assert terms["crossed"] > 0
    expected = terms["cls"] + 0.01 * (terms["snico"] + 0.2 * terms["crossed"])
    torch.testing.assert_close(terms["total"], expected)
    alone = random_batch([0, 1], 40)  # no two of a label
    assert model.losses(model(alone), alone)["crossed"] == 0


def test_the_generator_stands_what_cola_stands() -> None:
    check_absent_tracks(tiny_generator())
    check_padding_of_losses(tiny_generator(easy_dropout=0.0))
    check_padding_of_scores(tiny_generator())
    check_determinism(tiny_generator())


# --- stages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "stages"), [(10, [5, 8]), (200, [100, 160]), (2, [1, 2]), (1, [1, 1])])
def test_stages_divide_the_steps(steps: int, stages: list[int]) -> None:
    model = tiny()
    model.begin(steps)
    assert model.stages.tolist() == stages


def test_each_stage_trains_its_own_part() -> None:
    model, batch = tiny().train(), random_batch([0, 1, 2, 3], 24)
    model.begin(10)
    trained = []
    for _ in range(10):
        model.zero_grad(set_to_none=True)
        terms = model.losses(model(batch, torch.Generator().manual_seed(0)), batch)
        terms["total"].backward()
        trained.append({name.partition(".")[0] for name, p in model.named_parameters() if p.grad is not None})
        assert all(value.isfinite() for value in terms.values())
    assert trained == [{"generator"}] * 5 + [{"student"}] * 5
    assert int(model.passes) == 10


def test_the_average_starts_from_the_student_and_follows_it() -> None:
    model, batch = tiny().train(), random_batch([0, 1], 24)
    model.begin(2)
    model(batch)
    with torch.no_grad():
        for p in model.student.parameters():
            p.add_(1.0)
    model(batch)  # the student's first pass
    for mine, theirs in zip(model.average.parameters(), model.student.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
        with torch.no_grad():
            theirs.add_(1.0)
    model(batch)  # decay 2 / 11
    for mine, theirs in zip(model.average.parameters(), model.student.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs - 2 / 11)


@pytest.mark.parametrize("stage", [1, 2])
def test_an_authentic_clip_has_no_segment_to_learn(stage: int) -> None:
    model, batch = tiny(score=0.0, support=0.0).train(), random_batch([0, 3, 0, 1], 40)
    model.begin(10)
    model.passes.fill_(5 if stage == 1 else 8)
    segments = model(batch).segments
    assert [len(one) > 0 for one in segments] == [False, True, False, True]


def test_the_generator_scores_until_the_students_turn() -> None:
    model, batch = tiny(), random_batch([0, 1], 24)
    assert model.score(batch).spans is None
    model.begin(10)
    model.passes.fill_(5)
    found = model.score(batch)
    assert found.spans is not None
    assert torch.equal(found.joint, model.average.score(batch).joint)
    alone = model.score(one_of(batch, 1, 20))
    longer = model.score(padded(one_of(batch, 1, 20), 4, junk=1e4))
    torch.testing.assert_close(longer.joint[:, :20], alone.joint, atol=1e-5, rtol=0)
    assert (longer.joint[:, 20:] == 0).all()


def test_the_student_is_tridet_and_the_average_is_not_trained() -> None:
    model = tiny()
    counts = {
        name: sum(p.numel() for p in part.parameters() if p.requires_grad)
        for name, part in model.named_children()
    }
    alone = TriDet(tiny_config())
    assert counts["student"] == sum(p.numel() for p in alone.parameters())
    assert counts["average"] == 0


def test_it_learns_where_from_video_labels_alone() -> None:
    check_learning(tiny_generator(), least_step_auc=0.95, least_video_auc=0.95)


def test_the_student_learns_where_from_the_generators_segments() -> None:
    model = tiny(generator_share=0.3, labelled_share=0.8)
    model.begin(100)
    check_learning(model, least_step_auc=0.9, least_video_auc=0.9, steps=100)
    assert model.passes >= model.stages[1]  # through all stages
