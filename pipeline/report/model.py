"""The report on one clip: findings, coverage and provenance."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from data.declared import Declared
from data.labels import NAMES
from data.media import Assessment, AudioStream, MediaInfo, OtherTrack, StreamCoverage, VideoStream
from data.people import Seen
from data.timeline import TimeGrid
from pipeline.localization.scores import Finding, ForgedInterval, Thresholds, Verdict

SCHEMA = "rt-deeploc/report@3"
"""Name and version of the JSON form."""

ERROR_SCHEMA = "rt-deeploc/error@1"
"""Name and version of the entry that stands for a file that could not be analysed."""

NOTE = "An indication, not proof."


@dataclass(frozen=True)
class InputFacts:
    """The analysed file, without the folder it lay in; times in seconds, streams as they were probed.

    `not_analysed` are its other picture and sound tracks.
    """

    name: str
    sha256: str
    size_bytes: int
    container: str
    origin_s: float
    duration_s: float | None
    video: VideoStream | None
    audio: AudioStream | None
    not_analysed: tuple[OtherTrack, ...] = ()

    def has_other(self, modality: str) -> bool:
        """Whether there is a track of "visual" or "audio" that was not analysed and may hold something."""
        kind = "audio" if modality == "audio" else "video"
        return any(track.kind == kind and track.evidence for track in self.not_analysed)

    @classmethod
    def of(cls, info: MediaInfo) -> InputFacts:
        """The facts of a probed file."""
        return cls(
            name=PurePath(info.path).name,
            sha256=info.sha256,
            size_bytes=info.size_bytes,
            container=info.container,
            origin_s=info.origin_s,
            duration_s=info.duration_s,
            video=info.video,
            audio=info.audio,
            not_analysed=info.others,
        )


@dataclass(frozen=True, eq=False)
class StepScores:
    """Curves on the clip's clock; NaN at steps that were not judged, None for a track that is absent or not assessable.

    Shapes: each (T,) float32 with ``T == grid.n``. `visual`, `audio` and `joint` are forged probabilities of the
    three branches, `visual_error` and `audio_error` the reconstruction errors of the two modalities.

    Raises ValueError when a curve has another length.
    """

    grid: TimeGrid
    visual: NDArray[np.float32] | None
    audio: NDArray[np.float32] | None
    joint: NDArray[np.float32]
    visual_error: NDArray[np.float32] | None
    audio_error: NDArray[np.float32] | None

    def __post_init__(self) -> None:
        for name, curve in self.curves().items():
            if curve is not None and curve.shape != (self.grid.n,):
                raise ValueError(f"curve '{name}' has shape {curve.shape}, the grid has {self.grid.n} steps")

    def curves(self) -> dict[str, NDArray[np.float32] | None]:
        """The five curves by name, in the order of the report."""
        return {
            "visual": self.visual,
            "audio": self.audio,
            "joint": self.joint,
            "visual_error": self.visual_error,
            "audio_error": self.audio_error,
        }


@dataclass(frozen=True)
class Provenance:
    """What produced the report: versions and weights by name, the settings' digest, device, precision and seed."""

    versions: Mapping[str, str]
    weights: Mapping[str, str]
    preset: str
    config_digest: str
    device: str
    dtype: str
    seed: int


@dataclass(frozen=True)
class RunClock:
    """The only part that differs between two runs: start in UTC, elapsed seconds, elapsed time per media time."""

    started_at: str
    elapsed_s: float
    real_time_factor: float | None

    @classmethod
    def since(cls, started_at: datetime.datetime, elapsed_s: float, duration_s: float | None) -> RunClock:
        """The clock of a run of `elapsed_s` over a clip of `duration_s`."""
        factor = elapsed_s / duration_s if duration_s else None
        return cls(started_at.isoformat(timespec="seconds"), elapsed_s, factor)


@dataclass(frozen=True, eq=False)
class Report:
    """All results for one clip.

    `finding` is what is concluded, and `route` the one asked for. `coverage` maps "visual" and "audio" to what was
    decoded of that track, None when there is none; `complete` says that the tracks present were decoded as far as the
    settings demand, and could be judged. `assessment` maps them to what could be judged, None for a track that is
    absent, or where it was not recorded. `declared`, what the file says of its origin, is None in a report that was
    written before it was part of it. `seen` are the people in the picture, nobody where the weights follow no faces;
    `finding.people` has those who were judged by themselves.
    """

    input: InputFacts
    finding: Finding
    route: str
    coverage: Mapping[str, StreamCoverage | None]
    warnings: tuple[str, ...]
    complete: bool
    scores: StepScores
    provenance: Provenance
    clock: RunClock
    assessment: Mapping[str, Assessment | None] = field(
        default_factory=lambda: {"visual": None, "audio": None}
    )
    declared: Declared | None = None
    seen: Seen = field(default_factory=Seen)

    @property
    def probabilities(self) -> Mapping[str, float] | None:
        """Those of the classes (real, visual, audio, both) that the finding rests on; None where nothing was judged."""
        return self.finding.probabilities

    @property
    def verdict(self) -> Verdict:
        """What is concluded of the clip."""
        return self.finding.verdict

    @property
    def label(self) -> str:
        """What is forged: "visual", "audio" or "both"; "real" unless the verdict is "forged"."""
        return self.finding.label

    @property
    def intervals(self) -> tuple[ForgedInterval, ...]:
        """The forged intervals in order of time."""
        return self.finding.intervals

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches that intervals could come from."""
        return self.finding.branches

    @property
    def thresholds(self) -> Thresholds | None:
        """Those of the intervals; None where a decision on segments made them, or they were not recorded."""
        return self.finding.thresholds

    @property
    def drawn_thresholds(self) -> Thresholds | None:
        """The thresholds where they made intervals; in another clip they decide nothing, and no form draws them."""
        return self.thresholds if self.verdict == "forged" or self.intervals else None

    @property
    def several(self) -> bool:
        """Whether more than one person was seen, so that it must be said who is meant."""
        return len(self.seen.people) > 1

    @property
    def judged(self) -> float:
        """Share of the clip's picture and sound, taken together, that could be judged; in [0, 1]."""
        present = [track.expected_s for track in self.coverage.values() if track is not None]
        longest_s = max([*present, self.input.duration_s or 0.0])
        expected_s = judged_s = 0.0
        for name in NAMES:
            track, assessed = self.coverage[name], self.assessment[name]
            if track is None:
                expected_s += longest_s if self.input.has_other(name) else 0.0
                continue
            expected_s += track.expected_s
            if assessed is None:
                judged_s += min(track.decoded_s, track.expected_s)
            elif assessed.reason is None:
                judged_s += min(assessed.assessed_s, track.expected_s)
        return judged_s / expected_s if expected_s > 0 else 0.0

    @property
    def doubts(self) -> Mapping[str, str]:
        """Why tracks are not assessable, by track; empty where all present tracks were assessed."""
        return {
            name: found.reason
            for name, found in self.assessment.items()
            if found is not None and found.reason is not None
        }

    @property
    def span_s(self) -> float:
        """Seconds from 0 to the last thing that is known of the clip, to milliseconds; all pictures of it span that.

        It is longer than the grid of the scores where the clip could not be decoded up to its end.
        """
        ends = [self.scores.grid.span.end_s, *(found.end_s for found in self.intervals)]
        ends += [gap.end_s for track in self.coverage.values() if track is not None for gap in track.gaps]
        if self.input.duration_s is not None:
            ends.append(self.input.duration_s)
        return round(max(0.0, *ends), 3)
