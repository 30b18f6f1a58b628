"""Compact extractors trained from scratch on forgeries of our own, whose position is known to the frame.

Each extractor learns to tell authentic steps from every kind of manipulation; its features then go to RT-DeepLoc,
which itself never sees a position (DESIGN 5: say so wherever a number rests on it). Only the data set's train split
is read, hence only its identities.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from configs.schema import PipelineConfig, PretrainConfig
from data.errors import InputError
from data.files import replacing
from data.forgery import AUDIO, VISUAL
from extractors.resnet import build_trunk, trunk_dim
from extractors.runtime import choose_dtype
from extractors.wav2vec2 import HOP, RECEPTIVE, step_count
from pipeline.decode.whole import read_frames, read_sound
from pipeline.progress import Hook, silent

_LOG = logging.getLogger(__name__)
_VISUAL_CLASSES = ("authentic", *(forgery.__name__ for forgery in VISUAL))
_AUDIO_CLASSES = ("authentic", *(forgery.__name__ for forgery in AUDIO))
_JITTER = 12  # pixels by which a crop moves


def pretrain_visual(dataset: Path, out: Path, config: PipelineConfig, hook: Hook = silent) -> Path:
    """Train the TSN trunk on pairs of a forged frame and its authentic twin; returns `out`/tsn.safetensors.

    A twin shows the same instant of the same person, so that only the forgery tells the two apart. The loss is the
    cross-entropy over authentic and each manipulation.

    Raises InputError when the data set has no forged frames in its train split.
    """
    settings = config.pretrain
    forged, twins, classes = _frame_pairs(dataset, config, hook)
    device = _device()
    generator = torch.Generator().manual_seed(settings.seed)
    torch.manual_seed(settings.seed)
    trunk = build_trunk(config.visual.arch).to(device, memory_format=torch.channels_last)
    head = nn.Linear(trunk_dim(config.visual.arch), len(_VISUAL_CLASSES)).to(device)
    mean, std = (
        torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (config.visual.mean, config.visual.std)
    )
    step = _Optimisation([*trunk.parameters(), *head.parameters()], settings, settings.visual_steps, device)
    for k in range(settings.visual_steps):
        chosen = torch.randint(len(forged), (settings.visual_batch // 2,), generator=generator).numpy()
        # A pair is augmented as one, lest the augmentation tell its halves apart.
        pair = torch.from_numpy(np.concatenate([forged[chosen], twins[chosen]], axis=-1))
        pixels = _augment_frames(pair.to(device).permute(0, 3, 1, 2).float(), config.visual.crop, generator)
        images = ((torch.cat([pixels[:, :3], pixels[:, 3:]]) - mean) / std).contiguous(
            memory_format=torch.channels_last
        )
        target = torch.cat([torch.from_numpy(classes[chosen]), torch.zeros(len(chosen), dtype=torch.long)])
        with step.autocast():
            logits = head(trunk(images))
        step(F.cross_entropy(logits.float(), target.to(device)), hook, "pretrain TSN", k)
    path = out / "tsn.safetensors"
    _save(trunk, path)
    return path


def pretrain_audio(dataset: Path, out: Path, config: PipelineConfig, hook: Hook = silent) -> Path:
    """Train a small wav2vec 2.0 to class every 20 ms step of speech; returns the folder `out`/wav2vec2.

    Raises InputError when the data set has no forged sound in its train split.
    """
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    settings = config.pretrain
    waveforms, labels = _labelled_sound(dataset, config, hook)
    device = _device()
    rng = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    model = Wav2Vec2Model(
        Wav2Vec2Config(
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
    ).to(device)
    model.train()
    head = nn.Linear(settings.hidden_size, len(_AUDIO_CLASSES)).to(device)
    step = _Optimisation([*model.parameters(), *head.parameters()], settings, settings.audio_steps, device)
    length = int(settings.audio_crop_s * config.decode.sample_rate)
    for k in range(settings.audio_steps):
        sound, target = _crops(waveforms, labels, length, settings.audio_batch, rng)
        with step.autocast():
            logits = head(model(sound.to(device)).last_hidden_state)
        loss = F.cross_entropy(logits.float().flatten(0, 1), target.to(device).flatten(), ignore_index=-1)
        step(loss, hook, "pretrain wav2vec 2.0", k)
    folder = out / "wav2vec2"
    model.eval().save_pretrained(folder)
    return folder


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


@dataclass(frozen=True)
class _Track:
    """One written clip and its forged spans in one modality: seconds and class index."""

    path: Path
    original: Path | None
    spans: tuple[tuple[float, float, int], ...]


def _tracks(dataset: Path, modality: str, classes: tuple[str, ...]) -> list[_Track]:
    path = dataset / "forgeries.json"
    if not path.is_file():
        raise InputError("no forgeries.json", dataset, "give a data set made by `pipeline synthesize`")
    tracks = []
    for row in json.loads(path.read_text(encoding="utf-8")):
        if row["split"] == "train":
            spans = tuple(
                (s["start_s"], s["end_s"], classes.index(s["manipulation"]))
                for s in row["segments"]
                if s["modality"] == modality
            )
            original = dataset / row["original"] if row["original"] is not None else None
            tracks.append(_Track(dataset / row["file"], original, spans))
    if not any(track.spans for track in tracks):
        raise InputError(f"no {modality} forgery in the train split", dataset, "synthesize a larger data set")
    return tracks


def _frame_pairs(
    dataset: Path, config: PipelineConfig, hook: Hook
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]]:
    """Forged frames (P, h, w, 3), their authentic twins, and the manipulations' classes (P,)."""
    tracks = [track for track in _tracks(dataset, "visual", _VISUAL_CLASSES) if track.spans]
    forged: list[NDArray[np.uint8]] = []
    twins: list[NDArray[np.uint8]] = []
    classes: list[int] = []
    original: tuple[Path | None, NDArray[np.uint8]] = (None, np.zeros(0, np.uint8))
    for done, track in enumerate(tracks):
        if track.original is None:
            continue
        if track.original != original[0]:
            original = (track.original, _pictures(track.original, config))
        pictures = _pictures(track.path, config)
        for start_s, end_s, label in track.spans:
            first, stop = round(start_s * config.decode.fps), round(end_s * config.decode.fps)
            stop = min(stop, len(pictures), len(original[1]))
            forged.extend(pictures[first:stop].copy())
            twins.extend(original[1][first:stop].copy())
            classes.extend([label] * (stop - first))
        hook("read frames", done + 1, len(tracks))
    return np.stack(forged), np.stack(twins), np.array(classes)


