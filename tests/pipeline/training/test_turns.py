"""Recordings of people in turns: who is in them, and that what was edited moves along with the sound."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs.schema import PipelineConfig
from data.hook import silent
from data.labels import FPS, RATE
from data.manifest.sidecar import EditedSegment, SynthesizedClip
from pipeline.training.labelled import labelled_voices
from pipeline.training.turns import FORGED, MOST, plan_turns, whole_steps


def clip(
    identity: str, seconds: float = 3.0, *spans: EditedSegment, shams: tuple[EditedSegment, ...] = ()
) -> SynthesizedClip:
    return SynthesizedClip(
        file=f"{identity}{len(spans)}.m4a",
        identity=identity,
        group="",
        split="train",
        label=2 * bool(spans),
        segments=spans,
        shams=shams,
        original=None,
        source="",
        source_start_s=0.0,
        video_frames=0,
        audio_samples=round(seconds * RATE),
        size_bytes=10,
    )


STEPS = 61  # of 2.4 s, which AAC makes 2.432
SPAN = EditedSegment(1.0, 1.5, "audio", "splice_speaker")
PEOPLE = [clip(name) for name in "abcdefgh"]


def test_several_people_speak_once_each_for_six_to_twenty_seconds() -> None:
    for turns in plan_turns(PEOPLE, 50, 0):
        names = [part.identity for part in turns.parts]
        assert 2 <= len(names) == len(set(names)) <= MOST
        assert 6.0 <= turns.clip.audio_samples / RATE < 23.0
        assert [one.person for one in turns.clip.appearances] == names
        assert turns.clip.appearances[-1].end_s == turns.clip.audio_samples / RATE


def test_every_second_one_has_a_clip_that_is_forged_in_part() -> None:
    entire = clip("z", 3.0, EditedSegment(0.0, 3.0, "audio", "vocode_istft"))
    planned = plan_turns([*PEOPLE, clip("a", 3.0, SPAN), entire], 400, 0)
    assert np.mean([bool(turns.clip.segments) for turns in planned]) == pytest.approx(FORGED, abs=0.08)
    assert all(turns.clip.label == 2 * bool(turns.clip.segments) for turns in planned)
    assert not any(entire in turns.parts for turns in planned), "nothing differs from it in its own clip"


def test_edits_move_along_by_the_whole_steps_before_them() -> None:
    sham = EditedSegment(2.0, 2.2, "audio", "touch_up_speech")
    first, second = clip("a", 3.01, shams=(sham,)), clip("b", 4.0, SPAN)
    turns = next(
        one for one in plan_turns([first, second, clip("b", 4.0)], 60, 0) if one.parts == (first, second)
    )
    assert whole_steps(first) == 75 * 640  # 3.01 s are 75.25 steps
    assert turns.clip.segments == (replace(SPAN, start_s=4.0, end_s=4.5, person="b"),)
    assert turns.clip.shams == (replace(sham, person="a"),)
    assert turns.clip.audio_samples == (75 + 100) * 640


def test_the_same_seed_plans_the_same_and_one_person_alone_plans_nothing() -> None:
    assert plan_turns(PEOPLE, 5, 1) == plan_turns(PEOPLE, 5, 1) != plan_turns(PEOPLE, 5, 2)
    assert plan_turns([clip("a"), clip("a", 2.0, SPAN)], 5, 0) == []
    assert plan_turns(PEOPLE, 0, 0) == []


@pytest.mark.usefixtures("in_line")
def test_people_in_turns_are_measured_as_one_recording(
    forged: Path, config: PipelineConfig, tmp_path: Path
) -> None:
    settings = config.pretrain.model_copy(update={"turns": 4})
    config = config.model_copy(update={"pretrain": settings})
    examples = labelled_voices([forged], config, tmp_path, 1, silent)
    alone = {one.known.clip.file: one for one in examples if one.known and not one.known.clip.appearances}
    joined = [one for one in examples if one.known and one.known.clip.appearances]
    assert len(joined) == 4
    assert len({id(one) for one in examples}) == len(alone) + 4
    for one in joined:
        assert one.known is not None
        parts = [alone[name] for name in one.known.clip.file.split("+")]
        # A frame of AAC beyond the last whole step belongs to no part.
        steps = [one.known.clip.appearances[k].end_s * FPS for k in range(len(parts))]
        assert len(one.forged) == steps[-1]
        wanted = np.concatenate([part.forged[:STEPS] for part in parts])
        assert (one.forged == wanted[: len(one.forged)]).mean() > 0.97
        assert one.kind == (
            "joined" if not one.forged.any() else next(p.kind for p in parts if p.forged.any())
        )
