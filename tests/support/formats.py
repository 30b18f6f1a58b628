"""The number formats that the fused networks are tested in."""

from __future__ import annotations

import pytest
import torch

FORMATS = [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.bf16)]
"""Values of a parametrized test: float32 everywhere, bfloat16 where the processor runs it."""
