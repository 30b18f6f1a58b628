"""TSN: preprocessing by hand, one value per frame whatever its company, memory back-off, cache key."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from configs.schema import VisualConfig
from data.errors import MemoryLimitError, WeightsError
from extractors.paper.resnet import build_trunk, load_trunk
from extractors.paper.tsn import TSN

CONFIG = VisualConfig(arch="resnet18", short_side=32, crop=32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "tsn.safetensors"
    save_file(build_trunk("resnet18").state_dict(), path)
    return path


@pytest.fixture(scope="module")
def tsn(weights: Path) -> TSN:
    return TSN(CONFIG, weights, dtype="fp32")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (11, 32, 32, 3), dtype=np.uint8)


def test_output_is_one_half_precision_vector_per_frame(tsn: TSN, frames: np.ndarray) -> None:
    features = tsn(frames)
    assert features.shape == (11, 512) == (11, tsn.dim)
    assert features.dtype == np.float16


def test_no_frames_give_no_vectors(tsn: TSN, frames: np.ndarray) -> None:
    assert tsn(frames[:0]).shape == (0, 512)


def test_equals_the_plain_trunk_on_normalised_frames(tsn: TSN, weights: Path, frames: np.ndarray) -> None:
    mean, std = np.array(CONFIG.mean, np.float32), np.array(CONFIG.std, np.float32)
    pixels = torch.from_numpy(((frames - mean) / std).transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        expected = load_trunk("resnet18", weights)(pixels).numpy()
    np.testing.assert_allclose(tsn(frames), expected, rtol=2**-11, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.bf16)])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_grouping_never_changes_a_bit(weights: Path, frames: np.ndarray, precision: Any, size: int) -> None:
    extractor = TSN(CONFIG, weights, dtype=precision)
    whole = extractor(frames)
    parts = [extractor(frames[k : k + size]) for k in range(0, len(frames), size)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_neighbours_and_place_never_change_a_bit(tsn: TSN, frames: np.ndarray) -> None:
    order = np.random.default_rng(9).permutation(len(frames))
    assert np.array_equal(tsn(frames[order]), tsn(frames)[order])


def test_frames_from_a_view_with_any_strides_are_read_right(tsn: TSN, frames: np.ndarray) -> None:
    flipped = frames[::2, :, ::-1]
    flipped.flags.writeable = False
    assert np.array_equal(tsn(flipped), tsn(np.ascontiguousarray(flipped)))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((1, 32, 32, 4), np.uint8),
        np.zeros((1, 32, 32, 3), np.float32),
    ],
)
def test_other_shapes_and_types_are_refused(tsn: TSN, images: Any) -> None:
    with pytest.raises(ValueError, match="uint8"):
        tsn(images)


class Hungry(torch.nn.Module):
    """A trunk on a device that holds at most `room` frames; it records the batch sizes that it was given."""

    def __init__(self, trunk: torch.nn.Module, room: int) -> None:
        super().__init__()
        self.trunk, self.room, self.seen = trunk, room, []  # type: ignore[var-annotated]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(x))
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.trunk(x)


def test_memory_shortage_halves_the_batch_and_goes_on(weights: Path, frames: np.ndarray) -> None:
    extractor = TSN(CONFIG, weights, dtype="fp32")
    expected = extractor(frames)
    hungry = Hungry(extractor._trunk, room=2)
    extractor._trunk = hungry
    features = extractor(frames)
    assert hungry.seen[:3] == [8, 4, 2]
    assert set(hungry.seen[3:]) == {2}
    np.testing.assert_allclose(features, expected, rtol=2**-9, atol=1e-3)


def test_memory_too_small_for_one_frame_is_an_error_with_advice(weights: Path, frames: np.ndarray) -> None:
    extractor = TSN(CONFIG, weights, dtype="fp32")
    extractor._trunk = Hungry(extractor._trunk, room=0)
    with pytest.raises(MemoryLimitError, match=r"visual\.crop"):
        extractor(frames)


def test_other_runtime_errors_are_not_mistaken_for_memory(tsn: TSN) -> None:
    with pytest.raises(RuntimeError):
        tsn(np.zeros((1, 0, 0, 3), np.uint8))


def test_weights_with_nan_are_refused(weights: Path, tmp_path: Path, frames: np.ndarray) -> None:
    state = load_file(weights)
    state["conv1.weight"][0] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(WeightsError, match="not finite"):
        TSN(CONFIG, tmp_path / "nan.safetensors")(frames[:1])


def test_digest_names_what_shapes_the_features_and_nothing_else(
    tsn: TSN, weights: Path, tmp_path: Path
) -> None:
    copy = shutil.copy(weights, tmp_path / "renamed.safetensors")
    moved = CONFIG.model_copy(update={"weights": "somewhere else"})
    assert TSN(moved, Path(copy), dtype="fp32").digest == tsn.digest
    assert TSN(CONFIG.model_copy(update={"crop": 48}), weights, dtype="fp32").digest != tsn.digest
    state = load_file(weights)
    state["bn1.bias"] += 1
    save_file(state, tmp_path / "other.safetensors")
    assert TSN(CONFIG, tmp_path / "other.safetensors", dtype="fp32").digest != tsn.digest


def test_digest_names_the_number_format(weights: Path) -> None:
    # On CUDA the format is not checked against a device that need not be there.
    assert len({TSN.digest_of(CONFIG, weights, "cuda", dtype) for dtype in ("fp32", "bf16", "fp16")}) == 3
