"""Pre-training: crops and a loss worked by hand, and weights that the extractors take."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extractors.compact.trace_net import load_trace_net
from forged_set import InLine, write_forged_set, write_speaking_heads
from head_factory import long_head
from numpy.typing import NDArray

from configs.loader import load_config
from configs.schema import PipelineConfig
from data.errors import InputError
from extractors.compact.energies import CHANNELS, SIDE, face_energies
from extractors.compact.face_traces import MEASURES, FaceTraces
from extractors.compact.voice_traces import VoiceTraces
from pipeline.training import labelled, pretrain
from pipeline.training.labelled import AUDIO_CLASSES, VISUAL_CLASSES, LabelledSteps
from pipeline.training.pretrain import cut, loss_of, mirrored, pretrain_audio, pretrain_visual, with_widths

CONFIG = load_config(
    "compact",
    [
        "visual.short_side=96",
        "pretrain.visual_steps=12",
        "pretrain.audio_steps=12",
        "pretrain.batch=4",
        "pretrain.crop_s=1.0",
    ],
)
RNG = np.random.default_rng


def steps_of(
    classes: list[int], sham: list[int] | None = None, valid: list[int] | None = None, identity: str = "anna"
) -> LabelledSteps:
    """Steps whose one measure says which step it is."""
    n = len(classes)
    return LabelledSteps(
        identity,
        np.arange(n, dtype=np.float16)[:, None],
        np.array(valid if valid is not None else [1] * n, np.bool_),
        np.array(classes, np.int64),
        np.array(sham if sham is not None else [0] * n, np.bool_),
    )


# --- the loss -------------------------------------------------------------------------------------------------------


def test_loss_by_hand() -> None:
    # Softmax of (0, 0) is 1/2 for either, of (0, ln 3) it is 3/4 for the second.
    logits = torch.tensor([[[0.0, 0.0], [0.0, math.log(3)]]])
    target = torch.tensor([[0, 1]])
    loss = loss_of(logits, target, torch.tensor([[1.0, 3.0]]))
    assert loss.item() == pytest.approx((math.log(2) + 3 * math.log(4 / 3)) / 4)


def test_steps_of_no_weight_do_not_count() -> None:
    logits = torch.randn(2, 5, 3)
    target = torch.zeros(2, 5, dtype=torch.int64)
    weight = torch.ones(2, 5)
    weight[:, 3:] = 0
    assert torch.allclose(
        loss_of(logits, target, weight), loss_of(logits[:, :3], target[:, :3], weight[:, :3])
    )
    assert loss_of(logits, target, 0 * weight).item() == 0


# --- crops ----------------------------------------------------------------------------------------------------------


def test_a_whole_clip_is_cut_as_it_is() -> None:
    clip = steps_of([0, 0, 2, 2, 0, 0], sham=[0, 0, 0, 0, 1, 0], valid=[0, 1, 1, 0, 1, 1])
    measures, valid, classes, kind = cut(clip, 6, None, RNG(0))
    assert measures.tolist() == [[0], [1], [2], [3], [4], [5]]
    assert valid.tolist() == [False, True, True, False, True, True]
    assert classes.tolist() == [0, 0, 2, 2, 0, 0]
    assert kind.tolist() == [0, 1, 3, 0, 2, 1], "neither the missing first nor the missing forged step counts"
    assert (measures.dtype, kind.dtype) == (np.float32, np.int64)


def test_a_short_clip_is_filled_up_with_what_does_not_count() -> None:
    measures, valid, classes, kind = cut(steps_of([0, 3, 0]), 5, None, RNG(0))
    assert measures[:, 0].tolist() == [0, 1, 2, 0, 0]
    assert valid.tolist() == [True, True, True, False, False]
    assert classes.tolist() == [0, 3, 0, 0, 0]
    assert kind.tolist() == [1, 3, 1, 0, 0]


@pytest.mark.parametrize("length", [1, 4, 9])
def test_every_crop_holds_an_edited_step_and_any_place_in_it_may_be_that_step(length: int) -> None:
    clip = steps_of([0] * 20 + [1] + [0] * 39, sham=[0] * 40 + [1] + [0] * 19)
    forged, sham = set(), set()
    rng = RNG(0)
    for _ in range(300):
        measures, _, _, kind = cut(clip, length, None, rng)
        assert np.array_equal(np.diff(measures[:, 0]), np.ones(length - 1))
        (edited,) = np.flatnonzero(kind > 1)
        (forged if kind[edited] == 3 else sham).add(int(edited))
    assert forged == sham == set(range(length))


def test_a_crop_at_the_rim_stays_within_the_clip() -> None:
    for edited in (0, 9):
        clip = steps_of([int(k == edited) for k in range(10)])
        for seed in range(20):
            measures, valid, _, _ = cut(clip, 4, None, RNG(seed))
            assert valid.all()
            assert set(measures[:, 0]) <= set(range(10))


def test_backwards_everything_runs_backwards() -> None:
    clip = steps_of([0, 1, 2, 3, 4, 5, 6, 7], sham=[1] + [0] * 7, valid=[1, 1, 1, 0, 1, 1, 1, 1])
    ways = set()

    def mirror(measures: NDArray[np.float16], across: bool, backwards: bool) -> NDArray[np.float16]:
        ways.add((across, backwards))
        return measures[::-1] if backwards else measures

    for seed in range(40):
        measures, valid, classes, kind = cut(clip, 10, mirror, RNG(seed))
        backwards = bool(measures[0, 0] > 0)
        assert measures[:8, 0].tolist() == (list(range(8))[::-1] if backwards else list(range(8)))
        assert np.array_equal(classes[:8], measures[:8, 0]), "class k is that of step k"
        assert np.array_equal(valid[:8], measures[:8, 0] != 3)
        assert np.array_equal(
            kind[:8], np.where(measures[:8, 0] == 3, 0, np.where(measures[:8, 0] == 0, 2, 3))
        )
        assert not kind[8:].any()
    assert ways == {(False, False), (False, True), (True, False), (True, True)}


# --- mirrors --------------------------------------------------------------------------------------------------------


def energies(frames: NDArray[np.uint8], boxes: NDArray[np.float64]) -> NDArray[np.float16]:
    return face_energies(frames, boxes).reshape(len(boxes), MEASURES).astype(np.float16)


@pytest.fixture(scope="module")
def moving() -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Ten frames of a head under a box that wanders; the first and the last are neighbours only."""
    boxes = np.array([[24.0 + k, 20.0 - k, 48.0, 48.0] for k in range(8)])
    return long_head(10, 96), boxes


