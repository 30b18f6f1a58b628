"""The paper's figures as printed, and ours beside them: means, deviations, differences, gaps."""

from __future__ import annotations

import csv
import io
import json
import statistics
from typing import Any

import pytest

from pipeline.reproduction.published import (
    BUDGETS,
    COLUMNS,
    FIGURE_3,
    IOUS,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    Published,
)
from pipeline.reproduction.tables import DIFFERS, Line, Spread, Table, lines, measured

# --- what is printed ----------------------------------------------------------------------------------------------

ROWS = [
    *(("lavdf", row) for row in TABLE_1["lavdf"]),
    *(("avdeepfake1m", row) for row in TABLE_1["avdeepfake1m"]),
    *(("cross", row) for row in TABLE_2),
]
MISPRINTED = {("cross", "CoLA", "mAR")}
"""CoLA's AR@N in Table 2 repeat those of Table 1, and its mean does not."""


@pytest.mark.parametrize(("where", "row"), ROWS, ids=[f"{where}-{row.method}" for where, row in ROWS])
def test_printed_averages_are_those_of_their_columns(where: str, row: Published) -> None:
    assert tuple(row.values) == COLUMNS
    for average, columns in (("mAP", IOUS), ("mAR", BUDGETS)):
        # Cells and averages are rounded to 0.005 each.
        near = abs(statistics.fmean(row.values[c] for c in columns) - row.values[average]) <= 0.01 + 1e-9
        assert near != ((where, row.method, average) in MISPRINTED)


@pytest.mark.parametrize(("where", "row"), ROWS, ids=[f"{where}-{row.method}" for where, row in ROWS])
def test_printed_values_fall_with_the_threshold_and_the_budget(where: str, row: Published) -> None:
    for columns in (IOUS, BUDGETS):
        values = [row.values[column] for column in columns]
        assert values == sorted(values, reverse=True)
        assert min(values) >= 0
        assert max(values) <= 100


def test_the_rows_are_those_of_the_paper() -> None:
    fully = ["ActionFormer", "TriDet", "UMMAFormer", "MFMS"]
    assert [row.method for row in TABLE_1["lavdf"]] == [*fully, "CoLA", "FuSTAL", "SAL", "LOCO", "RT-DeepLoc"]
    assert [row.method for row in TABLE_1["avdeepfake1m"]] == [*fully, "CoLA", "FuSTAL", "LOCO", "RT-DeepLoc"]
    assert [row.method for row in TABLE_2] == ["UMMAFormer", "MFMS", "CoLA", "LOCO", "RT-DeepLoc"]
    for table in (*TABLE_1.values(), TABLE_2):
        assert {row.method for row in table if row.supervision == "fully"} <= set(fully)
        assert not {row.method for row in table if row.supervision == "weakly"} & set(fully)


def test_what_the_text_says_of_the_numbers_holds() -> None:
    own = next(row.values for row in TABLE_1["lavdf"] if row.method == "RT-DeepLoc")
    loco = next(row.values for row in TABLE_1["lavdf"] if row.method == "LOCO")
    assert own["mAR"] - loco["mAR"] == pytest.approx(31.75)  # section 4.3
    without, no_mtlr, no_aicl, full = (row.values for row in TABLE_3)
    assert full["mAP"] - without["mAP"] == pytest.approx(10.61)  # section 4.5.1
    assert full["mAP"] - no_aicl["mAP"] == pytest.approx(3.17)
    assert full["mAP"] - no_mtlr["mAP"] == pytest.approx(4.84)
    assert full == {column: own[column] for column in ("mAP", "mAR")}
    assert all(row.values == full for row in FIGURE_3)


# --- ours beside it -----------------------------------------------------------------------------------------------


def document(paper: dict[str, float | None], honest: dict[str, float | None]) -> dict[str, Any]:
    """An evaluation as JSON has it, with these shares."""
    tables = {"localization, paper": paper, "localization, honest": honest}
    return {
        "tables": {
            name: {"all": {column: {"value": share} for column, share in row.items()}}
            for name, row in tables.items()
        }
    }


COLA = [
    document({"mAP": 0.10, "mAR": 0.5}, {"mAP": 0.08, "mAR": None}),
    document({"mAP": 0.14, "mAR": 0.5}, {"mAP": 0.08, "mAR": 0.4}),
    document({"mAP": 0.18, "mAR": 0.5}, {"mAP": 0.11, "mAR": 0.6}),
]
PRINTED = (
    Published("MFMS", "fully", {"mAP": 97.3, "mAR": 98.01}),
    Published("CoLA", "weakly", {"mAP": 15.21, "mAR": 40.25}),
    Published("RT-DeepLoc", "weakly", {"mAP": 72.87, "mAR": 84.03}),
)


def table(comparable: bool = True, **changes: Any) -> Table:
    rows = [("CoLA", COLA), ("MDP", COLA[:1]), ("RT-DeepLoc", [])]
    values: dict[str, Any] = {
        "name": "table1",
        "title": "Table 1",
        "section": "4.3",
        "lines": lines(rows, PRINTED, ("mAP", "mAR")),
        "columns": ("mAP", "mAR"),
        "comparable": comparable,
        "notes": ("two clips are missing",),
        "facts": {"seeds": [1, 2, 3], "seconds of training": {"CoLA": 3.25}},
    }
    return Table(**(values | changes))


