"""Usual numbers of the test sets under other conditions; the command line shows them without loading the forger."""

from __future__ import annotations

LONG_S: float = 600
"""Least length of a long video in seconds."""

LONG_COPIES = 2
"""Long videos of each kind, with a forged span and without."""
