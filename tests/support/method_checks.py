"""What every method of two classes has to stand, for its tests: padding, absent tracks, chance, and a small lesson."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from model_factory import one_of, random_batch

from models.batch import Batch
from models.method import Method, Scores, WeakMethod


def padded(batch: Batch, steps: int, junk: float) -> Batch:
    """The batch with `steps` invalid steps appended, filled with `junk`."""
    grown = {}
    for name, tensor in vars(batch).items():
        grown[name] = tensor
        if name != "label":
            fill = torch.full((len(tensor), steps, *tensor.shape[2:]), False if "mask" in name else junk)
            grown[name] = torch.cat([tensor, fill.to(tensor.dtype)], dim=1)
    return Batch(**grown)


def holed(batch: Batch) -> Batch:
    """A short picture, a hole in the sound, no sound, a single step: videos 1, 2, 3 and 4; junk where invalid."""
    visual, audio = batch.visual_mask.clone(), batch.audio_mask.clone()
    visual[1, 5:] = False
    audio[2, 4:6] = False
    audio[3] = False
    visual[4, 1:] = audio[4, 1:] = False
    return dataclasses.replace(
        batch,
        visual=batch.visual.masked_fill(~visual.unsqueeze(-1), torch.nan),
        audio=batch.audio.masked_fill(~audio.unsqueeze(-1), 1e4),
        visual_mask=visual,
        audio_mask=audio,
    )


def known(scores: Scores) -> dict[str, torch.Tensor]:
    """What the scores hold, without what the method cannot say."""
    return {name: value for name, value in vars(scores).items() if value is not None}


def check_odd_batch(model: WeakMethod[Any], labels: list[int], length: int) -> None:
    """A batch of few clips, or short ones, gives finite losses and a finite gradient of every parameter."""
    batch = random_batch(labels, length)
    terms = model.train().losses(model(batch, torch.Generator().manual_seed(0)), batch)
    terms["total"].backward()
    assert all(value.isfinite() and value.dim() == 0 for value in terms.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def check_padding_of_scores(model: Method[Any]) -> None:
    """Scores of a video alone equal those in a padded batch of others, and are zero where nothing is valid."""
    batch = holed(padded(random_batch([0, 1, 2, 3, 0], 12), 4, junk=1e4))
    together = known(model.score(batch))
    for index, steps in enumerate([12, 12, 12, 12, 1]):
        alone = known(model.score(one_of(batch, index, steps)))
        for name, values in together.items():
            kept = values[index] if name == "video_probabilities" else values[index][:steps]
            torch.testing.assert_close(kept, alone[name][0], atol=1e-5, rtol=0)
            if name != "video_probabilities":
                assert (values[index][steps:] == 0).all()
    assert (together["joint"][:4, :5] > 0).any()


def check_padding_of_losses(original: WeakMethod[Any]) -> None:
    """Every term, and the gradient, is the same with and without padding. No dropout may be on."""
    found = []
    for batch in (
        holed(random_batch([0, 1, 2, 3, 3], 12)),
        padded(holed(random_batch([0, 1, 2, 3, 3], 12)), 5, 1e4),
    ):
        model = copy.deepcopy(original).train()  # running statistics move with every pass
        terms = model.losses(model(batch), batch)
        terms["total"].backward()
        found.append((terms, [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    (short, short_grads), (long, long_grads) = found
    assert short.keys() == long.keys()
    for name in short:
        torch.testing.assert_close(long[name], short[name], atol=1e-5, rtol=1e-5)
    assert len(short_grads) == len(list(model.parameters()))
    for mine, theirs in zip(long_grads, short_grads, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def check_absent_tracks(model: Method[Any]) -> None:
    """The probability of forged goes to the widest class that the tracks allow; the rest stays with `real`."""
    batch = random_batch([0, 0, 0, 0], 6)
    visual, audio = batch.visual_mask.clone(), batch.audio_mask.clone()
    audio[[1, 3]] = False
    visual[[2, 3]] = False
    batch = dataclasses.replace(batch, visual_mask=visual, audio_mask=audio)
    scores = model.score(batch)
    probabilities = scores.video_probabilities
    assert (probabilities > 0).tolist() == [
        [True, False, False, True],
        [True, True, False, False],
        [True, False, True, False],
        [True, False, False, False],
    ]
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(4))
    for curve, mask in ((scores.visual, visual), (scores.audio, audio), (scores.joint, visual | audio)):
        assert (curve[~mask] == 0).all()
        assert torch.equal(curve, scores.joint * mask)
    terms = model.train().losses(model(batch, torch.Generator().manual_seed(0)), batch)
    terms["total"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def check_determinism(model: Method[Any]) -> None:
    """Scores in training mode, at any state of the global generator and with any seed are the same."""
    batch = random_batch([0, 1], 9)
    model.train()
    torch.manual_seed(1)
    one = known(model.score(batch))
    torch.manual_seed(2)
    two = known(model.score(batch, seed=7))
    assert model.training
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not one["joint"].requires_grad


def lesson(videos: int, steps: int, seed: int) -> tuple[Batch, torch.Tensor]:
    """Noise, and in a fifth of each forged track a shift; (B, T) bool says where."""
    batch = random_batch([k % 4 for k in range(videos)], steps, seed)
    first = torch.randint(0, steps * 4 // 5, (videos, 1), generator=torch.Generator().manual_seed(seed))
    step = torch.arange(steps)
    where = (step >= first) & (step < first + steps // 5)
    seen, heard = where & batch.visual_forged.unsqueeze(1), where & batch.audio_forged.unsqueeze(1)
    shifted = dataclasses.replace(
        batch,
        visual=batch.visual + 2.5 * seen.unsqueeze(-1),
        audio=batch.audio - 2.5 * heard.unsqueeze(-1),
    )
    return shifted, seen | heard


def area(inside: torch.Tensor, outside: torch.Tensor) -> float:
    """Area under the ROC curve of two sets of scores; equal ones count half."""
    above, equal = inside.unsqueeze(1) > outside, inside.unsqueeze(1) == outside
    return float(above.float().mean() + equal.float().mean() / 2)


def check_learning(
    model: Method[Any], least_step_auc: float, least_video_auc: float, steps: int = 60
) -> None:
    """Trained with video labels, it finds the forged steps of forged videos it has not seen, and these videos."""
    train, unseen = lesson(32, 40, seed=1), lesson(32, 40, seed=2)
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    model.train()
    for _ in range(steps):
        chosen = torch.randperm(32, generator=generator)[:16]
        batch = Batch(**{name: tensor[chosen] for name, tensor in vars(train[0]).items()})
        loss = model.losses(model(batch, generator), batch)["total"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    batch, where = unseen
    scores = model.score(batch)
    forged = ~batch.authentic
    steps_auc = [
        area(scores.joint[k][where[k]], scores.joint[k][~where[k]]) for k in forged.nonzero().flatten()
    ]
    assert sum(steps_auc) / len(steps_auc) > least_step_auc
    suspicion = 1 - scores.video_probabilities[:, 0]
    assert area(suspicion[forged], suspicion[~forged]) > least_video_auc
