"""Step scores of a clip of any length: overlapping windows through the model, overlap-added."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from configs.schema import LocalizeConfig
from data.errors import InputError
from data.labels import CLASSES, EVIDENCE
from data.timeline import TimeGrid
from models.batch import Batch
from models.method import Method
from pipeline.localization.assess import assessable
from pipeline.localization.calibrate import calibrated
from pipeline.localization.scores import (
    BRANCHES,
    ClipScores,
    Curve,
    Evidence,
    EvidenceReader,
    ForgedInterval,
    Window,
)
from pipeline.localization.stretches import Stretch, handovers, stretches

if TYPE_CHECKING:
    from data.store.people import PersonReader
    from data.store.store import FeatureReader

    Reader = FeatureReader | PersonReader

T = TypeVar("T", bound="Reader")


def spans(n: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """Half-open windows that cover ``0 .. n - 1``; the last one ends at `n` and is as long as the others."""
    if n <= window:
        return [(0, n)]
    starts = [*range(0, n - window, window - overlap), n - window]
    return [(first, first + window) for first in starts]


def taper(length: int) -> Curve:
    """Triangular weights > 0: a window is surest in its middle, where it sees context on both sides."""
    ramp = np.arange(1, length + 1, dtype=np.float32)
    return np.minimum(ramp, ramp[::-1])


def score_clip(
    model: Method[Any],
    visual: FeatureReader | None,
    audio: FeatureReader | None,
    config: LocalizeConfig,
    device: torch.device | str = "cpu",
    hook: Callable[[str, int | None, int | None], None] | None = None,
    evidence_of: Mapping[str, EvidenceReader] | None = None,
    people: Mapping[int, PersonReader] | None = None,
) -> ClipScores:
    """Scores a clip window by window, in the memory of one window plus a few floats per step.

    No window spans a cut of the picture, or where there is none the change of a speaker; no stretch of the sound spans
    a cut from some people to others. Of a stretch that holds too little to judge nothing is judged.
    The shorter track counts as invalid beyond its end. A track too little of which is valid is not assessable and
    counts as absent; when that holds for all tracks, the model is not run. `evidence_of` reads the evidence of a track
    out of its vectors, see `pipeline.extraction.keys.Extractors`. Where several `people` can be judged each is scored
    by itself as well, by the same model and with the same sound. Raises InputError when there is
    no step at all, ValueError when the two grids differ in start or step.
    """
    seen = {number: reader.flags() for number, reader in (people or {}).items()}
    heard = handovers(visual.cuts if visual is not None else (), list(seen.values()))
    scores = _score(model, visual, audio, config, device, hook, evidence_of, heard)
    if not people or not scores.valid["visual"].any():
        return scores
    judged = {
        number: reader
        for number, reader in people.items()
        if assessable(seen[number], reader.grid.step, config)
    }
    if len(judged) == len(people) == 1:
        return replace(scores, people=dict.fromkeys(judged, scores))

    def alone(number: int, where: NDArray[np.bool_] | None) -> ClipScores:
        return _score(model, judged[number], audio, config, device, None, evidence_of, heard, where)

    each = {number: alone(number, seen[number]) for number in judged}
    # Of somebody who is never seen for long enough in one go nothing is judged.
    each = {number: own for number, own in each.items() if own.valid["visual"].any()}
    if len(each) == 1:
        (number,) = each
        own = alone(number, None)  # with the sound of the windows in which others are seen
        return replace(own, people={number: own})
    return replace(_shown(scores, each), people=each) if each else scores


def _shown(scores: ClipScores, people: Mapping[int, ClipScores]) -> ClipScores:
    """`scores` of a clip in whose picture nothing is judged but these `people`."""
    visual = np.logical_or.reduce([own.valid["visual"] for own in people.values()])
    evidence = {
        name: values * visual[:, None] if name == "visual" else values
        for name, values in scores.evidence.items()
    }
    valid = {**scores.valid, "visual": visual, "joint": visual | scores.valid["audio"]}
    return replace(scores, valid=valid, evidence=evidence)


def _score(
    model: Method[Any],
    visual: Reader | None,
    audio: FeatureReader | None,
    config: LocalizeConfig,
    device: torch.device | str,
    hook: Callable[[str, int | None, int | None], None] | None,
    evidence_of: Mapping[str, EvidenceReader] | None,
    heard: Sequence[int],
    where: NDArray[np.bool_] | None = None,
) -> ClipScores:
    """The scores of one picture track with the sound, whose stretches end where somebody else is `heard`.

    `where` (T,) leaves out windows in which it is never true.
    """
    readers = [reader for reader in (visual, audio) if reader is not None and reader.n > 0]
    if not readers:
        raise InputError("has nothing to analyse: neither track has a valid step")
    grid = max((reader.grid for reader in readers), key=lambda g: g.n)
    if any((reader.grid.start, reader.grid.step) != (grid.start, grid.step) for reader in readers):
        raise ValueError("visual and audio features have different time grids")
    usable_s: dict[str, float] = {}
    visual = _judged("visual", visual, config, usable_s)
    audio = _judged("audio", audio, config, usable_s)

    tracks: dict[str, Reader] = {
        name: reader for name, reader in (("visual", visual), ("audio", audio)) if reader is not None
    }
    ends: dict[str, Sequence[int]] = {"visual": (), "audio": heard}
    parts = {name: _parts(reader, ends[name], grid.n, config.window) for name, reader in tracks.items()}
    seams = next((reader.cuts for reader in tracks.values()), ())
    cuts = [
        (first + low, first + high)
        for first, stop in (stretches(grid.n, seams, grid.n) if parts else ())
        for low, high in spans(stop - first, config.window, config.overlap)
    ]
    if where is not None:
        cuts = [(first, stop) for first, stop in cuts if where[first:stop].any()]
    weight = np.zeros(grid.n, np.float32)
    for first, stop in cuts:
        weight[first:stop] += taper(stop - first)
    curves = {name: np.zeros(grid.n, np.float32) for name in (*BRANCHES, "visual_error", "audio_error")}
    routed = {name: np.zeros(grid.n, np.float32) for name in BRANCHES}
    valid = {name: np.zeros(grid.n, np.bool_) for name in BRANCHES}
    evidence: dict[str, Evidence] = {}
    windows = []
    unknown: set[str] = set()
    proposed: list[ForgedInterval] | None = None

    for done, (first, stop) in enumerate(cuts):
        batch = _read(model, visual, audio, first, stop)
        scores = model.score(batch.to(device))
        # Before anything reads them: routing, the report and every measure see the same numbers.
        raw = tuple(scores.video_probabilities[0].tolist())
        window = Window(first, stop, calibrated(raw, config.calibration), raw)
        windows.append(window)
        if scores.spans is not None:
            own = _own(cuts, done)
            proposed = (proposed or []) + list(
                _placed(scores.spans[0].float().cpu().numpy(), first, own, grid)
            )
        share = taper(stop - first) / weight[first:stop]  # exactly 1 where one window alone covers a step
        for name, curve in curves.items():
            values = getattr(scores, name)
            if values is None:
                unknown.add(name)
            else:
                curve[first:stop] += share * values[0].float().cpu().numpy()
        for name, label in zip(BRANCHES, CLASSES[1:], strict=True):
            if window.predicted == label:
                routed[name][first:stop] += share * getattr(scores, name)[0].float().cpu().numpy()
        valid["visual"][first:stop] = batch.visual_mask[0].numpy()
        valid["audio"][first:stop] = batch.audio_mask[0].numpy()
        for name, read in (evidence_of or {}).items():
            if name in tracks:
                said = read(getattr(batch, name)[0].numpy())
                if said is not None:
                    said_of_track = evidence.setdefault(name, np.zeros((grid.n, len(EVIDENCE)), np.float32))
                    said_of_track[first:stop] = said * valid[name][first:stop, None]
        if hook is not None:
            hook("score", done + 1, len(cuts))
    for name, several in parts.items():
        for first, stop in several if len(several) > 1 else ():
            if not assessable(valid[name][first : min(stop, tracks[name].n)], grid.step, config):
                valid[name][first:stop] = False
                if name in evidence:
                    evidence[name][first:stop] = 0
    valid["joint"] = valid["visual"] | valid["audio"]

    def of(track: Reader | None, name: str) -> Curve | None:
        shown = track is not None and name not in unknown and valid[name.removesuffix("_error")].any()
        return curves[name] if shown else None

    return ClipScores(
        grid=grid,
        visual=of(visual, "visual"),
        audio=of(audio, "audio"),
        joint=curves["joint"],
        visual_error=of(visual, "visual_error"),
        audio_error=of(audio, "audio_error"),
        valid=valid,
        routed=routed,
        windows=tuple(windows) if valid["joint"].any() else (),
        usable_s=usable_s,
        evidence={name: values for name, values in evidence.items() if valid[name].any()},
        stretches=parts,
        spans=_ranked(proposed if valid["joint"].any() else []) if proposed is not None else None,
    )


def _ranked(spans: list[ForgedInterval]) -> tuple[ForgedInterval, ...]:
    return tuple(sorted(spans, key=lambda one: -one.score))


def _own(cuts: list[tuple[int, int]], index: int) -> tuple[float, float]:
    """The steps of window `index` of which no overlapping window's middle is nearer; they tile the clip."""
    first, stop = cuts[index]
    middle = (first + stop) / 2
    before = cuts[index - 1] if index else (first, first)
    after = cuts[index + 1] if index + 1 < len(cuts) else (stop, stop)
    low = (sum(before) / 2 + middle) / 2 if before[1] > first else -np.inf
    high = (middle + sum(after) / 2) / 2 if after[0] < stop else np.inf
    return low, high


