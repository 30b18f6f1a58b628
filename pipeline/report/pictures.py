"""What a page shows of the clip itself: stills, spectrogram and preview."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from configs.schema import DecodeConfig
from pipeline.progress import Hook, silent
from pipeline.report.model import Report


@dataclass(frozen=True)
class Still:
    """One picture of the clip as JPEG: what is on screen at `time_s`, `width` x `height` pixels.

    `interval` counts the report's intervals in order of time from 0; None marks a still of the strip that spans the
    whole clip. `place` is "before", "start", "middle", "end", "after" or "strip".
    """

    time_s: float
    place: str
    interval: int | None
    width: int
    height: int
    jpeg: bytes


@dataclass(frozen=True)
class Pictures:
    """Stills, spectrogram (PNG) and preview (MP4) of one clip; `notes` say what is absent and why."""

    stills: tuple[Still, ...] = ()
    spectrogram: bytes | None = None
    preview: bytes | None = None
    notes: tuple[str, ...] = ()


def gather(
    path: Path, report: Report, config: DecodeConfig, embed_video: bool = False, hook: Hook = silent
) -> Pictures:
    """No picture yet."""
    return Pictures()
