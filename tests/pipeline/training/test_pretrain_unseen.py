"""What pre-training writes beside the weights: clips judged by networks that never saw them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from extractor_factory import small_parts
from labelled_toys import looked, toy

from configs.loader import load_config
from configs.schema import PipelineConfig
from data.labels import Modality
from data.manifest.sidecar import EditedSegment, SynthesizedClip
from extractors.compact.evidence_net import EvidenceNet
from extractors.compact.sound_traces import ABSOLUTE, RELATIVE
from extractors.compact.voice_traces import split
from extractors.compact.weights import load_part, load_tensors
from pipeline.training import evidence, pretrain
from pipeline.training.crossfit import deal, load_unseen, save_unseen
from pipeline.training.labelled import Known, LabelledSteps
from pipeline.training.pretrain import pretrain_audio, pretrain_visual

LABEL = {"visual": 1, "audio": 2}
LENGTHS = {"visual": (30, 0), "audio": (0, 51200)}
"""Frames and samples of the toys."""

TOY = [*toy("span", 0), *toy("sham", 1), *toy("authentic", 2), *toy("whole", 3)]
LOOKED = [*looked("span", 0), *looked("whole", 1), *looked("authentic", 2)]


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    """A small ear and eye, and next to no training."""
    settings = ["visual_steps=1", "audio_steps=40", "head_steps=5", "batch=4", "crop_s=1.0", "folds=2"]
    return load_config(
        "compact", [*(f"pretrain.{value}" for value in settings), *small_parts(tmp_path / "parts")]
    )


def of_people(clips: list[LabelledSteps], people: int, track: Modality = "audio") -> list[LabelledSteps]:
    """`clips` of one `track` with what is known of them: the k-th of a kind is of person k, forged by its kind."""
    seen: Counter[str] = Counter()
    found = []
    for clip in clips:
        number = seen[clip.kind] % people
        seen[clip.kind] += 1
        forged = bool(clip.forged.any())
        spans = (EditedSegment(0.2, 1.0, track, clip.kind),) if forged else ()
        name = f"{clip.kind}{seen[clip.kind]}.mp4"
        known = SynthesizedClip(
            name,
            f"p{number}",
            "g",
            "train",
            LABEL[track] * forged,
            spans,
            (),
            None,
            "s",
            0.0,
            *LENGTHS[track],
            9,
        )
        found.append(replace(clip, known=Known("toys", known, (clip.kind,) if forged else ())))
    return found


def test_each_clip_is_judged_by_a_network_that_saw_neither_its_person_nor_its_forgery(
    tmp_path: Path, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def toys(clips: list[LabelledSteps], out: Path, folds: int = 0) -> Path:
        monkeypatch.setattr(pretrain, "labelled_voices", lambda *_: clips)
        settings = config.pretrain.model_copy(update={"folds": folds})
        return pretrain_audio([], out, config.model_copy(update={"pretrain": settings}))

    monkeypatch.setattr(evidence, "_DECAY", 0.9)
    clips = of_people(TOY, 5)
    path = toys(clips, tmp_path, folds=2)
    save_unseen(tmp_path / "unseen" / "visual.safetensors", [])
    found = load_unseen(tmp_path, config.localize)
    assert len(found) == len(clips)
    # What ships is the same as without folds, and says something else of what it has seen.
    assert path.read_bytes() == toys(clips, tmp_path / "alone").read_bytes()
    assert not (tmp_path / "alone" / "unseen").exists()
    dealt = deal(clips, 2)
    one = next(clip for clip in found if clip.label == 0)
    fold = dealt.people[one.person]
    others = [clip for clip in clips if dealt.training(fold, clip)]
    path = toys(others, tmp_path / "others")
    net = load_part(EvidenceNet(RELATIVE + 2, ABSOLUTE + 2), load_tensors(path), "net.", path)
    steps = next(c for c in clips if not c.forged.any() and c.known and c.known.clip.identity == one.person)
    measures, known = (
        torch.from_numpy(part)[None] for part in (steps.measured.measures, steps.measured.valid)
    )
    with torch.inference_mode():
        wanted = net(*split(measures.float(), known), known).evidence[0].numpy()
    assert one.scores.evidence["audio"] == pytest.approx(wanted, abs=0.02)


def test_faces_are_judged_unseen_with_the_looks_of_the_extractor(
    tmp_path: Path, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = of_people(LOOKED, 4, "visual")
    monkeypatch.setattr(pretrain, "labelled_faces", lambda *_: clips)
    pretrain_visual([tmp_path], tmp_path, config)
    save_unseen(tmp_path / "unseen" / "audio.safetensors", [])
    found = load_unseen(tmp_path, config.localize)
    assert len(found) == len(clips)
    assert all(np.isfinite(clip.scores.evidence["visual"]).all() for clip in found)
