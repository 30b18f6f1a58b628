"""Every setting says what it is, and the table shows it as `--set` takes it."""

from __future__ import annotations

import re

import pytest

from configs.loader import load_config
from configs.schema import CertifiedLine, DecisionConfig, PipelineConfig, Settings, TrackDecision
from configs.table import SettingRow, setting_rows

UNITS = {"_s": "second", "_mb": "MiB", "_kbps": "kb/s", "_db": "dB", "_share": "Share"}


def fields(settings: type[Settings], prefix: str = "") -> dict[str, str | None]:
    """Descriptions of all fields, those of groups included."""
    found: dict[str, str | None] = {}
    for name, field in settings.model_fields.items():
        found[prefix + name] = field.description
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            found |= fields(field.annotation, f"{prefix}{name}.")
    return found


@pytest.mark.parametrize(("name", "description"), fields(PipelineConfig).items())
def test_every_setting_is_described_in_a_sentence(name: str, description: str | None) -> None:
    assert description, f"{name} lacks a description"
    assert re.fullmatch(r"\S.*\.", description), description
    assert len(description) <= 100, f"{name}: one line, please"


@pytest.mark.parametrize(("name", "description"), fields(PipelineConfig).items())
def test_a_setting_whose_name_ends_in_a_unit_names_it(name: str, description: str) -> None:
    for ending, unit in UNITS.items():
        if name.endswith(ending):
            assert unit.lower() in description.lower()


def test_a_field_without_a_description_would_be_seen() -> None:
    class Silent(Settings):
        limit: int = 1

    assert fields(Silent) == {"limit": None}


def test_rows_are_those_of_the_schema_with_value_default_and_meaning() -> None:
    rows = {
        row.name: row
        for row in setting_rows(load_config("paper", ["localize.onset=0.6", "visual.crop=null"]))
    }
    assert rows["localize.onset"] == SettingRow(
        "localize.onset", "0.6", "0.5", "A run of steps is an interval if one of its scores reaches this."
    )
    assert (rows["visual.crop"].value, rows["visual.crop"].default) == ("null", "256")
    assert rows["train.betas"].value == "[0.9, 0.999]"
    groups = {name for name in fields(PipelineConfig) if any(n.startswith(name + ".") for n in rows)}
    assert rows.keys() | groups == fields(PipelineConfig).keys()


@pytest.mark.parametrize("preset", ["compact", "paper"])
def test_every_value_that_is_shown_can_be_given_to_set(preset: str) -> None:
    config = load_config(preset)
    assert load_config("paper", [f"{row.name}={row.value}" for row in setting_rows(config)]) == config


def test_without_settings_the_rows_are_the_defaults() -> None:
    assert all(row.value == row.default for row in setting_rows())


def test_settings_that_are_off_by_default_are_shown_where_they_are_on() -> None:
    line = '{"rate": 0.05, "line": 0.7, "bound": 0.05, "alarms": 5, "clips": 208, "people": 93}'
    config = load_config(
        "paper", ["localize.decision.audio.track.best=2", f"localize.decision.lines=[{line}]"]
    )
    rows = {row.name: row for row in setting_rows(config)}
    assert (rows["localize.decision.audio.track.best"].value, rows["localize.decision.floor"].value) == (
        "2.0",
        "0.5",
    )
    assert rows["localize.decision.visual"].value == "null"
    assert rows["localize.decision.lines"].value == f"[{line}]"
    again = load_config("paper", [f"{row.name}={row.value}" for row in rows.values()])
    assert again.localize.decision == config.localize.decision


@pytest.mark.parametrize(("name", "description"), fields(DecisionConfig).items())
def test_every_setting_of_the_decision_is_described_in_a_sentence(name: str, description: str | None) -> None:
    test_every_setting_is_described_in_a_sentence(name, description)


@pytest.mark.parametrize("part", [TrackDecision, CertifiedLine])
def test_the_parts_of_the_decision_are_described_too(part: type[Settings]) -> None:
    for name, description in fields(part).items():
        test_every_setting_is_described_in_a_sentence(name, description)
