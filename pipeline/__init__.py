"""From a media file to forged intervals: the layer that knows files, devices and users.

`from pipeline import Pipeline` is the whole Python interface; torch is loaded when it is first used.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.detector import Pipeline
    from pipeline.report.model import Report

__all__ = ["Pipeline", "Report"]

_SIBLINGS = ("configs", "data", "extractors", "models")
_EXPORTS = {"Pipeline": "pipeline.detector", "Report": "pipeline.report.model"}


def check_siblings(home: Path) -> None:
    """Make sure that the sibling packages come from the folder `home`.

    Their names are common: a folder called `models` in the working directory can hide ours. Nothing is imported.

    Raises ImportError that names the folder in the way.
    """
    for name in _SIBLINGS:
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ImportError(f"rt-deeploc is installed without its package '{name}'; install it again")
        places = [Path(place).resolve() for place in spec.submodule_search_locations or ()]
        if places != [home.resolve() / name]:
            folder = ", ".join(str(place) for place in places) or spec.origin
            raise ImportError(
                f"{folder} hides rt-deeploc's own package '{name}'; "
                "use the `pipeline` command, or start Python from another folder"
            )


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'pipeline' has no attribute '{name}'")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


check_siblings(Path(__file__).parent.parent)