def _pictures(path: Path, config: PipelineConfig) -> NDArray[np.uint8]:
    side = config.visual.short_side + _JITTER
    frames = read_frames(path, config.decode, side, crop=side)
    if frames is None:
        raise InputError("has no picture, though the data set says so", path, "synthesize the data set again")
    return frames


def _augment_frames(pixels: Tensor, crop: int, generator: torch.Generator) -> Tensor:
    top, left = torch.randint(_JITTER + 1, (2,), generator=generator).tolist()
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


def _labelled_sound(
    dataset: Path, config: PipelineConfig, hook: Hook
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.int64]]]:
    """Waveforms (L,) and the class of each of their 20 ms steps (T,)."""
    tracks = _tracks(dataset, "audio", _AUDIO_CLASSES)
    waveforms, labels = [], []
    for done, track in enumerate(tracks):
        sound = read_sound(track.path, config.decode)
        if sound is not None:
            centres_s = (np.arange(step_count(len(sound))) * HOP + RECEPTIVE / 2) / config.decode.sample_rate
            classes = np.zeros(len(centres_s), np.int64)
            for start_s, end_s, label in track.spans:
                classes[(centres_s >= start_s) & (centres_s < end_s)] = label
            waveforms.append(sound)
            labels.append(classes)
        hook("read sound", done + 1, len(tracks))
    return waveforms, labels


def _crops(
    waveforms: list[NDArray[np.float32]],
    labels: list[NDArray[np.int64]],
    length: int,
    batch: int,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Random crops (B, length) with drawn gain and noise, and the classes of their steps (B, T), -1 past the end."""
    steps = step_count(length)
    sound, target = np.zeros((batch, length), np.float32), np.full((batch, steps), -1, np.int64)
    for row in range(batch):
        clip = int(rng.integers(len(waveforms)))
        first = int(rng.integers(max(1, len(labels[clip]) - steps + 1)))
        piece = waveforms[clip][first * HOP : first * HOP + length]
        noise = rng.standard_normal(len(piece)) * 10 ** rng.uniform(-4.5, -2.5)
        sound[row, : len(piece)] = piece * 10 ** rng.uniform(-0.6, 0.3) + noise
        classes = labels[clip][first : first + steps]
        target[row, : len(classes)] = classes
    return torch.from_numpy(sound), torch.from_numpy(target)


def _save(module: nn.Module, path: Path) -> None:
    tensors: dict[str, Any] = {name: tensor.cpu().contiguous() for name, tensor in _named_tensors(module)}
    with replacing(path) as temporary:
        save_file(tensors, temporary)


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in module.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            yield name, tensor.half() if tensor.is_floating_point() else tensor


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
