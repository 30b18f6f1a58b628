"""Settings of the model and of the methods it is compared with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from configs.base import Positive, Settings, Share
from configs.detectors import DetectorConfig, TriDetConfig, UMMAFormerConfig
from configs.weak import FustalConfig, LocoConfig, SalConfig


class FusionConfig(Settings):
    """Embeddings and bidirectional cross-modal attention (paper 3.1)."""

    dim: Positive = Field(512, description="Channels of the embeddings.")
    heads: Positive = Field(8, description="Attention heads.")
    dropout: Share = Field(0.1, description="Dropout probability.")
    reach: Positive | None = Field(
        None, description="Steps that attention sees to either side; null: the whole sequence."
    )


class FDNConfig(Settings):
    """Forgery Discovery Network: a masked autoencoder per modality (paper 3.2)."""

    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.75, description="Share of steps that are masked (rho, paper 4.5.2)."
    )
    encoder_layers: Positive = Field(4, description="Transformer layers of the encoder.")
    decoder_layers: Positive = Field(2, description="Transformer layers of the decoder.")
    encoder_dim: Positive = Field(512, description="Channels of the encoder.")
    decoder_dim: Positive = Field(256, description="Channels of the decoder.")
    heads: Positive = Field(8, description="Attention heads.")
    dropout: Share = Field(0.0, description="Dropout probability.")
    enabled: bool = Field(
        True, description="false: the ablation of paper Table 3, without FDN and hence without AICL and MTLR."
    )
    test_passes: Positive = Field(
        4, description="Passes with complementary masks at inference; every step is masked in at least one."
    )
    stop_gradient_target: bool = Field(
        True, description="Whether no gradient flows into the features to be reconstructed."
    )


class HeadsConfig(Settings):
    """Seven step-wise classifiers and their top-k pooling (paper 3.4)."""

    hidden: Positive = Field(1024, description="Channels of the hidden layer.")
    dropout: Share = Field(0.7, description="Dropout probability.")
    topk_divisor: Positive = Field(
        8, description="r in k = max(1, T // r), the number of steps pooled out of T."
    )
    mtlr: bool = Field(
        True,
        description="false: the ablation of paper Table 3, without heads on reconstructions and KL term.",
    )


class LossConfig(Settings):
    """Weights of Eq. 4 and the settings of its terms; an FDN term with weight 0 is not computed."""

    cls: float = Field(1.0, description="Weight of the classification loss (lambda 1).")
    recon: float = Field(0.1, description="Weight of the reconstruction loss (lambda 2, paper 4.1).")
    kl: float = Field(0.1, description="Weight of the KL loss (lambda 3, paper 4.1).")
    aicl: float = Field(0.1, description="Weight of the contrastive loss AICL (lambda 4, paper 4.1).")
    fused_head: float = Field(
        0.8, description="Weight of the fused head within the classification loss (paper 4.1)."
    )
    other_heads: float = Field(0.1, description="Weight of each of the six other heads (paper 4.1).")
    aicl_topk: Positive = Field(
        10, description="Steps with the largest error that AICL averages (K, paper 4.5.2)."
    )
    aicl_margin: float = Field(1.0, description="Margin of AICL, a distance between normalised embeddings.")
    aicl_label: Literal["modality", "video"] = Field(
        "modality", description="Label that decides the form of AICL: the modality's own or the video's."
    )
    kl_symmetric: bool = Field(False, description="Whether the KL loss is taken in both directions.")


class ColaConfig(Settings):
    """CoLA (paper Table 1) with its authors' numbers; widths and dropout are those of heads and fusion."""

    topk_divisor: Positive = Field(
        5, description="r in k = max(1, T // r), for pooling and for easy snippets."
    )
    hard_divisor: Positive = Field(20, description="The same for hard snippets.")
    easy_dropout: Share = Field(
        0.6, description="Share of steps that cannot be easy snippets in a pass, drawn at random."
    )
    inner: Positive = Field(3, description="Width of the smaller erosion and dilation, in steps.")
    outer: Positive = Field(6, description="Width of the larger erosion and dilation, in steps.")
    temperature: Annotated[float, Field(gt=0)] = Field(
        0.07, description="Temperature of the contrastive loss."
    )
    snico: float = Field(0.01, description="Weight of the contrastive loss.")


class MDPConfig(Settings):
    """MDP, the parent of RT-DeepLoc, with its authors' numbers; widths and dropout as in RT-DeepLoc."""

    topk_divisor: Positive = Field(
        5, description="r in k = max(1, T // r), for pooling and for the largest differences."
    )
    difference: float = Field(
        0.2, description="Weight of the loss on differences between neighbouring steps."
    )


class ModelConfig(Settings):
    """RT-DeepLoc (paper Figure 2), or one of the methods of Table 1 on the same features."""

    method: Literal[
        "rt_deeploc",
        "cola",
        "fustal_generator",
        "fustal",
        "sal",
        "loco",
        "mdp",
        "actionformer",
        "tridet",
        "ummaformer",
        "mfms",
    ] = Field(
        "rt_deeploc",
        description="Method that is trained; the last four learn from forged segments, the others from labels.",
    )
    visual_dim: Positive = Field(
        2048, description="Channels of the picture features; follows from the extractor."
    )
    audio_dim: Positive = Field(
        1024, description="Channels of the sound features; follows from the extractor."
    )
    unseen_columns: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Last columns of the features hidden from RT-DeepLoc; 4 are the evidence of compact.",
    )
    fusion: FusionConfig = Field(FusionConfig(), description="Embeddings and cross-modal attention.")
    fdn: FDNConfig = Field(FDNConfig(), description="Forgery Discovery Network.")
    heads: HeadsConfig = Field(HeadsConfig(), description="Classifiers and pooling.")
    loss: LossConfig = Field(LossConfig(), description="Loss weights.")
    cola: ColaConfig = Field(ColaConfig(), description="The compared method CoLA.")
    fustal: FustalConfig = Field(FustalConfig(), description="The compared method FuSTAL.")
    sal: SalConfig = Field(SalConfig(), description="The compared method SAL.")
    loco: LocoConfig = Field(LocoConfig(), description="The compared method LOCO.")
    mdp: MDPConfig = Field(MDPConfig(), description="The compared method MDP.")
    detector: DetectorConfig = Field(
        DetectorConfig(), description="The compared methods ActionFormer, UMMAFormer and MFMS-style."
    )
    tridet: TriDetConfig = Field(TriDetConfig(), description="The compared method TriDet.")
    ummaformer: UMMAFormerConfig = Field(
        UMMAFormerConfig(), description="Parts of UMMAFormer beside the detector."
    )
