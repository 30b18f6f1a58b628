"""The statistics of a data set as a table: clips, people, classes, forged share, lengths and manipulations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.labels import CLASSES, SPLITS
from data.manifest import Manifest, Sample
from data.manifest.sidecar import clips_by_file

LAVDF = {
    "clips": "136,304",
    "minutes": "–",
    "identities": "153",
    "real, %": "26.7",
    "forged share of the time, %": "7.6",
    "segments of a forged clip": "1.14",
    "segment length, mean, s": "0.65",
    "segments shorter than 1 s, %": "89.3",
    "segment length, range, s": "0–1.6",
}
"""LAV-DF's published figures: arXiv:2204.06228, section III; the share as the paper gives it in section 4.2."""


@dataclass(frozen=True)
class Description:
    """A table of strings: the names of `columns`, and one tuple of cells for each named row."""

    columns: tuple[str, ...]
    rows: Mapping[str, tuple[str, ...]]
    manipulations: Mapping[str, int]

    def markdown(self) -> str:
        """The table and the number of segments of each manipulation, as Markdown."""
        lines = ["| | " + " | ".join(self.columns) + " |", "| --- " * (len(self.columns) + 1) + "|"]
        lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in self.rows.items()]
        if self.manipulations:
            lines += ["", "| manipulation | segments |", "| --- | --- |"]
            lines += [f"| {name} | {count} |" for name, count in self.manipulations.items()]
        return "\n".join(lines) + "\n"

    def text(self) -> list[str]:
        """The table as lines for a terminal."""
        table = [("", *self.columns), *((name, *cells) for name, cells in self.rows.items())]
        widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
        lines = [
            row[0].ljust(widths[0])
            + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
            for row in table
        ]
        counts = ", ".join(f"{name} {count}" for name, count in self.manipulations.items())
        return [*lines, f"manipulations: {counts}"] if counts else lines


def describe(root: Path) -> Description:
    """What the data set at `root` (LAV-DF's layout) consists of, split by split, beside LAV-DF's published figures.

    Identities and manipulations are known of sets that `pipeline synthesize` made.

    Raises InputError as `Manifest.lavdf` does.
    """
    manifest = Manifest.lavdf(root)
    clips = clips_by_file(root).values()
    people = {clip.file: clip.identity for clip in clips}
    counts = Counter(segment.manipulation for clip in clips for segment in clip.segments)
    splits = [split for split in SPLITS if any(sample.split == split for sample in manifest.samples)]
    parts = [[s for s in manifest.samples if s.split == split] for split in splits]
    columns = [_column(part, people) for part in [*parts, list(manifest.samples)]]
    names = list(columns[0])
    return Description(
        (*splits, "all", "LAV-DF"),
        {name: (*(column[name] for column in columns), LAVDF.get(name, "")) for name in names},
        dict(sorted(counts.items())),
    )


def _column(samples: Sequence[Sample], people: Mapping[str, str]) -> dict[str, str]:
    total_s = sum(sample.duration_s for sample in samples)
    lengths = np.array([p.end_s - p.start_s for sample in samples for p in sample.fake_periods])
    forged = [sample for sample in samples if sample.label]
    forged_s = sum(sample.duration_s for sample in forged)
    identities = {people[s.file.as_posix()] for s in samples if s.file.as_posix() in people}
    return {
        "clips": f"{len(samples):,}",
        "minutes": f"{total_s / 60:.1f}",
        "identities": str(len(identities)) if identities else "–",
        **{
            f"{name}, %": _share(sum(s.label == label for s in samples), len(samples))
            for label, name in enumerate(CLASSES)
        },
        "forged share of the time, %": _share(float(lengths.sum()), total_s),
        "forged share of forged clips, %": _share(float(lengths.sum()), forged_s),
        "segments of a forged clip": f"{len(lengths) / len(forged):.2f}" if forged else "–",
        "segment length, mean, s": f"{lengths.mean():.2f}" if len(lengths) else "–",
        "segments shorter than 1 s, %": _share(float((lengths < 1).sum()), len(lengths)),
        "segment length, range, s": f"{lengths.min():.2f}–{lengths.max():.2f}" if len(lengths) else "–",
    }


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if whole else "–"
