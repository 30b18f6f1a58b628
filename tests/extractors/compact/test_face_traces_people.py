"""Features of each person of a clip, beside those of the clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from extractor_factory import face_tensors, write_tensors
from head_factory import long_head
from numpy.typing import NDArray

from configs.schema import VisualConfig
from data.labels import FPS
from data.people import Seen
from extractors.compact.face_traces import FaceTraces

SIDE = 80
CONFIG = VisualConfig(network="face_traces", short_side=SIDE, crop=None)
LENGTH = 540
FADE = 100  # frames: slow enough to be no cut
Clip = tuple[NDArray[np.uint8], NDArray[np.bool_]]


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> FaceTraces:
    weights: Path = write_tensors(tmp_path_factory.mktemp("weights") / "faces.safetensors", face_tensors())
    return FaceTraces(CONFIG, weights)


def all_of(frames: NDArray[np.uint8]) -> Iterator[Clip]:
    return iter([(frames, np.ones(len(frames), np.bool_))])


class Kept:
    """A sink that keeps all."""

    def __init__(self) -> None:
        self.steps: list[tuple[NDArray[np.floating], NDArray[np.bool_]]] = []
        self.people: dict[int, list[tuple[int, NDArray[np.floating] | None, NDArray[np.bool_]]]] = {}
        self.notes: dict[str, str] = {}
        self.cuts: list[int] = []
        self.ended = False

    def append(self, values: NDArray[np.floating], valid: NDArray[np.bool_]) -> None:
        self.steps.append((values, valid))

    def beside(
        self, number: int, first: int, values: NDArray[np.floating] | None, valid: NDArray[np.bool_]
    ) -> None:
        self.people.setdefault(number, []).append((first, values, valid))

    def cut(self) -> None:
        self.cuts.append(sum(len(valid) for _, valid in self.steps))

    def note(self, name: str, text: str) -> None:
        self.notes[name] = text

    def end(self) -> None:
        self.ended = True


def panel(length: int = 300, there: int = 0) -> NDArray[np.uint8]:
    """Two heads side by side; the right one, mirrored and under other noise, comes slowly into view before `there`."""
    left, right = long_head(length, 160), long_head(length, 160, seed=1)[:, :, ::-1].copy()
    share = np.clip((np.arange(length) - there + FADE) / FADE, 0, 1)[:, None, None, None] if there else 1.0
    right = (90 + share * (right.astype(np.float64) - 90)).astype(np.uint8)
    return np.concatenate([left, right], axis=2)


def pushed(extractor: FaceTraces, pieces: Iterator[Clip]) -> Kept:
    sink = Kept()
    extractor.push(pieces, sink)
    assert sink.ended
    return sink


def test_one_person_has_the_steps_of_the_clip_and_they_are_those_of_the_stream(extractor: FaceTraces) -> None:
    frames, flags = long_head(LENGTH, SIDE), np.ones(LENGTH, np.bool_)
    flags[125], frames[125] = False, 0
    sink = pushed(extractor, iter([(frames, flags)]))
    values, valid = (np.concatenate(part) for part in zip(*sink.steps, strict=True))
    plain, seen = zip(*extractor.stream(iter([(frames, flags)])), strict=True)
    assert np.array_equal(values, np.concatenate(plain))
    assert np.array_equal(valid, np.concatenate(seen))
    assert all(own is None for parts in sink.people.values() for _, own, _ in parts)
    (person,) = Seen.of(sink.notes["seen"]).people
    assert person.seen_s == pytest.approx(valid.sum() / FPS, abs=0.5)


def test_two_people_have_steps_of_their_own_each_as_if_alone(extractor: FaceTraces) -> None:
    frames = panel()
    sink = pushed(extractor, all_of(frames))
    assert sorted(sink.people) == [1, 2]
    seen = Seen.of(sink.notes["seen"])
    assert [person.seen_s for person in seen.people] == [12.0, 12.0]
    # Person 2 is the one whose box lies right of the middle, or the other way round: largest first.
    sides = [person.track[0][0].x > 0.5 for person in seen.people]
    assert sorted(sides) == [False, True]
    assert all([first for first, _, _ in parts] == [0, 250] for parts in sink.people.values())
    own = [steps_of(sink, right) for right in (False, True)]
    assert np.abs(own[0] - own[1]).max() > 0.1
    # What is done to the left face changes that person's steps. The box of the other moves by a hair: one detector
    # sees both.
    coarse = frames.copy()
    coarse[:, :, :150] = coarse[:, :, :150] // 16 * 16
    again = pushed(extractor, all_of(coarse))
    left, right = (np.abs(steps_of(again, side) - own[side]).mean() for side in (False, True))
    assert left > 5 * right


def steps_of(sink: Kept, right: bool) -> NDArray[np.float64]:
    """The vectors of the person on that side."""
    people = Seen.of(sink.notes["seen"]).people
    (number,) = (person.number for person in people if (person.track[0][0].x > 0.5) == right)
    own = [sink.steps[k][0] if part is None else part for k, (_, part, _) in enumerate(sink.people[number])]
    return np.concatenate(own).astype(np.float64)


def test_a_person_who_comes_later_begins_there(extractor: FaceTraces) -> None:
    sink = pushed(extractor, all_of(panel(600, there=440)))
    assert sink.cuts == []
    late = Seen.of(sink.notes["seen"]).people[1]
    assert (440 - FADE) / FPS < late.first_s < 440 / FPS
    ((first, _, valid), (last, _, _)) = sink.people[2]
    assert (first, last) == (250, 500)
    assert np.flatnonzero(valid)[0] + first == round(late.first_s * FPS)
    assert sink.people[1][0][1] is None, "while alone the steps are those of the clip"


def test_after_a_cut_people_go_on_from_its_step(extractor: FaceTraces) -> None:
    frames = panel(300)
    frames[150:] = frames[150:] // 2  # the light goes out
    sink = pushed(extractor, all_of(frames))
    assert sink.cuts == [150]
    starts = sorted({first for parts in sink.people.values() for first, _, _ in parts})
    assert starts == [0, 150]
    assert sum(len(valid) for parts in sink.people.values() for _, _, valid in parts) == 2 * 300


def test_people_do_not_depend_on_how_the_clip_is_cut(extractor: FaceTraces) -> None:
    frames = panel(130)
    one = pushed(extractor, all_of(frames))
    two = pushed(
        extractor, iter([(part, np.ones(len(part), np.bool_)) for part in np.split(frames, [1, 65])])
    )
    assert one.notes == two.notes
    for number, parts in one.people.items():
        for (a, values, valid), (b, others, flags) in zip(parts, two.people[number], strict=True):
            assert a == b
            assert np.array_equal(valid, flags)
            assert (values is None) == (others is None)
            assert values is None or np.array_equal(values, others)
