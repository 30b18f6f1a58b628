"""RT-DeepLoc: weakly supervised temporal deepfake localization from reconstruction errors (Figure 2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from configs.schema import ModelConfig
from data.errors import WeightsError
from models import losses
from models.batch import REAL, Batch
from models.embedding import Embedding
from models.fdn import FDN, Reconstruction, random_mask
from models.fusion import Fusion
from models.heads import HEADS, Heads, topk_mean

FORGED = 1  # second class of the two-class heads


@dataclass(frozen=True)
class Outputs:
    """What the losses and the scores are made of.

    `visual` and `audio`: F_v and F_a (B, T, dim); `visual_rebuilt` and `audio_rebuilt`: the FDN's answers;
    `logits` (B, T, classes) and `pooled` (B, classes) by head.
    """

    visual: Tensor
    audio: Tensor
    visual_rebuilt: Reconstruction
    audio_rebuilt: Reconstruction
    logits: dict[str, Tensor]
    pooled: dict[str, Tensor]


@dataclass(frozen=True)
class Scores:
    """Inference result: probabilities in [0, 1], reconstruction errors >= 0, all zero where nothing is valid.

    Shapes: `video_probabilities` (B, 4) in the order of CLASSES; `visual`, `audio` and `joint` (B, T): how
    likely a step is forged, by branch; `visual_error` and `audio_error` (B, T): ‖F − F̂‖₂.
    """

    video_probabilities: Tensor
    visual: Tensor
    audio: Tensor
    joint: Tensor
    visual_error: Tensor
    audio_error: Tensor


class RTDeepLoc(nn.Module):
    """The whole model: embeddings, fusion, a Forgery Discovery Network per modality, seven heads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.fusion.dim
        self.embed_visual = Embedding(config.visual_dim, dim)
        self.embed_audio = Embedding(config.audio_dim, dim)
        self.fusion = Fusion(config.fusion)
        self.fdn_visual = FDN(dim, config.fdn)
        self.fdn_audio = FDN(dim, config.fdn)
        self.heads = Heads(dim, config.heads)

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Outputs:
        """One pass with one random mask per video and modality, as in training."""
        f_v, f_a = self._embed(batch)
        ratio = self.config.fdn.mask_ratio
        return self._classify(
            batch,
            f_v,
            f_a,
            self.fdn_visual(f_v, batch.visual_mask, random_mask(batch.visual_mask, ratio, generator)),
            self.fdn_audio(f_a, batch.audio_mask, random_mask(batch.audio_mask, ratio, generator)),
        )

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Every term of Eq. 4 by name, scalars: `total`, its four parts, and these by modality or head.

        The reconstruction, consistency and contrastive parts are sums over the two modalities.
        """
        weight = self.config.loss
        terms: dict[str, Tensor] = {}
        for name, pooled in outputs.pooled.items():
            target, present = self._target(name, batch)
            terms[f"cls_{name}"] = losses.classification(pooled, target, present)
        for modality, features, rebuilt, mask, modality_forged in (
            ("visual", outputs.visual, outputs.visual_rebuilt, batch.visual_mask, batch.visual_forged),
            ("audio", outputs.audio, outputs.audio_rebuilt, batch.audio_mask, batch.audio_forged),
        ):
            present = mask.any(dim=1)
            forged = modality_forged if weight.aicl_label == "modality" else ~batch.authentic
            terms[f"recon_{modality}"] = losses.reconstruction(
                features,
                rebuilt.features,
                rebuilt.masked,
                batch.authentic,
                self.config.fdn.stop_gradient_target,
            )
            terms[f"kl_{modality}"] = losses.consistency(
                outputs.pooled[f"{modality}_original"],
                outputs.pooled[f"{modality}_rebuilt"],
                present,
                weight.kl_symmetric,
            )
            # Only masked steps: Eq. 2 never trains the decoder at visible ones, where errors grow without meaning.
            local = losses.local_features(features, rebuilt.error, rebuilt.masked, weight.aicl_topk)
            terms[f"aicl_{modality}"] = losses.aicl(
                local, rebuilt.masked.any(dim=1), forged, weight.aicl_margin
            )

        terms["cls"] = weight.fused_head * terms["cls_fused"]
        terms["cls"] = terms["cls"] + weight.other_heads * sum(terms[f"cls_{name}"] for name in HEADS[1:])
        for part in ("recon", "kl", "aicl"):
            terms[part] = terms[f"{part}_visual"] + terms[f"{part}_audio"]
        terms["total"] = (
            weight.cls * terms["cls"]
            + weight.recon * terms["recon"]
            + weight.kl * terms["kl"]
            + weight.aicl * terms["aicl"]
        )  # Eq. 4
        return terms

    @torch.no_grad()
    def score(self, batch: Batch, seed: int = 0) -> Scores:
        """Step scores and video probabilities, the same for the same video and seed whatever the batch.

        Classes that need an absent modality have probability 0: a clip without sound is real or visually
        forged.
        """
        training = self.training
        self.eval()
        try:
            f_v, f_a = self._embed(batch)
            outputs = self._classify(
                batch,
                f_v,
                f_a,
                self.fdn_visual.average(f_v, batch.visual_mask, seed),
                self.fdn_audio.average(f_a, batch.audio_mask, seed),
            )
        finally:
            self.train(training)
        sees, hears = batch.visual_mask.any(dim=1), batch.audio_mask.any(dim=1)
        impossible = ~torch.stack([torch.ones_like(sees), sees, hears, sees & hears], dim=1)  # (B, 4)
        pooled = outputs.pooled["fused"].masked_fill(impossible, -torch.inf)
        steps = outputs.logits["fused"].masked_fill(impossible.unsqueeze(1), -torch.inf)  # (B, T, 4)
        return Scores(
            video_probabilities=pooled.softmax(dim=-1),
            visual=outputs.logits["visual"].softmax(dim=-1)[..., FORGED] * batch.visual_mask,
            audio=outputs.logits["audio"].softmax(dim=-1)[..., FORGED] * batch.audio_mask,
            joint=(1 - steps.softmax(dim=-1)[..., REAL]) * (batch.visual_mask | batch.audio_mask),
            visual_error=outputs.visual_rebuilt.error,
            audio_error=outputs.audio_rebuilt.error,
        )

    def _embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """F_v and F_a, (B, T, dim) each."""
        return self.embed_visual(batch.visual, batch.visual_mask), self.embed_audio(
            batch.audio, batch.audio_mask
        )

    def _classify(
        self, batch: Batch, f_v: Tensor, f_a: Tensor, rebuilt_v: Reconstruction, rebuilt_a: Reconstruction
    ) -> Outputs:
        """Feeds the seven heads of Figure 2b and pools their step scores."""
        streams = {
            "fused": self.fusion(f_v, f_a, batch.visual_mask, batch.audio_mask),
            "visual": torch.cat([f_v, rebuilt_v.features], dim=-1),
            "audio": torch.cat([f_a, rebuilt_a.features], dim=-1),
            "visual_original": f_v,
            "visual_rebuilt": rebuilt_v.features,
            "audio_original": f_a,
            "audio_rebuilt": rebuilt_a.features,
        }
        masks = {name: self._mask(name, batch) for name in HEADS}
        logits = self.heads(streams, masks)
        divisor = self.config.heads.topk_divisor
        pooled = {name: topk_mean(logits[name], masks[name], divisor) for name in HEADS}
        return Outputs(f_v, f_a, rebuilt_v, rebuilt_a, logits, pooled)

    @staticmethod
    def _mask(head: str, batch: Batch) -> Tensor:
        """(B, T): the steps that a head judges; the fused one needs either modality."""
        if head == "fused":
            return batch.visual_mask | batch.audio_mask
        return batch.visual_mask if head.startswith("visual") else batch.audio_mask

    def _target(self, head: str, batch: Batch) -> tuple[Tensor, Tensor]:
        """Class of every video for one head (B,), and whether the head has anything to judge in it (B,)."""
        present = self._mask(head, batch).any(dim=1)
        if head == "fused":
            return batch.label, present
        return (batch.visual_forged if head.startswith("visual") else batch.audio_forged).long(), present


def save_weights(model: RTDeepLoc, path: Path) -> None:
    """Writes all parameters as safetensors."""
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)


def load_weights(config: ModelConfig, path: Path) -> RTDeepLoc:
    """A model of `config` in eval mode on the CPU with the parameters in `path`.

    Raises WeightsError when the file is missing, damaged, or of another model.
    """
    model = RTDeepLoc(config)
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"not readable as safetensors ({error})", path, "check the weights folder"
        ) from error
    except RuntimeError as error:
        what = "weights of another model than the settings ask for"
        raise WeightsError(what, path, "use the config.yaml that lies beside the weights") from error
    return model.eval()
