"""Settings are frozen, strict and hashable; the defaults are the paper's numbers."""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from configs.loader import dump, load_config, preset_names, validate
from configs.schema import DecisionConfig, PipelineConfig, Settings, SynthesizeConfig


def leaves(settings: Settings, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Path, value and annotation of every single setting."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            yield from leaves(value, (*prefix, name))
        else:
            yield (*prefix, name), value, field.annotation


def another(value: Any, annotation: Any, path: tuple[str, ...] = ()) -> Any:
    """A different value that is allowed where `value` is."""
    if typing.get_origin(annotation) is typing.Literal:
        return next(choice for choice in typing.get_args(annotation) if choice != value)
    if annotation == (DecisionConfig | None):
        return DecisionConfig()
    if value is None:
        return "another" if annotation == (str | None) else 1.0
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.99 if value else 0.01
    if isinstance(value, dict):
        return {"dev": {"kind": {"family": ("another",)}} if "families" in path else ("another",)}
    if isinstance(value, tuple):
        if not value:
            return ("another",)
        if typing.get_origin(item := typing.get_args(annotation)[0]) is typing.Literal:
            return tuple(choice for choice in typing.get_args(item) if choice not in value)
        return (*value[:-1], another(value[-1], None))
    return value + "x"


def replaced(config: PipelineConfig, path: tuple[str, ...], value: Any) -> PipelineConfig:
    values = config.model_dump()
    node = values
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return PipelineConfig.model_validate(values)


EVERY = list(leaves(PipelineConfig()))
FIXED = [
    leaf
    for leaf in EVERY
    if typing.get_origin(leaf[2]) is typing.Literal and len(typing.get_args(leaf[2])) == 1
]
LEAVES = [leaf for leaf in EVERY if leaf not in FIXED]


def test_extractors_take_one_rate_of_frames_and_of_samples() -> None:
    assert [".".join(path) for path, _, _ in FIXED] == ["decode.fps", "decode.sample_rate"]
    for path, value, _ in FIXED:
        with pytest.raises(ValidationError, match=f"should be {value}"):
            replaced(PipelineConfig(), path, 2 * value)


@pytest.mark.parametrize(
    ("path", "value", "annotation"), LEAVES, ids=[".".join(path) for path, _, _ in LEAVES]
)
def test_digest_changes_with_every_setting(path: tuple[str, ...], value: Any, annotation: Any) -> None:
    changed = replaced(PipelineConfig(), path, another(value, annotation, path))
    assert changed.digest() != PipelineConfig().digest()
    # and only in the digests of the groups that hold it
    for name in PipelineConfig.model_fields:
        group, before = getattr(changed, name), getattr(PipelineConfig(), name)
        if isinstance(group, Settings):
            assert (group.digest() == before.digest()) == (name != path[0])


def test_digest_is_the_hash_of_canonical_json() -> None:
    class Example(Settings):
        b: float = 1.5
        a: tuple[int, int] = (1, 2)

    canonical = b'{"a":[1,2],"b":1.5}'
    assert Example().digest() == hashlib.sha256(canonical).hexdigest()[:16]


def test_digest_does_not_depend_on_the_order_of_keys() -> None:
    values = json.loads(PipelineConfig().model_dump_json())
    backwards = {k: dict(reversed(v.items())) if isinstance(v, dict) else v for k, v in values.items()}
    assert validate(dict(reversed(backwards.items()))).digest() == PipelineConfig().digest()


@pytest.mark.parametrize("name", preset_names())
def test_digest_survives_writing_and_reading(name: str, tmp_path: Any) -> None:
    config = load_config(name)
    (tmp_path / "config.yaml").write_text(dump(config))
    again = load_config(tmp_path / "config.yaml")
    assert again == config
    assert again.digest() == config.digest()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PipelineConfig().train.batch_size = 1  # type: ignore[misc]


def test_defaults_are_the_paper_s_numbers() -> None:
    config = PipelineConfig()
    assert config.train.batch_size == 32  # 4.1
    assert config.train.learning_rate == 1e-5  # 4.1
    loss = config.model.loss
    assert (loss.recon, loss.kl, loss.aicl) == (0.1, 0.1, 0.1)  # 4.1, lambda 2 to 4
    assert loss.fused_head + 6 * loss.other_heads == pytest.approx(1.4)  # 4.1: 0.8 and six times 0.1
    assert config.model.fdn.mask_ratio == 0.75  # 4.5.2, rho
    assert loss.aicl_topk == 10  # 4.5.2, K


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("localize.overlap", 500),  # as long as the window: windows would not advance
        ("localize.offset", 0.6),  # above the onset: the hysteresis would be upside down
        ("localize.onset", 1.01),
        ("localize.min_duration_s", -0.1),
        ("localize.calibration.temperature", 0.0),  # every class but one would have probability 0
        ("localize.calibration.temperature", float("inf")),
        ("localize.calibration.temperature", None),
        ("localize.calibration.bias", [0.0, 0.0, 0.0]),
        ("localize.calibration.bias", [0.0, 0.0, 0.0, float("nan")]),
        ("model.fdn.mask_ratio", 0.0),
        ("model.fdn.mask_ratio", 1.0),
        ("model.heads.topk_divisor", 0),
        ("train.batch_size", 0),
        ("train.learning_rate", 0.0),
        ("train.mixed_precision", "fp16"),
        ("decode.backend", "opencv"),
        ("visual.arch", "resnet101"),
        ("visual.mean", [1.0, 2.0]),
    ],
)
def test_values_out_of_range_are_refused(path: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        replaced(PipelineConfig(), tuple(path.split(".")), value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crf": [30, 18]}, "crf: 30 must not exceed 18"),
        ({"segment_s": [3.0, 1.0]}, "segment_s: 3.0 must not exceed 1.0"),
        ({"train_share": 0.9, "dev_share": 0.9}, "add up to 1.8"),
    ],
)
def test_a_forger_s_settings_that_contradict_each_other_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SynthesizeConfig(**settings)