def _placed(
    rows: NDArray[np.float32], first: int, own: tuple[float, float], grid: TimeGrid
) -> Iterator[ForgedInterval]:
    """Segments (P, 3) of a window that begins at step `first`, those whose middle is its own, on the clip's clock."""
    start, step = float(grid.start), float(grid.step)
    for score, low, high in rows.tolist():
        if own[0] <= first + (low + high) / 2 < own[1]:
            yield ForgedInterval(start + (first + low) * step, start + (first + high) * step, "both", score)


def _judged(name: str, reader: T | None, config: LocalizeConfig, usable_s: dict[str, float]) -> T | None:
    """`reader` if enough of its track is valid to judge it; notes how many seconds are."""
    if reader is None:
        return None
    flags = reader.flags()
    usable_s[name] = float(flags.sum() * reader.grid.step)
    return reader if assessable(flags, reader.grid.step, config) else None


def _parts(reader: Reader, more: Sequence[int], n: int, longest: int) -> tuple[Stretch, ...]:
    """The stretches of a track, which end at its cuts and at `more`; the last one goes on to step `n` of the clip."""
    own = stretches(reader.n, sorted({*reader.cuts, *more}), longest)
    return *own[:-1], (own[-1][0], n)


def _read(
    model: Method[Any], visual: Reader | None, audio: FeatureReader | None, first: int, stop: int
) -> Batch:
    """One window as a batch of one video; what a track does not cover is zero and invalid."""

    def track(reader: Reader | None, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
        values = np.zeros((1, stop - first, dim), np.float32)
        mask = np.zeros((1, stop - first), np.bool_)
        end = min(stop, reader.n) if reader is not None else first
        if reader is not None and end > first:
            features = reader.read(first, end)
            values[0, : end - first], mask[0, : end - first] = features.values, features.valid
        return torch.from_numpy(values), torch.from_numpy(mask)

    visual_values, visual_mask = track(visual, model.config.visual_dim)
    audio_values, audio_mask = track(audio, model.config.audio_dim)
    return Batch(visual_values, audio_values, visual_mask, audio_mask, torch.zeros(1, dtype=torch.long))
