"""Table 3 by settings alone: which terms, heads and parameters each variant has, with Eq. 4 worked by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from method_checks import area, known, lesson
from model_factory import DIM, random_batch, tiny_config, tiny_model

from configs.schema import FDNConfig, HeadsConfig, LossConfig
from models.batch import Batch
from models.fdn import Reconstruction
from models.heads import HEADS, ORIGINAL_HEADS
from models.rt_deeploc import Outputs, RTDeepLoc

FDN = {"encoder_dim": 12, "decoder_dim": 8, "heads": 2, "encoder_layers": 1, "decoder_layers": 1}
NO_FDN: dict[str, Any] = {"fdn": FDNConfig(**FDN, enabled=False)}
NO_MTLR: dict[str, Any] = {"heads": HeadsConfig(hidden=16, dropout=0.0, mtlr=False)}
NO_AICL: dict[str, Any] = {"loss": LossConfig(aicl=0.0)}

VARIANTS = {
    # name: settings, parts of Eq. 4, heads, parameters of the FDN
    "no FDN": (NO_FDN, {"cls"}, ORIGINAL_HEADS, False),
    "FDN + AICL": (NO_MTLR, {"cls", "recon", "aicl"}, ORIGINAL_HEADS, True),
    "FDN + MTLR": (NO_AICL, {"cls", "recon", "kl"}, HEADS, True),
    "all": ({}, {"cls", "recon", "kl", "aicl"}, HEADS, True),
    "FDN alone": (NO_MTLR | NO_AICL, {"cls", "recon"}, ORIGINAL_HEADS, True),
    "no FDN, whatever else is asked for": (NO_FDN | NO_MTLR | NO_AICL, {"cls"}, ORIGINAL_HEADS, False),
}


def terms_of(model: RTDeepLoc, batch: Batch) -> dict[str, torch.Tensor]:
    return model.losses(model(batch, torch.Generator().manual_seed(0)), batch)


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_has_its_parts_and_no_other(name: str) -> None:
    settings, parts, heads, fdn = VARIANTS[name]
    model = tiny_model(**settings)
    terms = terms_of(model, random_batch([0, 0, 1, 2, 3], 12))
    by_track = {f"{part}_{track}" for part in parts - {"cls"} for track in ("visual", "audio")}
    assert terms.keys() == parts | by_track | {f"cls_{head}" for head in heads} | {"total"}
    assert tuple(model.heads.heads) == heads
    assert any("fdn" in parameter for parameter, _ in model.named_parameters()) is fdn


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_trains_every_parameter_that_it_has(name: str) -> None:
    model = tiny_model(**VARIANTS[name][0])
    terms_of(model, random_batch([0, 0, 1, 2, 3], 12))["total"].backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not (p.grad != 0).any()]
    # a key's bias moves all scores of a query alike: its gradient is zero by nature, and lies in a larger tensor
    assert still == []


@pytest.mark.parametrize("name", VARIANTS)
def test_total_is_eq_4_over_the_parts(name: str) -> None:
    weights = {"cls": 2.0, "recon": 0.5, "kl": 3.0, "aicl": 0.25}
    settings, parts, heads, _ = VARIANTS[name]
    loss = LossConfig(**weights | ({} if "aicl" in parts or "FDN" not in name else {"aicl": 0.0}))
    terms = {
        k: v.item()
        for k, v in terms_of(tiny_model(**settings | {"loss": loss}), random_batch([0, 0, 1, 3], 9)).items()
    }
    others = sum(terms[f"cls_{head}"] for head in heads if head != "fused")
    assert terms["cls"] == pytest.approx(0.8 * terms["cls_fused"] + 0.1 * others)
    assert terms["total"] == pytest.approx(sum(weights[part] * terms[part] for part in parts), rel=1e-5)


def flat_outputs(heads: tuple[str, ...], rebuilt: Reconstruction | None) -> Outputs:
    """Two videos of two steps; every head undecided, but the visual one of the original stream."""
    pooled = {head: torch.zeros(2, 4 if head == "fused" else 2) for head in heads}
    pooled["visual_original"] = torch.tensor([[math.log(3.0), 0.0]] * 2)  # (¾, ¼)
    logits = {head: value.unsqueeze(1).expand(-1, 2, -1) for head, value in pooled.items()}
    still = torch.tensor([[[3.0, 4.0], [3.0, 4.0]]] * 2)
    return Outputs(still, still, rebuilt, rebuilt, logits, pooled)


def test_no_fdn_by_hand() -> None:
    terms = tiny_model(**NO_FDN).losses(flat_outputs(ORIGINAL_HEADS, None), random_batch([0, 2], 2))
    # ln 4 of four undecided classes; -ln ¾ of two authentic pictures; ln 2 of undecided sound
    cls = 0.8 * math.log(4) + 0.1 * (math.log(4 / 3) + math.log(2))
    assert terms["total"].item() == pytest.approx(cls)


def test_fdn_and_aicl_by_hand() -> None:
    features = torch.tensor([[[3.0, 4.0], [3.0, 4.0]]] * 2)
    moved = features.clone()
    moved[0, 0] += torch.tensor([1.0, 2.0])  # squared error 5 at the masked step of the authentic video
    masked = torch.tensor([[True, False]] * 2)
    rebuilt = Reconstruction(moved, (moved - features).norm(dim=-1), masked)
    made = flat_outputs(ORIGINAL_HEADS, rebuilt)
    loss = LossConfig(recon=0.5, aicl=0.25, aicl_topk=1, aicl_margin=1.0)
    model = tiny_model(**NO_MTLR | {"loss": loss})
    three = Outputs(
        *(x[[0, 0, 1]] for x in (made.visual, made.audio)),
        *(Reconstruction(*(x[[0, 0, 1]] for x in vars(rebuilt).values())) for _ in range(2)),
        *({head: x[[0, 0, 1]] for head, x in group.items()} for group in (made.logits, made.pooled)),
    )
    terms = model.losses(three, random_batch([0, 0, 2], 2))
    cls = 0.8 * math.log(4) + 0.1 * (math.log(4 / 3) + math.log(2))
    assert terms["cls"].item() == pytest.approx(cls)
    assert terms["recon"].item() == pytest.approx(5 + 5)
    assert terms["aicl"].item() == pytest.approx(
        1.0
    )  # sound: equal features, so the margin; nobody's picture is forged
    assert terms["total"].item() == pytest.approx(cls + 0.5 * 10 + 0.25 * 1.0)


def test_fdn_and_mtlr_by_hand() -> None:
    features = torch.tensor([[[3.0, 4.0], [3.0, 4.0]]] * 2)
    rebuilt = Reconstruction(features, torch.zeros(2, 2), torch.tensor([[True, False]] * 2))
    loss = LossConfig(recon=0.5, kl=3.0, aicl=0.0)
    terms = tiny_model(loss=loss).losses(flat_outputs(HEADS, rebuilt), random_batch([0, 2], 2))
    cls = 0.8 * math.log(4) + 0.1 * (math.log(4 / 3) + 5 * math.log(2))
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)  # KL((¾, ¼) ‖ (½, ½)), of the picture
    assert terms["kl"].item() == pytest.approx(kl)
    assert terms["total"].item() == pytest.approx(cls + 3 * kl)  # nothing to rebuild is missing


def test_what_is_off_cannot_move_what_is_on() -> None:
    """Without MTLR, forged videos reach the FDN by no term; with it they do."""
    for settings, reached in ((NO_MTLR, False), ({}, True)):
        model = tiny_model(**settings)
        terms_of(model, random_batch([1, 2, 3], 12))["total"].backward()
        gradients = [p.grad for fdn in (model.fdn_visual, model.fdn_audio) if fdn for p in fdn.parameters()]
        assert any(g is not None and bool((g != 0).any()) for g in gradients) is reached


def test_gradient_without_the_contrast_is_that_of_the_other_terms() -> None:
    batch = random_batch([0, 0, 1, 2], 12)
    full, without = tiny_model(), tiny_model(**NO_AICL)
    terms = terms_of(full, batch)
    (terms["total"] - 0.1 * terms["aicl"]).backward()
    terms_of(without, batch)["total"].backward()
    for mine, theirs in zip(without.parameters(), full.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-6, rtol=1e-5)


def test_scores_come_from_the_original_streams_without_mtlr() -> None:
    batch = random_batch([0, 3], 7)
    for settings in (NO_FDN, NO_MTLR):
        model = tiny_model(**settings).eval()
        outputs, scores = model(batch), model.score(batch)
        for track in ("visual", "audio"):
            expected = outputs.logits[f"{track}_original"].softmax(dim=-1)[..., 1]
            torch.testing.assert_close(getattr(scores, track), expected)
        torch.testing.assert_close(scores.video_probabilities, outputs.pooled["fused"].softmax(dim=-1))


def test_errors_are_told_with_fdn_only() -> None:
    batch = random_batch([0, 1], 7)
    errors = {"visual_error", "audio_error"}
    assert errors.isdisjoint(known(tiny_model(**NO_FDN).score(batch)))
    for settings in (NO_MTLR, NO_AICL, {}):
        scores = known(tiny_model(**settings).score(batch))
        assert errors <= scores.keys()
        assert (scores["visual_error"] > 0).all()


def test_without_fdn_nothing_is_drawn() -> None:
    model, batch = tiny_model(**NO_FDN), random_batch([0, 1], 9)
    one, two = (model(batch, torch.Generator().manual_seed(seed)).video for seed in (1, 2))
    assert torch.equal(one, two)
    full = tiny_model()
    one, two = (full(batch, torch.Generator().manual_seed(seed)).pooled["visual"] for seed in (1, 2))
    assert not torch.equal(one, two)


def test_original_streams_are_those_of_the_whole_model() -> None:
    """The same seed gives the same embeddings and fusion: what Table 3 compares differs in the ablated parts only."""
    full, without = tiny_model(seed=3), tiny_model(seed=3, **NO_FDN)
    state = full.state_dict()
    shared = {k: v for k, v in without.state_dict().items() if not k.startswith("heads")}
    assert shared.keys() == {k for k in state if not k.startswith(("heads", "fdn"))}
    assert all(torch.equal(value, state[name]) for name, value in shared.items())
    assert tiny_config(**NO_FDN).digest() != tiny_config().digest()
    assert without.heads.heads["fused"].hidden.weight.shape[1] == 4 * DIM


@pytest.mark.parametrize(("name", "least"), [("no FDN", 0.95), ("FDN + AICL", 0.75)])
def test_ablated_model_learns_where_from_video_labels_alone(name: str, least: float) -> None:
    loss = LossConfig(recon=0.01)
    model = tiny_model(**VARIANTS[name][0] | {"loss": loss})
    batch, _ = lesson(32, 40, seed=1)
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(25):
        loss_now = model.losses(model(batch, generator), batch)["total"]
        optimiser.zero_grad()
        loss_now.backward()
        optimiser.step()
    batch, where = lesson(32, 40, seed=2)
    scores = model.score(batch)
    for curve, forged in ((scores.visual, batch.visual_forged), (scores.audio, batch.audio_forged)):
        areas = [area(curve[k][where[k]], curve[k][~where[k]]) for k in forged.nonzero().flatten()]
        assert sum(areas) / len(areas) > least
    assert (scores.video_probabilities.argmax(dim=1) == batch.label).float().mean() > 0.8


def test_absent_tracks_train_without_nan_in_every_variant() -> None:
    batch = random_batch([0, 1, 0, 2], 6)
    audio, visual = batch.audio_mask.clone(), batch.visual_mask.clone()
    audio[:2] = False
    visual[2] = False
    holed = dataclasses.replace(batch, audio_mask=audio, visual_mask=visual)
    for settings, *_ in VARIANTS.values():
        model = tiny_model(**settings)
        terms = terms_of(model, holed)
        terms["total"].backward()
        assert all(value.isfinite() for value in terms.values())
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_columns_that_are_not_to_be_seen_change_nothing() -> None:
    model, batch = tiny_model(unseen_columns=2), random_batch([0, 1, 2], 12)
    other = dataclasses.replace(batch, visual=batch.visual.clone(), audio=batch.audio.clone())
    other.visual[..., -2:] += 5.0
    other.audio[..., -2:] += 5.0
    before, after = model.score(batch), model.score(other)
    for name, value in vars(before).items():
        if value is not None:
            torch.testing.assert_close(value, getattr(after, name), rtol=0, atol=0)
    other.visual[..., -3] += 5.0
    assert not torch.equal(model.score(other).visual, before.visual)
