"""Settings of the fully supervised methods of Table 1: one family of detectors on a pyramid of time."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from configs.base import Positive, Settings, Share


class OptimiserConfig(Settings):
    """AdamW with warm-up and cosine, gradients clipped, weights averaged; steps and batch are those of `train`.

    Defaults: the LAV-DF recipe of https://github.com/ymhzyj/UMMAFormer, which is ActionFormer's.
    """

    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-3, description="Highest learning rate of AdamW.")
    final_rate: Annotated[float, Field(ge=0)] = Field(
        1e-8, description="Learning rate at the last step, the end of half a cosine."
    )
    weight_decay: float = Field(
        0.05, description="Weight decay, of the weights of convolutions and linear layers only."
    )
    warmup: Share = Field(
        1 / 3, description="Share of the steps in which the learning rate rises linearly; 5 of 15 epochs."
    )
    clip_norm: Annotated[float, Field(gt=0)] = Field(1.0, description="Gradients are clipped to this norm.")
    average: Share = Field(
        0.999, description="Decay of the moving average of the weights, which is what training ends with."
    )


class PointLossConfig(Settings):
    """Points, targets and losses (ActionFormer, https://arxiv.org/abs/2202.07925, section 3)."""

    radius: Annotated[float, Field(gt=0)] = Field(
        1.5, description="Points this many strides from a segment's centre, and inside it, are positive."
    )
    smoothing: Share = Field(0.1, description="Label smoothing of the classification target.")
    regression: float = Field(2.0, description="Weight of the boundary loss against the classification loss.")
    normaliser: Annotated[float, Field(gt=0)] = Field(
        200.0, description="First value of the running number of positives that losses are divided by."
    )
    authentic: bool = Field(
        False, description="Whether clips without a segment train the detector, as background throughout."
    )


class DecodeSpansConfig(Settings):
    """From points to ranked segments: soft-NMS, then boundary voting (ActionFormer's LAV-DF settings)."""

    floor: Share = Field(
        1e-3, description="Segments that score lower are dropped, before and after soft-NMS."
    )
    candidates: Positive = Field(2000, description="Most segments of a level of the pyramid before soft-NMS.")
    sigma: Annotated[float, Field(gt=0)] = Field(0.75, description="Width of the Gaussian of soft-NMS.")
    most: Positive = Field(100, description="Most segments of a clip.")
    voting: Share = Field(
        0.9, description="Candidates that overlap a segment by this IoU or more vote on its boundaries."
    )


class PyramidConfig(Settings):
    """What the detectors share: input, pyramid, heads, losses, decoding, optimisation."""

    length: Positive | None = Field(
        768, description="Steps that a clip is resized to, whatever its length; null: its own steps."
    )
    dim: Positive = Field(256, description="Channels of the pyramid.")
    head_dim: Positive = Field(256, description="Channels of the heads.")
    stem: Positive = Field(2, description="Blocks before the pyramid.")
    levels: Positive = Field(6, description="Levels of the pyramid; each halves the rate of the one below.")
    drop_path: Share = Field(0.1, description="Probability that a block is skipped for a clip in training.")
    loss: PointLossConfig = Field(PointLossConfig(), description="Targets and losses.")
    decoding: DecodeSpansConfig = Field(DecodeSpansConfig(), description="From points to segments.")
    optimiser: OptimiserConfig = Field(OptimiserConfig(), description="Optimisation.")


class DetectorConfig(PyramidConfig):
    """ActionFormer, UMMAFormer and MFMS-style: pyramids of transformer blocks (LAV-DF configuration of UMMAFormer)."""

    heads: Positive = Field(4, description="Attention heads.")
    window: Positive = Field(
        7, description="Steps that attention sees, its own in the middle; the coarsest level sees all."
    )


class TriDetConfig(PyramidConfig):
    """TriDet (https://arxiv.org/abs/2303.07347), its ActivityNet configuration: there is none for forgeries."""

    head_dim: Positive = Field(512, description="Channels of the heads.")
    loss: PointLossConfig = Field(
        PointLossConfig(regression=1.0, normaliser=400.0), description="Targets and losses."
    )
    optimiser: OptimiserConfig = Field(
        OptimiserConfig(final_rate=5e-5, weight_decay=0.04, warmup=2 / 3, clip_norm=0.4),
        description="Optimisation; 10 of 15 epochs are warm-up.",
    )
    window: Positive = Field(15, description="Width w of the convolutions of the SGP layer, in steps; odd.")
    widening: Annotated[float, Field(gt=0)] = Field(
        1.3, description="The wider convolution of the SGP layer has (w + 1) times this many steps (k)."
    )
    hidden: Positive = Field(2048, description="Channels between the two linear layers of a block.")
    spread: Annotated[float, Field(gt=0)] = Field(
        0.2, description="Standard deviation of the first weights of the SGP layer's convolutions."
    )
    bins: Positive = Field(12, description="Bins of the Trident head on either side of a point (B).")
    iou_power: float = Field(
        1.0, description="The classification loss of a positive point is multiplied by its IoU to this power."
    )
    noise: Annotated[float, Field(ge=0)] = Field(
        0.5, description="Standard deviation of the noise on features in training."
    )


class UMMAFormerConfig(Settings):
    """What UMMAFormer (https://arxiv.org/abs/2308.14395) adds to ActionFormer; MFMS-style has the classifier."""

    bottleneck: tuple[Positive, ...] = Field(
        (256, 512, 1024, 2048, 256), description="Channels of the autoencoder's layers, each half the rate."
    )
    reconstruction: float = Field(
        1.0, description="Weight of the mean absolute error of the reconstruction, of authentic clips."
    )
    video: float = Field(0.1, description="Weight of the focal loss of the clip's class.")
    dropout: Share = Field(0.5, description="Dropout probability of the clip's classifier.")
