"""Authentic clips in, a labelled data set in LAV-DF's layout out: forged spans are known to the frame.

What is made of which piece is planned first, so that file names, splits and draws depend on the seed alone; then
processes work through the sources, and a row beside each written clip lets an interrupted run go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from data.errors import ForensicError, InputError, UsageError
from data.files import write_json
from data.hook import Hook, silent
from data.labels import FPS
from data.manifest.sidecar import SynthesizedClip
from data.text import printable
from extractors.compact.faces import track_face
from pipeline.forging.files import (
    LEFT_OUT,
    alone_in,
    below,
    finished,
    keep_recipe,
    keep_row,
    read_clips,
    write_truth,
)
from pipeline.forging.forger import Donors, EditedClip, Forger, Piece
from pipeline.forging.harmless import Tracks
from pipeline.forging.lyra import neural_codec
from pipeline.forging.manipulations import FaceClip
from pipeline.forging.pairing import GeneratorOutputs, make_variant, read_outputs
from pipeline.forging.plan import Plan, estimate
from pipeline.forging.presentation import draw_chain, present
from pipeline.forging.sources import Source, Voice
from pipeline.forging.voices import speech_engines, synthetic_speech
from pipeline.forging.workers import in_workers
from pipeline.media.encode import H264, write_clip
from pipeline.media.whole import DECODE, read_pieces, read_sound

DONOR_S, DONOR_SIDE = 10.0, 256
"""Seconds and pixels of a clip that lends its face: enough for any segment, little enough to keep a few in memory."""

VOICE_S = 60.0
"""Seconds of a recording that lends its voice."""

Lent = TypeVar("Lent")
_LOG = logging.getLogger(__name__)


def synthesize(plan: Plan, out: Path, workers: int = 2, hook: Hook = silent) -> Path:
    """Make the clips of `plan` at `out` and return the path of the metadata.

    Clips without a usable face get audio forgeries only, clips without speech visual ones only, both say so; clips
    with neither are left out. An interrupted run goes on where it was; the same plan gives the same bytes.

    Raises UsageError when the disk is too small, a codec is missing or `out` holds another data set, InputError when no
    clip could be used.
    """
    space = estimate(plan, out)
    if space.needed_bytes > space.free_bytes:
        raise UsageError(
            f"{space.needed_bytes / 1e6:.0f} MB are needed, {space.free_bytes / 1e6:.0f} MB are free",
            out,
            "free space, choose another --out, or lower synthesize.variants",
        )
    neural_codec(plan.config.lyra)  # what it lacks is told now, not after minutes of work
    left_out = dict(plan.material.left_out)
    with alone_in(out):
        keep_recipe(plan, out)
        results = in_workers(partial(forge_source, plan, out=out), plan.sources, workers)
        for done, unused in enumerate(results, start=1):
            left_out |= unused
            hook("forge", done, len(plan.sources))
        return finish(plan, out, left_out)


def finish(plan: Plan, out: Path, left_out: dict[str, str]) -> Path:
    """Write the metadata and the sidecar of the clips that `out` has rows of; returns the metadata's path.

    Raises InputError when there is none.
    """
    clips = read_clips(out)
    if not clips:
        raise InputError(
            f"none of {len(left_out)} clips could be used", plan.material.root, "see the warnings above"
        )
    if not any(clip.label for clip in clips):
        _LOG.warning("%s: nothing was forged; all clips are authentic", out)
    write_json(out / LEFT_OUT, left_out)
    return write_truth(out, clips)


def forge_source(plan: Plan, k: int, out: Path) -> dict[str, str]:
    """Make the clips of source `k`; what could not be used, with the reason.

    Raises UsageError when `out` cannot be written.
    """
    source = plan.material.clips[k]
    name = below(plan, source.path)
    names = [plan.names_of(k, piece) for piece in range(source.pieces)]
    if all(finished(out, clip) for clips in names for clip in clips):
        return {}
    left_out: dict[str, str] = {}
    try:
        outputs = read_outputs(source, plan.config) if source.fakes is not None else None
        left_out |= outputs.refused if outputs is not None else {}
        pieces = read_pieces(source.path, DECODE, plan.config.clip_s[1], plan.config.short_side)
        read = 0
        for number, ((frames, samples), clips) in enumerate(zip(pieces, names, strict=False)):
            read = number + 1
            try:
                piece = _piece(frames, samples, source.path)
                if outputs is not None:
                    failed = _splice_piece(plan, k, number, piece, clips, out, outputs)
                else:
                    failed = _forge_piece(plan, k, number, piece, clips, out)
                if len(failed) == len(clips):
                    raise InputError(failed[clips[0]])
                for clip, reason in failed.items():
                    left_out[f"{name}#{number}: {clip}"] = reason
                    _LOG.warning("left out: one clip of %s: %s", printable(name), reason)
            except InputError as error:
                left_out[f"{name}#{number}"] = error.what
                _LOG.warning("left out: %s: %s", printable(name), error.what)
        if read < len(names):
            what = "ends before its length says" if read else "could not be decoded"
            raise InputError(what, source.path)
    except InputError as error:
        left_out[name] = error.what
        _LOG.warning("left out: %s", printable(str(error)))
    return left_out


def _piece(frames: NDArray[np.uint8] | None, samples: NDArray[np.float32] | None, path: Path) -> Piece:
    boxes = track_face(frames) if frames is not None else None
    piece = Piece(frames, samples, boxes)
    if frames is not None and boxes is None:
        _LOG.warning("%s: no usable face, so only its sound can be forged", printable(str(path)))
    if not piece.spoken:
        _LOG.warning("%s: no speech, so only its picture can be forged", printable(str(path)))
    return piece


def _forge_piece(
    plan: Plan, k: int, number: int, piece: Piece, names: Sequence[str], out: Path
) -> dict[str, str]:
    """Write the clips of one piece; names of those that could not be made, with the reason."""
    source, forger, config = plan.material.clips[k], Forger(plan.config), plan.config
    possible = forger.labels(piece)
    if not possible:
        raise InputError("has neither a face nor speech that could be forged")
    order = np.random.default_rng([plan.seed, k, number]).permutation(possible)
    # The first variant is authentic; so are as many of the others as the share of authentic clips asks for.
    spare = max(0.0, (config.real_share * config.variants - 1) / max(1, config.variants - 1))
    donors, failed, forged = _donors(plan, source), dict[str, str](), 0
    for variant, name in enumerate(names):
        rng = np.random.default_rng([plan.seed, k, number, variant])
        label = 0 if variant == 0 or rng.random() < spare else int(order[forged % len(order)])
        forged += label > 0
        if finished(out, name) is not None:
            continue
        try:
            clip = _edited(forger, piece, label, possible, donors, rng)
        except InputError as error:
            failed[name] = error.what
            continue
        _keep(plan, k, number, name, names[0], clip, rng, out)
    return failed


def _splice_piece(
    plan: Plan, k: int, number: int, piece: Piece, names: Sequence[str], out: Path, outputs: GeneratorOutputs
) -> dict[str, str]:
    """Write the clips of one piece of a source with fakes; names of those that could not be made, with the reason."""
    source, forger, failed = plan.material.clips[k], Forger(plan.config), dict[str, str]()
    for variant, name in enumerate(names):
        if finished(out, name) is not None:
            continue
        rng = np.random.default_rng([plan.seed, k, number, variant])
        try:
            clip = make_variant(forger, plan.config, source, outputs, piece, number, variant, rng)
        except InputError as error:
            failed[name] = error.what
            continue
        _keep(plan, k, number, name, names[0], clip, rng, out)
    return failed


def _keep(
    plan: Plan,
    k: int,
    number: int,
    name: str,
    original: str,
    clip: EditedClip,
    rng: np.random.Generator,
    out: Path,
) -> None:
    """Write one clip and its row, whatever its class by the same encoders."""
    source, config = plan.material.clips[k], plan.config
    file = f"{source.split}/{name}.mp4"
    tracks = present(Tracks(clip.frames, clip.samples), config, rng)
    chain = draw_chain(rng, config.crf) if config.presented else None
    write_clip(
        out / file,
        tracks.frames,
        tracks.samples,
        fps=FPS,
        crf=chain.crf if chain is not None else int(rng.integers(config.crf[0], config.crf[1] + 1)),
        keyframe_every=int(rng.integers(config.keyframe_every[0], config.keyframe_every[1] + 1)),
        audio_bit_rate=1000 * int(rng.integers(config.audio_kbps[0], config.audio_kbps[1] + 1)),
        form=chain.form if chain is not None else H264,
    )
    modalities = {segment.modality for segment in clip.segments}
    generated = source.fakes is not None and any(fake.path == source.path for fake in source.fakes)
    row = SynthesizedClip(
        file=file,
        identity=source.identity,
        group=source.group,
        split=source.split,
        label=("visual" in modalities) + 2 * ("audio" in modalities),
        segments=clip.segments,
        shams=clip.shams,
        original=f"{source.split}/{original}.mp4" if clip.segments and not generated else None,
        source=below(plan, source.path),
        source_start_s=number * config.clip_s[1],
        video_frames=len(clip.frames) if clip.frames is not None else 0,
        audio_samples=len(clip.samples) if clip.samples is not None else 0,
        size_bytes=(out / file).stat().st_size,
    )
    keep_row(out, row)


def _edited(
    forger: Forger,
    piece: Piece,
    label: int,
    possible: Sequence[int],
    donors: Donors,
    rng: np.random.Generator,
) -> EditedClip:
    """`piece` edited as `label` says, or as another forged class where no manipulation of that one fits."""
    wanted = [label, *(other for other in possible if label and other != label)]
    for choice in wanted[:-1]:
        try:
            return forger.edit(piece, choice, donors, rng)
        except InputError:
            continue
    return forger.edit(piece, wanted[-1], donors, rng)


def _donors(plan: Plan, source: Source) -> Donors:
    """Other people and machines of the same split: what lends to an evaluation split never occurs in training."""
    faces = [clip.path for clip in plan.material.clips if clip.pixels and _lends(clip, source)]
    voices = [voice.path for voice in plan.material.voices if _lends(voice, source)]
    engines = [
        engine
        for engine in speech_engines(plan.config.voices)
        if plan.config.split_of_generator(engine.name) in (None, source.split)
    ]
    return Donors(
        face=lambda rng: _drawn(faces, rng, _face_clip),
        # Voices of their own come first; without them the sound of other clips.
        voice=lambda rng: _drawn(voices if voices else faces, rng, _sound),
        machine=lambda rng, samples: synthetic_speech(rng, samples, engines),
    )


def _lends(other: Source | Voice, source: Source) -> bool:
    return other.split == source.split and other.identity != source.identity


def _drawn(
    paths: Sequence[Path], rng: np.random.Generator, read: Callable[[Path], Lent | None]
) -> Lent | None:
    """What `read` makes of one of `paths`; several are tried, since some may be unreadable or lack what is wanted."""
    for k in rng.permutation(len(paths))[:8]:
        try:
            material = read(paths[k])
        except ForensicError:
            continue
        if material is not None:
            return material
    return None


@lru_cache(maxsize=64)
def _sound(path: Path) -> NDArray[np.float32] | None:
    samples = read_sound(path, DECODE)
    # A copy: a slice would keep the whole recording in memory.
    return samples[: round(VOICE_S * DECODE.sample_rate)].copy() if samples is not None else None


@lru_cache(maxsize=8)
def _face_clip(path: Path) -> FaceClip | None:
    frames, _ = next(read_pieces(path, DECODE, DONOR_S, DONOR_SIDE), (None, None))
    boxes = track_face(frames) if frames is not None else None
    return FaceClip(frames, boxes) if frames is not None and boxes is not None else None
