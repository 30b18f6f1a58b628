"""Weights of the features of faces: what is refused, and what names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from extractor_factory import face_tensors, voice_tensors, write_tensors
from head_factory import head
from numpy.typing import NDArray

from configs.schema import VisualConfig
from data.errors import WeightsError
from extractors.compact.face_traces import (
    FaceTraces,
)
from extractors.compact.weights import compressed

CONFIG = VisualConfig(network="face_traces", short_side=80, crop=None)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tensors(tmp_path_factory.mktemp("weights") / "faces.safetensors", face_tensors())


def features(extractor: FaceTraces, frames: NDArray[np.uint8]) -> NDArray[np.float16]:
    ((values, _),) = extractor.stream(iter([(frames, np.ones(len(frames), np.bool_))]))
    return values


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
        features(broken, head(80)[:10])


def test_weights_stored_small_give_nearly_the_same(tmp_path: Path, weights: Path) -> None:
    small = write_tensors(
        tmp_path / "faces.safetensors", face_tensors() | compressed(only("eye.", face_tensors()))
    )
    assert small.stat().st_size < weights.stat().st_size
    a, b = (features(FaceTraces(CONFIG, path), head(80)).astype(float) for path in (small, weights))
    added = [len(a[0]) - 4, len(a[0]) - 1]
    assert np.array_equal(*(np.delete(values, added, axis=1) for values in (a, b))), (
        "inside and whole alone differ"
    )
    assert a == pytest.approx(b, abs=0.1)


def test_the_digest_names_weights_and_what_shapes_a_picture(weights: Path, tmp_path: Path) -> None:
    plain = FaceTraces.digest_of(CONFIG, weights)
    assert FaceTraces(CONFIG, weights).digest == plain
    other = write_tensors(tmp_path / "faces.safetensors", face_tensors(seed=1))
    assert FaceTraces.digest_of(CONFIG, other) != plain
    for setting in ({"short_side": 72}, {"crop": 64}, {"look_every_s": 0.2}, {"look_again": 1}):
        assert FaceTraces.digest_of(CONFIG.model_copy(update=setting), weights) != plain
    # Settings of TSN, and where the weights were named, change nothing.
    for setting in ({"arch": "resnet18"}, {"mean": (0.0, 0.0, 0.0)}, {"weights": "shipped:elsewhere"}):
        assert FaceTraces.digest_of(CONFIG.model_copy(update=setting), weights) == plain
