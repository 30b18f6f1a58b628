"""YAML plus `--set a.b=c` into validated settings, with errors that name the key."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from configs.schema import PipelineConfig, Settings

# libyaml's parser, where PyYAML has it, reads the settings of a weights folder in a tenth of the time.
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

PRESETS = Path(__file__).parent
"""Folder of the presets that ship with the project."""


class ConfigError(ValueError):
    """A setting is unknown or its value is not allowed."""


def preset_names() -> tuple[str, ...]:
    """Names of the presets that ship with the project."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.yaml")))


def dataset_names() -> tuple[str, ...]:
    """Names of the data sets that `pipeline synthesize` can imitate or make."""
    return tuple(sorted(path.stem for path in (PRESETS / "datasets").glob("*.yaml")))


def load_dataset(name: str, overrides: Iterable[str] = ()) -> PipelineConfig:
    """Settings that make a data set like `name`, with `overrides` as in `load_config`.

    Raises ConfigError when the name, a key or a value is not valid.
    """
    if name not in dataset_names():
        raise ConfigError(f"{name}: no such data set; known are {', '.join(dataset_names())}")
    return load_config(PRESETS / "datasets" / f"{name}.yaml", overrides)


def load_config(source: str | Path, overrides: Iterable[str] = ()) -> PipelineConfig:
    """Settings of a preset name or a YAML file, with `overrides` of the form ``a.b=c`` applied.

    Raises ConfigError when the preset, the file, a key or a value is not valid.
    """
    path = PRESETS / f"{source}.yaml" if str(source) in preset_names() else Path(source)
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _LOADER)
    except FileNotFoundError:
        raise ConfigError(
            f"{source}: no such preset or file; presets are {', '.join(preset_names())}"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of settings")
    return validate(apply_overrides(values, overrides), origin=str(source))


def validate(values: dict[str, Any], origin: str = "settings") -> PipelineConfig:
    """Checked settings from plain values.

    Raises ConfigError that names the first bad key, with the nearest known one.
    """
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"{origin}: unknown setting '{key}'{_suggestion(key)}") from None
        raise ConfigError(f"{origin}: '{key}': {first['msg']}") from None


def apply_overrides(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """`values` with each ``a.b=c`` set; `c` is read as YAML, so numbers and lists work.

    Raises ConfigError for an override without ``=`` or one that goes through a plain value.
    """
    merged = copy.deepcopy(values)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set {override!r}: expected KEY=VALUE, for example localize.onset=0.6")
        *parents, leaf = key.strip().split(".")
        node = merged
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ConfigError(f"--set {override!r}: '{parent}' is a single value, not a group")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {override!r}: the value is not valid YAML: {error}") from None
        # YAML 1.1 takes the bare words no, off, yes and on for booleans; as text they fit fields of either kind.
        bare_word = isinstance(value, bool) and text.strip().lower() not in ("true", "false")
        node[leaf] = text.strip() if bare_word else value
    return merged


def dump(config: PipelineConfig) -> str:
    """The effective settings as YAML, without those for making data sets, which do not concern a model."""
    return yaml.safe_dump(config.model_dump(mode="json", exclude={"synthesize"}), sort_keys=False)


def _suggestion(key: str) -> str:
    near = difflib.get_close_matches(key, _known_keys(PipelineConfig), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _known_keys(settings: type[Settings], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, field in settings.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            keys.extend(_known_keys(field.annotation, f"{prefix}{name}."))
    return keys
