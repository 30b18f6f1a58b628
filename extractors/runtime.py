"""How extractors run a network: number format, gradient-free context, memory errors and cache keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from configs.schema import Settings
from data.errors import UsageError
from extractors.weights import weights_sha256

Precision = Literal["auto", "fp32", "bf16", "fp16"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware (AMX or AVX512_BF16).

    Without it PyTorch emulates the format and runs at half the speed of float32.
    """
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def choose_dtype(device: torch.device, precision: Precision) -> torch.dtype:
    """The number format of matrix products and convolutions on `device`.

    `auto` is float16 on CUDA (its 10-bit mantissa stays closer to float32 than bfloat16's 7 bits), bfloat16 on
    processors that have it in hardware, else float32.

    Raises UsageError for an unknown name, and for float16 on the processor.
    """
    if precision == "auto":
        if device.type == "cuda":
            return torch.float16
        return torch.bfloat16 if device.type == "cpu" and cpu_has_bf16() else torch.float32
    if precision not in _DTYPES:
        raise UsageError(f"unknown precision {precision!r}", fix=f"use auto, {', '.join(_DTYPES)}")
    if precision == "fp16" and device.type == "cpu":
        raise UsageError("fp16 is for CUDA devices", fix="use fp32, bf16 or auto on the processor")
    return _DTYPES[precision]


@contextmanager
def inference() -> Iterator[None]:
    """Gradient-free, deterministic context, and float32 without TF32 shortcuts."""
    with (
        torch.inference_mode(),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
    ):
        yield


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` is one of the ways in which PyTorch reports that memory ran out."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def cache_digest(**facts: Any) -> str:
    """First 16 hex digits of the SHA-256 of the canonical JSON of `facts`: an extractor's part of a cache key."""
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def extractor_digest(
    extractor: str,
    schema: int,
    config: Settings,
    weights: Path,
    *,
    include: set[str] | None = None,
    exclude: set[str] | None = None,
    **more: str,
) -> str:
    """Digest of everything that shapes a vector of `extractor`: its `schema`, settings, bytes of `weights`, and `more`.

    `include` and `exclude` say which fields of `config` shape a value. Raises WeightsError when there are no weights.
    """
    settings = config.model_dump(mode="json", include=include, exclude=exclude)
    return cache_digest(
        extractor=extractor, schema=schema, settings=settings, weights=weights_sha256(weights), **more
    )
