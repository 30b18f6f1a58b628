"""Features of the face in each frame: the same however a clip arrives, and nothing where there is no face."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from head_factory import head, long_head
from numpy.typing import NDArray
from safetensors.torch import save_file
from trace_factory import random_net, write_random_net

from configs.schema import VisualConfig
from data.errors import WeightsError
from extractors.compact import face_traces
from extractors.compact.energies import face_energies
from extractors.compact.face_traces import (
    BLOCK,
    BLOCKS,
    MEASURES,
    FaceTraces,
    measure,
    relative,
)
from extractors.compact.faces import REACH

CONFIG = VisualConfig(network="face_traces", short_side=64, crop=None)
BOX = np.array([18.0, 15.0, 30.0, 30.0])
LENGTH = 1040  # three windows and a rest, eight chunks and a rest
Clip = tuple[NDArray[np.uint8], NDArray[np.bool_]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_net(tmp_path_factory.mktemp("weights") / "faces.safetensors", 2 * MEASURES)


@pytest.fixture(scope="module")
def extractor(weights: Path) -> FaceTraces:
    return FaceTraces(CONFIG, weights)


@pytest.fixture(scope="module")
def clip() -> Clip:
    """A head that is away for frames 300 to 419, and frames that are missing."""
    frames, valid = long_head(LENGTH), np.ones(LENGTH, np.bool_)
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


def measured(pieces: Iterator[Clip]) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    values, valid = zip(*measure(pieces), strict=True)
    return np.concatenate(values), np.concatenate(valid)


@pytest.mark.usefixtures("still_box")
@pytest.mark.parametrize("length", [1, 2, 125, 126, 260])
def test_every_frame_has_its_neighbours_across_the_borders_of_chunks(length: int) -> None:
    frames = long_head(length)
    values, valid = measured(iter([(frames, np.ones(length, np.bool_))]))
    wanted = face_energies([frames[0], *frames, frames[-1]], np.tile(BOX, (length, 1)))
    assert valid.all()
    assert np.array_equal(values, wanted.reshape(length, MEASURES).astype(np.float16))


@pytest.mark.usefixtures("still_box")
@pytest.mark.parametrize("missing", [1, 124, 125, 126])
def test_a_missing_frame_is_a_repetition_of_the_one_before(missing: int) -> None:
    frames, valid = long_head(140), np.ones(140, np.bool_)
    repeated = frames.copy()
    repeated[missing] = frames[missing - 1]
    wanted, _ = measured(iter([(repeated, valid)]))
    frames[missing], valid[missing] = 255, False
    values, known = measured(iter([(frames, valid)]))
    assert np.array_equal(values, wanted)
    assert np.array_equal(known, valid)


@pytest.mark.usefixtures("still_box")
@pytest.mark.parametrize("missing", [1, 124, 125, 126])
def test_before_the_first_picture_there_is_no_other_neighbour(missing: int) -> None:
    frames, valid = long_head(140), np.ones(140, np.bool_)
    wanted, _ = measured(iter([(frames[missing:], valid[missing:])]))
    frames[:missing], valid[:missing] = 0, False
    values, known = measured(iter([(frames, valid)]))
    assert np.array_equal(known, valid)
    assert np.array_equal(values[missing:], wanted)


@pytest.mark.parametrize("across", [True, False])
def test_of_a_very_long_picture_the_middle_is_held(monkeypatch: pytest.MonkeyPatch, across: bool) -> None:
    held: list[NDArray[np.uint8]] = []

    def nobody(frames: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        held.append(frames)
        return np.zeros((len(frames), 4)), np.zeros(len(frames), np.bool_)

    monkeypatch.setattr(face_traces, "follow_faces", nobody)
    wide = np.zeros((2, 8, 100, 3), np.uint8)
    wide[:, :, 34:66] = 9  # 8 x 32 pixels
    measured(iter([(wide if across else wide.swapaxes(1, 2), np.ones(2, np.bool_))]))
    assert held[0].shape == ((2, 8, 32, 3) if across else (2, 32, 8, 3))
    assert (held[0] == 9).all()


@pytest.mark.usefixtures("still_box")
def test_faces_that_go_and_come_back_are_measured_beside_the_frames_that_have_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = np.array([True, False, False, True, True])
    monkeypatch.setattr(face_traces, "follow_faces", lambda frames: (np.tile(BOX, (5, 1)), seen))
    frames = long_head(5)
    values, valid = measured(iter([(frames, np.ones(5, np.bool_))]))
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
    values, valid = whole(
        extractor, iter([(np.full((130, 64, 64, 3), 90, np.uint8), np.ones(130, np.bool_))])
    )
    assert values.shape == (130, extractor.dim)
    assert not valid.any()
    assert not values.any()


def test_nothing_gives_nothing(extractor: FaceTraces) -> None:
    assert list(extractor.stream(iter([]))) == []


@pytest.mark.parametrize("length", [1, 2, 6, 7])
def test_a_clip_of_a_few_frames_has_features(extractor: FaceTraces, length: int) -> None:
    values, valid = whole(extractor, iter([(head(64)[:length], np.ones(length, np.bool_))]))
    assert valid.all()
    assert values.shape == (length, extractor.dim)


def test_an_edit_stands_out_from_its_own_clip(extractor: FaceTraces) -> None:
    plain, edited = long_head(200, seed=1), long_head(200, seed=1)
    edited[90:110, 20:50, 20:50] = edited[90:110, 20:50, 20:50].mean(axis=(1, 2), keepdims=True)
    all_there = np.ones(200, np.bool_)
    a, b = (whole(extractor, iter([(frames, all_there)]))[0].astype(float) for frames in (plain, edited))
    apart = np.abs(a - b).mean(axis=1)
    assert apart[90:110].min() > 3 * apart[150:].max()


# --- weights and keys -----------------------------------------------------------------------------------------------


def test_weights_of_another_front_are_refused(tmp_path: Path) -> None:
    path = write_random_net(tmp_path / "voices.safetensors", 226)
    with pytest.raises(WeightsError, match="cannot be loaded as a TraceNet") as error:
        FaceTraces(CONFIG, path)
    assert error.value.path == path


def test_weights_that_give_no_numbers_are_named(tmp_path: Path) -> None:
    net = random_net(2 * MEASURES, 8)
    net.head.bias.data[0] = torch.inf
    save_file(net.state_dict(), tmp_path / "faces.safetensors")
    broken = FaceTraces(CONFIG, tmp_path / "faces.safetensors")
    with pytest.raises(WeightsError, match="not finite"):
        whole(broken, iter([(head(64)[:10], np.ones(10, np.bool_))]))


def test_the_digest_names_weights_and_what_shapes_a_picture(weights: Path, tmp_path: Path) -> None:
    plain = FaceTraces.digest_of(CONFIG, weights)
    assert FaceTraces(CONFIG, weights).digest == plain
    other = write_random_net(tmp_path / "faces.safetensors", 2 * MEASURES, seed=1)
    assert FaceTraces.digest_of(CONFIG, other) != plain
    for setting in ({"short_side": 72}, {"crop": 64}):
        assert FaceTraces.digest_of(CONFIG.model_copy(update=setting), weights) != plain
    # Settings of TSN, and where the weights were named, change nothing.
    for setting in ({"arch": "resnet18"}, {"mean": (0.0, 0.0, 0.0)}, {"weights": "shipped:elsewhere"}):
        assert FaceTraces.digest_of(CONFIG.model_copy(update=setting), weights) == plain
