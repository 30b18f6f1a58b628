"""Authentic clips in, a labelled data set in LAV-DF's layout out: forged spans are known to the frame.

What is made of which piece is planned first, so that file names, splits and draws depend on the seed alone; then
processes work through the sources, and a row beside each written clip lets an interrupted run go on.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from configs.schema import DecodeConfig, SynthesizeConfig
from data.errors import ForensicError, InputError, UsageError
from data.files import replacing
from data.forgery import AUDIO, VISUAL, FaceClip
from data.manifest import SPLITS, Sample, write_lavdf
from data.text import printable
from data.timeline import Interval
from pipeline.decode.whole import read_pieces, read_sound
from pipeline.encode import write_clip
from pipeline.faces import track_face
from pipeline.forger import FPS, RATE, Donors, EditedSegment, Forger, Piece
from pipeline.progress import Hook, silent
from pipeline.sources import Material, Source, Voice, find_material

ROWS = ".rows"
"""Folder of one JSON file per finished clip."""

RECIPE = "recipe.json"
"""What the data set was made with; a run with other settings does not go on with it."""

SIDECAR = "forgeries.json"
"""What was done to each clip, span by span."""

BITS_PER_PIXEL = 0.09
"""Of a picture at the middle of the range of CRF, for the estimate of disk space."""

DONOR_S, DONOR_SIDE = 10.0, 256
"""Seconds and pixels of a clip that lends its face: enough for any segment, little enough to keep a few in memory."""

_DECODE = DecodeConfig()
Lent = TypeVar("Lent")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SynthesizedClip:
    """What is known of a written clip; `original` is the authentic clip made of the same piece of `source`."""

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


@dataclass(frozen=True)
class Estimate:
    """Clips to be written, their length in seconds, the space that they will take and the space that there is."""

    clips: int
    duration_s: float
    needed_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first frame is read."""

    material: Material
    config: SynthesizeConfig
    seed: int
    splits: tuple[str, ...]
    first: tuple[int, ...]  # number of each source's first clip, in the order of making
    names: tuple[str, ...]  # of all clips; shuffled, so that a name tells nothing

    @property
    def sources(self) -> tuple[int, ...]:
        """Indices of the sources of the wanted splits."""
        return tuple(k for k, source in enumerate(self.material.clips) if source.split in self.splits)

    def names_of(self, source: int, piece: int) -> tuple[str, ...]:
        """Names of the clips that are made of one piece of one source."""
        start = self.first[source] + piece * self.config.variants
        return self.names[start : start + self.config.variants]


def plan(
    source: Path,
    config: SynthesizeConfig,
    seed: int = 0,
    splits: Sequence[str] = SPLITS,
    hook: Hook = silent,
) -> Plan:
    """Decide what is made of the authentic clips below `source`.

    Raises UsageError for an unknown manipulation, InputError when there is no usable clip.
    """
    known = [forgery.__name__ for forgery in VISUAL] + [forgery.__name__ for forgery in AUDIO]
    for name in config.manipulations:
        if name not in known:
            raise UsageError(f"unknown manipulation '{name}'", fix=f"known are {', '.join(known)}")
    material = find_material(source, config, seed, _DECODE, hook)
    if not material.clips:
        raise InputError(
            f"none of {len(material.left_out)} clips could be used", source, "see the warnings above"
        )
    counts = [clip.pieces * config.variants for clip in material.clips]
    first = [0, *np.cumsum(counts).tolist()]
    names = np.random.default_rng([seed, 1]).permutation(first[-1])
    return Plan(
        material, config, seed, tuple(splits), tuple(first[:-1]), tuple(f"{number:06d}" for number in names)
    )


def estimate(plan: Plan, out: Path) -> Estimate:
    """What `plan` will take of the disk that `out` lies on."""
    config, needed, duration_s, clips = plan.config, 0.0, 0.0, 0
    for k in plan.sources:
        source = plan.material.clips[k]
        rate = source.pixels * FPS * BITS_PER_PIXEL + 1000 * sum(config.audio_kbps) / 2
        clips += source.pieces * config.variants
        duration_s += source.duration_s * config.variants
        needed += source.duration_s * config.variants * rate / 8
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    return Estimate(clips, duration_s, math.ceil(needed), shutil.disk_usage(existing).free)