def test_measures_of_a_clip_played_backwards(moving: tuple[NDArray[np.uint8], NDArray[np.float64]]) -> None:
    frames, boxes = moving
    wanted = energies(frames[::-1], boxes[::-1])
    found = mirrored(energies(frames, boxes), False, True)
    assert found.astype(float) == pytest.approx(wanted.astype(float), abs=0.01)


def test_measures_of_a_mirrored_picture(moving: tuple[NDArray[np.uint8], NDArray[np.float64]]) -> None:
    frames, boxes = moving
    turned = boxes.copy()
    turned[:, 0] = 96 - boxes[:, 0] - boxes[:, 2]
    wanted = energies(frames[:, :, ::-1], turned)
    found = mirrored(energies(frames, boxes), True, False)
    assert found.astype(float) == pytest.approx(wanted.astype(float), abs=0.05, rel=0.01)
    assert not np.allclose(found, energies(frames, boxes), atol=0.5), (
        "this head is not the same on both sides"
    )


def test_mirrors_move_one_cell_where_it_belongs() -> None:
    cells = np.zeros((3, len(CHANNELS), SIDE, SIDE), np.float16)
    cells[0, CHANNELS.index("luma_before"), 2, 1] = 1
    cells[0, CHANNELS.index("fine"), 3, 0] = 2
    flat = cells.reshape(3, MEASURES)
    across, backwards, both = (
        mirrored(flat, *ways).reshape(cells.shape) for ways in ((True, False), (False, True), (True, True))
    )
    assert across[0, CHANNELS.index("luma_before"), 2, 4] == 1
    assert across[0, CHANNELS.index("fine"), 3, 5] == 2
    assert backwards[2, CHANNELS.index("luma_after"), 2, 1] == 1
    assert backwards[2, CHANNELS.index("fine"), 3, 0] == 2
    assert both[2, CHANNELS.index("luma_after"), 2, 4] == 1
    assert all(turned.sum() == 3 for turned in (across, backwards, both))
    for ways in ((True, False), (False, True), (True, True)):
        assert np.array_equal(mirrored(mirrored(flat, *ways), *ways), flat)


# --- training -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    return write_forged_set(write_speaking_heads(root / "authentic"), root / "forged")


@pytest.fixture
def in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled, "ProcessPoolExecutor", InLine)


@pytest.mark.usefixtures("in_line")
def test_trained_weights_are_an_extractor_of_faces(forged: Path, tmp_path: Path) -> None:
    path = pretrain_visual([forged], tmp_path, CONFIG)
    assert path == tmp_path / "face_traces.safetensors"
    extractor = FaceTraces(CONFIG.visual, path)
    assert extractor.dim == with_widths(CONFIG).model.visual_dim
    ((values, valid),) = extractor.stream(iter([(long_head(10, 96), np.ones(10, np.bool_))]))
    assert values.shape == (10, extractor.dim)
    assert valid.all()


@pytest.mark.usefixtures("in_line")
def test_trained_weights_are_an_extractor_of_voices(forged: Path, tmp_path: Path) -> None:
    path = pretrain_audio([forged], tmp_path, CONFIG)
    assert path == tmp_path / "voice_traces.safetensors"
    assert VoiceTraces(CONFIG.audio, path).dim == with_widths(CONFIG).model.audio_dim


