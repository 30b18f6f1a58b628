"""Progress of long steps."""

from __future__ import annotations

from typing import Protocol


class Hook(Protocol):
    """Called by long steps: the step's name, how much of it is done, and how much there is if that is known."""

    def __call__(self, step: str, completed: int | None = None, total: int | None = None) -> None:
        """Report that `completed` of `total` units of `step` are done."""


def silent(step: str, completed: int | None = None, total: int | None = None) -> None:
    """A hook that does nothing."""
