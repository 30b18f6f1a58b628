"""Passes across clips: one output per push, in order, early, and with the values that a clip alone has."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from configs.schema import VisualConfig
from extractors.packing import Batcher, Packer
from extractors.paper.resnet import build_trunk
from extractors.paper.tsn import TSN
from extractors.windows import Window, step_count

SIZE = 4


def pictures(count: int, height: int = 2, width: int = 3, first: int = 0) -> np.ndarray:
    """Frames filled with their own number."""
    numbers = np.arange(first, first + count, dtype=np.uint8)
    return np.broadcast_to(numbers[:, None, None, None], (count, height, width, 3)).copy()


class Numbers:
    """A network that reads a frame's number; it records how many frames of which height each pass had."""

    def __init__(self) -> None:
        self.passes: list[tuple[int, int]] = []

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        self.passes.append((len(frames), frames.shape[1]))
        return np.repeat(frames[:, 0, 0, :1], 2, axis=1).astype(np.float16)


@pytest.fixture
def network() -> Numbers:
    return Numbers()


@pytest.fixture
def packer(network: Numbers) -> Packer[str]:
    return Packer(SIZE, 2, network)


def first_column(outputs: list[tuple[Any, np.ndarray]]) -> list[tuple[Any, list[float]]]:
    return [(tag, vectors[:, 0].tolist()) for tag, vectors in outputs]


def test_passes_are_filled_across_pushes(packer: Packer[str], network: Numbers) -> None:
    assert packer.push("a", pictures(3)) == []
    assert first_column(packer.push("b", pictures(6, first=3))) == [("a", [0, 1, 2])]
    assert first_column(packer.flush()) == [("b", [3, 4, 5, 6, 7, 8])]
    assert network.passes == [(4, 2), (4, 2), (1, 2)]


def test_a_push_is_handed_back_as_soon_as_its_last_frame_is_computed(packer: Packer[str]) -> None:
    assert first_column(packer.push("a", pictures(4))) == [("a", [0, 1, 2, 3])]
    assert packer.flush() == []


def test_an_empty_push_keeps_its_place_in_the_order(packer: Packer[str]) -> None:
    assert first_column(packer.push("alone", pictures(0))) == [("alone", [])]
    assert packer.push("a", pictures(1)) == []
    assert packer.push("empty", pictures(0, height=9)) == []
    assert first_column(packer.push("b", pictures(3, first=1))) == [
        ("a", [0]),
        ("empty", []),
        ("b", [1, 2, 3]),
    ]


def test_one_tag_may_push_many_times(packer: Packer[str]) -> None:
    outputs = [out for k in range(6) for out in packer.push("a", pictures(1, first=k))] + packer.flush()
    assert first_column(outputs) == [("a", [k]) for k in range(6)]


def test_frames_of_another_size_begin_a_pass_of_their_own(packer: Packer[str], network: Numbers) -> None:
    packer.push("a", pictures(2))
    assert first_column(packer.push("tall", pictures(1, height=8))) == [("a", [0, 1])]
    assert first_column(packer.push("b", pictures(1))) == [("tall", [0])]
    assert first_column(packer.flush()) == [("b", [0])]
    assert network.passes == [(2, 2), (1, 8), (1, 2)]


def test_flushing_again_gives_nothing_and_work_goes_on_afterwards(packer: Packer[str]) -> None:
    packer.push("a", pictures(1))
    assert first_column(packer.flush()) == [("a", [0])]
    assert packer.flush() == []
    packer.push("b", pictures(1, first=7))
    assert first_column(packer.flush()) == [("b", [7])]


def test_the_callers_memory_may_change_after_a_push(packer: Packer[str]) -> None:
    images = pictures(2, first=5)
    packer.push("a", images)
    images[:] = 99
    assert first_column(packer.flush()) == [("a", [5, 6])]


@given(sizes=st.lists(st.integers(0, 9), max_size=12), flushes=st.sets(st.integers(0, 11)))
def test_every_push_has_exactly_one_output_in_order(sizes: list[int], flushes: set[int]) -> None:
    packer: Packer[int] = Packer(SIZE, 2, Numbers())
    outputs, first = [], 0
    for k, size in enumerate(sizes):
        outputs += packer.push(k, pictures(size, first=first))
        first += size
        if k in flushes:
            outputs += packer.flush()
    outputs += packer.flush()
    edges = np.cumsum([0, *sizes])
    assert first_column(outputs) == [(k, [*range(a, b)]) for k, (a, b) in enumerate(pairwise(edges))]