def synthesize(plan: Plan, out: Path, workers: int = 2, hook: Hook = silent) -> Path:
    """Make the clips of `plan` at `out` and return the path of the metadata.

    Clips without a usable face get audio forgeries only, clips without speech visual ones only, both say so; clips
    with neither are left out. An interrupted run goes on where it was; the same plan gives the same bytes.

    Raises UsageError when the disk is too small or `out` holds another data set, InputError when no clip could be
    used.
    """
    space = estimate(plan, out)
    if space.needed_bytes > space.free_bytes:
        raise UsageError(
            f"{space.needed_bytes / 1e6:.0f} MB are needed, {space.free_bytes / 1e6:.0f} MB are free",
            out,
            "free space, choose another --out, or lower synthesize.variants",
        )
    _keep_recipe(plan, out)
    left_out = dict(plan.material.left_out)
    # One thread each: OpenCV's own threads would fight over the cores that the workers already fill.
    with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        jobs = {pool.submit(forge_source, plan, k, out): plan.material.clips[k] for k in plan.sources}
        try:
            for done, job in enumerate(as_completed(jobs), start=1):
                left_out |= job.result()
                hook("forge", done, len(jobs))
        except BaseException:
            # The rest would fail likewise (a full disk) or is not wanted any more.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return finish(plan, out, left_out)


def finish(plan: Plan, out: Path, left_out: dict[str, str]) -> Path:
    """Write the metadata and the sidecar of the clips that `out` has rows of; returns the metadata's path.

    Raises InputError when there is none.
    """
    clips = read_rows(out)
    if not clips:
        raise InputError(
            f"none of {len(left_out)} clips could be used", plan.material.root, "see the warnings above"
        )
    write_lavdf(out, [sample_of(clip) for clip in clips])
    for name, content in ((SIDECAR, [asdict(clip) for clip in clips]), ("left_out.json", left_out)):
        with replacing(out / name) as path:
            path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return out / "metadata.json"


def forge_source(plan: Plan, k: int, out: Path) -> dict[str, str]:
    """Make the clips of source `k`; what could not be used, with the reason.

    Raises UsageError when `out` cannot be written.
    """
    source = plan.material.clips[k]
    name = source.path.relative_to(plan.material.root).as_posix()
    names = [plan.names_of(k, piece) for piece in range(source.pieces)]
    if all(_row_path(out, clip).is_file() for clips in names for clip in clips):
        return {}
    left_out: dict[str, str] = {}
    try:
        pieces = read_pieces(source.path, _DECODE, plan.config.clip_s[1], plan.config.short_side)
        for number, ((frames, samples), clips) in enumerate(zip(pieces, names, strict=False)):
            try:
                _forge_piece(plan, k, number, _piece(frames, samples, source.path), clips, out)
            except InputError as error:
                left_out[f"{name}#{number}"] = error.what
                _LOG.warning("left out: %s: %s", printable(name), error.what)
    except InputError as error:
        left_out[name] = error.what
        _LOG.warning("left out: %s", printable(str(error)))
    return left_out


def read_rows(out: Path) -> list[SynthesizedClip]:
    """The finished clips of `out`, in the order of their names."""
    clips = []
    for path in sorted((out / ROWS).glob("*.json")):
        row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for key in ("segments", "shams"):
            row[key] = tuple(EditedSegment(**segment) for segment in row[key])
        clips.append(SynthesizedClip(**row))
    return clips


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


def _piece(frames: NDArray[np.uint8] | None, samples: NDArray[np.float32] | None, path: Path) -> Piece:
    boxes = track_face(frames) if frames is not None else None
    piece = Piece(frames, samples, boxes)
    if frames is not None and boxes is None:
        _LOG.warning("%s: no usable face, so only its sound can be forged", printable(str(path)))
    if not piece.spoken:
        _LOG.warning("%s: no speech, so only its picture can be forged", printable(str(path)))
    return piece


