"""RT-DeepLoc: weakly supervised temporal deepfake localization from reconstruction errors (Figure 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from configs.schema import ModelConfig
from data.labels import REAL
from models import losses
from models.batch import Batch
from models.embedding import Embedding
from models.fdn import FDN, Reconstruction, random_mask
from models.fusion import Fusion
from models.heads import HEADS, ORIGINAL_HEADS, Heads, topk_mean
from models.method import FORGED, Scores, WeakMethod, evaluating


@dataclass(frozen=True)
class Outputs:
    """What the losses and the scores are made of.

    `visual` and `audio`: F_v and F_a (B, T, dim); `visual_rebuilt` and `audio_rebuilt`: the FDN's answers, None
    without FDN; `logits` (B, T, classes) and `pooled` (B, classes) by head.
    """

    visual: Tensor
    audio: Tensor
    visual_rebuilt: Reconstruction | None
    audio_rebuilt: Reconstruction | None
    logits: dict[str, Tensor]
    pooled: dict[str, Tensor]

    @property
    def video(self) -> Tensor:
        """(B, 4): the fused head's logits."""
        return self.pooled["fused"]


class RTDeepLoc(WeakMethod[Outputs]):
    """The whole model: embeddings, fusion, a Forgery Discovery Network per modality, seven heads.

    Table 3 takes parts away. Without FDN nothing is reconstructed, so that AICL and MTLR go too. Without MTLR
    (`heads.mtlr`) there is no head on a reconstructed stream and no KL term, without AICL (`loss.aicl` of 0) no
    contrastive term. A part that is off has no parameter and no term. The branch of a modality is then judged by
    the head of its original stream.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.fusion.dim
        self.embed_visual = Embedding(config.visual_dim - config.unseen_columns, dim)
        self.embed_audio = Embedding(config.audio_dim - config.unseen_columns, dim)
        self.fusion = Fusion(config.fusion)
        self.fdn_visual = FDN(dim, config.fdn) if config.fdn.enabled else None
        self.fdn_audio = FDN(dim, config.fdn) if config.fdn.enabled else None
        self.mtlr = config.fdn.enabled and config.heads.mtlr
        self.heads = Heads(dim, config.heads, HEADS if self.mtlr else ORIGINAL_HEADS)

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Outputs:
        """One pass with one random mask per video and modality, as in training."""
        f_v, f_a = self._embed(batch)

        def rebuild(fdn: FDN | None, features: Tensor, mask: Tensor) -> Reconstruction | None:
            if fdn is None:
                return None
            return fdn(features, mask, random_mask(mask, self.config.fdn.mask_ratio, generator))

        return self._classify(
            batch,
            f_v,
            f_a,
            rebuild(self.fdn_visual, f_v, batch.visual_mask),
            rebuild(self.fdn_audio, f_a, batch.audio_mask),
        )

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Every term of Eq. 4 by name, scalars: `total`, its parts that are on, and these by modality or head.

        The reconstruction, consistency and contrastive parts are sums over the two modalities.
        """
        weight = self.config.loss
        parts = self._parts()
        terms: dict[str, Tensor] = {}
        for name, pooled in outputs.pooled.items():
            target, present = self._target(name, batch)
            terms[f"cls_{name}"] = losses.classification(pooled, target, present)
        for modality, features, rebuilt, mask, modality_forged in (
            ("visual", outputs.visual, outputs.visual_rebuilt, batch.visual_mask, batch.visual_forged),
            ("audio", outputs.audio, outputs.audio_rebuilt, batch.audio_mask, batch.audio_forged),
        ):
            if rebuilt is None:
                continue
            if "recon" in parts:
                terms[f"recon_{modality}"] = losses.reconstruction(
                    features,
                    rebuilt.features,
                    rebuilt.masked,
                    batch.authentic,
                    self.config.fdn.stop_gradient_target,
                )
            if "kl" in parts:
                terms[f"kl_{modality}"] = losses.consistency(
                    outputs.pooled[f"{modality}_original"],
                    outputs.pooled[f"{modality}_rebuilt"],
                    mask.any(dim=1),
                    weight.kl_symmetric,
                )
            if "aicl" in parts:
                forged = modality_forged if weight.aicl_label == "modality" else ~batch.authentic
                # Only masked steps: Eq. 2 never trains the decoder at visible ones, where errors grow without
                # meaning.
                local = losses.local_features(features, rebuilt.error, rebuilt.masked, weight.aicl_topk)
                terms[f"aicl_{modality}"] = losses.aicl(
                    local, rebuilt.masked.any(dim=1), forged, weight.aicl_margin
                )

        others = sum(terms[f"cls_{name}"] for name in outputs.pooled if name != "fused")
        terms["cls"] = weight.fused_head * terms["cls_fused"] + weight.other_heads * others
        for part in parts:
            terms[part] = terms[f"{part}_visual"] + terms[f"{part}_audio"]
        terms["total"] = weight.cls * terms["cls"]
        for part, part_weight in parts.items():
            terms["total"] = terms["total"] + part_weight * terms[part]  # Eq. 4
        return terms

    def _parts(self) -> dict[str, float]:
        """Weights of those terms of Eq. 4 beside the classification that are on."""
        weight = self.config.loss
        if not self.config.fdn.enabled:
            return {}
        every = {"recon": weight.recon, "kl": weight.kl if self.mtlr else 0.0, "aicl": weight.aicl}
        return {name: value for name, value in every.items() if value != 0}

    def score(self, batch: Batch, seed: int = 0) -> Scores:
        """Step scores and video probabilities, the same for the same video and seed whatever the batch.

        Classes that need an absent modality have probability 0: a clip without sound is real or visually
        forged.
        """
        with evaluating(self):
            f_v, f_a = self._embed(batch)
            outputs = self._classify(
                batch,
                f_v,
                f_a,
                self.fdn_visual.average(f_v, batch.visual_mask, seed) if self.fdn_visual else None,
                self.fdn_audio.average(f_a, batch.audio_mask, seed) if self.fdn_audio else None,
            )
        sees, hears = batch.visual_mask.any(dim=1), batch.audio_mask.any(dim=1)
        impossible = ~torch.stack([torch.ones_like(sees), sees, hears, sees & hears], dim=1)  # (B, 4)
        pooled = outputs.pooled["fused"].masked_fill(impossible, -torch.inf)
        steps = outputs.logits["fused"].masked_fill(impossible.unsqueeze(1), -torch.inf)  # (B, T, 4)
        visual, audio = (
            outputs.logits[name if self.mtlr else f"{name}_original"] for name in ("visual", "audio")
        )
        return Scores(
            video_probabilities=pooled.softmax(dim=-1),
            visual=visual.softmax(dim=-1)[..., FORGED] * batch.visual_mask,
            audio=audio.softmax(dim=-1)[..., FORGED] * batch.audio_mask,
            joint=(1 - steps.softmax(dim=-1)[..., REAL]) * (batch.visual_mask | batch.audio_mask),
            visual_error=outputs.visual_rebuilt.error if outputs.visual_rebuilt else None,
            audio_error=outputs.audio_rebuilt.error if outputs.audio_rebuilt else None,
        )

    def _embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """F_v and F_a, (B, T, dim) each."""
        visual, audio = (
            x[..., : x.shape[-1] - self.config.unseen_columns] for x in (batch.visual, batch.audio)
        )
        return self.embed_visual(visual, batch.visual_mask), self.embed_audio(audio, batch.audio_mask)

    def _classify(
        self,
        batch: Batch,
        f_v: Tensor,
        f_a: Tensor,
        rebuilt_v: Reconstruction | None,
        rebuilt_a: Reconstruction | None,
    ) -> Outputs:
        """Feeds the heads of Figure 2b and pools their step scores."""
        streams = {
            "fused": self.fusion(f_v, f_a, batch.visual_mask, batch.audio_mask),
            "visual_original": f_v,
            "audio_original": f_a,
        }
        if self.mtlr and rebuilt_v is not None and rebuilt_a is not None:
            streams |= {
                "visual": torch.cat([f_v, rebuilt_v.features], dim=-1),
                "audio": torch.cat([f_a, rebuilt_a.features], dim=-1),
                "visual_rebuilt": rebuilt_v.features,
                "audio_rebuilt": rebuilt_a.features,
            }
        names = list(self.heads.heads)
        masks = {name: self._mask(name, batch) for name in names}
        logits = self.heads(streams, masks)
        divisor = self.config.heads.topk_divisor
        pooled = {name: topk_mean(logits[name], masks[name], divisor) for name in names}
        return Outputs(f_v, f_a, rebuilt_v, rebuilt_a, logits, pooled)

    @staticmethod
    def _mask(head: str, batch: Batch) -> Tensor:
        """(B, T): the steps that a head judges; the fused one needs either modality."""
        if head == "fused":
            return batch.visual_mask | batch.audio_mask
        return batch.visual_mask if head.startswith("visual") else batch.audio_mask

    def _target(self, head: str, batch: Batch) -> tuple[Tensor, Tensor]:
        """Class of every video for one head (B,), and whether the head has anything to judge in it (B,).

        The fused head's class is that of the modalities that it gets.
        """
        present = self._mask(head, batch).any(dim=1)
        if head == "fused":
            return batch.seen_label, present
        return (batch.visual_forged if head.startswith("visual") else batch.audio_forged).long(), present
