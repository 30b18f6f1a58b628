"""Settings of the decision: from the evidence of a clip's tracks to segments, a probability and a verdict."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from configs.base import Finite, Positive, Settings, Share


class SegmentWeights(Settings):
    """A logistic model of one span of a track: the log-odds that it is forged (`pipeline.localization.segments`)."""

    bias: Finite = Field(-9.0, description="Log-odds of a span about which nothing speaks.")
    level: Finite = Field(1.0, description="Weight of the mean normalised evidence in the span.")
    mass: Finite = Field(
        0.5, description="Weight of that mean less the clip's median, times n / 16 for n steps, 4 at most."
    )
    step: Finite = Field(
        1.0, description="Weight of the mean in the span less the mean of the steps on both sides of it."
    )
    jump: Finite = Field(
        0.0, description="Weight of how far the evidence rises at its beginning and falls at its end."
    )
    edges: Finite = Field(
        0.5, description="Weight of the evidence that it begins and ends there, less the clip's median."
    )
    length: Finite = Field(1.0, description="Weight of -ln(n / 16)² / 2, the prior of the length of n steps.")
    entire: Finite = Field(0.0, description="Added for a span of the whole clip, which has no surroundings.")
    whole: Finite = Field(
        0.5, description="Weight of the mean evidence, in such a span, of a clip generated from end to end."
    )


class TrackWeights(Settings):
    """A logistic model of one track of a clip: the log-odds that it is forged (`pipeline.localization.decide`)."""

    bias: Finite = Field(0.0, description="Log-odds of a track about which nothing speaks.")
    best: Finite = Field(1.0, description="Weight of the log-odds of the strongest segment.")
    mean: Finite = Field(0.0, description="Weight of the mean normalised evidence in the strongest segment.")
    top: Finite = Field(
        0.0, description="Weight of the mean of the highest sixteenth of normalised evidence."
    )
    whole: Finite = Field(0.0, description="Weight of the mean evidence of a clip generated from end to end.")
    share: Finite = Field(0.0, description="Weight of the share of steps with normalised evidence above 0.")
    curve: Finite = Field(
        0.0, description="Weight of the mean of the highest sixteenth of the model's curve of the track."
    )
    video: Finite = Field(
        0.0, description="Weight of ln of the model's P(classes with this track forged) / P(real)."
    )


class TrackDecision(Settings):
    """The decision on one track: normalisation of its evidence, its segments, and the track as a whole."""

    centre: Finite = Field(0.0, description="Subtracted from the evidence of being inside a forged span.")
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        1.0, description="What that evidence is divided by then."
    )
    segment: SegmentWeights = Field(SegmentWeights(), description="Weights of the features of a segment.")
    track: TrackWeights = Field(TrackWeights(), description="Weights of the features of the track.")


class CertifiedLine(Settings):
    """A line on P(forged), and how many of the authentic clips that it was chosen on reach it."""

    rate: Share = Field(description="Share of authentic clips of unseen people that may be called forged.")
    line: Share = Field(description="From this P(forged) on a clip is called forged.")
    bound: Share = Field(description="Upper bound of the share, with the stated confidence; at most `rate`.")
    alarms: Annotated[int, Field(ge=0)] = Field(description="Authentic clips that reached the line.")
    clips: Positive = Field(description="Authentic clips that it was chosen on.")
    people: Positive = Field(description="People in these clips.")


class DecisionConfig(Settings):
    """From evidence to a verdict; `pipeline tune` fits it, and without it the class probabilities decide."""

    visual: TrackDecision | None = Field(None, description="The decision on the picture; null: none.")
    audio: TrackDecision | None = Field(None, description="The decision on the sound; null: none.")
    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        1.0, description="Multiplies the log-odds of a clip that follow from its tracks."
    )
    bias: Finite = Field(0.0, description="Added to them then.")
    stretches: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.6,
        description="Times ln(N / k), taken off the log-odds of the k-th strongest of the N stretches of a long file.",
    )
    line: Share = Field(
        0.5, description="From this P(forged) on a clip is called forged, if no line is certified."
    )
    floor: Share = Field(0.5, description="From this P(forged) on, below the line, a clip is undecided.")
    max_alarms: Share = Field(
        0.05, description="Share of authentic clips that may be called forged: picks the line of this rate."
    )
    confidence: Share = Field(0.95, description="Confidence with which the certified lines keep their rates.")
    population: str = Field(
        "authentic clips", description="Which authentic clips the lines were certified on, in words."
    )
    lines: tuple[CertifiedLine, ...] = Field((), description="The certified lines, by rate.")

    def tracks(self) -> dict[str, TrackDecision]:
        """The decisions on the tracks that there are, picture before sound."""
        weights = {"visual": self.visual, "audio": self.audio}
        return {name: track for name, track in weights.items() if track is not None}
