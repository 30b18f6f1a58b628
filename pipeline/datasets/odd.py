"""Rows of metadata whose forged periods make no sense, found in the rows themselves: a reader stops at the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.manifest import DatasetName
from data.manifest.rows import read_rows
from data.manifest.samples import AVDEEPFAKE1M_FILES, LAVDF_FILES

_PERIODS = ("fake_periods", "fake_segments", "visual_fake_segments", "audio_fake_segments")
_COUNT = "a number of forged periods (n_fakes) that does not fit"


def odd_rows(dataset: DatasetName, root: Path) -> dict[str, tuple[str, ...]]:
    """Names of the clips with each kind of fault in their forged periods, by a clause that says which.

    Rows that have not the form of a row are passed over: the reader refuses the set for them.
    """
    odd: dict[str, list[str]] = {}
    for row in _rows(dataset, root):
        name = row.get("file")
        for fault in _faults(row) if isinstance(name, str) else ():
            odd.setdefault(fault, []).append(str(name))
    return {fault: tuple(names) for fault, names in sorted(odd.items())}


def _rows(dataset: DatasetName, root: Path) -> Iterator[Mapping[str, Any]]:
    new = AVDEEPFAKE1M_FILES[:2] if dataset in ("avdeepfake1m", "avdeepfake1m++") else ()
    lists = LAVDF_FILES if dataset == "lavdf" else new
    there = [root / name for name in lists if (root / name).is_file()]
    try:
        for path in there[:1] if dataset == "lavdf" else there:
            yield from (row for row in read_rows(path) if isinstance(row, dict))
    except InputError:
        return  # the reader has said so


def _faults(row: Mapping[str, Any]) -> set[str]:
    faults = set()
    for field in _PERIODS:
        value = row.get(field)
        spans = [tuple(span) for span in value if _is_span(span)] if isinstance(value, list) else []
        if any(start == end for start, end in spans):
            faults.add("forged periods of no length")
        if any(end < start for start, end in spans):
            faults.add("forged periods that end before they start")
        if any(later[0] < earlier[1] for earlier, later in pairwise(sorted(spans))):
            faults.add("forged periods that overlap")
    count, listed = row.get("n_fakes"), row.get("fake_periods")
    if count is not None and isinstance(listed, list) and count != len(listed):
        faults.add(_COUNT)
    return faults


def _is_span(span: Any) -> bool:
    return isinstance(span, list) and len(span) == 2 and all(type(time) in (int, float) for time in span)
