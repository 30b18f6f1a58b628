"""The comparison of decisions, on made-up evidence."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

from evidence_factory import Hearing, labelled_clips

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "decisions.py"


def test_every_decision_has_a_row_and_that_on_segments_uses_the_edges() -> None:
    spec = importlib.util.spec_from_file_location("benchmarks_decisions", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sharp = Hearing(0.9, 0.9, edge=3.0)
    clips = [
        *labelled_clips(80, sharp, sharp),
        *labelled_clips(40, sharp, None, seed=1, kinds=("real", "visual")),
    ]
    table = {name: values for name, *values in module.compare(clips)}
    assert [*table] == [*module.DECISIONS, "decision on segments"]
    # The made-up model knows nothing.
    assert all(abs(value - 0.5) < 0.2 for value in table["joint curve, highest sixteenth"])
    pooled, decided = table["better track's evidence, highest sixteenth"], table["decision on segments"]
    for one, other in zip(pooled, decided, strict=True):
        assert math.isfinite(one)
        assert other > one
