"""Conditions that training has not seen: the clips of a split in other codecs, sizes and rates, edited, and joined.

Each condition is a data set of its own in LAV-DF's layout, with the truth of the clips that it is made of.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data.conditions import LONG_COPIES, LONG_S
from data.errors import InputError, UsageError
from data.hook import Hook, silent
from data.manifest import Manifest, samples_of
from data.manifest.sidecar import EditedSegment, SynthesizedClip, read_sidecar
from pipeline.forging.files import alone_in, finished, keep_row, read_clips, same_recipe, write_truth
from pipeline.forging.harmless import FPS, Tracks, edited, read_tracks
from pipeline.forging.long import plan_long, write_long
from pipeline.forging.workers import in_workers
from pipeline.media.encode import H264, Format, write_clip

Frames = NDArray[np.uint8]
_LOG = logging.getLogger(__name__)

COPIES = 3
"""Differently edited copies of each authentic clip."""


@dataclass(frozen=True)
class Rewrite:
    """How every clip of a split is written again, with the same labels and intervals.

    `short_side` scales the picture to that many pixels, its shape kept; `fps` repeats or leaves out frames.
    """

    form: Format = H264
    crf: int = 23
    audio_kbps: int = 64
    short_side: int | None = None
    fps: int = FPS


_X265 = "log-level=none:pools=none:frame-threads=1"
REWRITES = {
    "hevc": Rewrite(Format("libx265", options=(("preset", "veryfast"), ("x265-params", _X265))), crf=28),
    "vp9": Rewrite(
        Format("libvpx-vp9", "libopus", "webm", (("b", "0"), ("deadline", "good"), ("cpu-used", "5"))),
        crf=36,
    ),
    "av1": Rewrite(
        Format("libsvtav1", "libopus", options=(("preset", "9"), ("svtav1-params", "lp=1"))), crf=40
    ),
    "mpeg4": Rewrite(Format("mpeg4", "libmp3lame", options=(("qmax", "8"),), quality="qmin"), crf=8),
    "recompressed": Rewrite(crf=36, audio_kbps=24),
    "up720": Rewrite(short_side=720),
    "down144": Rewrite(short_side=144),
    "fps30": Rewrite(fps=30),
    "fps15": Rewrite(fps=15),
}

CONDITIONS = (*REWRITES, "harmless", "long")


@dataclass(frozen=True)
class Batch:
    """The clips of one condition: those of `split` below `root`, and which of them go into which file."""

    condition: str
    root: Path
    split: str
    clips: tuple[SynthesizedClip, ...]
    files: tuple[tuple[str, tuple[int, ...]], ...]
    seed: int

    def path(self, k: int) -> Path:
        """Where clip `k` lies."""
        return self.root / self.clips[k].file


def plan(
    condition: str,
    root: Path,
    split: str,
    seed: int = 0,
    long_s: float = LONG_S,
    long_copies: int = LONG_COPIES,
) -> Batch:
    """Plan the files of `condition` from the clips of `split` at `root`, a data set of `pipeline synthesize`.

    Raises InputError when metadata or sidecar is absent or damaged, UsageError when there is no such condition or
    the split lacks the clips that it needs.
    """
    if condition not in CONDITIONS:
        raise UsageError(f"there is no condition '{condition}'", fix=f"known are {', '.join(CONDITIONS)}")
    named = {sample.file.as_posix() for sample in samples_of(Manifest.lavdf(root), split)}
    clips = tuple(clip for clip in read_sidecar(root) if clip.file in named)
    every = range(len(clips))
    authentic = [k for k in every if not clips[k].label]
    if not every:
        raise InputError(f"its sidecar names no clip of the split '{split}'", root, "make the set again")
    if condition in ("harmless", "long") and not authentic:
        raise UsageError(f"the split '{split}' has no authentic clip", root, "choose another --split")
    rng = np.random.default_rng([seed, CONDITIONS.index(condition)])
    files: list[tuple[str, tuple[int, ...]]]
    match condition:
        case "harmless":
            files = [(f"{_stem(clips[k])}_{copy}", (k,)) for k in authentic for copy in range(COPIES)]
        case "long":
            files = plan_long(clips, rng, long_s, long_copies)
        case _:
            files = [(_stem(clip), (k,)) for k, clip in enumerate(clips)]
    return Batch(condition, root, split, clips, tuple(files), seed)


def _stem(clip: SynthesizedClip) -> str:
    return Path(clip.file).stem


def make_condition(batch: Batch, out: Path, workers: int = 1, hook: Hook = silent) -> Path | None:
    """Make the set of `batch` at `out` and return the path of its metadata; None where FFmpeg lacks an encoder.

    What is there is not made again; the same clips and seed give the same bytes.

    Raises UsageError when `out` holds another set or cannot be written, InputError when a clip cannot be read.
    """
    rewrite = REWRITES.get(batch.condition, Rewrite())
    if rewrite.form.missing:
        _LOG.warning(
            "left out: %s: this FFmpeg has no encoder %s", batch.condition, ", ".join(rewrite.form.missing)
        )
        return None
    recipe = {
        "condition": batch.condition,
        "settings": asdict(rewrite),
        "seed": batch.seed,
        "clips": [[clip.file, clip.size_bytes] for clip in batch.clips],
        "files": [[name, list(parts)] for name, parts in batch.files],
    }
    with alone_in(out):
        same_recipe(out, recipe, "another condition or other clips")
        made = in_workers(partial(make_file, batch, out=out), range(len(batch.files)), workers)
        for done, _ in enumerate(made, start=1):
            hook(batch.condition, done, len(batch.files))
        return write_truth(out, read_clips(out))


def make_file(batch: Batch, number: int, out: Path) -> str:
    """Write file `number` of `batch` below `out`, and its row, unless both are there; returns its name.

    Raises InputError when a clip cannot be read, UsageError when `out` cannot be written.
    """
    name, _ = batch.files[number]
    if (done := finished(out, name)) is not None:
        return done.file
    make: Callable[[Batch, int, Path], SynthesizedClip] = {"harmless": _edit, "long": _join}.get(
        batch.condition, _rewrite
    )
    ending = REWRITES.get(batch.condition, Rewrite()).form.container
    file = f"{batch.split}/{name}.{ending}"
    row = make(batch, number, out / file)
    keep_row(out, replace(row, file=file, size_bytes=(out / file).stat().st_size))
    return file


# --- every clip anew --------------------------------------------------------------------------------------------------


def _rewrite(batch: Batch, number: int, path: Path) -> SynthesizedClip:
    how = REWRITES[batch.condition]
    (k,) = batch.files[number][1]
    clip = read_tracks(batch.path(k))
    images = resampled(clip.frames, how.fps, how.short_side) if clip.frames is not None else None
    rate = 1000 * how.audio_kbps
    write_clip(path, images, clip.samples, how.fps, how.crf, audio_bit_rate=rate, form=how.form)
    row = batch.clips[k]
    original = Path(row.original).with_suffix(path.suffix).as_posix() if row.original is not None else None
    return replace(row, original=original)


def resampled(frames: Frames, fps: int, short_side: int | None = None) -> Iterator[Frames]:
    """Frames (N, H, W, 3) at 25 fps as images at `fps`, none of them blended, scaled to even sizes of `short_side`."""
    height, width = frames.shape[1:3]
    scale = short_side / min(height, width) if short_side is not None else 1.0
    size = round(width * scale / 2) * 2, round(height * scale / 2) * 2
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    for k in range(max(1, round(len(frames) * fps / FPS))):
        # The picture that is on screen in the middle of the new frame.
        image = frames[min(int((k + 0.5) * FPS / fps), len(frames) - 1)]
        yield cv2.resize(image, size, interpolation=method) if short_side is not None else image


# --- harmless edits ---------------------------------------------------------------------------------------------------


def _edit(batch: Batch, number: int, path: Path) -> SynthesizedClip:
    (k,) = batch.files[number][1]
    row, clip = batch.clips[k], read_tracks(batch.path(k))
    others = [j for j, other in enumerate(batch.clips) if not other.label and j != k]
    kin = [j for j in others if batch.clips[j].identity == row.identity]

    def lend(rng: np.random.Generator) -> Tracks:
        among = kin if kin and rng.random() < 0.5 else others
        for j in rng.permutation(among):
            other = _tracks(batch.path(j))
            if (other.frames is None, other.samples is None) == (clip.frames is None, clip.samples is None):
                return other
        return clip

    rng = np.random.default_rng([batch.seed, CONDITIONS.index(batch.condition), number])
    made, done = edited(clip, rng, lend)
    write_clip(path, made.frames, made.samples)
    # Edits that forge nothing are what a sidecar calls shams; these span the whole clip.
    shams = [EditedSegment(0.0, made.length / FPS, track, name) for track, name in done]
    return replace(
        row,
        shams=tuple(shams),
        source=row.file,
        source_start_s=0.0,
        video_frames=len(made.frames) if made.frames is not None else 0,
        audio_samples=len(made.samples) if made.samples is not None else 0,
    )


def _join(batch: Batch, number: int, path: Path) -> SynthesizedClip:
    name, order = batch.files[number]
    return write_long(name, batch.split, batch.clips, batch.root, order, path)


@lru_cache(maxsize=8)
def _tracks(path: Path) -> Tracks:
    return read_tracks(path)
