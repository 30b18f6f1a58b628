"""How extractors run a network: gradient-free context, memory errors and cache keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from configs.schema import Settings
from extractors.weights import weights_sha256


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
