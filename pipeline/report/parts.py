"""Parts of the JSON documents of `pipeline run` as pydantic models, each with the way to what a report holds.

They take plain values as `json.loads` gives them. Fields of a later program are passed over.
"""

from __future__ import annotations

import math
import re
from dataclasses import fields
from fractions import Fraction
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
)

from data.media import Assessment, AudioStream, OtherTrack, Splice, StreamCoverage, VideoStream
from data.people import BoxAt, Person
from data.timeline import Interval, TimeGrid
from pipeline.localization.scores import ForgedInterval
from pipeline.report.model import InputFacts, StepScores

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LARGEST = 1e12
_NAME_BYTES = 255
_FRACTION = re.compile(r"-?[0-9]{1,12}(/[0-9]{1,12})?")

T = TypeVar("T", bound="DataclassInstance")


def _file_name(name: str) -> str:
    """`name` if a file can have it, wherever it comes from; ValueError if not."""
    if name in ("", ".", "..") or not {"/", "\0"}.isdisjoint(name):
        raise ValueError("input.name is not a file name")
    # Lone surrogates stand for bytes that are no UTF-8; others cannot be encoded, which is a ValueError too.
    if len(name.encode("utf-8", "surrogateescape")) > _NAME_BYTES:
        raise ValueError(f"input.name is longer than {_NAME_BYTES} bytes")
    return name


def _curve(values: Any) -> NDArray[np.float32]:
    # Not value by value: an hour has 90,000 steps.
    if not isinstance(values, list) or not set(map(type, values)) <= {float, int, NoneType}:
        raise ValueError("a curve contains a value that is not a number")
    curve = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    if np.any(np.abs(curve) > LARGEST):
        raise ValueError("a curve contains a number that is too large")
    return curve.astype(np.float32)


Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Seconds = Annotated[Number, Field(description="Seconds on the clip's clock, rounded to milliseconds.")]
Position = Annotated[
    float, Field(ge=0, le=LARGEST, allow_inf_nan=False, description="Seconds from the start of the clip.")
]
Share = Annotated[
    float, Field(ge=0, le=1, allow_inf_nan=False, description="Between 0 and 1, rounded to four digits.")
]
Count = Annotated[int, Field(ge=0, lt=2**63)]
ExactSeconds = Annotated[
    str, Field(pattern=f"^{_FRACTION.pattern}$", description="An exact number of seconds, such as 1/25.")
]
FileName = Annotated[
    str,
    AfterValidator(_file_name),
    WithJsonSchema({"type": "string", "pattern": r"^[^/\u0000]{1,255}$"}),
    Field(
        description="File name without its folder, as it is, at most 255 bytes: it may hold any character but / and "
        "NUL. A byte that is no UTF-8 is a lone surrogate (\\udc80 to \\udcff)."
    ),
]
Span = Annotated[list[Number], Field(min_length=2, max_length=2, description="[start, end) in seconds.")]
Curve = Annotated[
    NDArray[np.float32],
    PlainValidator(_curve),
    WithJsonSchema(
        {
            "type": "array",
            "items": {
                "anyOf": [{"type": "number", "minimum": -LARGEST, "maximum": LARGEST}, {"type": "null"}]
            },
        }
    ),
    Field(
        description="One number per step of scores.grid; null where the step has no media or nothing in it to judge. "
        "Null as a whole where the clip lacks the track, or it is not assessable."
    ),
]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
TrackNumber = Annotated[Count, Field(description="Its number in the container, from 0.")]
PersonNumber = Annotated[
    int, Field(ge=1, lt=2**31, description="Number of a person within this clip, from 1.")
]
Branch = Literal["visual", "audio", "joint"]