def _forge_piece(plan: Plan, k: int, number: int, piece: Piece, names: Sequence[str], out: Path) -> None:
    source, forger, config = plan.material.clips[k], Forger(plan.config), plan.config
    possible = forger.labels(piece)
    if not possible:
        raise InputError("has neither a face nor speech that could be forged")
    order = np.random.default_rng([plan.seed, k, number]).permutation(possible)
    # The first variant is authentic; so are as many of the others as the share of authentic clips asks for.
    spare = max(0.0, (config.real_share * config.variants - 1) / max(1, config.variants - 1))
    forged = 0
    for variant, name in enumerate(names):
        rng = np.random.default_rng([plan.seed, k, number, variant])
        label = 0 if variant == 0 or rng.random() < spare else int(order[forged % len(order)])
        forged += label > 0
        if _row_path(out, name).is_file():
            continue
        clip = forger.edit(piece, label, _donors(plan, source), rng)
        file = f"{source.split}/{name}.mp4"
        write_clip(
            out / file,
            clip.frames,
            clip.samples,
            fps=FPS,
            crf=int(rng.integers(config.crf[0], config.crf[1] + 1)),
            keyframe_every=int(rng.integers(config.keyframe_every[0], config.keyframe_every[1] + 1)),
            audio_bit_rate=1000 * int(rng.integers(config.audio_kbps[0], config.audio_kbps[1] + 1)),
        )
        modalities = {segment.modality for segment in clip.segments}
        row = SynthesizedClip(
            file=file,
            identity=source.identity,
            group=source.group,
            split=source.split,
            label=("visual" in modalities) + 2 * ("audio" in modalities),
            segments=clip.segments,
            shams=clip.shams,
            original=f"{source.split}/{names[0]}.mp4" if clip.segments else None,
            source=source.path.relative_to(plan.material.root).as_posix(),
            source_start_s=number * config.clip_s[1],
            video_frames=len(clip.frames) if clip.frames is not None else 0,
            audio_samples=len(clip.samples) if clip.samples is not None else 0,
        )
        # The row comes last: a clip without one is made again.
        with replacing(_row_path(out, name), durable=False) as path:
            path.write_text(json.dumps(asdict(row)) + "\n", encoding="utf-8")


def _donors(plan: Plan, source: Source) -> Donors:
    """Other people of the same split: a face or a voice of an evaluation split never occurs in training."""
    faces = [clip.path for clip in plan.material.clips if clip.pixels and _lends(clip, source)]
    voices = [voice.path for voice in plan.material.voices if _lends(voice, source)]
    return Donors(
        face=lambda rng: _drawn(faces, rng, _face_clip),
        # Voices of their own come first; without them the sound of other clips.
        voice=lambda rng: _drawn(voices if voices else faces, rng, _sound),
    )


def _lends(other: Source | Voice, source: Source) -> bool:
    return other.split == source.split and other.identity != source.identity


def _drawn(
    paths: Sequence[Path], rng: np.random.Generator, read: Callable[[Path], Lent | None]
) -> Lent | None:
    """What `read` makes of one of `paths`; several are tried, since some may be unreadable or lack what is wanted."""
    for k in rng.permutation(len(paths))[:8]:
        try:
            found = read(paths[k])
        except ForensicError:
            continue
        if found is not None:
            return found
    return None


@lru_cache(maxsize=64)
def _sound(path: Path) -> NDArray[np.float32] | None:
    return read_sound(path, _DECODE)


@lru_cache(maxsize=8)
def _face_clip(path: Path) -> FaceClip | None:
    frames, _ = next(read_pieces(path, _DECODE, DONOR_S, DONOR_SIDE), (None, None))
    boxes = track_face(frames) if frames is not None else None
    return FaceClip(frames, boxes) if frames is not None and boxes is not None else None


def _row_path(out: Path, name: str) -> Path:
    return out / ROWS / f"{name}.json"


def _keep_recipe(plan: Plan, out: Path) -> None:
    """Refuse to mix two data sets in one folder, and clear away what a killed run left half-written."""
    recipe = {
        "seed": plan.seed,
        "splits": list(plan.splits),
        "settings": plan.config.model_dump(mode="json"),
        "sources": [
            [clip.path.relative_to(plan.material.root).as_posix(), clip.identity, clip.split, clip.pieces]
            for clip in plan.material.clips
        ],
    }
    text = json.dumps(recipe, indent=1) + "\n"
    path = out / RECIPE
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise UsageError(
            "holds a data set of another seed, other settings or other clips",
            out,
            "choose an empty folder with --out",
        )
    if not path.is_file():
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    for split in SPLITS:
        for unfinished in (out / split).glob(".*.mp4.*"):
            unfinished.unlink()
