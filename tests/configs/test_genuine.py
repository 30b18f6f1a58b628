"""The split of generators and people that real generators are judged by."""

from __future__ import annotations

import itertools

import pytest
from pydantic import ValidationError

from configs.loader import load_dataset
from configs.schema import SynthesizeConfig

CONFIG = load_dataset("genuine").synthesize


def test_no_family_and_no_generator_is_in_two_splits() -> None:
    families = [{f for kinds in split.values() for f in kinds} for split in CONFIG.families.values()]
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(families, 2))
    generators = [
        {g for kinds in split.values() for names in kinds.values() for g in names}
        for split in CONFIG.families.values()
    ]
    assert len(generators) == 3
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(generators, 2))


def test_the_test_split_covers_every_kind() -> None:
    test = CONFIG.families["test"]
    least = {"vocoder": 2, "speech": 2, "lip-sync": 2, "face": 1}
    assert all(len(test[kind]) >= n for kind, n in least.items())
    assert sum(len(generators) for generators in test["head"].values()) >= 2


def test_readers_that_go_unnamed_are_with_the_named_ones() -> None:
    assert {CONFIG.split_of_person(name) for name in ("LJ", "VCTK_p225", "hg_ms1", "vits_ms5")} == {"train"}
    assert CONFIG.split_of_person("bv_celeb1") == "test"
    assert CONFIG.split_of_person("somebody") is None


@pytest.mark.parametrize(
    ("families", "reason"),
    [
        ({"train": {"a": {"x": ("G",)}}, "test": {"a": {"x": ("H",)}}}, "the family 'x' is named twice"),
        ({"train": {"a": {"x": ("G",)}}, "test": {"a": {"y": ("G",)}}}, "the generator 'G' is named twice"),
    ],
)
def test_what_is_named_twice_is_refused(families: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        SynthesizeConfig.model_validate({"families": families})
