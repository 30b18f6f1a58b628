"""Every setting of the project: frozen, typed, validated, and hashable into cache keys.

Defaults are the paper's numbers where it gives them (the section stands beside each) and the decisions of
docs/decisions.md where it is silent. Presets (`compact.yaml`, `paper.yaml`) hold only what differs.
"""

from __future__ import annotations

import hashlib
import json
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(ge=0.0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Split = Literal["train", "dev", "test"]


class Settings(BaseModel):
    """Base of all settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON of all values."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


class DecodeConfig(Settings):
    """Limits and choice of decoder; only `fps` and `sample_rate` shape the features."""

    backend: Literal["pyav", "decord", "ffmpeg"] = "pyav"
    fps: Positive = 25  # LAV-DF and AV-Deepfake1M are 25 fps
    sample_rate: Positive = 16_000
    max_pixels: Positive = 8192 * 4320
    max_duration_s: Seconds = 24 * 3600.0
    stall_timeout_s: Seconds = 60.0  # the decoding process is killed after this long without output
    memory_limit_mb: Positive = 4096  # address space of the decoding process
    min_coverage: Share = 0.99  # below it, a warning and exit code 4


class VisualConfig(Settings):
    """One vector per frame of the clock (paper 4.1): of TSN, or of measures in the face (docs/decisions.md)."""

    network: Literal["tsn", "face_traces"] = "tsn"
    arch: Literal["resnet10", "resnet18", "resnet50"] = "resnet50"  # of TSN alone, as are mean and std
    short_side: Positive = 256
    crop: Positive | None = 256  # None: the whole picture
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)  # ImageNet, 0..255 RGB
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    weights: str = "openmmlab:tsn_r50_320p_1x1x8_50e_activitynet_clip_rgb_20210301-c0f04a7e.pth"


class AudioConfig(Settings):
    """Vectors at 50 Hz, in equal chunks with context on both sides: of wav2vec 2.0, its last hidden state (paper 4.1),
    or of measures of speech (docs/decisions.md)."""

    network: Literal["wav2vec2", "voice_traces"] = "wav2vec2"
    chunk_s: Annotated[float, Field(gt=0)] = 20.0
    context_s: Seconds = 2.0
    weights: str = "hub:facebook/wav2vec2-xls-r-300m"


class FusionConfig(Settings):
    """Embeddings and bidirectional cross-modal attention (paper 3.1)."""

    dim: Positive = 512
    heads: Positive = 8
    dropout: Share = 0.1
    reach: Positive | None = None  # steps that the attention looks to either side; None: the whole sequence


class FDNConfig(Settings):
    """Forgery Discovery Network: a masked autoencoder per modality (paper 3.2)."""

    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.75  # rho, 4.5.2
    encoder_layers: Positive = 4
    decoder_layers: Positive = 2
    encoder_dim: Positive = 512
    decoder_dim: Positive = 256
    heads: Positive = 8
    dropout: Share = 0.0
    enabled: bool = True  # False: Table 3's ablation; AICL and MTLR, which need it, go with it
    test_passes: Positive = 4  # complementary masks; each step is masked in at least one of them
    stop_gradient_target: bool = True


class HeadsConfig(Settings):
    """Seven step-wise classifiers and their top-k pooling (paper 3.4)."""

    hidden: Positive = 1024
    dropout: Share = 0.7
    topk_divisor: Positive = 8  # r in k = max(1, T // r)
    mtlr: bool = True  # False: Table 3's ablation; no head on a reconstructed stream, and no KL term


class LossConfig(Settings):
    """Weights of Eq. 4 and the settings of its terms; a term of the FDN with weight 0 is not computed."""

    cls: float = 1.0  # lambda 1
    recon: float = 0.1  # lambda 2, 4.1
    kl: float = 0.1  # lambda 3, 4.1
    aicl: float = 0.1  # lambda 4, 4.1
    fused_head: float = 0.8  # 4.1
    other_heads: float = 0.1  # each of six, 4.1
    aicl_topk: Positive = 10  # K, 4.5.2
    aicl_margin: float = 1.0
    aicl_label: Literal["modality", "video"] = "modality"
    kl_symmetric: bool = False


class ColaConfig(Settings):
    """CoLA (Table 1): numbers of its authors' code; widths and dropout are those of the heads and the fusion."""

    topk_divisor: Positive = 5  # r in k = max(1, T // r): pooling and easy snippets
    hard_divisor: Positive = 20  # the same for hard snippets
    easy_dropout: Share = 0.6  # steps that cannot be easy snippets in this pass
    inner: Positive = 3  # width of the smaller erosion and dilation, in steps
    outer: Positive = 6  # width of the larger ones
    temperature: Annotated[float, Field(gt=0)] = 0.07
    snico: float = 0.01  # weight of the contrastive term


class MDPConfig(Settings):
    """MDP, RT-DeepLoc's parent: numbers of its authors' code; widths and dropout as in RT-DeepLoc."""

    topk_divisor: Positive = 5  # r in k = max(1, T // r): pooling and largest differences
    difference: float = 0.2  # weight of the term on differences of neighbouring steps


class ModelConfig(Settings):
    """RT-DeepLoc (paper Figure 2), or one of the methods of Table 1 on the same features."""

    method: Literal["rt_deeploc", "cola", "mdp"] = "rt_deeploc"
    visual_dim: Positive = 2048
    audio_dim: Positive = 1024
    fusion: FusionConfig = FusionConfig()
    fdn: FDNConfig = FDNConfig()
    heads: HeadsConfig = HeadsConfig()
    loss: LossConfig = LossConfig()
    cola: ColaConfig = ColaConfig()
    mdp: MDPConfig = MDPConfig()


class TrainConfig(Settings):
    """Optimisation with video-level labels (paper 4.1)."""

    batch_size: Positive = 32  # 4.1
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5  # 4.1
    weight_decay: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.999)
    steps: Positive = 200_000
    warmup_steps: int = 0
    max_length: Positive = 500  # steps of a random crop
    clip_norm: float | None = None
    balance_classes: bool = False  # draw the four classes equally often
    checkpoint_every: Positive = 1000
    log_every: Positive = 20
    mixed_precision: Literal["no", "bf16"] = "no"
    seed: int = 3407


