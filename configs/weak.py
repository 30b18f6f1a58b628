"""Settings of the weakly supervised methods that RT-DeepLoc is compared with, beside CoLA and MDP."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from configs.base import Positive, Settings, Share


class FustalConfig(Settings):
    """FuSTAL (https://github.com/fqhank/FuSTAL): a generator like CoLA, then a student on its pseudo-labels.

    The generator has the settings of `cola`, the student those of `tridet`.
    """

    crossed: float = Field(
        0.2, description="Weight of the contrast between videos, within the contrastive loss."
    )
    generator_share: Share = Field(
        0.5,
        description="Share of the steps of training that are the generator's; later ones train the student.",
    )
    labelled_share: Share = Field(
        0.6,
        description="Share of the student's steps on the generator's segments (60 of 100 epochs), before its own.",
    )
    thresholds: tuple[Share, ...] = Field(
        tuple(round(0.2 + 0.025 * k, 3) for k in range(25)),
        description="Levels of the normalised forged activation above which runs of steps are segments.",
    )
    nms: Share = Field(0.5, description="IoU above which the lower scored of two segments is dropped.")
    video: float = Field(0.2, description="Weight of the video's probability in the score of a segment.")
    score: float = Field(0.4, description="Segments that score higher are pseudo-labels.")
    support: float = Field(
        0.2,
        description="Least sum of IoU with the other runs of the video, at all levels, that a pseudo-label needs.",
    )
    dropout: Share = Field(0.7, description="Dropout probability of the student's video loss.")
    topk_divisor: Positive = Field(5, description="r in k = max(1, T // r) of the student's video loss.")
    average: Share = Field(0.999, description="Decay of the moving average of the student's weights.")


class SalConfig(Settings):
    """SAL (https://github.com/lizhilin-ustc/SAL) on sound and picture in place of optical flow and colour."""

    dropout: Share = Field(0.5, description="Dropout probability of the embeddings.")
    audio_share: Share = Field(
        0.9, description="Share of the sound's actionness in that of a step; of optical flow in the original."
    )
    topk_divisor: Positive = Field(8, description="r in k = max(1, T // r), the number of steps pooled.")
    extra_share: Share = Field(
        17 / 750, description="Share of the steps that pseudo-labels have more; 17 of 750."
    )
    agreement: float = Field(5.0, description="Weight of the squared difference of both actionness curves.")
    background: float = Field(10.0, description="Weight of the divergence of the background from uniform.")
    semantics: float = Field(3.0, description="Weight of the classification by second-order statistics.")
    power: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="q of the generalised cross-entropy; towards 0 it becomes the cross-entropy."
    )
    momentum: Share = Field(0.7, description="Decay of the running mean and variance of the confidence.")
    pooled_share: Share = Field(
        0.35, description="Share of the pooled activations in the video's logits; the rest is second-order."
    )


class LocoConfig(Settings):
    """LOCO (IJCAI 2025), after its description: the adapter is known, the rest partly (docs/decisions.md)."""

    width: Positive = Field(128, description="Channels of a step in the adapter.")
    maps: tuple[Positive, ...] = Field(
        (32, 32, 64, 64, 128, 128), description="Maps that each residual block of the adapter puts out."
    )
    attention: Positive = Field(64, description="Hidden channels of the adapter's attention.")
    topk_divisor: Positive = Field(
        10, description="r in k = max(1, T // r), the number of steps pooled; 50 of 500."
    )
    consistency: float = Field(
        0.1, description="Weight of the divergence of the two branches; not published, RT-DeepLoc's."
    )
    contrast: float = Field(
        0.1, description="Weight of the contrastive losses; not published, that of RT-DeepLoc's."
    )
    temperature: Annotated[float, Field(gt=0)] = Field(
        0.07, description="Temperature of the contrastive losses; not published, CoLA's."
    )
