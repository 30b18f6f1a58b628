"""Number formats: what is asked for, and what the processor runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from data.errors import UsageError
from extractors.paper import precision
from extractors.paper.onednn import NO_BF16
from extractors.paper.precision import choose_dtype

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("capabilities", "runs", "expected"),
    [
        ({"amx_bf16": True, "avx512_bf16": False}, True, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": True}, True, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": False}, True, torch.float32),  # it runs, but emulated
        ({"amx_bf16": False, "avx512_bf16": True}, False, torch.float32),  # switched off, or not built for it
        ({}, True, torch.float32),  # a processor of another family
    ],
)
def test_auto_uses_bfloat16_only_where_the_processor_has_it_and_it_runs(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], runs: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(precision, "has_onednn", lambda dtype: runs)
    assert choose_dtype(CPU, "auto") is expected


def test_auto_uses_float16_on_cuda() -> None:
    assert choose_dtype(CUDA, "auto") is torch.float16


@pytest.mark.parametrize(
    ("name", "expected"),
    [("fp32", torch.float32), pytest.param("bf16", torch.bfloat16, marks=pytest.mark.bf16)],
)
def test_a_named_precision_is_kept(name: Any, expected: torch.dtype) -> None:
    assert choose_dtype(CPU, name) is expected


@pytest.mark.parametrize("name", ["fp16", "int8"])
def test_impossible_precision_is_a_usage_error(name: Any) -> None:
    with pytest.raises(UsageError):
        choose_dtype(CPU, name)


def test_bfloat16_on_a_processor_that_does_not_run_it_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(NO_BF16, "1")
    with pytest.raises(UsageError, match=r"bf16 cannot run on this processor.*; use fp32 or auto") as caught:
        choose_dtype(CPU, "bf16")
    assert caught.value.exit_code == 2
    assert choose_dtype(CUDA, "bf16") is torch.bfloat16
