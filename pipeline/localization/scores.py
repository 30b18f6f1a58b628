"""The types of localization: windows, scores of a clip, forged intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.labels import ABSTAINED, CLASSES, REAL
from data.timeline import TimeGrid
from pipeline.localization.stretches import Stretch

MODALITY = {"visual": "visual", "audio": "audio", "joint": "both"}
"""What an interval of each branch says is forged; also the class that routes to the branch."""


Verdict = Literal["forged", "undecided", "not_found", "not_assessable"]
"""What is concluded of a clip: forged; evidence, but too little at the promised rate of false alarms; none found;
or nothing that could be judged."""

Curve = NDArray[np.float32]

Evidence = NDArray[np.float32]
"""Log-odds by step (T, 4), in the order of `data.labels.EVIDENCE`."""


class BranchCurves(NamedTuple):
    """How likely each step is forged, (T,) by branch; None for a track that was not judged."""

    visual: Curve | None
    audio: Curve | None
    joint: Curve


EvidenceReader = Callable[[NDArray[np.floating]], Evidence | None]
"""What reads the evidence (N, 4) of a track out of its vectors (N, C)."""

BRANCHES = ("visual", "audio", "joint")
"""Branches by the class that routes to them: CLASSES[1:], in order (paper 3.1)."""


@dataclass(frozen=True)
class Window:
    """Steps ``first .. stop - 1`` and the calibrated probabilities of their classes, in the order of CLASSES.

    `raw`: uncalibrated probabilities, where they differ.
    """

    first: int
    stop: int
    probabilities: tuple[float, ...]
    raw: tuple[float, ...] | None = None

    @property
    def uncalibrated(self) -> tuple[float, ...]:
        """The uncalibrated probabilities."""
        return self.raw if self.raw is not None else self.probabilities

    @property
    def predicted(self) -> str:
        """Most probable class."""
        return CLASSES[int(np.argmax(self.probabilities))]


@dataclass(frozen=True)
class ClipScores:
    """The scores of every step of a clip.

    Shapes: curves are (T,) float32 on `grid`. `visual`, `audio` and `joint` hold how likely a step is forged,
    by branch; `visual_error` and `audio_error` ‖F − F̂‖₂, None from a model that reconstructs nothing; what
    belongs to a track that the clip lacks, or that is not assessable, is None. `valid` (T,) bool by branch: media
    stood behind the step, and was judged. `usable_s`: seconds of valid steps by track, not assessable ones included.
    `evidence` (T, 4) by judged track is what its extractor says of each step, if anything; 0 at invalid ones.
    `routed` holds, by branch, the curve where only the windows count whose predicted class routes to it: the
    answer of the paper's routing, carried over to any length. Without any `windows` nothing could be judged.
    `spans`, best first, are what a method that finds segments itself has found; None from any other.
    `stretches` are those of each track that are judged as clips of their own, see `pipeline.localization.stretches`.
    `people` are the scores of each person who could be judged, by number, with the clip's sound: their picture is
    that person's alone. Of a clip with one person there is one, whose scores are the clip's.
    """

    grid: TimeGrid
    visual: Curve | None
    audio: Curve | None
    joint: Curve
    visual_error: Curve | None
    audio_error: Curve | None
    valid: dict[str, NDArray[np.bool_]]
    routed: dict[str, Curve]
    windows: tuple[Window, ...]
    usable_s: Mapping[str, float] = field(default_factory=dict)
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    spans: tuple[ForgedInterval, ...] | None = None
    stretches: Mapping[str, tuple[Stretch, ...]] = field(default_factory=dict)
    people: Mapping[int, ClipScores] = field(default_factory=dict)

    def stretches_of(self, name: str) -> tuple[Stretch, ...]:
        """Half-open steps of the stretches of the track `name`; all of the clip where none are known."""
        return self.stretches.get(name) or ((0, self.grid.n),)

    def crop(self, first: int, stop: int) -> ClipScores:
        """The scores of steps ``first .. stop - 1``, with the windows whose middle lies there, or else the nearest."""

        def part(curve: Curve | None) -> Curve | None:
            return curve[first:stop] if curve is not None else None

        def away(window: Window) -> float:
            middle = (window.first + window.stop - 1) / 2
            return max(first - middle, middle - (stop - 1), 0.0)

        nearest = min(map(away, self.windows), default=0.0)
        return ClipScores(
            grid=self.grid.crop(first, stop),
            visual=part(self.visual),
            audio=part(self.audio),
            joint=self.joint[first:stop],
            visual_error=part(self.visual_error),
            audio_error=part(self.audio_error),
            valid={name: flags[first:stop] for name, flags in self.valid.items()},
            routed={name: curve[first:stop] for name, curve in self.routed.items()},
            windows=tuple(window for window in self.windows if away(window) <= nearest),
            usable_s=self.usable_s,
            evidence={name: values[first:stop] for name, values in self.evidence.items()},
        )

    @property
    def deciding(self) -> Window | None:
        """The window with the lowest P(real) among the windows predicted forged, or else among all.

        One forged window makes a clip forged, however many authentic ones surround it. None where there is none.
        """
        return min(self.windows, key=lambda w: (w.predicted == "real", w.probabilities[REAL]), default=None)

    @property
    def video_probabilities(self) -> tuple[float, ...] | None:
        """Those of the `deciding` window."""
        window = self.deciding
        return window.probabilities if window is not None else None

    @property
    def predicted(self) -> str:
        """Class of the clip, `ABSTAINED` where nothing could be judged."""
        window = self.deciding
        return window.predicted if window is not None else ABSTAINED


@dataclass(frozen=True, order=True)
class ForgedInterval:
    """A half-open forged span in seconds; `modality` is "visual", "audio" or "both", `score` in [0, 1].

    `person` is the number of the person whose picture is forged, 0 for sound and where it is not known.
    """

    start_s: float
    end_s: float
    modality: str
    score: float
    person: int = 0


@dataclass(frozen=True)
class Promise:
    """Of how many authentic clips at most `bound` (a share, with `confidence`) are called forged, and what it rests on.

    `alarms` of `clips` clips of `people` people raised one, none of whom the decision was fitted to;
    `population` names these clips in words, and `asked` is the share that was asked for (Clopper and Pearson, 1934).
    """

    asked: float
    bound: float
    confidence: float
    alarms: int
    clips: int
    people: int
    population: str


@dataclass(frozen=True)
class Thresholds:
    """The step scores that made the intervals: a run at or above `offset` counts if it reaches `onset`."""

    onset: float
    offset: float


@dataclass(frozen=True)
class Finding:
    """What is concluded of a clip; verdict, class, probability and intervals come from one computation and agree.

    `label` is "real" unless the verdict is "forged", then the class that the intervals show; `ABSTAINED` where nothing
    could be judged. `probability` is P(forged) for a clip as likely forged as not; None where nothing could be judged.
    From `line` on a clip is called forged, from `floor` on undecided. `strongest` is the segment that decides, also
    where it does not reach the line. `promise` is None where no false-alarm rate was certified. `probabilities` are
    those of CLASSES that the finding rests on, None where nothing could be judged. `people` is by number how likely
    the picture of each person is forged, who was judged by themself. `branches` are those that its intervals could
    come from, and `thresholds` those that made them; None where a decision on segments did.
    """

    verdict: Verdict
    label: str
    probability: float | None
    line: float
    floor: float
    intervals: tuple[ForgedInterval, ...]
    strongest: ForgedInterval | None = None
    promise: Promise | None = None
    probabilities: Mapping[str, float] | None = None
    people: Mapping[int, float] = field(default_factory=dict)
    branches: tuple[str, ...] = ()
    thresholds: Thresholds | None = None


def class_of(modalities: Iterable[str]) -> str:
    """The class of a clip whose forged segments are of these `modalities`, at least one."""
    kinds = set(modalities)
    return kinds.pop() if len(kinds) == 1 else "both"
