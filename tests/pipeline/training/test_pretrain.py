"""Pre-training: weights that the extractors take, the same each time, and toys that are learnt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extractor_factory import face_tensors, small_parts, voice_tensors, write_tensors
from forged_set import InLine, write_forged_set, write_speaking_heads
from head_factory import long_head
from labelled_toys import looked, toy
from numpy.typing import NDArray

from configs.loader import ConfigError, load_config
from configs.schema import PipelineConfig
from data.errors import InputError, WeightsError
from extractors.compact.evidence_net import DIM, EvidenceNet, LookHead
from extractors.compact.face_traces import FaceTraces
from extractors.compact.sound_traces import ABSOLUTE, RELATIVE
from extractors.compact.voice_traces import VoiceTraces, split
from extractors.compact.weights import load_part, load_tensors, stored
from pipeline.bundle import SHIPPED
from pipeline.training import evidence, labelled, pretrain
from pipeline.training.crops import Prepared, cut
from pipeline.training.labelled import LabelledSteps
from pipeline.training.pretrain import pretrain_audio, pretrain_visual, with_sources, with_widths

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PipelineConfig:
    """Small pictures, a small ear and eye, and next to no training."""
    return load_config(
        "compact",
        [
            "visual.short_side=96",
            "pretrain.visual_steps=12",
            "pretrain.audio_steps=12",
            "pretrain.head_steps=12",
            "pretrain.batch=4",
            "pretrain.crop_s=1.0",
            *small_parts(tmp_path_factory.mktemp("parts")),
        ],
    )


# --- training -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    return write_forged_set(write_speaking_heads(root / "authentic"), root / "forged")


@pytest.fixture
def in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled, "ProcessPoolExecutor", InLine)


@pytest.mark.usefixtures("in_line")
def test_trained_weights_are_an_extractor_of_faces(
    forged: Path, tmp_path: Path, config: PipelineConfig
) -> None:
    path = pretrain_visual([forged], tmp_path, config)
    assert path == tmp_path / "face_traces.safetensors"
    extractor = FaceTraces(config.visual, path)
    assert extractor.dim == with_widths(config).model.visual_dim
    ((values, valid),) = extractor.stream(iter([(long_head(10, 96), np.ones(10, np.bool_))]))
    assert values.shape == (10, extractor.dim)
    assert valid.all()


@pytest.mark.usefixtures("in_line")
def test_trained_weights_are_an_extractor_of_voices(
    forged: Path, tmp_path: Path, config: PipelineConfig
) -> None:
    path = pretrain_audio([forged], tmp_path, config)
    assert path == tmp_path / "voice_traces.safetensors"
    assert VoiceTraces(config.audio, path).dim == with_widths(config).model.audio_dim


@pytest.mark.usefixtures("in_line")
def test_a_network_goes_on_from_where_it_was(forged: Path, tmp_path: Path, config: PipelineConfig) -> None:
    first = load_tensors(pretrain_audio([forged], tmp_path / "first", config))
    settings = {"start": str(tmp_path / "first/voice_traces.safetensors"), "learning_rate": 1e-9, "seed": 7}
    going_on = config.model_copy(update={"pretrain": config.pretrain.model_copy(update=settings)})
    second = load_tensors(pretrain_audio([forged], tmp_path / "second", going_on))
    trained = [name for name in first if name.startswith("net.") and not name.endswith(("var", "tracked"))]
    moved = max(float((second[name] - first[name]).abs().max()) for name in trained if "running" not in name)
    assert moved < 1e-6, "with next to no learning rate it stays what it was, usual measures with it"
    settings["start"] = str(write_tensors(tmp_path / "faces.safetensors", face_tensors()))
    other = config.model_copy(update={"pretrain": config.pretrain.model_copy(update=settings)})
    with pytest.raises(WeightsError, match="does not fit"):
        pretrain_audio([forged], tmp_path / "third", other)


def test_folds_cannot_go_on_from_what_has_seen_them() -> None:
    with pytest.raises(ConfigError, match="seen all people"):
        load_config("compact", ["pretrain.start=a.safetensors", "pretrain.folds=4"])


@pytest.mark.usefixtures("in_line")
@pytest.mark.parametrize("track", ["visual", "audio"])
def test_a_run_that_is_repeated_measures_nothing_again_and_gives_the_same_bytes(
    track: str, forged: Path, tmp_path: Path, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = pretrain_visual if track == "visual" else pretrain_audio
    first = train([forged], tmp_path, config).read_bytes()
    name = "_faces" if track == "visual" else "_voices"

    def never(*_: Any) -> None:
        raise AssertionError("it was measured before")

    monkeypatch.setattr(labelled, name, never)
    torch.manual_seed(99)  # what was drawn before in this process does not matter
    assert train([forged], tmp_path, config).read_bytes() == first
    # With another ear or eye all is measured anew.
    part = voice_tensors(seed=1) if track == "audio" else face_tensors(seed=1)
    other = write_tensors(tmp_path / "other.safetensors", part)
    settings = config.pretrain.model_copy(update={"ear": str(other), "eye": str(other)})
    with pytest.raises(AssertionError, match="measured before"):
        train([forged], tmp_path, config.model_copy(update={"pretrain": settings}))


@pytest.mark.parametrize("train", [pretrain_visual, pretrain_audio])
@pytest.mark.usefixtures("in_line")
def test_a_folder_without_truth_is_refused_and_nothing_is_written(
    train: Callable[..., Path], tmp_path: Path, config: PipelineConfig
) -> None:
    with pytest.raises(InputError, match=r"forgeries\.json: is not there"):
        train([tmp_path], tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


TOY = [*toy("span", 0), *toy("sham", 1), *toy("authentic", 2), *toy("whole", 3)]


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, config: PipelineConfig) -> Callable[..., Path]:
    """Trains the network of sounds on steps that are given."""

    def train(clips: list[LabelledSteps], out: Path, **settings: Any) -> Path:
        monkeypatch.setattr(pretrain, "labelled_voices", lambda *_: clips)
        chosen = config.pretrain.model_copy(update=settings)
        return pretrain_audio([], out, config.model_copy(update={"pretrain": chosen}))

    return train


def trained(path: Path) -> EvidenceNet:
    return load_part(EvidenceNet(RELATIVE + 2, ABSOLUTE + 2), load_tensors(path), "net.", path)


def test_another_seed_gives_other_bytes(toys: Callable[..., Path], tmp_path: Path) -> None:
    first = toys(TOY, tmp_path / "a").read_bytes()
    torch.manual_seed(99)
    assert toys(TOY, tmp_path / "b").read_bytes() == first
    assert toys(TOY, tmp_path / "c", seed=2).read_bytes() != first


def test_the_pre_trained_part_is_written_as_it_is_stored(
    toys: Callable[..., Path], tmp_path: Path, config: PipelineConfig
) -> None:
    written, source = stored(toys(TOY, tmp_path)), stored(Path(config.pretrain.ear))
    ears = {name: value for name, value in source.items() if name.startswith("ear.")}
    assert ears
    assert {name.partition(".")[0] for name in written} == {"net", "ear"}
    assert {name for name in written if name.startswith("ear.")} == set(ears)
    assert all(torch.equal(written[name], value) for name, value in ears.items())


def test_what_is_written_is_the_running_mean_of_the_weights(
    toys: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def after_two_steps(decay: float) -> dict[str, torch.Tensor]:
        monkeypatch.setattr(evidence, "_DECAY", decay)
        return trained(toys(TOY, tmp_path / f"{decay}", audio_steps=2)).state_dict()

    # The mean begins with the weights after the first step: it stays there with 1, and goes along with 0.
    first, last, mean = (after_two_steps(decay) for decay in (1.0, 0.0, 0.25))
    for name in ("inside.weight", "relative.enter.weight", "absolute.norms.0.running_mean"):
        assert not torch.equal(first[name], last[name])
        assert torch.allclose(mean[name], 0.25 * first[name] + 0.75 * last[name], atol=1e-6)


def test_a_span_is_told_from_a_harmless_edit_and_a_whole_fake_from_all(
    toys: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Of 200 steps, the mean of far more would be that of the first.
    monkeypatch.setattr(evidence, "_DECAY", 0.9)
    with caplog.at_level("INFO", logger="pipeline.training.evidence"):
        path = toys(TOY, tmp_path, audio_steps=200, batch=8, crop_s=2.0)
    losses = [float(record.message.rsplit(" ", 1)[1]) for record in caplog.records]
    assert len(losses) == 2
    assert losses[-1] < losses[0]
    net, known = trained(path), torch.ones(1, 80, dtype=torch.bool)

    def told(kind: str) -> NDArray[np.float32]:
        (clip,) = toy(kind, 9, 1)
        with torch.inference_mode():
            measures = torch.from_numpy(clip.measured.measures)[None].float()
            found: NDArray[np.float32] = net(*split(measures, known), known).evidence[0].numpy()
        return found

    inside, onset, offset, _ = told("span").T
    assert (inside[20:35] > 0).mean() > 0.9
    assert (inside[50:65] > 0).mean() < 0.1
    assert (inside[np.r_[0:18, 37:48, 67:80]] > 0).mean() < 0.1
    assert abs(int(onset.argmax()) - 20) <= 1
    assert abs(int(offset.argmax()) - 34) <= 1
    assert told("whole")[:, 3].mean() > 0 > told("authentic")[:, 3].mean()
    assert told("whole")[:, 0].mean() < 0, "against itself it differs from nothing"


def test_training_tells_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: PipelineConfig
) -> None:
    monkeypatch.setattr(pretrain, "labelled_voices", lambda *_: TOY)
    told: list[tuple[str, int | None, int | None]] = []
    pretrain_audio(
        [], tmp_path, config, hook=lambda step, done=None, total=None: told.append((step, done, total))
    )
    assert told == [("pretrain voice_traces", k, 12) for k in range(1, 13)]


@pytest.mark.parametrize("updates", [1, 2, 9])
def test_a_handful_of_steps_is_training_too(toys: Callable[..., Path], tmp_path: Path, updates: int) -> None:
    path = toys(TOY, tmp_path, audio_steps=updates)
    assert all(value.isfinite().all() for value in trained(path).state_dict().values())


def test_kinds_are_drawn_by_the_root_of_how_many_there_are(
    toys: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def noted(clip: Prepared, *rest: Any) -> tuple[torch.Tensor, ...]:
        drawn.append(clip.kind)
        return cut(clip, *rest)

    monkeypatch.setattr(evidence, "cut", noted)
    # 16, 4 and 1 clips: roots 4, 2 and 1, the last one three times as often as it is untouched.
    toys(
        [*toy("span", 0, 16), *toy("whole", 1, 4), *toy("authentic", 2, 1)],
        tmp_path,
        batch=900,
        audio_steps=1,
    )
    shares = {kind: drawn.count(kind) / len(drawn) for kind in set(drawn)}
    assert shares == pytest.approx({"span": 4 / 9, "whole": 2 / 9, "authentic": 3 / 9}, abs=0.06)


# --- the head over looks --------------------------------------------------------------------------------------------


LOOKED = [*looked("span", 0), *looked("whole", 1), *looked("authentic", 2)]


def pretrained_head(
    clips: list[LabelledSteps],
    out: Path,
    config: PipelineConfig,
    monkeypatch: pytest.MonkeyPatch,
    **settings: Any,
) -> Path:
    monkeypatch.setattr(pretrain, "labelled_faces", lambda *_: clips)
    chosen = config.pretrain.model_copy(update={"visual_steps": 1, **settings})
    return pretrain_visual([out], out, config.model_copy(update={"pretrain": chosen}))


def test_the_head_tells_a_forged_face_and_a_clip_forged_from_end_to_end(
    tmp_path: Path, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "_DECAY", 0.9)
    path = pretrained_head(LOOKED, tmp_path, config, monkeypatch, head_steps=150)
    head = load_part(LookHead(8), load_tensors(path), "head.", path)

    def said_of(kind: str) -> NDArray[np.float32]:
        (clip,) = looked(kind, 9, 1)
        seen = torch.from_numpy(clip.measured.seen).float()
        with torch.inference_mode():
            found: NDArray[np.float32] = head(
                *LookHead.split(seen, torch.ones(len(seen), dtype=torch.bool))
            ).numpy()
        return found

    inside = said_of("span")[:, 0]
    assert inside[:2].min() > 0 > inside[2:].max()
    assert said_of("whole")[:, 1].mean() > 0 > said_of("authentic")[:, 1].mean()


def test_clips_without_a_look_do_not_hinder_and_none_at_all_is_an_error(
    tmp_path: Path, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blind(clip: LabelledSteps) -> LabelledSteps:
        measured = clip.measured._replace(looks=np.zeros(0, np.int64), seen=clip.measured.seen[:0])
        return LabelledSteps(clip.kind, measured, clip.forged, clip.sham)

    assert pretrained_head([blind(LOOKED[0]), *LOOKED[1:]], tmp_path, config, monkeypatch).is_file()
    with pytest.raises(InputError, match="no face of the splits is seen well enough to look at"):
        pretrained_head([blind(clip) for clip in LOOKED], tmp_path, config, monkeypatch)


# --- settings -------------------------------------------------------------------------------------------------------


def test_the_settings_beside_new_extractors_have_their_widths() -> None:
    config = with_widths(load_config("compact"))
    assert config.model.visual_dim == config.model.audio_dim == DIM


def test_the_ear_and_eye_are_those_of_the_shipped_weights_unless_named() -> None:
    plain = with_sources(load_config("compact"))
    assert plain.pretrain.ear == str(SHIPPED / "compact" / "voice_traces.safetensors")
    assert plain.pretrain.eye == str(SHIPPED / "compact" / "face_traces.safetensors")
    named = with_sources(load_config("compact", ["pretrain.eye=other.safetensors"]))
    assert named.pretrain.eye == "other.safetensors"
    assert named.pretrain.ear == plain.pretrain.ear
