"""How many spans of a piece are edited, which of them are forged, and that the draws are those they always were."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
from head_factory import long_head
from speech_factory import voice

from configs.schema import SynthesizeConfig
from data.audio import FRAME_SAMPLES
from data.errors import InputError
from data.labels import FPS, RATE
from data.manifest.sidecar import EditedSegment
from pipeline.forging.forger import Donors, EditedClip, Forger, Piece
from pipeline.forging.manipulations.placement import place_spans
from pipeline.forging.manipulations.signal import speech_level
from pipeline.forging.voices import SILENCE, MachineSpeech

BOX = np.array([19.0, 15.0, 31.0, 31.0])
NOBODY = Donors(lambda rng: None, lambda rng: None)
CONFIG = SynthesizeConfig(
    manipulations=("freeze_frames", "shift_voice"),
    segment_mean_s=0.4,
    segment_shape=50.0,
    segment_s=(0.32, 0.48),
    second_segment=0.0,
    extra_sham=0.0,
)


@cache
def piece(frames: int = 200, sound: bool = False) -> Piece:
    """A head, and a voice if wanted; speech everywhere."""
    samples = voice(frames / FPS, 0) if sound else None
    return Piece(long_head(frames), samples, np.tile(BOX, (frames, 1)))


HEAD, SPEAKER = piece(), piece(sound=True)


def edit(label: int, of: Piece = HEAD, seed: int = 0, **settings: object) -> EditedClip:
    config = CONFIG.model_copy(update=settings)
    return Forger(config).edit(of, label, NOBODY, np.random.default_rng(seed))


def spans(edits: tuple[EditedSegment, ...], modality: str = "visual") -> list[tuple[int, int]]:
    return sorted((round(e.start_s * FPS), round(e.end_s * FPS)) for e in edits if e.modality == modality)


def apart(edits: list[tuple[int, int]]) -> bool:
    return all(stop <= first for (_, stop), (first, _) in itertools.pairwise(edits))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("segments", "shams"), [(0, 0), (3, 0), (0, 2), (2, 2)])
def test_a_forged_clip_has_as_many_more_of_each_as_wanted(segments: int, shams: int, seed: int) -> None:
    clip = edit(1, seed=seed, more_segments=segments, more_shams=shams)
    assert len(clip.segments) == 1 + segments
    assert len(clip.shams) == shams
    assert {e.manipulation for e in clip.segments} == {"freeze_frames"}
    assert all(e.manipulation == "touch_up_face" for e in clip.shams)
    assert apart(sorted(spans(clip.segments) + spans(clip.shams)))


@pytest.mark.parametrize("seed", range(4))
def test_an_authentic_clip_is_edited_as_often_and_never_forged(seed: int) -> None:
    clip = edit(0, seed=seed, more_segments=2, more_shams=2)
    assert not clip.segments
    assert len(clip.shams) == 5


def test_in_both_tracks_the_same_spans_are_forged_and_the_same_only_touched() -> None:
    clip = edit(3, SPEAKER, more_segments=2, more_shams=1)
    assert spans(clip.segments) == spans(clip.segments, "audio")
    assert len(spans(clip.segments)) == 3
    assert spans(clip.shams) == spans(clip.shams, "audio")
    assert len(spans(clip.shams)) == 1


def test_a_track_that_is_not_forged_is_touched_in_every_span() -> None:
    clip = edit(1, SPEAKER, more_segments=2, more_shams=1)
    assert len(spans(clip.segments)) == 3
    assert not spans(clip.segments, "audio")
    assert spans(clip.shams, "audio") == sorted(spans(clip.segments) + spans(clip.shams))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("frames", [30, 45, 60])
def test_however_little_room_there_is_one_span_is_forged(frames: int, seed: int) -> None:
    clip = edit(1, piece(frames), seed, more_segments=1, more_shams=9)
    assert len(clip.segments) >= 1
    assert len(clip.segments) + len(clip.shams) < 11, "there is no room for all"


def test_which_spans_are_only_touched_is_drawn() -> None:
    places = set()
    for seed in range(12):
        clip = edit(1, seed=seed, more_segments=1, more_shams=1)
        every = sorted(spans(clip.segments) + spans(clip.shams))
        places.add(every.index(spans(clip.shams)[0]))
    assert places == {0, 1, 2}


# From end to end

THROUGH = {"whole_share": 1.0, "manipulations": ("self_blend_face", "resynthesize_speech", "freeze_frames")}


@pytest.mark.parametrize("label", [1, 2, 3])
def test_a_clip_forged_from_end_to_end_is_forged_in_every_frame_and_sample(label: int) -> None:
    clip = edit(label, SPEAKER, editor_scale=(1.0, 1.0), **THROUGH)
    forged = {name for name, bit in (("visual", 1), ("audio", 2)) if label & bit}
    assert {s.modality for s in clip.segments} == forged
    assert {s.modality for s in clip.shams} == {"visual", "audio"} - forged
    assert {(s.start_s, s.end_s) for s in (*clip.segments, *clip.shams)} == {(0.0, len(HEAD.frames) / FPS)}
    assert {s.manipulation for s in clip.segments} <= {"self_blend_face", "resynthesize_speech"}
    assert clip.frames is not None
    assert (clip.frames != SPEAKER.frames).any(axis=(1, 2, 3)).all()


def test_a_longer_sound_is_forged_up_to_its_last_sample() -> None:
    assert SPEAKER.samples is not None
    tail = np.concatenate([SPEAKER.samples, voice(0.1, 1)[:700]])
    clip = edit(2, Piece(SPEAKER.frames, tail, SPEAKER.boxes), editor_gain_db=(0.0, 0.0), **THROUGH)
    assert [s.end_s for s in clip.segments] == [len(tail) / RATE]
    assert clip.samples is not None
    assert len(clip.samples) == len(tail)
    assert np.abs(clip.samples[-500:] - tail[-500:]).max() > 1e-3


@pytest.mark.parametrize("seed", range(6))
def test_an_authentic_clip_is_touched_up_from_end_to_end_likewise(seed: int) -> None:
    clip = edit(0, SPEAKER, seed, put_back=True, **THROUGH)
    assert not clip.segments
    assert [s.modality for s in clip.shams] == ["visual", "audio"]
    assert {(s.start_s, s.end_s) for s in clip.shams} == {(0.0, len(HEAD.frames) / FPS)}


def test_a_share_of_the_clips_is_forged_from_end_to_end() -> None:
    through = {**THROUGH, "whole_share": 0.5, "manipulations": ("self_blend_face",)}
    whole = [edit(1, piece(60), seed, **through).segments[0].start_s == 0 for seed in range(40)]
    assert 10 < sum(whole) < 30


def test_what_needs_a_recording_around_it_never_forges_a_whole_one() -> None:
    clip = edit(3, SPEAKER, whole_share=1.0)
    assert {s.manipulation for s in clip.segments} == {"freeze_frames", "shift_voice"}
    assert all(s.start_s > 0 for s in clip.segments)


@pytest.mark.parametrize("seed", range(12))
def test_by_default_spans_are_drawn_as_before_there_could_be_more(seed: int) -> None:
    """The draws of data sets that were made before, in their order, written down once more."""
    config = CONFIG.model_copy(update={"second_segment": 0.5, "extra_sham": 0.5})
    clip = Forger(config).edit(SPEAKER, 3, NOBODY, np.random.default_rng(seed))
    assert SPEAKER.samples is not None
    rng = np.random.default_rng(seed)
    rng.uniform(*config.editor_scale)
    rng.uniform(*config.editor_gain_db)
    rng.uniform(*config.editor_noise_db)
    rng.standard_normal(len(SPEAKER.samples), dtype=np.float32)
    extra = rng.random() < config.extra_sham
    count = 1 + (rng.random() < config.second_segment) + extra
    drawn = rng.gamma(config.segment_shape, config.segment_mean_s / config.segment_shape, count)
    lengths = [int(x) for x in np.clip(np.round(drawn * FPS), 8, 12)]
    placed = place_spans(SPEAKER.activity[: len(SPEAKER.samples) // FRAME_SAMPLES], lengths, rng)
    touched = int(rng.integers(len(placed))) if extra and len(placed) > 1 else None
    assert spans(clip.segments) == [span for k, span in enumerate(placed) if k != touched]
    assert spans(clip.shams) == [span for k, span in enumerate(placed) if k == touched]


@pytest.mark.parametrize("spans_there", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(10))
def test_the_draw_of_one_of_some_leaves_the_generator_as_the_draw_of_a_number_did(
    spans_there: int, seed: int
) -> None:
    """What `choice` is for several, `integers` was for one: values and all that is drawn afterwards are the same."""
    now, before = np.random.default_rng(seed), np.random.default_rng(seed)
    if spans_there > 1:
        assert now.choice(spans_there, 1, replace=False).tolist() == [before.integers(spans_there)]
    assert now.choice(spans_there, 0, replace=False).tolist() == []
    assert now.bit_generator.state == before.bit_generator.state


def machine(rng: np.random.Generator, samples: int) -> MachineSpeech:
    """A low voice by an engine called Robot."""
    return MachineSpeech(voice(samples / RATE, 3), "Robot")


@pytest.mark.parametrize(("whole_share", "covered"), [(0.0, False), (1.0, True)])
def test_the_engine_that_spoke_is_named(whole_share: float, covered: bool) -> None:
    config = CONFIG.model_copy(update={"manipulations": ("speak_text",), "whole_share": whole_share})
    donors = Donors(lambda rng: None, lambda rng: None, machine)
    clip = Forger(config).edit(SPEAKER, 2, donors, np.random.default_rng(0))
    (segment,) = clip.segments
    assert (segment.manipulation, segment.generator, segment.made_by) == ("speak_text", "Robot", "Robot")
    assert ((segment.start_s, segment.end_s) == (0.0, 200 / FPS)) == covered
    assert clip.samples is not None
    assert SPEAKER.samples is not None
    if covered:
        assert speech_level(clip.samples) == pytest.approx(speech_level(SPEAKER.samples), rel=0.25)


def test_other_manipulations_name_no_engine() -> None:
    assert [(s.generator, s.made_by) for s in edit(3, SPEAKER).segments] == [
        (None, "freeze_frames"),
        (None, "shift_voice"),
    ]


def test_without_an_engine_no_machine_speaks() -> None:
    config = CONFIG.model_copy(update={"manipulations": ("speak_text",)})
    donors = Donors(lambda rng: None, lambda rng: None, lambda rng, samples: SILENCE)
    with pytest.raises(InputError, match="no audio manipulation fits"):
        Forger(config).edit(SPEAKER, 2, donors, np.random.default_rng(0))
