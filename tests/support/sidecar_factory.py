"""Rows of a forgeries.json as the forger writes them, for tests that care for a few of their fields."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data.manifest.sidecar import SynthesizedClip

PLAIN = SynthesizedClip(
    file="train/0.mp4",
    identity="anna",
    group="",
    split="train",
    label=0,
    segments=(),
    shams=(),
    original=None,
    source="anna/0.mp4",
    source_start_s=0.0,
    video_frames=25,
    audio_samples=16_000,
    size_bytes=1,
)


def sidecar_row(file: str, **facts: Any) -> dict[str, Any]:
    """A whole row of the clip `file`, plain but for `facts`."""
    return asdict(PLAIN) | {"file": file} | facts


def write_rows(root: Path, rows: list[dict[str, Any]]) -> None:
    """The sidecar of the set at `root`."""
    (root / "forgeries.json").write_text(json.dumps(rows), encoding="utf-8")
