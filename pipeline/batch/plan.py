"""The plan of a run: the files of a data set that the ledger does not list as done."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data.errors import UsageError
from data.store.ledger import Ledger, LedgerRow, stamps


@dataclass(frozen=True)
class Shard:
    """Part `index` (from 1) of `count` parts; a file's part follows from its name alone, on every machine."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The part that `text` names as I/N. Raises UsageError when it names none."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise UsageError(f"'{text}' is not a valid shard", fix="use the form I/N, with I from 1 to N")
        return cls(int(index), int(count))

    def holds(self, file: Path) -> bool:
        """Whether `file`, relative to the data set's root, belongs to this part."""
        return zlib.crc32(file.as_posix().encode("utf-8", "surrogateescape")) % self.count == self.index - 1


@dataclass(frozen=True)
class Plan:
    """Files to extract, as absolute paths, and how many need nothing.

    Of the `done`, `partial` are stored only in part. `failed` are the rows of files that failed in an earlier run and
    are left alone; `elsewhere` counts files of other shards.
    """

    todo: tuple[str, ...]
    done: int = 0
    partial: int = 0
    failed: tuple[LedgerRow, ...] = ()
    elsewhere: int = 0


def make_plan(
    root: Path,
    files: Iterable[Path],
    ledger: Ledger,
    setup: str,
    shard: Shard | None = None,
    retry_failed: bool = False,
) -> Plan:
    """The plan for `files`, relative to `root`, and the pair of extractors `setup`; nothing is opened or decoded.

    A file counts as done, or failed, as long as its size and modification time are those of the ledger's row. Several
    names of one file are one file.
    """
    mine, elsewhere = [], 0
    for file in files:
        if shard is None or shard.holds(file):
            mine.append(file)
        else:
            elsewhere += 1
    base = root.resolve()
    todo, done, partial, failed = dict[str, None](), 0, 0, []
    for file, stamp in zip(mine, stamps(base, mine), strict=True):
        path = stamp.file if stamp is not None else str(base / file)
        row = ledger.status(*stamp, setup) if stamp is not None else None
        if row is None or row.status == "removed" or (row.status == "failed" and retry_failed):
            todo[path] = None
        elif row.status == "failed":
            failed.append(row)
        else:
            done += 1
            partial += row.status == "partial"
    return Plan(tuple(todo), done, partial, tuple(failed), elsewhere)
