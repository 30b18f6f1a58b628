"""Number formats, memory errors and cache keys."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from data.errors import UsageError
from extractors import runtime

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True, "avx512_bf16": False}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),  # a processor of another family
    ],
)
def test_auto_uses_bfloat16_only_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert runtime.choose_dtype(CPU, "auto") is expected


def test_auto_uses_float16_on_cuda() -> None:
    assert runtime.choose_dtype(CUDA, "auto") is torch.float16


@pytest.mark.parametrize(("name", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_named_precision_is_kept(name: Any, expected: torch.dtype) -> None:
    assert runtime.choose_dtype(CPU, name) is expected


@pytest.mark.parametrize("name", ["fp16", "int8"])
def test_impossible_precision_is_a_usage_error(name: Any) -> None:
    with pytest.raises(UsageError):
        runtime.choose_dtype(CPU, name)


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
