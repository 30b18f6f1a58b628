"""What pre-training shows to the network, and how it is judged: edges, a loss and crops worked by hand, and mirrors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from head_factory import long_head
from numpy.typing import NDArray

from configs.schema import PretrainConfig
from extractors.compact.energies import CHANNELS, SIDE, face_energies
from extractors.compact.evidence_net import Steps
from extractors.compact.face_traces import MEASURES
from pipeline.training import pretrain
from pipeline.training.crops import Prepared, Target, cut, edges, mirrored
from pipeline.training.evidence import loss_of
from pipeline.training.labelled import LabelledSteps, Measured

SETTINGS = PretrainConfig(authentic_weight=0.5, sham_weight=1.5)
RNG = np.random.default_rng


def flags(values: list[int]) -> NDArray[np.bool_]:
    return np.array(values, np.bool_)


def steps_of(forged: list[int], sham: list[int] | None = None, valid: list[int] | None = None) -> Prepared:
    """Steps whose one relative measure says which step it is, and the absolute one its tenfold."""
    n = len(forged)
    number = np.arange(n, dtype=np.float16)[:, None]
    measured = Measured(number, flags(valid or [1] * n), np.zeros(0, np.int64), np.zeros((0, 0), np.float16))
    return Prepared(
        LabelledSteps("kind", measured, flags(forged), flags(sham or [0] * n)), number, 10 * number
    )


# --- edges ----------------------------------------------------------------------------------------------------------


def test_edges_by_hand() -> None:
    found = edges(flags([0, 0, 0, 1, 1, 1, 1, 0, 0, 0]))
    assert found[:, 0].tolist() == pytest.approx([0, 0, 0.4, 1, 0.4, 0, 0, 0, 0, 0])
    assert found[:, 1].tolist() == pytest.approx([0, 0, 0, 0, 0, 0.4, 1, 0.4, 0, 0])
    assert found.dtype == np.float32


def test_a_span_of_one_step_begins_and_ends_there() -> None:
    assert edges(flags([0, 1, 0])).tolist() == [
        pytest.approx([0.4, 0.4]),
        pytest.approx([1, 1]),
        pytest.approx([0.4, 0.4]),
    ]


def test_spans_side_by_side_have_edges_of_their_own() -> None:
    found = edges(flags([0, 1, 0, 1, 1]))
    assert found[:, 0].tolist() == pytest.approx([0.4, 1, 0.4, 1, 0.4])
    assert found[:, 1].tolist() == pytest.approx([0.4, 1, 0.4, 0, 0])


@pytest.mark.parametrize("forged", [[], [1], [1, 1, 1], [0, 0]])
def test_the_ends_of_a_clip_are_no_edges(forged: list[int]) -> None:
    assert edges(flags(forged)).shape == (len(forged), 2)
    assert not edges(flags(forged)).any()


# --- the loss -------------------------------------------------------------------------------------------------------

L2, L4 = math.log(2), math.log(4)


def said(inside: list[float], onset: list[float], offset: list[float], whole: list[float]) -> Steps:
    """What the network said of the steps of one crop."""
    evidence = torch.tensor([inside, onset, offset, whole]).T[None]
    return Steps(torch.zeros(1, len(inside), 128), evidence)


def target(forged: list[int], at: list[list[float]], weight: list[float], partial: list[float]) -> Target:
    rows = (torch.tensor(row, dtype=torch.float32)[None] for row in (forged, at, weight, partial))
    return Target(*rows)


def test_loss_by_hand() -> None:
    # The sigmoid of 0 is 1/2, of ln 3 it is 3/4: -ln of what is wanted is ln 2, ln 4/3 or ln 4.
    three = math.log(3)
    steps = said([0.0, three], [0.0, three], [three, 0.0], [three, -three])
    loss = loss_of(steps, target([0, 1], [[1.0, 0.0], [0.0, 0.4]], [1.0, 3.0], [1.0, 3.0]))
    inside = (L2 + 3 * math.log(4 / 3)) / 4
    whole = (L4 + 3 * L4) / 4
    onset = (6 * L2 + 3 * L4) / 4  # a step that is one counts six times
    offset = (L4 + 3 * (6 * 0.4 * L2 + 0.6 * L2)) / 4
    assert loss.item() == pytest.approx(inside + whole + 0.5 * (onset + offset) / 2, rel=1e-5)


def test_of_a_clip_that_is_forged_from_end_to_end_only_whole_is_learnt() -> None:
    steps = said([0.0, 5.0], [1.0, 2.0], [3.0, -4.0], [0.0, 0.0])
    loss = loss_of(steps, target([1, 1], [[0.0, 0.0]] * 2, [1.0, 1.0], [0.0, 0.0]))
    assert loss.item() == pytest.approx(L2)


def test_steps_of_no_weight_do_not_count() -> None:
    torch.manual_seed(0)
    steps = Steps(torch.zeros(2, 5, 128), torch.randn(2, 5, 4))
    short = Steps(steps.states[:, :3], steps.evidence[:, :3])
    weight = torch.ones(2, 5)
    weight[:, 3:] = 0
    wanted = Target(torch.ones(2, 5), torch.rand(2, 5, 2), weight, weight)
    assert torch.allclose(loss_of(steps, wanted), loss_of(short, Target(*(part[:, :3] for part in wanted))))
    nothing = torch.zeros(2, 5)
    assert loss_of(steps, wanted._replace(weight=nothing, partial=nothing)).item() == 0


# --- crops ----------------------------------------------------------------------------------------------------------


def cropped(
    clip: Prepared, length: int, rng: np.random.Generator, mirror: pretrain.Mirror | None = None
) -> tuple[list[list[float]], list[bool], Target]:
    """Relative and absolute measures by step, validity, and the target."""
    relative, absolute, valid, *rest = cut(clip, length, mirror, SETTINGS, rng)
    assert relative.dtype == absolute.dtype == torch.float32
    assert torch.equal(10 * relative, absolute)
    return relative[:, 0].tolist(), valid.tolist(), Target(*rest)


def test_a_crop_of_a_whole_clip_by_hand() -> None:
    clip = steps_of([0, 0, 1, 1, 0, 0], sham=[0, 0, 0, 0, 1, 0], valid=[0, 1, 1, 0, 1, 1])
    measures, valid, wanted = cropped(clip, 6, RNG(0))
    assert measures == [0, 1, 2, 3, 4, 5]
    assert valid == [False, True, True, False, True, True]
    assert wanted.forged.tolist() == [0, 0, 1, 1, 0, 0]
    # Neither the missing first nor the missing forged step counts.
    assert wanted.weight.tolist() == wanted.partial.tolist() == [0, 0.5, 1, 0, 1.5, 0.5]
    assert torch.equal(wanted.edges, torch.from_numpy(edges(clip.steps.forged)))


def test_of_a_clip_that_is_forged_from_end_to_end_no_step_counts_as_partial() -> None:
    _, _, wanted = cropped(steps_of([1] * 20), 20, RNG(0))
    assert wanted.weight.tolist() == [1] * 20
    assert not wanted.partial.any()


def test_a_short_clip_is_filled_up_with_what_does_not_count() -> None:
    measures, valid, wanted = cropped(steps_of([0, 1, 0]), 5, RNG(0))
    assert measures == [0, 1, 2, 0, 0]
    assert valid == [True, True, True, False, False]
    assert wanted.forged.tolist() == [0, 1, 0, 0, 0]
    assert wanted.weight.tolist() == [0.5, 1, 0.5, 0, 0]
    assert not wanted.edges[3:].any()


@pytest.mark.parametrize("length", [1, 4, 9])
def test_every_crop_holds_an_edited_step_and_any_place_in_it_may_be_that_step(length: int) -> None:
    clip = steps_of([0] * 20 + [1] + [0] * 39, sham=[0] * 40 + [1] + [0] * 19)
    places: dict[float, set[int]] = {1.0: set(), 1.5: set()}
    rng = RNG(0)
    for _ in range(300):
        measures, _, wanted = cropped(clip, length, rng)
        assert np.array_equal(np.diff(measures), np.ones(length - 1))
        (edited,) = torch.nonzero(wanted.weight > 0.5).flatten().tolist()
        places[wanted.weight[edited].item()].add(edited)
    assert places[1.0] == places[1.5] == set(range(length))


@pytest.mark.parametrize("forged", [[0] * 30, [1] * 30])
def test_a_clip_that_was_not_edited_in_part_is_cut_anywhere(forged: list[int]) -> None:
    rng = RNG(0)
    firsts = {cropped(steps_of(forged), 10, rng)[0][0] for _ in range(400)}
    assert firsts == set(range(21))


def test_a_crop_at_the_rim_stays_within_the_clip() -> None:
    for edited in (0, 9):
        clip = steps_of([int(k == edited) for k in range(10)])
        for seed in range(20):
            measures, valid, _ = cropped(clip, 4, RNG(seed))
            assert all(valid)
            assert set(measures) <= set(range(10))


def test_backwards_everything_runs_backwards() -> None:
    clip = steps_of([0, 0, 1, 1, 1, 0, 0, 0], sham=[1] + [0] * 7, valid=[1, 1, 1, 1, 1, 1, 0, 1])
    ways = set()

    def mirror(measures: NDArray[np.float16], across: bool, backwards: bool) -> NDArray[np.float16]:
        ways.add((across, backwards))
        return measures[::-1] if backwards else measures

    forwards = cropped(clip, 8, RNG(0))[2]
    for seed in range(40):
        measures, valid, wanted = cropped(clip, 10, RNG(seed), mirror)
        backwards = measures[0] > 0
        order = list(range(8))[:: -1 if backwards else 1]
        assert measures == [*order, 0, 0]
        assert valid[:8] == [k != 6 for k in order]
        assert torch.equal(wanted.forged[:8], forwards.forged[order])
        assert torch.equal(wanted.weight[:8], forwards.weight[order])
        # What began ends.
        assert torch.equal(wanted.edges[:8], forwards.edges[order].flip(1) if backwards else forwards.edges)
        assert not wanted.weight[8:].any()
    assert ways == {(False, False), (False, True), (True, False), (True, True)}


# --- mirrors --------------------------------------------------------------------------------------------------------


def energies(frames: NDArray[np.uint8], boxes: NDArray[np.float64]) -> NDArray[np.float16]:
    return face_energies(frames, boxes).reshape(len(boxes), MEASURES).astype(np.float16)


@pytest.fixture(scope="module")
def moving() -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Ten frames of a head under a box that wanders; the first and the last are neighbours only."""
    boxes = np.array([[24.0 + k, 20.0 - k, 48.0, 48.0] for k in range(8)])
    return long_head(10, 96), boxes