@pytest.mark.usefixtures("in_line")
@pytest.mark.parametrize("train", [pretrain_visual, pretrain_audio])
def test_a_folder_without_truth_is_refused_and_nothing_is_written(
    train: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"forgeries\.json: is not there"):
        train([tmp_path], tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()


def toy_person(identity: str, seed: int, clips: int = 3) -> list[LabelledSteps]:
    """Clips of eight measures; what is forged as class 1 has the first two raised, a harmless edit the third."""
    rng = RNG(seed)
    found = []
    for _ in range(clips):
        measures = rng.standard_normal((80, 8))
        classes, sham = np.zeros(80, np.int64), np.zeros(80, np.bool_)
        classes[20:35], sham[50:65] = 1, True
        measures[20:35, :2] += 6
        measures[50:65, 2] += 6
        found.append(
            LabelledSteps(identity, measures.astype(np.float16), np.ones(80, np.bool_), classes, sham)
        )
    return found


TOY = [*toy_person("anna", 0), *toy_person("ben", 1), *toy_person("cleo", 2)]


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Trains the network of sounds on steps that are given."""

    def train(clips: list[LabelledSteps], out: Path, **settings: Any) -> Path:
        monkeypatch.setattr(pretrain, "labelled_voices", lambda *_: clips)
        chosen = CONFIG.pretrain.model_copy(update=settings)
        return pretrain_audio([], out, CONFIG.model_copy(update={"pretrain": chosen}))

    return train


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(
    toys: Callable[..., Path], tmp_path: Path
) -> None:
    first = toys(TOY, tmp_path / "a").read_bytes()
    torch.manual_seed(99)  # what was drawn before in this process does not matter
    assert toys(TOY, tmp_path / "b").read_bytes() == first
    assert toys(TOY, tmp_path / "c", seed=2).read_bytes() != first


def test_what_is_written_is_the_running_mean_of_the_weights(
    toys: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def after_two_steps(decay: float) -> dict[str, torch.Tensor]:
        monkeypatch.setattr(pretrain, "_DECAY", decay)
        return load_trace_net(toys(TOY, tmp_path / f"{decay}", audio_steps=2), 8).state_dict()

    # The mean begins with the weights after the first step: it stays there with 1, and goes along with 0.
    first, last, mean = (after_two_steps(decay) for decay in (1.0, 0.0, 0.25))
    for name in ("head.weight", "enter.weight", "layers.0.norm.running_mean"):
        assert not torch.equal(first[name], last[name])
        assert torch.allclose(mean[name], 0.25 * first[name] + 0.75 * last[name], atol=1e-6)


def test_a_forgery_is_told_from_nothing_and_from_a_harmless_edit(
    toys: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        pretrain, "_DECAY", 0.9
    )  # of 200 steps, the mean of far more would be that of the first
    with caplog.at_level("INFO", logger="pipeline.training.pretrain"):
        path = toys(TOY, tmp_path, audio_steps=200)
    losses = [float(record.message.rsplit(" ", 1)[1]) for record in caplog.records]
    assert len(losses) == 2
    assert losses[1] < 0.5 * losses[0]
    net = load_trace_net(path, 8)
    (clip,) = toy_person("dora", 3, 1)
    with torch.inference_mode():
        logits = net(
            torch.from_numpy(clip.measures)[None].float(), torch.ones(1, 80, dtype=torch.bool)
        ).logits
    called = logits[0].argmax(dim=1).numpy() > 0
    assert called[20:35].mean() > 0.9
    assert called[50:65].mean() < 0.1
    assert called[np.r_[0:18, 37:48, 67:80]].mean() < 0.1


def test_clips_in_which_nothing_was_edited_only_help_to_lay_the_code(
    toys: Callable[..., Path], tmp_path: Path
) -> None:
    untouched = replace(TOY[0], classes=np.zeros(80, np.int64), sham=np.zeros(80, np.bool_), identity="dora")
    assert toys([*TOY, untouched], tmp_path).is_file()


def test_weights_count_as_the_settings_say(
    toys: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def loss(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        seen.append(torch.stack([target.float(), weight]))
        return loss_of(logits, target, weight)

    monkeypatch.setattr(pretrain, "loss_of", loss)
    toys(TOY, tmp_path, authentic_weight=0.25, sham_weight=2.0)
    targets, weights = torch.cat(seen, dim=1)
    assert set(weights[targets > 0].tolist()) == {1.0}
    assert set(weights[targets == 0].tolist()) == {0.25, 2.0}


def test_training_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pretrain, "labelled_voices", lambda *_: TOY)
    told: list[tuple[str, int | None, int | None]] = []
    pretrain_audio(
        [], tmp_path, CONFIG, hook=lambda step, done=None, total=None: told.append((step, done, total))
    )
    assert told == [("pretrain voice_traces", k, 12) for k in range(1, 13)]


@pytest.mark.parametrize("updates", [1, 2, 9])
def test_a_handful_of_steps_is_training_too(toys: Callable[..., Path], tmp_path: Path, updates: int) -> None:
    assert load_trace_net(toys(TOY, tmp_path, audio_steps=updates), 8).dim == 64 + len(AUDIO_CLASSES)


def test_the_settings_beside_new_extractors_have_their_widths() -> None:
    config: PipelineConfig = with_widths(load_config("compact"))
    assert config.model.visual_dim == 64 + len(VISUAL_CLASSES)
    assert config.model.audio_dim == 64 + len(AUDIO_CLASSES)
