"""The search for faults by mutated files (`make fuzz`), in small."""

from __future__ import annotations

import fuzz
import pytest


def test_mutated_files_are_decoded_or_refused_with_advice(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--files", "12", "--seed", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("12 files, seed 1")
    assert "     0  faults" in printed
