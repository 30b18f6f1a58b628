"""The JSON documents of `pipeline run` as pydantic models: they check what is read, and give the JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from data.labels import ABSTAINED, CLASSES
from data.people import Seen
from pipeline.localization.scores import Finding, Promise, Thresholds, class_of
from pipeline.report.declared import DeclaredPart
from pipeline.report.model import Provenance, Report, RunClock
from pipeline.report.parts import (
    AssessmentOfTracks,
    Branch,
    ClassProbabilities,
    ClockPart,
    CoverageOfTracks,
    FacesPart,
    FileName,
    InputPart,
    Number,
    Part,
    PersonPart,
    PromisePart,
    ProvenancePart,
    ScoresPart,
    SegmentPart,
    Share,
    ThresholdsPart,
)

_CONSISTENT: JsonDict = {
    "allOf": [
        {
            "if": {"properties": {"verdict": {"const": ABSTAINED}}},
            "then": {
                "properties": {
                    **{key: {"type": "null"} for key in ("probability", "strongest", "probabilities")},
                    "label": {"const": ABSTAINED},
                    "intervals": {"maxItems": 0},
                }
            },
            "else": {"properties": {"probability": {"type": "number"}, "probabilities": {"type": "object"}}},
        },
        {
            "if": {"properties": {"verdict": {"const": "forged"}}},
            "then": {"properties": {"label": {"enum": list(CLASSES[1:])}}},
        },
        {
            "if": {"properties": {"verdict": {"enum": ["undecided", "not_found"]}}},
            "then": {"properties": {"label": {"const": "real"}}},
        },
    ]
}
"""What the verdict demands of other fields, for the schema; the rest of `ReportDocument.agrees` it cannot say."""


class ReportDocument(Part):
    """The report on one clip."""

    model_config = ConfigDict(json_schema_extra=_CONSISTENT)

    version: Literal["rt-deeploc/report@3"] = Field(alias="schema")
    note: str = Field(description="What a report is and is not.")
    input: InputPart
    verdict: Literal["forged", "undecided", "not_found", "not_assessable"] = Field(
        description="What is concluded: forged; signs of a forgery, but too few to call it; none found; or nothing of "
        "the clip could be judged, which is no answer."
    )
    reason: str = Field(description="Why, in one sentence.")
    label: Literal["real", "visual", "audio", "both", "not_assessable"] = Field(
        description="What is forged; real unless the verdict is forged, not_assessable where there is no answer."
    )
    probability: Share | None = Field(
        description="How likely the clip is forged, if forged and authentic clips were equally frequent; null where "
        "there is no answer."
    )
    line: Number = Field(description="From this probability on, a clip is called forged.")
    floor: Number = Field(description="From this probability on up to the line, a clip is undecided.")
    strongest: SegmentPart | None = Field(
        description="Where the signs are strongest, also of a clip not called forged; null where none stand out."
    )
    promise: PromisePart | None = Field(
        description="How often authentic clips are called forged at this line; null where that was not measured."
    )
    intervals: list[SegmentPart] = Field(description="Forged spans [start_s, end_s) in order of time.")
    route: Literal["auto", "visual", "audio", "joint", "all"] = Field(
        description="The branch that was asked for; other than auto, intervals are shown whatever the verdict."
    )
    branches: Annotated[list[Branch], Field(json_schema_extra={"uniqueItems": True})] = Field(
        description="The branches that intervals could come from."
    )
    probabilities: ClassProbabilities | None = Field(
        description="Of the classes, from the same computation as the verdict. Null where there is no answer."
    )
    complete: bool = Field(
        description="Whether all that the file holds was decoded as far as the settings demand, and is assessable; "
        "false where another track may hold something."
    )
    coverage: CoverageOfTracks
    assessment: AssessmentOfTracks
    people: list[PersonPart] = Field(
        [],
        description="The people whose faces were followed, in order of appearance; empty where that was not done.",
    )
    faces: FacesPart | None = Field(
        None, description="Faces that were not followed; null where nobody looked."
    )
    warnings: list[str]
    scores: ScoresPart
    thresholds: ThresholdsPart | None = Field(
        None, description="Null or absent where they were not recorded."
    )
    declared: DeclaredPart | None = Field(None, description="Null or absent where it was not recorded.")
    provenance: ProvenancePart
    clock: ClockPart

    @model_validator(mode="after")
    def agrees(self) -> Self:
        """Raises ValueError where verdict, class, probability, segments and tracks contradict each other."""
        answered = self.verdict != ABSTAINED
        if not (answered == (self.label != ABSTAINED) == (self.probability is not None)):
            raise ValueError("verdict, label and probability contradict each other")
        if answered != (self.probabilities is not None):
            raise ValueError("probabilities must be given exactly when there is an answer")
        if not answered and (self.intervals or self.strongest is not None):
            raise ValueError("intervals without an answer")
        if answered and (self.verdict == "forged") == (self.label == "real"):
            raise ValueError("verdict and label contradict each other")
        tracks = (self.assessment.visual, self.assessment.audio)
        if answered and all(track is not None and track.reason is not None for track in tracks):
            raise ValueError("an answer though no track is assessable")
        self._segments_agree()
        return self

    def _segments_agree(self) -> None:
        if self.floor > self.line:
            raise ValueError("the line lies below the floor")
        if self.probability is not None:
            score = self.probability
            earned = "forged" if score >= self.line else "undecided" if score >= self.floor else "not_found"
            if self.verdict != earned:
                raise ValueError("verdict and probability contradict each other")
        # Another route shows the intervals of its branch whatever the verdict.
        if self.route == "auto" and self.intervals:
            if self.verdict != "forged":
                raise ValueError("intervals without a forgery")
            if self.label != class_of(each.modality for each in self.intervals):
                raise ValueError("label and intervals contradict each other")

    def report(self) -> Report:
        """The report; ValueError where its numbers do not fit together."""
        intervals = tuple(each.interval() for each in self.intervals)
        strongest = self.strongest.interval() if self.strongest is not None else None
        promise = self.promise.of(Promise) if self.promise is not None else None
        shares: Mapping[str, float] | None = None
        if self.probabilities is not None:
            shares = self.probabilities.model_dump()
        coverage = {"visual": self.coverage.visual, "audio": self.coverage.audio}
        judged_people = {
            each.number: each.probability for each in self.people if each.probability is not None
        }
        seen = Seen(
            tuple(each.person() for each in self.people),
            *((self.faces.more, self.faces.small) if self.faces is not None else (0, 0)),
        )
        judged = {"visual": self.assessment.visual, "audio": self.assessment.audio}
        return Report(
            input=self.input.facts(),
            finding=self.of(
                Finding,
                intervals=intervals,
                strongest=strongest,
                promise=promise,
                probabilities=shares,
                people=judged_people,
                branches=tuple(self.branches),
                thresholds=self.thresholds.of(Thresholds) if self.thresholds is not None else None,
            ),
            route=self.route,
            coverage={k: track.coverage() if track is not None else None for k, track in coverage.items()},
            warnings=tuple(self.warnings),
            complete=self.complete,
            scores=self.scores.scores(),
            declared=self.declared.declared() if self.declared is not None else None,
            provenance=self.provenance.of(Provenance),
            clock=self.clock.of(RunClock),
            assessment={k: track.assessment() if track is not None else None for k, track in judged.items()},
            seen=seen,
        )


class FailurePart(Part):
    """What happened, and what to do."""

    what: str = Field(description="What happened.")
    fix: str = Field(description="What to do next; may be empty.")
    exit_code: int = Field(ge=1, le=255, description="Of the command, had this been its only input.")


class FailedInput(Part):
    """The file that could not be analysed."""

    name: FileName


class ErrorDocument(Part):
    """Stands where the report of a file would be that could not be analysed."""

    version: Literal["rt-deeploc/error@1"] = Field(alias="schema")
    input: FailedInput
    error: FailurePart


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of both documents."""
    from pydantic.json_schema import GenerateJsonSchema, models_json_schema

    class Plain(GenerateJsonSchema):
        """Without a title for each field, which would only repeat its name."""

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    both: Any = [(ReportDocument, "validation"), (ErrorDocument, "validation")]
    references, whole = models_json_schema(both, schema_generator=Plain)
    definitions = {
        name: {k: v for k, v in part.items() if k != "title"} for name, part in whole["$defs"].items()
    }
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "title": "Report of pipeline run, or the entry of a file that could not be analysed",
        "description": "Documents of `pipeline run`. A folder's --json document is an array of them. "
        "Fields may be added: pass over those you do not know.",
        "oneOf": [references[each] for each in both],
        "$defs": definitions,
    }
