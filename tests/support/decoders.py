"""Marks of tests that use a decoder which need not be installed."""

from __future__ import annotations

import importlib.util

import pytest

NEEDS_DECORD = pytest.mark.skipif(
    importlib.util.find_spec("decord") is None, reason="needs decord, which is not installed"
)
"""decord has no build for Arm."""
