"""Pre-training: true twins, a loss worked by hand, and weights that the extractors take."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from forged_set import stand_in_face, write_authentic, write_forged_set

from configs.loader import load_config
from configs.schema import PipelineConfig
from data.errors import InputError, WeightsError
from data.forgery.signal import FADE
from extractors.tsn import TSN
from extractors.wav2vec2 import HOP, Wav2Vec2
from pipeline.pretrain import evidence, pretrain_audio, pretrain_visual, ranking
from pipeline.progress import silent
from pipeline.twins import AUDIO_CLASSES, JITTER, VISUAL_CLASSES, frame_twins, sound_twins

CONFIG = load_config(
    "compact",
    [
        "visual.short_side=64",
        "visual.crop=64",
        "pretrain.visual_steps=12",
        "pretrain.visual_batch=8",
        "pretrain.audio_steps=8",
        "pretrain.audio_batch=4",
        "pretrain.audio_crop_s=0.6",
        "pretrain.hidden_size=16",
        "pretrain.layers=1",
        "pretrain.attention_heads=2",
        "pretrain.conv_dim=8",
    ],
)


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    with pytest.MonkeyPatch.context() as patch:
        stand_in_face(patch)
        return write_forged_set(write_authentic(root / "authentic"), root / "forged")


def test_evidence_is_the_log_odds_of_any_manipulation() -> None:
    # softmax(0, ln 2, ln 3) = (1, 2, 3) / 6: odds of a manipulation are 5 : 1.
    logits = torch.tensor([[0.0, math.log(2), math.log(3)]])
    assert evidence(logits).item() == pytest.approx(math.log(5))


def test_ranking_by_hand() -> None:
    # Pairs (2, 2) and (0, 1): (ln 2 + ln(1 + e)) / 2.
    loss = ranking(torch.tensor([2.0, 0.0]), torch.tensor([2.0, 1.0]))
    assert loss.item() == pytest.approx((math.log(2) + math.log(1 + math.e)) / 2)
    assert ranking(torch.zeros(0), torch.zeros(0)).item() == 0


def test_frame_twins_show_the_same_instant(forged: Path) -> None:
    twins = frame_twins(forged, CONFIG, silent)
    rows = json.loads((forged / "forgeries.json").read_text())
    spans = [s for row in rows for s in row["segments"] if s["modality"] == "visual"]
    assert len(twins.classes) == sum(round(25 * (s["end_s"] - s["start_s"])) for s in spans)
    assert {VISUAL_CLASSES[k] for k in twins.classes} == {s["manipulation"] for s in spans}
    assert twins.forged.shape[1:] == (64 + JITTER, 64 + JITTER, 3)
    # The upper face is untouched, so twins agree there up to the encoder; frames of another clip do not.
    upper = np.s_[:, : (64 + JITTER) // 3]
    apart = np.abs(twins.forged[upper].astype(float) - twins.authentic[upper]).mean(axis=(1, 2, 3))
    other = np.abs(twins.forged[upper].astype(float) - twins.authentic[upper][::-1]).mean(axis=(1, 2, 3))
    assert apart.max() < 0.3 * other.max()


def test_sound_twins_differ_where_the_classes_say(forged: Path) -> None:
    twins = sound_twins(forged, CONFIG, silent)
    assert len(twins.forged) == 8, "four people, audio-only and both"
    for forged_clip, authentic, classes in zip(twins.forged, twins.authentic, twins.classes, strict=True):
        assert len(forged_clip) == len(authentic)
        assert len(classes) == (len(authentic) - 400) // HOP + 1
        assert set(np.unique(classes)) <= set(range(len(AUDIO_CLASSES)))
        gap = np.abs(forged_clip - authentic)
        first, last = np.flatnonzero(classes)[[0, -1]]
        inside = gap[first * HOP + FADE[1] + 400 : last * HOP - FADE[1]]
        outside = np.concatenate([gap[: max(0, first * HOP - 2000)], gap[(last + 1) * HOP + 2000 :]])
        assert inside.mean() > 3 * outside.mean()


def test_trained_trunk_is_a_tsn(forged: Path, tmp_path: Path) -> None:
    path = pretrain_visual(forged, tmp_path, CONFIG)
    features = TSN(CONFIG.visual, path)(np.zeros((2, 64, 64, 3), np.uint8))
    assert features.shape == (2, CONFIG.model.visual_dim)


def test_trained_wav2vec2_is_an_extractor(forged: Path, tmp_path: Path) -> None:
    folder = pretrain_audio(forged, tmp_path, CONFIG)
    assert Wav2Vec2(CONFIG.audio, folder)(np.zeros(16_000, np.float32)).values.shape == (49, 16)


def test_the_same_seed_gives_the_same_weights_and_training_changes_them(forged: Path, tmp_path: Path) -> None:
    def weights(name: str, config: PipelineConfig, start: Path | None = None) -> bytes:
        return pretrain_visual(forged, tmp_path / name, config, start).read_bytes()

    first = weights("a", CONFIG)
    assert weights("b", CONFIG) == first
    assert weights("c", CONFIG, start=tmp_path / "a") != first


def test_the_loss_goes_down(forged: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    longer = CONFIG.model_copy(update={"pretrain": CONFIG.pretrain.model_copy(update={"visual_steps": 100})})
    with caplog.at_level("INFO", logger="pipeline.pretrain"):
        pretrain_visual(forged, tmp_path, longer)
    losses = [float(record.message.rsplit(" ", 1)[1]) for record in caplog.records]
    assert len(losses) == 2
    assert losses[1] < losses[0]


def test_weights_of_another_network_are_refused_as_a_start(forged: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such weights file"):
        pretrain_visual(forged, tmp_path / "out", CONFIG, start=tmp_path)


def test_sound_goes_on_from_weights_and_refuses_a_folder_without_any(forged: Path, tmp_path: Path) -> None:
    first = pretrain_audio(forged, tmp_path / "a", CONFIG)
    further = pretrain_audio(forged, tmp_path / "b", CONFIG, start=tmp_path / "a")
    samples = np.sin(np.arange(16_000) / 9).astype(np.float32)
    values = [Wav2Vec2(CONFIG.audio, folder)(samples).values for folder in (first, further)]
    assert values[0].shape == values[1].shape
    assert not np.array_equal(values[0], values[1])
    with pytest.raises(WeightsError, match=r"config\.json"):
        pretrain_audio(forged, tmp_path / "c", CONFIG, start=tmp_path / "nothing")


def test_a_folder_without_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no forgeries\.json"):
        pretrain_visual(tmp_path, tmp_path / "out", CONFIG)


def test_a_set_without_forgeries_is_refused(forged: Path, tmp_path: Path) -> None:
    rows = [row for row in json.loads((forged / "forgeries.json").read_text()) if row["label"] == 0]
    (tmp_path / "forgeries.json").write_text(json.dumps(rows))
    with pytest.raises(InputError, match="no audio forgery in the train split"):
        pretrain_audio(tmp_path, tmp_path / "out", CONFIG)
