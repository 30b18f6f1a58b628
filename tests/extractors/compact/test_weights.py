"""Weights stored small: what is lost, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from extractor_factory import write_tensors
from torch import nn

from data.errors import WeightsError
from extractors.compact.weights import compressed, load_part, load_tensors, shape_of, stored

FILE = Path("weights.safetensors")


def test_a_matrix_is_stored_by_hand() -> None:
    row = torch.zeros(64)
    row[:4] = torch.tensor([12.7, -12.7, 0.34, 0.26])
    found = compressed({"a": torch.stack([row, row / 10])})
    assert found.keys() == {"a", "a.scale"}
    assert found["a"].dtype == torch.int8
    # The largest is 127 steps of 0.1; 0.34 are 3.4 of them.
    assert found["a"][:, :4].tolist() == [[127, -127, 3, 3]] * 2
    assert found["a.scale"].tolist() == pytest.approx([0.1, 0.01])


@pytest.mark.parametrize("shape", [(5, 64), (3, 8, 8), (4, 2, 6, 6), (1, 400)])
def test_no_value_is_farther_off_than_half_a_step_of_its_row(shape: tuple[int, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensor = torch.randn(shape) * torch.logspace(-3, 2, shape[0]).view(-1, *[1] * (len(shape) - 1))
    path = write_tensors(tmp_path / "weights.safetensors", compressed({"part.x": tensor}))
    found = load_tensors(path)
    assert found.keys() == {"part.x"}
    assert found["part.x"].dtype == torch.float32
    assert found["part.x"].shape == shape
    step = tensor.flatten(1).abs().amax(dim=1) / 127
    error = (found["part.x"] - tensor).flatten(1).abs().amax(dim=1)
    assert (error <= 0.5001 * step).all()
    assert path.stat().st_size < 2 * tensor.numel() + 400


def test_rows_of_zeros_stay_zeros(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "weights.safetensors", compressed({"x": torch.zeros(2, 64)}))
    assert not load_tensors(path)["x"].any()


@pytest.mark.parametrize("shape", [(7,), (), (9, 63), (2, 3, 3)])
def test_vectors_and_small_rows_are_halved_only(shape: tuple[int, ...], tmp_path: Path) -> None:
    tensor = torch.rand(shape) + 0.5
    found = compressed({"x": tensor})
    assert found.keys() == {"x"}
    assert found["x"].dtype == torch.float16
    path = write_tensors(tmp_path / "weights.safetensors", found)
    assert torch.equal(load_tensors(path)["x"], tensor.half().float())
    assert torch.equal(stored(path)["x"], tensor.half())


def test_a_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing of the kind")
    for path in (broken, tmp_path / "missing.safetensors"):
        with pytest.raises(WeightsError, match="cannot be read") as error:
            load_tensors(path)
        assert error.value.path == path


def test_a_transformer_tells_its_size() -> None:
    tensors = {
        "ear.position": torch.zeros(1500, 128),
        **{f"ear.blocks.{k}.{name}.weight": torch.zeros(1) for k in range(3) for name in ("up", "down")},
        "eye.blocks.3.up.weight": torch.zeros(1),
    }
    assert shape_of(tensors, "ear.", FILE) == ((1500, 128), 3)


@pytest.mark.parametrize(
    "names", [["eye.position", "eye.blocks.0.up"], ["ear.position"], ["ear.blocks.0.up"], []]
)
def test_without_a_transformer_there_is_no_size(names: list[str]) -> None:
    with pytest.raises(WeightsError, match=r"holds no pre-trained part 'ear\.\*'") as error:
        shape_of(dict.fromkeys(names, torch.zeros(2, 2)), "ear.", FILE)
    assert error.value.path == FILE


def test_a_part_is_loaded_by_its_prefix() -> None:
    tensors = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2), "b.weight": torch.zeros(9)}
    part = load_part(nn.Linear(3, 2), tensors, "a.", FILE)
    assert part(torch.ones(3)).tolist() == [3, 3]
    assert not part.training


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"a.weight": torch.ones(2, 4), "a.bias": torch.zeros(2)}, "size mismatch for weight"),
        ({"a.bias": torch.zeros(2)}, 'Missing key.*"weight"'),
        ({"b.weight": torch.ones(2, 3), "b.bias": torch.zeros(2)}, 'Missing key.*"weight", "bias"'),
    ],
)
def test_a_part_that_does_not_fit_is_an_error_that_says_why(
    tensors: dict[str, torch.Tensor], reason: str
) -> None:
    with pytest.raises(WeightsError, match=rf"its part 'a\.\*' does not fit: {reason}") as error:
        load_part(nn.Linear(3, 2), tensors, "a.", FILE)
    assert error.value.path == FILE
