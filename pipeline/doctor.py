"""Is this installation able to work? Versions, decoders, devices, weights and the cache folder."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data.errors import ForensicError

_PACKAGES = (
    "rt-deeploc", "torch", "torchvision", "torchaudio", "transformers", "accelerate", "av", "numpy", "safetensors",
)  # fmt: skip
_REINSTALL = "install the package again, with `pip install -c constraints.txt -e .`"


@dataclass(frozen=True)
class Check:
    """One check: what was examined, what was found, and how to fix it."""

    name: str
    found: str
    ok: bool = True
    fix: str = ""


def examine() -> tuple[Check, ...]:
    """All checks, in the order in which a user would fix them. One that fails never hides the others."""
    checks = [
        Check("Python", f"{platform.python_version()} on {platform.platform()}", sys.version_info >= (3, 11))
    ]
    checks += [_package(name) for name in _PACKAGES]
    for name in ("pyav", "decord", "ffmpeg"):
        # The reference decoder is needed; the others are a choice.
        checks.append(_guarded(f"decoder {name}", functools.partial(_decoder, name), needed=name == "pyav"))
    checks.append(_guarded("processor", _processor))
    checks.append(_guarded("CUDA", _cuda))
    checks.append(_guarded("compact weights", _weights))
    checks.append(_guarded("cache folder", _cache))
    return tuple(checks)


def _guarded(name: str, look: Callable[[], str], needed: bool = True) -> Check:
    try:
        return Check(name, look())
    except ForensicError as error:
        found, fix = f"{error.path}: {error.what}" if error.path is not None else error.what, error.fix
    except Exception as error:
        found, fix = f"{type(error).__name__}: {error}", _REINSTALL
    return Check(name, found, ok=False, fix=fix) if needed else Check(name, f"not available ({found})")


def _package(name: str) -> Check:
    try:
        return Check(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "not installed", ok=False, fix=_REINSTALL)


def _decoder(name: str) -> str:
    if name == "pyav":
        import av

        versions = ", ".join(
            f"{library} {'.'.join(map(str, av.library_versions[library]))}"
            for library in ("libavformat", "libavcodec")
        )
        return f"av {av.__version__} with {versions}"
    if name == "decord":
        return f"decord {importlib.import_module('decord').__version__}, for trusted files only"
    import subprocess

    from pipeline.media.ffmpeg import program

    path = program()
    answer = subprocess.run([path, "-version"], capture_output=True, text=True, check=True, timeout=30)
    return f"{answer.stdout.splitlines()[0].split(' Copyright')[0]} at {path}"


def _processor() -> str:
    import torch

    from extractors.paper.precision import cpu_has_fast_bf16

    return f"{torch.get_num_threads()} threads, {'bfloat16' if cpu_has_fast_bf16() else 'float32 (no bfloat16 units)'}"


def _cuda() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none; the processor is used"
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return f"CUDA {torch.version.cuda}: {names}"


def _weights() -> str:
    from extractors.weights import weights_sha256
    from pipeline.bundle import weights_folder
    from pipeline.detector import Pipeline

    folder = weights_folder("compact")
    Pipeline.from_pretrained("compact", device="cpu")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 1e6:.1f} MB, SHA-256 {weights_sha256(folder)[:16]}, loadable"


def _cache() -> str:
    from data.files import check_folder
    from extractors.weights import default_cache

    folder: Path = default_cache()
    check_folder(folder, "the environment variable RT_DEEPLOC_CACHE")
    return str(folder)
