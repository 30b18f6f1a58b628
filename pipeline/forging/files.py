"""The files of an unfinished data set: a row per finished clip, the recipe, and a lock."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from data.errors import UsageError
from data.files import locked, replacing, write_json
from data.labels import SPLITS
from data.manifest import RECIPE, SIDECAR, write_lavdf
from data.manifest.sidecar import SynthesizedClip, clip_of, sample_of
from pipeline.forging.neural_voices import neural_voices
from pipeline.forging.plan import ROWS, Plan
from pipeline.forging.voices import installed_engines

LEFT_OUT = "left_out.json"
"""What of the input could not be used, and why."""


def read_clips(out: Path) -> list[SynthesizedClip]:
    """The finished clips of `out`, in the order of their names."""
    paths = sorted((out / ROWS).glob("*.json"))
    return [clip for clip in (finished(out, path.stem) for path in paths) if clip is not None]


def finished(out: Path, name: str) -> SynthesizedClip | None:
    """The clip's row, if there is one and its file has the size it names: a power failure may leave one alone."""
    try:
        clip = clip_of(json.loads(row_path(out, name).read_text(encoding="utf-8")))
        return clip if (out / clip.file).stat().st_size == clip.size_bytes else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_row(out: Path, clip: SynthesizedClip) -> None:
    """Write the row of `clip`, after its file; a clip without a row is made again."""
    with replacing(row_path(out, Path(clip.file).stem), durable=False) as path:
        path.write_text(json.dumps(asdict(clip)) + "\n", encoding="utf-8")


def write_truth(out: Path, clips: Sequence[SynthesizedClip]) -> Path:
    """Write the metadata of `clips` as LAV-DF has it, and the sidecar; returns the metadata's path.

    Raises UsageError when `out` cannot be written.
    """
    write_lavdf(out, [sample_of(clip) for clip in clips])
    write_json(out / SIDECAR, [asdict(clip) for clip in clips])
    return out / "metadata.json"


def row_path(out: Path, name: str) -> Path:
    """Where the row of the clip called `name` lies."""
    return out / ROWS / f"{name}.json"


def below(plan: Plan, path: Path) -> str:
    """`path` as the sidecar names it: from the folder of the authentic clips, or of the table of pairs."""
    return Path(os.path.relpath(path, plan.material.root)).as_posix()


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Lock the folder against a second run, which would delete the unfinished files of this one."""
    with locked(out, ".lock", "is being written by another run", "wait for it, or choose another --out"):
        yield


def keep_recipe(plan: Plan, out: Path) -> None:
    """Write the settings of `plan`; see `same_recipe`."""
    recipe = {
        "seed": plan.seed,
        "splits": list(plan.splits),
        "settings": plan.config.model_dump(mode="json"),
        "sources": [
            [
                below(plan, clip.path),
                clip.identity,
                clip.group,
                clip.split,
                clip.pieces,
                clip.path.stat().st_size,
                *(
                    [below(plan, fake.path), fake.generator, fake.tracks, fake.within_s]
                    for fake in clip.fakes or ()
                ),
            ]
            for clip in plan.material.clips
        ],
        "voices": [[below(plan, voice.path), voice.identity, voice.split] for voice in plan.material.voices],
        # Without one of these, others take its place.
        "engines": [
            *installed_engines(),
            *(f"{voice.name}, {voice.digest}" for voice in neural_voices(plan.config.voices)),
            *(["pyworld"] if find_spec("pyworld") is not None else []),
        ],
    }
    same_recipe(out, recipe, "other settings, clips or voices")


def same_recipe(out: Path, recipe: dict[str, Any], others: str) -> None:
    """Refuse to mix two data sets in one folder, and remove unfinished files of a killed run.

    Raises UsageError when `out` was begun with another recipe: another seed or `others`.
    """
    text = json.dumps(recipe, indent=1) + "\n"
    path = out / RECIPE
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise UsageError(
            f"holds a data set of another seed, {others}", out, "choose an empty folder with --out"
        )
    if not path.is_file():
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    for split in SPLITS:
        for unfinished in (out / split).glob(".*.*.*-*"):
            unfinished.unlink()