@pytest.fixture(scope="module", params=["fp32", pytest.param("bf16", marks=pytest.mark.bf16)])
def tsn(request: Any, tmp_path_factory: pytest.TempPathFactory) -> TSN:
    torch.manual_seed(8)
    path = tmp_path_factory.mktemp("weights") / "tsn.safetensors"
    save_file(build_trunk("resnet18").state_dict(), path)
    return TSN(VisualConfig(arch="resnet18", short_side=32, crop=32), path, dtype=request.param)


@pytest.mark.parametrize("seed", range(4))
def test_packed_clips_have_the_vectors_of_clips_alone_bit_by_bit(tsn: TSN, seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    clips = {
        name: rng.integers(0, 256, (int(rng.integers(1, 20)), 32, width, 3), np.uint8)
        for name, width in {"a": 32, "b": 32, "wide": 48, "c": 32}.items()
    }
    packer: Packer[str] = tsn.packer()
    parts: dict[str, list[np.ndarray]] = {name: [] for name in clips}
    outputs = []
    for name, clip in clips.items():
        for a, b in pairwise([0, *sorted(rng.integers(0, len(clip), 3)), len(clip)]):
            outputs += packer.push(name, clip[a:b])
    for name, vectors in outputs + packer.flush():
        parts[name].append(vectors)
    for name, clip in clips.items():
        assert np.array_equal(np.concatenate(parts[name]), tsn(clip))


def window(samples: int, first: int = 0, valid: bool = True) -> Window:
    """A window of `samples` samples without context, filled with its first step's number."""
    flags = np.full(step_count(samples), valid)
    return Window(first, first, np.full(samples, first, np.float32), flags)


class Echo:
    """A network whose hidden states repeat a window's first sample; it records the passes."""

    def __init__(self) -> None:
        self.passes: list[tuple[int, int]] = []

    def __call__(self, windows: list[np.ndarray]) -> list[np.ndarray]:
        self.passes.append((len(windows), len(windows[0])))
        return [np.full((step_count(len(w)), 1), w[0], np.float32) for w in windows]


def in_threes(samples: int) -> int:
    return 3 if samples == 720 else 1


def firsts(outputs: list[tuple[Any, Any]]) -> list[tuple[Any, int, list[float]]]:
    return [(tag, steps.first, steps.values[:, 0].tolist()) for tag, steps in outputs]


def test_windows_of_one_length_run_together_across_clips() -> None:
    network = Echo()
    batcher: Batcher[str] = Batcher(1, in_threes, network)
    assert batcher.push("a", window(720, 2)) == []
    assert batcher.push("b", window(720, 4)) == []
    assert firsts(batcher.push("c", window(720, 6))) == [("a", 2, [2, 2]), ("b", 4, [4, 4]), ("c", 6, [6, 6])]
    assert firsts(batcher.push("a", window(400, 8))) == [("a", 8, [8])]  # this length runs alone
    assert network.passes == [(3, 720), (1, 400)]


def test_a_clips_windows_come_back_in_order_and_others_need_not_wait() -> None:
    batcher: Batcher[str] = Batcher(1, in_threes, Echo())
    assert batcher.push("a", window(720, 0)) == []
    assert batcher.push("a", window(400, 2)) == []  # done, but the first one is not
    assert firsts(batcher.push("b", window(400, 5))) == [("b", 5, [5])]
    assert firsts(batcher.flush()) == [("a", 0, [0, 0]), ("a", 2, [2])]
    assert batcher.flush() == []


def test_a_window_without_valid_steps_costs_no_pass_and_keeps_its_place() -> None:
    network = Echo()
    batcher: Batcher[str] = Batcher(1, in_threes, network)
    assert batcher.push("a", window(720, 1)) == []
    assert batcher.push("a", window(720, 3, valid=False)) == []
    assert firsts(batcher.flush()) == [("a", 1, [1, 1]), ("a", 3, [0, 0])]
    assert network.passes == [(1, 720)]


def test_only_the_core_is_kept() -> None:
    batcher: Batcher[str] = Batcher(1, in_threes, lambda ws: [np.arange(5, dtype=np.float32)[:, None]])
    cored = Window(10, 11, np.zeros(1680, np.float32), np.array([True, False, True]))
    ((_, steps),) = batcher.push("a", cored)
    assert (steps.first, steps.values.flatten().tolist()) == (11, [1, 0, 3])
    assert steps.valid.tolist() == [True, False, True]
