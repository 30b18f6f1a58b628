"""What was measured of a forged set stays, and is read the next time as it was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forged_set import one_clip

from configs.schema import PipelineConfig
from data.hook import silent
from pipeline.training import labelled
from pipeline.training.labelled import LabelledSteps, labelled_faces, labelled_voices

pytestmark = pytest.mark.usefixtures("in_line")


def never(*_: Any) -> None:
    raise AssertionError("it was measured before")


@pytest.fixture
def one(forged: Path, rows: list[dict[str, Any]], tmp_path: Path) -> Path:
    spans = [(0.4, 0.8, "visual", "freeze_frames"), (0.4, 0.8, "audio", "recode_speech")]
    return one_clip(forged, rows, tmp_path / "one", spans, [])


def same(a: list[LabelledSteps], b: list[LabelledSteps]) -> bool:
    return all(
        first.kind == second.kind
        and np.array_equal(first.forged, second.forged)
        and all(np.array_equal(x, y) for x, y in zip(first.measured, second.measured, strict=True))
        for first, second in zip(a, b, strict=True)
    )


@pytest.mark.parametrize(("read", "name"), [(labelled_faces, "_faces"), (labelled_voices, "_voices")])
def test_what_was_measured_is_read_and_not_measured_again(
    read: Any, name: str, one: Path, config: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "measured"
    first = read([one], config, folder, 1, silent)
    monkeypatch.setattr(labelled, name, never)
    assert same(read([one], config, folder, 1, silent), first)
    # What was done to the clip is read anew: it is no part of what was measured.
    with pytest.raises(AssertionError, match="measured before"):
        read([one], config, tmp_path / "elsewhere", 1, silent)


def test_a_file_that_broke_off_is_measured_again(one: Path, config: PipelineConfig, tmp_path: Path) -> None:
    folder = tmp_path / "measured"
    first = labelled_voices([one], config, folder, 1, silent)
    (kept,) = folder.iterdir()
    whole = kept.read_bytes()
    for broken in (b"", whole[: len(whole) // 2]):
        kept.write_bytes(broken)
        assert same(labelled_voices([one], config, folder, 1, silent), first)
        assert kept.read_bytes() == whole


def test_a_clip_in_which_nothing_can_be_judged_is_remembered(
    one: Path, config: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "measured"
    labelled_voices([one], config, folder, 1, silent)
    with monkeypatch.context() as patch:
        patch.setattr(labelled, "_voices", lambda *_: None)
        mute = json.loads((one / "forgeries.json").read_text())[0] | {
            "file": "train/mute.mp4",
            "segments": [],
        }
        rows = json.loads((one / "forgeries.json").read_text())
        (one / "forgeries.json").write_text(json.dumps([*rows, mute]))
        assert len(labelled_voices([one], config, folder, 1, silent)) == 1
    monkeypatch.setattr(labelled, "_voices", never)
    assert len(labelled_voices([one], config, folder, 1, silent)) == 1
    assert len(list(folder.iterdir())) == 2


def test_a_clip_that_was_made_anew_is_measured_again(
    one: Path, config: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "measured"
    labelled_voices([one], config, folder, 1, silent)
    monkeypatch.setattr(labelled, "_voices", never)
    (row,) = json.loads((one / "forgeries.json").read_text())
    changes: list[dict[str, Any]] = [{"size_bytes": row["size_bytes"] + 1}, {"segments": row["segments"][:1]}]
    for change in changes:
        (one / "forgeries.json").write_text(json.dumps([row | change]))
        with pytest.raises(AssertionError, match="measured before"):
            labelled_voices([one], config, folder, 1, silent)