class Part(BaseModel):
    """Base of all parts of a document: a value of another type is an error, a field that is not known is none."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, defer_build=True)

    def of(self, kind: type[T], **others: Any) -> T:
        """The dataclass `kind` made of the fields of the same names, with `others` in place of some."""
        named = {field.name for field in fields(kind)} - others.keys()
        return kind(**{name: getattr(self, name) for name in named}, **others)


class SplicePart(Part):
    """From this packet of the track on (from 0), so many seconds were added to the time stamps."""

    first: Count
    shift_s: Seconds


Splices = Annotated[
    list[SplicePart],
    Field(description="Where time stamps start again or jump, because recordings were joined."),
]


class VideoPart(Part):
    """The video track as it was probed; sizes are stored sizes in pixels."""

    codec: str
    width: Count
    height: Count
    rotation: int = Field(description="Degrees clockwise.", ge=-360, le=360)
    pixel_format: str
    average_fps: Number
    start_s: Seconds
    duration_s: Seconds | None
    track: TrackNumber = 0
    pixel_aspect: float = Field(
        1.0, ge=0, le=LARGEST, description="How many times wider than high a pixel is shown."
    )
    splices: Splices = []


class AudioPart(Part):
    """The audio track as it was probed."""

    codec: str
    sample_rate: Count = Field(description="In Hz.")
    channels: Count
    start_s: Seconds
    duration_s: Seconds | None
    track: TrackNumber = 0
    splices: Splices = []


class OtherTrackPart(Part):
    """A picture or sound track that was not analysed."""

    track: TrackNumber
    kind: Literal["video", "audio"]
    codec: str
    reason: str = Field(description="Why it was not analysed.")
    program: int | None = Field(description="Number of its program, where the container has several.")
    evidence: bool = Field(
        description="Whether something may be hidden in it: it is neither silent nor a single picture."
    )


class InputPart(Part):
    """The analysed file."""

    name: FileName
    sha256: Sha256
    size_bytes: Count
    container: str
    origin_s: Seconds = Field(description="Container time that the report calls 0.")
    duration_s: Seconds | None
    video: VideoPart | None
    audio: AudioPart | None
    not_analysed: list[OtherTrackPart] = Field(
        [], description="Picture and sound tracks that were not analysed."
    )

    def facts(self) -> InputFacts:
        """The facts of the file as the report has them."""
        tracks: dict[str, Any] = {"video": self.video, "audio": self.audio}
        for name, kind in (("video", VideoStream), ("audio", AudioStream)):
            if (track := tracks[name]) is not None:
                tracks[name] = track.of(kind, splices=tuple(each.of(Splice) for each in track.splices))
        return self.of(
            InputFacts, **tracks, not_analysed=tuple(each.of(OtherTrack) for each in self.not_analysed)
        )


class SegmentPart(Part):
    """A span [start_s, end_s) of one track or of both, and how strongly it speaks for a forgery."""

    start_s: Position
    end_s: Position
    modality: Literal["visual", "audio", "both"]
    score: Share
    person: PersonNumber | None = Field(
        None, description="Whose picture it is; null for sound, and where it is not known."
    )

    def interval(self) -> ForgedInterval:
        """The interval; ValueError where it ends before it starts."""
        if self.start_s > self.end_s:
            raise ValueError(f"no interval: {self.start_s} to {self.end_s} s")
        return self.of(ForgedInterval, person=self.person or 0)


BoxList = Annotated[
    list[Number],
    Field(
        min_length=5,
        max_length=5,
        description="Seconds; x and y of the upper left corner, width and height, as shares of the picture.",
    ),
]


class PersonPart(Part):
    """A person of the clip. The number means nothing outside this report: nobody is recognised."""

    number: PersonNumber
    first_s: Position = Field(description="When the face is first seen.")
    last_s: Position = Field(description="When it is last seen.")
    seen_s: Position = Field(description="How long it is seen in all.")
    judged: bool = Field(description="Whether this person's picture was judged by itself.")
    probability: Share | None = Field(
        description="How likely this person's picture is forged, on the scale of `probability`; null where not judged."
    )
    track: list[list[BoxList]] = Field(
        description="Key frames of the box around the face, a list for each time it is seen without a break; between "
        "two key frames the box moves in a straight line."
    )

    def person(self) -> Person:
        """The person as the report has them."""
        return self.of(Person, track=tuple(tuple(BoxAt(*at) for at in run) for run in self.track))


class FacesPart(Part):
    """Faces that nobody followed, the most at once."""

    more: Count = Field(description="Large enough, but more than are followed at once.")
    small: Count = Field(description="Too small to be judged.")


class PromisePart(Part):
    """Which share of authentic clips is called forged at most, and the clips that this rests on."""

    asked: Share = Field(
        description="Share of authentic clips that may be called forged, as it was asked for."
    )
    bound: Share = Field(description="Upper bound of that share (Clopper and Pearson, 1934).")
    confidence: Share = Field(description="How sure the bound is.")
    alarms: Count = Field(description="Authentic clips that were called forged at this line.")
    clips: Count = Field(
        description="Authentic clips that were looked at; nothing was fitted to their people."
    )
    people: Count = Field(description="People in these clips.")
    population: str = Field(description="What these clips are, in words.")


class CoveragePart(Part):
    """How much of a track was decoded."""

    expected_s: Seconds = Field(description="Length that the track should have.")
    decoded_s: Seconds = Field(description="Length that was decoded.")
    fraction: Share
    gaps: list[Span] = Field(description="Spans [start, end) that were not decoded.")
    errors: Count = Field(description="Damaged pieces that were left out.")
    units: Count = Field(
        0,
        description="Pictures, or samples at the project's rate, that came out of the decoder: placed + dropped.",
    )
    placed: Count = 0
    dropped: Count = Field(
        0,
        description="Those that found no place: their time stamps lie where other media stands, or before the start.",
    )
    dropped_s: Seconds = 0.0
    notes: list[str] = Field([], description="How the track was read.")

    def coverage(self) -> StreamCoverage:
        """The coverage as the report has it."""
        return self.of(StreamCoverage, gaps=_intervals(self.gaps), notes=tuple(self.notes))


class AssessmentPart(Part):
    """How much of a track could be judged."""

    assessable: bool = Field(
        description="Whether enough of the track could be judged; if not, nothing of it counts."
    )
    assessed_s: Seconds = Field(
        description="Length in which there was something to judge: a face in the picture, speech in the sound."
    )
    gaps: list[Span] = Field(description="Spans [start, end) that were decoded and not judged.")
    reason: str | None = Field(description="Why the track is not assessable; null where it is.")

    def assessment(self) -> Assessment:
        """The assessment as the report has it."""
        return self.of(Assessment, gaps=_intervals(self.gaps))


class CoverageOfTracks(Part):
    """What was looked at; null for a track that the clip lacks."""

    visual: CoveragePart | None
    audio: CoveragePart | None


class AssessmentOfTracks(Part):
    """What could be judged of what was decoded.

    Null for a track of which nothing was decoded, or where it was not recorded.
    """

    visual: AssessmentPart | None
    audio: AssessmentPart | None


class ClassProbabilities(Part):
    """Adds up to 1; a class that needs a track which is absent or not assessable has 0."""

    model_config = ConfigDict(extra="forbid")

    real: Share
    visual: Share
    audio: Share
    both: Share


class GridPart(Part):
    """Step k covers [start + k*step, start + (k+1)*step)."""

    start: ExactSeconds
    step: ExactSeconds
    n: Count


class ScoresPart(Part):
    """Curves: forged probabilities of the three branches and reconstruction errors of the two tracks."""

    grid: GridPart
    visual: Curve | None
    audio: Curve | None
    joint: Curve
    visual_error: Curve | None
    audio_error: Curve | None

    def scores(self) -> StepScores:
        """The curves on their grid; ValueError where one does not fit it."""
        grid = TimeGrid(Fraction(self.grid.start), Fraction(self.grid.step), self.grid.n)
        return self.of(StepScores, grid=grid)


class ThresholdsPart(Part):
    """A run of step scores at or above offset is an interval if it reaches onset."""

    onset: Share
    offset: Share


class ProvenancePart(Part):
    """What produced the report."""

    versions: dict[str, str]
    weights: dict[str, str] = Field(description="SHA-256 of each network's weights.")
    preset: str
    config_digest: str = Field(description="Digest of all settings.")
    device: str
    dtype: str
    seed: int = Field(ge=-(2**63), lt=2**63)


class ClockPart(Part):
    """The only part that differs between two runs on the same input, weights and settings."""

    started_at: str = Field(description="UTC, ISO 8601.")
    elapsed_s: Seconds
    real_time_factor: Number | None


def _intervals(spans: list[list[float]]) -> tuple[Interval, ...]:
    return tuple(Interval(start_s, end_s) for start_s, end_s in spans)
