"""How exactly the edges of forged sound can be placed: on the grid of 40 ms, between its steps, and on one of 10 ms.

    python benchmarks/edges.py --dataset benchmark/known --dataset benchmark/genuine-dev

Spans of the forger begin and end on the grid, so the first part of a step is cut off each clip's sound by chance. The
sound is then extracted four times, each 10 ms later. An edge is looked for within 0.1 s of where it is, so that only
its exactness counts: at the strongest onset or offset of the usual grid, at the vertex of the parabola through that
step and its neighbours, at the strongest of the four grids taken as one, and at their strongest mean over a step.
Prints the median error of each, that of the nearest point of the grid, that of chance, and that of the segments that
the shipped decision finds (the likeliest with a tIoU of 0.5), on the grid and as they are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from networks import Nobody
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from configs.schema import TrackDecision
from data.audio import FRAME_SAMPLES
from data.labels import EVIDENCE, FPS
from data.manifest.sidecar import SynthesizedClip, read_sidecar
from data.timeline import Interval
from extractors.base import Extractor
from pipeline.bundle import bundle_config, extraction, weights_folder
from pipeline.evaluation.metrics.boundaries import MET
from pipeline.evaluation.result import grid
from pipeline.localization.scores import Evidence
from pipeline.localization.segments import prepare, segments, vertex
from pipeline.media.whole import DECODE, read_sound

Floats = NDArray[np.float64]

SHIFTS = 4
"""Grids, each a quarter of a step later than the one before."""

NEAR_S = 0.1
"""An edge is looked for so far to either side."""

_STEP_WIDE = np.array([0.5, *(1.0,) * (SHIFTS - 1), 0.5]) / SHIFTS
_EDGES = (EVIDENCE.index("onset"), EVIDENCE.index("offset"))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", type=Path, action="append", required=True)
    parser.add_argument("--split", default="dev", choices=("train", "dev", "test"))
    asked = parser.parse_args()
    weights = weights_folder("compact")
    extractor, decision = (
        extraction(weights, "cpu").extractors.audio,
        bundle_config(weights).localize.decision,
    )
    assert decision is not None
    assert decision.audio is not None
    rng = np.random.default_rng(0)
    errors: dict[str, list[float]] = {}
    for root in asked.dataset:
        for clip in read_sidecar(root):
            if clip.split == asked.split and clip.audio_samples and edges_of(clip):
                for name, error in placed(root, clip, extractor, decision.audio, rng):
                    errors.setdefault(name, []).append(error)
    rows = [[name, f"{1000 * np.median(each):.0f}", str(len(each))] for name, each in errors.items()]
    print("\n".join(grid([["edge placed at", "median error, ms", "edges"], *rows])))


def edges_of(clip: SynthesizedClip) -> list[tuple[int, float]]:
    """Kind (0 begins, 1 ends) and second of the edges of forged sound that lie within a clip."""
    end_s = clip.audio_samples / DECODE.sample_rate
    spans = [(one.start_s, one.end_s) for one in clip.segments if one.modality == "audio"]
    return [
        (kind, at) for span in spans for kind, at in enumerate(span) if 2 * NEAR_S < at < end_s - 2 * NEAR_S
    ]


def placed(
    root: Path, clip: SynthesizedClip, extractor: Extractor, decision: TrackDecision, rng: np.random.Generator
) -> Iterator[tuple[str, float]]:
    """Name of a way, and its error in seconds, for each edge of a clip."""
    sound = read_sound(root / clip.file, DECODE)
    assert sound is not None
    cut = int(rng.integers(FRAME_SAMPLES))
    step = FRAME_SAMPLES // SHIFTS
    told = [told_of(extractor, sound[cut + k * step :]) for k in range(SHIFTS)]
    shifted = [edges_told(*each) for each in told]
    usual, fine = shifted[0], _interleaved(shifted)
    smooth = np.stack([np.convolve(fine[:, k], _STEP_WIDE, "same") for k in (0, 1)], axis=1)
    for kind, at_s in edges_of(clip):
        truth_s = at_s - cut / DECODE.sample_rate
        near = truth_s + np.array([-NEAR_S, NEAR_S])
        for name, values, rate, between in (
            ("a step of 40 ms", usual, FPS, False),
            ("the vertex between steps", usual, FPS, True),
            ("a step of 10 ms", fine, FPS * SHIFTS, False),
            ("a step of 10 ms, means over 40 ms", smooth, FPS * SHIFTS, False),
        ):
            # An onset is told of the step that it begins, an offset of the one that it ends: 40 ms in every grid.
            there_s = strongest(values[:, kind], rate, near - kind / FPS, between) + kind / FPS
            yield name, abs(there_s - truth_s)
        yield "the nearest step of 40 ms", abs(truth_s - round(truth_s * FPS) / FPS)
        yield "chance", float(rng.uniform(0, NEAR_S))
    yield from found(clip, *told[0], decision, cut / DECODE.sample_rate)


def found(
    clip: SynthesizedClip, told: Evidence, valid: NDArray[np.bool_], decision: TrackDecision, cut_s: float
) -> Iterator[tuple[str, float]]:
    """The same for the bounds of the segments that are found in sound whose first `cut_s` seconds were cut off."""
    ranked = segments(prepare(told, valid, decision, between=True), decision.segment)
    for span in (one for one in clip.segments if one.modality == "audio"):
        truth = Interval(max(0.0, span.start_s - cut_s), span.end_s - cut_s)
        for one in ranked:
            if Interval(one.begins / FPS, one.ends / FPS).tiou(truth) >= MET:
                yield "a found segment, on the grid", abs(one.first / FPS - truth.start_s)
                yield "a found segment, on the grid", abs(one.stop / FPS - truth.end_s)
                yield "a found segment, as it is", abs(one.begins / FPS - truth.start_s)
                yield "a found segment, as it is", abs(one.ends / FPS - truth.end_s)
                break


def edges_told(told: Evidence, valid: NDArray[np.bool_]) -> Floats:
    """Log-odds (T, 2) that a step begins or ends a forged span; the least where nothing is told."""
    edges = told[:, _EDGES].astype(np.float64)
    return np.where(valid[:, None], edges, edges.min())


def told_of(extractor: Extractor, sound: NDArray[np.float32]) -> tuple[Evidence, NDArray[np.bool_]]:
    """What the extractor tells of each step (T, 4) of a sound, and which steps it judged (T,)."""
    kept = _Kept()
    session = extractor.session(FPS)
    session.push([(sound, np.ones(len(sound), np.bool_))], kept)
    session.finish()
    values, valid = np.concatenate(kept.values), np.concatenate(kept.valid)
    told = extractor.evidence(values)
    assert told is not None
    return told, valid


def _interleaved(shifted: Sequence[Floats]) -> Floats:
    least = min(map(len, shifted))
    return np.stack([values[:least] for values in shifted], axis=1).reshape(-1, 2)


def strongest(values: Floats, rate: int, near: Floats, between: bool) -> float:
    """Second at which `values` (T,), `rate` a second, are highest between the two of `near`."""
    first, stop = (round(at * rate) for at in near)
    first = max(0, first)
    k = first + int(np.argmax(values[first : stop + 1]))
    if not between or not 0 < k < len(values) - 1:
        return k / rate
    return (k + vertex(*values[k - 1 : k + 2].tolist())) / rate


class _Kept(Nobody):
    """A sink that keeps the steps."""

    def __init__(self) -> None:
        self.values: list[NDArray[np.floating]] = []
        self.valid: list[NDArray[np.bool_]] = []

    def append(self, values: NDArray[np.floating], valid: NDArray[np.bool_]) -> None:
        """See `extractors.base.Sink`."""
        self.values.append(values)
        self.valid.append(valid)


if __name__ == "__main__":
    main()
