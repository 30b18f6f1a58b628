"""Settings of the forger: how authentic clips become a labelled data set."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from configs.base import Positive, Seconds, Settings, Share

Split = Literal["train", "dev", "test"]


class SynthesizeConfig(Settings):
    """A labelled data set forged from authentic clips; the defaults follow LAV-DF (configs/datasets/)."""

    variants: Positive = Field(
        4, description="Clips made of each input: one authentic, the others forged in turn."
    )
    real_share: Share = Field(0.267, description="Share of authentic clips; LAV-DF has 36,431 of 136,304.")
    manipulations: tuple[str, ...] = Field(
        (), description="Names of the manipulations to use; empty means all."
    )
    clip_s: tuple[Seconds, Seconds] = Field(
        (2.0, 20.0),
        description="Shortest and longest clip, in seconds; shorter input is skipped, longer is cut.",
    )
    short_side: Positive = Field(
        360, description="Shorter side of the picture at most, in pixels; larger pictures are scaled down."
    )
    segment_mean_s: Annotated[float, Field(gt=0)] = Field(
        0.65, description="Mean of the gamma distribution of forged lengths, in seconds (LAV-DF)."
    )
    segment_shape: Annotated[float, Field(gt=0)] = Field(
        6.0, description="Shape of that distribution; with 6, 89 % are shorter than 1 s, as published."
    )
    segment_s: tuple[Seconds, Seconds] = Field(
        (0.16, 1.6), description="Shortest and longest forged segment, in seconds."
    )
    second_segment: Share = Field(
        0.1, description="Share of forged clips with a second segment; LAV-DF has 1.14 segments a clip."
    )
    extra_sham: Share = Field(
        0.5, description="Share of clips with one more span that is edited without forging."
    )
    more_segments: Annotated[int, Field(ge=0)] = Field(
        0, description="Further forged segments in every forged clip, for pre-training."
    )
    more_shams: Annotated[int, Field(ge=0)] = Field(
        0, description="Further spans edited without forging in every clip, for pre-training."
    )
    editor_scale: tuple[Share, Share] = Field(
        (0.85, 1.0),
        description="Range of the working size of the simulated editor, as a share of the picture.",
    )
    editor_noise_db: tuple[float, float] = Field(
        (-75.0, -60.0), description="Range of the noise floor of the simulated editor, in dB of full scale."
    )
    editor_gain_db: tuple[float, float] = Field(
        (-3.0, 3.0), description="Range of the level change of the simulated editor, in dB."
    )
    crf: tuple[Positive, Positive] = Field(
        (18, 30), description="Range of the H.264 quality (CRF), drawn per clip whatever its class."
    )
    keyframe_every: tuple[Positive, Positive] = Field(
        (25, 250), description="Range of the distance between key frames, in frames, drawn likewise."
    )
    audio_kbps: tuple[Positive, Positive] = Field(
        (32, 96), description="Range of the bit rate of the sound, in kb/s, drawn likewise."
    )
    train_share: Share = Field(0.6, description="Share of the identities in the train split.")
    dev_share: Share = Field(
        0.15, description="Share of the identities in the dev split; the rest is the test split."
    )
    lyra: str | None = Field(
        None, description="Folder of Lyra's three models, for the manipulation recode_neural."
    )
    voices: str | None = Field(
        None,
        description="Folder of neural voices (tools/machine_voices.py), further engines of speak_text.",
    )
    put_back: bool = Field(
        False, description="Whether shams of the picture also put a span back after a codec, as splices do."
    )
    whole_share: Share = Field(
        0.0,
        description="Share of the clips that are forged, or if authentic only touched up, from end to end.",
    )
    presented: Share = Field(
        0.0, description="Share of the clips that go through codecs, rooms and sizes, whatever their class."
    )
    edited: Share = Field(
        0.0, description="Share of the clips that get harmless edits, whatever their class."
    )
    families: dict[Split, dict[str, dict[str, tuple[str, ...]]]] = Field(
        {},
        description="Generators by split, kind and family, engines of speak_text too; a family is in one split only.",
    )
    people: dict[Split, tuple[str, ...]] = Field(
        {}, description="Identities, or patterns of them, whose split is fixed."
    )
    forge_voices: bool = Field(
        False, description="Whether sound files become clips too, instead of only lending their voices."
    )

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for name, value in self:
            if isinstance(value, tuple) and value and not isinstance(value[0], str) and value[0] > value[1]:
                raise ValueError(f"{name}: {value[0]} must not exceed {value[1]}")
        for what, names in (("family", self._families()), ("generator", self._generators())):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"the {what} {twice[0]!r} is named twice in families")
        if self.train_share + self.dev_share > 1:
            raise ValueError(
                f"train_share and dev_share add up to {self.train_share + self.dev_share:g}, over 1"
            )
        return self

    def split_of_generator(self, name: str) -> Split | None:
        """The split that `families` puts a generator into; None for one that it does not name."""
        splits = (
            split
            for split, kinds in self.families.items()
            for families in kinds.values()
            if any(name in generators for generators in families.values())
        )
        return next(splits, None)

    def split_of_person(self, identity: str) -> Split | None:
        """The split that `people` fixes for `identity`; None where it is left to the draw."""
        splits = (
            split
            for split, patterns in self.people.items()
            if any(fnmatchcase(identity, pattern) for pattern in patterns)
        )
        return next(splits, None)

    def _families(self) -> list[str]:
        return [name for kinds in self.families.values() for families in kinds.values() for name in families]

    def _generators(self) -> list[str]:
        kinds = [families for kinds in self.families.values() for families in kinds.values()]
        return [name for families in kinds for generators in families.values() for name in generators]
