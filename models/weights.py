"""From settings to a method, and its weights from disk."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import load_file

from configs.schema import ModelConfig
from data.errors import WeightsError
from models.method import Method, SupervisedMethod, WeakMethod

METHODS = {
    "rt_deeploc": "models.rt_deeploc:RTDeepLoc",
    "cola": "models.baselines.cola:CoLA",
    "fustal_generator": "models.baselines.fustal:FuSTALGenerator",
    "fustal": "models.baselines.fustal:FuSTAL",
    "sal": "models.baselines.sal:SAL",
    "loco": "models.baselines.loco:LOCO",
    "mdp": "models.baselines.mdp:MDP",
    "actionformer": "models.baselines.actionformer:ActionFormer",
    "tridet": "models.baselines.tridet:TriDet",
    "ummaformer": "models.baselines.ummaformer:UMMAFormer",
    "mfms": "models.baselines.mfms:MFMSStyle",
}
"""Where the class of each `model.method` is. Only that which is asked for is imported: a run needs one of them."""


def method_class(name: str) -> type[WeakMethod[Any] | SupervisedMethod[Any]]:
    """The class of the method that the settings call `name`."""
    module, _, attribute = METHODS[name].partition(":")
    return cast(
        "type[WeakMethod[Any] | SupervisedMethod[Any]]", getattr(importlib.import_module(module), attribute)
    )


def supervised(config: ModelConfig) -> bool:
    """Whether the method that `config.method` names learns from forged segments."""
    return issubclass(method_class(config.method), SupervisedMethod)


def build(config: ModelConfig) -> WeakMethod[Any] | SupervisedMethod[Any]:
    """The method that `config.method` names, freshly initialised."""
    return method_class(config.method)(config)


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
