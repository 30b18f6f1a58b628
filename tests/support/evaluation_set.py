"""A small labelled data set of real files, one of them broken, for the tests of evaluation and tuning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from forged_set import texture, voice
from sidecar_factory import sidecar_row, write_rows

from data.manifest import Manifest, Sample, write_lavdf
from data.timeline import Interval
from pipeline.evaluation.predictions import VideoPrediction
from pipeline.media.encode import write_clip

LABELS = (0, 1, 2, 3)


def samples(copies: int = 1, split: str = "dev") -> list[Sample]:
    """Clips of all four classes, the forged ones from 0.2 to 0.6 s, those forged in both tracks also later."""
    found = []
    for k in range(4 * copies):
        label = LABELS[k % 4]
        periods = (Interval(0.2, 0.6),) if label else ()
        if label == 3:
            periods = (*periods, Interval(0.8, 1.0))
        found.append(Sample(Path(f"{split}/{k:06d}.mp4"), label, split, periods, 1.2, None, 30, 19_200))
    return found


def manifest(root: Path, clips: list[Sample]) -> Manifest:
    """A manifest of files that nobody opens."""
    return Manifest(root, tuple(clips))


def predictions(clips: list[Sample], **changes: object) -> list[VideoPrediction]:
    """Perfect ones: every segment found, every class sure."""
    found = []
    for sample in clips:
        label = sample.label if sample.label is not None else 0
        rows = [[0.9, p.start_s, p.end_s] for p in sample.fake_periods]
        likely = tuple(0.97 if k == label else 0.01 for k in range(4))
        entry = VideoPrediction(
            sample.file.as_posix(), np.array(rows).reshape(-1, 3), 1 - likely[0], likely, **changes
        )  # type: ignore[arg-type]
        found.append(entry)
    return found


def write_set(root: Path) -> list[Sample]:
    """Four clips of 1.2 s on the disk, and a fifth that no decoder can read."""
    clips = samples()
    for k, sample in enumerate(clips):
        write_clip(root / sample.file, texture(30, k), voice(1.2, 110 + 30 * k))
    broken = Sample(Path("dev/000004.mp4"), 1, "dev", (Interval(0.2, 0.6),), 1.2)
    (root / broken.file).write_bytes(b"this is no video")
    write_lavdf(root, [*clips, broken])
    return [*clips, broken]


def write_sidecar(root: Path, clips: list[Sample], people: list[str]) -> None:
    """A forgeries.json: faces and voices replaced from 0.2 s on, a voice shifted at 0.8 s."""
    rows = []
    for sample, person in zip(clips, people, strict=True):
        segments = []
        for period in sample.fake_periods:
            late = period.start_s > 0.5
            for bit, modality, name in ((1, "visual", "replace_lower_face"), (2, "audio", "splice_speaker")):
                if sample.label is not None and sample.label & bit and not (late and bit == 1):
                    segments.append(
                        {
                            "start_s": period.start_s + 1e-7,
                            "end_s": period.end_s,
                            "modality": modality,
                            "manipulation": "shift_voice" if late else name,
                        }
                    )
        rows.append(sidecar_row(sample.file.as_posix(), identity=person, segments=segments))
    root.mkdir(parents=True, exist_ok=True)
    write_rows(root, rows)