def test_measures_of_a_clip_played_backwards(moving: tuple[NDArray[np.uint8], NDArray[np.float64]]) -> None:
    frames, boxes = moving
    wanted = energies(frames[::-1], boxes[::-1])
    found = mirrored(energies(frames, boxes), False, True)
    assert found.astype(float) == pytest.approx(wanted.astype(float), abs=0.01)


def test_measures_of_a_mirrored_picture(moving: tuple[NDArray[np.uint8], NDArray[np.float64]]) -> None:
    frames, boxes = moving
    turned = boxes.copy()
    turned[:, 0] = 96 - boxes[:, 0] - boxes[:, 2]
    wanted = energies(frames[:, :, ::-1], turned)
    found = mirrored(energies(frames, boxes), True, False)
    assert found.astype(float) == pytest.approx(wanted.astype(float), abs=0.05, rel=0.01)
    assert not np.allclose(found, energies(frames, boxes), atol=0.5), (
        "this head is not the same on both sides"
    )


def test_mirrors_move_one_cell_where_it_belongs() -> None:
    cells = np.zeros((3, len(CHANNELS), SIDE, SIDE), np.float16)
    cells[0, CHANNELS.index("luma_before"), 2, 1] = 1
    cells[0, CHANNELS.index("fine"), 3, 0] = 2
    flat = cells.reshape(3, MEASURES)
    across, backwards, both = (
        mirrored(flat, *ways).reshape(cells.shape) for ways in ((True, False), (False, True), (True, True))
    )
    assert across[0, CHANNELS.index("luma_before"), 2, 4] == 1
    assert across[0, CHANNELS.index("fine"), 3, 5] == 2
    assert backwards[2, CHANNELS.index("luma_after"), 2, 1] == 1
    assert backwards[2, CHANNELS.index("fine"), 3, 0] == 2
    assert both[2, CHANNELS.index("luma_after"), 2, 4] == 1
    assert all(turned.sum() == 3 for turned in (across, backwards, both))
    for ways in ((True, False), (False, True), (True, True)):
        assert np.array_equal(mirrored(mirrored(flat, *ways), *ways), flat)
