"""Features of the face in each frame: the same however a clip arrives, and nothing where there is no face."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from extractor_factory import face_tensors, random_eye, write_tensors
from head_factory import head, long_head
from numpy.typing import NDArray

from configs.schema import VisualConfig
from data.labels import EVIDENCE, FPS
from extractors.compact import face_traces
from extractors.compact.energies import face_energies
from extractors.compact.eye import aligned
from extractors.compact.face_traces import (
    MEASURES,
    FaceMeasures,
    FaceTraces,
    Stretch,
)
from extractors.compact.faces import REACH, Faces, Followed
from extractors.compact.landmarks import FaceFinder
from extractors.compact.looks import Again

SIDE = 80  # of a picture whose face is just large enough
CONFIG = VisualConfig(network="face_traces", short_side=SIDE, crop=None)
BOX = np.array([22.0, 19.0, 38.0, 38.0])
LENGTH = 1040  # three windows and a rest, eight chunks and a rest
Clip = tuple[NDArray[np.uint8], NDArray[np.bool_]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tensors(tmp_path_factory.mktemp("weights") / "faces.safetensors", face_tensors())


@pytest.fixture(scope="module")
def extractor(weights: Path) -> FaceTraces:
    return FaceTraces(CONFIG, weights)


@pytest.fixture(scope="module")
def clip() -> Clip:
    """A head that is away for frames 300 to 419, and frames that are missing."""
    frames, valid = long_head(LENGTH, SIDE), np.ones(LENGTH, np.bool_)
    frames[300:420] = 90
    for missing in (0, 124, 125, 249, 250, 600, 601, 602, LENGTH - 1):
        valid[missing], frames[missing] = False, 0
    return frames, valid


def cut(clip: Clip, lengths: list[int]) -> Iterator[Clip]:
    frames, valid = clip
    first = 0
    for length in lengths:
        yield frames[first : first + length], valid[first : first + length]
        first += length
    assert first == len(valid)


def whole(extractor: FaceTraces, pieces: Iterator[Clip]) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    values, valid = zip(*extractor.stream(pieces), strict=True)
    return np.concatenate(values), np.concatenate(valid)


@pytest.fixture(scope="module")
def features(extractor: FaceTraces, clip: Clip) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    return whole(extractor, cut(clip, [LENGTH]))


# --- measures -------------------------------------------------------------------------------------------------------


def only(boxes: NDArray[np.float64], seen: NDArray[np.bool_]) -> Faces:
    """One face and no other."""
    return Faces(Followed(boxes, seen), (Followed(boxes, seen),))


@pytest.fixture
def still_box(monkeypatch: pytest.MonkeyPatch) -> None:
    """A face in every frame, always at the same place: so that only the neighbours matter."""
    monkeypatch.setattr(
        face_traces,
        "follow_faces",
        lambda frames, _: only(np.tile(BOX, (len(frames), 1)), np.ones(len(frames), np.bool_)),
    )


@pytest.fixture(scope="module")
def measures() -> FaceMeasures:
    return FaceMeasures(random_eye(layers=1))


def measured(measures: FaceMeasures, pieces: Iterator[Clip], look_every_s: float = 1000.0) -> Stretch:
    """All stretches of a clip as one."""
    done, parts = 0, []
    for part, _, _ in measures.shown(pieces, look_every_s):
        parts.append(part._replace(looks=part.looks + done))
        done += len(part.valid)
    return Stretch(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def all_of(frames: NDArray[np.uint8]) -> Iterator[Clip]:
    return iter([(frames, np.ones(len(frames), np.bool_))])


@pytest.mark.usefixtures("still_box")
@pytest.mark.parametrize("length", [1, 2, 125, 126, 260])
def test_every_frame_has_its_neighbours_across_the_borders_of_chunks(
    length: int, measures: FaceMeasures
) -> None:
    frames = long_head(length, SIDE)
    values, valid, *_ = measured(measures, all_of(frames))
    wanted = face_energies([frames[0], *frames, frames[-1]], np.tile(BOX, (length, 1)))
    assert valid.all()
    assert np.array_equal(values, wanted.reshape(length, MEASURES).astype(np.float16))


@pytest.mark.usefixtures("still_box")
@pytest.mark.parametrize("missing", [1, 124, 125, 126])
def test_a_missing_frame_is_a_repetition_of_the_one_before(missing: int, measures: FaceMeasures) -> None:
    frames, valid = long_head(140, SIDE), np.ones(140, np.bool_)
    repeated = frames.copy()
    repeated[missing] = frames[missing - 1]
    wanted = measured(measures, iter([(repeated, valid)]))
    frames[missing], valid[missing] = 255, False
    values, known, *_ = measured(measures, iter([(frames, valid)]))
    assert np.array_equal(values, wanted.traces)
    assert np.array_equal(known, valid)


@pytest.mark.usefixtures("still_box")
@pytest.mark.parametrize("missing", [1, 124, 125, 126])
def test_before_the_first_picture_there_is_no_other_neighbour(missing: int, measures: FaceMeasures) -> None:
    frames, valid = long_head(140, SIDE), np.ones(140, np.bool_)
    wanted = measured(measures, iter([(frames[missing:], valid[missing:])]))
    frames[:missing], valid[:missing] = 0, False
    values, known, *_ = measured(measures, iter([(frames, valid)]))
    assert np.array_equal(known, valid)
    assert np.array_equal(values[missing:], wanted.traces)


@pytest.mark.parametrize("across", [True, False])
def test_of_a_very_long_picture_the_middle_is_held(
    monkeypatch: pytest.MonkeyPatch, across: bool, measures: FaceMeasures
) -> None:
    held: list[NDArray[np.uint8]] = []

    def nobody(frames: NDArray[np.uint8], _: FaceFinder) -> Faces:
        held.append(frames)
        return Faces(Followed(np.zeros((len(frames), 4)), np.zeros(len(frames), np.bool_)), ())

    monkeypatch.setattr(face_traces, "follow_faces", nobody)
    wide = np.zeros((2, 8, 100, 3), np.uint8)
    wide[:, :, 34:66] = 9  # 8 x 32 pixels
    measured(measures, all_of(wide if across else wide.swapaxes(1, 2)))
    assert held[0].shape == ((2, 8, 32, 3) if across else (2, 32, 8, 3))
    assert (held[0] == 9).all()


@pytest.mark.usefixtures("still_box")
def test_faces_that_go_and_come_back_are_measured_beside_the_frames_that_have_none(
    monkeypatch: pytest.MonkeyPatch, measures: FaceMeasures
) -> None:
    seen = np.array([True, False, False, True, True])
    monkeypatch.setattr(face_traces, "follow_faces", lambda frames, _: only(np.tile(BOX, (5, 1)), seen))
    frames = long_head(5, SIDE)
    values, valid, *_ = measured(measures, all_of(frames))
    assert valid.tolist() == seen.tolist()
    assert not values[1:3].any()
    wanted = face_energies([*frames[2:], frames[-1]], np.tile(BOX, (2, 1))).reshape(2, -1)
    assert np.array_equal(values[3:], wanted.astype(np.float16))


# --- the stream -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lengths",
    [
        [1] * LENGTH,
        [125] * 8 + [40],
        [250, 250, 250, 250, 40],
        [7, 600, 0, 400, 33],
        [375, 1, 664],
    ],
    ids=["single frames", "chunks", "cores", "odd", "a window and one"],
)
def test_a_clip_gives_the_same_bits_however_it_is_cut(
    lengths: list[int],
    extractor: FaceTraces,
    clip: Clip,
    features: tuple[NDArray[np.float16], NDArray[np.bool_]],
) -> None:
    values, valid = whole(extractor, cut(clip, lengths))
    assert np.array_equal(valid, features[1])
    assert np.array_equal(values.view(np.uint16), features[0].view(np.uint16))


def test_there_is_a_step_for_every_frame(
    extractor: FaceTraces, features: tuple[NDArray[np.float16], NDArray[np.bool_]]
) -> None:
    values, valid = features
    assert values.shape == (LENGTH, extractor.dim)
    assert valid.shape == (LENGTH,)
    assert np.isfinite(values).all()


def test_frames_without_a_face_and_missing_ones_are_invalid_and_zero(
    clip: Clip, features: tuple[NDArray[np.float16], NDArray[np.bool_]]
) -> None:
    values, valid = features
    assert not valid[300 + REACH + 6 : 420 - REACH - 6].any()
    assert not valid[~clip[1]].any()
    away = np.zeros(LENGTH, np.bool_)
    away[300 - REACH : 420 + REACH] = True
    assert valid[clip[1] & ~away].all()
    assert not values[~valid].any()


def test_a_clip_without_any_face_is_all_invalid(extractor: FaceTraces) -> None:
    values, valid = whole(extractor, all_of(np.full((130, SIDE, SIDE, 3), 90, np.uint8)))
    assert values.shape == (130, extractor.dim)
    assert not valid.any()
    assert not values.any()


def test_nothing_gives_nothing(extractor: FaceTraces) -> None:
    assert list(extractor.stream(iter([]))) == []


@pytest.mark.parametrize("length", [1, 2, 6, 7])
def test_a_clip_of_a_few_frames_has_features(extractor: FaceTraces, length: int) -> None:
    values, valid = whole(extractor, all_of(head(SIDE)[:length]))
    assert valid.all()
    assert values.shape == (length, extractor.dim)


def test_an_edit_stands_out_from_its_own_clip(extractor: FaceTraces) -> None:
    plain, edited = long_head(200, SIDE, seed=1), long_head(200, SIDE, seed=1)
    edited[90:110, 25:60, 25:60] = edited[90:110, 25:60, 25:60].mean(axis=(1, 2), keepdims=True)
    a, b = (whole(extractor, all_of(frames))[0].astype(float) for frames in (plain, edited))
    apart = np.abs(a - b).mean(axis=1)
    assert apart[90:110].min() > 3 * apart[150:].max()


# --- looks of the eye -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("every_s", "steps"), [(2.0, 50), (0.5, 12), (0.01, 1)])
def test_the_eye_looks_every_so_many_seconds(every_s: float, steps: int, measures: FaceMeasures) -> None:
    assert FPS == 25
    part = measured(measures, all_of(long_head(130, SIDE)), every_s)
    assert part.looks.tolist() == list(range(0, 130, steps))
    assert part.seen.shape == (len(part.looks), random_eye(layers=1).dim)
    assert part.seen.dtype == np.float16
    assert (np.ptp(part.seen.astype(float), axis=0) > 0).any()


def test_the_eye_sees_nothing_while_the_head_is_away(measures: FaceMeasures, clip: Clip) -> None:
    frames, valid = clip
    looks = measured(measures, iter([(frames[250:500], valid[250:500])]), 1.0).looks
    assert looks[0] == 1, "the first picture"
    assert not ((looks >= 50) & (looks < 170)).any()
    assert (looks >= 170).sum() == 3
    assert np.diff(looks).min() == 25


def test_a_look_is_what_the_eye_says_of_the_aligned_face(
    measures: FaceMeasures, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = long_head(60, SIDE)
    crops: list[NDArray[np.uint8]] = []

    def keep(frame: NDArray[np.uint8], mesh: NDArray[np.float64]) -> NDArray[np.uint8]:
        crops.append(aligned(frame, mesh))
        return crops[-1]

    monkeypatch.setattr(face_traces, "aligned", keep)
    part = measured(measures, all_of(frames), 1.0)
    assert len(crops) == 3
    with torch.inference_mode():
        for crop, seen in zip(crops, part.seen, strict=True):
            alone = random_eye(layers=1)(torch.from_numpy(crop)[None])[0].numpy()
            assert seen.astype(float) == pytest.approx(alone, abs=0.01)


def test_where_there_is_no_mesh_nothing_is_seen(
    measures: FaceMeasures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FaceFinder, "mesh_in", lambda *_: None)
    part = measured(measures, all_of(long_head(60, SIDE)), 1.0)
    assert part.valid.all()
    assert len(part.looks) == len(part.seen) == 0


def evidence(extractor: FaceTraces, part: Stretch) -> dict[str, NDArray[np.float32]]:
    found = extractor.evidence(extractor._vectors(part))
    return {name: found[:, k] for k, name in enumerate(EVIDENCE)}


def test_looks_add_to_inside_near_them_and_to_whole_everywhere(extractor: FaceTraces) -> None:
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(3, extractor._head.relative.mean.numel())).astype(np.float16)
    looks, due = np.array([5, 45, 48]), np.array([True, True, False])
    none = Stretch.blank(60, seen.shape[1])._replace(valid=np.ones(60, np.bool_))
    plain = evidence(extractor, none)
    looked = evidence(extractor, none._replace(looks=looks, seen=seen, due=due))
    parts = extractor._head.split(torch.from_numpy(seen).float(), torch.from_numpy(due))
    inside, whole = extractor._head(*parts).T.detach().numpy()
    inside = inside - inside[:2].mean()  # the median of the two that were due
    added = looked["inside"] - plain["inside"]
    assert added[5] == pytest.approx(inside[0], abs=0.02), "what one look says, where it stands alone"
    assert added[11] == pytest.approx(np.exp(-0.5) * inside[0], abs=0.02), "less farther away"
    assert added[25] == pytest.approx(0, abs=0.01), "nothing where nobody looked"
    near = np.exp(-0.5 * (3 / 6) ** 2)
    assert added[45] == pytest.approx((inside[1] + near * inside[2]) / (1 + near), abs=0.02)
    assert looked["whole"] - plain["whole"] == pytest.approx(np.interp(range(60), looks, whole), abs=0.02)
    assert all(np.array_equal(looked[name], plain[name]) for name in ("onset", "offset"))


def test_the_eye_looks_again_in_each_five_seconds(measures: FaceMeasures) -> None:
    again = Again(2, lambda traces, _: np.arange(len(traces), dtype=np.float32))
    parts = [shown.leading for shown in measures.shown(all_of(long_head(260, SIDE)), 2.0, again)]
    assert [part.looks[part.due].tolist() for part in parts] == [[0, 50, 100], [25, 75], [0]]
    assert [(~part.due).sum() for part in parts] == [2, 2, 1]
    assert parts[0].looks[~parts[0].due].min() > 100, "the later, the more suspicious"
    assert (~next(measures.shown(all_of(long_head(130, SIDE)), 6.0, again)).leading.due).sum() == 2


def test_evidence_is_the_last_four_columns_and_varies(
    extractor: FaceTraces, features: tuple[NDArray[np.float16], NDArray[np.bool_]]
) -> None:
    values, valid = features
    found = extractor.evidence(values)
    assert found.dtype == np.float32
    assert np.array_equal(found, values[:, -4:].astype(np.float32))
    assert (found[valid].std(axis=0) > 0.05).all()


# --- shots ------------------------------------------------------------------------------------------------------------


class Kept:
    """A sink that keeps all it is told."""

    def __init__(self) -> None:
        self.values: list[NDArray[np.floating]] = []
        self.valid: list[NDArray[np.bool_]] = []
        self.cuts: list[int] = []

    def append(self, values: NDArray[np.floating], valid: NDArray[np.bool_]) -> None:
        self.values.append(values)
        self.valid.append(valid)

    def beside(self, *_: object) -> None:
        pass

    def note(self, *_: object) -> None:
        pass

    def cut(self) -> None:
        self.cuts.append(sum(map(len, self.valid)))

    def end(self) -> None:
        pass


def kept(extractor: FaceTraces, pieces: Iterator[Clip]) -> Kept:
    sink = Kept()
    extractor.push(pieces, sink)
    return sink


def test_a_clip_without_a_cut_keeps_every_bit(
    extractor: FaceTraces, clip: Clip, features: tuple[NDArray[np.float16], NDArray[np.bool_]]
) -> None:
    frames, valid = (part[:280] for part in clip)
    sink = kept(extractor, cut((frames, valid), [280]))
    values, flags = whole(extractor, cut((frames, valid), [280]))
    assert sink.cuts == []
    assert np.array_equal(np.concatenate(sink.values), values)
    assert np.array_equal(np.concatenate(sink.valid), flags)


def test_each_shot_is_seen_as_a_clip_of_its_own(extractor: FaceTraces) -> None:
    first = long_head(60, SIDE)
    second = 255 - first[::-1]
    one, other = (np.ones(len(part), np.bool_) for part in (first, second))
    both = np.concatenate([first, second]), np.concatenate([one, other])
    sink = kept(extractor, cut(both, [50, len(both[1]) - 50]))
    assert sink.cuts == [60]
    alone = [whole(extractor, iter([part])) for part in ((first, one), (second, other))]
    assert np.array_equal(np.concatenate(sink.values), np.concatenate([values for values, _ in alone]))
    assert np.array_equal(np.concatenate(sink.valid), np.concatenate([flags for _, flags in alone]))
