"""From settings to a method, and its weights from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from configs.schema import ModelConfig
from data.errors import WeightsError
from models.baselines.actionformer import ActionFormer
from models.baselines.cola import CoLA
from models.baselines.fustal import FuSTAL, FuSTALGenerator
from models.baselines.loco import LOCO
from models.baselines.mdp import MDP
from models.baselines.mfms import MFMSStyle
from models.baselines.sal import SAL
from models.baselines.tridet import TriDet
from models.baselines.ummaformer import UMMAFormer
from models.method import Method, SupervisedMethod, WeakMethod
from models.rt_deeploc import RTDeepLoc

METHODS: dict[str, type[WeakMethod[Any] | SupervisedMethod[Any]]] = {
    "rt_deeploc": RTDeepLoc,
    "cola": CoLA,
    "fustal_generator": FuSTALGenerator,
    "fustal": FuSTAL,
    "sal": SAL,
    "loco": LOCO,
    "mdp": MDP,
    "actionformer": ActionFormer,
    "tridet": TriDet,
    "ummaformer": UMMAFormer,
    "mfms": MFMSStyle,
}
"""Classes by the names that `model.method` takes."""


def supervised(config: ModelConfig) -> bool:
    """Whether the method that `config.method` names learns from forged segments."""
    return issubclass(METHODS[config.method], SupervisedMethod)


def build(config: ModelConfig) -> WeakMethod[Any] | SupervisedMethod[Any]:
    """The method that `config.method` names, freshly initialised."""
    return METHODS[config.method](config)


def load_weights(config: ModelConfig, path: Path) -> Method[Any]:
    """A model of `config` in eval mode on the CPU with the parameters in `path`.

    Raises WeightsError when the file is missing, damaged, or of another model.
    """
    model = build(config)
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"not readable as safetensors ({error})", path, "check the weights folder"
        ) from error
    except RuntimeError as error:
        problem = "weights of another model than the settings ask for"
        raise WeightsError(problem, path, "use the config.yaml that lies beside the weights") from error
    return model.eval()
