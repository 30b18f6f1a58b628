"""Features of the face in each frame: the same however a clip arrives, and nothing where there is no face."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from extractor_factory import face_tensors, random_eye, voice_tensors, write_tensors
from head_factory import head, long_head
from numpy.typing import NDArray

from configs.schema import VisualConfig
from data.errors import WeightsError
from data.labels import EVIDENCE, FPS
from extractors.compact import face_traces
from extractors.compact.energies import face_energies
from extractors.compact.eye import aligned
from extractors.compact.face_traces import (
    BLOCK,
    BLOCKS,
    DENSE_S,
    MEASURES,
    FaceMeasures,
    FaceTraces,
    Stretch,
    relative,
)
from extractors.compact.faces import REACH
from extractors.compact.landmarks import FaceFinder
from extractors.compact.weights import compressed

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


# --- what is left of a measure --------------------------------------------------------------------------------------


def rising() -> torch.Tensor:
    """One measure of 20 blocks, the k-th of which holds k."""
    return torch.arange(20.0).repeat_interleave(BLOCK).view(1, -1, 1)


def everywhere(x: torch.Tensor) -> torch.Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool)


def test_measures_are_less_the_median_of_all_and_of_the_blocks_around() -> None:
    x = rising()
    left = relative(x, everywhere(x))[0, ::BLOCK].T
    assert BLOCKS == 11
    # The lower median of 0 to 19, five times each, is 9.
    assert left[0].tolist() == [float(k - 9) for k in range(20)]
    # Around block 0 lie blocks 0 to 5, whose lower median is 2; around 1 lie 0 to 6, and 3; around 19 lie 14 to 19.
    assert left[1].tolist() == [-2, -2, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3]


def test_what_all_steps_share_is_gone() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 83, 3)
    shared = torch.randn(2, 1, 3)
    assert torch.allclose(relative(x, everywhere(x)), relative(x + shared, everywhere(x)), atol=1e-5)


@pytest.mark.parametrize("held", [torch.nan, torch.inf, 1e6])
def test_invalid_steps_count_for_nothing_and_are_zero(held: float) -> None:
    x = rising()
    valid = everywhere(x)
    valid[0, 40:60] = False  # blocks 8 to 11
    spoilt = x.clone()
    spoilt[0, 40:60] = held
    left = relative(spoilt, valid)
    assert not left[0, 40:60].any()
    # Of the other 80 the lower median is 7. Block 7 has 2 to 7 and 12 around it: 5.
    assert left[0, 35].tolist() == [0, 2]


def test_a_value_that_is_no_number_counts_for_nothing() -> None:
    x = rising()
    spoilt = x.clone()
    spoilt[0, 52] = torch.nan
    left, plain = relative(spoilt, everywhere(x)), relative(x, everywhere(x))
    assert left[0, 52].tolist() == [0, 0]
    others = torch.arange(100) != 52
    assert torch.equal(left[0, others], plain[0, others])


def test_a_last_block_that_is_not_full_has_the_mean_of_what_there_is() -> None:
    # Blocks: 0 0 0 0 0 | 6 8, with means 0 and 7, whose lower median is 0; three of them would have 7 in the middle.
    x = torch.tensor([0.0] * 5 + [6.0, 8.0]).view(1, 7, 1)
    assert relative(x, everywhere(x))[0, :, 1].tolist() == [0, 0, 0, 0, 0, 6, 8]
    x = torch.tensor([0.0] * 5 + [9.0] * 5 + [6.0, 8.0]).view(1, 12, 1)
    assert relative(x, everywhere(x))[0, :, 1].tolist() == [-7] * 5 + [2] * 5 + [-1, 1]


def test_nothing_valid_gives_zeros() -> None:
    assert not relative(torch.ones(1, 7, 2), torch.zeros(1, 7, dtype=torch.bool)).any()


# --- measures -------------------------------------------------------------------------------------------------------


@pytest.fixture
def still_box(monkeypatch: pytest.MonkeyPatch) -> None:
    """A face in every frame, always at the same place: so that only the neighbours matter."""
    monkeypatch.setattr(
        face_traces,
        "follow_faces",
        lambda frames: (np.tile(BOX, (len(frames), 1)), np.ones(len(frames), np.bool_)),
    )


@pytest.fixture(scope="module")
def measures() -> FaceMeasures:
    return FaceMeasures(random_eye(layers=1))


def measured(measures: FaceMeasures, pieces: Iterator[Clip], look_every_s: float = 1000.0) -> Stretch:
    """All stretches of a clip as one."""
    done, parts = 0, []
    for part in measures(pieces, look_every_s):
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
    values, valid, _, _ = measured(measures, all_of(frames))
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
    values, known, _, _ = measured(measures, iter([(frames, valid)]))
    assert np.array_equal(values, wanted.traces)
    assert np.array_equal(known, valid)


@pytest.mark.usefixtures("still_box")
@pytest.mark.parametrize("missing", [1, 124, 125, 126])
def test_before_the_first_picture_there_is_no_other_neighbour(missing: int, measures: FaceMeasures) -> None:
    frames, valid = long_head(140, SIDE), np.ones(140, np.bool_)
    wanted = measured(measures, iter([(frames[missing:], valid[missing:])]))
    frames[:missing], valid[:missing] = 0, False
    values, known, _, _ = measured(measures, iter([(frames, valid)]))
    assert np.array_equal(known, valid)
    assert np.array_equal(values[missing:], wanted.traces)


@pytest.mark.parametrize("across", [True, False])
def test_of_a_very_long_picture_the_middle_is_held(
    monkeypatch: pytest.MonkeyPatch, across: bool, measures: FaceMeasures
) -> None:
    held: list[NDArray[np.uint8]] = []

    def nobody(frames: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        held.append(frames)
        return np.zeros((len(frames), 4)), np.zeros(len(frames), np.bool_)

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
    monkeypatch.setattr(face_traces, "follow_faces", lambda frames: (np.tile(BOX, (5, 1)), seen))
    frames = long_head(5, SIDE)
    values, valid, _, _ = measured(measures, all_of(frames))
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


@pytest.mark.parametrize("every_s", [DENSE_S, DENSE_S + 0.01])
def test_evidence_of_looks_is_added_to_whole_and_of_dense_ones_to_inside(
    every_s: float, weights: Path
) -> None:
    extractor = FaceTraces(CONFIG.model_copy(update={"look_every_s": every_s}), weights)
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(2, extractor._head.relative.mean.numel())).astype(np.float16)
    none = Stretch(
        np.zeros((12, MEASURES), np.float16), np.ones(12, np.bool_), np.zeros(0, np.int64), seen[:0]
    )
    plain = evidence(extractor, none)
    looked = evidence(extractor, none._replace(looks=np.array([2, 6]), seen=seen))
    with torch.inference_mode():
        said = extractor._head(*extractor._head.split(torch.from_numpy(seen).float())).numpy()
    # Before the first look and after the last one it is theirs, in between it goes from one to the other.
    share = np.array([0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1])
    for k, name in enumerate(("inside", "whole")):
        more = (1 - share) * said[0, k] + share * said[1, k]
        if name == "inside" and every_s > DENSE_S:
            more = 0 * more
        assert looked[name] - plain[name] == pytest.approx(more, abs=0.02)
    for name in ("onset", "offset"):
        assert np.array_equal(looked[name], plain[name])


def test_evidence_is_the_last_four_columns_and_varies(
    extractor: FaceTraces, features: tuple[NDArray[np.float16], NDArray[np.bool_]]
) -> None:
    values, valid = features
    found = extractor.evidence(values)
    assert found.dtype == np.float32
    assert np.array_equal(found, values[:, -4:].astype(np.float32))
    assert (found[valid].std(axis=0) > 0.05).all()


# --- weights and keys -----------------------------------------------------------------------------------------------


def without(prefix: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in face_tensors().items() if not name.startswith(prefix)}


@pytest.mark.parametrize(
    ("tensors", "part"),
    [
        (voice_tensors, "net"),
        (lambda: without("eye."), "eye"),
        (lambda: without("head.absolute.leave"), "head"),
        (lambda: without("net."), "net"),
        (lambda: without("net.edges.bias"), "net"),
        (lambda: face_tensors() | {"net.relative.mean": torch.zeros(7)}, "net"),
        (lambda: without("net.") | only("net.", voice_tensors()), "net"),
    ],
    ids=["voices", "no eye", "a part of the head", "no net", "a part of the net", "a shape", "another front"],
)
def test_weights_that_do_not_fit_are_refused(
    tensors: Callable[[], dict[str, torch.Tensor]], part: str, tmp_path: Path
) -> None:
    path = write_tensors(tmp_path / "faces.safetensors", tensors())
    with pytest.raises(WeightsError, match=rf"'{part}\.\*'") as error:
        FaceTraces(CONFIG, path)
    assert error.value.path == path


def only(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in tensors.items() if name.startswith(prefix)}


def test_weights_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "faces.safetensors"
    path.write_bytes(b"cut off")
    with pytest.raises(WeightsError, match="cannot be read"):
        FaceTraces(CONFIG, path)


@pytest.mark.parametrize("name", ["net.inside.bias", "head.absolute.leave.bias"])
def test_weights_that_give_no_numbers_are_named(name: str, tmp_path: Path) -> None:
    tensors = face_tensors()
    tensors[name] = torch.full_like(tensors[name], torch.inf)
    broken = FaceTraces(CONFIG, write_tensors(tmp_path / "faces.safetensors", tensors))
    with pytest.raises(WeightsError, match="not finite"):
        whole(broken, all_of(head(SIDE)[:10]))


def test_weights_stored_small_give_nearly_the_same(tmp_path: Path, weights: Path) -> None:
    small = write_tensors(
        tmp_path / "faces.safetensors", face_tensors() | compressed(only("eye.", face_tensors()))
    )
    assert small.stat().st_size < weights.stat().st_size
    a, b = (whole(FaceTraces(CONFIG, path), all_of(head(SIDE)))[0].astype(float) for path in (small, weights))
    assert np.array_equal(a[:, :-1], b[:, :-1])
    assert a == pytest.approx(b, abs=0.1)


def test_the_digest_names_weights_and_what_shapes_a_picture(weights: Path, tmp_path: Path) -> None:
    plain = FaceTraces.digest_of(CONFIG, weights)
    assert FaceTraces(CONFIG, weights).digest == plain
    other = write_tensors(tmp_path / "faces.safetensors", face_tensors(seed=1))
    assert FaceTraces.digest_of(CONFIG, other) != plain
    for setting in ({"short_side": 72}, {"crop": 64}, {"look_every_s": 0.2}):
        assert FaceTraces.digest_of(CONFIG.model_copy(update=setting), weights) != plain
    # Settings of TSN, and where the weights were named, change nothing.
    for setting in ({"arch": "resnet18"}, {"mean": (0.0, 0.0, 0.0)}, {"weights": "shipped:elsewhere"}):
        assert FaceTraces.digest_of(CONFIG.model_copy(update=setting), weights) == plain
