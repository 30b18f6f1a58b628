"""Long videos joined from the clips of a set: takes, jump cuts, panels, people in turns and news, authentic or with one
forged span of one person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.audio import FRAME_SAMPLES
from data.conditions import LONG_COPIES
from data.errors import UsageError
from data.labels import FPS
from data.manifest.sidecar import Appearance, EditedSegment, SynthesizedClip
from pipeline.forging.harmless import fitted
from pipeline.media.encode import write_clip
from pipeline.media.inspect import inspect
from pipeline.media.whole import DECODE, read_frames, read_sound

Frames = NDArray[np.uint8]

KINDS = ("take", "jumps", "panel", "turns", "news")
"""`take`: clips of one person one after the other; `jumps`: the same, with the middle of each left out; `panel`: two to
four people side by side, one of whom is heard at a time; `turns`: the same people one after the other, each filling the
picture; `news`: clips of everybody."""

_FEWEST, _MOST = 2, 4  # people of a panel
_JUMP = (0.4, 0.6)  # shares of a clip between which it is left out


@dataclass(frozen=True)
class _Piece:
    """Steps ``first .. stop - 1`` of the clips that are seen side by side; the sound is that of clip `heard`."""

    clips: tuple[int, ...]
    heard: int
    first: int
    stop: int


def plan_long(
    clips: Sequence[SynthesizedClip], rng: np.random.Generator, least_s: float, copies: int = LONG_COPIES
) -> list[tuple[str, tuple[int, ...]]]:
    """Names of the long videos, and the clips heard in each, in order: `copies` of each kind with a forged
    span and without, of `least_s` seconds.

    A name is the kind, what is in it, and a number, as in ``panel_forged_0``. Raises UsageError when the clips are of
    fewer than two people, or none of them is forged in one span and of a person with an authentic clip.
    """
    people: dict[str, list[int]] = {}
    for k, clip in enumerate(clips):
        if not clip.label and clip.video_frames and clip.audio_samples:
            people.setdefault(clip.identity, []).append(k)
    forged = [k for k, clip in enumerate(clips) if _one_span(clip) and clip.identity in people]
    if len(people) < _FEWEST or not forged:
        problem = "long videos need authentic clips of two people, and one of them forged in one span"
        raise UsageError(problem, fix="choose another --split, or a set with more clips")
    files = []
    for kind in KINDS:
        for content in ("real", "forged"):
            for copy in range(copies):
                extra = int(rng.choice(forged)) if content == "forged" else None
                chosen = _people(
                    kind, list(people), rng, clips[extra].identity if extra is not None else None
                )
                order = _order(clips, {name: people[name] for name in chosen}, rng, least_s)
                if extra is not None:
                    order[int(rng.integers(len(order)))] = extra
                files.append((f"{kind}_{content}_{copy}", tuple(order)))
    return files


def _one_span(clip: SynthesizedClip) -> bool:
    return bool(clip.video_frames) and len({(s.start_s, s.end_s) for s in clip.segments}) == 1


def _people(kind: str, names: list[str], rng: np.random.Generator, needed: str | None) -> list[str]:
    """Who is in a video of `kind`; one who is `needed` is."""
    most = {"take": 1, "jumps": 1, "news": len(names)}.get(kind, int(rng.integers(_FEWEST, _MOST + 1)))
    order = [names[k] for k in rng.permutation(len(names))]
    if needed is not None:
        order = [needed, *(name for name in order if name != needed)]
    return sorted(order[:most])


def _order(
    clips: Sequence[SynthesizedClip], people: dict[str, list[int]], rng: np.random.Generator, least_s: float
) -> list[int]:
    """Clips that last `least_s` together, of another person than the one before where there are several; the clips of a
    person come again in another order where they are too few."""
    waiting: dict[str, list[int]] = {name: [] for name in people}
    order: list[int] = []
    lasts_s = 0.0
    while lasts_s < least_s:
        last = clips[order[-1]].identity if order else None
        name = str(rng.choice([name for name in people if name != last] or list(people)))
        waiting[name] = waiting[name] or [people[name][k] for k in rng.permutation(len(people[name]))]
        order.append(waiting[name].pop())
        lasts_s += steps_of(clips[order[-1]]) / FPS
    return order


def steps_of(clip: SynthesizedClip) -> int:
    """Length of a clip in frames at 25 fps."""
    return max(clip.video_frames, -(-clip.audio_samples // FRAME_SAMPLES))


def write_long(
    name: str, split: str, rows: Sequence[SynthesizedClip], root: Path, order: Sequence[int], path: Path
) -> SynthesizedClip:
    """Write the video called `name` of clips `order` of `rows`, which lie below `root`, to `path`; returns its row.

    Forged spans name the person, and `appearances` say who is seen where and when. Raises InputError when a clip cannot
    be read.
    """
    kind = name.split("_")[0]
    pieces = _pieces(kind, rows, order)
    firsts = np.cumsum([0, *(piece.stop - piece.first for piece in pieces)]).tolist()
    shown = sorted({k for piece in pieces for k in piece.clips})
    sizes = [size for k in shown if (size := _size(root / rows[k].file)) is not None]
    height, width = np.max(sizes, axis=0).tolist()
    columns = max(len(piece.clips) for piece in pieces)
    images = (image for piece in pieces for image in _images(piece, rows, root, height, width))
    sound = np.concatenate([_heard(piece, root / rows[piece.heard].file) for piece in pieces])
    write_clip(path, images, sound)
    segments, shams = (
        tuple(
            placed
            for at, piece in zip(firsts[:-1], pieces, strict=True)
            for k in piece.clips
            for one in getattr(rows[k], edits)
            if k == piece.heard or one.modality == "visual"
            if (placed := _placed(one, piece, at, rows[k].identity)) is not None
        )
        for edits in ("segments", "shams")
    )
    tracks = {one.modality for one in segments}
    return SynthesizedClip(
        file="",
        identity=name,
        group=kind,
        split=split,
        label=("visual" in tracks) + 2 * ("audio" in tracks),
        segments=segments,
        shams=shams,
        original=None,
        source=" ".join(rows[k].file for k in order),
        source_start_s=0.0,
        video_frames=firsts[-1],
        audio_samples=firsts[-1] * FRAME_SAMPLES,
        size_bytes=0,
        appearances=tuple(
            Appearance(rows[k].identity, at / FPS, end / FPS, (column / columns, 0.0, 1 / columns, 1.0))
            for at, end, piece in zip(firsts[:-1], firsts[1:], pieces, strict=True)
            for column, k in enumerate(piece.clips)
        ),
    )


def _pieces(kind: str, rows: Sequence[SynthesizedClip], order: Sequence[int]) -> list[_Piece]:
    pieces = []
    names = sorted({rows[k].identity for k in order})
    # Who is not heard yet, or in the forged clip alone, is seen in another clip meanwhile.
    latest = {row.identity: k for k, row in enumerate(rows) if not row.label and row.video_frames}
    latest |= {rows[k].identity: k for k in reversed(order) if not rows[k].label}
    for k in order:
        steps = steps_of(rows[k])
        if kind == "jumps" and not rows[k].label:
            pieces.append(_Piece((k,), k, 0, round(_JUMP[0] * steps)))
            pieces.append(_Piece((k,), k, round(_JUMP[1] * steps), steps))
        elif kind == "panel":
            seen = {**latest, rows[k].identity: k}
            pieces.append(_Piece(tuple(seen[name] for name in names), k, 0, steps))
            if not rows[k].label:
                latest[rows[k].identity] = k
        else:
            pieces.append(_Piece((k,), k, 0, steps))
    return [piece for piece in pieces if piece.stop > piece.first]


def _placed(one: EditedSegment, piece: _Piece, at: int, person: str) -> EditedSegment | None:
    """An edit of a clip at its time in the video, of which `piece` begins at step `at`; None where it is not shown."""
    start_s = max(one.start_s, piece.first / FPS)
    end_s = min(one.end_s, piece.stop / FPS)
    if end_s <= start_s:
        return None
    shift_s = (at - piece.first) / FPS
    return replace(one, start_s=round(start_s + shift_s, 6), end_s=round(end_s + shift_s, 6), person=person)


def _images(
    piece: _Piece, rows: Sequence[SynthesizedClip], root: Path, height: int, width: int
) -> Iterator[Frames]:
    """The pictures of a piece: clips side by side, each in the middle of black; a shorter one runs back and forth."""
    shown = [_frames(root / rows[k].file) for k in piece.clips]
    for step in range(piece.first, piece.stop):
        row = []
        for frames in shown:
            if len(shown) == 1 and step >= len(frames):
                row.append(np.zeros((height, width, 3), np.uint8))
                continue
            turn = step % max(1, 2 * len(frames) - 2)
            row.append(fitted(frames[min(turn, 2 * len(frames) - 2 - turn)], height, width, enlarge=False))
        yield np.concatenate(row, axis=1)


@lru_cache(maxsize=8)
def _frames(path: Path) -> Frames:
    frames = read_frames(path, DECODE)
    assert frames is not None  # the plan takes clips with a picture
    return frames


def _size(path: Path) -> tuple[int, int] | None:
    video = inspect(path, DECODE.max_pixels, DECODE.max_duration_s).video
    return (video.height, video.width) if video is not None else None


def _heard(piece: _Piece, path: Path) -> NDArray[np.float32]:
    """The sound of a piece, with silence where its clip has ended."""
    first, stop = piece.first * FRAME_SAMPLES, piece.stop * FRAME_SAMPLES
    heard = read_sound(path, DECODE)
    samples = heard[first:stop] if heard is not None else np.zeros(0, np.float32)
    return np.pad(samples, (0, stop - first - len(samples)))
