"""Memory errors and cache keys."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from configs.schema import AudioConfig, Settings, VisualConfig
from extractors import runtime
from extractors.paper import tsn, wav2vec2


def test_inference_keeps_no_gradients_and_is_deterministic() -> None:
    layer, x = torch.nn.Linear(4, 4), torch.ones(1, 4)
    with runtime.inference():
        assert not layer(x).requires_grad
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.allow_tf32


def test_memory_errors_are_told_from_others() -> None:
    assert runtime.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert runtime.is_out_of_memory(MemoryError())
    assert not runtime.is_out_of_memory(RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert runtime.is_out_of_memory(caught.value)  # what this release of PyTorch really says


def test_cache_digest_depends_on_values_and_not_on_order() -> None:
    assert runtime.cache_digest(a=1, b=[2, 3]) == runtime.cache_digest(b=[2, 3], a=1)
    assert runtime.cache_digest(a=1) != runtime.cache_digest(a=2)
    # printf '{"a":1}' | sha256sum
    assert runtime.cache_digest(a=1) == "015abd7f5cc57a2d"


class Knobs(Settings):
    """Settings of an extractor of which two shape what it gives."""

    size: int = 3
    gain: float = 0.5
    weights: str = "here"


def test_an_extractor_is_named_by_what_shapes_it(tmp_path: Path) -> None:
    weights = tmp_path / "w"
    weights.write_bytes(b"abc")

    def name(config: Knobs, extractor: str = "x", schema: int = 1, **more: str) -> str:
        return runtime.extractor_digest(extractor, schema, config, weights, exclude={"weights"}, **more)

    plain = name(Knobs())
    # printf abc | sha256sum
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    settings = {"size": 3, "gain": 0.5}
    assert plain == runtime.cache_digest(extractor="x", schema=1, settings=settings, weights=sha256)
    assert name(Knobs(weights="there")) == plain
    others = [
        name(Knobs(size=4)),
        name(Knobs(), "y"),
        name(Knobs(), schema=2),
        name(Knobs(), dtype="float16"),
    ]
    weights.write_bytes(b"abd")
    assert len({plain, *others, name(Knobs())}) == 6


def test_features_of_the_paper_keep_the_names_they_had_before_there_were_other_extractors(
    tmp_path: Path,
) -> None:
    weights = tmp_path / "w"
    weights.write_bytes(b"abc")
    for digest, config, name, schema in (
        (tsn.TSN.digest_of, VisualConfig(), "tsn", tsn.SCHEMA_VERSION),
        (wav2vec2.Wav2Vec2.digest_of, AudioConfig(), "wav2vec2", wav2vec2.SCHEMA_VERSION),
    ):
        settings = config.model_dump(mode="json", exclude={"weights", "network"})
        sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert digest(config, weights, dtype="fp32") == runtime.cache_digest(
            extractor=name, schema=schema, settings=settings, weights=sha256, dtype="torch.float32"
        )