class Calibration(Settings):
    """softmax(ln p / `temperature` + `bias`) of a window's classes, in the order real, visual, audio, both.

    The default changes nothing; `pipeline tune` fits it (Guo et al. 2017; docs/metrics.md).
    """

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    bias: tuple[Finite, Finite, Finite, Finite] = (0.0, 0.0, 0.0, 0.0)


class LocalizeConfig(Settings):
    """Windows, class probabilities, hysteresis and merging: step scores to intervals."""

    window: Positive = 500
    overlap: Annotated[int, Field(ge=0)] = 250
    calibration: Calibration = Calibration()
    onset: Share = 0.5
    offset: Share = 0.4
    merge_gap_s: Seconds = 0.12
    min_duration_s: Seconds = 0.08
    min_assessed_s: Seconds = (
        1.0  # of a track that there must be to judge it; less, and it is "not assessable" ...
    )
    min_assessed_share: Share = 0.5  # ... unless the track is so short that this share of it is enough
    warn_unassessed: Share = 0.1  # of a track that could not be judged; more than that is a warning

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.overlap >= self.window:
            raise ValueError(f"overlap ({self.overlap}) must be smaller than window ({self.window})")
        if self.offset > self.onset:
            raise ValueError(f"offset ({self.offset}) must not exceed onset ({self.onset})")
        return self


