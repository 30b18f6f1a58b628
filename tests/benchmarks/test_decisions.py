"""The comparison of decisions, on made-up evidence."""

from __future__ import annotations

import math

from evidence_factory import Hearing, labelled_clips
from scripts import loaded


def test_every_decision_has_a_row_and_that_on_segments_uses_the_edges() -> None:
    with loaded("benchmarks/decisions.py") as module:
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
