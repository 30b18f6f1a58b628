"""The eye against `transformers`' CLIP, and where a face lies in what it sees."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import transformers
from extractor_factory import SMALL, random_eye
from torch import Tensor

from data.errors import WeightsError
from extractors.compact.eye import (
    HEAD,
    PATCH,
    PLACES,
    SIDE,
    Eye,
    PackedEye,
    aligned,
    load_eye,
    packed_eye,
    similarity,
)
from extractors.compact.landmarks import EYES, MOUTH, POINTS
from extractors.compact.weights import compressed, unpacked

FILE = Path("faces.safetensors")


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """Three pictures (3, 224, 224, 3) of blurred noise."""
    noise = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3)).astype(np.uint8)
    return torch.from_numpy(np.stack([cv2.GaussianBlur(image, (0, 0), 5) for image in noise]) * 4)


def tower_of(eye: Eye) -> transformers.CLIPVisionModel:
    """The image tower of `transformers` with the weights of `eye`."""
    width, layers = eye.patches.out_channels, len(eye.blocks)
    tower = transformers.CLIPVisionModel(
        transformers.CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // HEAD,
            patch_size=PATCH,
            image_size=SIDE,
        )
    ).eval()
    (prefix,) = {
        name.removesuffix("embeddings.class_embedding")
        for name in tower.state_dict()
        if "class_embedding" in name
    }
    theirs = {
        "embeddings.class_embedding": eye.first,
        "embeddings.patch_embedding.weight": eye.patches.weight,
        "embeddings.position_embedding.weight": eye.position,
        "pre_layrnorm.weight": eye.norm.weight,
        "pre_layrnorm.bias": eye.norm.bias,
    }
    for k, block in enumerate(eye.blocks):
        layer = f"encoder.layers.{k}"
        for kind in ("weight", "bias"):
            for who, part in zip("qkv", getattr(block.qkv, kind).chunk(3), strict=True):
                theirs[f"{layer}.self_attn.{who}_proj.{kind}"] = part
            for ours, name in (("out", "self_attn.out_proj"), ("up", "mlp.fc1"), ("down", "mlp.fc2"),
                               ("norm1", "layer_norm1"), ("norm2", "layer_norm2")):  # fmt: skip
                theirs[f"{layer}.{name}.{kind}"] = getattr(getattr(block, ours), kind)
    left = tower.load_state_dict({prefix + name: value for name, value in theirs.items()}, strict=False)
    assert all("post_layernorm" in name or "position_ids" in name for name in left.missing_keys)
    assert not left.unexpected_keys
    return tower


@pytest.mark.parametrize(("layers", "middle"), [(1, 1), (2, 1), (4, 3), (8, 6)])
def test_what_is_seen_is_the_mean_of_clips_layers_over_places(
    pictures: Tensor, layers: int, middle: int
) -> None:
    eye = random_eye(layers=layers)
    processor = transformers.CLIPImageProcessor(do_resize=False, do_center_crop=False)
    ready = processor(list(pictures.numpy()), return_tensors="pt")
    with torch.inference_mode():
        states = tower_of(eye)(**ready, output_hidden_states=True).hidden_states
        found = eye(pictures)
    wanted = []
    for state in (states[middle], states[layers]):
        grid = state[:, 1:].reshape(3, 14, 14, SMALL)
        # The whole face; rows and columns of the mouth; of the eyes.
        wanted += [grid, grid[:, 7:12, 4:10], grid[:, 3:8, 2:12]]
    assert found.shape == (3, eye.dim)
    assert eye.dim == 2 * len(PLACES) * SMALL
    assert torch.allclose(found, torch.cat([part.mean(dim=(1, 2)) for part in wanted], dim=1), atol=1e-3)
    assert found.std() > 0.1


def test_similarity_by_hand() -> None:
    # A quarter turn, twice the size, and a shift: (x, y) -> (-2 y + 5, 2 x - 1).
    there = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    here = np.array([[5.0, -1.0], [5.0, 1.0], [3.0, -1.0]])
    assert similarity(there, here) == pytest.approx(np.array([[0.0, -2.0, 5.0], [2.0, 0.0, -1.0]]))


def test_similarity_of_points_that_do_not_fit_is_the_nearest() -> None:
    # A square that becomes 3 wide and 1 high is best made 2 by 2, about its middle.
    there = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    here = there * (1.5, 0.5) + (4.0, 4.0)
    assert similarity(there, here) == pytest.approx(np.array([[1.0, 0.0, 4.0], [0.0, 1.0, 4.0]]))


@pytest.mark.parametrize("degrees", [0, 30, -90])
def test_eyes_and_mouth_come_to_fixed_places_however_a_face_lies(degrees: float) -> None:
    """Dots where the eyes and the mouth are, in three colours, found again in the crop."""
    turn = cv2.getRotationMatrix2D((150, 150), degrees, 1.0)
    places = np.array([[120.0, 130.0], [180.0, 130.0], [150.0, 189.36]]) @ turn[:, :2].T + turn[:, 2]
    frame = np.zeros((300, 300, 3), np.uint8)
    mesh = np.zeros((POINTS, 2))
    for k, corners in enumerate((*EYES, MOUTH)):
        mesh[corners[0]], mesh[corners[1]] = places[k] + (-9, 3), places[k] + (9, -3)
        colour = tuple(255 * int(k == channel) for channel in range(3))
        cv2.circle(frame, tuple(round(x * 16) for x in places[k]), 4 * 16, colour, -1, cv2.LINE_AA, shift=4)
    crop = aligned(frame, mesh)
    assert crop.shape == (SIDE, SIDE, 3)
    for k, (x, y) in enumerate([(0.36, 0.38), (0.64, 0.38), (0.5, 0.657)]):
        weight = crop[..., k].astype(float)
        rows, columns = np.indices(weight.shape)
        middle = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
        # The middle of pixel n lies at n + 0.5.
        assert middle == pytest.approx((x * SIDE - 0.5, y * SIDE - 0.5), abs=0.5)


def test_an_eye_is_loaded_with_the_size_of_its_tensors(pictures: Tensor) -> None:
    eye = random_eye(layers=3)
    again = load_eye({f"eye.{name}": value for name, value in eye.state_dict().items()}, FILE)
    assert not again.training
    with torch.inference_mode():
        assert torch.equal(again(pictures), eye(pictures))


def packed_tensors(layers: int = 3) -> dict[str, Tensor]:
    """An eye as its tensors are stored."""
    return compressed(
        {f"eye.{name}": value for name, value in random_eye(layers=layers).state_dict().items()}
    )


def test_a_packed_eye_sees_the_same_at_each_look(pictures: Tensor) -> None:
    stored = packed_tensors()
    eye, packed = load_eye(unpacked(stored), FILE), packed_eye(stored, FILE)
    assert packed.dim == eye.dim
    with torch.inference_mode():
        for few in (pictures[:1], pictures, pictures[1:]):
            assert torch.equal(packed(few), eye(few))


def test_a_packed_eye_takes_the_memory_of_one_block_for_its_first_look(pictures: Tensor) -> None:
    def held(eye: PackedEye) -> int:
        """Bytes of the matrices of all blocks; memory that they share counts once."""
        parts = [part for part in eye.blocks.parameters() if part.ndim == 2 and part.device.type != "meta"]
        return sum({part.data_ptr(): part.numel() * part.element_size() for part in parts}.values())

    packed, whole = packed_eye(packed_tensors(), FILE), random_eye(layers=3)
    one = sum(4 * part.numel() for part in whole.blocks[0].parameters() if part.ndim == 2)
    assert held(packed) == 0
    with torch.inference_mode():
        packed(pictures)
        assert held(packed) == one
        packed(pictures)
    assert held(packed) == 3 * one


@pytest.mark.parametrize("missing", ["eye.position", "eye.blocks.", "eye.first", "eye.blocks.1.up.weight"])
def test_a_packed_eye_is_refused_before_it_looks(missing: str) -> None:
    left = {name: value for name, value in packed_tensors().items() if not name.startswith(missing)}
    with pytest.raises(WeightsError, match=r"'eye\.\*'"):
        packed_eye(left, FILE)


@pytest.mark.parametrize("missing", ["eye.position", "eye.blocks.", "eye.first", "eye.blocks.0.norm2.bias"])
def test_damaged_weights_are_an_error_that_names_the_file(missing: str) -> None:
    tensors = {f"eye.{name}": value for name, value in random_eye().state_dict().items()}
    left = {name: value for name, value in tensors.items() if not name.startswith(missing)}
    with pytest.raises(WeightsError, match=r"'eye\.\*'") as error:
        load_eye(left, FILE)
    assert error.value.path == FILE
