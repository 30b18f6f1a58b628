"""How the weights of a method move: Adam as the paper says, or a detector's own AdamW with cosine and average."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from configs.detectors import OptimiserConfig
from configs.schema import TrainConfig
from models.method import SupervisedMethod, WeakMethod


@dataclass(frozen=True)
class Optimisation:
    """`rate(step)` is the learning rate of a step; `follow()` comes after each.

    `result` is the model that training ends with, `state` holds all weights that a checkpoint needs. `knob` names the
    settings to lower when the loss diverges.
    """

    optimizer: torch.optim.Optimizer
    rate: Callable[[int], float]
    clip_norm: float | None
    result: WeakMethod[Any] | SupervisedMethod[Any]
    state: nn.Module
    follow: Callable[[], None]
    knob: str


def optimisation(model: WeakMethod[Any] | SupervisedMethod[Any], settings: TrainConfig) -> Optimisation:
    """The optimisation of a method in `settings.steps` steps: what `train` says, or the detector's own."""
    if not isinstance(model, SupervisedMethod):
        adam = torch.optim.Adam(
            model.parameters(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,  # a fifth of the time on a processor
        )

        def constant(step: int) -> float:
            """Linear warm-up, then constant."""
            return settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup_steps))

        return Optimisation(
            adam,
            constant,
            settings.clip_norm,
            model,
            model,
            lambda: None,
            "train.learning_rate or set train.clip_norm",
        )
    own = model.optimiser
    adamw = torch.optim.AdamW(_groups(model, own.weight_decay), lr=own.learning_rate, fused=True)

    def follows(average: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        # A short run would end in its first weights, were the decay not lower at first.
        decay = min(own.average, (1 + int(updates)) / (10 + int(updates)))
        return torch.lerp(current, average, decay)

    average = AveragedModel(model, avg_fn=follows, use_buffers=True)
    state = nn.ModuleDict({"trained": model, "average": average})
    return Optimisation(
        adamw,
        lambda step: cosine(own, step, settings.steps),
        own.clip_norm,
        cast("SupervisedMethod[Any]", average.module),
        state,
        lambda: average.update_parameters(model),
        "optimiser.learning_rate in the settings of the detector",
    )


def cosine(settings: OptimiserConfig, step: int, steps: int) -> float:
    """Learning rate of `step` of `steps`: linear warm-up, then half a cosine down to `final_rate`."""
    rising = round(settings.warmup * steps)
    if step < rising:
        return settings.learning_rate * (step + 1) / rising
    share = (step - rising) / max(1, steps - 1 - rising)
    fall = (settings.learning_rate - settings.final_rate) * (1 + math.cos(math.pi * share)) / 2
    return settings.final_rate + fall


def _groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weights of convolutions and linear layers decay; biases, norms and scales do not."""
    heavy = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d | nn.Linear)
    }
    return [
        {"params": [p for p in model.parameters() if id(p) in heavy], "weight_decay": decay},
        {"params": [p for p in model.parameters() if id(p) not in heavy], "weight_decay": 0.0},
    ]
