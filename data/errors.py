"""Errors for users: what happened, to which file, what to do, and the exit code of their kind."""

from __future__ import annotations

from pathlib import Path


class ForensicError(Exception):
    """Base of all expected errors; `exit_code` is what the command line returns for its kind."""

    exit_code = 1

    def __init__(self, what: str, path: Path | str | None = None, fix: str = "") -> None:
        self.what, self.path, self.fix = what, path, fix
        super().__init__(what, path, fix)

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path is not None else ""
        return f"{where}{self.what}" + (f"; {self.fix}" if self.fix else "")


class UsageError(ForensicError):
    """A setting, option or output location cannot be used."""

    exit_code = 2


class InputError(ForensicError):
    """The input is missing, unreadable, refused or has nothing to analyse."""

    exit_code = 3


class WeightsError(ForensicError):
    """Weights are missing, damaged, or not the ones that the settings ask for."""

    exit_code = 5


class MemoryLimitError(ForensicError):
    """Memory ran out, after every smaller batch was tried."""

    exit_code = 6


class StoreError(ForensicError):
    """A stored feature file is missing, damaged or foreign, or the store cannot be written."""

    exit_code = 1