class SynthesizeConfig(Settings):
    """A labelled data set forged from authentic clips; the defaults follow LAV-DF (configs/datasets/)."""

    variants: Positive = 4  # clips made of each input: one authentic, the others forged in turn
    real_share: Share = 0.267  # of all clips; LAV-DF has 36,431 of 136,304
    manipulations: tuple[str, ...] = ()  # names of those to use; empty means all
    clip_s: tuple[Seconds, Seconds] = (
        2.0,
        20.0,
    )  # shorter input is left out, longer is cut; LAV-DF ends at 20 s
    short_side: Positive = 360  # larger pictures are scaled down to it
    segment_mean_s: Annotated[float, Field(gt=0)] = (
        0.65  # LAV-DF; lengths follow a gamma distribution cut to `segment_s`
    )
    segment_shape: Annotated[float, Field(gt=0)] = 6.0  # then 89 % of them are shorter than 1 s, as published
    segment_s: tuple[Seconds, Seconds] = (0.16, 1.6)
    second_segment: Share = 0.1  # of the forged clips have two; LAV-DF has 1.14 a clip
    extra_sham: Share = 0.5  # of the clips have one more span that is edited without forging
    more_segments: Annotated[int, Field(ge=0)] = (
        0  # so many more in every forged clip, each an example of ...
    )
    more_shams: Annotated[int, Field(ge=0)] = 0  # ... what it is, for pre-training
    editor_scale: tuple[Share, Share] = (0.85, 1.0)  # working size of the editing program, for all clips
    editor_noise_db: tuple[float, float] = (-75.0, -60.0)  # its noise floor, likewise
    editor_gain_db: tuple[float, float] = (-3.0, 3.0)  # its level, likewise
    crf: tuple[Positive, Positive] = (18, 30)  # drawn per clip, whatever its class
    keyframe_every: tuple[Positive, Positive] = (25, 250)  # frames; likewise
    audio_kbps: tuple[Positive, Positive] = (32, 96)  # likewise
    train_share: Share = 0.6  # of the identities
    dev_share: Share = 0.15  # the rest is the test split
    lyra: str = ""  # folder of Lyra's three models, for `recode_neural`; empty: without
    put_back: bool = False  # shams of the picture also put the span back after a codec, as splices do
    whole_share: Share = (
        0.0  # of the clips of a pair: generated from end to end; of authentic ones: nothing edited
    )
    presented: Share = 0.0  # of the clips go through a chain of a recording's fate, whatever their class ...
    edited: Share = 0.0  # ... and this share through harmless edits as well
    families: dict[Split, dict[str, dict[str, tuple[str, ...]]]] = {}  # generators by split, kind and family
    people: dict[Split, tuple[str, ...]] = {}  # identities, or patterns of them, whose split is fixed
    forge_voices: bool = False  # make clips of sound files too, instead of lending their voices only

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
        found = (
            split
            for split, kinds in self.families.items()
            for families in kinds.values()
            if any(name in generators for generators in families.values())
        )
        return next(found, None)

    def split_of_person(self, identity: str) -> Split | None:
        """The split that `people` fixes for `identity`; None where it is left to the draw."""
        found = (
            split
            for split, patterns in self.people.items()
            if any(fnmatchcase(identity, pattern) for pattern in patterns)
        )
        return next(found, None)

    def _families(self) -> list[str]:
        return [name for kinds in self.families.values() for families in kinds.values() for name in families]

    def _generators(self) -> list[str]:
        kinds = [families for kinds in self.families.values() for families in kinds.values()]
        return [name for families in kinds for generators in families.values() for name in generators]


class PretrainConfig(Settings):
    """Supervised pre-training of the compact extractors on forgeries whose position is known."""

    visual_steps: Positive = 2500
    audio_steps: Positive = 2500
    batch: Positive = 12
    crop_s: Annotated[float, Field(gt=0)] = 4.0
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: float = 0.05
    authentic_weight: float = 0.5  # of an untouched step, against 1 of a forged one ...
    sham_weight: float = 1.5  # ... and of one that was edited without forging
    seed: int = 3407


class BatchConfig(Settings):
    """Limits of one file, and of the workers, when many files are extracted; none of them shapes a feature."""

    file_s: Annotated[float, Field(gt=0)] = 300.0  # a file may take this long ...
    file_factor: Annotated[float, Field(ge=0)] = 30.0  # ... plus this many times its duration
    memory_mb: Positive = 8192  # resident memory of a worker; one that exceeds it is stopped
    clips_per_worker: Positive = 1000  # then it is replaced by a fresh one


class PipelineConfig(Settings):
    """All settings of one pipeline, from file to intervals."""

    preset: str = "paper"
    decode: DecodeConfig = DecodeConfig()
    visual: VisualConfig = VisualConfig()
    audio: AudioConfig = AudioConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    localize: LocalizeConfig = LocalizeConfig()
    synthesize: SynthesizeConfig = SynthesizeConfig()
    pretrain: PretrainConfig = PretrainConfig()
    batch: BatchConfig = BatchConfig()