def cells(markdown: str, method: str) -> list[str]:
    row = next(text for text in markdown.splitlines() if text.startswith(f"| {method} "))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_mean_and_deviation_over_seeds() -> None:
    found = measured(COLA, ("mAP", "mAR"))
    # 10, 14, 18: mean 14, deviations -4, 0, 4, variance 32 / 2
    assert found["paper"]["mAP"].mean == pytest.approx(14)
    assert found["paper"]["mAP"].std == pytest.approx(4)
    # 8, 8, 11: mean 9, deviations -1, -1, 2, variance 6 / 2
    assert found["honest"]["mAP"].std == pytest.approx(3**0.5)
    assert str(found["honest"]["mAP"]) == "9.00 ± 1.73"
    # A seed without a number is left out, not counted as zero.
    assert found["honest"]["mAR"].values == pytest.approx((40, 60))


def test_one_seed_has_no_deviation() -> None:
    assert Spread((12.345,)).std is None
    assert str(Spread((12.3,))) == "12.30"
    assert measured([], ("mAP",)) == {}
    with pytest.raises(KeyError):
        measured([{"tables": {}}], ("mAP",))


def test_ours_join_the_papers_rows() -> None:
    found = table().lines
    assert [line.method for line in found] == ["MFMS", "CoLA", "MDP", "RT-DeepLoc"]
    assert [line.seeds for line in found] == [0, 3, 1, 0]
    assert [line.supervision for line in found] == ["fully", "weakly", "weakly", "weakly"]
    assert found[1].difference("mAP") == pytest.approx(14 - 15.21)
    rows = [("CoLA", COLA), ("MFMS-style", COLA), ("RT-DeepLoc", [])]
    with_own = lines(rows, PRINTED, ("mAP", "mAR"), {"MFMS-style"})
    assert [(line.method, line.supervision, line.seeds) for line in with_own] == [
        ("MFMS", "fully", 0),
        ("CoLA", "weakly", 3),
        ("MFMS-style", "fully", 3),
        ("RT-DeepLoc", "weakly", 0),
    ]
    assert found[1].difference("AP@0.5") is None
    assert found[2].difference("mAP") is None  # not in the paper
    assert found[3].difference("mAP") is None  # not run
    ordered = lines([("b", []), ("a", [])], [Published("a", "weakly", {"mAP": 1.0})], ("mAP",))
    assert [line.method for line in ordered] == ["b", "a"]


def test_markdown_stands_ours_paper_and_difference_side_by_side() -> None:
    text = table().markdown()
    assert cells(text, "CoLA") == [
        *("CoLA", "weakly"),
        *("14.00 ± 4.00", "15.21", "-1.21", "9.00 ± 1.73"),
        *("50.00 ± 0.00", "40.25", "+9.75", "50.00 ± 14.14"),
    ]
    assert cells(text, "MFMS")[2:6] == ["not re-run", "97.30", "–", "not re-run"]
    assert cells(text, "MDP")[2:] == ["10.00", "–", "–", "8.00", "50.00", "–", "–", "–"]
    assert "**Note:** two clips are missing." in text
    assert "- seeds: 1, 2, 3" in text
    assert "- seconds of training: CoLA 3.2" in text
    assert "## mAP at IoU" not in text  # there are only averages


def test_no_difference_is_printed_between_different_clips() -> None:
    made = table(comparable=False)
    row = cells(made.markdown(), "CoLA")
    assert row[2:5] == ["14.00 ± 4.00", "15.21", DIFFERS]
    rows = list(csv.DictReader(io.StringIO(made.to_csv())))
    assert {one["difference"] for one in rows} == {""}
    assert {one["paper"] for one in rows if one["method"] == "CoLA"} == {"15.2100", "40.2500", ""}


def test_every_column_has_a_place() -> None:
    ours = {
        rule: {column: Spread((float(k),)) for k, column in enumerate(COLUMNS)}
        for rule in ("paper", "honest")
    }
    own = Line("RT-DeepLoc", "weakly", TABLE_1["lavdf"][-1].values, ours)
    mfms = Line("MFMS", "fully", TABLE_1["lavdf"][3].values)
    text = table(lines=(mfms, own), columns=COLUMNS).markdown()
    ap, ar = text.split("## mAP at IoU")[1].split("## AR at proposals")
    assert cells(ap, "MFMS")[1:3] == ["paper, not re-run", "98.00"]
    whose = [row.split("|")[2].strip() for row in ar.splitlines() if row.startswith("| RT-DeepLoc")]
    assert whose == ["ours", "paper", "difference", "ours, honest rules"]
    assert cells(ap, "RT-DeepLoc")[2:] == [f"{k}.00" for k in range(8)]
    assert cells(ar, "RT-DeepLoc")[2:] == [f"{k}.00" for k in range(8, 13)]
    difference = next(row for row in ap.splitlines() if "difference" in row)
    assert difference.split("|")[3].strip() == "-90.14"


def test_csv_has_a_line_per_number() -> None:
    rows = list(csv.DictReader(io.StringIO(table().to_csv())))
    assert rows[0] == {
        "method": "MFMS",
        "supervision": "fully",
        "protocol": "paper",
        "column": "mAP",
        "ours": "",
        "std": "",
        "seeds": "0",
        "paper": "97.3000",
        "difference": "",
    }
    cola = {(one["protocol"], one["column"]): one for one in rows if one["method"] == "CoLA"}
    assert len(cola) == 4
    assert (cola["paper", "mAP"]["ours"], cola["paper", "mAP"]["difference"]) == ("14.0000", "-1.2100")
    assert (cola["honest", "mAP"]["paper"], cola["honest", "mAR"]["seeds"]) == ("", "2")


def test_json_keeps_the_value_of_each_seed() -> None:
    found = json.loads(table().to_json())
    cola = next(line for line in found["lines"] if line["method"] == "CoLA")
    assert cola["ours"]["paper"]["mAP"] == pytest.approx([10, 14, 18])
    assert cola["published"] == {"mAP": 15.21, "mAR": 40.25}
    assert found["facts"]["seeds"] == [1, 2, 3]
    assert found["comparable"] is True
