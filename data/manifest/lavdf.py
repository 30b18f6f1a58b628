"""LAV-DF's layout, in and out (https://github.com/ControlNet/LAV-DF); `pipeline synthesize` writes it too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.errors import InputError, UsageError
from data.files import replacing
from data.labels import SPLITS
from data.manifest.disk import UNPACK, way_out
from data.manifest.rows import count, inside, periods, read_rows, read_samples, seconds
from data.manifest.samples import LAVDF_FILES, Sample
from data.timeline import Interval


def read_lavdf(root: Path) -> dict[str, Sample]:
    """What the metadata below `root` says of each clip, by file name; times are seconds.

    Raises InputError when the metadata is absent or damaged, with the entry at fault.
    """
    path = _metadata_path(root)
    return read_samples(path, read_rows(path), _sample)


def write_lavdf(
    root: Path,
    samples: Sequence[Sample],
    transcripts: Mapping[Path, Sequence[tuple[str, Interval]]] | None = None,
) -> None:
    """Write `metadata.json` and `metadata.min.json` of `samples` as LAV-DF has them; times in microseconds.

    `transcripts` gives the words of a file with their times; without it those two fields are empty.

    Raises UsageError when a sample has no label or the folder cannot be written.
    """
    rows, words = [], transcripts if transcripts is not None else {}
    for sample in samples:
        if sample.label is None:
            raise UsageError("has no video-level label", sample.file, "label every sample")
        rows.append(_row(sample, sample.label))
    full = []
    for row, sample in zip(rows, samples, strict=True):
        spoken = words.get(sample.file, ())
        timestamps = [[word, *_bounds(interval)] for word, interval in spoken]
        full.append(row | {"timestamps": timestamps, "transcript": " ".join(word for word, _ in spoken)})
    for name, content in (("metadata.json", full), ("metadata.min.json", rows)):
        with replacing(root / name) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _row(sample: Sample, label: int) -> dict[str, Any]:
    return {
        "file": sample.file.as_posix(),
        "n_fakes": len(sample.fake_periods),
        "fake_periods": [_bounds(interval) for interval in sample.fake_periods],
        "duration": round(sample.duration_s, 6),
        "original": sample.original.as_posix() if sample.original is not None else None,
        "modify_video": bool(label & 1),
        "modify_audio": bool(label & 2),
        "split": sample.split,
        "video_frames": sample.video_frames,
        "audio_channels": 1,
        "audio_frames": sample.audio_frames,
    }


def _bounds(interval: Interval) -> list[float]:
    return [round(interval.start_s, 6), round(interval.end_s, 6)]


def _metadata_path(root: Path) -> Path:
    if not root.is_dir():
        raise InputError("no such folder", root, "give the root of a data set in LAV-DF's layout")
    for name in LAVDF_FILES:
        if (root / name).is_file():
            return root / name
    advice = way_out(root, LAVDF_FILES)
    fix = (
        advice
        if advice is not None
        else f"{UNPACK}, and give the folder that holds {LAVDF_FILES[0]} and train/"
    )
    raise InputError(f"has neither {' nor '.join(LAVDF_FILES)}", root, fix)


def _sample(row: Any) -> Sample:
    split = row["split"]
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    if type(row["modify_video"]) is not bool or type(row["modify_audio"]) is not bool:
        raise ValueError("modify_video and modify_audio must be true or false")
    original = row.get("original")
    return Sample(
        file=Path(inside(row["file"])),
        label=row["modify_video"] + 2 * row["modify_audio"],
        split=split,
        fake_periods=periods(row.get("fake_periods"), "fake_periods"),
        duration_s=seconds(row["duration"], "duration"),
        original=Path(inside(original)) if original is not None else None,
        video_frames=count(row.get("video_frames"), "video_frames"),
        audio_frames=count(row.get("audio_frames"), "audio_frames"),
    )
