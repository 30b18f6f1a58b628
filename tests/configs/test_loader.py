"""YAML and overrides into settings, with errors that name the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from configs.loader import PRESETS, ConfigError, apply_overrides, load_config, preset_names, validate
from configs.schema import PipelineConfig


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_yaml_that_ships_loads_and_names_itself(path: Path) -> None:
    assert load_config(path.stem).preset == path.stem
    assert load_config(path) == load_config(path.stem)


def test_presets_are_found() -> None:
    assert {"compact", "paper"} <= set(preset_names())


def test_paper_preset_is_the_paper_s_setting() -> None:
    config = load_config("paper")
    # ResNet-50 gives 2048 channels, XLS-R 300M 1024; all else is a default
    assert (config.visual.arch, config.model.visual_dim, config.model.audio_dim) == ("resnet50", 2048, 1024)
    assert config.train == PipelineConfig().train
    assert config.model.loss == PipelineConfig().model.loss


# --- overrides ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("train.batch_size=4", "train.batch_size", 4),
        ("train.learning_rate=1e-4", "train.learning_rate", 1e-4),  # YAML 1.1 reads 1e-4 as text
        ("train.learning_rate=0.001", "train.learning_rate", 0.001),
        ("train.balance_classes=false", "train.balance_classes", False),
        ("train.balance_classes=no", "train.balance_classes", False),
        ("train.mixed_precision=no", "train.mixed_precision", "no"),  # YAML 1.1 reads no as false
        ("train.clip_norm=null", "train.clip_norm", None),
        ("visual.mean=[1, 2, 3]", "visual.mean", (1.0, 2.0, 3.0)),
        ("audio.weights=hub:facebook/wav2vec2-base", "audio.weights", "hub:facebook/wav2vec2-base"),
        ("audio.weights=/a=b.pth", "audio.weights", "/a=b.pth"),
        (" localize.onset = 0.7", "localize.onset", 0.7),
        ("model.fusion={dim: 8, heads: 2}", "model.fusion.dim", 8),
    ],
)
def test_override_sets_a_value(override: str, path: str, value: Any) -> None:
    found: Any = load_config("compact", [override])
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


def test_later_overrides_win_and_groups_may_be_new() -> None:
    config = load_config("paper", ["localize.window=60", "localize.overlap=30", "localize.window=80"])
    assert (config.localize.window, config.localize.overlap) == (80, 30)


def test_overriding_leaves_the_input_alone() -> None:
    values = {"train": {"steps": 1}}
    assert apply_overrides(values, ["train.steps=2"]) == {"train": {"steps": 2}}
    assert values == {"train": {"steps": 1}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.batch_size", "expected KEY=VALUE"),
        ("=4", "expected KEY=VALUE"),
        ("preset.name=x", "'preset' is a single value"),
        ("train.steps=[1", "not valid YAML"),
        ("train.steps=many", "'train.steps'"),
        ("train.steps=0", "'train.steps'"),
        ("train=5", "'train'"),
    ],
)
def test_bad_overrides_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("compact", [override])


# --- errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "key", "suggestion"),
    [
        ("train.batchsize=4", "train.batchsize", "train.batch_size"),
        ("localise.onset=0.5", "localise", "localize"),
        ("model.fdn.mask_rate=0.5", "model.fdn.mask_rate", "model.fdn.mask_ratio"),
        ("model.loss.aicl_margn=0.5", "model.loss.aicl_margn", "model.loss.aicl_margin"),
    ],
)
def test_unknown_keys_are_named_with_the_nearest_known_one(override: str, key: str, suggestion: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("compact", [override])
    assert str(caught.value) == f"compact: unknown setting '{key}'; did you mean '{suggestion}'?"


def test_unknown_key_like_no_other_is_named_without_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'zzz'$"):
        validate({"zzz": 1})


def test_first_bad_value_is_named() -> None:
    with pytest.raises(ConfigError, match=r"mine: 'train.batch_size': .*greater than 0"):
        validate({"train": {"batch_size": 0}}, origin="mine")


def test_names_that_are_neither_preset_nor_file_list_the_presets(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such preset or file; presets are .*compact, paper"):
        load_config("compcat")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a mapping"),
        (b"- a\n- b", "expected a mapping"),
        (b"train: {steps: [", "cannot be read as YAML"),
        (b"\xff\xfe\xfa", "cannot be read as YAML"),
        (b"train: !!python/object/apply:os.getcwd []", "cannot be read as YAML"),
    ],
)
def test_files_that_hold_no_settings_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "config.yaml")


def test_folder_instead_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        load_config(tmp_path)
