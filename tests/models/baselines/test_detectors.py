"""The fully supervised methods: parts against oracles, published sizes, padding, decoding, and that they learn."""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

import pytest
import torch
from method_checks import holed, padded
from model_factory import AUDIO_DIM, VISUAL_DIM, random_batch, tiny_config
from torch import nn
from torch.nn import functional as F

from configs.detectors import DetectorConfig, PointLossConfig, TriDetConfig
from configs.schema import ModelConfig
from models.baselines.detector import Level, Outputs, PointDetector, sequences
from models.baselines.pyramid import Attention, halved, positions, widened
from models.baselines.tridet import SGP, GroupNorm, trident
from models.baselines.ummaformer import Doubling, UMMAFormer, instance_norm
from models.batch import Batch
from models.method import SupervisedMethod, WeakMethod
from models.weights import METHODS, build, method_class

NAMES = ("actionformer", "tridet", "ummaformer", "mfms")


def tiny(name: str, **parts: Any) -> PointDetector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(tiny_config(method=name, **parts))
    assert isinstance(model, PointDetector)
    return model


def stirred(model: PointDetector) -> PointDetector:
    """Parameters drawn anew: branch scales of 1e-4 would hide errors."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


# --- supervision is a matter of types -----------------------------------------------------------------------------


def test_only_the_supervised_methods_take_segments() -> None:
    for name in METHODS:
        method = method_class(name)
        takes = "segments" in inspect.signature(method.losses).parameters
        assert takes is issubclass(method, SupervisedMethod) is (name in NAMES)
        assert issubclass(method, WeakMethod) is not takes
    assert not {field.name for field in dataclasses.fields(Batch)} & {"segments", "periods", "intervals"}


# --- sizes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "audio", "millions"),
    [
        ("actionformer", 1024, 10.5),
        ("tridet", 1024, 13.2),
        ("ummaformer", 1024, 47.4),
        ("ummaformer", 2048, 49.7),
    ],
)
def test_parameters_are_as_many_as_in_the_originals(name: str, audio: int, millions: float) -> None:
    """Counts of the authors' code with 4096 picture channels (rgb and flow); TriDet's with heads of 256."""
    with torch.device("meta"):
        config = ModelConfig(
            method=name,
            visual_dim=4096,
            audio_dim=audio,
            tridet=TriDetConfig(head_dim=256),  # type: ignore[arg-type]
        )
        count = sum(p.numel() for p in build(config).parameters())
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize("name", NAMES)
def test_levels_halve_and_a_clip_is_resized(name: str) -> None:
    batch = random_batch([0, 1], 25)
    levels = tiny(name)(batch).levels
    assert [level.logits.shape for level in levels] == [(2, 25), (2, 13), (2, 7), (2, 4)]
    assert [level.offsets.shape for level in levels] == [(2, 25, 2), (2, 13, 2), (2, 7, 2), (2, 4, 2)]
    detector = DetectorConfig(length=64, dim=16, head_dim=16, heads=2, levels=4)
    tridet = TriDetConfig(length=64, dim=16, head_dim=16, hidden=32, levels=4)
    outputs = tiny(name, detector=detector, tridet=tridet)(batch)
    assert [level.logits.shape[1] for level in outputs.levels] == [64, 32, 16, 8]
    assert outputs.grid.scale.tolist() == [25 / 64] * 2


def test_resizing_takes_each_clip_by_itself() -> None:
    batch = holed(random_batch([0, 1, 2, 3, 0], 12))
    grid = sequences(batch, 24)
    assert grid.scale.tolist() == pytest.approx([0.5, 0.5, 0.5, 0.5, 1 / 24])
    expected = F.interpolate(batch.visual[:1].transpose(1, 2), 24, mode="linear", align_corners=False)
    torch.testing.assert_close(grid.x[:1, :, :VISUAL_DIM], expected.transpose(1, 2))
    assert grid.mask[[0, 1, 2, 3, 4]].all()
    assert torch.isfinite(grid.x).all()
    alone = sequences(padded(batch, 5, 1e4), 24)
    assert torch.equal(alone.x, grid.x)


# --- parts --------------------------------------------------------------------------------------------------------


def test_attention_sees_the_valid_steps_of_its_window_only() -> None:
    torch.manual_seed(0)
    layer = Attention(8, 2, window=3)
    x, mask = torch.randn(1, 6, 8), torch.tensor([[True, True, True, True, False, False]])
    q, k, v = (part(x, mask)[0] for part in (layer.query, layer.key, layer.value))
    rows = []
    for i in range(4):
        seen = [j for j in range(4) if abs(i - j) <= 1]
        heads = []
        for h in (slice(0, 4), slice(4, 8)):
            weight = torch.softmax(torch.stack([q[i, h] @ k[j, h] / 2 for j in seen]), dim=0)
            heads.append(sum(w * v[j, h] for w, j in zip(weight, seen, strict=True)))
        rows.append(layer.out(torch.cat(heads)))  # type: ignore[arg-type]
    found = layer(x, x, x, mask)[0]
    torch.testing.assert_close(found[:4], torch.stack(rows))
    assert (found[4:] == 0).all()


def test_halving_widening_and_positions() -> None:
    x = torch.tensor([[[-5.0], [-1.0], [-2.0], [-9.0], [-3.0]]])
    mask = torch.tensor([[True, True, True, True, False]])
    assert halved(x, mask).flatten().tolist() == [-1, -1, 0]  # the last one is invalid; zeros never win
    assert widened(x[:, :2], 2, 3).flatten().tolist() == [-5, -5, -1]
    code = positions(3, 4)
    assert code[0].tolist() == [0, 0.5, 0, 0.5]
    assert code[2].tolist() == pytest.approx(
        [v / 2 for v in (math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02))]
    )


def test_sgp_is_its_formula() -> None:
    torch.manual_seed(0)
    config = TriDetConfig(dim=4, window=3, widening=1.3)
    layer = SGP(4, 3, config)
    assert layer.wide.kernel_size == (5,)  # (3 + 1) * 1.3 = 5.2
    assert SGP(4, 1, config).wide.kernel_size == (3,)  # 2.6
    y = torch.randn(1, 7, 4)

    def by_channel(conv: nn.Conv1d, x: torch.Tensor) -> torch.Tensor:
        columns = [
            torch.tensor(
                [
                    sum(
                        float(conv.weight.detach()[c, 0, k] * x[0, t + k - conv.kernel_size[0] // 2, c])
                        for k in range(conv.kernel_size[0])
                        if 0 <= t + k - conv.kernel_size[0] // 2 < x.shape[1]
                    )
                    for t in range(x.shape[1])
                ]
            )
            for c in range(4)
        ]
        return torch.stack(columns, dim=1).unsqueeze(0)

    overall = by_channel(layer.overall, y.mean(dim=1, keepdim=True)).clamp(min=0)
    window = by_channel(layer.gate, y) * (by_channel(layer.narrow, y) + by_channel(layer.wide, y))
    expected = by_channel(layer.instant, y) * overall + window + y
    torch.testing.assert_close(layer(y, torch.ones(1, 7, dtype=torch.bool)), expected, atol=1e-5, rtol=1e-4)


def test_norms_are_those_of_pytorch_on_the_valid_steps() -> None:
    torch.manual_seed(0)
    x, mask = torch.randn(2, 9, 32), torch.ones(2, 9, dtype=torch.bool)
    mask[1, 6:] = False
    mine, theirs = GroupNorm(16, 32), nn.GroupNorm(16, 32)
    for index, steps in ((0, 9), (1, 6)):
        part = x[index : index + 1, :steps].transpose(1, 2)
        torch.testing.assert_close(mine(x, mask)[index, :steps], theirs(part)[0].T)
        torch.testing.assert_close(instance_norm(x, mask)[index, :steps], F.instance_norm(part)[0].T)
    up = Doubling(3, 5)
    y = torch.randn(1, 4, 3)
    expected = F.conv_transpose1d(y.transpose(1, 2), up.weight, up.bias, 2, 1, 1).transpose(1, 2)
    found = up(y, torch.ones(1, 4, dtype=torch.bool), torch.ones(1, 7, dtype=torch.bool))
    torch.testing.assert_close(found, expected[:, :7])


def test_trident_is_an_expectation_over_neighbours() -> None:
    start, end = torch.tensor([[0.0, 9.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0, 9.0]])
    offsets = trident(start, end, torch.zeros(1, 4, 2, 3))
    # point 2: neighbours 0, 1 and 2 are 2, 1 and 0 to the left, and e^9 outweighs two 1s
    e = math.exp(9)
    assert offsets[0, 2].tolist() == pytest.approx([(2 + e) / (2 + e), (2 + e) / (2 + e)])
    assert offsets[0, 1].tolist() == pytest.approx(
        [3 / (2 + e), (1 + 2 * e) / (2 + e)]
    )  # before step 0 there is 0
    own = torch.zeros(1, 4, 2, 3)
    own[0, 2, 0] = torch.tensor([math.log(3), 0.0, math.log(4)])
    even = trident(torch.zeros(1, 4), torch.zeros(1, 4), own)
    assert float(even[0, 2, 0]) == pytest.approx((3 * 2 + 1 * 1) / 8)
    assert float(even[0, 2, 1]) == pytest.approx(1.0)


# --- objective and decoding ---------------------------------------------------------------------------------------


def told(model: PointDetector, batch: Batch, segments: list[torch.Tensor]) -> Outputs:
    """Outputs that say exactly what the targets ask for."""
    outputs = model(batch)
    positive, goals = model._targets(outputs, segments)
    levels, at = [], 0
    for level in outputs.levels:
        stop = at + level.logits.shape[1]
        logits = torch.where(positive[:, at:stop], 9.0, -9.0)
        levels.append(Level(logits, goals[:, at:stop].clamp(min=0), level.mask))
        at = stop
    return dataclasses.replace(outputs, levels=tuple(levels))


@pytest.mark.parametrize("length", [None, 64])
def test_targets_decode_to_the_true_segments(length: int | None) -> None:
    model = tiny(
        "actionformer", detector=DetectorConfig(length=length, dim=16, head_dim=16, heads=2, levels=4)
    ).eval()
    batch = random_batch([1, 3], 40)
    segments = [torch.tensor([[5.3, 12.9]]), torch.tensor([[0.0, 4.0], [20.5, 38.0]])]
    outputs = told(model, batch, segments)
    for index, wanted in enumerate(segments):
        found = model._decode(outputs, index)[: len(wanted), 1:]
        torch.testing.assert_close(found[found[:, 0].argsort()], wanted, atol=1e-3, rtol=0)
    terms = model.losses(outputs, batch, segments)
    assert float(terms["reg"].detach()) == pytest.approx(0, abs=1e-6)


def test_losses_by_hand() -> None:
    loss = PointLossConfig(smoothing=0.0, normaliser=10.0)
    detector = DetectorConfig(length=None, dim=16, head_dim=16, heads=2, levels=1, loss=loss)
    model = tiny("actionformer", detector=detector).train()
    batch = random_batch([1, 0], 6)
    outputs = model(batch)
    level = Level(torch.zeros(2, 6), torch.ones(2, 6, 2), outputs.levels[0].mask)
    outputs = dataclasses.replace(outputs, levels=(level,))
    # edges 1.5 to 4.5 are 1 to 4 on the grid; its points 2 and 3 are near the centre 2.5 and inside it
    segments = [torch.tensor([[1.5, 4.5]]), torch.zeros(0, 2)]
    terms = model.losses(outputs, batch, segments)
    by = 0.9 * 10 + 0.1 * 2
    assert float(model.normaliser) == pytest.approx(by)
    # p = 1/2 everywhere, in one clip of six points; the authentic clip does not count
    assert float(terms["cls"]) == pytest.approx((2 * 0.25 + 4 * 0.75) * 0.25 * math.log(2) / by)
    # [1, 3] and [2, 4] against [1, 4]: IoU 2/3, centres 1/2 apart, hull 3
    assert float(terms["reg"]) == pytest.approx(2 * (1 / 3 + 1 / 36) / by)
    assert float(terms["total"]) == pytest.approx(float(terms["cls"] + 2 * terms["reg"]))
    taught = DetectorConfig(**{**dict(detector), "loss": loss.model_copy(update={"authentic": True})})
    terms = tiny("actionformer", detector=taught).eval().losses(outputs, batch, segments)
    assert float(terms["cls"]) == pytest.approx((2 * 0.25 + 10 * 0.75) * 0.25 * math.log(2) / 10)


def test_tridet_weighs_positive_points_by_their_overlap() -> None:
    model = tiny("tridet")
    offsets, goals = torch.tensor([[[2.0, 2.0], [1.0, 1.0]]]), torch.tensor([[[1.0, 4.0], [0.0, 0.0]]])
    weight = model.weight(offsets, goals, torch.tensor([[True, False]]))
    assert weight.flatten().tolist() == pytest.approx([0.5, 1.0])


def test_reconstruction_is_learned_from_authentic_clips_only() -> None:
    model = tiny("ummaformer")
    assert isinstance(model, UMMAFormer)
    batch = random_batch([0, 1], 12)
    outputs = model(batch)
    both = torch.cat([batch.visual, batch.audio], dim=-1)
    rebuilt = outputs.terms[0]
    assert rebuilt.shape == (2, 12, VISUAL_DIM + AUDIO_DIM)
    terms = model.extra(outputs, batch)
    assert float(terms["recon"]) == pytest.approx(float((rebuilt - both)[0].abs().mean()), rel=1e-5)
    forged = random_batch([1, 2], 12)
    terms = model.extra(model(forged), forged)
    assert float(terms["recon"]) == 0
    terms["recon"].backward()  # neither None nor NaN


@pytest.mark.parametrize("name", NAMES)
def test_scores_do_not_depend_on_the_batch(name: str) -> None:
    model = stirred(tiny(name)).eval()
    batch = holed(padded(random_batch([0, 1, 2, 3, 0], 12), 4, junk=1e4))
    together = model(batch)
    for index, steps in enumerate([12, 12, 12, 12, 1]):
        rows = {
            k: t[index : index + 1] if k == "label" else t[index : index + 1, :steps]
            for k, t in vars(batch).items()
        }
        alone = model(Batch(**rows))
        for mine, theirs in zip(alone.levels, together.levels, strict=True):
            n = mine.logits.shape[1]
            torch.testing.assert_close(mine.logits[0], theirs.logits[index, :n], atol=1e-3, rtol=1e-3)
            torch.testing.assert_close(mine.offsets[0], theirs.offsets[index, :n], atol=1e-3, rtol=1e-3)
            assert not theirs.mask[index, n:].any()
        torch.testing.assert_close(alone.video[0], together.video[index], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_well_formed(name: str) -> None:
    model = tiny(name)
    scores = model.score(holed(random_batch([0, 1, 2, 3, 0], 12)))
    assert scores.spans is not None
    for index, spans in enumerate(scores.spans):
        assert (spans[:, 0].diff() <= 1e-6).all()
        assert (spans[:, 1] < spans[:, 2]).all()
        assert ((spans[:, 1:] >= 0) & (spans[:, 1:] <= 12)).all()
        assert float(scores.joint[index].max()) <= float(spans[:, 0].max() if len(spans) else 0) + 1e-6
    torch.testing.assert_close(scores.video_probabilities.sum(dim=1), torch.ones(5))
    assert (scores.audio[3] == 0).all()
    model.train()
    batch = random_batch([0, 1], 9)
    one, two = model.score(batch), model.score(batch, seed=7)
    assert model.training
    assert torch.equal(one.joint, two.joint)


# --- learning -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_each_learns_a_few_sequences_by_heart(name: str) -> None:
    """Eight clips with a shift in the forged part: after a few steps the best segments are the true ones."""
    generator = torch.Generator().manual_seed(0)
    batch = random_batch([1, 2, 3, 0] * 2, 32)
    segments = []
    for k, label in enumerate(batch.label.tolist()):
        first = int(torch.randint(2, 20, (), generator=generator))
        stop = first + int(torch.randint(5, 12, (), generator=generator))
        segments.append(torch.tensor([[first, stop]] if label else []).reshape(-1, 2).float())
        if label & 1:
            batch.visual[k, first:stop] += 2
        if label & 2:
            batch.audio[k, first:stop] += 2
    config = tiny_config()
    small = {"levels": 3, "stem": 1}
    model = tiny(
        name, detector=config.detector.model_copy(update=small), tridet=config.tridet.model_copy(update=small)
    ).train()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(60):
        terms = model.losses(model(batch, generator), batch, segments)
        optimiser.zero_grad()
        terms["total"].backward()
        optimiser.step()
    scores = model.score(batch)
    assert scores.spans is not None
    for spans, wanted in zip(scores.spans, segments, strict=True):
        if len(wanted):
            (a, b), (low, high) = spans[0, 1:].tolist(), wanted[0].tolist()
            shared = max(0.0, min(b, high) - max(a, low))
            assert shared / (b - a + high - low - shared) > 0.7
