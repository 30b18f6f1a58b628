"""All settings as rows of text: name, value, default and meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo

from configs.schema import PipelineConfig, Settings


class SettingRow(NamedTuple):
    """One setting; `value` and `default` are written as `--set NAME=VALUE` takes them."""

    name: str
    value: str
    default: str
    meaning: str


def setting_rows(config: PipelineConfig | None = None) -> list[SettingRow]:
    """Every setting of `config` (the defaults without one), in the order of the schema."""
    return list(_rows(config or PipelineConfig(), PipelineConfig(), ""))


def _rows(config: Settings, default: Settings, prefix: str) -> Iterator[SettingRow]:
    for name, field in type(config).model_fields.items():
        value, usual = getattr(config, name), getattr(default, name)
        if isinstance(value, Settings):
            # Settings that are off by default have the defaults of their kind.
            yield from _rows(value, usual if usual is not None else type(value)(), f"{prefix}{name}.")
        else:
            yield SettingRow(prefix + name, _text(value), _text(usual), _meaning(field))


def _meaning(field: FieldInfo) -> str:
    """The description of a setting, and the words that it takes."""
    words = (
        [str(word) for word in get_args(field.annotation)] if get_origin(field.annotation) is Literal else []
    )
    return " ".join([field.description or "", *([f"One of {', '.join(words)}."] if words else [])])


def _text(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else json.dumps(value, default=lambda part: part.model_dump(mode="json"))
    )
