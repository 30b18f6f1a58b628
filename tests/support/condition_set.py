"""A tiny set as `pipeline synthesize` leaves it, for the tests of conditions and of what is measured on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from forged_set import texture, voice

from data.manifest.sidecar import EditedSegment, SynthesizedClip
from pipeline.forging.files import write_truth
from pipeline.media.encode import write_clip

FRAMES = 30
PEOPLE = ("anna", "anna", "ben", "ben", "cleo")


def segment(start_s: float, end_s: float, modality: str) -> EditedSegment:
    """A forged span."""
    name = "freeze_frames" if modality == "visual" else "shift_voice"
    return EditedSegment(start_s, end_s, modality, name)  # type: ignore[arg-type]


def write_set(root: Path) -> list[SynthesizedClip]:
    """Five clips of 1.2 s: in the test split two authentic ones, one forged in its picture and one in both, of 96 and
    80 pixels; one in the train split."""
    forged = {1: (segment(0.2, 0.6, "visual"),), 3: (segment(0.4, 0.8, "visual"), segment(0.4, 0.8, "audio"))}
    clips = []
    for k, person in enumerate(PEOPLE):
        split = "train" if k == 4 else "test"
        file = f"{split}/{k:06d}.mp4"
        side = 96 if k != 2 else 80
        write_clip(root / file, np.ascontiguousarray(texture(FRAMES, k)[:, :side]), voice(1.2, 110 + 30 * k))
        segments = forged.get(k, ())
        clips.append(
            SynthesizedClip(
                file=file,
                identity=person,
                group="studio" if k < 2 else "street",
                split=split,
                label={1: 1, 3: 3}.get(k, 0),
                segments=segments,
                shams=(),
                original=f"{split}/{k - 1:06d}.mp4" if segments else None,
                source=f"{k}.mp4",
                source_start_s=0.0,
                video_frames=FRAMES,
                audio_samples=FRAMES * 640,
                size_bytes=(root / file).stat().st_size,
            )
        )
    write_truth(root, clips)
    return clips
