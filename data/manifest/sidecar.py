"""The sidecar of a set that the forger made: what was done to each clip, span by span."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from data.errors import InputError
from data.labels import FPS, RATE, Modality
from data.manifest import RECIPE, SIDECAR, Sample
from data.timeline import Interval


@dataclass(frozen=True)
class EditedSegment:
    """One edited span of a clip in seconds, the track, and what was done to it: a manipulation or a sham edit.

    `generator` is what made the content, where the manipulation has a choice: the engine of machine speech.
    In a video of several people `person` is the one whose face or voice it is.
    """

    start_s: float
    end_s: float
    modality: Modality
    manipulation: str
    generator: str | None = None
    person: str | None = None

    @property
    def made_by(self) -> str:
        """The generator, or the manipulation that is one itself."""
        return self.generator or self.manipulation


@dataclass(frozen=True)
class Appearance:
    """Where `person` is seen from `start_s` to `end_s`: `box` is x, y, width and height in shares of the picture."""

    person: str
    start_s: float
    end_s: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class SynthesizedClip:
    """What is known of a written clip; `original` is the authentic clip made of the same piece of `source`.

    `appearances` say who is seen in a video that was joined from several clips. A clip whose file has not `size_bytes`
    is made again.
    """

    file: str
    identity: str
    group: str
    split: str
    label: int
    segments: tuple[EditedSegment, ...]
    shams: tuple[EditedSegment, ...]
    original: str | None
    source: str
    source_start_s: float
    video_frames: int
    audio_samples: int
    size_bytes: int
    appearances: tuple[Appearance, ...] = ()


def read_sidecar(root: Path) -> list[SynthesizedClip]:
    """What the sidecar of the set at `root` says of its clips. Raises InputError when it is absent or damaged."""
    path = root / SIDECAR
    try:
        return [clip_of(row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        raise InputError(
            "is not there", path, "give a set that `pipeline data benchmark` or `synthesize` made"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot be read ({error})", path, "make the set again") from None


def clips_by_file(root: Path) -> dict[str, SynthesizedClip]:
    """What `read_sidecar` says, by file; nothing of a data set that the forger did not make.

    Raises InputError when the sidecar is damaged.
    """
    return {clip.file: clip for clip in read_sidecar(root)} if (root / SIDECAR).is_file() else {}


class Origin(NamedTuple):
    """Where a generator belongs: its `kind`, for example speech, and its `family` of generators of one design."""

    kind: str
    family: str


def generators(root: Path) -> dict[str, Origin]:
    """Kind and family of each generator that the set at `root` was made with, where its recipe names them.

    Raises InputError when the recipe is damaged.
    """
    path = root / RECIPE
    if not path.is_file():
        return {}
    try:
        splits = json.loads(path.read_text(encoding="utf-8")).get("settings", {}).get("families", {})
        return {
            name: Origin(kind, family)
            for kinds in splits.values()
            for kind, families in kinds.items()
            for family, names in families.items()
            for name in names
        }
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"cannot be read ({error})", path, "make the set again") from None


def clip_of(row: dict[str, Any]) -> SynthesizedClip:
    """A clip as one `row` of a sidecar has it. Raises KeyError or TypeError when something is missing."""
    edits = {key: tuple(EditedSegment(**one) for one in row[key]) for key in ("segments", "shams")}
    seen = tuple(
        Appearance(one["person"], one["start_s"], one["end_s"], (x, y, width, height))
        for one in row.get("appearances", ())
        for x, y, width, height in [one["box"]]
    )
    return SynthesizedClip(**(row | edits | {"appearances": seen}))


def sample_of(clip: SynthesizedClip) -> Sample:
    """The clip as LAV-DF's metadata has it: one list of forged intervals for both tracks."""
    periods = sorted({(segment.start_s, segment.end_s) for segment in clip.segments})
    return Sample(
        file=Path(clip.file),
        label=clip.label,
        split=clip.split,
        fake_periods=tuple(Interval(a, b) for a, b in periods),
        duration_s=max(clip.video_frames / FPS, clip.audio_samples / RATE),
        original=Path(clip.original) if clip.original is not None else None,
        video_frames=clip.video_frames,
        audio_frames=clip.audio_samples,
    )
