"""Lists of clips as tables and text: rows of a csv file, words of a protocol's lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.errors import InputError

AGAIN = "download it again"


def table_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Rows of the csv file `path` by column, at least `columns`.

    Raises InputError when it cannot be read, lacks a column, or has no row.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            head = [name.strip() for name in next(reader, [])]
            lacking = [name for name in columns if name not in head]
            if lacking:
                raise InputError(f"line 1 has no column {', '.join(lacking)}", path, AGAIN)
            count = 0
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    if len(cells) < len(head) - (head[-1] == ""):
                        raise InputError(
                            f"line {reader.line_num} has {len(cells)} columns, not {len(head)}", path, AGAIN
                        )
                    yield {name: cell.strip() for name, cell in zip(head, cells, strict=False)}
                    count += 1
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"not readable as a table ({error})", path, AGAIN) from None
    if not count:
        raise InputError("lists no clip", path, AGAIN)


def text_lines(path: Path) -> Iterator[str]:
    """Lines of `path` that are not empty, without space around them. Raises InputError when it cannot be read."""
    try:
        with path.open(encoding="utf-8-sig") as lines:
            yield from filter(None, map(str.strip, lines))
    except (OSError, ValueError) as error:
        raise InputError(f"not readable as text ({error})", path, AGAIN) from None
