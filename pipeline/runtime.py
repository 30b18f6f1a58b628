"""The machine that a run uses: its device, its processor, the versions installed."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import UsageError


@contextmanager
def loading() -> Iterator[None]:
    """Within it the garbage collector rests, and passes over what was loaded from then on.

    It would look at all modules again and again while more come, and find nothing: a fifth of the time that PyTorch
    takes to load. For processes of this package: it passes over whatever else is there, too.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def choose_device(name: str) -> str:
    """A torch device: `auto` is CUDA where there is one, else the processor.

    Raises UsageError when the device does not exist here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UsageError(f"no device '{name}' on this machine", fix="use --device auto or cpu") from None
    return str(torch.device(name))


def versions() -> dict[str, str]:
    """Versions of this package and of those that shape its numbers."""
    names = ("rt-deeploc", "torch", "torchvision", "transformers", "av", "numpy")
    return {name: importlib.metadata.version(name) for name in names}


def machine(device: str) -> str:
    """The processor that does the work: the GPU's name, or the processor's with the number of threads."""
    import torch

    chosen = choose_device(device)
    if chosen.startswith("cuda"):
        return torch.cuda.get_device_name(chosen)
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux, or a processor that has no name there
    return f"{name}, {torch.get_num_threads()} threads of {os.cpu_count()} cores"
