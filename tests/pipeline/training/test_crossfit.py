"""Clips are judged by networks that saw neither their person nor what they were forged with."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs.schema import LocalizeConfig
from data.errors import InputError
from data.labels import Modality
from data.manifest.sidecar import Appearance, EditedSegment, SynthesizedClip
from pipeline.training.crossfit import UNSEEN, Unseen, deal, load_unseen, save_unseen
from pipeline.training.labelled import Known, LabelledSteps, Measured

NOTHING = Measured(
    np.zeros((0, 1), np.float16),
    np.zeros(0, np.bool_),
    np.zeros(0, np.int64),
    np.zeros((0, 0), np.float16),
)


def clip_of(name: str, person: str, *forged: tuple[Modality, str], sham: bool = False) -> SynthesizedClip:
    label = {(): 0, ("visual",): 1, ("audio",): 2}.get(tuple(sorted({track for track, _ in forged})), 3)
    spans = tuple(EditedSegment(0.4, 0.8, track, what) for track, what in forged)
    edited = (EditedSegment(0.1, 0.2, "audio", "touch_up_speech"),) if sham else ()
    return SynthesizedClip(
        name, person, "group", "train", label, spans, edited, None, "source", 0.0, 50, 32000, 99
    )


def steps_of(person: str, *families: str) -> LabelledSteps:
    clip = clip_of(f"{person}-{'-'.join(families)}.mp4", person)
    flags = np.zeros(0, np.bool_)
    return LabelledSteps("any", NOTHING, flags, flags, Known("set", clip, families))


CLIPS = [
    *(steps_of(f"p{k}", "a" if k < 4 else "b") for k in range(6)),
    *(steps_of(f"p{k}") for k in range(12)),
    *(steps_of("many", family) for family in "abcd"),
    steps_of("mixed", "a", "b"),
]


@pytest.mark.parametrize("folds", [2, 3, 4])
def test_no_network_judges_a_person_or_a_family_that_it_was_trained_on(folds: int) -> None:
    dealt = deal(CLIPS, folds)
    for fold in range(folds):
        trained = [clip.known for clip in CLIPS if dealt.training(fold, clip)]
        families = {name for known in trained if known is not None for name in known.families}
        people = {known.clip.identity for known in trained if known is not None}
        for clip in CLIPS:
            if dealt.judging(clip) == fold and clip.known is not None:
                if clip.known.families:
                    assert not families & set(clip.known.families)
                else:
                    assert clip.known.clip.identity not in people


def test_every_clip_is_judged_once_but_where_two_folds_forged_it() -> None:
    dealt = deal(CLIPS, 2)
    unjudged = [clip for clip in CLIPS if dealt.judging(clip) is None]
    assert [clip.known.clip.identity for clip in unjudged if clip.known is not None] == ["mixed"]
    assert dealt.families["a"] != dealt.families["b"]


def test_a_person_forged_in_one_way_is_unseen_together_with_it() -> None:
    dealt = deal(CLIPS, 2)
    assert {dealt.people[f"p{k}"] for k in range(4)} == {dealt.families["a"]}
    assert {dealt.people[f"p{k}"] for k in (4, 5)} == {dealt.families["b"]}


def test_a_clip_of_several_people_is_unseen_where_all_of_them_are() -> None:
    def joined(*people: str) -> LabelledSteps:
        seen = tuple(Appearance(name, 0.0, 1.0, (0.0, 0.0, 1.0, 1.0)) for name in people)
        clip = replace(clip_of("joined.mp4", "news_real_0"), appearances=seen)
        return replace(steps_of("any"), known=Known("set", clip, ()))

    clips = [*(steps_of(f"p{k}") for k in range(8)), joined("p0", "p1", "p2"), joined("p3")]
    dealt = deal(clips, 2)
    assert "news_real_0" not in dealt.people
    assert dealt.judging(clips[-1]) == dealt.people["p3"]
    among = {dealt.people[name] for name in ("p0", "p1", "p2")}
    assert [dealt.training(fold, clips[-2]) for fold in (0, 1)] == [fold not in among for fold in (0, 1)]
    assert dealt.judging(clips[-2]) == (among.pop() if len(among) == 1 else None)


def test_folds_are_alike_in_size_and_do_not_depend_on_the_order_of_the_clips() -> None:
    # Each forged in two ways, so that nobody is bound to a fold.
    clips = [steps_of(f"p{k}", family) for k in range(20) for family in ("a", "b")]
    dealt = deal(clips, 4)
    assert sorted(Counter(dealt.people.values()).values()) == [5, 5, 5, 5]
    assert deal(clips[::-1], 4) == dealt


def evidence(steps: int, value: float) -> np.ndarray:
    return np.full((steps, 4), value, np.float32)


def unseen(name: str, clip: SynthesizedClip, steps: int, value: float) -> Unseen:
    return Unseen(name, clip, evidence(steps, value), np.ones(steps, np.bool_))


def test_tracks_of_a_clip_are_joined_again_as_the_decision_takes_them(tmp_path: Path) -> None:
    clip = clip_of("a.mp4", "anna", ("audio", "hifigan"), sham=True)
    flags = np.arange(50) >= 10
    save_unseen(tmp_path / UNSEEN / "visual.safetensors", [Unseen("one", clip, evidence(50, 2.0), flags)])
    save_unseen(tmp_path / UNSEEN / "audio.safetensors", [unseen("one", clip, 48, -1.0)])
    (found,) = load_unseen(tmp_path, LocalizeConfig())
    assert (found.label, found.person, found.harmless) == (2, "anna", True)
    assert [(one.start_s, one.end_s) for one in found.forged["audio"]] == [(0.4, 0.8)]
    assert found.forged["visual"] == ()
    scores = found.scores
    assert scores.grid.n == 50
    assert scores.evidence["visual"][:, 0].tolist() == [0.0] * 10 + [2.0] * 40
    assert scores.evidence["audio"][:, 3].tolist() == [-1.0] * 48 + [0.0] * 2
    assert scores.valid["audio"].sum() == 48
    assert scores.valid["joint"].all()
    assert scores.windows == (), "no model scored it"


def test_a_clip_whose_forged_track_nobody_could_judge_unseen_teaches_nothing(tmp_path: Path) -> None:
    forged = clip_of("a.mp4", "anna", ("audio", "hifigan"))
    authentic = clip_of("b.mp4", "anna")
    rows = [unseen("one", clip, 50, 0.0) for clip in (forged, authentic)]
    save_unseen(tmp_path / UNSEEN / "visual.safetensors", rows)
    save_unseen(tmp_path / UNSEEN / "audio.safetensors", [unseen("one", clip_of("c.mp4", "other"), 9, 0.0)])
    (found,) = (clip for clip in load_unseen(tmp_path, LocalizeConfig()) if clip.person == "anna")
    assert found.label == 0
    assert set(found.scores.evidence) == {"visual"}


def test_joined_clips_count_for_nothing_their_people_do_already(tmp_path: Path) -> None:
    joined = replace(
        clip_of("a.mp4", "take_real_0"), appearances=(Appearance("anna", 0.0, 1.0, (0.0, 0.0, 1.0, 1.0)),)
    )
    for name in ("visual", "audio"):
        save_unseen(tmp_path / UNSEEN / f"{name}.safetensors", [unseen("one", joined, 50, 0.0)])
    assert load_unseen(tmp_path, LocalizeConfig()) == []


def test_a_clip_of_a_set_of_which_one_track_was_judged_is_no_clip_without_the_other(tmp_path: Path) -> None:
    both, sound = clip_of("a.mp4", "anna"), replace(clip_of("b.mp4", "bela"), video_frames=0)
    save_unseen(tmp_path / UNSEEN / "visual.safetensors", [])
    rows = [unseen("one", both, 50, 0.0), unseen("one", sound, 50, 0.0)]
    save_unseen(tmp_path / UNSEEN / "audio.safetensors", rows)
    assert [clip.person for clip in load_unseen(tmp_path, LocalizeConfig())] == ["bela"]


def test_a_clip_that_is_forged_after_what_was_measured_is_left_out(tmp_path: Path) -> None:
    clip = replace(clip_of("a.mp4", "anna", ("audio", "hifigan")), video_frames=0)
    save_unseen(tmp_path / UNSEEN / "visual.safetensors", [])
    for steps, kept in ((10, 0), (30, 1)):  # it is forged from step 10 on
        save_unseen(tmp_path / UNSEEN / "audio.safetensors", [unseen("one", clip, steps, 0.0)])
        assert len(load_unseen(tmp_path, LocalizeConfig())) == kept


def test_without_the_sound_of_a_material_its_silent_clips_are_judged(tmp_path: Path) -> None:
    both, silent = clip_of("a.mp4", "anna"), replace(clip_of("b.mp4", "bela"), audio_samples=0)
    rows = [unseen("one", both, 50, 0.0), unseen("one", silent, 50, 0.0)]
    save_unseen(tmp_path / UNSEEN / "visual.safetensors", rows)
    assert [clip.person for clip in load_unseen(tmp_path, LocalizeConfig())] == ["bela"]


def test_a_track_that_is_not_assessable_counts_as_absent(tmp_path: Path) -> None:
    clip, few = clip_of("a.mp4", "anna"), np.arange(50) < 10
    save_unseen(tmp_path / UNSEEN / "visual.safetensors", [Unseen("one", clip, evidence(50, 1.0), few)])
    save_unseen(tmp_path / UNSEEN / "audio.safetensors", [unseen("one", clip, 50, 0.0)])
    (found,) = load_unseen(tmp_path, LocalizeConfig())
    assert set(found.scores.evidence) == {"audio"}
    assert found.scores.visual is None


def test_clips_of_one_name_in_two_sets_stay_two(tmp_path: Path) -> None:
    rows = [unseen(name, clip_of("a.mp4", name), 50, 0.0) for name in ("one", "two")]
    save_unseen(tmp_path / UNSEEN / "visual.safetensors", rows)
    save_unseen(tmp_path / UNSEEN / "audio.safetensors", rows)
    found = load_unseen(tmp_path, LocalizeConfig())
    assert [(clip.person, len(clip.scores.evidence)) for clip in found] == [("one", 2), ("two", 2)]


def test_what_is_missing_or_damaged_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there") as error:
        load_unseen(tmp_path, LocalizeConfig())
    path = tmp_path / UNSEEN / "visual.safetensors"
    assert error.value.path == path.parent
    save_unseen(path, [])
    for damaged in (b"", path.read_bytes()[:9], b"\x02\0\0\0\0\0\0\0{}"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read") as error:
            load_unseen(tmp_path, LocalizeConfig())
        assert error.value.path == path
