"""`make results`: one row for each set that is there, and the details of some."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from condition_set import write_set
from model_factory import one_thread
from scripts import loaded

from data.errors import UsageError
from pipeline.evaluation.result import Evaluation, Row
from pipeline.forging.conditions import make_condition, plan

LOUD = SimpleNamespace(intervals=("one", "two"), verdict="forged")


@pytest.fixture(scope="module")
def shipped() -> Iterator[ModuleType]:
    with loaded("benchmarks/shipped.py") as module:
        yield module


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("benchmark")
    write_set(root / "known")
    make_condition(plan("harmless", root / "known", "test"), root / "conditions" / "harmless")
    return root


def test_every_set_gets_a_row_and_some_their_details(
    shipped: ModuleType,
    benchmark: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--benchmark", str(benchmark), "--weights", str(tiny_bundle), "--device", "cpu"]
    arguments += ["--bootstrap", "5", "--out", str(tmp_path / "results.md")]
    monkeypatch.setattr(sys, "argv", ["shipped.py", *arguments])
    with one_thread():
        shipped.main()
    text = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]
    header, known, harmless = rows[0], rows[2], rows[3]
    assert [len(row) for row in (header, known, harmless)] == [13] * 3
    assert known[:2] == ["known", "4"]
    assert harmless[:2] == ["harmless", "6"]
    assert harmless[2:5] == ["–"] * 3, "there is nothing forged to find"
    assert [cell.rpartition(" ")[2] for cell in known[7:11]] == ["2)"] * 4
    assert harmless[7:9] == ["–"] * 2
    assert [cell.rpartition(" ")[2] for cell in harmless[9:11]] == ["6)"] * 2
    for table in ("recall by length", "recall by manipulation", "by recording group", "reliability"):
        assert f"## {table}" in text
    assert "## harmless: false alarms by edit" in text
    assert (tmp_path / "results.md").read_text() == text
    assert any((benchmark / "features").iterdir())


def test_a_run_counts_and_not_the_proposals(
    shipped: ModuleType, benchmark: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from data.store.store import FeatureStore
    from pipeline.detector import Pipeline

    detector = Pipeline.from_pretrained(tiny_bundle, device="cpu")
    store = FeatureStore(benchmark / "features")
    monkeypatch.setattr(
        shipped, "decide", lambda scores, settings: SimpleNamespace(intervals=(), verdict="undecided")
    )
    quiet = shipped.measure("known", detector, benchmark / "known", store, 0)
    assert quiet.reported == {"test/000000.mp4": 0, "test/000002.mp4": 0}
    assert quiet.authentic_h == pytest.approx(2.4 / 3600)
    monkeypatch.setattr(shipped, "decide", lambda scores, settings: LOUD)
    loud = shipped.measure("known", detector, benchmark / "known", store, 0)
    assert set(loud.reported.values()) == {2}
    assert dict(quiet.verdicts["usual"]) == {(True, "undecided"): 2, (False, "undecided"): 2}
    assert shipped.said(loud.verdicts["usual"], False, "forged") == "100 (2 of 2)"
    assert loud.evaluation.value("localization, honest", "mAP") == quiet.evaluation.value(
        "localization, honest", "mAP"
    )


def test_only_sets_that_are_there_can_be_asked_for(
    shipped: ModuleType, benchmark: Path, tmp_path: Path
) -> None:
    assert list(shipped.find_sets(benchmark)) == ["known", "harmless"]
    assert list(shipped.find_sets(benchmark, ["harmless"])) == ["harmless"]
    with pytest.raises(UsageError, match="has no set heldout; it has known, harmless"):
        shipped.find_sets(benchmark, ["heldout"])
    with pytest.raises(UsageError, match="holds no data set"):
        shipped.find_sets(tmp_path)


def test_cells_are_percent_with_intervals_where_there_are_some(shipped: ModuleType) -> None:
    rows = (
        Row("t", "all", "bare", 0.125),
        Row("t", "all", "held", 0.5, 0.25, 0.75),
        Row("t", "all", "none", np.nan),
    )
    found = Evaluation("set", "test", {}, 0, rows, None, (), {"replicates": 0})
    assert [shipped.cell(found, "t", name) for name in ("bare", "held", "none", "absent")] == [
        "12.5",
        "50.0 (25–75)",
        "–",
        "–",
    ]
    assert (shipped.share(1, 3), shipped.share(0, 0)) == ("33 (1 of 3)", "–")


def test_each_certified_line_has_a_row(shipped: ModuleType) -> None:
    counts = Counter({(True, "forged"): 1, (True, "undecided"): 3, (False, "not_found"): 5})
    one = shipped.Measured("set", Path(), None, {}, 1.0, {"usual": counts, "0.05": counts})
    assert shipped.by_promise(one) == [["5 %", "25 (1 of 4)", "0 (0 of 5)"]]
