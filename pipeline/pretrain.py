"""Compact extractors trained from scratch on forgeries of our own, whose position is known to the frame.

Each extractor learns to tell a forged step from its authentic twin: the same instant of the same clip, through the
same encoder, without the forgery. Its features then go to RT-DeepLoc, which itself never sees a position (DESIGN 5:
say so wherever a number rests on it). Only the data set's train split is read, hence only its identities.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from configs.schema import PipelineConfig, PretrainConfig
from data.files import replacing
from extractors.resnet import build_trunk, load_trunk, trunk_dim
from extractors.runtime import choose_dtype
from extractors.wav2vec2 import HOP, load_model, step_count
from pipeline.detector import choose_device
from pipeline.progress import Hook, silent
from pipeline.twins import AUDIO_CLASSES, JITTER, VISUAL_CLASSES, SoundTwins, frame_twins, sound_twins

_LOG = logging.getLogger(__name__)


def pretrain_visual(
    dataset: Path, out: Path, config: PipelineConfig, start: Path | None = None, hook: Hook = silent
) -> Path:
    """Train the TSN trunk on forged frames and their authentic twins; returns `out`/tsn.safetensors.

    The head is linear, so its answer for a frame is the mean of its answers for the places of the last feature map.
    Both are trained: the frame's answer by cross-entropy over authentic and each manipulation, and the order of the
    twins, of the mean answer and of the strongest place, by a logistic ranking loss. Without the latter a forgery of
    a twentieth of the picture hardly moves the mean, and learning does not start. `start` names weights to go on from.

    Raises InputError when the data set has no forged frames in its train split, WeightsError when `start` does not fit.
    """
    settings, device = config.pretrain, torch.device(choose_device("auto"))
    twins = frame_twins(dataset, config, hook)
    generator = torch.Generator().manual_seed(settings.seed)
    torch.manual_seed(settings.seed)
    arch = config.visual.arch
    trunk = build_trunk(arch) if start is None else load_trunk(arch, start / "tsn.safetensors")
    trunk = trunk.train().to(device).to(memory_format=torch.channels_last)
    head = nn.Linear(trunk_dim(arch), len(VISUAL_CLASSES)).to(device)
    mean, std = (
        torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (config.visual.mean, config.visual.std)
    )
    step = _Optimisation([*trunk.parameters(), *head.parameters()], settings, settings.visual_steps, device)
    pairs = settings.visual_batch // 2
    for k in range(settings.visual_steps):
        chosen = torch.randint(len(twins.classes), (pairs,), generator=generator).numpy()
        # A pair is augmented as one, lest the augmentation tell its halves apart.
        pair = torch.from_numpy(np.concatenate([twins.forged[chosen], twins.authentic[chosen]], axis=-1))
        pixels = _augment_frames(pair.to(device).permute(0, 3, 1, 2).float(), config.visual.crop, generator)
        images = ((torch.cat([pixels[:, :3], pixels[:, 3:]]) - mean) / std).contiguous(
            memory_format=torch.channels_last
        )
        target = torch.cat([torch.from_numpy(twins.classes[chosen]), torch.zeros(pairs, dtype=torch.long)])
        with step.autocast():
            places = head(
                _feature_map(trunk, images).flatten(2).transpose(1, 2)
            ).float()  # (2P, places, classes)
        frame = places.mean(dim=1)
        loss = F.cross_entropy(frame, target.to(device))
        for answer in (evidence(frame), evidence(places).logsumexp(dim=1)):
            loss = loss + ranking(answer[:pairs], answer[pairs:])
        step(loss, hook, "pretrain TSN", k)
    path = out / "tsn.safetensors"
    _save(trunk, path)
    return path


def pretrain_audio(
    dataset: Path, out: Path, config: PipelineConfig, start: Path | None = None, hook: Hook = silent
) -> Path:
    """Train a small wav2vec 2.0 to class every 20 ms step of speech; returns the folder `out`/wav2vec2.

    The loss is the cross-entropy over authentic and each manipulation, plus the ranking of forged steps above the
    same steps of the authentic twin. `start` names weights to go on from.

    Raises InputError when the data set has no forged sound in its train split, WeightsError when `start` does not fit.
    """
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    settings, device = config.pretrain, torch.device(choose_device("auto"))
    twins = sound_twins(dataset, config, hook)
    rng = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    shape = Wav2Vec2Config(
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.attention_heads,
        intermediate_size=4 * settings.hidden_size,
        conv_dim=(settings.conv_dim,) * 7,
        # Layer norm, unlike the default group norm, does not mix time steps: no chunk changes another.
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        apply_spec_augment=False,
        layerdrop=0.0,
        num_conv_pos_embeddings=64,
    )
    model: Any = Wav2Vec2Model(shape) if start is None else load_model(start / "wav2vec2")[0]
    model = model.to(device).train()
    head = nn.Linear(model.config.hidden_size, len(AUDIO_CLASSES)).to(device)
    step = _Optimisation([*model.parameters(), *head.parameters()], settings, settings.audio_steps, device)
    length = int(settings.audio_crop_s * config.decode.sample_rate)
    pairs = settings.audio_batch // 2
    for k in range(settings.audio_steps):
        sound, target = _crops(twins, length, pairs, rng)
        target = target.to(device)
        with step.autocast():
            logits = head(model(sound.to(device)).last_hidden_state)
        loss = F.cross_entropy(logits.float().flatten(0, 1), target.flatten(), ignore_index=-1)
        answer, forged = evidence(logits.float()), target[:pairs] > 0
        step(loss + ranking(answer[:pairs][forged], answer[pairs:][forged]), hook, "pretrain wav2vec 2.0", k)
    folder = out / "wav2vec2"
    model.eval().save_pretrained(folder)
    return folder


def evidence(logits: Tensor) -> Tensor:
    """Log odds of any manipulation against authentic (class 0): (..., classes) -> (...)."""
    return logits[..., 1:].logsumexp(dim=-1) - logits[..., 0]


def ranking(forged: Tensor, authentic: Tensor) -> Tensor:
    """Mean logistic loss ``log(1 + exp(authentic - forged))`` of pairs; 0 when there is none."""
    return F.softplus(authentic - forged).sum() / max(1, forged.numel())


def _feature_map(trunk: nn.Module, images: Tensor) -> Tensor:
    """The last feature map (N, C, h, w), before the global average."""
    for name, layer in trunk.named_children():
        if name not in ("avgpool", "fc"):
            images = layer(images)
    return images


class _Optimisation:
    """AdamW with one warm-up and decay cycle, mixed precision and clipping, the same for both extractors."""

    def __init__(
        self, parameters: list[nn.Parameter], settings: PretrainConfig, steps: int, device: torch.device
    ) -> None:
        self._parameters, self._steps, self._device = parameters, steps, device
        self._dtype = choose_dtype(device, "auto") if device.type == "cpu" else torch.bfloat16
        self._optimizer = torch.optim.AdamW(
            parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, settings.learning_rate, total_steps=steps, pct_start=0.1
        )
        self._running: float | None = None

    def autocast(self) -> torch.autocast:
        """The context of the forward pass."""
        return torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype != torch.float32)

    def __call__(self, loss: Tensor, hook: Hook, name: str, k: int) -> None:
        """One step down the gradient of `loss`."""
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._schedule.step()
        value = float(loss.detach())
        self._running = value if self._running is None else 0.98 * self._running + 0.02 * value
        if (k + 1) % 50 == 0 or k + 1 == self._steps:
            _LOG.info("%s: step %d of %d, loss %.4f", name, k + 1, self._steps, self._running)
        hook(name, k + 1, self._steps)


def _augment_frames(pixels: Tensor, crop: int, generator: torch.Generator) -> Tensor:
    top, left = torch.randint(JITTER + 1, (2,), generator=generator).tolist()
    pixels = pixels[:, :, top : top + crop, left : left + crop]
    draw = torch.rand(len(pixels), 4, generator=generator).to(pixels.device)
    flip = draw[:, 0].view(-1, 1, 1, 1) < 0.5
    pixels = torch.where(flip, pixels.flip(-1), pixels)
    contrast = 0.7 + 0.6 * draw[:, 1].view(-1, 1, 1, 1)
    brightness = 60 * (draw[:, 2].view(-1, 1, 1, 1) - 0.5)
    noise = (
        4 * draw[:, 3].view(-1, 1, 1, 1) * torch.randn(pixels.shape, generator=generator).to(pixels.device)
    )
    return ((pixels - 128) * contrast + 128 + brightness + noise).clamp(0, 255)


def _crops(twins: SoundTwins, length: int, pairs: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Crops (2P, length) of forged clips around a forged step, then of their twins, and the steps' classes (2P, T).

    A pair shares its gain and noise. Steps past the end of a clip have class -1.
    """
    steps = step_count(length)
    sound, target = np.zeros((2 * pairs, length), np.float32), np.full((2 * pairs, steps), -1, np.int64)
    for row in range(pairs):
        clip = int(rng.integers(len(twins.classes)))
        classes = twins.classes[clip]
        middle = int(rng.choice(np.flatnonzero(classes)))
        first = int(np.clip(middle - rng.integers(steps), 0, max(0, len(classes) - steps)))
        gain, level = 10 ** rng.uniform(-0.6, 0.3), 10 ** rng.uniform(-4.5, -2.5)
        noise = rng.standard_normal(length) * level
        for half, waveform in ((row, twins.forged[clip]), (row + pairs, twins.authentic[clip])):
            piece = waveform[first * HOP : first * HOP + length]
            sound[half, : len(piece)] = piece * gain + noise[: len(piece)]
        part = classes[first : first + steps]
        target[row, : len(part)] = part
        target[row + pairs, : len(part)] = 0
    return torch.from_numpy(sound), torch.from_numpy(target)


def _save(module: nn.Module, path: Path) -> None:
    tensors: dict[str, Any] = {name: tensor.cpu().contiguous() for name, tensor in _named_tensors(module)}
    with replacing(path) as temporary:
        save_file(tensors, temporary)


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in module.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            yield name, tensor.half() if tensor.is_floating_point() else tensor
