"""The files of a training run: checkpoint, metrics and, at the end, a folder of weights."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from configs.loader import dump
from configs.schema import PipelineConfig
from data.errors import UsageError, WeightsError
from data.files import replacing
from pipeline.bundle import CONFIG_FILE, model_file

_LOG = logging.getLogger(__name__)
_SHIPPED = "shipped:"


@dataclass(frozen=True)
class RunFolder:
    """The output folder of one run.

    ``checkpoint.pt`` is the last state, ``metrics.jsonl`` and ``tensorboard/`` hold the curves, ``weights/`` is the
    result, which `--weights` takes.
    """

    root: Path

    @property
    def checkpoint(self) -> Path:
        """File of the last checkpoint."""
        return self.root / "checkpoint.pt"

    @property
    def weights(self) -> Path:
        """Folder of the trained weights."""
        return self.root / "weights"

    def save_checkpoint(
        self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, identity: dict[str, str]
    ) -> None:
        """Replace the checkpoint by the state after `step` steps, whole or not at all.

        There is no state of random generators in it: every draw is a function of the seed and the step.

        Raises UsageError when it cannot be written.
        """
        state = {
            "step": step,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "identity": identity,
        }
        with replacing(self.checkpoint) as temporary, open(temporary, "wb") as file:
            torch.save(state, file)

    def load_checkpoint(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, identity: dict[str, str]
    ) -> int:
        """Restore the state and return the number of steps that are done.

        `identity` describes what must be equal for the continuation to be that of the same run.

        Raises WeightsError when the file is damaged, UsageError when it belongs to another run.
        """
        path = self.checkpoint
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            found, step = state["identity"], int(state["step"])
        except Exception as error:  # torch.load raises whatever the damage makes of zip and pickle
            fix = "delete it and train again"
            raise WeightsError(f"not an intact checkpoint ({type(error).__name__})", path, fix) from error
        differing = [name for name in identity if found.get(name) != identity[name]]
        if differing:
            fix = "resume with the settings and data of that run, or choose another output folder"
            raise UsageError(f"the checkpoint was made with another {' and '.join(differing)}", path, fix)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return step

    def save_weights(self, model: nn.Module, config: PipelineConfig, bundle: Path | None) -> Path:
        """Write the model and its settings, and copy the extractors' weights that lie in `bundle`; the folder.

        Raises UsageError when the folder cannot be written, WeightsError when `bundle` lacks what the settings name.
        """
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        with replacing(self.weights / model_file(config)) as temporary:
            temporary.write_bytes(save(state))
        if bundle is not None:
            for source in (config.visual.weights, config.audio.weights):
                if source.startswith(_SHIPPED):
                    _copy(
                        bundle / source.removeprefix(_SHIPPED), self.weights / source.removeprefix(_SHIPPED)
                    )
        with replacing(self.weights / CONFIG_FILE) as temporary:
            temporary.write_text(dump(config), encoding="utf-8")
        return self.weights


class Metrics:
    """Rows of numbers by step, to ``metrics.jsonl`` and TensorBoard; context manager.

    Rows after `step` are dropped first: those of a run that was interrupted after its last checkpoint.
    """

    def __init__(self, root: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        path = root / "metrics.jsonl"
        lines = [line for line in _lines(path) if _step_of(line) <= step]
        with replacing(path) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115
        self._board = SummaryWriter(str(root / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._board.close()

    def write(self, step: int, group: str, values: dict[str, float]) -> None:
        """Add one row of `group` ("train" or "dev")."""
        self._file.write(json.dumps({"step": step, "group": group, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{group}/{name}", value, step)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read ({error})", path, "choose another output folder") from error


def _step_of(line: str) -> float:
    try:
        row: dict[str, Any] = json.loads(line)
        return float(row["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # the torn last line of a process that was killed


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise WeightsError("is named in the settings but missing", source, "give the folder that holds it")
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file():
                _copy(path, target / path.relative_to(source))
        return
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
