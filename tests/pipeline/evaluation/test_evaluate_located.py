"""Evaluation where labels are of whole videos: nothing is measured that nobody knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_set import manifest, predictions, samples

from data.errors import UsageError
from pipeline.evaluation.evaluate import evaluate


def test_labels_of_whole_videos_are_no_intervals(tmp_path: Path) -> None:
    clips = [replace(clip, located=False, fake_periods=()) for clip in samples()]
    result = evaluate(predictions(samples()), manifest(tmp_path, clips), "dev", replicates=0)
    assert result.tables == ("video level", "reliability")
    assert result.value("video level", "AUC") == 1
    assert [note for note in result.notes if "no forged interval is known" in note]
    assert not [note for note in result.notes if "have no intervals" in note]

    bare = [replace(one, score=None, probabilities=None) for one in predictions(samples())]
    with pytest.raises(UsageError, match=r"have a video-level label only.*--scores"):
        evaluate(bare, manifest(tmp_path, clips), "dev", replicates=0)
