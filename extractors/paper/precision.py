"""The number format of the networks of the preset paper: what is asked for, and what this machine can run."""

from __future__ import annotations

from typing import Literal

import torch

from data.errors import UsageError
from extractors.paper.onednn import NO_BF16, has_onednn

Precision = Literal["auto", "fp32", "bf16", "fp16"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def cpu_runs_bf16() -> bool:
    """Whether the bfloat16 kernels that the networks use run on this processor. See `has_onednn`."""
    return has_onednn(torch.bfloat16)


def cpu_has_fast_bf16() -> bool:
    """Whether they run, and the processor multiplies bfloat16 in hardware (AMX or AVX512_BF16).

    Without such units they are emulated, at half the speed of float32.
    """
    capabilities = torch.cpu.get_capabilities()
    units = bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return units and cpu_runs_bf16()


def choose_dtype(device: torch.device, precision: Precision) -> torch.dtype:
    """The number format of matrix products and convolutions on `device`.

    `auto` is float16 on CUDA (its 10-bit mantissa stays closer to float32 than bfloat16's 7 bits), bfloat16 on
    processors that have it in hardware, else float32.

    Raises UsageError for an unknown name, for float16 on the processor, and for bfloat16 on a processor that cannot
    run it.
    """
    if precision == "auto":
        if device.type == "cuda":
            return torch.float16
        return torch.bfloat16 if device.type == "cpu" and cpu_has_fast_bf16() else torch.float32
    if precision not in _DTYPES:
        raise UsageError(f"unknown precision {precision!r}", fix=f"use auto, {', '.join(_DTYPES)}")
    if precision == "fp16" and device.type == "cpu":
        raise UsageError("fp16 is for CUDA devices", fix="use fp32, bf16 or auto on the processor")
    if precision == "bf16" and device.type == "cpu" and not cpu_runs_bf16():
        raise UsageError(
            f"bf16 cannot run on this processor (it lacks AVX-512, or {NO_BF16} is set)",
            fix="use fp32 or auto",
        )
    return _DTYPES[precision]
