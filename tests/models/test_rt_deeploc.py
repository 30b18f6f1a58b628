"""The whole model: Eq. 4, targets of the heads, invariances of the scores, odd batches, learning, weights on disk."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from model_factory import AUDIO_DIM, DIM, VISUAL_DIM, one_of, random_batch, tiny_config, tiny_model
from saved_weights import save_weights

from configs.schema import FDNConfig, FusionConfig, HeadsConfig, LossConfig
from data.errors import WeightsError
from models.batch import Batch
from models.fdn import Reconstruction
from models.heads import HEADS
from models.method import Scores
from models.rt_deeploc import Outputs, RTDeepLoc
from models.weights import load_weights


def without_audio(batch: Batch, *videos: int) -> Batch:
    mask = batch.audio_mask.clone()
    mask[list(videos)] = False
    return dataclasses.replace(batch, audio_mask=mask)


def without_visual(batch: Batch, *videos: int) -> Batch:
    mask = batch.visual_mask.clone()
    mask[list(videos)] = False
    return dataclasses.replace(batch, visual_mask=mask)


def padded(batch: Batch, steps: int, junk: float) -> Batch:
    """The batch with `steps` invalid steps appended, filled with `junk`."""
    grown = {}
    for name, tensor in vars(batch).items():
        if name == "label":
            grown[name] = tensor
        else:
            fill = torch.full((len(tensor), steps, *tensor.shape[2:]), False if "mask" in name else junk)
            grown[name] = torch.cat([tensor, fill.to(tensor.dtype)], dim=1)
    return Batch(**grown)


def hand_made_outputs() -> Outputs:
    """Two steps, two channels, an authentic video and one with forged sound; every number simple."""
    still = torch.tensor([[[3.0, 4.0], [3.0, 4.0]]] * 2)  # unit vectors (0.6, 0.8)
    moved = still.clone()
    moved[0, 0] += torch.tensor([1.0, 2.0])  # error √5 at the masked step of the authentic video
    masked = torch.tensor([[True, False], [True, False]])
    error = (moved - still).norm(dim=-1)
    flat = {name: torch.zeros(2, 4 if name == "fused" else 2) for name in HEADS}
    flat["visual_rebuilt"] = torch.tensor([[0.0, math.log(3.0)]] * 2)
    logits = {name: pooled.unsqueeze(1).expand(-1, 2, -1) for name, pooled in flat.items()}
    rebuilt = Reconstruction(moved, error, masked)
    return Outputs(still, still, rebuilt, rebuilt, logits, flat)


def test_eq_4_by_hand() -> None:
    weights = LossConfig(cls=2.0, recon=0.5, kl=3.0, aicl=0.25, aicl_topk=1, aicl_margin=1.0)
    model = tiny_model(loss=weights)
    batch = random_batch([0, 2], 2)
    terms = {name: value.item() for name, value in model.losses(hand_made_outputs(), batch).items()}
    # Four flat classes: ln 4. Two flat classes: ln 2. The rebuilt visual head says (1/4, 3/4) of two authentic
    # visual tracks: -ln 1/4 = ln 4.
    assert terms["cls_fused"] == pytest.approx(math.log(4))
    assert terms["cls_visual"] == pytest.approx(math.log(2))
    assert terms["cls_visual_rebuilt"] == pytest.approx(math.log(4))
    cls = 0.8 * math.log(4) + 0.1 * (5 * math.log(2) + math.log(4))
    assert terms["cls"] == pytest.approx(cls)
    # Eq. 2: 1 + 4 = 5 in each modality. KL((½, ½) ‖ (¼, ¾)) = ½ ln 4/3 in the visual one, 0 in the audio one.
    assert terms["recon"] == pytest.approx(5 + 5)
    assert terms["kl"] == pytest.approx(0.5 * math.log(4 / 3))
    # Eq. 3: one authentic video has no positive for sound, two authentic visual tracks have no negative.
    assert terms["aicl"] == 0
    total = 2.0 * cls + 0.5 * 10 + 3.0 * 0.5 * math.log(4 / 3)
    assert terms["total"] == pytest.approx(total)


def test_eq_4_adds_the_contrastive_term() -> None:
    model = tiny_model(loss=LossConfig(cls=0.0, recon=0.0, kl=0.0, aicl=0.25, aicl_topk=1, aicl_margin=1.0))
    made = hand_made_outputs()
    one = {name: getattr(made, name) for name in ("visual", "audio")}
    # three videos now: two authentic ones and one with forged sound, all local features (0.6, 0.8)
    three = dataclasses.replace(
        made,
        **{name: x[[0, 0, 1]] for name, x in one.items()},
        visual_rebuilt=Reconstruction(*(x[[0, 0, 1]] for x in vars(made.visual_rebuilt).values())),
        audio_rebuilt=Reconstruction(*(x[[0, 0, 1]] for x in vars(made.audio_rebuilt).values())),
        pooled={name: x[[0, 0, 1]] for name, x in made.pooled.items()},
    )
    terms = model.losses(three, random_batch([0, 0, 2], 2))
    assert terms["aicl_audio"].item() == pytest.approx(1.0)  # 0 - 0 + m
    assert terms["aicl_visual"].item() == 0  # nobody's picture is forged
    assert terms["total"].item() == pytest.approx(0.25)


def test_video_labels_decide_in_the_contrastive_term_when_asked() -> None:
    batch = random_batch([0, 0, 2, 2], 8)
    for choice, visual_counts in (("modality", False), ("video", True)):
        model = tiny_model(loss=LossConfig(aicl_label=choice, aicl_topk=3))
        terms = model.losses(model(batch, torch.Generator().manual_seed(0)), batch)
        assert (terms["aicl_visual"].item() > 0) is visual_counts
        assert terms["aicl_audio"].item() > 0


def test_default_weights_are_the_papers() -> None:
    weights = LossConfig()
    assert (weights.cls, weights.recon, weights.kl, weights.aicl) == (1.0, 0.1, 0.1, 0.1)
    assert (weights.fused_head, weights.other_heads) == (0.8, 0.1)


def test_modality_heads_learn_the_label_of_their_own_track() -> None:
    model = tiny_model()
    batch = random_batch([0, 1, 2, 3], 4)
    outputs = model(batch, torch.Generator().manual_seed(0))
    sure = {"visual": [0, 1, 0, 1], "audio": [0, 0, 1, 1]}
    for track, classes in sure.items():
        right = 40.0 * torch.nn.functional.one_hot(torch.tensor(classes), 2).float()
        heads = [name for name in HEADS if name.startswith(track)]
        terms = model.losses(
            dataclasses.replace(outputs, pooled={**outputs.pooled, **dict.fromkeys(heads, right)}), batch
        )
        assert len(heads) == 3
        assert all(terms[f"cls_{name}"].item() < 1e-6 for name in heads)


def test_top_steps_are_chosen_among_masked_ones() -> None:
    """Eq. 2 leaves the decoder untrained at visible steps: their errors must not lead the contrastive loss."""
    model = tiny_model(loss=LossConfig(aicl_topk=1))
    batch = random_batch([0, 0, 2], 2)
    forward = model(batch, torch.Generator().manual_seed(0))
    masked = torch.tensor([[True, False]] * 3)
    features = torch.tensor(
        [[[1.0, 0.0], [0.0, 1.0]]] * 3
    )  # masked steps all equal, visible ones all different
    features[2, 1] = torch.tensor([0.0, -1.0])
    loud = Reconstruction(features, torch.tensor([[1.0, 99.0]] * 3), masked)
    terms = model.losses(dataclasses.replace(forward, audio=features, audio_rebuilt=loud), batch)
    assert terms["aicl_audio"].item() == pytest.approx(1.0)  # 0 - 0 + m


@pytest.mark.parametrize(
    ("labels", "steps"),
    [([0], 1), ([3], 1), ([0], 7), ([0, 0, 0], 5), ([1, 2, 3], 5), ([0, 1, 2, 3], 2)],
)
def test_odd_batches_train_without_nan(labels: list[int], steps: int) -> None:
    model, batch = tiny_model(), random_batch(labels, steps)
    terms = model.losses(model(batch, torch.Generator().manual_seed(0)), batch)
    terms["total"].backward()
    assert all(value.isfinite() and value.dim() == 0 for value in terms.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    if 0 not in labels:
        assert terms["recon"].item() == 0


def test_absent_tracks_train_without_nan_and_without_loss() -> None:
    model = tiny_model()
    batch = without_visual(without_audio(random_batch([0, 1, 0, 2], 6), 0, 1), 2, 3)
    terms = model.losses(model(batch, torch.Generator().manual_seed(0)), batch)
    terms["total"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())

    deaf = without_audio(batch, 0, 1, 2, 3)
    terms = model.losses(model(deaf, torch.Generator().manual_seed(0)), deaf)
    assert all(terms[name].item() == 0 for name in terms if "audio" in name)


def test_a_forgery_in_a_track_without_a_valid_step_is_no_target() -> None:
    batch = without_visual(without_audio(random_batch([0, 1, 2, 3, 1, 2, 3], 6), 4, 5, 6), 1, 2, 3)
    # Picture unseen in 1 to 3, sound unheard in 4 to 6: what remains of visual, audio and both.
    assert batch.seen_label.tolist() == [0, 0, 2, 2, 1, 0, 1]
    target, present = tiny_model()._target("fused", batch)
    assert target.tolist() == batch.seen_label.tolist()
    assert present.all()
    for head, seen in (("visual", [0, 4, 5, 6]), ("audio", [0, 1, 2, 3])):
        _, present = tiny_model()._target(head, batch)
        assert present.nonzero().flatten().tolist() == seen


def test_padding_does_not_change_the_losses() -> None:
    """With one shared mask (⌊ρT⌋ of the valid steps) every term is the same with and without padding."""
    model = tiny_model(fdn=FDNConfig(encoder_dim=12, decoder_dim=8, heads=2, mask_ratio=0.01))
    batch = random_batch([0, 0, 1, 3], 9)  # ⌊0.09⌋ = 0 masked steps: no randomness
    short = model.losses(model(batch), batch)
    long = padded(batch, 5, junk=1e4)
    for name, value in model.losses(model(long), long).items():
        torch.testing.assert_close(value, short[name], atol=1e-5, rtol=1e-5)


def test_forged_videos_send_no_reconstruction_gradient_anywhere() -> None:
    model = tiny_model()
    batch = random_batch([1, 2, 3], 8)
    model.losses(model(batch, torch.Generator().manual_seed(0)), batch)["recon"].backward()
    assert all((p.grad is None) or (p.grad == 0).all() for p in model.parameters())


def test_reconstruction_of_authentic_videos_ignores_forged_neighbours() -> None:
    model = tiny_model()
    grads = []
    for seed in (1, 2):
        batch = random_batch([0, 3], 8)
        other = random_batch([0, 3], 8, seed)  # another forged video beside the same authentic one
        batch = dataclasses.replace(batch, visual=torch.cat([batch.visual[:1], other.visual[1:]]))
        model.zero_grad()
        model.losses(model(batch, torch.Generator().manual_seed(0)), batch)["recon_visual"].backward()
        grads.append(model.embed_visual.conv.weight.grad.clone())
    torch.testing.assert_close(grads[0], grads[1])
    assert (grads[0] != 0).any()


def test_stop_gradient_holds_the_target_still() -> None:
    """With a deaf encoder the embedding is reached through the target alone."""
    for stop in (True, False):
        sizes = FDNConfig(encoder_dim=12, decoder_dim=8, heads=2, stop_gradient_target=stop)
        model = tiny_model(fdn=sizes)
        torch.nn.init.zeros_(model.fdn_visual.to_encoder.weight)
        batch = random_batch([0, 0], 8)
        model.losses(model(batch), batch)["recon_visual"].backward()
        grad = model.embed_visual.conv.weight.grad
        assert (grad is None or bool((grad == 0).all())) is stop


def test_scores_have_the_documented_shapes_and_ranges() -> None:
    scores = tiny_model().score(random_batch([0, 1, 2], 7))
    assert scores.video_probabilities.shape == (3, 4)
    torch.testing.assert_close(scores.video_probabilities.sum(dim=1), torch.ones(3))
    for name in ("visual", "audio", "joint"):
        curve = getattr(scores, name)
        assert curve.shape == (3, 7)
        assert ((curve > 0) & (curve < 1)).all()
    assert (scores.visual_error > 0).all()
    assert (scores.audio_error > 0).all()


def test_scores_are_the_softmax_of_their_heads() -> None:
    model = tiny_model().eval()
    batch = random_batch([0], 5)
    with torch.no_grad():
        f_v, f_a = model._embed(batch)
        rebuilt = [
            fdn.average(f, torch.ones(1, 5, dtype=torch.bool), 0)
            for fdn, f in ((model.fdn_visual, f_v), (model.fdn_audio, f_a))
        ]
        out = model._classify(batch, f_v, f_a, *rebuilt)
    scores = model.score(batch)
    fused, visual = out.logits["fused"][0].exp(), out.logits["visual"][0].exp()
    torch.testing.assert_close(scores.joint[0], fused[:, 1:].sum(dim=1) / fused.sum(dim=1))
    torch.testing.assert_close(scores.visual[0], visual[:, 1] / visual.sum(dim=1))
    torch.testing.assert_close(scores.video_probabilities, out.pooled["fused"].softmax(dim=1))


def test_scores_do_not_depend_on_chance_nor_change_the_mode() -> None:
    model, batch = tiny_model(heads=HeadsConfig(hidden=16, dropout=0.5)), random_batch([0, 1], 9)
    model.train()
    torch.manual_seed(1)
    one = model.score(batch)
    torch.manual_seed(2)
    two = model.score(batch)
    assert model.training
    for name in tensors(one):
        assert torch.equal(getattr(one, name), getattr(two, name))
    assert not one.visual.requires_grad
    assert not torch.equal(model.score(batch, seed=1).visual_error, one.visual_error)


@pytest.mark.parametrize("reach", [None, 2])
def test_scores_do_not_depend_on_padding_or_neighbours(reach: int | None) -> None:
    model = tiny_model(fusion=FusionConfig(dim=DIM, heads=2, dropout=0.0, reach=reach))
    batch = padded(random_batch([0, 1, 2, 3, 0], 12), 4, junk=1e4)
    masks = {name: getattr(batch, name).clone() for name in ("visual_mask", "audio_mask")}
    masks["visual_mask"][1, 5:] = False  # a short picture, a hole, no sound, a single step
    masks["audio_mask"][2, 4:6] = False
    masks["audio_mask"][3] = False
    masks["visual_mask"][4, 1:] = masks["audio_mask"][4, 1:] = False
    batch = dataclasses.replace(batch, **masks)
    together = model.score(batch)
    for index, steps in enumerate([12, 12, 12, 12, 1]):
        alone = model.score(one_of(batch, index, steps))
        for name in tensors(together):
            grouped = getattr(together, name)[index]
            kept = grouped if name == "video_probabilities" else grouped[:steps]
            torch.testing.assert_close(kept, getattr(alone, name)[0], atol=1e-5, rtol=0)
            if name != "video_probabilities":
                assert (grouped[steps:] == 0).all()


def test_without_a_track_its_classes_are_impossible() -> None:
    model = tiny_model()
    batch = random_batch([0, 0, 0, 0], 6)
    full = model.score(batch).video_probabilities[0]
    batch = without_visual(without_audio(batch, 1, 3), 2, 3)
    scores = model.score(batch)
    torch.testing.assert_close(scores.video_probabilities[0], full)
    possible = scores.video_probabilities > 0
    assert possible.tolist() == [
        [True, True, True, True],
        [True, True, False, False],
        [True, False, True, False],
        [True, False, False, False],
    ]
    torch.testing.assert_close(scores.video_probabilities.sum(dim=1), torch.ones(4))
    assert (scores.audio[1] == 0).all()
    assert (scores.audio_error[1] == 0).all()
    assert (scores.visual[2] == 0).all()
    assert (scores.joint[3] == 0).all()
    assert (scores.joint[:3] > 0).all()
    assert all(getattr(scores, name).isfinite().all() for name in tensors(scores))


def tensors(scores: Scores) -> list[str]:
    """The fields that RT-DeepLoc fills: it proposes no spans of its own."""
    return [name for name, value in vars(scores).items() if value is not None]


def forged_shift(labels: list[int], steps: int, seed: int) -> tuple[Batch, torch.Tensor, torch.Tensor]:
    """Noise, and in the middle fifth of a forged track a constant shift; the last two say where."""
    batch = random_batch(labels, steps, seed)
    where = torch.zeros(len(labels), steps, dtype=torch.bool)
    for row in range(len(labels)):
        first = (row * 5) % (steps * 4 // 5)
        where[row, first : first + steps // 5] = True
    seen, heard = where & batch.visual_forged.unsqueeze(1), where & batch.audio_forged.unsqueeze(1)
    shifted = dataclasses.replace(
        batch,
        visual=batch.visual + 2.5 * seen.unsqueeze(-1),
        audio=batch.audio - 2.5 * heard.unsqueeze(-1),
    )
    return shifted, seen, heard


def test_video_labels_alone_teach_classes_and_where_the_forged_steps_are() -> None:
    model = tiny_model()
    batch, seen, heard = forged_shift([0, 1, 2, 3, 0, 1, 2, 3], 40, seed=3)
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(30):
        loss = model.losses(model(batch, generator), batch)["total"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    scores = model.score(batch)
    assert scores.video_probabilities.argmax(dim=1).tolist() == batch.label.tolist()
    for curve, where, routed_here in (
        (scores.visual, seen, batch.visual_forged),
        (scores.audio, heard, batch.audio_forged),
        (scores.joint, seen | heard, batch.visual_forged & batch.audio_forged),
    ):
        for row in routed_here.nonzero().flatten().tolist():
            inside, outside = curve[row][where[row]], curve[row][~where[row]]
            assert (inside.unsqueeze(1) > outside).float().mean() > 0.9  # area under the ROC curve


def test_weights_survive_the_disk(tmp_path: Path) -> None:
    model, batch = tiny_model(seed=7), random_batch([0, 1], 5)
    save_weights(model, tmp_path / "model.safetensors")
    loaded = load_weights(tiny_config(), tmp_path / "model.safetensors")
    assert not loaded.training
    assert torch.equal(loaded.score(batch).joint, model.score(batch).joint)


def test_bad_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        load_weights(tiny_config(), path)
    save_weights(tiny_model(), path)
    with pytest.raises(WeightsError, match="another model"):
        load_weights(tiny_config(visual_dim=VISUAL_DIM + 1), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="safetensors"):
        load_weights(tiny_config(), path)


def test_full_size_model_has_the_designed_widths() -> None:
    with torch.device("meta"):
        model = RTDeepLoc(tiny_config().__class__())
    assert model.embed_visual.conv.weight.shape == (512, 2048, 3)
    assert model.embed_audio.conv.weight.shape == (512, 1024, 3)
    assert model.heads.heads["fused"].hidden.weight.shape == (1024, 2048, 3)
    assert model.heads.heads["visual"].hidden.weight.shape == (1024, 1024, 3)
    assert (len(model.fdn_visual.encoder.layers), len(model.fdn_visual.decoder.layers)) == (4, 2)


def test_features_keep_their_width_through_the_model() -> None:
    outputs = tiny_model()(random_batch([0], 5))
    assert outputs.visual.shape == outputs.audio.shape == outputs.visual_rebuilt.features.shape == (1, 5, DIM)
    assert (VISUAL_DIM, AUDIO_DIM) == (6, 5)
