"""Every setting of the project: frozen, typed, validated, described, and hashable into cache keys.

Defaults are the paper's numbers where it gives them (the section stands beside each) and the decisions of
docs/decisions.md where it is silent. Presets (`compact.yaml`, `paper.yaml`) hold only what differs.
`pipeline config` prints every setting with its value, default and description.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from configs.base import Finite, Positive, Seconds, Settings, Share
from configs.decision import CertifiedLine, DecisionConfig, SegmentWeights, TrackDecision, TrackWeights
from configs.forging import SynthesizeConfig
from configs.model import ColaConfig, FDNConfig, FusionConfig, HeadsConfig, LossConfig, MDPConfig, ModelConfig

__all__ = [
    "AudioConfig", "BatchConfig", "Calibration", "CertifiedLine", "ColaConfig", "DecisionConfig", "DecodeConfig",
    "FDNConfig", "FusionConfig", "HeadsConfig", "LocalizeConfig", "LossConfig", "MDPConfig", "ModelConfig",
    "PipelineConfig", "PretrainConfig", "SegmentWeights", "Settings", "SynthesizeConfig", "TrackDecision",
    "TrackWeights", "TrainConfig", "VisualConfig",
]  # fmt: skip


class DecodeConfig(Settings):
    """Decoding: the choice of decoder and its limits; only `fps` and `sample_rate` shape the features."""

    backend: Literal["pyav", "decord", "ffmpeg"] = Field(
        "pyav", description="Decoder; pyav is the reference."
    )
    fps: Literal[25] = Field(
        25, description="Steps per second of the time grid, as in LAV-DF and AV-Deepfake1M; no other."
    )
    sample_rate: Literal[16_000] = Field(
        16_000, description="Sample rate of the sound, in Hz; extractors take no other."
    )
    max_pixels: Positive = Field(
        8192 * 4320, description="Largest picture that is decoded, in pixels (width x height)."
    )
    max_duration_s: Seconds = Field(24 * 3600.0, description="Longest file that is decoded, in seconds.")
    stall_timeout_s: Seconds = Field(
        60.0, description="A decoding process without output for this many seconds is killed."
    )
    memory_limit_mb: Positive = Field(4096, description="Address space of a decoding process, in MiB.")
    min_coverage: Share = Field(
        0.99, description="Share of a track that must be decoded; below it, a warning and exit code 4."
    )


class VisualConfig(Settings):
    """Picture features, one vector per step: TSN (paper 4.1) or face measures (docs/decisions.md)."""

    network: Literal["tsn", "face_traces"] = Field(
        "tsn", description="Extractor: tsn (a ResNet) or face_traces (face measures and a small network)."
    )
    arch: Literal["resnet18", "resnet50"] = Field(
        "resnet50", description="Backbone of TSN; face_traces does not use it."
    )
    short_side: Positive = Field(
        256, description="Pictures are scaled so that their shorter side has this many pixels."
    )
    crop: Positive | None = Field(
        256, description="Side of the centre square that is cut out, in pixels; null keeps the whole picture."
    )
    look_every_s: Annotated[float, Field(gt=0)] = Field(
        2.0,
        description="face_traces: seconds between two looks of the pre-trained eye (0.3 s of computing each).",
    )
    look_again: Annotated[int, Field(ge=0)] = Field(
        2, description="face_traces: further looks in five seconds, where the traces are most suspicious."
    )
    mean: tuple[float, float, float] = Field(
        (123.675, 116.28, 103.53),
        description="Mean of R, G and B (0 to 255) that TSN subtracts; of ImageNet.",
    )
    std: tuple[float, float, float] = Field(
        (58.395, 57.12, 57.375),
        description="Standard deviation of R, G and B that TSN divides by; of ImageNet.",
    )
    weights: str = Field(
        "openmmlab:tsn_r50_320p_1x1x8_50e_activitynet_clip_rgb_20210301-c0f04a7e.pth",
        description="Weights: shipped:NAME, openmmlab:NAME, hub:NAME or a path.",
    )


class AudioConfig(Settings):
    """Sound features at 50 Hz: wav2vec 2.0 (paper 4.1) or measures of speech (docs/decisions.md)."""

    network: Literal["wav2vec2", "voice_traces"] = Field(
        "wav2vec2",
        description="Extractor: wav2vec2 (last hidden state) or voice_traces (measures of speech, a small network).",
    )
    chunk_s: Annotated[float, Field(gt=0)] = Field(
        20.0, description="The sound is processed in chunks of this many seconds."
    )
    context_s: Seconds = Field(
        2.0, description="Context on both sides of a chunk, in seconds; computed, then dropped."
    )
    weights: str = Field(
        "hub:facebook/wav2vec2-xls-r-300m", description="Weights: shipped:NAME, hub:NAME or a path."
    )


class TrainConfig(Settings):
    """Optimisation with video-level labels (paper 4.1)."""

    batch_size: Positive = Field(32, description="Clips per step (paper 4.1).")
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        1e-5, description="Learning rate of Adam (paper 4.1)."
    )
    weight_decay: float = Field(5e-4, description="Weight decay of Adam.")
    betas: tuple[float, float] = Field((0.9, 0.999), description="Decay rates of the moments of Adam.")
    steps: Positive = Field(200_000, description="Optimiser steps.")
    warmup_steps: int = Field(0, description="Steps over which the learning rate rises linearly from 0.")
    max_length: Positive = Field(
        500,
        description="Longest crop of a clip, in steps of the time grid; longer clips are cropped at random.",
    )
    clip_norm: float | None = Field(
        None, description="Gradients are clipped to this norm; null: not clipped."
    )
    balance_classes: bool = Field(False, description="Whether the four classes are drawn equally often.")
    checkpoint_every: Positive = Field(1000, description="Optimiser steps between checkpoints.")
    log_every: Positive = Field(20, description="Optimiser steps between lines of the log.")
    mixed_precision: Literal["no", "bf16"] = Field(
        "no", description="Precision of the forward pass in training: no (float32) or bf16."
    )
    seed: int = Field(3407, description="Random seed of initial weights, crops, masks and order.")


class Calibration(Settings):
    """softmax(ln p / `temperature` + `bias`) of a window's classes, in the order real, visual, audio, both.

    The default changes nothing; `pipeline tune` fits it (Guo et al. 2017; docs/metrics.md).
    """

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        1.0, description="Divisor of log probabilities; over 1 makes them less extreme."
    )
    bias: tuple[Finite, Finite, Finite, Finite] = Field(
        (0.0, 0.0, 0.0, 0.0), description="Added to log probabilities: real, visual, audio, both."
    )


class LocalizeConfig(Settings):
    """Windows, class probabilities, hysteresis and merging: step scores to intervals."""

    window: Positive = Field(
        500, description="Length of a window that the model sees at once, in steps of the time grid."
    )
    overlap: Annotated[int, Field(ge=0)] = Field(
        250, description="Overlap of neighbouring windows, in steps."
    )
    calibration: Calibration = Field(Calibration(), description="Calibration of class probabilities.")
    decision: DecisionConfig | None = Field(
        None, description="The decision on segments; null: the class probabilities decide."
    )
    onset: Share = Field(0.5, description="A run of steps is an interval if one of its scores reaches this.")
    offset: Share = Field(0.4, description="A run ends where the score falls below this.")
    merge_gap_s: Seconds = Field(
        0.12, description="Intervals with a gap of up to this many seconds are merged."
    )
    min_duration_s: Seconds = Field(0.08, description="Intervals shorter than this many seconds are dropped.")
    min_assessed_s: Seconds = Field(
        1.0, description="Seconds with a face or speech that a track needs, else it is not assessable."
    )
    min_assessed_share: Share = Field(
        0.5, description="Share of a track that is enough where the track is too short for min_assessed_s."
    )
    warn_unassessed: Share = Field(
        0.1, description="A warning follows where a larger share of a track could not be assessed."
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.overlap >= self.window:
            raise ValueError(f"overlap ({self.overlap}) must be smaller than window ({self.window})")
        if self.offset > self.onset:
            raise ValueError(f"offset ({self.offset}) must not exceed onset ({self.onset})")
        return self


class PretrainConfig(Settings):
    """Supervised pre-training of the compact extractors on forgeries whose position is known."""

    visual_steps: Positive = Field(2500, description="Optimiser steps of the picture extractor.")
    audio_steps: Positive = Field(3000, description="Optimiser steps of the sound extractor.")
    head_steps: Positive = Field(
        1500, description="Optimiser steps of what a look at a face says of the whole clip."
    )
    look_every_s: Annotated[float, Field(gt=0)] = Field(
        0.4, description="Seconds between two looks at the faces that the head is trained on."
    )
    batch: Positive = Field(24, description="Crops per optimiser step.")
    crop_s: Annotated[float, Field(gt=0)] = Field(4.0, description="Length of a crop, in seconds.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        3e-3, description="Highest learning rate of AdamW's one-cycle schedule."
    )
    weight_decay: float = Field(0.05, description="Weight decay of AdamW.")
    authentic_weight: float = Field(
        0.5, description="Loss weight of an untouched step, against 1 of a forged one."
    )
    sham_weight: float = Field(
        1.5, description="Loss weight of a step edited without forging, against 1 of a forged one."
    )
    ear: str = Field(
        "shipped",
        description="File with the pre-trained ear (tensors ear.*); shipped: that of the shipped weights.",
    )
    eye: str = Field(
        "shipped",
        description="File with the pre-trained eye (tensors eye.*); shipped: that of the shipped weights.",
    )
    splits: tuple[Literal["train", "dev"], ...] = Field(
        ("train",), min_length=1, description="Splits that are trained on: train, dev or both. Never test."
    )
    folds: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Further trainings, each without some people and forgeries, for `pipeline tune --unseen`.",
    )
    start: str | None = Field(
        None, description="File of sound weights whose network is trained on; none: a new one is made."
    )
    turns: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Recordings joined of several people's clips of each set, to train the sound on as well.",
    )
    seed: int = Field(3407, description="Random seed of initial weights, crops and order.")

    @model_validator(mode="after")
    def _folds_begin_anew(self) -> Self:
        if self.start is not None and self.folds:
            raise ValueError(
                "start: a network that has seen all people cannot be trained on without some (folds)"
            )
        return self


class BatchConfig(Settings):
    """Limits of one file, and of the workers, when many files are extracted; none of them shapes a feature."""

    file_s: Annotated[float, Field(gt=0)] = Field(
        300.0, description="Time limit of a file, in seconds, before file_factor adds to it."
    )
    file_factor: Annotated[float, Field(ge=0)] = Field(
        30.0, description="Seconds that each second of media adds to the time limit of its file."
    )
    memory_mb: Positive = Field(
        8192, description="Resident memory of a worker, in MiB; a worker that exceeds it is stopped."
    )
    clips_per_worker: Positive = Field(
        1000, description="Clips after which a worker is replaced by a fresh one."
    )


class PipelineConfig(Settings):
    """All settings of one pipeline, from file to intervals."""

    preset: str = Field("paper", description="Name of the preset that these settings started from.")
    decode: DecodeConfig = Field(DecodeConfig(), description="Decoding.")
    visual: VisualConfig = Field(VisualConfig(), description="Picture features.")
    audio: AudioConfig = Field(AudioConfig(), description="Sound features.")
    model: ModelConfig = Field(ModelConfig(), description="Model.")
    train: TrainConfig = Field(TrainConfig(), description="Training.")
    localize: LocalizeConfig = Field(LocalizeConfig(), description="Localization.")
    synthesize: SynthesizeConfig = Field(SynthesizeConfig(), description="Making data sets.")
    pretrain: PretrainConfig = Field(PretrainConfig(), description="Pre-training of the compact extractors.")
    batch: BatchConfig = Field(BatchConfig(), description="Extraction of many files.")
