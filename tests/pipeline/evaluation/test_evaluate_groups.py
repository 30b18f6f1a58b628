"""Tables by generator, family and kind, by extent, and the boundaries of what was found."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_set import manifest, predictions, samples, write_sidecar

from data.errors import InputError
from data.timeline import Interval
from pipeline.evaluation.evaluate import evaluate


def write_recipe(root: Path, families: dict[str, dict[str, dict[str, list[str]]]]) -> None:
    (root / "recipe.json").write_text(json.dumps({"settings": {"families": families}}), encoding="utf-8")


FAMILIES = {
    "dev": {
        "face": {"swaps": ["replace_lower_face"]},
        "speech": {"splices": ["splice_speaker"], "shifts": ["shift_voice"]},
    }
}


def test_generators_are_grouped_by_family_and_kind_where_the_recipe_names_them(tmp_path: Path) -> None:
    clips = samples(2)
    write_sidecar(tmp_path, clips, ["anna"] * 8)
    write_recipe(tmp_path, FAMILIES)
    found = predictions(clips)
    found[1] = replace(found[1], proposals=np.zeros((0, 3)), score=0.0)  # a forged face is missed
    result = evaluate(found, manifest(tmp_path, clips), "dev", replicates=0)
    # Faces are forged in clips 1, 3, 5 and 7, voices in 2, 3, 6 and 7, there in two places.
    assert result.value("recall by kind", "segments", "face") == 4
    assert result.value("recall by kind", "AR@5", "face") == pytest.approx(3 / 4)
    assert result.value("recall by kind", "segments", "speech") == 6
    assert result.value("recall by family", "segments", "shifts") == 2
    assert result.value("recall by family", "AR@5", "splices") == 1.0
    assert result.value("video level by kind", "clips", "face vs real") == 4
    # Of 4 by 2 pairs those with the missed clip are lost: its score is below both.
    assert result.value("video level by kind", "AUC", "face vs real") == pytest.approx(6 / 8)
    assert result.value("video level by family", "AUC", "splices vs real") == 1.0
    assert result.value("video level", "AUC", "replace_lower_face vs real") == pytest.approx(6 / 8)


def test_an_engine_counts_for_its_family_and_not_its_manipulation(tmp_path: Path) -> None:
    clips = samples()
    write_sidecar(tmp_path, clips, ["anna"] * 4)
    path = tmp_path / "forgeries.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    for row in rows:
        for segment in row["segments"]:
            if segment["manipulation"] == "shift_voice":
                segment["generator"] = "Robot 2"
    path.write_text(json.dumps(rows), encoding="utf-8")
    write_recipe(tmp_path, {"test": {"speech": {"robots": ["Robot 2"]}}})
    result = evaluate(predictions(clips), manifest(tmp_path, clips), "dev", replicates=0)
    assert result.value("recall by family", "segments", "robots") == 1
    assert result.value("recall by manipulation", "segments", "shift_voice") == 1


def test_without_names_of_families_there_are_no_such_groups(tmp_path: Path) -> None:
    clips = samples()
    write_sidecar(tmp_path, clips, ["anna"] * 4)
    write_recipe(tmp_path, {})
    result = evaluate(predictions(clips), manifest(tmp_path, clips), "dev", replicates=0)
    assert not {table for table in result.tables if "family" in table or "kind" in table}
    assert "recall by manipulation" in result.tables


def test_a_damaged_recipe_is_named(tmp_path: Path) -> None:
    clips = samples()
    write_sidecar(tmp_path, clips, ["anna"] * 4)
    (tmp_path / "recipe.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"recipe.json: cannot be read"):
        evaluate(predictions(clips), manifest(tmp_path, clips), "dev", replicates=0)


def test_clips_forged_in_part_and_throughout_are_told_apart() -> None:
    clips = samples(2)
    clips[2] = replace(clips[2], fake_periods=(Interval(0.0, 1.15),))  # of 1.2 s
    result = evaluate(predictions(clips), manifest(Path("set"), clips), "dev", replicates=0)
    assert result.value("video level", "clips", "throughout vs real") == 1
    assert result.value("video level", "clips", "in part vs real") == 5
    alone = evaluate(predictions(samples()), manifest(Path("set"), samples()), "dev", replicates=0)
    assert not [row for row in alone.rows if row.group == "throughout vs real"]


def test_boundaries_are_printed_in_milliseconds() -> None:
    clips = samples()
    found = predictions(clips)
    late = np.array([[0.9, 0.25, 0.6]])  # 50 ms late
    found[1], found[2] = replace(found[1], proposals=late), replace(found[2], proposals=np.zeros((0, 3)))
    result = evaluate(found, manifest(Path("set"), clips), "dev", replicates=0)
    table = "boundaries, median error"
    # Three of four segments are met; the errors of their starts are 50, 0 and 0 ms.
    assert result.value(table, "segments") == 4
    assert result.value(table, "met") == 3 / 4
    assert (result.value(table, "start, ms"), result.value(table, "end, ms")) == pytest.approx(
        (0, 0), abs=1e-9
    )
    found[3] = replace(found[3], proposals=np.array([[0.9, 0.25, 0.63], [0.8, 0.8, 1.0]]))
    result = evaluate(found, manifest(Path("set"), clips), "dev", replicates=0)
    assert result.value(table, "start, ms") == pytest.approx(50)
    _, text = result.markdown().split(f"## {table}")
    line = next(line for line in text.splitlines() if line.startswith("| all"))
    assert [cell.strip() for cell in line.split("|")][2:7] == ["4", "75.00", "50", "0", "15"]
    nothing = [replace(one, proposals=np.zeros((0, 3))) for one in found]
    result = evaluate(nothing, manifest(Path("set"), clips), "dev", replicates=0)
    assert math.isnan(result.value(table, "start, ms"))
    assert "nan" not in result.markdown()
